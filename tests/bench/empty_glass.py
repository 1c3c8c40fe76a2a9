"""Measure what a scan of the empty glass is worth to the first frames of a roll.

    python -m tests.bench.empty_glass [--seeds 1 2 3]

Prints a Markdown table: inside the dirt, against the truth, means over small simulated rolls.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import tifffile

from dustwatch.processing.figures import Figures, figures, mean_figures
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import SMALL, clean, write_tiff, write_tiffs

COUNTS = (1, 2, 4)


def measure(seed: int, count: int) -> tuple[Figures, Figures]:
    """The first `count` frames of a roll, cleaned without and with a scan of its glass."""
    roll = Roll(RollParams(frames=max(COUNTS), seed=seed, **SMALL), landscape(seed))
    frames = [roll.frame(index) for index in range(count)]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        scans, empty = write_tiffs(frames, folder / "scans"), folder / "empty.tif"
        write_tiff(empty, roll.bare(0).scan)

        def cleaned(name: str, *options: str | Path) -> Figures:
            clean(folder / "scans", folder / name, *options)
            pictures = (tifffile.imread(folder / name / scan.name) for scan in scans)
            return mean_figures([figures(picture, frame) for picture, frame in zip(pictures, frames, strict=True)])

        return cleaned("without"), cleaned("with", "--empty-glass", empty)


def main() -> None:
    parser = argparse.ArgumentParser(description="First frames with and without a scan of the empty glass.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one roll for each")
    seeds = parser.parse_args().seeds
    print("| frames | without: treated | dB | with: treated | dB |")
    print("|---|---|---|---|---|")
    for count in COUNTS:
        columns = zip(*(measure(seed, count) for seed in seeds), strict=True)
        means = [mean_figures(list(column)) for column in columns]
        cells = " | ".join(f"{mean.treated:.0%} | {mean.psnr_db:.1f}" for mean in means)
        print(f"| {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
