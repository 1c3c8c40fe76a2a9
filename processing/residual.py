"""What stands out of a frame: density minus the local background, and how busy the film is there.

Dirt on the glass blocks light, so its residual is positive. A residual travels between the passes as one byte a
pixel, on a scale that is fine near zero (0.001 D) and reaches 1.6 D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval
from scipy import ndimage

from .arrays import Mask, Plane, Scan, require_plane, require_scan
from .density import Tone, density_table
from .kernel import kernel

BLOCK_PX = 4
"""The background is computed on blocks of this size; windows start at a multiple of it."""

UNKNOWN = np.int8(-128)
"""Code of a pixel that tells nothing, because the scan is clipped there and it does not even stand out."""

_REFERENCE_PX = 1800
_LARGEST_PX = 40.0
_FINE_D = 0.03
_REACH_D = 1.6
_STEPS = 127 / math.asinh(_REACH_D / _FINE_D)
_DECODED = (_FINE_D * np.sinh(np.arange(-128, 128) / _STEPS)).astype(np.float32)
_DECODED[0] = 0.0

_CLIPPED_D = 0.1
"""How far what is clipped must stand out to count: on film that is itself clipped, dirt does not show."""

Codes = npt.NDArray[np.int8]
"""(rows, columns) residuals, coded; `decode` gives them back in D."""

Knowledge = npt.NDArray[np.uint8]
"""(rows, columns): how well a density is known. One that is clipped as dense dirt may be is larger than it seems."""

NOT_AT_ALL, EXACTLY, AT_LEAST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ResidualParams:
    """How the local background is taken.

    `background_px`: standard deviation of the Gaussian that is called background, on a frame whose longer side has 1800
    pixels or less; on larger frames it grows with them, see `on`. Dirt much wider than three
    times this is taken for film.
    """

    background_px: Annotated[float, Interval(ge=4.0, le=200.0)] = 12.0

    def on(self, height: int, width: int) -> ResidualParams:
        """The same for a frame of this size: the more pixels, the more of them a piece of dirt covers.

        Beyond 40 px it does not grow: so large a scan is one of a larger film, not of more detail.
        """
        grown = self.background_px * max(height, width) / _REFERENCE_PX
        return ResidualParams(max(self.background_px, min(grown, _LARGEST_PX)))

    @property
    def reach_blocks(self) -> int:
        """Blocks around a pixel that its background depends on, in each direction."""
        return math.ceil(3 * self.background_px / BLOCK_PX) + 2

    @property
    def texture_px(self) -> int:
        """Pixels around a pixel that its `texture` depends on, in each direction."""
        return round(1.7 * self.background_px)


def mean_density(scan: Scan, colours: int, tone: Tone, maximum: int) -> tuple[Plane, Knowledge]:
    """Mean density in D over the first `colours` channels, and how it is known, see `Knowledge`.

    `scan` is (rows, columns, channels); both results are (rows, columns). A channel is clipped at 0 and at
    `maximum`. Raises ValueError for another shape or type.
    """
    require_scan(scan)
    density = np.empty(scan.shape[:2], np.float32)
    known = np.empty(scan.shape[:2], np.uint8)
    _mean_density(scan, colours, density_table(tone, maximum), density, known)
    return density, known


@kernel
def _mean_density(scan: Scan, colours: int, table: npt.NDArray[np.float32], density: Plane, known: Knowledge) -> None:
    top = len(table) - 1
    thin, dense = (0, top) if table[0] < table[top] else (top, 0)
    for y in range(scan.shape[0]):
        for x in range(scan.shape[1]):
            total = np.float32(0)
            how = EXACTLY
            for c in range(colours):
                value = scan[y, x, c]
                total += table[value]
                if value == thin:
                    how = NOT_AT_ALL
                elif value == dense and how == EXACTLY:
                    how = AT_LEAST
            density[y, x] = total / colours
            known[y, x] = how


def block_means(density: Plane) -> Plane:
    """Means over blocks of 4 x 4 pixels of `density` (rows, columns): (rows / 4, columns / 4), rounded up.

    A partial block at the right or lower edge is the mean of what is there. Raises ValueError for another shape or
    type.
    """
    require_plane(density, "density")
    rows, columns = (-(-n // BLOCK_PX) for n in density.shape)
    blocks = np.empty((rows, columns), np.float32)
    _block_means(density, blocks)
    return blocks


def background(blocks: Plane, params: ResidualParams) -> Plane:
    """The Gaussian low-pass of a picture's density, from its `block_means` and in the same shape.

    At the edges of the window the outermost block goes on for ever.
    """
    return ndimage.gaussian_filter(blocks, params.background_px / BLOCK_PX, mode="nearest", truncate=3.0)


@kernel
def _block_means(density: Plane, blocks: Plane) -> None:
    height, width = density.shape
    for by in range(blocks.shape[0]):
        bottom = min((by + 1) * BLOCK_PX, height)
        for bx in range(blocks.shape[1]):
            right = min((bx + 1) * BLOCK_PX, width)
            total = np.float32(0)
            for y in range(by * BLOCK_PX, bottom):
                for x in range(bx * BLOCK_PX, right):
                    total += density[y, x]
            blocks[by, bx] = total / ((bottom - by * BLOCK_PX) * (right - bx * BLOCK_PX))


def encode(density: Plane, known: Knowledge, blocks: Plane, above: int = 0) -> Codes:
    """Code `density` minus its background; both (rows, columns), `blocks` as `background` gave it.

    `blocks` may begin `above` px over the first row of `density`. The background between the centres of blocks is
    interpolated linearly. Where the density is not `known` the code is `UNKNOWN`; what is `AT_LEAST` so dense is
    coded if that stands out already.
    """
    codes = np.empty(density.shape, np.int8)
    _encode(density, known, blocks, above, np.float32(1 / _FINE_D), np.float32(_STEPS), codes)
    return codes


@kernel
def _encode(
    density: Plane, known: Knowledge, blocks: Plane, above: int, per_fine: np.float32, steps: np.float32, codes: Codes
) -> None:
    height, width = density.shape
    last_row, last_column = blocks.shape[0] - 1, blocks.shape[1] - 1
    for y in range(height):
        v = min(max((y + above - (BLOCK_PX - 1) / 2) / BLOCK_PX, 0.0), float(last_row))
        up = int(v)
        down = min(up + 1, last_row)
        fy = np.float32(v - up)
        for x in range(width):
            if known[y, x] == NOT_AT_ALL:
                codes[y, x] = -128
                continue
            u = min(max((x - (BLOCK_PX - 1) / 2) / BLOCK_PX, 0.0), float(last_column))
            left = int(u)
            right = min(left + 1, last_column)
            fx = np.float32(u - left)
            upper = blocks[up, left] + fx * (blocks[up, right] - blocks[up, left])
            lower = blocks[down, left] + fx * (blocks[down, right] - blocks[down, left])
            stands_out = density[y, x] - (upper + fy * (lower - upper))
            if known[y, x] == AT_LEAST and stands_out < _CLIPPED_D:
                codes[y, x] = -128
                continue
            code = np.rint(steps * np.arcsinh(stands_out * per_fine))
            codes[y, x] = np.int8(min(max(code, -127.0), 127.0))


def decode(codes: Codes) -> tuple[Plane, Mask]:
    """Residuals in D and where they are known; any shape, `UNKNOWN` gives 0 and False."""
    return _DECODED[codes.astype(np.int16) + 128], codes != UNKNOWN


def texture(residual: Plane, trusted: Mask, params: ResidualParams) -> Plane:
    """How busy the film is: the standard deviation of `residual` around each pixel, in D, (rows, columns).

    Taken as 1.25 times the mean modulus (their ratio for a Gaussian) of the `trusted` pixels in a box of 3.4
    `background_px`, plus 0.003 D that no film falls below. Where less than 2 % of the box is trusted it is 10 D.
    """
    busy = np.empty(residual.shape, np.float32)
    _texture(residual, trusted, params.texture_px, busy)
    return busy


@kernel
def _texture(residual: Plane, trusted: Mask, reach: int, busy: Plane) -> None:
    """Sums over boxes by what comes in and what goes out, first down the columns, then along the row."""
    height, width = residual.shape
    fewest = 0.02 * (2 * reach + 1) ** 2
    sums, counts = np.zeros(width, np.float64), np.zeros(width, np.int64)
    for y in range(-2 * reach, height):
        # At y the sums are those of rows y - reach to y + reach; before 0 they are only gathered.
        comes, goes = min(max(y + reach, 0), height - 1), max(y - reach - 1, 0)
        for x in range(width):
            if trusted[comes, x]:
                sums[x] += abs(residual[comes, x])
                counts[x] += 1
            if y > 0 and trusted[goes, x]:
                sums[x] -= abs(residual[goes, x])
                counts[x] -= 1
        if y < 0:
            continue
        total, count = 0.0, 0
        for x in range(-2 * reach, width):
            right, left = min(max(x + reach, 0), width - 1), max(x - reach - 1, 0)
            total += sums[right]
            count += counts[right]
            if x > 0:
                total -= sums[left]
                count -= counts[left]
            if x >= 0:
                busy[y, x] = np.float32(1.25 * total / count + 0.003) if count > fewest else np.float32(10)
