"""Measure how long a watched frame takes, from the complete file to the cleaned one, by the size of the frames.

    python -m tests.bench.latency [--megapixels 6 24 54] [--frames 5] [--folder DIR]

Frames are dropped into the folder of a running ``dustwatch watch`` one after the other, each when all is done about the
one before; that it waits for a file to be still (STILL_S) is in the figures. Prints a Markdown table. DIR needs room
for some 20 bytes a pixel and frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import write_tiff
from tests.watching import drop, journal, watching

STILL_S = 0.5
PIECE = {"height": 2000, "width": 3000, "scale": 5 / 3}
"""A piece of 6 megapixels. Larger frames are laid with it as with tiles: their dirt is as dense, and as large."""


def measure(megapixels: float, frames: int, work: Path) -> list[tuple[float, float]]:
    """Seconds from the appearance of each frame to its first publication, and until all frames have been done again."""
    side = (megapixels / 6) ** 0.5
    pieces = max(1, round(side))
    shrink = side / pieces
    params = {name: round(length * shrink) for name, length in PIECE.items() if name != "scale"}
    roll = Roll(RollParams(frames=frames, scale=PIECE["scale"] * shrink, wipes=(), seed=3, **params), landscape(3))
    scans, clean, state = (work / name for name in ("scans", "clean", "state"))
    scans.mkdir()
    latencies = []
    options = ("--still", str(STILL_S), "--close-after", "60")
    with watching(scans, clean, state, *options) as daemon:
        for number in range(frames):
            name = f"frame-{number + 1}.tif"
            write_tiff(work / name, np.tile(roll.frame(number).scan, (pieces, pieces, 1)))
            drop([work / name], scans)
            started = time.monotonic()
            daemon.until((clean / "receipts" / f"{name}.json").exists, 600)
            first = time.monotonic() - started
            daemon.until(lambda: journal(state, "SELECT count(*) FROM to_do") == [(0,)], 600)
            latencies.append((first, time.monotonic() - started))
            (work / name).unlink()
    return latencies


def main() -> None:
    parser = argparse.ArgumentParser(description="From the complete file to the cleaned one, by size.")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[6, 24, 54], help="sizes of frames")
    parser.add_argument("--frames", type=int, default=5, help="frames on the glass")
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    numbers = range(1, arguments.frames + 1)
    print(
        f"Seconds until a frame is cleaned, and (until all of its glass are cleaned again); {STILL_S} s are waiting.\n"
    )
    print("| megapixels a frame | " + " | ".join(f"frame {number}" for number in numbers) + " |")
    print("|---|" + "---|" * len(numbers))
    for megapixels in arguments.megapixels:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
            told = measure(megapixels, arguments.frames, Path(work))
        cells = (f"{first:.1f} ({whole:.1f})" for first, whole in told)
        print(f"| {megapixels:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
