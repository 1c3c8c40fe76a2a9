"""The list of what was repaired in a frame: connected pixels of the repair, found band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from scipy.cluster.hierarchy import DisjointSet

from .spots import TOUCHING, peaks

if TYPE_CHECKING:
    from .arrays import Mask, Plane

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


class DefectList:
    """Takes the bands of a frame from top to bottom; holds what was found and one row of labels."""

    def __init__(self, width: int) -> None:
        self._found: list[tuple[tuple[int, int, int, int], int, float, int]] = []  # bbox, area, peak, filled px
        self._same: DisjointSet[int] = DisjointSet()
        self._last_row = np.full(width, -1, np.intp)  # number in `_found` of each column's defect, or -1

    def add(self, start: int, changed: Mask, density: Plane, filled: Mask) -> None:
        """Add the band from row `start`: where it was changed, the dirt's density in D, and where it was filled.

        All (rows, columns); `filled` holds only where `changed` does.
        """
        labels, count = ndimage.label(changed, TOUCHING)
        first = len(self._found)
        if count:
            areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
            highest = peaks(density, labels, count)
            fills = np.bincount(labels[filled], minlength=count + 1)[1:]
            boxes = ndimage.find_objects(labels)
            for (rows, columns), area, peak, fill in zip(boxes, areas, highest, fills, strict=True):
                bbox = (start + rows.start, columns.start, start + rows.stop, columns.stop)
                self._same.add(len(self._found))
                self._found.append((bbox, int(area), float(peak), int(fill)))
        upmost, lowest = (np.where(row > 0, row + first - 1, -1).astype(np.intp) for row in (labels[0], labels[-1]))
        above = np.pad(self._last_row, 1, constant_values=-1)
        for shift in range(3):  # the neighbours above: left, straight, right
            over = above[shift : shift + changed.shape[1]]
            touching = (over >= 0) & (upmost >= 0)
            for old, new in set(zip(over[touching].tolist(), upmost[touching].tolist(), strict=True)):
                self._same.merge(old, new)
        self._last_row = lowest

    def finish(self) -> tuple[Defect, ...]:
        """All defects, from top to bottom and left to right."""
        defects = []
        for numbers in self._same.subsets():
            boxes, areas, peaks, fills = zip(*(self._found[number] for number in numbers), strict=True)
            tops, lefts, bottoms, rights = zip(*boxes, strict=True)
            area, filled = sum(areas), sum(fills)
            repair: Literal["divided", "filled", "both"] = (
                "divided" if not filled else "filled" if filled == area else "both"
            )
            bbox = (min(tops), min(lefts), max(bottoms), max(rights))
            defects.append(Defect(bbox, area, round(max(peaks), 4), repair))
        return tuple(sorted(defects, key=lambda defect: defect.bbox))
