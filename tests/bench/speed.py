"""Measure how long ``dustwatch clean`` takes for a group of frames, against merely copying them, and inpainting.

    python -m tests.bench.speed [--megapixels 6 24] [--compressions none lzw deflate] [--frames 8] [--repeats 3]
                                [--counts 4 16] [--particles 65 1040] [--output DIR] [--folder DIR]

Everybody has the same files, and takes turns: the whole command, starting, learning, writing and receipts included;
libvips copying each file to one of the same compression; and cv2.inpaint (Navier-Stokes, each channel by itself, on as
many threads as there are cores) with the masks that the command has left, pictures decoded already. Figures are medians
over the repeats, for one frame. Prints Markdown tables, and leaves them beside a plot in --output. --folder needs room
for two copies of a group and its scratch files, some 14 bytes a pixel and frame.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib as mpl
import numpy as np
import tifffile

from dustwatch.daemon.report import Reporter
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import mask, receipt

from .quality import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dustwatch.processing.arrays import Scan

mpl.use("agg")
from matplotlib import pyplot as plt

PIECE: dict[str, Any] = {"height": 2000, "width": 3000, "scale": 5 / 3}
"""A piece of 6 megapixels. Larger frames are laid with it as with tiles: their dirt is as dense, and as large."""

FILMS = 3
"""Pieces beside each other show different film, lest a file shrink by what repeats in it."""

PARTICLES = 260
CODECS = {"none": None, "lzw": "lzw", "deflate": "adobe_deflate"}

COPY = """
import os, sys, time, pyvips
compression, *files = sys.argv[1:]
started = time.perf_counter()
for file in files:
    predictor = "none" if compression == "none" else "horizontal"
    picture = pyvips.Image.new_from_file(file, access="sequential")
    big = os.path.getsize(file) > 4e9
    picture.tiffsave(file + ".copy", compression=compression, predictor=predictor, bigtiff=big)
print((time.perf_counter() - started) / len(files))
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Frames on one glass."""

    megapixels: int
    compression: str
    frames: int
    particles: int = PARTICLES

    @property
    def side(self) -> int:
        """How many pieces a frame has in each direction."""
        return max(1, round((self.megapixels / 6) ** 0.5))


@dataclass(frozen=True, slots=True)
class Turn:
    """What one frame took, in s, and the peak of memory in bytes."""

    ours: float
    cpu: float
    copy: float
    inpaint: float
    peak: int
    stages: dict[str, float]


@lru_cache(maxsize=32)
def piece(film: int, number: int, frames: int, particles: int) -> Scan:
    params = RollParams(frames=frames, particles=particles, seed=3, **PIECE)
    return Roll(params, landscape(3 + film)).frame(number).scan


def write(group: Group, folder: Path) -> list[Path]:
    """Scan the group into files."""
    files = []
    for number in range(group.frames):
        films = [piece(film, number, group.frames, group.particles) for film in range(min(FILMS, group.side))]
        row = np.concatenate([films[column % len(films)] for column in range(group.side)], axis=1)
        files.append(folder / f"frame-{number + 1:03d}.tif")
        tifffile.imwrite(
            files[-1],
            np.tile(row, (group.side, 1, 1)),
            photometric="rgb",
            metadata=None,
            rowsperstrip=32,
            compression=CODECS[group.compression],
            predictor=group.compression != "none",
        )
    return files


def ours(files: Sequence[Path], output: Path) -> tuple[float, float, int, dict[str, float]]:
    """Wall and CPU time of a frame in s, peak memory, and wall time by stage; every frame must have been repaired."""
    report = output.with_suffix(".json")
    command = [sys.executable, "-m", "dustwatch.daemon", "clean", *map(str, files), "--output", str(output)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--json", str(report)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"dustwatch clean ended with {os.waitstatus_to_exitcode(status)}")
    for file in files:
        if receipt(output, file.name)["status"] != "cleaned":
            raise SystemExit(f"{file} was not repaired")
    told = json.loads(report.read_text())
    seconds = [frame["seconds"] for frame in told["frames"]]
    stages = {name: statistics.mean(one[name] for one in seconds) for name in seconds[0]}
    return wall / len(files), (usage.ru_utime + usage.ru_stime) / len(files), told["peak_memory_bytes"], stages


def copied(files: Sequence[Path], compression: str) -> float:
    """Wall time in s that libvips takes to copy a file."""
    done = subprocess.run(
        [sys.executable, "-c", COPY, compression, *map(str, files)], check=True, capture_output=True, text=True
    )
    for file in files:
        Path(f"{file}.copy").unlink()
    return float(done.stdout)


def inpainted(file: Path, output: Path) -> float:
    """Wall time in s that OpenCV takes to fill what was repaired in a frame."""
    picture, hole = tifffile.imread(file), mask(output, file.name).astype(np.uint8)
    channels = [np.ascontiguousarray(picture[..., channel]) for channel in range(3)]
    started = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda channel: cv2.inpaint(channel, hole, 3, cv2.INPAINT_NS), channels))
    return time.perf_counter() - started


def measured(group: Group, repeats: int, work: Path) -> Turn:
    """The medians over turns."""
    (work / "scans").mkdir()
    files = write(group, work / "scans")
    turns = []
    for _ in range(repeats):
        wall, cpu, peak, stages = ours(files, work / "clean")
        copy, inpaint = copied(files, group.compression), inpainted(files[0], work / "clean")
        turns.append(Turn(wall, cpu, copy, inpaint, peak, stages))
        shutil.rmtree(work / "clean")
    middle = {
        name: statistics.median(getattr(turn, name) for turn in turns) for name in ("ours", "cpu", "copy", "inpaint")
    }
    stages = {name: statistics.median(turn.stages[name] for turn in turns) for name in turns[0].stages}
    return Turn(**middle, peak=max(turn.peak for turn in turns), stages=stages)


def pixels(group: Group) -> float:
    """Megapixels of a frame."""
    return group.side**2 * PIECE["height"] * PIECE["width"] / 1e6


def line(group: Group, turn: Turn) -> list[str]:
    return [
        f"{pixels(group):.0f}",
        group.compression,
        str(group.frames),
        str(group.particles * group.side**2),
        f"{turn.ours:.2f}",
        f"{turn.cpu:.2f}",
        f"{1000 * turn.ours / pixels(group):.0f}",
        f"{turn.copy:.2f}",
        f"{turn.ours / turn.copy:.2f}",
        f"{turn.inpaint:.2f}",
        f"{turn.peak / 1e6:.0f}",
        *(f"{seconds:.2f}" for seconds in turn.stages.values()),
    ]


HEADS = [
    "megapixels",
    "compression",
    "frames",
    "particles",
    "s a frame",
    "CPU s",
    "ms a megapixel",
    "libvips copies in s",
    "ours / copying",
    "cv2.inpaint alone, s",
    "peak memory, MB",
    "observe, s",
    "learn, s",
    "clean, s",
]


def plot(found: Sequence[tuple[Group, Turn]], file: Path) -> None:
    """What a megapixel costs, by size, by the number of frames and of particles."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
    by = {
        "megapixels": pixels,
        "frames": lambda group: group.frames,
        "particles a 6-megapixel piece": lambda group: group.particles,
    }
    for (name, of), plane in zip(by.items(), axes, strict=True):
        for compression in dict.fromkeys(group.compression for group, _ in found):
            points = [
                (of(group), 1000 * turn.ours / pixels(group))
                for group, turn in found
                if group.compression == compression
            ]
            plane.plot(*zip(*sorted(points), strict=True), "o", label=compression)
        plane.set_xlabel(name)
        plane.set_xscale("log")
    axes[0].set_ylabel("ms a megapixel")
    axes[0].set_ylim(0)
    axes[0].legend()
    figure.savefig(file, dpi=130)
    plt.close(figure)


def groups(arguments: argparse.Namespace) -> Iterable[Group]:
    """Sizes and compressions; then numbers of frames and of particles, at the first of each."""
    size, frames = arguments.megapixels[0], arguments.frames
    for megapixels in arguments.megapixels:
        for compression in arguments.compressions:
            yield Group(megapixels, compression, frames)
    compression = arguments.compressions[-1]
    yield from (Group(size, compression, count) for count in arguments.counts if count != frames)
    yield from (Group(size, compression, frames, count) for count in arguments.particles if count != PARTICLES)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of dustwatch clean, against copying and inpainting.")
    parser.add_argument(
        "--megapixels", type=int, nargs="+", default=[6, 24], help="sizes of frames: 6, 24, 54, 216 ..."
    )
    parser.add_argument("--compressions", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--frames", type=int, default=8, help="frames of a group")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="*", default=[4, 16], help="other numbers of frames")
    parser.add_argument("--particles", type=int, nargs="*", default=[65, 1040], help="other numbers, for 6 megapixels")
    parser.add_argument("--output", type=Path, default=Path("bench-out"), help="where table and plot go")
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    asked = list(groups(arguments))
    found = []
    with Reporter() as reporter:
        step = reporter.progress("groups", len(asked))
        for group in asked:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
                found.append((group, measured(group, arguments.repeats, Path(work))))
            step()
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(markdown(HEADS, [line(group, turn) for group, turn in found]))
    print(text)
    (arguments.output / "speed.md").write_text(text + "\n")
    plot(found, arguments.output / "speed.png")


if __name__ == "__main__":
    main()
