"""A map of the dirt on a glass as a folder on disk, for a daemon or for good: it is there as a whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..processing.cells import Patch
from ..processing.drift import Drift, Wobble
from ..processing.glass_map import GlassMap
from .disk import part_of, sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ABOUT = "about.json"


def make_map(place: Path, learn: Callable[[Path], GlassMap]) -> GlassMap:
    """Keep the map that `learn` leaves in the folder it is given, with whatever else it puts there, as `place`.

    What was in that place is replaced. Raises OSError where the disk is full.
    """
    part = part_of(place)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    found = learn(part)
    about = {
        "file": found.path.name,
        "patch": asdict(found.patch),
        "wobble": _told(found.wobble),
    }
    (part / _ABOUT).write_text(json.dumps(about))
    for file in part.iterdir():
        sync(file)
    sync(part)
    if place.exists():
        old = part_of(place.with_name(f"{place.name}.old"))
        shutil.rmtree(old, ignore_errors=True)
        place.replace(old)
        part.replace(place)
        shutil.rmtree(old)
    else:
        part.replace(place)
    sync(place.parent)
    return open_map(place)


def open_map(place: Path) -> GlassMap:
    """The map in a folder.

    Raises OSError where it cannot be read or is cut short, KeyError, TypeError or ValueError where it is no map.
    """
    about = json.loads((place / _ABOUT).read_text())
    (top, left), height, width = (about["patch"][name] for name in ("corner", "height", "width"))
    patch = Patch((top, left), height, width)
    return GlassMap.open(place / about["file"], patch, _wobble(about["wobble"]))


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
