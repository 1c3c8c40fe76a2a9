"""What a watching daemon keeps on disk between two frames and two starts: what frames have shown, and maps.

All of it can be made again from the originals. What is here is whole: it gets its name last, when it is on the disk.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from ..processing.fingerprint_file import fingerprinted_size, load_fingerprint
from ..processing.observe import Observation
from ..processing.packed import PackedCodes, pack
from ..processing.planes import PlaneFile
from .disk import PART, part_of, sync
from .map_folder import make_map, open_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set
    from pathlib import Path

    from ..processing.fingerprint import Fingerprint
    from ..processing.glass_map import GlassMap

_CODES, _PACKED, _FINGERPRINT = "residual", "residual.packed", "fingerprint.npz"


class Store:
    """Observations by the number of their frame, and maps by their digest, in a folder that is made if need be."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Residuals are packed on so many `threads`."""
        self._frames = folder / "frames"
        self._maps = folder / "maps"
        self._threads = threads
        for place in (self._frames, self._maps):
            place.mkdir(parents=True, exist_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Remove maps whose learning was broken off, and residuals whose packing was."""
        for part in self._maps.glob(f"*{PART}"):
            shutil.rmtree(part)
        for part in self._frames.glob(f"*/*{PART}"):
            part.unlink()

    def keep(self, number: int, seen: Observation) -> None:
        """Keep a frame's observation, taking its files, from the same disk. Raises OSError where that is full."""
        place = self._frame(number)
        place.mkdir(exist_ok=True)
        (place / _PACKED).unlink(missing_ok=True)  # of an earlier frame of this number
        files = {seen.codes.path: _CODES, seen.fingerprint_file: _FINGERPRINT}
        for file in files:
            sync(file)
        for file, name in files.items():
            file.replace(place / name)
        sync(place)

    def compact(self, numbers: Iterable[int]) -> None:
        """Have the residuals of these frames rounded, where they are kept, to take a third of the room.

        Raises OSError where the disk is full.
        """
        for number in numbers:
            exact, packed = (self._frame(number) / name for name in (_CODES, _PACKED))
            if not exact.exists():
                continue
            part = part_of(packed)
            with ExitStack() as undo:
                undo.callback(part.unlink, missing_ok=True)
                pack(self._exact(number), part, self._threads)
                sync(part)
                part.replace(packed)
            exact.unlink()
            sync(packed.parent)

    def knows(self, number: int) -> bool:
        """Whether the fingerprint of a frame is kept."""
        return (self._frame(number) / _FINGERPRINT).exists()

    def observation(self, number: int) -> Observation | None:
        """What is kept of a frame; None where its residual has been given up."""
        if not self.knows(number):
            return None
        exact, packed = self._exact(number), self._frame(number) / _PACKED
        fingerprint_file = self._frame(number) / _FINGERPRINT
        if packed.exists():
            return Observation(PackedCodes(packed, exact.height, exact.width, exact.dtype), fingerprint_file)
        return Observation(exact, fingerprint_file) if exact.path.exists() else None

    def fingerprint(self, number: int) -> Fingerprint:
        """The fingerprint of a frame. Raises OSError where it has been given up."""
        return load_fingerprint(self._frame(number) / _FINGERPRINT)

    def map(self, sha256: str) -> GlassMap | None:
        """The map of this digest; None if there is none, or only what another version or a broken disk has left."""
        try:
            return open_map(self._maps / sha256)
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def make_map(self, sha256: str, learn: Callable[[Path], GlassMap]) -> GlassMap:
        """Keep the map that `learn` leaves in the folder it is given. Raises OSError where the disk is full."""
        return make_map(self._maps / sha256, learn)

    def sweep(self, fingerprints: Set[int], residuals: Set[int], maps: Set[str]) -> None:
        """Give up all but the fingerprints and residuals of these frames and the maps of these digests."""
        for place in self._maps.iterdir():
            if place.name not in maps:
                shutil.rmtree(place.replace(part_of(place)))
        kept = fingerprints | residuals
        for place in self._frames.iterdir():
            number = int(place.name)
            if number not in residuals:
                for name in (_CODES, _PACKED):
                    (place / name).unlink(missing_ok=True)
            if number not in kept:
                shutil.rmtree(place)

    def _exact(self, number: int) -> PlaneFile:
        size = fingerprinted_size(self._frame(number) / _FINGERPRINT)
        return PlaneFile(self._frame(number) / _CODES, *size, np.dtype(np.int8))

    def _frame(self, number: int) -> Path:
        return self._frames / str(number)
