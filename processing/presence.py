"""Which dirt of a map lies in a frame that came after the map was learnt, and so is no witness of it.

Only particles that lay on the glass in the map's newest witness are looked for: of what has fallen since the map knows
nothing, and what was gone by then does not come back. Each is judged as in learning, by what the frame misses
against the film guessed there; where the film is too busy to tell, dirt is taken to have stayed, as it mostly does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .glass_map import DENSITY_STEP_D, GlassMap, MapDraft, MapWindow
from .learn import FLIGHT_BYTES, MOST_FRAMES, Witness, glass_tiles, lay, look_again, tile_bytes
from .particles import LifeParams, odds
from .pool import in_order
from .texture import Moduli

if TYPE_CHECKING:
    from pathlib import Path

    from .arrays import Mask
    from .drift import Drift
    from .placement import Placement
    from .planes import PlaneOnDisk
    from .residual import ResidualParams
    from .strips import Tile


def present(
    glass: GlassMap,
    last: int,
    codes: PlaneOnDisk,
    placement: Placement,
    drift: Drift,
    gap: int,
    residual: ResidualParams,
    params: LifeParams,
    destination: Path,
    threads: int,
) -> GlassMap:
    """Find the dirt of `glass` that lies in a later frame, whose coded residual is `codes`.

    `last` is the number of the map's newest witness, `gap` (1 or more) how many frames of the glass later this one
    came, `placement` where the glass lies in it, and `drift` how it drifts from there. The result is a map of that dirt
    alone, at `destination`, of which the frame is witness 0. Memory is a few tiles; the result does not depend on
    `threads`. Raises ValueError for another `last` or `gap`, OSError where the disk is full.
    """
    if not 0 <= last < MOST_FRAMES:
        raise ValueError(f"a map has witnesses 0 to {MOST_FRAMES - 1}, not {last}")
    if gap < 1:
        raise ValueError(f"a later frame comes 1 or more frames after the map, not {gap}")
    height, width = glass.patch.height, glass.patch.width
    residual = residual.on(height, width)
    frame = Witness(codes, placement, scene=0, drift=drift)
    prior = _prior_odds(gap, params)

    def work(tile: Tile) -> tuple[Tile, MapWindow | None]:
        return tile, _present_in_tile(glass, last, frame, prior, residual, tile)

    plan = glass_tiles(height, width, residual, 1)
    with MapDraft(destination, glass.patch) as draft:
        for tile, there in in_order(threads, tile_bytes(plan, 1), work, plan, FLIGHT_BYTES):
            if there is not None:
                draft.add(tile.rows.start, tile.columns.start, there)
        return draft.finish()


def _prior_odds(gap: int, params: LifeParams) -> float:
    """Natural logarithm of the odds that a particle is still, or again, where it lay `gap` frames before."""
    return 2 * math.atanh((1 - 2 * params.change_rate) ** gap)


def _present_in_tile(
    glass: GlassMap, last: int, frame: Witness, prior: float, residual: ResidualParams, tile: Tile
) -> MapWindow | None:
    """What of the dirt in one tile of the map is there; None where there was none in the newest witness."""
    dirt = glass.window(tile.rows.low, tile.columns.low, tile.shape)
    if dirt is None:
        return None
    mask: Mask = (dirt.lives & np.uint32(1 << last)) > 0
    if not mask[tile.inner].any():
        return None
    laid = lay(frame, tile, glass.patch.corner)
    look = look_again([laid], [Moduli.of(laid.codes)], np.zeros(1, np.int64), mask.astype(np.uint8), residual)
    template = dirt.density[mask].astype(np.float32) * np.float32(DENSITY_STEP_D)
    label, count = look.particles
    (ratios,) = odds(look.missing, template, look.error, label, count)
    there = np.zeros_like(mask)
    there[mask] = (ratios + prior > 0)[label]
    there = there[tile.inner]
    return MapWindow(dirt.density[tile.inner] * there, dirt.doubt[tile.inner] * there, there.astype(np.uint32))
