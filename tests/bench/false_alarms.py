"""Measure what learning takes for dirt on clean glass, by the kind of film and the number of frames.

    python -m tests.bench.false_alarms [--data DIR] [--threads N] [--quick]

Frames from clean glass (there is dirt on the film) are learnt as if they lay on one glass. Prints a Markdown table: how
the significance is spread, beside a Gaussian of unit deviation, and what comes of it by the megapixel.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage, stats

from dustwatch.daemon.glass import residual_among
from dustwatch.processing import learn as learning
from dustwatch.processing.cells import Patch, fixed_cells
from dustwatch.processing.density import Tone
from dustwatch.processing.estimate import estimate
from dustwatch.processing.evidence import Voices, gather, hear, suspects
from dustwatch.processing.fingerprint import MatchParams, common_films, same_scene
from dustwatch.processing.landmarks import number_scenes
from dustwatch.processing.learn import MOST_FRAMES, LearnParams, Witness, glass_tiles, lay, look_again
from dustwatch.processing.observe import Observation, observe
from dustwatch.processing.placement import Placement
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import ResidualParams
from dustwatch.processing.scenes import busy, landscape
from dustwatch.processing.simulate import Roll, RollParams, Scene
from dustwatch.processing.spots import TOUCHING
from dustwatch.processing.texture import SQUARE_PX, Moduli
from tests.bench.rolls import photographs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dustwatch.processing.arrays import Mask, Plane, Planes
    from dustwatch.processing.strips import Tile

MOST_GROUPS = 4
"""Groups of few frames that are learnt, since one alone shows little; of many frames one is."""

SURE = 0.95
"""How sure it is that the true rate lies below the limit that is printed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame as learning gets it: what was observed, and where the glass lay, (rows, columns) in px."""

    observation: Observation
    offset: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moments:
    """How many values there are, their sum, and that of their squares."""

    count: int
    total: float
    squares: float

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self.squares / self.count - (self.total / self.count) ** 2))


@dataclass(frozen=True, slots=True)
class Alarms:
    """What clean glass looks like to one or several groups of frames.

    The significance of all frames (`whole`), and that `without_loudest`. Pixels over `grow` and `seed` in all frames,
    and over `rest` without the loudest; spots that are suspected by all frames (`by_all`) and by runs of them
    (`by_runs`); particles that are `accepted` into the map, and its `dirty` pixels.
    """

    whole: Moments
    without_loudest: Moments
    grow: int
    seed: int
    rest: int
    by_all: int
    by_runs: int
    accepted: int
    dirty: int

    @property
    def megapixels(self) -> float:
        return self.whole.count / 1e6


def total(of: Sequence[Alarms]) -> Alarms:
    """All of them as one."""

    def moments(name: str) -> Moments:
        every: list[Moments] = [getattr(one, name) for one in of]
        return Moments(sum(m.count for m in every), sum(m.total for m in every), sum(m.squares for m in every))

    counts = ("grow", "seed", "rest", "by_all", "by_runs", "accepted", "dirty")
    return Alarms(
        moments("whole"),
        moments("without_loudest"),
        *(sum(getattr(one, name) for one in of) for name in counts),
    )


def smooth(seed: int) -> Scene:
    """Skies and walls: light that changes gently in some direction, and nothing else."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 31, number))
        down, across = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
        turn = rng.uniform(0, 2 * np.pi)
        log_light = rng.uniform(-2.0, -0.4) + rng.uniform(0.1, 0.5) * (np.sin(turn) * down + np.cos(turn) * across)
        light = 10 ** log_light[..., None] * rng.uniform(0.6, 1, 3)
        return np.asarray(np.clip(light, 0, 1), np.float32)

    return scene


def observed(roll: Roll, folder: Path, threads: int) -> list[Seen]:
    """What the frames of the roll leave behind in `folder`."""

    def one(index: int) -> Seen:
        frame, scan = roll.frame(index), folder / f"{index}.tif"
        tifffile.imwrite(scan, frame.scan, photometric="rgb", metadata=None)
        seen = observe(probe(scan), Tone(), ResidualParams(), folder / f"{index}.codes", 1)
        scan.unlink()
        return Seen(seen, frame.offset_px)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(roll))))


def alarms(frames: Sequence[Seen], params: LearnParams, threads: int) -> Alarms:
    """Learn the dirt as `processing.learn` does, from frames of different scenes, and watch what becomes of each tile.

    Cells that show the same film in all frames are learnt nothing from, and are not counted.
    """
    prints = [frame.observation.fingerprint for frame in frames]
    match = MatchParams()
    scenes = np.array(number_scenes(prints, lambda a, b: same_scene(a, b, match)))
    codes = frames[0].observation.codes
    patch = Patch((0, 0), codes.height, codes.width)
    offsets = [one.offset for one in frames]
    fixed = fixed_cells(common_films(patch, zip(prints, offsets, strict=True)), match.same_film_d)
    witnesses = [
        Witness(residual_among(len(frames), one.observation.codes), Placement(one.offset), scene)
        for one, scene in zip(frames, scenes, strict=True)
    ]
    residual = params.residual.on(codes.height, codes.width)

    def watched(tile: Tile) -> Alarms:
        laid = [lay(one, tile, patch.corner) for one in witnesses]
        moduli = [Moduli.of(one.codes) for one in laid]
        voices = hear(laid, moduli, residual, scenes, scenes < 0)  # none is bare
        parts, density = learning._suspected(voices, params)
        telling = ~learning._spread(fixed, tile)
        parts[~telling] = 0
        dirty = np.zeros(tile.shape, np.bool_)
        if parts[tile.inner].any():
            look = look_again(laid, moduli, scenes, parts, residual)
            dirt = estimate(look, density[look.mask], params.lives)
            dirty = dirty if dirt is None else dirt.lives > 0
        evidence = gather(voices)
        asked = telling[tile.inner]
        inside = np.zeros(tile.shape, np.bool_)
        inside[tile.inner] = asked
        whole, rest = evidence.significance[inside], evidence.without_loudest(inside)
        return Alarms(
            moments(whole),
            moments(rest),
            int((whole > params.evidence.grow).sum()),
            int((whole > params.evidence.seed).sum()),
            int((rest > params.evidence.without_loudest).sum()),
            spots(parts == 1, tile),
            spots(parts > 1, tile),
            spots(dirty, tile),
            int(dirty[tile.inner].sum()),
        )

    with ThreadPoolExecutor(threads) as pool:
        return total(list(pool.map(watched, glass_tiles(codes.height, codes.width, residual, len(witnesses)))))


def moments(values: Plane) -> Moments:
    return Moments(values.size, float(values.sum(dtype=np.float64)), float(np.square(values, dtype=np.float64).sum()))


def spots(mask: Mask, tile: Tile) -> int:
    """Connected spots whose middle lies inside the tile, so that none is counted by two tiles."""
    labels, count = ndimage.label(mask, TOUCHING)
    middles = np.reshape(ndimage.center_of_mass(mask, labels, range(1, count + 1)), (count, 2))
    middles += (tile.rows.low, tile.columns.low)
    first, past = zip(*((span.start, span.stop) for span in (tile.rows, tile.columns)), strict=True)
    return int(((middles >= first) & (middles < past)).all(axis=1).sum())


def groups(frames: Sequence[Seen], size: int) -> list[Sequence[Seen]]:
    """Frames as glasses of `size` frames each; of large ones the newest that a map is learnt from."""
    starts = range(0, len(frames) - size + 1, size)
    most = min(MOST_GROUPS, max(MOST_FRAMES // size, 1))
    return [frames[start : start + size][-MOST_FRAMES:] for start in starts[:most]]


def at_most(count: int, megapixels: float) -> float:
    """The rate by the megapixel that is exceeded, if `count` were found, with a chance of 1 - `SURE` (Poisson)."""
    return float(stats.chi2.ppf(SURE, 2 * (count + 1)) / 2 / megapixels)


HEADS = (
    "film",
    "frames",
    "megapixels",
    "deviation",
    "over grow",
    "over seed",
    "deviation without loudest",
    "over without_loudest",
    "suspected by all, a megapixel",
    "by runs",
    "accepted, a megapixel",
    f"at most ({SURE:.0%})",
    "dirty pixels",
)


def gaussian(params: LearnParams) -> list[str]:
    """The line of the table for noise that deviates by what the thresholds call one, as smooth as the significance."""
    asked = params.evidence
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((2000, 2000), np.float32), 1.0)
    noise /= noise.std()
    weights = np.ones((1, *(-(-length // SQUARE_PX) for length in noise.shape)), np.float32)
    alone = Voices(np.stack([np.zeros_like(noise), noise]), weights, np.ones(1, np.bool_))
    found = suspects(gather(alone), asked, round(params.residual.background_px / 4)).wide
    grow, seed, rest = (f"{stats.norm.sf(t):.1e}" for t in (asked.grow, asked.seed, asked.without_loudest))
    rate = ndimage.label(found, TOUCHING)[1] / (noise.size / 1e6)
    return ["Gaussian", "", "", "1", grow, seed, "1", rest, f"{rate:.2f}", "", "", "", ""]


def cells(film: str, frames: int, found: Alarms) -> list[str]:
    area = found.megapixels
    return [
        film,
        f"{frames}",
        f"{area:.1f}",
        f"{found.whole.deviation:.2f}",
        f"{found.grow / found.whole.count:.1e}",
        f"{found.seed / found.whole.count:.1e}",
        f"{found.without_loudest.deviation:.2f}",
        f"{found.rest / found.whole.count:.1e}",
        f"{found.by_all / area:.2f}",
        f"{found.by_runs / area:.2f}",
        f"{found.accepted / area:.2f}",
        f"{at_most(found.accepted, area):.2f}",
        f"{found.dirty / found.whole.count:.1e}",
    ]


def table(films: dict[str, Scene], sizes: Sequence[int], base: RollParams, threads: int) -> Iterator[str]:
    """The lines of the table, as they are found."""
    params = LearnParams()
    yield f"| {' | '.join(HEADS)} |"
    yield f"|{'---|' * len(HEADS)}"
    yield f"| {' | '.join(gaussian(params))} |"
    for film, scene in films.items():
        with tempfile.TemporaryDirectory() as folder:
            frames = observed(Roll(base, scene), Path(folder), threads)
            for size in sizes:
                found = total([alarms(group, params, threads) for group in groups(frames, size)])
                yield f"| {' | '.join(cells(film, size, found))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="What is taken for dirt on clean glass.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="photos/*.jpg")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small rolls of generated scenes")
    arguments = parser.parse_args()
    seed = 1
    base = RollParams(frames=50, height=800, width=1200, particles=0, seed=seed)
    sizes = [2, 4, 8, 16, 24, 50]
    if arguments.quick:
        base = replace(base, frames=8, height=400, width=600)
        sizes = sizes[:3]
    photos = [] if arguments.quick else sorted((arguments.data / "photos").glob("*.jpg"))
    films = {"smooth": smooth(seed), "landscapes": landscape(seed), "drawn": busy(seed)}
    if photos:
        films["photographs"] = photographs(photos, seed)
    print(f"Clean glass, frames of {base.width} x {base.height}; of 50 the newest {MOST_FRAMES} are learnt from.\n")
    for line in table(films, sizes, base, arguments.threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()
