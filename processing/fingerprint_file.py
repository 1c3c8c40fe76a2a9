"""Fingerprints on disk: a few MB each, so only those that are asked for are held in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .cells import Cells
from .fingerprint import Fingerprint
from .relief import Relief

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_POINTS, _CELLS = ("dark", "light"), ("texture", "film")


def save_fingerprint(one: Fingerprint, file: Path) -> None:
    """Write the fingerprint of a frame that has not been turned. Raises OSError where the disk is full."""
    points = {name: getattr(one, name) for name in _POINTS}
    cells = {name: getattr(one, name).values for name in _CELLS}
    with file.open("wb") as stream:
        size, relief = [one.height, one.width], one.relief
        np.savez(stream, size=size, relief=relief.values, step=relief.step, **points, **cells)


def fingerprinted_size(file: Path) -> tuple[int, int]:
    """The height and width of the frame whose fingerprint `save_fingerprint` wrote, without reading the rest."""
    with np.load(file) as kept:
        return _size(kept)


def load_fingerprint(file: Path) -> Fingerprint:
    """Read what `save_fingerprint` wrote. Raises OSError where there is nothing."""
    with np.load(file) as kept:
        dark, light = (kept[name] for name in _POINTS)
        texture, film = (Cells(kept[name]) for name in _CELLS)
        relief = Relief(kept["relief"], int(kept["step"]))
        return Fingerprint(*_size(kept), dark, light, texture, film, relief)


def _size(kept: Mapping[str, npt.NDArray[Any]]) -> tuple[int, int]:
    height, width = (int(length) for length in kept["size"])
    return height, width
