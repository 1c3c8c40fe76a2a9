"""What lies on the bed of the virtual scanner: dirt on its glass, and film, which is changed when it has been scanned.

Everything is drawn from one seed: the same scans in the same order give the same pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...processing.flatbed import Film, Samples, View
from ...processing.platen import Area, Grid, Platen

if TYPE_CHECKING:
    from collections.abc import Sequence

_JITTER_PX = 0.5


class Bed:
    """The glass, and the film in the `slots` of a holder. Without slots film fills whatever window is scanned.

    Film is changed by itself: when all slots have been scanned and one is scanned again in the same light, new film
    lies there. With `repeat_frame` it never is, and every scan of a window has the same pixels.
    """

    def __init__(self, seed: int, slots: Sequence[Area] = (), *, repeat_frame: bool = False) -> None:
        self._seed = seed
        self._slots = tuple(slots)
        self._repeat_frame = repeat_frame
        self._platen = Platen(seed)
        self._scans = 0
        self._done: set[tuple[int, bool]] = set()
        self.load_number = 1

    @property
    def all_scanned(self) -> bool:
        """Whether every slot has been scanned since the film was changed."""
        return {slot for slot, _ in self._done} == set(range(self._slot_count))

    def load(self) -> None:
        """Put new film in; meanwhile some dirt has come and gone."""
        self.load_number += 1
        self._done.clear()
        self._platen.turn_over()

    def wipe(self) -> None:
        """Clean the glass, which gets dirty anew."""
        self._platen.wipe()

    def view(self, grid: Grid, samples: Samples, *, reflected: bool) -> View:
        """A scan that begins now."""
        again = self._in(grid.area, samples) & self._done
        if again and self.all_scanned and not self._repeat_frame:
            self.load()
        scan = 0 if self._repeat_frame else self._scans
        self._scans += 1
        offset = np.random.default_rng((self._seed, 41, scan)).uniform(-_JITTER_PX, _JITTER_PX, 2)
        return View(
            grid,
            self._films(grid.area),
            self._platen.dirt(grid.area),
            (float(offset[0]), float(offset[1])),
            (self._seed, 42, scan),
            samples,
            reflected,
        )

    def scanned(self, view: View) -> None:
        """Say that a scan has been delivered as a whole: only then its slots count as scanned."""
        self._done |= self._in(view.grid.area, view.samples)

    @property
    def _slot_count(self) -> int:
        return len(self._slots) or 1

    def _films(self, window: Area) -> tuple[Film, ...]:
        """The frames that lie there; no two loads or slots show the same picture."""
        first = (self.load_number - 1) * self._slot_count
        return tuple(Film(area, self._seed, first + slot) for slot, area in enumerate(self._slots or (window,)))

    def _in(self, window: Area, samples: Samples) -> set[tuple[int, bool]]:
        """The slots whose middle lies in a window, and whether they are looked at in infrared alone."""
        infrared = samples == "infrared"
        return {(slot, infrared) for slot, area in enumerate(self._slots or (window,)) if _holds(window, area)}


def _holds(window: Area, area: Area) -> bool:
    x, y = area.x + area.width / 2, area.y + area.height / 2
    return window.x <= x <= window.x + window.width and window.y <= y <= window.y + window.height
