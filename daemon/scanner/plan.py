"""What is to be scanned, how far it is, and what came of it: what travels between the session and its worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .section import ScannerSection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .device import Device


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the bed in mm, measured as the device does: from its top left corner; `name` is what errors call it."""

    x: float
    y: float
    width: float
    height: float
    name: str = "the window"


@dataclass(frozen=True, slots=True)
class Plan:
    """A scan to make.

    `window`: None for what the device scans by itself. `tags`: what the file tells as JSON beside the scanner's name
    and its options. `device`: as `devices` lists it, for the tags of maker and model.
    """

    section: ScannerSection = field(default_factory=ScannerSection)
    window: Window | None = None
    tags: Mapping[str, object] = field(default_factory=dict)
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is. `of_rows` is None where the device does not know its rows beforehand.

    Rows of all passes count: a second scan for infrared has as many as the first.
    """

    rows: int
    of_rows: int | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """A finished scan. `samples` a pixel, the fourth is infrared; `depth` in bits; `seconds` from start to end."""

    file: Path
    width: int
    height: int
    samples: int
    depth: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Starting:
    """Told before the device starts a pass, which may take longer than a row does."""
