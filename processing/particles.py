"""The lives of particles: in which frames of the group each one lies on the glass.

A particle falls once and goes once, or stays. What is missing in a frame is compared with what the map says, and the
answers are smoothed over the sequence, forwards and backwards, as a two-state Markov chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .kernel import kernel

if TYPE_CHECKING:
    from .arrays import Mask

Samples = npt.NDArray[np.float32]
"""(frames, pixels): values at the pixels of all particles of a tile."""

_FREEDOM = 4.0
"""Degrees of freedom of the error of a fill: it is small mostly and large where an edge of the film passes."""

_INDEPENDENT = 4.0
"""How many independent errors a fill makes under one particle, whatever its size."""

FILL_ERROR = 0.3
"""Mean square of a fill's error, as a share of the film's variance around: a fill follows smooth film, and lines."""

_FEW_SCENES = 4
"""More scenes than this must say more, since what they say by chance adds up with the root of their number."""


@dataclass(frozen=True, slots=True)
class LifeParams:
    """How dirt comes and goes. `change_rate`: the chance that a particle falls or goes between two frames.

    `min_support`: by how much (natural logarithm of the odds) four scenes or fewer must say that a particle is dirt on
    the glass, the one that says it loudest left out; four times as many must say it twice as loudly. `fewest_scenes`: a
    particle seen in fewer scenes is left alone.
    """

    change_rate: Annotated[float, Interval(ge=1e-5, le=0.3)] = 0.01
    min_support: Annotated[float, Interval(ge=0.0, le=100.0)] = 3.6
    fewest_scenes: Annotated[int, Interval(ge=2, le=32)] = 2


def odds(
    missing: Samples, template: Samples, deviation: Samples, labels: npt.NDArray[np.intp], count: int
) -> npt.NDArray[np.float64]:
    """How much more likely each particle is there than not, in each frame: (frames, particles), natural log.

    `missing` is what stands out over the fill, `template` (pixels) or (frames, pixels) the particle's density and
    `deviation` the error to expect, all in D; `labels` (pixels) 0..`count` - 1. Errors follow Student's t.
    """
    absent, present = _misfits(missing, np.broadcast_to(template, missing.shape), deviation, labels, count)
    return _fit(absent, present, labels)


def _fit(
    absent: npt.NDArray[np.float64], present: npt.NDArray[np.float64], labels: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """The odds by the sums over each particle of what is off, squared, if it is absent and if it is present."""
    area = np.maximum(np.bincount(labels, minlength=absent.shape[1]), 1)
    least = _FREEDOM * FILL_ERROR
    fit: npt.NDArray[np.float64] = np.log(
        (least + _INDEPENDENT * absent / area) / (least + _INDEPENDENT * present / area)
    )
    return (_FREEDOM + _INDEPENDENT) / 2 * fit


@kernel
def _misfits(
    missing: Samples, template: Samples, deviation: Samples, labels: npt.NDArray[np.intp], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    absent, present = np.zeros((len(missing), count)), np.zeros((len(missing), count))
    for k in range(len(missing)):
        for i in range(len(labels)):
            absent[k, labels[i]] += (missing[k, i] / deviation[k, i]) ** 2
            present[k, labels[i]] += ((missing[k, i] - template[k, i]) / deviation[k, i]) ** 2
    return absent, present


def amplitude(
    missing: Samples,
    shape: npt.NDArray[np.float32],
    deviation: Samples,
    labels: npt.NDArray[np.intp],
    count: int,
) -> npt.NDArray[np.float64]:
    """How dense each particle is, as a multiple of `shape` (pixels), if it need not be there in every frame.

    The level, out of those that single frames suggest, at which the frames of one run show it most clearly and the
    others show nothing: (particles).
    """
    norm = np.maximum(np.bincount(labels, shape**2, minlength=count), 1e-12)
    shown, absent, common, own = _products(missing, shape, deviation, labels, count)
    best, chosen = np.full(count, -np.inf), np.zeros(count)
    for level in np.maximum(shown / norm, 0.0):
        total = _best_run(_fit(absent, absent - 2 * level * common + level**2 * own, labels))
        better = total > best
        best[better], chosen[better] = total[better], level[better]
    return chosen


@kernel
def _products(
    missing: Samples,
    shape: npt.NDArray[np.float32],
    deviation: Samples,
    labels: npt.NDArray[np.intp],
    count: int,
) -> npt.NDArray[np.float64]:
    """Sums over each particle, (4, frames, particles): of `missing` times `shape`, and three that are weighted.

    These are of `missing` squared, `missing` times `shape`, and `shape` squared, each by the deviation squared.
    """
    sums = np.zeros((4, len(missing), count))
    for k in range(len(missing)):
        for i in range(len(labels)):
            said, weight = missing[k, i], 1 / deviation[k, i] ** 2
            sums[0, k, labels[i]] += said * shape[i]
            sums[1, k, labels[i]] += said * said * weight
            sums[2, k, labels[i]] += said * shape[i] * weight
            sums[3, k, labels[i]] += shape[i] * shape[i] * weight
    return sums


def _best_run(ratios: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest sum of `ratios` (frames, particles) over frames in a row: (particles), 0 if all are negative."""
    best = here = np.zeros(ratios.shape[1])
    for ratio in ratios:
        here = np.maximum(here + ratio, 0.0)
        best = np.maximum(best, here)
    return best


def lives(ratios: npt.NDArray[np.float64], params: LifeParams) -> Mask:
    """Smooth `ratios` (frames, particles) over the sequence: whether each is there, (frames, particles)."""
    stay, switch = np.log1p(-params.change_rate), np.log(params.change_rate)
    frames, count = ratios.shape
    evidence = np.stack([np.zeros_like(ratios), ratios], axis=-1)  # absent, present

    def step(belief: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        absent, present = belief[:, 0], belief[:, 1]
        return np.stack(
            [np.logaddexp(absent + stay, present + switch), np.logaddexp(absent + switch, present + stay)],
            axis=-1,
        )

    forward = np.zeros((frames, count, 2))
    backward = np.zeros((frames, count, 2))
    forward[0] = evidence[0]
    for k in range(1, frames):
        forward[k] = evidence[k] + step(forward[k - 1])
    for k in range(frames - 2, -1, -1):
        backward[k] = step(backward[k + 1] + evidence[k + 1])
    total = forward + backward
    return np.asarray(total[..., 1] > total[..., 0])


def accepted(
    ratios: npt.NDArray[np.float64],
    there: Mask,
    scenes: npt.NDArray[np.int64],
    params: LifeParams,
    bare: npt.NDArray[np.bool_] | None = None,
) -> Mask:
    """Which particles are surely dirt on the glass, (particles): several scenes say so without the loudest.

    `scenes` (frames) numbers the scene that each frame shows; frames of one scene are one witness.
    Of the frames that `bare` (frames) marks, which show no film that could be taken for dirt, one is enough.
    """
    each = [np.where(there & (scenes == scene)[:, None], ratios, 0.0).max(axis=0) for scene in np.unique(scenes)]
    support = np.stack(each)
    rest = support.sum(axis=0) - support.max(axis=0)
    seen = np.count_nonzero(support > 0, axis=0)
    needed = params.min_support * np.sqrt(np.maximum(seen / _FEW_SCENES, 1))
    several = (rest >= needed) & (seen >= params.fewest_scenes)
    if bare is None or not bare.any():
        return np.asarray(several)
    return np.asarray(several | (np.where(there, ratios, 0.0)[bare].max(axis=0) >= params.min_support))
