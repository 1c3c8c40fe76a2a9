"""Measure how film comes out that is scanned from a holder, load after load, unattended.

    python -m tests.bench.holder [--slots 6 12] [--loads 8 3] [--dpi 300] [--seed 1] [--folder DIR]

``dustwatch scan`` scans all loads from the virtual scanner, whose film and dirt are known, and cleans them. Prints a
Markdown table with a line for each holder: the figures of README.md against the truth, over all frames; how many frames
came out worse than their scans; and whether the slots were told apart. DIR needs 10 MB a frame at 300 dpi.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import tifffile

from dustwatch.processing.figures import figures, mean_figures, same_groups
from dustwatch.processing.simulate import SimulatedFrame
from tests.rolls import command, receipt
from tests.scanning import virtual_scanner

AREA_MM = 200, 250
GAP_MM = 2
COLUMNS = 3
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


def write_holder(file: Path, slots: int) -> None:
    """Slots of 3:2, three beside each other, as large as all of them find room."""
    rows = -(-slots // COLUMNS)
    width = min(AREA_MM[0] / COLUMNS - GAP_MM, 1.5 * (AREA_MM[1] / rows - GAP_MM))
    height = width / 1.5
    places = [divmod(number, COLUMNS) for number in range(slots)]
    listed = [
        {
            "name": f"{number + 1}",
            "x": 1 + column * (width + GAP_MM),
            "y": 1 + row * (height + GAP_MM),
            "width": width,
            "height": height,
        }
        for number, (row, column) in enumerate(places)
    ]
    file.write_text(json.dumps({"name": f"{slots}-slots", "slots": listed}))


def measure(slots: int, loads: int, dpi: int, seed: int, folder: Path) -> tuple[str, ...]:
    """Scan so many loads of a holder and give the line of the table."""
    folder.mkdir(parents=True)
    holder, profile, roll = folder / "holder.yaml", folder / "mine.yaml", folder / "roll"
    write_holder(holder, slots)
    scanner = {"resolution": dpi, "depth": 16, "options": {"source": "Transparency Unit"}}
    profile.write_text(json.dumps({"name": "mine", "extends": "generic-negative", "scanner": scanner}))
    with virtual_scanner(folder, "--holder", holder, "--seed", str(seed)) as virtual:
        own = ["--profile", profile, "--holder", holder, "--loads", str(loads), "--state", folder / "state"]
        begun = time.monotonic()
        subprocess.run(
            command("scan", roll, "--device", virtual.device, *own),
            env=virtual.environment,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.monotonic() - begun
        found, glasses, true = [], [], []
        for number, file in enumerate(sorted((roll / "clean").glob("*.tif")), start=1):
            scan, cleaned = tifffile.imread(roll / "scans" / file.name), tifffile.imread(file)
            film, glass, specks = virtual.truth(folder / "truth", number)
            true.append((number - 1) % slots)
            found.append(figures(cleaned, SimulatedFrame(scan, film, glass, specks, (0.0, 0.0), true[-1])))
            glasses.append(receipt(roll / "clean", file.name)["glass_id"] or file.name)
    mean = mean_figures(found)
    return (
        str(slots),
        str(loads),
        str(len(found)),
        f"{scan.shape[1]} x {scan.shape[0]}",
        f"{mean.psnr_scan_db:.1f}",
        f"{mean.psnr_db:.1f}",
        f"{mean.treated:.1%}",
        f"{mean.harm:.3%}",
        f"{mean.halo_harm:.2%}",
        str(sum(one.psnr_db < one.psnr_scan_db for one in found)),
        "exact" if same_groups(glasses, true) else f"NOT exact: {len(set(glasses))} glasses",
        f"{seconds:.0f}",
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description="Film from a holder, load after load, against the truth.")
    parser.add_argument("--slots", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--loads", type=int, nargs="+", default=[8, 3])
    parser.add_argument("--dpi", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="a new folder; what is scanned stays there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lines = [HEAD, ("---",) * len(HEAD)]
        for slots, loads in zip(asked.slots, asked.loads, strict=True):
            folder = (asked.folder or Path(temporary)) / f"{slots}-slots"
            lines.append(measure(slots, loads, asked.dpi, asked.seed, folder))
    for line in lines:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
