"""Telling a frame from a scan of nothing: a slot without film, a lamp that is off, a cover in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .arrays import Scan

_THINNING = 8
"""Every so many rows and columns are looked at."""

_TAIL = 0.01
"""So much of the brightest and of the darkest pixels may be dust, or the edge of the holder."""

_EVEN = 0.01
"""Nothing varies so little, as a share of its brightness, that has grain."""

_DARK = 1 / 512
"""Nor so little, as a share of the range, that is not without light."""


class Brightness:
    """How the brightness of the rows seen varies."""

    def __init__(self, colours: int, dtype: np.dtype[Any]) -> None:
        self._counts = np.zeros((colours, 1 << (8 * dtype.itemsize)), np.int64)

    def see(self, first: int, rows: Scan) -> None:
        """Take rows (n, width, k) in, of the colours from `first` on."""
        thin = rows[::_THINNING, ::_THINNING]
        for colour, sample in enumerate(np.moveaxis(thin, 2, 0), first):
            self._counts[colour] += np.bincount(sample.ravel(), minlength=self._counts.shape[1])

    def blank(self) -> float | None:
        """The brightness as a share of the range where all that was seen has the same one, None otherwise."""
        top = self._counts.shape[1] - 1
        low, middle, high = (self._quantile(share) for share in (_TAIL, 0.5, 1 - _TAIL))
        if np.all(high - low <= np.maximum(_EVEN * middle, _DARK * top)):
            return float(middle.mean() / top)
        return None

    def _quantile(self, share: float) -> np.ndarray[Any, np.dtype[np.intp]]:
        reached = np.cumsum(self._counts, axis=1)
        return np.argmax(reached >= share * reached[:, -1:], axis=1)
