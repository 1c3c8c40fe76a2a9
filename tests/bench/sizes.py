"""Measure what learning from more frames gives for particles of different sizes.

    python -m tests.bench.sizes [--seed 1] [--threads 2]

Prints a Markdown table about the first frames of a simulated roll, against the truth, by the particles' size (the
diameter of a disc of their area). How well their density is known inside the dirt: to the map, and to a fill of that
frame alone. And PSNR there: of ours, of the fill alone, and of division by the true density, both at the true places.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tifffile
from scipy import ndimage

from dustwatch.processing.cells import CELL_PX, Patch
from dustwatch.processing.clean import FrameDirt, RepairParams, clean, dirt_in_frame
from dustwatch.processing.density import Tone, density_table, to_values
from dustwatch.processing.figures import INSIDE_D, figures
from dustwatch.processing.fill import Holes
from dustwatch.processing.learn import LearnParams, Witness, learn
from dustwatch.processing.observe import observe
from dustwatch.processing.placement import Placement
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import decode
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from dustwatch.processing.spots import pixels_of
from dustwatch.processing.strips import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dustwatch.processing.arrays import Mask, Plane, Scan
    from dustwatch.processing.glass_map import GlassMap
    from dustwatch.processing.image import ImageInfo
    from dustwatch.processing.residual import Codes
    from dustwatch.processing.simulate import SimulatedFrame

    Line: TypeAlias = tuple[float, float, float, float, float, float]
    """Square error in D of the map and of the fill; PSNR in dB of the scan, ours, the fill, and division by truth."""

COUNTS = (4, 8, 24)
LOOKED_AT = 4
"""The first frames are in every map."""

DIAMETERS_PX = (0, 8, 16, 32, np.inf)
LARGE = RollParams(frames=max(COUNTS), height=960, width=1440, particles=100, scale=2.0)
_HOLE_D = 0.01
_TONE = Tone()


@dataclass(frozen=True, slots=True)
class Observed:
    """A frame with its truth, its file, and what it tells of its glass."""

    frame: SimulatedFrame
    info: ImageInfo
    witness: Witness

    @property
    def codes(self) -> Codes:
        return self.witness.codes.read(0, self.info.height, 0, self.info.width)


def observed(roll: Roll, folder: Path, index: int, threads: int) -> Observed:
    frame, file = roll.frame(index), folder / f"{index}.tif"
    tifffile.imwrite(file, frame.scan, photometric="rgb", metadata=None)
    info = probe(file)
    codes = observe(info, _TONE, LearnParams().residual, file.with_suffix(".codes"), threads).codes
    return Observed(frame, info, Witness(codes, Placement(frame.offset_px), index))


def learnt(frames: Sequence[Observed], folder: Path, threads: int) -> GlassMap:
    folder.mkdir()
    height, width = frames[0].info.height, frames[0].info.width
    fixed = np.zeros((-(-height // CELL_PX), -(-width // CELL_PX)), np.bool_)
    witnesses = [one.witness for one in frames]
    return learn(witnesses, Patch((0, 0), height, width), fixed, LearnParams(), folder, threads, lambda _: lambda: None)


def diameters(glass: Plane) -> Plane:
    """Of the particle at each pixel, in px; 0 where there is none."""
    labels, count = ndimage.label(glass > INSIDE_D)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    return np.asarray(np.sqrt(areas * 4 / np.pi)[labels], np.float32)


def with_density(frame: SimulatedFrame, density: np.ndarray, where: Mask) -> Scan:
    """The scan with another density (rows, columns, colours) there."""
    scan = frame.scan.copy()
    scan[where] = to_values(density[where], _TONE, 65535).astype(scan.dtype)
    return scan


def lines(one: Observed, dirt: FrameDirt, ours: Scan) -> list[Line]:
    """A line for each class of size in a frame; nan where it has none."""
    frame, hole = one.frame, one.frame.glass > _HOLE_D
    shown = density_table(_TONE, 65535)[frame.scan]
    holes = Holes(pixels_of(hole), hole.shape)
    spanned = shown.copy()
    spanned[hole] = holes.span(shown[*holes.edge].T).T
    pictures = (
        frame.scan,
        ours,
        with_density(frame, spanned, hole),
        with_density(frame, shown - frame.glass[..., None], hole),
    )
    found = dirt_in_frame(dirt, Span(0, len(frame.glass), 0, len(frame.glass)), 0.0)
    known = np.zeros_like(frame.glass)
    known[tuple(found.pixels)] = found.density
    residual, _ = decode(one.codes)
    missing = np.zeros_like(residual)
    missing[hole] = residual[hole] - holes.span(residual[*holes.edge][None])[0]
    guesses = (
        known,
        missing,
    )
    size = diameters(frame.glass)
    found = []
    for least, most in pairwise(DIAMETERS_PX):
        other = (size <= least) | (size > most)
        # What has dirt on the film is not looked at: so only these particles are.
        only = replace(frame, specks=np.where(other, np.float32(1), frame.specks))
        inside = (only.glass > INSIDE_D) & (only.specks < _HOLE_D / 2)
        errors = (((guess - frame.glass)[inside] ** 2).mean() if inside.any() else np.nan for guess in guesses)
        decibels = (figures(picture, only).psnr_db for picture in pictures)
        found.append((*errors, *decibels))
    return found


def measure(roll: Roll, threads: int) -> dict[int, list[Line]]:
    """A line for each class of size, mean over the frames looked at, by the number of frames learnt from."""
    table = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        frames = [observed(roll, folder, index, threads) for index in range(len(roll))]
        for count in COUNTS:
            glass = learnt(frames[:count], folder / f"map {count}", threads)
            told = []
            for index, one in enumerate(frames[:LOOKED_AT]):
                dirt = FrameDirt(glass, one.witness.codes, index, one.witness.placement)
                picture, mask = folder / "cleaned.tif", folder / "mask.png"
                clean(one.info, dirt, _TONE, LearnParams().residual, RepairParams(), picture, mask, threads)
                told.append(lines(one, dirt, tifffile.imread(picture)))
            table[count] = [tuple(np.nanmean(column, axis=0)) for column in zip(*told, strict=True)]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="How well particles of different sizes are known, and come off.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    table = measure(Roll(replace(LARGE, seed=arguments.seed), landscape(arguments.seed)), arguments.threads)
    print("| diameter, px | frames | density off: map | one fill | scan | ours | fill alone | divided by the truth |")
    print("|---|---|---|---|---|---|---|---|")
    for number, (least, most) in enumerate(pairwise(DIAMETERS_PX)):
        name = f"over {least}" if most == np.inf else f"{least} to {most}"
        for count in COUNTS:
            line = table[count][number]
            off = " | ".join(f"{np.sqrt(error):.3f} D" for error in line[:2])
            print(f"| {name} | {count} | {off} | {' | '.join(f'{level:.1f} dB' for level in line[2:])} |", flush=True)


if __name__ == "__main__":
    main()
