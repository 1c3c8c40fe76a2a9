"""The list of what was repaired in a frame: connected pixels of the repair, found band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

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


class DefectList:
    """Takes the changed pixels of a frame band by band; holds what was found and the lowest row of pixels."""

    def __init__(self) -> None:
        self._found: list[tuple[tuple[int, int, int, int], int, float, int]] = []  # bbox, area, peak, filled px
        self._same: DisjointSet[int] = DisjointSet()
        self._lowest = np.empty((3, 0), np.int64)  # row, column, and number in `_found` of each pixel

    def add(self, pixels: Pixels, density: npt.NDArray[np.float32], filled: npt.NDArray[np.bool_]) -> None:
        """Add the pixels of a band below those before: with the dirt's density in D, and whether each was filled.

        Pixels come row after row.
        """
        if not pixels.size:
            return
        before, first = self._lowest, len(self._found)
        labels, count = connected(np.concatenate([before[:2], pixels], axis=1))
        above, labels = labels[: before.shape[1]], labels[before.shape[1] :]
        boxes, areas, highest, fills = _measure(labels, count, pixels, density, filled)
        new = np.flatnonzero(areas)
        numbers = np.full(count, -1, np.int64)
        numbers[new] = first + np.arange(len(new))
        for number, label in enumerate(new.tolist(), start=first):
            top, left, bottom, right = boxes[label].tolist()
            self._same.add(number)
            found = (top, left, bottom, right), int(areas[label]), float(highest[label]), int(fills[label])
            self._found.append(found)
        for label, number in set(zip(above.tolist(), before[2].tolist(), strict=True)):
            if numbers[label] >= 0:
                self._same.merge(number, int(numbers[label]))
        lowest = pixels[0] == pixels[0, -1]
        self._lowest = np.concatenate([pixels[:, lowest], numbers[labels[lowest]][None]])

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
