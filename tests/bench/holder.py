"""Measure how film comes out that is scanned from a holder, load after load, unattended.

    python -m tests.bench.holder [--slots 6 12] [--loads 8 3] [--dpi 300] [--width MM] [--seed 1] [--folder DIR]

``dustwatch scan`` scans all loads from the virtual scanner, whose film and dirt are known, and cleans them. Prints a
Markdown table with a line for each holder: the figures of README.md against the truth, over all frames; how many frames
came out worse than their scans; and whether the slots were told apart. Slots are as large as find room, unless MM says
otherwise. DIR needs 20 MB a frame at 300 dpi.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from dustwatch.processing.figures import mean_figures
from tests.holders import scan_film, widest

HEAD = (
    "slots",
    "loads",
    "frames",
    "px",
    "inside dB",
    "cleaned",
    "treated",
    "harm",
    "halo harm",
    "worse",
    "grouping",
    "s",
)


def measure(slots: int, loads: int, width_mm: float, dpi: int, seed: int, folder: Path) -> tuple[str, ...]:
    """Scan so many loads of a holder and give the line of the table."""
    folder.mkdir(parents=True)
    film = scan_film(folder, slots, loads, width_mm=width_mm, dpi=dpi, seed=seed)
    mean = mean_figures(film.found)
    return (
        str(slots),
        str(loads),
        str(len(film.found)),
        f"{film.shape[1]} x {film.shape[0]}",
        f"{mean.psnr_scan_db:.1f}",
        f"{mean.psnr_db:.1f}",
        f"{mean.treated:.1%}",
        f"{mean.harm:.3%}",
        f"{mean.halo_harm:.2%}",
        str(film.worse),
        "exact" if film.grouping_exact else f"NOT exact: {len(set(film.glasses))} glasses",
        f"{film.seconds:.0f}",
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description="Film from a holder, load after load, against the truth.")
    parser.add_argument("--slots", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--loads", type=int, nargs="+", default=[8, 3])
    parser.add_argument("--dpi", type=int, default=300)
    parser.add_argument("--width", type=float, metavar="MM", help="of a slot")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="a new folder; what is scanned stays there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lines = [HEAD, ("---",) * len(HEAD)]
        for slots, loads in zip(asked.slots, asked.loads, strict=True):
            folder = (asked.folder or Path(temporary)) / f"{slots}-slots"
            lines.append(measure(slots, loads, asked.width or widest(slots), asked.dpi, asked.seed, folder))
    for line in lines:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
