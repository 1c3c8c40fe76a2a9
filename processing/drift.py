"""How a carriage wobbles: along its travel, a glass does not lie at quite the same offset everywhere in a frame.

The landmarks of the glass lie where its frames show them on average; those of one frame drift smoothly away from there
along the travel. Nobody tells which axis of the glass that is, as software may have turned the frames: they tell it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

from .fetched import Fetched
from .fingerprint import by_row, coincide
from .landmarks import landmarks

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from .cells import Patch
    from .fingerprint import Fingerprint, MatchParams, Points

_PIECES = 12
_DEGREE = 3
_COUNT = _PIECES + _DEGREE
_REACH_PX, _BEND_PX = 1.0, 0.6
"""How far the coefficients of a drift are expected from 0, and from the line through their neighbours."""

_RADII_PX = (3.0, 2.0, 1.0, 1.0)
"""How far from where it ought to be a point is looked for, the better that is known the closer."""

_FIRST_ERROR_PX, _LEAST_ERROR_PX, _CLEAR = 1.0, 0.3, 10.0
"""Error along each axis of a point that stands out by one texture, before the points have told it, and the least.

What stands out more lies so many times as surely where it seems to, up to a limit.
"""

_ROUNDS = 6
_FEWEST = 30

_SURE = 3.0
"""Drifts are believed if, for each number that they are free to choose, they foretell points by so much better."""


@dataclass(frozen=True, slots=True)
class Drift:
    """By how much a glass lies elsewhere in a frame than its offset says, (rows, columns) in px.

    It depends on the row of the glass alone, or with `axis` 1 on the column: a cubic spline in pieces of equal length
    from `start` to `stop`, constant beyond. `coefficients` are those of its B-splines.
    """

    axis: int
    start: float
    stop: float
    coefficients: tuple[tuple[float, float], ...] = ((0.0, 0.0),) * _COUNT

    def at(self, places: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
        """The drift (n, 2) at these rows of the glass, or columns."""
        if not np.any(self.coefficients):
            return np.zeros((len(places), 2))
        return self._spline(np.array(self.coefficients), places)

    def basis(self, places: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
        """What each coefficient adds (n, coefficients) at these rows, or columns."""
        return self._spline(np.eye(_COUNT), places)

    def _spline(
        self, coefficients: npt.NDArray[np.float64], places: npt.NDArray[np.floating | np.integer]
    ) -> npt.NDArray[np.float64]:
        knots = self.start + (self.stop - self.start) / _PIECES * np.arange(-_DEGREE, _COUNT + 1)
        within = np.clip(places.astype(np.float64), self.start, self.stop)
        return np.asarray(BSpline(knots, coefficients, _DEGREE)(within), np.float64)


STEADY = Drift(0, 0.0, 1.0)
"""That of a carriage that does not wobble."""


@dataclass(frozen=True, slots=True)
class Wobble:
    """How a carriage wobbled under the frames of a map: the landmarks, and how each frame drifts from them."""

    points: Points
    drifts: tuple[Drift, ...]

    def drift(self, frame: Fingerprint, offset: tuple[float, float]) -> Drift:
        """How the glass drifts in another frame that has it at an `offset` (rows, columns)."""
        found = replace(self.drifts[0], coefficients=STEADY.coefficients)
        for radius_px in _RADII_PX:
            found = _followed(self.points, frame, offset, found, radius_px).drift
        return found


@dataclass(frozen=True, slots=True)
class _Followed:
    """A drift, and by how much better than their mean it foretells each point from the others.

    That is counted in squares of the points' error; `freedom` is how many numbers it was free to choose.
    """

    drift: Drift
    foretells: float
    freedom: float


def wobble(
    frames: Sequence[tuple[Fingerprint, tuple[float, float]]],
    scenes: Sequence[int],
    bare: Set[int],
    patch: Patch,
    params: MatchParams,
) -> Wobble | None:
    """How the carriage wobbled under frames on a patch of glass, each with its offset; None unless they tell so.

    `scenes` and `bare` are as in `landmarks`.
    """
    places = [(begin, begin + length) for begin, length in zip(patch.corner, (patch.height, patch.width), strict=True)]
    begun = [[Drift(axis, *ends)] * len(frames) for axis, ends in enumerate(places)]
    points = landmarks(frames, scenes, params, bare, _RADII_PX[0]).points
    followed = [_all_followed(points, frames, drifts, _RADII_PX[0]) for drifts in begun]
    foretold = [sum(one.foretells for one in along) for along in followed]
    axis = foretold.index(max(foretold))
    if foretold[axis] <= _SURE * sum(one.freedom for one in followed[axis]):
        return None
    drifts = [one.drift for one in followed[axis]]
    for radius_px in _RADII_PX[1:]:
        straight = _all_straightened(frames, drifts)
        points = landmarks(straight, scenes, params, bare, radius_px).points
        drifts = [one.drift for one in _all_followed(points, frames, drifts, radius_px)]
    return Wobble(points, tuple(drifts))


def _all_followed(
    points: Points,
    frames: Sequence[tuple[Fingerprint, tuple[float, float]]],
    drifts: Sequence[Drift],
    radius_px: float,
) -> list[_Followed]:
    return [_followed(points, *frame, drift, radius_px) for frame, drift in zip(frames, drifts, strict=True)]


def _all_straightened(
    frames: Sequence[tuple[Fingerprint, tuple[float, float]]], drifts: Sequence[Drift]
) -> Sequence[tuple[Fingerprint, tuple[float, float]]]:
    """The frames as they would be if the carriage did not wobble."""
    points = [
        by_row(_straightened(frame.dark, offset, drift)) for (frame, offset), drift in zip(frames, drifts, strict=True)
    ]

    def straight(number: int) -> tuple[Fingerprint, tuple[float, float]]:
        frame, offset = frames[number]
        return replace(frame, dark=points[number]), offset

    return Fetched(straight, len(frames))


def _straightened(points: Points, offset: tuple[float, float], drift: Drift) -> Points:
    """The points of a frame as it would show them if its carriage did not wobble, in the same order."""
    out = points.copy()
    out[:, :2] -= drift.at(points[:, drift.axis] - offset[drift.axis])
    return out


def _followed(
    points: Points, frame: Fingerprint, offset: tuple[float, float], drift: Drift, radius_px: float
) -> _Followed:
    """The drift of a frame by those of its points that lie so close to landmarks if it drifts about as is known."""
    straight = _straightened(frame.dark, offset, drift)
    order = np.lexsort((straight[:, 1], straight[:, 0]))
    pairs = coincide(points, straight[order], offset, radius_px)
    ought = points[pairs[:, 0]].astype(np.float64)
    seen = frame.dark[order][pairs[:, 1]]
    return _fitted(ought[:, drift.axis], seen[:, :2] - ought[:, :2] - offset, seen[:, 2:], drift)


def _fitted(
    places: npt.NDArray[np.float64], apart: npt.NDArray[np.float64], contrast: npt.NDArray[np.float32], drift: Drift
) -> _Followed:
    """The drift that explains how far `apart` (n, 2) points are at some places, of which chance has brought a few.

    `contrast` (n, 1) is that of the points. Bayes' estimate, with outliers given little weight. How far off a point is
    is taken from a fit to all others, since one that lies alone bends the drift to itself. Drifts as it is known where
    too few points tell.
    """
    if len(apart) < _FEWEST:
        return _Followed(drift, 0.0, 0.0)
    basis, clear = drift.basis(places), np.minimum(contrast, _CLEAR).astype(np.float64)
    bends = np.diff(np.eye(_COUNT), 2, axis=0)
    prior = bends.T @ bends / _BEND_PX**2 + np.eye(_COUNT) / _REACH_PX**2
    weights = (clear / _FIRST_ERROR_PX) ** 2
    for _ in range(_ROUNDS):
        weighed = (basis * weights).T
        spread = np.linalg.inv(weighed @ basis + prior)
        coefficients = spread @ weighed @ apart
        left = (apart - basis @ coefficients) / (1 - _share_of_each(basis, spread, weights))
        error = max(1.4826 * float(np.median(np.abs(left * clear))), _LEAST_ERROR_PX) / clear
        weights = (1 + (left**2).sum(axis=1, keepdims=True) / (3 * error) ** 2) ** -2 / error**2
    freedom = 2 * float(_share_of_each(basis, spread, weights).sum()) - 2
    total = weights.sum()
    unmoved = (apart - (weights * apart).sum(axis=0) / total) / (1 - weights / total)
    foretells = float((weights * (unmoved**2 - left**2)).sum())
    told = replace(drift, coefficients=tuple((float(down), float(right)) for down, right in coefficients))
    return _Followed(told, foretells, freedom)


def _share_of_each(
    basis: npt.NDArray[np.float64], spread: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The share that each point has itself (n, 1) in what a fit has there: its leverage."""
    return ((basis @ spread) * basis).sum(axis=1, keepdims=True) * weights
