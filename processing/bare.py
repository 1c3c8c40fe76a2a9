"""Scans of the bare light table, without film: whether they are that, and the dirt on the glass that they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .cells import CELL_PX
from .evidence import EvidenceParams, gather, hear, suspects
from .fingerprint import Fingerprint, MatchParams, match
from .learn import Witness, lay
from .placement import UNMOVED
from .residual import BLOCK_PX, UNKNOWN, ResidualParams, decode
from .spots import TOUCHING, peaks
from .strips import tiles
from .texture import Moduli, reach_px

if TYPE_CHECKING:
    from .arrays import Mask, Plane
    from .observe import Observation
    from .planes import PlaneOnDisk
    from .strips import Tile

_DARK_D = 1.0
"""A lamp that nothing covers is a few tenths of a density below full scale, however the scanner is set."""

_OPAQUE_D = 2.0
_MOST_COVERED = 0.5
"""A holder is denser than film ever is on the average, and has a window."""

_MOST_CLIPPED = 0.01
"""Scanners have some hot pixels; where more is clipped, the light was too strong for dirt to show."""

_MOST_SPREAD_D = 0.25
_MOST_TEXTURE_D = 0.02
"""A lamp that gives a third less in the corners varies by .18 D, and a scanner's noise is hardly .01 D.
Photographs vary by .4 to 2 D, and are busier than .02 D nearly everywhere."""

_DIRT_TEXTURES = 2.0
_FEWEST_POINTS = 20
"""What stands out by so many textures is dirt and not noise; with fewer such points two glasses are not compared."""

_TILE_PX = 512
_LONGEST_PX = 2000
_BLACK_D = 0.5
"""Density that is black in the picture."""


def why_not_bare(seen: Observation) -> str | None:
    """Why a scan cannot be one of the bare light table in which dirt is seen, and what to do; None if it can."""
    film = seen.fingerprint.film.values
    darkness = float(np.median(film))
    covered = ndimage.binary_dilation(film > _OPAQUE_D, np.ones((3, 3), np.bool_))  # with the soft edge
    if darkness > _DARK_D or covered.mean() > _MOST_COVERED:
        return (
            f"too dark for a light table without film ({darkness:.1f} D); "
            "see that the lamp is on, and that neither film nor anything else covers it"
        )
    thin, dense = np.percentile(film[~covered], (5, 95))
    busy = float(np.median(seen.fingerprint.texture.values[~covered]))
    clipped = _clipped_share(seen.codes, ~covered)
    if dense - thin > _MOST_SPREAD_D or (busy > _MOST_TEXTURE_D and clipped <= _MOST_CLIPPED):
        return (
            f"is not evenly lit (its density varies by {dense - thin:.2f} D, and by {busy:.3f} D from pixel to pixel), "
            "so there seems to be film in it; take out the film, keep the holder where it is, and scan again"
        )
    if clipped > _MOST_CLIPPED:
        return f"over-exposed, {clipped:.0%} of it is clipped and hides the dirt; scan with less exposure, or less gain"
    return None


def same_dirt(first: Fingerprint, second: Fingerprint, params: MatchParams) -> bool:
    """Whether two scans of a bare light table show the same dirt; also where they show too little of it to tell."""
    there = [one.dark[one.dark[:, 2] > _DIRT_TEXTURES] for one in (first, second)]
    if min(map(len, there)) < _FEWEST_POINTS:
        return True
    found = match(there[0], there[1], first.height * first.width, params.reach_px(first.height, first.width))
    return found.score >= params.min_score


@dataclass(frozen=True, slots=True)
class BareDirt:
    """The dirt in a scan of the bare light table.

    `share` of the glass is dirty; `median_d` is the median of the particles' highest densities, 0 where there are none.
    `picture` (rows, columns) shows it dark on white, made smaller by a whole number.
    """

    particles: int
    share: float
    median_d: float
    picture: npt.NDArray[np.uint8]


def dirt_seen(codes: PlaneOnDisk, residual: ResidualParams, evidence: EvidenceParams) -> BareDirt:
    """Find the dirt in a scan of the bare light table by its coded residual. Memory is a tile and the picture."""
    residual = residual.on(codes.height, codes.width)
    factor = -(-max(codes.height, codes.width) // _LONGEST_PX)
    picture = np.full((-(-codes.height // factor), -(-codes.width // factor)), 255, np.uint8)
    densest: list[npt.NDArray[np.float32]] = []
    dirty = 0
    # Tiles begin where a pixel of the picture and a block do.
    unit = factor * BLOCK_PX
    for tile in tiles(codes.height, codes.width, size=max(_TILE_PX // unit, 1) * unit, halo=reach_px(residual)):
        density = _dirt_in(codes, tile, residual, evidence)
        labels, count = ndimage.label(density > 0, TOUCHING)
        # Each particle is counted in the tile in which its first pixel lies.
        numbers, firsts = np.unique(labels, return_index=True)
        inside = np.zeros(labels.shape, np.bool_)
        inside[tile.inner] = True
        counted = numbers[(numbers > 0) & inside.ravel()[firsts]]
        densest.append(peaks(density, labels, count)[counted - 1])
        own = density[tile.inner]
        dirty += int(np.count_nonzero(own))
        shown = np.rint(255 * (1 - np.minimum(_thinned(own, factor) / _BLACK_D, 1))).astype(np.uint8)
        top, left = tile.rows.start // factor, tile.columns.start // factor
        picture[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    found = np.concatenate(densest)
    median_d = float(np.median(found)) if len(found) else 0.0
    return BareDirt(len(found), dirty / (codes.height * codes.width), median_d, picture)


def _clipped_share(codes: PlaneOnDisk, cells: Mask) -> float:
    """Share of the picture that is clipped and lies in these cells."""
    clipped = 0
    for row, asked in enumerate(cells):
        top = row * CELL_PX
        band = codes.read(top, min(top + CELL_PX, codes.height), 0, codes.width)
        clipped += int(np.count_nonzero((band == UNKNOWN) & np.repeat(asked, CELL_PX)[: codes.width]))
    return clipped / (codes.height * codes.width)


def _dirt_in(codes: PlaneOnDisk, tile: Tile, residual: ResidualParams, evidence: EvidenceParams) -> Plane:
    """Density in D of the dirt in a tile, halo included; 0 where there is none."""
    frame = lay(Witness(codes, UNMOVED, scene=0, bare=True), tile, (0, 0))
    moduli, alone = Moduli.of(frame.codes), np.zeros(1, np.int64)
    told = gather(hear([frame], [moduli], residual, alone, alone == 0))
    stands_out, _ = decode(codes.read(tile.rows.low, tile.rows.high, tile.columns.low, tile.columns.high))
    return np.where(suspects(told, evidence, 0).spots, np.maximum(stands_out, 0), np.float32(0))


def _thinned(plane: Plane, factor: int) -> Plane:
    """The highest value of each square of `factor` px, so that no hair gets lost."""
    rows, columns = (np.arange(0, length, factor) for length in plane.shape)
    return np.maximum.reduceat(np.maximum.reduceat(plane, rows, axis=0), columns, axis=1)
