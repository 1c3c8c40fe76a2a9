"""Slow, obvious twins of the kernels: one pixel, one point, one sum at a time, in double precision."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from dustwatch.processing.residual import AT_LEAST, EXACTLY, NOT_AT_ALL

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def mean_density(scan: npt.NDArray[np.integer], colours: int, table: npt.NDArray[np.floating]) -> tuple[Floats, Mask]:
    height, width = scan.shape[:2]
    density, known = np.empty((height, width)), np.empty((height, width), np.uint8)
    thin, dense = (0, len(table) - 1) if table[0] < table[-1] else (len(table) - 1, 0)
    for y in range(height):
        for x in range(width):
            values = [int(scan[y, x, c]) for c in range(colours)]
            density[y, x] = sum(float(table[value]) for value in values) / colours
            known[y, x] = NOT_AT_ALL if thin in values else AT_LEAST if dense in values else EXACTLY
    return density, known


def block_means(density: npt.NDArray[np.floating], size: int) -> Floats:
    height, width = density.shape
    return np.array(
        [
            [density[top : top + size, left : left + size].mean(dtype=np.float64) for left in range(0, width, size)]
            for top in range(0, height, size)
        ]
    )


def between_blocks(blocks: npt.NDArray[np.floating], size: int, y: int, x: int) -> float:
    """Linear interpolation between the centres of blocks at pixel (y, x); beyond the outermost centres constant."""

    def weights(position: int, count: int) -> list[tuple[int, float]]:
        place = min(max((position - (size - 1) / 2) / size, 0), count - 1)
        low = math.floor(place)
        return [(low, 1 - (place - low)), (min(low + 1, count - 1), place - low)]

    return sum(
        a * b * float(blocks[i, j])
        for i, a in weights(y, blocks.shape[0])
        for j, b in weights(x, blocks.shape[1])
    )  # fmt: skip


def texture(residual: npt.NDArray[np.floating], trusted: Mask, size: int, reach: int) -> Floats:
    """`reach`: blocks of `size` px around that of a pixel; beyond the border the last block goes on."""
    tops, lefts = (range(0, length, size) for length in residual.shape)

    def block(y: int, x: int) -> Floats:
        here = np.s_[y : y + size, x : x + size]
        return np.abs(residual[here][trusted[here]]).astype(np.float64)

    moduli = [[block(y, x) for x in lefts] for y in tops]
    busy = np.empty((len(tops), len(lefts)))
    for i, j in np.ndindex(busy.shape):
        box = [
            moduli[min(max(v, 0), len(tops) - 1)][min(max(u, 0), len(lefts) - 1)]
            for v in range(i - reach, i + reach + 1)
            for u in range(j - reach, j + reach + 1)
        ]
        said = np.concatenate(box)
        busy[i, j] = 1.25 * said.mean() + 0.003 if len(said) >= 0.02 * len(box) * size**2 else 10
    shape = residual.shape
    return np.array([[between_blocks(busy, size, y, x) for x in range(shape[1])] for y in range(shape[0])])


def resample(
    plane: npt.NDArray[np.floating],
    beyond: Callable[[int, int], Floats],
    shape: tuple[int, int],
    kernel: Callable[[float], float],
) -> Floats:
    """Interpolation of each pixel by itself, where `beyond` says; `kernel` weighs samples by their distance."""
    out = np.empty(shape)
    for y, x in np.ndindex(*shape):
        shift = beyond(y, x)
        top, left = y + math.floor(shift[0]), x + math.floor(shift[1])
        down, right = ([kernel(i - 3 - part) for i in range(8)] for part in np.modf(shift)[0])
        total = sum(down[i] * right[j] * float(plane[top + i, left + j]) for i in range(8) for j in range(8))
        out[y, x] = total / (sum(down) * sum(right))
    return out


def lanczos(distance: float) -> float:
    return float(np.sinc(distance) * np.sinc(distance / 3)) if abs(distance) < 3 else 0.0


def gaussian(distance: float) -> float:
    return math.exp(-(distance**2) / 2)


def vote(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], bins: int, per_px: int) -> Floats:
    """Histogram of second - first in `bins` x `bins` squares of 1 / `per_px` px, the middle one around 0."""
    votes = np.zeros((bins, bins))
    for one in first:
        for other in second:
            y, x = (math.floor(float(other[k] - one[k]) * per_px + bins / 2) for k in (0, 1))
            if 0 <= y < bins and 0 <= x < bins:
                votes[y, x] += 1
    return votes


def nearest(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], offset: tuple[float, float], radius: float
) -> list[tuple[int, int]]:
    """The nearest point of `second` to each moved point of `first` that has one in the square of twice `radius`."""
    pairs = []
    for i, one in enumerate(first):
        apart = [[abs(float(other[k]) - (float(one[k]) + offset[k])) for k in (0, 1)] for other in second]
        near = [(math.hypot(*gap), j) for j, gap in enumerate(apart) if max(gap) <= radius]
        if near:
            pairs.append((i, min(near)[1]))
    return pairs


def gather(
    says: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], bare: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Significance, and the least that is left of it without one scene, from what scenes say at each pixel."""
    scenes, *shape = says.shape
    significance, without = np.zeros(shape), np.zeros(shape)
    for place in np.ndindex(*shape):
        said, weighs = ([float(one[(k, *place)]) for k in range(scenes)] for one in (says, weights))

        def of(asked: set[int], said: list[float] = said, weighs: list[float] = weighs) -> float:
            weight = sum(weighs[k] for k in asked)
            return sum(said[k] for k in asked) / math.sqrt(weight) if weight > 1e-3 * sum(weighs) else 0.0

        everyone = set(range(scenes))
        significance[place] = of(everyone)
        without[place] = min([of(everyone), *(of(everyone - {k}) for k in everyone if not bare[k])])
    return significance, without


def spots(
    significance: npt.NDArray[np.float32],
    rest: npt.NDArray[np.float32],
    known: Mask,
    limits: tuple[float, float, float],
    min_area_px: int,
) -> Mask:
    """All spots without their holes; `limits` are what the seed, the rim and the `rest` of some pixel must exceed.

    Those that are too small or lie inside `known` ones are left out.
    """
    seed, grow, enough = limits
    labels, count = ndimage.label(significance > grow, np.ones((3, 3)))
    found = np.zeros(significance.shape, np.bool_)
    for label in range(1, count + 1):
        spot = labels == label
        large, new = spot.sum() >= min_area_px, (spot & ~known).any()
        if large and new and significance[spot].max() > seed and rest[spot].max() > enough:
            found |= ndimage.binary_fill_holes(spot)
    return found


def odds(
    missing: npt.NDArray[np.floating],
    template: npt.NDArray[np.floating],
    deviation: npt.NDArray[np.floating],
    labels: npt.NDArray[np.intp],
    count: int,
) -> Floats:
    """How much likelier each particle is there than not, natural log.

    A fill makes four independent errors under a particle, of Student's t with four degrees of freedom and .3 of the
    film's variance, and each is taken to be as large as its pixels are off on the mean.
    """
    errors = stats.multivariate_t(np.zeros(4), 0.3 * np.eye(4), df=4)
    found = np.zeros((len(missing), count))
    for frame, particle in np.ndindex(*found.shape):
        own = labels == particle
        there, gone = (
            errors.logpdf(np.full(4, np.sqrt(np.mean((left / deviation[frame, own]) ** 2))))
            for left in (missing[frame, own] - template[own], missing[frame, own])
        )
        found[frame, particle] = there - gone
    return found


def diffused(picture: npt.NDArray[np.floating], hole: Mask, edge: Mask) -> Floats:
    """The picture (planes, rows, columns) with heat in its holes that flows along lines, as one dense system.

    The border of the array is mirrored at its last pixel.
    """
    height, width = hole.shape
    cells = _with_those_around(_tensors(picture, edge))
    places = [(int(y), int(x)) for y, x in zip(*np.nonzero(hole), strict=True)]
    number = {place: i for i, place in enumerate(places)}
    matrix, right = np.eye(len(places)), np.zeros((len(places), len(picture)))
    for (y, x), i in number.items():
        for (down, across), weight in _flow(cells, y, x, height, width).items():
            place = (min(max(y + down, 0), height - 1), min(max(x + across, 0), width - 1))
            if place in number:
                matrix[i, number[place]] -= weight
            else:
                right[i] += weight * picture[:, *place]
    out = picture.astype(np.float64)
    if places:
        out[:, hole] = np.linalg.solve(matrix, right).T
    return out


def _tensors(picture: npt.NDArray[np.floating], edge: Mask) -> Floats:
    """Structure tensors (xx, yy, xy) of the squares of two by two in the edge, and how many, in cells of two by two."""
    height, width = edge.shape
    cells = np.zeros((-(-height // 2), -(-width // 2), 4))
    for y, x in np.ndindex(height - 1, width - 1):
        if edge[y : y + 2, x : x + 2].all():
            square = picture[:, y : y + 2, x : x + 2].astype(np.float64)
            across, down = square[:, :, 1] - square[:, :, 0], square[:, 1] - square[:, 0]
            across, down = across.sum(axis=1), down.sum(axis=1)
            tensor = [(across**2).sum(), (down**2).sum(), (across * down).sum(), 1]
            cells[y // 2, x // 2] += tensor
            cells[(y + 1) // 2, (x + 1) // 2] += tensor
    return cells


def _with_those_around(cells: Floats, px: int = 2) -> Floats:
    """The mean of the four cells that one belongs to, and of those around them, counts for four squares more in it.

    Means over more than 32 px count for one square, and only if there is none.
    """
    height, width = cells.shape[:2]
    if height == width == 1:
        return cells
    coarser = np.zeros((-(-height // 2), -(-width // 2), 4))
    for y, x in np.ndindex(height, width):
        coarser[y // 2, x // 2] += cells[y, x]
    coarser, out = _with_those_around(coarser, 2 * px), cells.copy()
    for y, x in np.ndindex(height, width):
        around = coarser[y // 2, x // 2]
        squares = 4 if px < 32 else int(cells[y, x, 3] == 0)
        if around[3] > 0:
            out[y, x] += squares * around / around[3]
    return out


def _flow(cells: Floats, y: int, x: int, height: int, width: int) -> dict[tuple[int, int], float]:
    """What a pixel takes of each of those around it."""
    v, u = (min(max(at + (1 if at % 2 else -1), 0), most - 1) for at, most in ((y, height), (x, width)))
    near = (cells[y // 2, x // 2], 2), (cells[v // 2, x // 2], 1), (cells[y // 2, u // 2], 1)
    tensor = sum((share * cell[:3] / max(cell[3], 1) for cell, share in near), np.zeros(3))
    xx, yy, xy = tensor + 0.02 * (tensor[0] + tensor[1]) * np.array([1, 1, 0])
    xx, yy = (xx, yy) if xx + yy > 0 else (1.0, 1.0)
    diagonal = min(abs(xy), xx, yy)
    rising, falling = (diagonal, 0.0) if xy > 0 else (0.0, diagonal)
    upright, level, both = xx - diagonal, yy - diagonal, 2 * (xx + yy - diagonal)
    shares = {(1, 0): upright, (0, 1): level, (1, 1): falling, (1, -1): rising}
    return {(sign * k[0], sign * k[1]): share / both for k, share in shares.items() for sign in (1, -1)}


def sums(
    places: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], values: npt.NDArray[np.int8], reach: int
) -> Floats:
    """What lies at places, weighted and summed up, for each offset of them, interpolated linearly."""
    out = np.zeros((2 * reach + 1, 2 * reach + 1))
    for (row, column), weight in zip(places.astype(np.float64), weights.astype(np.float64), strict=True):
        for v in range(-reach, reach + 1):
            for u in range(-reach, reach + 1):
                y, x = math.floor(row) + v, math.floor(column) + u
                if 0 <= y < values.shape[0] - 1 and 0 <= x < values.shape[1] - 1:
                    down, right = row - math.floor(row), column - math.floor(column)
                    upper = (1 - right) * int(values[y, x]) + right * int(values[y, x + 1])
                    lower = (1 - right) * int(values[y + 1, x]) + right * int(values[y + 1, x + 1])
                    out[v + reach, u + reach] += weight * ((1 - down) * upper + down * lower)
    return out


def robust_mean(
    missing: npt.NDArray[np.floating], deviation: npt.NDArray[np.floating], usable: Mask, places: npt.NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Mean over the frames, (frames, pixels), re-weighted six times, and its deviation."""
    usable = np.array([column if column.any() else ~column for column in usable.T]).T
    mean = np.array([np.median(values[which]) for values, which in zip(missing.T, usable.T, strict=True)])
    weight = np.zeros(missing.shape)
    for _ in range(6):
        for k, i in np.ndindex(*missing.shape):
            if not usable[k, i]:
                continue
            around = ((missing[k].astype(np.float64) - mean)[(places == places[i]) & usable[k]] ** 2).mean()
            weight[k, i] = 1 / (around + 0.02 * float(deviation[k, i]) ** 2 + 2e-5)
        mean = (weight * missing).sum(axis=0) / weight.sum(axis=0)
    return mean, 1 / np.sqrt(weight.sum(axis=0))
