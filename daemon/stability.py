"""When a file that appears in a watched folder is still, so that it can be taken for whole.

No event says that a file is whole: some programs close theirs several times while they write, and that of a killed one
is closed as well. So it has to stay as it is for a while.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .inbox import Sighting


class Stability:
    """Remembers since when each file has been as it is."""

    def __init__(self, still_s: float) -> None:
        self._still_s = still_s
        self._now = -math.inf
        self._since: dict[Sighting, float] = {}

    def still(self, sightings: Sequence[Sighting], now: float) -> list[Sighting]:
        """Those of a look at `now`, in seconds, that were equal in all looks for at least `still_s`, in their order.

        An empty file never is still: scanning programs create it first. Files that a look does not have are forgotten.
        Where the clock has been set back, time begins anew for all of them.
        """
        if now < self._now:
            self._since.clear()
        self._now = now
        self._since = {sighting: self._since.get(sighting, now) for sighting in sightings}
        return [
            sighting
            for sighting in sightings
            if sighting.stamp.size > 0 and now - self._since[sighting] >= self._still_s
        ]
