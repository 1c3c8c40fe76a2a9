"""How a frame stands out everywhere, coarsely: what a few points of another one are listened for in.

Points say where something small is darkest. On busy film most dirt makes no point of its own, but many pieces of it
together make themselves heard, at the one offset at which they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import log_ndtr

from .kernel import kernel
from .placement import turned, turned_box
from .smooth import smooth

if TYPE_CHECKING:
    from .arrays import Mask, Plane
    from .cells import Corner

_LARGEST = 2 << 20
"""Values in a relief beyond which it is made coarser: one is held for each frame that others are compared with."""

_COARSEST = 4
"""Pixels along each axis that a value stands for at most: dirt is not heard in squares much larger than itself."""

_FINE, _COARSE = 0.5, 1.25
"""Standard deviations of the two Gaussians between which dirt is, in values."""

_MOST = 1.5
"""Textures that stand for all beyond: nothing shall be heard for one loud place."""

_STEPS = 127 / _MOST
_SHOWN = np.float32(0.5)
"""What a relief shows of the contrast of a point, which is taken over more pixels."""

_TAIL = 0.8
"""By which sums that stray are made smaller before chance is asked: a few loud places stray further together than the
normal distribution says."""

HALO_STEPS = 6
"""Values around one that it depends on, in each direction."""

_FEWEST_OFFSETS = 16
"""Offsets to each side by which chance is judged, where fewer are asked for."""


@dataclass(frozen=True, slots=True)
class Relief:
    """What stands out between two scales, in units of the local texture: (rows, columns) of codes, `step` px each.

    The first begins at `corner`, in px. `sign` is -1 where light shall pass for dark.
    """

    values: npt.NDArray[np.int8]
    step: int
    corner: Corner = (0, 0)
    sign: int = 1

    @property
    def inverted(self) -> Relief:
        """The same if what is light were dark."""
        return replace(self, sign=-self.sign)

    def turned(self, orientation: int, height: int, width: int) -> Relief:
        """The same of a frame of this size once it is turned."""
        rows, columns = (count * self.step for count in self.values.shape)
        top, left, _ = turned_box(orientation, *self.corner, (rows, columns), height, width)
        values = np.ascontiguousarray(turned(self.values, orientation))
        return Relief(values, self.step, (top, left), self.sign)

    def sums(self, points: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], search_px: int) -> Plane:
        """What lies at the points (n, 2 or more), by weight and summed up, for each offset of them in steps.

        (offsets down, offsets right), odd, with no offset in the middle; they reach `search_px`, or further.
        """
        reach = max(-(-search_px // self.step), _FEWEST_OFFSETS)
        places = (points[:, :2] - np.array(self.corner, np.float32) + np.float32(0.5)) / self.step - np.float32(0.5)
        out = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        _sum(places.astype(np.float32), weights.astype(np.float32), self.values, out)
        out *= np.float32(self.sign / _STEPS)
        return out


@dataclass(frozen=True, slots=True)
class Heard:
    """The offset (down, right) in px at which sums are largest, by how much more than chance, and how surely.

    `score` is how improbable that is, in decades.
    """

    offset: tuple[float, float]
    above: float
    score: float


def step_of(height: int, width: int) -> int:
    """Pixels along each axis that one value of the relief stands for, of a picture of so many."""
    step = 2
    while step < _COARSEST and (height // step) * (width // step) > _LARGEST:
        step *= 2
    return step


def thinned(residual: Plane, known: Mask, size: int) -> tuple[Plane, Mask]:
    """Means over squares of `size` px, and where all of these are known; what fills no square is left out."""
    shape = residual.shape[0] // size, residual.shape[1] // size
    means, sure = np.zeros(shape, np.float32), np.ones(shape, np.bool_)
    _thin(residual, known, size, means, sure)
    return means, sure


@kernel
def _thin(residual: Plane, known: Mask, size: int, means: Plane, sure: Mask) -> None:
    share = np.float32(1 / size**2)
    for y in range(means.shape[0]):
        for v in range(size):
            for u in range(size):
                for x in range(means.shape[1]):
                    means[y, x] += residual[y * size + v, x * size + u] * share
                    sure[y, x] &= known[y * size + v, x * size + u]


def raised(residual: Plane, known: Mask, texture: Plane, step: int) -> npt.NDArray[np.int8]:
    """The relief of a picture, or of a window of it that begins at a multiple of `step`; 0 near what is not known."""
    blocks, sure = thinned(residual, known, step)
    if not blocks.size:
        return np.zeros(blocks.shape, np.int8)
    rows, columns = blocks.shape
    band = smooth(blocks, _FINE) - smooth(blocks, _COARSE)
    band /= texture[step // 2 :: step, step // 2 :: step][:rows, :columns]
    if not sure.all():
        band[ndimage.binary_dilation(~sure, iterations=2)] = 0
    return np.rint(_STEPS * np.clip(band, -_MOST, _MOST)).astype(np.int8)


def expected(contrast: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a relief shows of a point that stands out by so many textures, on the average."""
    return np.minimum(_SHOWN * contrast, np.float32(_MOST))


def loudest(sums: Plane, step: int, search_px: int) -> Heard:
    """Where, no further than `search_px`, `sums` are largest."""
    middle, reach = sums.shape[0] // 2, max(search_px // step, 1)
    asked = sums[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    row, column = (int(place) + middle - reach for place in np.unravel_index(int(asked.argmax()), asked.shape))
    chance = np.ones(sums.shape, np.bool_)
    chance[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = False
    mean, spread = float(sums[chance].mean()), float(sums[chance].std())
    above = float(sums[row, column]) - mean
    if above <= 0 or spread == 0:
        return Heard((0.0, 0.0), 0.0, 0.0)
    tail = float(log_ndtr(-_TAIL * above / spread)) / np.log(10)
    score = float(np.clip(-tail - np.log10(asked.size), 0, 300))
    down, right = row + _beside(sums[:, column], row) - middle, column + _beside(sums[row], column) - middle
    return Heard((down * step, right * step), above, score)


def _beside(values: Plane, place: int) -> float:
    """How far from a value its peak lies, as its neighbours have it."""
    if not 0 < place < len(values) - 1:
        return 0.0
    return float(vertex(*values[place - 1 : place + 2].astype(np.float64)))


def vertex(
    before: npt.NDArray[np.floating], here: npt.NDArray[np.floating], after: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Where the parabola through three samples one apart has its vertex, within half a sample of the middle."""
    curvature = np.minimum(before - 2 * here + after, np.float32(-1e-6))
    return np.clip(np.float32(0.5) * (before - after) / curvature, -0.5, 0.5)


@kernel
def _sum(
    places: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], values: npt.NDArray[np.int8], out: Plane
) -> None:
    """Each value is interpolated linearly from the four around the place; where one is missing, there is nothing."""
    reach = out.shape[0] // 2
    rows, columns = values.shape
    for i in range(len(places)):
        row, column = np.floor(places[i, 0]), np.floor(places[i, 1])
        down, right = np.float32(places[i, 0] - row), np.float32(places[i, 1] - column)
        up, left = np.float32(1) - down, np.float32(1) - right
        y, x = int(row), int(column)
        a, b = weights[i] * up * left, weights[i] * up * right
        c, d = weights[i] * down * left, weights[i] * down * right
        low, count = max(-reach, -x), min(reach, columns - 2 - x) - max(-reach, -x) + 1
        if count <= 0:
            continue
        for v in range(max(-reach, -y), min(reach, rows - 2 - y) + 1):
            upper, lower = (
                values[y + v, x + low : x + low + count + 1],
                values[y + v + 1, x + low : x + low + count + 1],
            )
            sums = out[v + reach, low + reach : low + reach + count]
            for u in range(count):
                sums[u] += a * upper[u] + b * upper[u + 1] + c * lower[u] + d * lower[u + 1]
