"""What a glass is recognised by: the dark points that several of its frames share.

A frame belongs to the glass if most of the landmarks that ought to show on its film do show. A glass that was wiped
has lost most of them, even if a few are left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from .cells import Cells, Patch, fixed_cells
from .fingerprint import FEWEST_SHOWN, Fingerprint, Match, MatchParams, Points, coincide, common_films, settle
from .kernel import kernel
from .relief import expected, loudest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

Frame = TypeVar("Frame")

_FEWEST_HEARD = 4
"""Of what fewer landmarks say nothing is believed. They are surer than the points of single frames."""

_RADIUS_PX = 1.0
_STRETCH_PX = 1.0
"""By how much more or less of the glass a frame may show than others do over the same number of pixels."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of the glass, on the grid on which its frames have their offsets; contrast in D."""

    points: Points


def landmarks(
    members: Sequence[tuple[Fingerprint, tuple[float, float]]],
    scenes: Sequence[int],
    params: MatchParams,
    bare: Set[int] = frozenset(),
    radius_px: float = _RADIUS_PX,
) -> Landmarks:
    """The landmarks of the glass on which `members` lie, each with its offset (rows, columns) in px.

    Of frames that show one scene, by its number in `scenes`, only the first counts: what they share may be film.
    Scenes that are `bare` show none, and what stands out of these is dirt: where there are no others, one is enough.
    Points of two frames up to `radius_px` from each other are taken for one.
    """
    witnesses = [scenes.index(scene) for scene in range(max(scenes) + 1)]
    patch = Patch.under((one.height, one.width, offset) for one, offset in (members[number] for number in witnesses))
    filmed_ones = with_film(witnesses, [scene in bare for scene in range(len(witnesses))])
    films = common_films(patch, (members[number] for number in filmed_ones))
    filmed = len(bare) < len(witnesses)
    telling = Cells(~fixed_cells(films, params.same_film_d) | (not filmed), patch.corner)
    seen = np.zeros((0, 4), np.float64)
    for number in witnesses:
        one, offset = members[number]
        points = telling.within(_in_density(one) - np.array([*offset, 0], np.float32))
        pairs = coincide(seen[:, :3].astype(np.float32), points, (0.0, 0.0), radius_px)
        seen = tallied(seen, points, pairs)
    needed = 2 + len(witnesses) // 6 if filmed else 1
    return Landmarks(seen[seen[:, 3] >= needed, :3].astype(np.float32))


@kernel
def tallied(seen: npt.NDArray[np.float64], points: Points, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """All that was seen once `points` have been looked at, too: (n, 4) ordered by row and column, as `seen` is.

    Those are row, column and contrast, on the average over as many points as the last number says. `pairs` (n, 2) are
    the indices of what is the same in both.
    """
    before, fresh = seen.copy(), np.ones(len(points), np.bool_)
    for pair in range(len(pairs)):
        old, new = pairs[pair, 0], pairs[pair, 1]
        fresh[new] = False
        before[old, 3] += 1
        for k in range(3):
            before[old, k] += (points[new, k] - before[old, k]) / before[old, 3]
    out = np.empty((len(seen) + np.count_nonzero(fresh), 4), np.float64)
    old, new = 0, 0
    for count in range(len(out)):
        while new < len(points) and not fresh[new]:
            new += 1
        if new == len(points) or (old < len(before) and before[old, 0] <= points[new, 0]):
            row, column, contrast, hits = before[old]
            old += 1
        else:
            row, column, contrast = points[new]
            hits = 1.0
            new += 1
        # Means that have moved may have to go before some that did not.
        place = count
        while place > 0 and (out[place - 1, 0], out[place - 1, 1]) > (row, column):
            out[place] = out[place - 1]
            place -= 1
        out[place] = row, column, contrast, hits
    return out


def with_film(frames: Sequence[Frame], bare: Sequence[bool]) -> Sequence[Frame]:
    """The frames in which what stays from frame to frame can be seen: not the `bare` ones, unless too few are left.

    Rebate and its text are in all others, and would seem to change.
    """
    filmed = [frame for frame, none in zip(frames, bare, strict=True) if not none]
    return filmed if len(filmed) > 1 else frames


def number_scenes(frames: Sequence[Frame], same: Callable[[Frame, Frame], bool]) -> list[int]:
    """Number the scenes that `frames` show, 0, 1, ... in the order in which they first appear; one number a frame.

    `same` tells whether two frames, the earlier one first, show the same.
    """
    firsts: list[Frame] = []
    scenes = []
    for frame in frames:
        known = (number for number, first in enumerate(firsts) if same(first, frame))
        scenes.append(next(known, len(firsts)))
        if scenes[-1] == len(firsts):
            firsts.append(frame)
    return scenes


def recognise(glass: Landmarks, frame: Fingerprint, params: MatchParams) -> Match | None:
    """The match of a frame with the glass if it lies on it, else None (also where too little ought to show)."""
    search_px = params.reach_px(frame.height, frame.width)
    if len(glass.points) < FEWEST_SHOWN:
        return None
    ought = expected(glass.points[:, 2] / frame.texture.at(glass.points))
    heard = loudest(frame.relief.sums(glass.points, ought, search_px), frame.relief.step, search_px)
    found = settle(heard, glass.points, ought**2, frame, params, _FEWEST_HEARD)
    if found is None:
        return None
    moved = glass.points + np.array([*found.offset, 0], np.float32)
    moved = moved[((moved[:, :2] >= 0) & (moved[:, :2] < (frame.height, frame.width))).all(axis=1)]
    ought = expected(moved[:, 2] / frame.texture.at(moved))
    if heard.above < params.min_share * float((ought**2).sum()):
        return None
    pairs = coincide(moved, frame.dark, (0.0, 0.0), _RADIUS_PX)
    return None if len(pairs) and _stretched(moved[pairs[:, 0]], frame.dark[pairs[:, 1]], frame) else found


def _stretched(ought: Points, shown: Points, frame: Fingerprint) -> bool:
    """Whether points lie the further from where they ought to, the further they are from the middle of the frame.

    Then it was scanned at another scale, and what coincides near one place comes apart elsewhere.
    """
    for axis, length in enumerate((frame.height, frame.width)):
        place, apart = ought[:, axis] - ought[:, axis].mean(), shown[:, axis] - ought[:, axis]
        spread = max(float((place**2).sum()), 1.0)
        slope = float((place * apart).sum()) / spread
        doubt = float((apart - apart.mean() - slope * place).std()) / np.sqrt(spread)
        if abs(slope) * length > _STRETCH_PX and abs(slope) > 4 * doubt:
            return True
    return False


def _in_density(frame: Fingerprint) -> Points:
    """The dark points with their contrast in D instead of in units of the texture."""
    points = frame.dark.copy()
    points[:, 2] *= frame.texture.at(points)
    return points
