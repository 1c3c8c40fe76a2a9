"""What a watching daemon keeps on disk between two frames and two starts: what frames have shown, and maps.

All of it can be made again from the originals. What is here is whole: it gets its name last, when it is on the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..processing.cells import Cells, Patch
from ..processing.drift import Drift, Wobble
from ..processing.fingerprint import Fingerprint
from ..processing.glass_map import GlassMap
from ..processing.observe import Observation
from ..processing.planes import PlaneFile
from ..processing.relief import Relief

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from pathlib import Path

_REMEMBERED = 64
"""Fingerprints held in memory: one of each glass, and all recent ones of that which a newcomer turns out to lie on."""

_POINTS, _CELLS = ("dark", "light"), ("texture", "film")
_CODES, _FINGERPRINT, _ABOUT, _PART = "residual", "fingerprint.npz", "about.json", ".part"


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
        for part in self._frames.glob(f"*/*{_PART}"):
            part.unlink(missing_ok=True)
        for part in self._maps.glob(f"*{_PART}"):
            shutil.rmtree(part)

    def codes_path(self, number: int) -> Path:
        """Where a frame's residual is to be observed into before it is kept; its folder is made."""
        self._frame(number).mkdir(exist_ok=True)
        return _part(self._frame(number) / _CODES)

    def keep(self, number: int, seen: Observation) -> None:
        """Keep a frame's observation, whose residual lies in `codes_path`. Raises OSError where the disk is full."""
        one, files = seen.fingerprint, [self._frame(number) / name for name in (_CODES, _FINGERPRINT)]
        with _part(files[1]).open("wb") as stream:
            points = {name: getattr(one, name) for name in _POINTS}
            cells = {name: getattr(one, name).values for name in _CELLS}
            size, relief = [one.height, one.width], one.relief
            np.savez(stream, size=size, relief=relief.values, step=relief.step, **points, **cells)
        for file in files:
            _sync(_part(file))
        for file in files:
            _part(file).replace(file)
        _sync(self._frame(number))

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
        return _open(self._maps / sha256) if (self._maps / sha256).exists() else None

    def make_map(self, sha256: str, learn: Callable[[Path], GlassMap]) -> GlassMap:
        """Keep the map that `learn` leaves in the folder it is given. Raises OSError where the disk is full."""
        place = self._maps / sha256
        part = _part(place)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        found = learn(part)
        about = {
            "file": found.path.name,
            "patch": asdict(found.patch),
            "dirty_px": found.dirty_px,
            "wobble": _told(found.wobble),
        }
        (part / _ABOUT).write_text(json.dumps(about))
        for name in (found.path.name, _ABOUT):
            _sync(part / name)
        part.replace(place)
        _sync(self._maps)
        return _open(place)

    def sweep(self, fingerprints: Set[int], residuals: Set[int], maps: Set[str]) -> None:
        """Give up all but the fingerprints and residuals of these frames and the maps of these digests."""
        for place in self._maps.iterdir():
            if place.name not in maps:
                shutil.rmtree(place.replace(_part(place)))
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


def _part(place: Path) -> Path:
    return place.with_name(place.name + _PART)


def _open(place: Path) -> GlassMap:
    about = json.loads((place / _ABOUT).read_text())
    (top, left), height, width = (about["patch"][name] for name in ("corner", "height", "width"))
    patch = Patch((top, left), height, width)
    return GlassMap.open(place / about["file"], patch, about["dirty_px"], _wobble(about["wobble"]))


def _told(wobble: Wobble | None) -> dict[str, Any] | None:
    if wobble is None:
        return None
    return {"points": wobble.points.tolist(), "drifts": [asdict(drift) for drift in wobble.drifts]}


def _wobble(told: dict[str, Any] | None) -> Wobble | None:
    if told is None:
        return None
    for drift in told["drifts"]:
        drift["coefficients"] = tuple(map(tuple, drift["coefficients"]))
    return Wobble(np.array(told["points"], np.float32), tuple(Drift(**drift) for drift in told["drifts"]))


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
