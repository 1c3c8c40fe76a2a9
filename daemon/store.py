"""What a watching daemon keeps on disk between two frames and two starts: what frames have shown, and maps.

All of it can be made again from the originals. What is here is whole: it gets its name last, when it is on the disk.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..processing.cells import Cells
from ..processing.fingerprint import Fingerprint
from ..processing.observe import Observation
from ..processing.planes import PlaneFile
from ..processing.relief import Relief
from .disk import PART, part_of, sync
from .map_folder import make_map, open_map

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from pathlib import Path

    from ..processing.glass_map import GlassMap

_REMEMBERED = 64
"""Fingerprints held in memory: one of each glass, and all recent ones of that which a newcomer turns out to lie on."""

_POINTS, _CELLS = ("dark", "light"), ("texture", "film")
_CODES, _FINGERPRINT = "residual", "fingerprint.npz"


class Store:
    """Observations by the number of their frame, and maps by their digest, in a folder that is made if need be."""

    def __init__(self, folder: Path) -> None:
        self._frames = folder / "frames"
        self._maps = folder / "maps"
        for place in (self._frames, self._maps):
            place.mkdir(parents=True, exist_ok=True)
        self.tidy()
        self.fingerprint = lru_cache(_REMEMBERED)(self._fingerprint)

    def tidy(self) -> None:
        """Remove what was broken off."""
        for part in self._frames.glob(f"*/*{PART}"):
            part.unlink(missing_ok=True)
        for part in self._maps.glob(f"*{PART}"):
            shutil.rmtree(part)

    def codes_path(self, number: int) -> Path:
        """Where a frame's residual is to be observed into before it is kept; its folder is made."""
        self._frame(number).mkdir(exist_ok=True)
        return part_of(self._frame(number) / _CODES)

    def keep(self, number: int, seen: Observation) -> None:
        """Keep a frame's observation, whose residual lies in `codes_path`. Raises OSError where the disk is full."""
        one, files = seen.fingerprint, [self._frame(number) / name for name in (_CODES, _FINGERPRINT)]
        with part_of(files[1]).open("wb") as stream:
            points = {name: getattr(one, name) for name in _POINTS}
            cells = {name: getattr(one, name).values for name in _CELLS}
            size, relief = [one.height, one.width], one.relief
            np.savez(stream, size=size, relief=relief.values, step=relief.step, **points, **cells)
        for file in files:
            sync(part_of(file))
        for file in files:
            part_of(file).replace(file)
        sync(self._frame(number))

    def knows(self, number: int) -> bool:
        """Whether the fingerprint of a frame is kept."""
        return (self._frame(number) / _FINGERPRINT).exists()

    def observation(self, number: int) -> Observation | None:
        """What is kept of a frame; None where its residual has been given up."""
        codes = self._frame(number) / _CODES
        if not codes.exists() or not self.knows(number):
            return None
        one = self.fingerprint(number)
        return Observation(PlaneFile(codes, one.height, one.width, np.dtype(np.int8)), one)

    def map(self, sha256: str) -> GlassMap | None:
        """The map of this digest, None if there is none."""
        return open_map(self._maps / sha256) if (self._maps / sha256).exists() else None

    def make_map(self, sha256: str, learn: Callable[[Path], GlassMap]) -> GlassMap:
        """Keep the map that `learn` leaves in the folder it is given. Raises OSError where the disk is full."""
        return make_map(self._maps / sha256, learn)

    def sweep(self, fingerprints: Set[int], residuals: Set[int], maps: Set[str]) -> None:
        """Give up all but the fingerprints and residuals of these frames and the maps of these digests."""
        for place in self._maps.iterdir():
            if place.name not in maps:
                shutil.rmtree(place.replace(part_of(place)))
        for place in self._frames.iterdir():
            number = int(place.name)
            if number not in residuals:
                (place / _CODES).unlink(missing_ok=True)
            if number not in fingerprints | residuals:
                shutil.rmtree(place)

    def _frame(self, number: int) -> Path:
        return self._frames / str(number)

    def _fingerprint(self, number: int) -> Fingerprint:
        """The fingerprint of a frame. Raises OSError where it has been given up."""
        with np.load(self._frame(number) / _FINGERPRINT) as kept:
            height, width = (int(length) for length in kept["size"])
            dark, light = (kept[name] for name in _POINTS)
            texture, film = (Cells(kept[name]) for name in _CELLS)
            relief = Relief(kept["relief"], int(kept["step"]))
            return Fingerprint(height, width, dark, light, texture, film, relief)
