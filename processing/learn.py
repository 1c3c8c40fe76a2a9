"""The map of the dirt on a glass, learnt from what the frames of a group left behind, tile by tile.

In each tile the frames' residuals are laid over each other, bent straight where the carriage wobbled; where they
agree, dirt is suspected (`evidence`). Each frame is filled there (`fill`), and what is missing against the fill is the
dirt's density, without the bias of a background that the dirt itself has darkened. Its robust mean over the frames in
which the particle is there (`estimate`) is the map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .cells import CELL_PX
from .drift import STEADY
from .estimate import Dirt, SecondLook, estimate
from .evidence import EvidenceParams, gather, hear, runs, suspects
from .fill import Holes
from .glass_map import GlassMap, MapDraft, MapWindow, in_steps
from .particles import LifeParams
from .placement import turned_window
from .pool import in_order
from .register import BEFORE_PX, MARGIN_PX, Laid, split
from .residual import UNKNOWN, ResidualParams
from .spots import pixels_of
from .strips import Span, Tile, tiles
from .texture import SQUARE_PX, Moduli, reach_px

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .arrays import Mask, Plane
    from .cells import Patch
    from .drift import Drift
    from .evidence import Voices
    from .placement import Placement
    from .planes import PlaneOnDisk

MOST_FRAMES = 32
"""Frames that one map is learnt from: as many as a life has bits."""

_TILE_PX = 256, 1024
"""The least and the largest side of a tile: the fewer frames are learnt from, the larger tiles can be."""

_STACK_BYTES, FLIGHT_BYTES = 112 << 20, 256 << 20
"""What a tile may take in memory, and all that are in flight."""

_PIXEL_BYTES, _PIXEL_FRAME_BYTES = 32, 10
"""What a pixel of a tile takes in memory while it is looked at, and what it takes more for each frame."""

_MAP_PIXEL_BYTES = 8
"""What it takes when it has been looked at."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A frame of the group: its coded residual, where the glass lies in it and how that drifts, and its scene.

    Frames with the same `scene` show the same film, so they are one witness of what is not film. A `bare` one shows no
    film, and is believed alone.
    """

    codes: PlaneOnDisk
    placement: Placement
    scene: int
    bare: bool = False
    drift: Drift = STEADY


@dataclass(frozen=True, slots=True)
class LearnParams:
    """Everything that learning depends on."""

    residual: ResidualParams = field(default_factory=ResidualParams)
    evidence: EvidenceParams = field(default_factory=EvidenceParams)
    lives: LifeParams = field(default_factory=LifeParams)


def learn(
    witnesses: Sequence[Witness],
    patch: Patch,
    fixed: Mask,
    params: LearnParams,
    folder: Path,
    threads: int,
    steps: Callable[[int], Callable[[], None]],
) -> GlassMap:
    """Learn the dirt on a patch of glass from 2 to `MOST_FRAMES` witnesses and leave it in `folder` as ``map``.

    `fixed` (rows / 32, columns / 32) marks cells of the patch that show the same film in all frames, from which nothing
    is learnt but what bare witnesses show. `steps` is told how many there are, and gives what is called after each.
    Memory is a stack of tiles; the result does not depend on `threads`. Raises OSError where the disk is full.
    """
    if not 2 <= len(witnesses) <= MOST_FRAMES:
        raise ValueError(f"a map is learnt from 2 to {MOST_FRAMES} frames, not {len(witnesses)}")
    height, width = patch.height, patch.width
    params = replace(params, residual=params.residual.on(height, width))
    plan = glass_tiles(height, width, params.residual, len(witnesses))
    step = steps(len(plan))

    def work(tile: Tile) -> tuple[Tile, MapWindow | None]:
        dirt, inner = _learn_tile(witnesses, patch, fixed, params, tile), tile.inner
        if dirt is None:
            return tile, None
        return tile, in_steps(dirt.density[inner], dirt.doubt[inner], dirt.lives[inner])

    with MapDraft(folder / "map", patch) as draft:
        item_bytes, found_bytes = tile_bytes(plan, len(witnesses)), _MAP_PIXEL_BYTES * math.prod(plan[0].shape)
        for tile, found in in_order(threads, item_bytes, work, plan, FLIGHT_BYTES, found_bytes):
            step()
            if found is not None:
                draft.add(tile.rows.start, tile.columns.start, found)
        return draft.finish()


def glass_tiles(height: int, width: int, residual: ResidualParams, frames: int) -> list[Tile]:
    """The tiles in which a glass is looked at in so many frames, each with what its pixels depend on around it."""
    # Film around holes, by which they are filled, in whole squares: so all tiles see the same ones.
    halo, (least, most) = max(reach_px(residual), 3 * SQUARE_PX), _TILE_PX
    affordable = math.isqrt(_STACK_BYTES // _pixel_bytes(frames)) - 2 * halo
    return tiles(height, width, size=min(max(affordable // CELL_PX * CELL_PX, least), most), halo=halo)


def tile_bytes(plan: Sequence[Tile], frames: int) -> int:
    """What the largest of these tiles takes in memory while it is looked at in so many frames."""
    return _pixel_bytes(frames) * max(math.prod(tile.shape) for tile in plan)


def _pixel_bytes(frames: int) -> int:
    return _PIXEL_BYTES + _PIXEL_FRAME_BYTES * frames


def lay(witness: Witness, tile: Tile, corner: tuple[int, int]) -> Laid:
    """The witness laid over a tile, halo included, of a map that begins at `corner` of the glass.

    Outside the frame nothing is known.
    """
    offset = witness.placement.upright(witness.codes.height, witness.codes.width)
    drift, axis = witness.drift, witness.drift.axis
    span = (tile.rows, tile.columns)[axis]
    shifts = np.add(corner, offset) + drift.at(np.arange(span.low, span.high) + corner[axis])
    whole, beyond, more = split(shifts)
    codes = turned_window(
        witness.codes,
        witness.placement.orientation,
        tile.rows.low + whole[0] - BEFORE_PX,
        tile.columns.low + whole[1] - BEFORE_PX,
        (tile.shape[0] + MARGIN_PX + more[0], tile.shape[1] + MARGIN_PX + more[1]),
        outside=int(UNKNOWN),
    )
    return Laid(np.ascontiguousarray(codes), beyond, axis)


def _learn_tile(
    witnesses: Sequence[Witness], patch: Patch, fixed: Mask, params: LearnParams, tile: Tile
) -> Dirt | None:
    """The dirt in one tile, halo included; None where its glass is clean."""
    frames = [lay(one, tile, patch.corner) for one in witnesses]
    moduli = [Moduli.of(frame.codes) for frame in frames]
    scenes = np.array([witness.scene for witness in witnesses])
    bare = np.array([witness.bare for witness in witnesses])
    parts, density = _suspected(hear(frames, moduli, params.residual, scenes, bare), params)
    stays = _spread(fixed, tile)
    if bare.any() and stays.any():
        without_film = np.flatnonzero(bare)
        stays &= ~_seen_without_film([frames[k] for k in without_film], [moduli[k] for k in without_film], params)
    parts[stays] = 0
    if not parts[tile.inner].any():
        return None
    look = look_again(frames, moduli, scenes, parts, params.residual, bare)
    return estimate(look, density[look.mask], params.lives)


def _margin_px(params: LearnParams) -> int:
    """How far the soft rim of a particle is followed."""
    return round(params.residual.background_px / 4)


def _suspected(voices: Voices, params: LearnParams) -> tuple[npt.NDArray[np.uint8], Plane]:
    """By which run of scenes, from 1, dirt is suspected, 0 where by none, and its density, both (rows, columns)."""
    parts = np.zeros(voices.said.shape[1:], np.uint8)
    density, spots = np.zeros(parts.shape, np.float32), np.zeros(parts.shape, np.bool_)
    count = len(voices.bare)
    for number, (first, stop) in enumerate(runs(count), start=1):
        evidence = gather(voices.of_run(first, stop))
        needed = params.evidence if stop - first == count else params.evidence.of_a_run
        found = suspects(evidence, needed, _margin_px(params), spots)
        if found.spots.any():
            spots |= found.spots
            news = found.wide & (parts == 0)
            density[news] = evidence.density(news)
            parts[news] = number
    return parts, density


def _seen_without_film(frames: Sequence[Laid], moduli: Sequence[Moduli], params: LearnParams) -> Mask:
    """Where frames without film, which are one scene, suspect dirt by themselves."""
    count = len(frames)
    voices = hear(frames, moduli, params.residual, np.zeros(count, np.int64), np.ones(count, np.bool_))
    return suspects(gather(voices), params.evidence, _margin_px(params)).wide


def look_again(
    frames: Sequence[Laid],
    moduli: Sequence[Moduli],
    scenes: npt.NDArray[np.int64],
    parts: npt.NDArray[np.uint8],
    params: ResidualParams,
    bare: npt.NDArray[np.bool_] | None = None,
) -> SecondLook:
    """What frames laid over a tile show where `parts` (rows, columns) is not 0, if the film there is guessed.

    `moduli` are those of their codes.
    """
    places = pixels_of(parts > 0)
    holes = Holes(places, parts.shape)
    shown, seen = (np.stack(values) for values in zip(*(frame.at(*places) for frame in frames), strict=True))
    spanned = np.concatenate([holes.span(frame.at(*holes.edge)[0][None]) for frame in frames])
    deviation = np.empty_like(shown)
    for k, (frame, told) in enumerate(zip(frames, moduli, strict=True)):
        film = told.without(frame.codes, *frame.covered(*places)).texture(params)
        deviation[k] = film.at(*frame.pixels(*places))
    return SecondLook(parts, shown - spanned, deviation, seen, scenes, bare)


def _spread(cells: Mask, tile: Tile) -> Mask:
    """Cells as pixels of the tile, halo included."""

    def pixels(span: Span, count: int) -> npt.NDArray[np.intp]:
        return np.minimum(np.arange(span.low, span.high) // CELL_PX, count - 1)

    return cells[pixels(tile.rows, cells.shape[0])][:, pixels(tile.columns, cells.shape[1])]
