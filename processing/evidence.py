"""Where several frames agree that the glass is dark: an inverse-variance weighted, clipped sum of residuals.

Smooth frames speak louder than busy ones, but no single frame is enough: every residual is clipped, and what is left
without the loudest scene must still be significant. One leaf in one frame is no dirt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .kernel import kernel
from .smooth import smooth
from .spots import widened, without_holes

if TYPE_CHECKING:
    from .arrays import Mask, Plane

Frames = npt.NDArray[np.float32]
"""(frames, rows, columns)."""


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
    without_loudest: Annotated[float, Interval(ge=0.0, le=20.0)] = 1.2
    run_surplus: Annotated[float, Interval(ge=0.0, le=20.0)] = 0.8
    min_area_px: Annotated[int, Interval(ge=1, le=1000)] = 5
    most_share: Annotated[float, Interval(gt=0.0, le=1.0)] = 0.15

    @property
    def of_a_run(self) -> EvidenceParams:
        """What counts as dirt where only a run of frames is asked: there are many, and chance has a go at each."""
        surplus = self.run_surplus
        seed, grow, rest = self.seed + surplus, self.grow + surplus, self.without_loudest + surplus
        return replace(self, seed=seed, grow=grow, without_loudest=rest)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the frames say together, each (rows, columns).

    Their significance with and without the loudest scene, and the weighted mean residual in D.
    """

    significance: Plane
    without_loudest: Plane
    density: Plane


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
    """What each scene says, (scenes, rows, columns) both: weighted residuals in 1 / D, and their weights in 1 / D^2.

    `bare` (scenes) tells which show no film.
    """

    says: Frames
    weights: Frames
    bare: npt.NDArray[np.bool_]

    def of_run(self, first: int, stop: int) -> Voices:
        """Those of scenes `first`..`stop` - 1."""
        return Voices(self.says[first:stop], self.weights[first:stop], self.bare[first:stop])


def hear(
    residuals: Frames,
    textures: Frames,
    known: npt.NDArray[np.bool_],
    scenes: npt.NDArray[np.int64],
    bare: npt.NDArray[np.bool_] | None = None,
) -> Voices:
    """What scenes say by aligned residuals in D, each (frames, rows, columns).

    The film's texture is their deviation, and they are clipped at three of it. Unknown pixels have no say. `scenes`
    (frames) numbers the scene that each frame shows, from 0: the frames of a scene speak with one voice. `bare`
    (frames) says which show no film, so no scene with others: they are not clipped.
    """
    count = np.bincount(scenes)
    bare = np.zeros(len(scenes), np.bool_) if bare is None else bare
    says, weights = (np.zeros((len(count), *residuals.shape[1:]), np.float32) for _ in range(2))
    for frame, scene in enumerate(scenes):
        most = np.float32(np.inf if bare[frame] else 3)
        share = np.float32(1 / count[scene])
        _hear(residuals[frame], textures[frame], known[frame], most, share, says[scene], weights[scene])
    bare_scenes = np.zeros(len(count), np.bool_)
    bare_scenes[scenes[bare]] = True
    return Voices(says, weights, bare_scenes)


@kernel
def _hear(
    residual: Plane, texture: Plane, known: Mask, most: np.float32, share: np.float32, says: Plane, weights: Plane
) -> None:
    height, width = residual.shape
    for y in range(height):
        for x in range(width):
            scale = texture[y, x]
            limit = most * scale
            weight = share / (scale * scale) if known[y, x] else np.float32(0)
            said = min(max(residual[y, x], -limit), limit) if known[y, x] else np.float32(0)
            says[y, x] += weight * said
            weights[y, x] += weight


def gather(voices: Voices) -> Evidence:
    """Sum up what scenes say; where nobody says anything, everything is 0. Bare ones are not left out as loudest."""
    shape = voices.says.shape[1:]
    planes = [np.empty(shape, np.float32) for _ in range(3)]
    _gather(voices.says, voices.weights, voices.bare, *planes)
    return Evidence(smooth(planes[0], 1.0), smooth(planes[1], 1.0), planes[2])


@kernel
def _gather(
    says: Frames,
    weights: Frames,
    bare: npt.NDArray[np.bool_],
    significance: Plane,
    without_loudest: Plane,
    density: Plane,
) -> None:
    scenes, height, width = says.shape
    nothing = np.float32(0)
    row = np.empty((4, width), np.float32)
    total, weight, loudest, loudest_weight = row[0], row[1], row[2], row[3]
    for y in range(height):
        row[:] = nothing
        for k in range(scenes):
            for x in range(width):
                said, weighs = says[k, y, x], weights[k, y, x]
                total[x] += said
                weight[x] += weighs
                louder = said > loudest[x] and not bare[k]
                loudest[x] = said if louder else loudest[x]
                loudest_weight[x] = weighs if louder else loudest_weight[x]
        for x in range(width):
            rest = weight[x] - loudest_weight[x]
            heard, others = weight[x] > 0, rest > np.float32(1e-3) * weight[x]
            density[y, x] = total[x] / weight[x] if heard else nothing
            significance[y, x] = total[x] / np.sqrt(weight[x]) if heard else nothing
            without_loudest[y, x] = (total[x] - loudest[x]) / np.sqrt(rest) if others else nothing


def suspects(evidence: Evidence, params: EvidenceParams, margin_px: int) -> Mask:
    """Where dirt may lie: spots over `grow` that reach `seed` and `without_loudest` somewhere and are large enough.

    Their holes are closed, and they are widened by `margin_px`.
    """
    spots, boxes = _spots(
        evidence.significance,
        evidence.without_loudest,
        params.seed,
        params.grow,
        params.without_loudest,
        params.min_area_px,
    )
    found = np.zeros(spots.shape, np.bool_)
    for top, bottom, left, right in boxes:
        rows, columns = (
            slice(max(top - margin_px, 0), bottom + margin_px),
            slice(max(left - margin_px, 0), right + margin_px),
        )
        found[rows, columns] |= widened(without_holes(spots[rows, columns]), margin_px)
    return found


@kernel
def _spots(
    significance: Plane, without_loudest: Plane, seed: float, grow: float, enough: float, least_area: int
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
            count, done = 1, 0
            loudest = without_loudest[y, x]
            top, bottom, left, right = y, y + 1, x, x + 1
            while done < count:
                v, u = found[done]
                done += 1
                loudest = max(loudest, without_loudest[v, u])
                top, bottom, left, right = min(top, v), max(bottom, v + 1), min(left, u), max(right, u + 1)
                for b in range(max(v - 1, 0), min(v + 2, height)):
                    for a in range(max(u - 1, 0), min(u + 2, width)):
                        if not taken[b, a] and significance[b, a] > grow:
                            taken[b, a] = True
                            found[count, 0], found[count, 1] = b, a
                            count += 1
            if loudest > enough and count >= least_area:
                boxes.append((top, bottom, left, right))
                for i in range(count):
                    spots[found[i, 0], found[i, 1]] = True
    out = np.empty((len(boxes), 4), np.int64)
    for i in range(len(boxes)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = boxes[i]
    return spots, out
