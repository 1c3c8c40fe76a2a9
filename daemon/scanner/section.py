"""A scanner section: how a scanner is set for film, in the option names and values of its own.

Film options differ from device to device: infrared is a source, a mode, a second scan or a fourth sample, the window
is measured in mm or in pixels, some have no depth. So a section holds raw names and values, which are checked against
the device before the first scan; `dustwatch devices --options` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

Style = Literal["none", "source", "mode", "scan", "sample"]


@dataclass(frozen=True, slots=True)
class Infrared:
    """How the device gives infrared, which becomes the fourth sample of a scan.

    ``none``: not at all. ``source``, ``mode``: by a second scan of the window with the option of that name set to
    `value`. ``scan``: as the next page, which the device delivers by itself when it is started again. ``sample``: as
    the fourth sample of every pixel.
    """

    style: Style = "none"
    value: str | None = None

    def __post_init__(self) -> None:
        wanted = self.style in ("source", "mode")
        if wanted and not self.value:
            raise ValueError(f"style {self.style} needs value: what the option {self.style!r} is set to for infrared")
        if self.value is not None and not wanted:
            raise ValueError(f"style {self.style} has no value; leave value away, or write style source or mode")


@dataclass(frozen=True, slots=True)
class ScannerSection:
    """How a scanner is set.

    `resolution` (dpi) and `depth` (bits a sample) set the options of these names; leave them away for a device that
    has none. `options`: raw names and values, set in this order, or later where one is inactive until others are set.
    `required`: options that must be there and active when all are set. `geometry`: what the device measures the window
    in; pixels are `geometry_dpi` to the inch, or as many as `resolution` says. `lamp`: a switch or push button that
    lights the lamp, used before the first scan of a session. `warm_up_s`: the wait after that. `start_s`: a scan must
    begin within so many seconds; until then the device moves its carriage, focuses and calibrates.
    """

    resolution: Annotated[float, Interval(ge=1, le=100_000)] | None = None
    depth: Literal[8, 16] | None = None
    options: dict[str, bool | int | float | str] = field(
        default_factory=dict, metadata={"example": "source: Transparency Unit"}
    )
    required: tuple[str, ...] = ()
    geometry: Literal["mm", "pixels"] = "mm"
    geometry_dpi: Annotated[float, Interval(ge=1, le=100_000)] | None = None
    infrared: Infrared = field(default_factory=Infrared)
    lamp: str | None = None
    warm_up_s: Annotated[float, Interval(ge=0, le=3600)] = 0.0
    start_s: Annotated[float, Interval(ge=1, le=3600)] = 120.0

    def __post_init__(self) -> None:
        for name in ("resolution", "depth"):
            if name in self.options and getattr(self, name) is not None:
                raise ValueError(f"{name} is given twice: beside options and among them; keep one")
        style = self.infrared.style
        if style in ("source", "mode") and style not in self.options:
            raise ValueError(f"infrared.style {style} sets {style!r} anew: say among options what it is for colour")
        if self.geometry == "mm" and self.geometry_dpi is not None:
            raise ValueError("geometry_dpi is for geometry: pixels; write that, or leave geometry_dpi away")
        if self.geometry == "pixels" and not (self.geometry_dpi or self.resolution):
            raise ValueError("geometry: pixels needs geometry_dpi or resolution: how many pixels to the inch?")

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """All options to set, in this order."""
        return self.options | self._own

    @property
    def infrared_settings(self) -> dict[str, bool | int | float | str]:
        """What to set after that for the infrared scan; other options may be what the device makes of them then."""
        style, value = self.infrared.style, self.infrared.value
        return {} if value is None else {str(style): value, **self._own}

    @property
    def _own(self) -> dict[str, bool | int | float | str]:
        own = {"resolution": self.resolution, "depth": self.depth}
        return {name: value for name, value in own.items() if value is not None}
