"""The list of what was repaired in a frame: connected pixels of the repair, found band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .kernel import kernel
from .spots import Labels, Pixels, connected

FILLED_SHARE = 0.5
"""A pixel is called filled where more than this share of what is written comes from the fill."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One repaired place: `bbox` is (top, left, bottom, right) in px, the last two exclusive; density in D."""

    bbox: tuple[int, int, int, int]
    area_px: int
    peak_density: float
    repair: Literal["divided", "filled", "both"]
    origin: Literal["glass", "film"] = "glass"


_FOUND = np.dtype([("box", np.int32, 4), ("area", np.int64), ("peak", np.float32), ("filled", np.int64)])


class DefectList:
    """Takes the changed pixels of a frame band by band; holds what was found and the lowest row of pixels.

    A large frame has a hundred thousand defects, so they are rows of `_FOUND` until the last one is there.
    """

    def __init__(self) -> None:
        self._found: list[npt.NDArray[Any]] = [np.empty(0, _FOUND)]
        self._count = 0
        self._same: list[tuple[int, int]] = []  # numbers in `_found` of what one band and the next have of a defect
        self._lowest = np.empty((3, 0), np.int64)  # row, column, and number in `_found` of each pixel

    def add(self, pixels: Pixels, density: npt.NDArray[np.float32], filled: npt.NDArray[np.bool_]) -> None:
        """Add the pixels of a band below those before: with the dirt's density in D, and whether each was filled.

        Pixels come row after row, and those of a row from left to right.
        """
        if not pixels.size:
            return
        before = self._lowest
        labels, count = connected(np.concatenate([before[:2], pixels], axis=1))
        above, labels = labels[: before.shape[1]], labels[before.shape[1] :]
        boxes, areas, peaks, fills = _measure(labels, count, pixels, density, filled)
        new = areas > 0
        numbers = np.where(new, self._count + np.cumsum(new) - 1, -1)
        found = np.empty(np.count_nonzero(new), _FOUND)
        found["box"], found["area"], found["peak"], found["filled"] = boxes[new], areas[new], peaks[new], fills[new]
        self._found.append(found)
        self._count += len(found)
        for label, number in set(zip(above.tolist(), before[2].tolist(), strict=True)):
            if new[label]:
                self._same.append((number, int(numbers[label])))
        lowest = pixels[0] == pixels[0, -1]
        self._lowest = np.concatenate([pixels[:, lowest], numbers[labels[lowest]][None]])

    def finish(self) -> tuple[Defect, ...]:
        """All defects, from top to bottom and left to right."""
        found = np.concatenate(self._found)
        one, other = np.array(self._same, np.int64).reshape(-1, 2).T
        joined = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(self._count, self._count))
        _, whole = connected_components(joined, directed=False)
        order = np.argsort(whole, kind="stable")
        starts = np.flatnonzero(np.diff(whole[order], prepend=-1))
        parts = found[order]
        top, left = (np.minimum.reduceat(parts["box"][:, k], starts).tolist() for k in (0, 1))
        bottom, right = (np.maximum.reduceat(parts["box"][:, k], starts).tolist() for k in (2, 3))
        area, filled = (np.add.reduceat(parts[name], starts).tolist() for name in ("area", "filled"))
        peak = np.maximum.reduceat(parts["peak"], starts).tolist()
        defects = [
            Defect(bbox, pixels, round(density, 4), _repair(pixels, fills))
            for bbox, pixels, density, fills in zip(
                zip(top, left, bottom, right, strict=True), area, peak, filled, strict=True
            )
        ]
        return tuple(sorted(defects, key=lambda defect: defect.bbox))


def _repair(area: int, filled: int) -> Literal["divided", "filled", "both"]:
    return "divided" if not filled else "filled" if filled == area else "both"


@kernel
def _measure(
    labels: Labels, count: int, pixels: Pixels, density: npt.NDArray[np.float32], filled: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], Labels, npt.NDArray[np.float32], Labels]:
    """Bounding box (count, 4), area, peak density and filled pixels of each spot; the area may be 0."""
    boxes, areas, fills = np.zeros((count, 4), np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    peaks = np.full(count, -np.inf, np.float32)
    for i in range(len(labels)):
        spot, row, column = labels[i], pixels[0, i], pixels[1, i]
        top, left, bottom, right = boxes[spot]
        if areas[spot] == 0:
            top, left = row, column
        boxes[spot] = min(top, row), min(left, column), max(bottom, row + 1), max(right, column + 1)
        areas[spot] += 1
        fills[spot] += filled[i]
        peaks[spot] = max(peaks[spot], density[i])
    return boxes, areas, peaks, fills
