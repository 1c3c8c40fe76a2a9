"""Measure how fast and how well holes are filled, against cv2.inpaint at 16 bit, if both know where they are.

    python -m tests.bench.inpaint [--pictures 6] [--repeats 5] [--seed 1] [--data DIR]

Pictures are negatives without grain, holes dirt of two sizes: as frames of 1800 and of 9000 pixels have it. Both have
two threads, and take turns. Ours finds the holes of each half of a picture and spans them, from stored values to
density; cv2.inpaint (radius 3) fills each half of each channel, which lies there at gamma 2.2, as errors are counted.
Prints a Markdown table: megapixels of holes a second by the median time of each picture, and PSNR inside the holes, the
mean over the pictures. Without photographs in DIR there are generated scenes alone, and invented outlines of dirt.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dustwatch.processing.clean import RepairParams
from dustwatch.processing.density import Tone, density_table, to_values
from dustwatch.processing.fill import Holes
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from dustwatch.processing.spots import pixels_of
from dustwatch.processing.strips import spans

from .peers import GAMMA
from .quality import markdown
from .rolls import photographs, real_outlines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dustwatch.processing.arrays import Mask, Planes, Scan
    from dustwatch.processing.simulate import Scene
    from dustwatch.processing.strips import Span

THREADS = 2
HEIGHT, WIDTH = 1200, 1500
DIRT = {1800: 180, 9000: 15}
"""Particles in a picture, by the width in px of the frames in which they are as large."""

OURS, PEERS = "dustwatch", {"Navier-Stokes": cv2.INPAINT_NS, "Telea": cv2.INPAINT_TELEA}
_HALO_PX = 64
_MAXIMUM = 65535
_TONE = Tone()

Values = npt.NDArray[np.float32]


def out_of_focus(scene: Scene) -> Scene:
    """The same by a lens that spreads points over some 10 px."""

    def blurred(number: int, rows: int, columns: int) -> Planes:
        return ndimage.gaussian_filter(scene(number, rows, columns), (4, 4, 0))

    return blurred


class Ours:
    """Densities in the holes of the upper and of the lower half, found from stored values as `clean` does it."""

    def __init__(self, film: Scan, hole: Mask) -> None:
        self._film, self._hole = film, hole
        self.jobs = spans(len(film), -(-len(film) // THREADS), _HALO_PX)

    def fill(self, half: Span) -> Values:
        """(pixels, colours) with the halo."""
        part = slice(half.low, half.high)
        hole = self._hole[part]
        holes = Holes(pixels_of(hole), hole.shape)
        return holes.span(density_table(_TONE, _MAXIMUM)[self._film[part][*holes.edge]].T).T

    def inside(self, filled: Sequence[Values]) -> Values:
        """What is in the holes, (pixels, colours), 0..1 at gamma 2.2."""
        inner = []
        for half, spanned in zip(self.jobs, filled, strict=True):
            rows = np.nonzero(self._hole[half.low : half.high])[0]
            inner.append(spanned[(rows >= half.inner.start) & (rows < half.inner.stop)])
        return at_gamma(to_values(np.concatenate(inner), _TONE, _MAXIMUM))


class Inpainted:
    """Each half of each channel by OpenCV, at gamma 2.2."""

    def __init__(self, film: Scan, hole: Mask, method: int) -> None:
        self._hole, self._dirt, self._method = hole, hole.astype(np.uint8), method
        values = np.rint(at_gamma(film) * _MAXIMUM).astype(np.uint16)
        channels = [np.ascontiguousarray(values[..., channel]) for channel in range(3)]
        halves = spans(len(film), -(-len(film) // THREADS), _HALO_PX)
        self.jobs = [(channel, half) for channel in channels for half in halves]

    def fill(self, job: tuple[Scan, Span]) -> Scan:
        """The half without its halo."""
        channel, half = job
        part = slice(half.low, half.high)
        return np.asarray(cv2.inpaint(channel[part], self._dirt[part], 3, self._method)[half.inner], np.uint16)

    def inside(self, filled: Sequence[Scan]) -> Values:
        """As `Ours.inside`."""
        channels = [np.concatenate(filled[at : at + THREADS]) for at in range(0, len(filled), THREADS)]
        return np.stack([channel[self._hole] for channel in channels], axis=-1) / np.float32(_MAXIMUM)


def at_gamma(values: npt.NDArray[Any]) -> Values:
    """Stored values of a linear scan at gamma 2.2, 0..1."""
    return np.asarray((values / _MAXIMUM) ** (1 / GAMMA), np.float32)


def measured(roll: Roll, repeats: int) -> tuple[float, dict[str, float], dict[str, float]]:
    """Megapixels of holes in all pictures; the seconds that each takes to fill them, and its PSNR in dB."""
    megapixels, seconds, levels = 0.0, dict.fromkeys([OURS, *PEERS], 0.0), dict.fromkeys([OURS, *PEERS], 0.0)
    with ThreadPoolExecutor(THREADS) as pool:
        for index in range(len(roll)):
            frame = roll.frame(index)
            film = np.rint(np.clip(frame.film, 0, 1) * _MAXIMUM).astype(np.uint16)
            hole = frame.glass > RepairParams().min_density_d
            megapixels += np.count_nonzero(hole) / 1e6
            ways: dict[str, Any] = {name: Inpainted(film, hole, method) for name, method in PEERS.items()}
            times: dict[str, list[float]] = {OURS: [], **{name: [] for name in PEERS}}
            ways[OURS] = Ours(film, hole)
            for _ in range(repeats):
                for name, way in ways.items():
                    started = time.perf_counter()
                    filled = list(pool.map(way.fill, way.jobs))
                    times[name].append(time.perf_counter() - started)
                    if len(times[name]) == repeats:
                        error = way.inside(filled) - at_gamma(film[hole])
                        levels[name] -= 10 * math.log10((error**2).mean()) / len(roll)
                        seconds[name] += statistics.median(times[name])
    return megapixels, seconds, levels


def main() -> None:
    parser = argparse.ArgumentParser(description="Filling of known holes at 16 bit, against cv2.inpaint.")
    parser.add_argument("--pictures", type=int, default=6, help="of each kind")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="photos/*.jpg, dirt/*.png")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    photos = sorted((arguments.data / "photos").glob("*.jpg"))
    dirt = sorted((arguments.data / "dirt").glob("*.png"))
    generated = landscape(arguments.seed)
    scenes = {"landscapes": generated, "landscapes out of focus": out_of_focus(generated)}
    if photos:
        scenes = {"photographs": photographs(photos, arguments.seed), **scenes}
    lines = []
    for name, scene in scenes.items():
        for width, particles in DIRT.items():
            params = RollParams(
                frames=arguments.pictures,
                slots=arguments.pictures,
                height=HEIGHT,
                width=WIDTH,
                particles=particles,
                scale=width / 1800,
                specks=0,
                grain_d=0,
                seed=arguments.seed,
            )
            roll = Roll(params, scene, real_outlines(dirt, width))
            megapixels, seconds, levels = measured(roll, arguments.repeats)
            lines.append(
                [
                    name,
                    str(width),
                    *(f"{megapixels / spent:.2f}" for spent in seconds.values()),
                    *(f"{seconds[peer] / seconds[OURS]:.1f}" for peer in PEERS),
                    *(f"{level:.1f}" for level in levels.values()),
                    *(f"{levels[OURS] - levels[peer]:+.1f}" for peer in PEERS),
                ]
            )
    heads = [
        "pictures",
        "dirt as in frames of, px",
        *(f"{name}, megapixels/s" for name in seconds),
        *(f"times as fast as {peer}" for peer in PEERS),
        *(f"{name}, dB" for name in levels),
        *(f"over {peer}, dB" for peer in PEERS),
    ]
    print("\n".join(markdown(heads, lines)))


if __name__ == "__main__":
    main()
