"""The map of the dirt on a glass, learnt from what the frames of a group left behind, tile by tile.

In each tile the frames' residuals are laid over each other; where they agree, dirt is suspected (`evidence`). Each
frame is filled there (`fill`), and what is missing against the fill is the dirt's density, without the bias of a
background that the dirt itself has darkened. Its robust mean over the frames in which the particle is there
(`particles`) is the map. Frames whose film is smooth at a place decide there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .evidence import EvidenceParams, gather, suspects
from .fill import fill
from .fingerprint import CELL_PX
from .image import in_order
from .particles import LifeParams, accepted, amplitude, lives, odds
from .planes import PlaneFile
from .register import BEFORE_PX, MARGIN_PX, resample, split
from .residual import UNKNOWN, ResidualParams, decode, texture
from .strips import Span, Tile, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .arrays import Mask, Plane

MOST_FRAMES = 32
"""Frames that one map is learnt from: as many as a life has bits."""

DENSITY_STEP_D = 1e-4
"""Densities and their doubt are kept as whole numbers of this."""

_TILE_PX = 256
_FLIGHT_BYTES = 256 << 20
_ROUNDS = 2
_REWEIGHTINGS = 6
_PLACE_PX = 16
_BLIND_D = 10.0


@dataclass(frozen=True, slots=True)
class Witness:
    """A frame of the group: its coded residual, where the glass lies in it (rows, columns, in px), and its scene.

    Frames with the same `scene` show the same film, so they are one witness of what is not film.
    """

    codes: PlaneFile
    offset: tuple[float, float]
    scene: int


@dataclass(frozen=True, slots=True)
class LearnParams:
    """Everything that learning depends on."""

    residual: ResidualParams = field(default_factory=ResidualParams)
    evidence: EvidenceParams = field(default_factory=EvidenceParams)
    lives: LifeParams = field(default_factory=LifeParams)


@dataclass(frozen=True, slots=True)
class GlassMap:
    """The dirt on a glass, on disk: 8 bytes a pixel where there is dirt, nothing elsewhere.

    `density` (int16) and `doubt` (uint16), its standard deviation, in steps of `DENSITY_STEP_D`; `lives` (uint32): bit
    k is set where the dirt is there in witness k. `dirty_px` counts pixels with dirt in any frame.
    """

    density: PlaneFile
    doubt: PlaneFile
    lives: PlaneFile
    dirty_px: int


@dataclass(frozen=True, slots=True)
class _Patch:
    """What was learnt in one tile, without its halo."""

    density: Plane
    doubt: Plane
    lives: npt.NDArray[np.uint32]


def learning_steps(height: int, width: int) -> int:
    """How many times `learn` calls `step` for frames of this size."""
    return len(tiles(height, width, size=_TILE_PX, halo=0))


def learn(
    witnesses: Sequence[Witness],
    fixed: Mask,
    params: LearnParams,
    folder: Path,
    threads: int,
    step: Callable[[], None],
) -> GlassMap:
    """Learn the dirt from 2 to `MOST_FRAMES` witnesses of one size and leave the map in `folder`.

    `fixed` (rows / 32, columns / 32) marks cells that show the same film in all frames, from which nothing is learnt.
    `step` is called now and then, see `learning_steps`. Memory is a stack of tiles; the result does not depend on
    `threads`. Raises OSError where the disk is full.
    """
    if not 2 <= len(witnesses) <= MOST_FRAMES:
        raise ValueError(f"a map is learnt from 2 to {MOST_FRAMES} frames, not {len(witnesses)}")
    height, width = witnesses[0].codes.height, witnesses[0].codes.width
    params = replace(params, residual=params.residual.on(height, width))
    files = {
        name: PlaneFile(folder / name, height, width, np.dtype(kind))
        for name, kind in (("density", np.int16), ("doubt", np.uint16), ("lives", np.uint32))
    }
    for file in files.values():
        file.create()
    plan = tiles(height, width, size=_TILE_PX, halo=_halo_px(params))
    stack_bytes = len(witnesses) * (_TILE_PX + 2 * _halo_px(params)) ** 2 * 4 * 6

    def work(tile: Tile) -> tuple[Tile, _Patch | None]:
        return tile, _learn_tile(witnesses, fixed, params, tile)

    dirty = 0
    for tile, patch in in_order(threads, stack_bytes, work, plan, flight_bytes=_FLIGHT_BYTES):
        step()
        if patch is None:
            continue
        top, left = tile.rows.start, tile.columns.start
        files["density"].write(top, left, _steps(patch.density, np.int16))
        files["doubt"].write(top, left, _steps(patch.doubt, np.uint16))
        files["lives"].write(top, left, patch.lives)
        dirty += int(np.count_nonzero(patch.lives))
    return GlassMap(files["density"], files["doubt"], files["lives"], dirty)


def _halo_px(params: LearnParams) -> int:
    return max(round(1.7 * params.residual.background_px) + 8, 40)


def _steps(plane: Plane, kind: type[np.int16] | type[np.uint16]) -> npt.NDArray[np.int16] | npt.NDArray[np.uint16]:
    limits = np.iinfo(kind)
    steps: npt.NDArray[np.int16] | npt.NDArray[np.uint16] = np.clip(
        np.rint(plane / DENSITY_STEP_D), limits.min, limits.max
    ).astype(kind)
    return steps


def align(witness: Witness, tile: Tile) -> tuple[Plane, Mask]:
    """The witness's residual in D on the map's grid, and where it is known: (rows, columns) of the tile, halo included.

    Outside the frame it is 0 and unknown.
    """
    whole, fraction = split(witness.offset)
    codes = witness.codes.window(
        tile.rows.low + whole[0] - BEFORE_PX,
        tile.columns.low + whole[1] - BEFORE_PX,
        (tile.shape[0] + MARGIN_PX, tile.shape[1] + MARGIN_PX),
        outside=int(UNKNOWN),
    )
    residual, known = decode(codes)
    return resample(residual, known, fraction)


def _learn_tile(witnesses: Sequence[Witness], fixed: Mask, params: LearnParams, tile: Tile) -> _Patch | None:
    """Everything about one tile; None where its glass is clean."""
    shape = (len(witnesses), *tile.shape)
    residuals, known = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    for k, witness in enumerate(witnesses):
        residuals[k], known[k] = align(witness, tile)
    busy = np.stack([texture(r, k, params.residual) for r, k in zip(residuals, known, strict=True)])
    scenes = np.array([witness.scene for witness in witnesses])
    by_scene = np.argsort(scenes, kind="stable")
    evidence = gather(residuals[by_scene], busy[by_scene], known[by_scene], scenes[by_scene])
    margin_px = round(params.residual.background_px / 4)  # how far the soft rim of a particle is followed
    mask = suspects(evidence, params.evidence, margin_px) & ~_spread(fixed, tile)
    if not mask[tile.inner].any():
        return None
    labels, count = ndimage.label(mask, np.ones((3, 3), np.bool_))
    label = labels[mask].astype(np.intp) - 1

    missing = (residuals - fill(residuals, mask))[:, mask]
    trusted = known & ~mask
    deviation = np.stack([texture(r, t, params.residual)[mask] for r, t in zip(residuals, trusted, strict=True)])
    seen = np.stack([k if k.all() else ndimage.binary_erosion(k, iterations=2) for k in known])[:, mask]
    deviation[~seen] = _BLIND_D

    places = _places(label, mask)
    shape_of = np.maximum(evidence.density[mask], np.float32(1e-4))
    density = (amplitude(missing, shape_of, deviation, label, count)[label] * shape_of).astype(np.float32)
    for _ in range(_ROUNDS):
        ratios = odds(missing, density, deviation, label, count)
        there = lives(ratios, params.lives)
        density, doubt = _robust_mean(missing, deviation, there[:, label] & seen, places)
    ratios = odds(missing, density, deviation, label, count)
    there = lives(ratios, params.lives) & accepted(ratios, there, scenes, params.lives)
    sure = _standing_out(density, doubt, mask)
    # What is not well known is worth less: the estimate that has the least expected error.
    density *= density**2 / (density**2 + 2 * doubt**2)
    bits = (there[:, label].astype(np.uint32) << np.arange(len(witnesses), dtype=np.uint32)[:, None]).sum(
        axis=0, dtype=np.uint32
    )
    bits[~sure] = 0
    if not bits.any():
        return None
    out = [_scatter(values * (bits > 0), mask)[tile.inner] for values in (density, doubt)]
    life = np.zeros(mask.shape, np.uint32)
    life[mask] = bits
    return _Patch(out[0], out[1], life[tile.inner])


def _spread(cells: Mask, tile: Tile) -> Mask:
    """Cells as pixels of the tile, halo included."""

    def pixels(span: Span, count: int) -> npt.NDArray[np.intp]:
        return np.minimum(np.arange(span.low, span.high) // CELL_PX, count - 1)

    return cells[np.ix_(pixels(tile.rows, cells.shape[0]), pixels(tile.columns, cells.shape[1]))]


def _scatter(values: npt.NDArray[np.float32], mask: Mask) -> Plane:
    plane = np.zeros(mask.shape, np.float32)
    plane[mask] = values
    return plane


def _robust_mean(
    missing: npt.NDArray[np.float32],
    deviation: npt.NDArray[np.float32],
    usable: Mask,
    places: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean of `missing` (frames, pixels) over the frames that are `usable`, and its deviation.

    Iteratively re-weighted from the median: a frame that disagrees with the others over a whole place, because an edge
    of its film passes there, hardly counts there. `places` (pixels) numbers them.
    """
    usable = np.where(usable.any(axis=0), usable, True)
    mean = _masked_median(missing, usable)
    area = np.bincount(places)
    for _ in range(_REWEIGHTINGS):
        error = (missing - mean) ** 2
        around = np.stack([(np.bincount(places, e) / area)[places] for e in error])
        weight = usable / (around + np.float32(0.02) * deviation**2 + np.float32(2e-5))
        total = weight.sum(axis=0)
        mean = (weight * missing).sum(axis=0) / total
    return mean.astype(np.float32), (1 / np.sqrt(total)).astype(np.float32)


def _places(label: npt.NDArray[np.intp], mask: Mask) -> npt.NDArray[np.intp]:
    """Number the places of the mask's pixels, (pixels): squares of a particle, so that each is of one piece of dirt."""
    rows, columns = (axis // _PLACE_PX for axis in np.nonzero(mask))
    squares = (label * mask.shape[0] + rows) * mask.shape[1] + columns
    return np.unique(squares, return_inverse=True)[1].reshape(-1)


def _standing_out(density: npt.NDArray[np.float32], doubt: npt.NDArray[np.float32], mask: Mask) -> Mask:
    """Which pixels of the mask, (pixels), are dirt and not the noise around it.

    They darken, and hang together with a core.
    """
    smooth, spread = (ndimage.gaussian_filter(_scatter(values, mask), 1.0) for values in (density, doubt))
    rim = mask & (_scatter(density, mask) > 0) & (smooth > spread)
    labels, count = ndimage.label(rim)
    cores = ndimage.maximum(smooth / np.maximum(spread, np.float32(1e-6)), labels, np.arange(count + 1)) > 4
    cores[0] = False
    return np.asarray(cores[labels][mask])


def _masked_median(values: npt.NDArray[np.float32], there: Mask) -> npt.NDArray[np.float32]:
    return np.asarray(np.nanmedian(np.where(there, values, np.float32(np.nan)), axis=0), np.float32)
