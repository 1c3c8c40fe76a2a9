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
from .smooth import smooth

BLOCK_PX = 4
"""Background and texture are computed on blocks of this size; windows start at a multiple of it."""

UNKNOWN = np.int8(-128)
"""Code of a pixel that tells nothing, because the scan is clipped there and it does not even stand out."""

_BACKGROUND_ENDS = 3
"""Standard deviations after which the Gaussian that is called background ends."""

_REFERENCE_PX = 1800
_LARGEST_PX = 40.0
_FINE_D = 0.03
_REACH_D = 1.6
_STEPS = 127 / math.asinh(_REACH_D / _FINE_D)
DECODED = (_FINE_D * np.sinh(np.arange(-128, 128) / _STEPS)).astype(np.float32)
DECODED[0] = 0.0
"""The residuals in D that the codes stand for, from -128 on."""

_CLIPPED_D = 0.1
"""How far what is clipped must stand out to count: on film that is itself clipped, dirt does not show."""

Codes = npt.NDArray[np.int8]
"""(rows, columns) residuals, coded; `decode` gives them back in D."""


def code_of(residual: npt.NDArray[np.floating]) -> Codes:
    """The codes nearest to residuals in D, of any shape; those beyond 1.6 D take the last one."""
    return np.rint(_STEPS * np.arcsinh(np.clip(residual, -_REACH_D, _REACH_D) / _FINE_D)).astype(np.int8)


_PER_D = 20_000
_CODED = code_of(np.arange(-_REACH_D * _PER_D, _REACH_D * _PER_D + 1) / _PER_D)
"""The codes of residuals from -1.6 D to 1.6 D, `_PER_D` to a density of 1: these steps are far finer than the codes."""

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
        return math.ceil(_BACKGROUND_ENDS * self.background_px / BLOCK_PX) + 2

    @property
    def texture_px(self) -> int:
        """Pixels around a pixel that its `texture` depends on, in each direction, but for a block: whole blocks."""
        return BLOCK_PX * round(1.7 * self.background_px / BLOCK_PX)


def mean_density(scan: Scan, colours: int, tone: Tone, maximum: int) -> tuple[Plane, Knowledge]:
    """Mean density in D over the first `colours` channels, and how it is known, see `Knowledge`.

    `scan` is (rows, columns, channels); both results are (rows, columns). A channel is clipped at 0 and at
    `maximum`. Raises ValueError for another shape or type.
    """
    require_scan(scan)
    density = np.empty(scan.shape[:2], np.float32)
    known = np.full(scan.shape[:2], EXACTLY, np.uint8)
    rows = scan.reshape(len(scan), -1)
    clipped = (rows.min(axis=1, initial=maximum) == 0) | (rows.max(axis=1, initial=0) == maximum)
    _mean_density(scan, clipped, colours, density_table(tone, maximum), density, known)
    return density, known


@kernel
def _mean_density(
    scan: Scan,
    clipped: npt.NDArray[np.bool_],
    colours: int,
    table: npt.NDArray[np.float32],
    density: Plane,
    known: Knowledge,
) -> None:
    """Grey is taken for three colours that are the same. Only in few rows is anything `clipped`."""
    top = len(table) - 1
    thin, dense = (0, top) if table[0] < table[top] else (top, 0)
    second, third = (1, 2) if colours > 1 else (0, 0)
    for y in range(scan.shape[0]):
        for x in range(scan.shape[1]):
            a, b, c = scan[y, x, 0], scan[y, x, second], scan[y, x, third]
            density[y, x] = (table[a] + table[b] + table[c]) / np.float32(3)
        if clipped[y]:
            for x in range(scan.shape[1]):
                a, b, c = scan[y, x, 0], scan[y, x, second], scan[y, x, third]
                if a == thin or b == thin or c == thin:
                    known[y, x] = NOT_AT_ALL
                elif a == dense or b == dense or c == dense:
                    known[y, x] = AT_LEAST


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


def background(blocks: Plane, params: ResidualParams, rows: slice = slice(None)) -> Plane:
    """The Gaussian low-pass of a picture's density, from its `block_means`: of `rows` of them, or of all.

    At the edges of the window the outermost block goes on for ever.
    """
    return smooth(blocks, params.background_px / BLOCK_PX, "edge", _BACKGROUND_ENDS, rows)


@kernel
def _block_means(density: Plane, blocks: Plane) -> None:
    height, width = density.shape
    whole = width // BLOCK_PX
    for by in range(len(blocks)):
        top, bottom = by * BLOCK_PX, min((by + 1) * BLOCK_PX, height)
        blocks[by] = 0
        for y in range(top, bottom):
            for bx in range(whole):
                for x in range(bx * BLOCK_PX, (bx + 1) * BLOCK_PX):
                    blocks[by, bx] += density[y, x]
            for x in range(whole * BLOCK_PX, width):
                blocks[by, whole] += density[y, x]
        blocks[by, :whole] /= np.float32((bottom - top) * BLOCK_PX)
        blocks[by, whole:] /= np.float32((bottom - top) * (width - whole * BLOCK_PX))


def encode(density: Plane, known: Knowledge, blocks: Plane, above: int = 0) -> Codes:
    """Code `density` minus its background; both (rows, columns), `blocks` as `background` gave it.

    `blocks` may begin `above` px over the first row of `density`. The background between the centres of blocks is
    interpolated linearly. Where the density is not `known` the code is `UNKNOWN`; what is `AT_LEAST` so dense is
    coded if that stands out already.
    """
    codes = np.empty(density.shape, np.int8)
    _encode(density, known, blocks, above, _CODED, codes)
    return codes


@kernel
def _encode(density: Plane, known: Knowledge, blocks: Plane, above: int, coded: Codes, codes: Codes) -> None:
    height, width = density.shape
    low_pass = np.empty(blocks.shape[1] * BLOCK_PX, np.float32)
    middle, per_d, clipped = np.float32(len(coded) // 2), np.float32(_PER_D), np.float32(_CLIPPED_D)
    for y in range(height):
        _between_blocks(blocks, y + above, low_pass)
        for x in range(width):
            stands_out = density[y, x] - low_pass[x]
            place = min(max(stands_out * per_d + middle, np.float32(0)), 2 * middle)
            how = known[y, x]
            told = how == EXACTLY or (how == AT_LEAST and stands_out >= clipped)
            codes[y, x] = coded[int(place + np.float32(0.5))] if told else UNKNOWN


@kernel
def _between_blocks(blocks: Plane, y: int, row: npt.NDArray[np.float32]) -> None:
    """Interpolate linearly between the centres of blocks along row `y` of pixels, beyond the outermost constant."""
    last = len(blocks) - 1
    v = min(max((y - (BLOCK_PX - 1) / 2) / BLOCK_PX, 0.0), float(last))
    up = int(v)
    upper, lower, share = blocks[up], blocks[min(up + 1, last)], np.float32(v - up)
    before = here = upper[0] + share * (lower[0] - upper[0])
    for b in range(len(upper)):
        right = min(b + 1, len(upper) - 1)
        after = upper[right] + share * (lower[right] - upper[right])
        x = b * BLOCK_PX
        row[x] = here + np.float32(0.375) * (before - here)
        row[x + 1] = here + np.float32(0.125) * (before - here)
        row[x + 2] = here + np.float32(0.125) * (after - here)
        row[x + 3] = here + np.float32(0.375) * (after - here)
        before, here = here, after


def decode(codes: Codes, size: int = 1) -> tuple[Plane, Mask]:
    """Mean residuals in D over squares of `size` px, and where all of these are known; `UNKNOWN` counts as 0.

    `codes` is (rows, columns); what fills no square is left out.
    """
    shape = codes.shape[0] // size, codes.shape[1] // size
    residual, known = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    _decode(codes, size, DECODED, residual, known)
    return residual, known


@kernel
def _decode(codes: Codes, size: int, decoded: npt.NDArray[np.float32], residual: Plane, known: Mask) -> None:
    share = np.float32(1 / size**2)
    for y in range(residual.shape[0]):
        residual[y], known[y] = 0, True
        for v in range(size):
            for u in range(size):
                for x in range(residual.shape[1]):
                    code = codes[y * size + v, x * size + u]
                    residual[y, x] += decoded[code + 128]
                    known[y, x] &= code != UNKNOWN
        residual[y] *= share


def texture(residual: Plane, trusted: Mask, params: ResidualParams) -> Plane:
    """How busy the film is: the standard deviation of `residual` around each pixel, in D, (rows, columns).

    Taken as 1.25 times the mean modulus (their ratio for a Gaussian) of the `trusted` pixels in a box of some 3.4
    `background_px`, plus 0.003 D that no film falls below. Where less than 2 % of the box is trusted it is 10 D. Boxes
    are made of whole blocks, and what lies between their centres is interpolated linearly.
    """
    busy = np.empty(residual.shape, np.float32)
    rows, columns = (-(-n // BLOCK_PX) for n in residual.shape)
    sums, counts = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    _moduli(residual, trusted, sums, counts)
    size = 2 * _texture_blocks(params) + 1
    total, count = (ndimage.uniform_filter(plane, size, mode="nearest") for plane in (sums, counts))
    scale = 1.25 * total / np.maximum(count, np.float32(1e-6)) + np.float32(0.003)
    _spread_blocks(np.where(count > 0.0199 * BLOCK_PX**2, scale, np.float32(10)), busy)
    return busy


def _texture_blocks(params: ResidualParams) -> int:
    """Blocks of a box beside that in its middle, in each direction; interpolation makes the box larger by another."""
    return max(params.texture_px // BLOCK_PX - 1, 0)


@kernel
def _moduli(residual: Plane, trusted: Mask, sums: Plane, counts: Plane) -> None:
    """The sum over the moduli of what is trusted in each block, and how many they are."""
    height, width = residual.shape
    for y in range(height):
        for x in range(width):
            if trusted[y, x]:
                sums[y // BLOCK_PX, x // BLOCK_PX] += abs(residual[y, x])
                counts[y // BLOCK_PX, x // BLOCK_PX] += 1


@kernel
def _spread_blocks(blocks: Plane, out: Plane) -> None:
    row = np.empty(blocks.shape[1] * BLOCK_PX, np.float32)
    for y in range(out.shape[0]):
        _between_blocks(blocks, y, row)
        out[y] = row[: out.shape[1]]
