"""Measure the dense pass of learning: frames laid over the map, smoothed and summed up in all runs of them.

    python -m tests.bench.evidence [--megapixels 24] [--counts 2 4 8 16 32] [--threads 2] [--repeats 3]

All that is done for every pixel of every frame of a group, reading from disk included, before anything is suspected:
the film shows nothing but noise. Prints a Markdown table; a megapixel is one of one frame, times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dustwatch.processing.evidence import gather, hear, runs
from dustwatch.processing.learn import Witness, glass_tiles, lay
from dustwatch.processing.placement import Placement
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.residual import ResidualParams
from dustwatch.processing.texture import Moduli
from tests.bench.quality import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dustwatch.processing.strips import Tile


def witnesses(count: int, height: int, width: int, folder: Path) -> list[Witness]:
    """Frames of noise, each half a pixel beside the one before."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(count):
        codes = PlaneFile(folder / f"{number}", height, width, np.dtype(np.int8))
        codes.create()
        codes.write(0, 0, np.clip(rng.normal(0, 10, (height, width)), -127, 127).astype(np.int8))
        found.append(Witness(codes, Placement((number / 2, number / 3)), number))
    return found


def seconds(frames: Sequence[Witness], threads: int) -> float:
    """How long the pass takes."""
    height, width = frames[0].codes.height, frames[0].codes.width
    params = ResidualParams().on(height, width)
    scenes, bare = np.arange(len(frames)), np.zeros(len(frames), np.bool_)

    def ask(tile: Tile) -> None:
        laid = [lay(one, tile, (0, 0)) for one in frames]
        voices = hear(laid, [Moduli.of(one.codes) for one in laid], params, scenes, bare)
        for first, stop in runs(len(frames)):
            gather(voices.of_run(first, stop))

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, glass_tiles(height, width, params, len(frames))))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="The dense pass of learning, by the number of frames.")
    parser.add_argument("--megapixels", type=float, default=24, help="size of frames")
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4, 8, 16, 32], help="frames on the glass")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    height = round((arguments.megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        everyone = witnesses(max(arguments.counts), height, width, Path(work))
        seconds(everyone[:2], arguments.threads)  # kernels are loaded
        lines = []
        for count in arguments.counts:
            took = statistics.median(seconds(everyone[:count], arguments.threads) for _ in range(arguments.repeats))
            rate = count * height * width / 1e6 / took
            lines.append([f"{count}", f"{len(runs(count))}", f"{took / count:.2f}", f"{rate:.0f}"])
    print("\n".join(markdown(["frames", "runs", "s a frame", "megapixels a second"], lines)))


if __name__ == "__main__":
    main()
