"""How well a mask tells dirt from clean pixels: its F1, and the threshold that makes the best of a plane of evidence.

Denser than INSIDE_D of dirt on the glass is dirt, less than PURE_D is clean. What lies between is not counted, nor is
where there is dirt on the film.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dustwatch.processing.figures import CLEAN_D, INSIDE_D

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dustwatch.processing.arrays import Mask, Plane
    from dustwatch.processing.simulate import SimulatedFrame

PURE_D = 0.015
DIRT, PURE = 1, 2

THRESHOLDS = np.geomspace(0.002, 0.4, 80)
"""What an oracle may choose from; in D, or whatever the evidence is in."""

Labels = npt.NDArray[np.uint8]
"""(rows, columns): DIRT, PURE, or 0 where a pixel is not counted."""

Curve = npt.NDArray[np.float64]
"""F1 for each of THRESHOLDS."""


def labels(frame: SimulatedFrame) -> Labels:
    """The truth about a frame."""
    found = np.where(frame.glass > INSIDE_D, DIRT, np.where(frame.glass < PURE_D, PURE, 0)).astype(np.uint8)
    found[frame.specks > CLEAN_D] = 0
    return found


def f1(mask: Mask, truth: Labels) -> float:
    """F1 of the pixels in `mask` as dirt; nan where there is none to find."""
    hits, false = np.count_nonzero(mask & (truth == DIRT)), np.count_nonzero(mask & (truth == PURE))
    dirt = np.count_nonzero(truth == DIRT)
    return 2 * hits / (hits + false + dirt) if dirt else np.nan


def f1_curve(evidence: Plane, truth: Labels) -> Curve:
    """F1 of ``evidence > threshold`` for each of THRESHOLDS."""
    levels = np.searchsorted(THRESHOLDS, evidence)
    # Counted from the top: how many pixels are over the threshold below each level.
    hits, false = (
        np.bincount(levels[truth == kind], minlength=THRESHOLDS.size + 1)[:0:-1].cumsum()[::-1] for kind in (DIRT, PURE)
    )
    return np.asarray(2 * hits / np.maximum(hits + false + np.count_nonzero(truth == DIRT), 1), np.float64)


def best_threshold(curves: Sequence[Curve]) -> float:
    """The threshold that is best in the mean of these curves."""
    return float(THRESHOLDS[np.mean(curves, axis=0).argmax()])
