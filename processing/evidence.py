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
from scipy import ndimage

from .kernel import kernel
from .smooth import smooth
from .spots import TOUCHING, peaks, widened, without_holes

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


def gather(
    residuals: Frames,
    textures: Frames,
    known: npt.NDArray[np.bool_],
    scenes: npt.NDArray[np.int64],
    bare: npt.NDArray[np.bool_] | None = None,
) -> Evidence:
    """Sum up aligned residuals in D, each (frames, rows, columns), with the film's texture in D as their deviation.

    A residual is clipped at three deviations. Unknown pixels have no say; where nobody has, everything is 0. `scenes`
    (frames) numbers the scene that each frame shows, in rising order: the frames of a scene speak with one voice.
    `bare` (frames) says which show no film, so no scene with others: they are neither clipped nor left out as loudest.
    """
    if (np.diff(scenes) < 0).any():
        raise ValueError("frames must be ordered by scene")
    shape = residuals.shape[1:]
    planes = [np.empty(shape, np.float32) for _ in range(3)]
    bare = np.zeros(len(scenes), np.bool_) if bare is None else bare
    voices = (1 / np.bincount(scenes)[scenes]).astype(np.float32)
    _gather(residuals, textures, known, scenes, voices, bare, *planes)
    return Evidence(smooth(planes[0], 1.0), smooth(planes[1], 1.0), planes[2])


@kernel
def _gather(
    residuals: Frames,
    textures: Frames,
    known: npt.NDArray[np.bool_],
    scenes: npt.NDArray[np.int64],
    voices: npt.NDArray[np.float32],
    bare: npt.NDArray[np.bool_],
    significance: Plane,
    without_loudest: Plane,
    density: Plane,
) -> None:
    frames, height, width = residuals.shape
    for y in range(height):
        for x in range(width):
            total = weights = loudest = loudest_weight = scene_says = scene_weight = np.float32(0)
            for k in range(frames):
                if known[k, y, x]:
                    scale = textures[k, y, x]
                    weight = voices[k] / (scale * scale)
                    says = residuals[k, y, x]
                    scene_says += weight * (says if bare[k] else min(max(says, -3 * scale), 3 * scale))
                    scene_weight += weight
                if k + 1 == frames or scenes[k + 1] != scenes[k]:
                    total += scene_says
                    weights += scene_weight
                    if scene_says > loudest and not bare[k]:
                        loudest, loudest_weight = scene_says, scene_weight
                    scene_says = scene_weight = np.float32(0)
            density[y, x] = total / weights if weights > 0 else np.float32(0)
            significance[y, x] = total / np.sqrt(weights) if weights > 0 else np.float32(0)
            rest = weights - loudest_weight
            without_loudest[y, x] = (total - loudest) / np.sqrt(rest) if rest > 1e-3 * weights else np.float32(0)


def suspects(evidence: Evidence, params: EvidenceParams, margin_px: int) -> Mask:
    """Where dirt may lie: spots over `grow` that reach `seed` somewhere, holes closed, widened by `margin_px`."""
    if not (evidence.significance > params.seed).any():
        return np.zeros(evidence.significance.shape, np.bool_)
    labels, count = ndimage.label(evidence.significance > params.grow, TOUCHING)
    good = np.zeros(count + 1, np.bool_)
    good[1:] = peaks(evidence.significance, labels, count) > params.seed
    good[1:] &= peaks(evidence.without_loudest, labels, count) > params.without_loudest
    good &= np.bincount(labels.ravel(), minlength=count + 1) >= params.min_area_px
    return widened(without_holes(good[labels]), margin_px)
