"""Where several frames agree that the glass is dark: an inverse-variance weighted, clipped sum of residuals.

Smooth frames speak louder than busy ones, but no single frame is enough: every residual is clipped, and what is left
without the loudest scene must still be significant. One leaf in one frame is no dirt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .kernel import kernel
from .spots import pixels_of, widened, without_holes
from .texture import SQUARE_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arrays import Mask, Plane
    from .register import Laid
    from .residual import ResidualParams
    from .texture import Moduli

Frames = npt.NDArray[np.float32]
"""(frames, rows, columns)."""

Values = npt.NDArray[np.float32]
"""(pixels): values at the pixels of a mask, row after row."""

_MOST = np.float32(3)
"""At how many textures what stands out is clipped."""

_ALONE = np.float32(1e-3)
"""Where the others have a smaller share of all weight than this, a scene speaks alone."""


@dataclass(frozen=True, slots=True)
class EvidenceParams:
    """What counts as dirt. Significances are in standard deviations of the film's single pixels, and smoothed.

    Clean glass deviates by less than one: by a third on smooth film, by two thirds or so on busy film. `seed` starts a
    particle, `grow` bounds it, both over the whole group; `without_loudest` is what its brightest spot must reach
    without the scene that speaks loudest. `run_surplus` is added to the three where only a run of the frames is asked.
    `min_area_px`: smaller spots are noise. `most_share`: a map that claims more of the glass than this is not believed,
    and nothing is repaired.
    """

    seed: Annotated[float, Interval(ge=1.0, le=20.0)] = 3.0
    grow: Annotated[float, Interval(ge=0.5, le=20.0)] = 1.8
    without_loudest: Annotated[float, Interval(ge=0.0, le=20.0)] = 1.5
    run_surplus: Annotated[float, Interval(ge=0.0, le=20.0)] = 0.8
    min_area_px: Annotated[int, Interval(ge=1, le=1000)] = 5
    most_share: Annotated[float, Interval(gt=0.0, le=1.0)] = 0.15

    @property
    def of_a_run(self) -> EvidenceParams:
        """What counts as dirt where only a run of frames is asked: there are many, and chance has a go at each."""
        surplus = self.run_surplus
        seed, grow, rest = self.seed + surplus, self.grow + surplus, self.without_loudest + surplus
        return replace(self, seed=seed, grow=grow, without_loudest=rest)


def runs(scenes: int) -> list[tuple[int, int]]:
    """Runs of scenes to ask for dirt, each as its first and one past its last: all of 0..`scenes` - 1, then parts.

    What fell late, or went early, stands out most among the frames in which it lay. Halves of all are asked, halves of
    these and so on, down to two scenes, each run overlapping the next by half.
    """
    found = [(0, scenes)]
    length = scenes
    while length > 2:
        length = (length + 1) // 2
        starts = {*range(0, scenes - length, max(length // 2, 1)), scenes - length}
        found += [(start, start + length) for start in sorted(starts)]
    return found


@dataclass(frozen=True, slots=True)
class Voices:
    """What scenes say, smoothed: weighted residuals in 1 / D, each added to all that has been said before.

    `said` (scenes + 1, rows, columns) begins with what came before the first. `weights` (scenes, rows / 16,
    columns / 16) in 1 / D^2 are those of the squares of `texture`; `bare` (scenes) tells which show no film.
    """

    said: Frames
    weights: Frames
    bare: npt.NDArray[np.bool_]

    def of_run(self, first: int, stop: int) -> Voices:
        """Those of scenes `first`..`stop` - 1."""
        return Voices(self.said[first : stop + 1], self.weights[first:stop], self.bare[first:stop])


def hear(
    frames: Sequence[Laid],
    moduli: Sequence[Moduli],
    params: ResidualParams,
    scenes: npt.NDArray[np.int64],
    bare: npt.NDArray[np.bool_],
) -> Voices:
    """What scenes say by frames laid over a window of a map, and by the moduli of these frames' codes.

    The film's texture is the deviation of what it shows, so its square divides, and what stands out is clipped at three
    of it. What is unknown has no say. `scenes` (frames) numbers the scene that each frame shows, from 0: the frames of
    a scene speak with one voice. `bare` (frames) says which show no film, so no scene with others: they are not
    clipped.
    """
    shape = frames[0].shape
    rows, columns = (-(-length // SQUARE_PX) for length in shape)
    count = np.bincount(scenes)
    said, weights = np.zeros((len(count) + 1, *shape), np.float32), np.zeros((len(count), rows, columns), np.float32)
    bare_scenes = np.zeros(len(count), np.bool_)
    for frame, told, scene, none in zip(frames, moduli, scenes, bare, strict=True):
        texture = told.texture(params).squares
        weight = told.counts / (SQUARE_PX**2 * count[scene] * texture**2)
        weight = weight[:rows, :columns].astype(np.float32)
        residual = frame.smoothed(np.full_like(texture, np.inf) if none else _MOST * texture)
        _say(residual, weight, said[scene + 1])
        weights[scene] += weight
        bare_scenes[scene] |= none
    for before, after in pairwise(said):
        after += before
    return Voices(said, weights, bare_scenes)


@kernel
def _say(residual: Plane, weights: Plane, says: Plane) -> None:
    height, width = says.shape
    row = np.empty(width, np.float32)
    for y in range(height):
        if y % SQUARE_PX == 0:
            _widen(weights[y // SQUARE_PX], row)
        for x in range(width):
            says[y, x] += row[x] * residual[y, x]


@kernel
def _widen(squares: npt.NDArray[np.float32], row: npt.NDArray[np.float32]) -> None:
    """A value for each pixel of a row, of one for each square."""
    for u in range(len(squares)):
        row[u * SQUARE_PX : (u + 1) * SQUARE_PX] = squares[u]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What scenes say together: its `significance` (rows, columns), smoothed. Where nobody says anything it is 0.

    `error` (rows / 16, columns / 16) is the standard deviation in D of the mean over all scenes, `errors` (scenes, the
    same) over all others. It is 0 where no mean can be had.
    """

    voices: Voices
    significance: Plane
    error: Plane
    errors: Frames

    def density(self, mask: Mask) -> Values:
        """The weighted mean residual in D at the pixels of a mask, row after row."""
        rows, columns = pixels_of(mask)
        return self.significance[mask] * self.error[rows // SQUARE_PX, columns // SQUARE_PX]

    def without_loudest(self, mask: Mask) -> Values:
        """The significance at the pixels of a mask if one scene is not asked, of all that would leave least.

        Bare ones are always asked.
        """
        rows, columns = pixels_of(mask)
        rest = np.empty(len(rows), np.float32)
        _all_without_loudest(rows, columns, self.voices.said, self.voices.bare, self.error, self.errors, rest)
        return rest


def gather(voices: Voices) -> Evidence:
    """Sum up what scenes say."""
    together = voices.weights.sum(axis=0)
    error, errors = _error(together), _error(together - voices.weights, _ALONE * together)
    significance = np.empty(voices.said.shape[1:], np.float32)
    _gather(voices.said[0], voices.said[-1], error, significance)
    return Evidence(voices, significance, error, errors)


def _error(weights: npt.NDArray[np.float32], least: Plane | float = 0.0) -> npt.NDArray[np.float32]:
    """Standard deviation of a mean of so much weight, by which its sum is multiplied to be in deviations.

    0 unless the weight is over `least`.
    """
    return np.where(weights > least, 1 / np.sqrt(np.maximum(weights, np.float32(1e-20))), np.float32(0))


@kernel
def _gather(before: Plane, after: Plane, error: Plane, significance: Plane) -> None:
    height, width = significance.shape
    row = np.empty(width, np.float32)
    for y in range(height):
        if y % SQUARE_PX == 0:
            _widen(error[y // SQUARE_PX], row)
        for x in range(width):
            significance[y, x] = (after[y, x] - before[y, x]) * row[x]


@kernel
def _without_loudest(
    y: int, x: int, said: Frames, bare: npt.NDArray[np.bool_], error: Plane, errors: Frames
) -> np.float32:
    scenes = len(bare)
    v, u = y // SQUARE_PX, x // SQUARE_PX
    total = said[scenes, y, x] - said[0, y, x]
    least = total * error[v, u]
    for k in range(scenes):
        if not bare[k]:
            least = min(least, (total - (said[k + 1, y, x] - said[k, y, x])) * errors[k, v, u])
    return least


@kernel
def _all_without_loudest(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    said: Frames,
    bare: npt.NDArray[np.bool_],
    error: Plane,
    errors: Frames,
    rest: Values,
) -> None:
    for i in range(len(rows)):
        rest[i] = _without_loudest(rows[i], columns[i], said, bare, error, errors)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Where dirt may lie, each (rows, columns): the `spots` that stand out, and all that may belong to them."""

    spots: Mask
    wide: Mask


def suspects(evidence: Evidence, params: EvidenceParams, margin_px: int, known: Mask | None = None) -> Suspicion:
    """Spots over `grow` that reach `seed` and `without_loudest` somewhere and are large enough.

    Their holes are closed, and they are widened by `margin_px`. Those that lie inside `known` ones are left out.
    """
    spots, boxes = _spots(
        evidence.significance,
        evidence.voices.said,
        evidence.voices.bare,
        evidence.error,
        evidence.errors,
        np.zeros(evidence.significance.shape, np.bool_) if known is None else known,
        params.seed,
        params.grow,
        params.without_loudest,
        params.min_area_px,
    )
    wide = np.zeros(spots.shape, np.bool_)
    for top, bottom, left, right in boxes:
        rows, columns = (
            slice(max(top - margin_px, 0), bottom + margin_px),
            slice(max(left - margin_px, 0), right + margin_px),
        )
        spots[rows, columns] = without_holes(spots[rows, columns])
        wide[rows, columns] |= widened(spots[rows, columns], margin_px)
    return Suspicion(spots, wide)


@kernel
def _spots(
    significance: Plane,
    said: Frames,
    bare: npt.NDArray[np.bool_],
    error: Plane,
    errors: Frames,
    known: Mask,
    seed: float,
    grow: float,
    enough: float,
    least_area: int,
) -> tuple[Mask, npt.NDArray[np.int64]]:
    """The spots over `grow`, touching along edges or at corners, that reach what is asked, and the box of each.

    A box is its first row and one past its last, and its columns likewise.
    """
    height, width = significance.shape
    taken = np.zeros((height, width), np.bool_)
    spots = np.zeros((height, width), np.bool_)
    found = np.empty((height * width, 2), np.int32)
    boxes = []
    for y in range(height):
        for x in range(width):
            if not significance[y, x] > max(seed, grow) or taken[y, x]:
                continue
            taken[y, x] = True
            found[0, 0], found[0, 1] = y, x
            count, done, news = 1, 0, False
            loudest = _without_loudest(y, x, said, bare, error, errors)
            top, bottom, left, right = y, y + 1, x, x + 1
            while done < count:
                v, u = found[done]
                done += 1
                news = news or not known[v, u]
                if loudest <= enough:
                    loudest = max(loudest, _without_loudest(v, u, said, bare, error, errors))
                top, bottom, left, right = min(top, v), max(bottom, v + 1), min(left, u), max(right, u + 1)
                for b in range(max(v - 1, 0), min(v + 2, height)):
                    for a in range(max(u - 1, 0), min(u + 2, width)):
                        if not taken[b, a] and significance[b, a] > grow:
                            taken[b, a] = True
                            found[count, 0], found[count, 1] = b, a
                            count += 1
            if loudest > enough and count >= least_area and news:
                boxes.append((top, bottom, left, right))
                for i in range(count):
                    spots[found[i, 0], found[i, 1]] = True
    out = np.empty((len(boxes), 4), np.int64)
    for i in range(len(boxes)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = boxes[i]
    return spots, out
