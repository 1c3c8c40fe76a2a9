"""What SANE tells of a scanner: the device itself, its options, and what of them matters for film."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value: TypeAlias = bool | int | float | str

Kind: TypeAlias = Literal["switch", "whole number", "number", "text", "push button"]
"""Types of options, in words: SANE's BOOL, INT, FIXED, STRING and BUTTON."""

CORNERS = ("tl-x", "tl-y", "br-x", "br-y")
"""Options of the scan window, which SANE gives these names with every device."""

NEAR = 1e-4
"""Numbers that differ by less are the same; see `same`."""

_LIMIT = {"whole number": 1 << 31, "number": 1 << 15}
"""What SANE's numbers stay below, positive or negative."""

_LAST_OF_LATIN_1 = "\xff"

_TRANSPARENCY = re.compile(r"transparen|tpu|tma|film|slide|negative|positive", re.IGNORECASE)
_INFRARED = re.compile(r"infra-?red|\bir\b", re.IGNORECASE)
_COLOUR = re.compile(r"colou?r|rgb\b", re.IGNORECASE)
_RGBI = re.compile(r"rgbi", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Device:
    """A scanner as SANE lists it; `name` is what it is asked for by."""

    name: str
    vendor: str
    model: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}: {self.vendor} {self.model} ({self.type})"


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included; in steps of `step` from `low` on where that is not 0."""

    low: float
    high: float
    step: float = 0

    def __str__(self) -> str:
        steps = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{steps}"


Choices: TypeAlias = tuple[int | float | str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a device as it is at the moment.

    `unit` is ``""``, ``px``, ``bit``, ``mm``, ``dpi``, ``%`` or ``µs``. `constraint` is None where any value goes.
    `value` is None where there is none: of an inactive option, of one that the device refuses to tell, and where it is
    not `readable`, as a push button, a `table` (several numbers in one option), and a `button`, which is pressed on the
    device by hand, or a sensor there.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    constraint: Range | Choices | None
    value: Value | None
    active: bool
    settable: bool
    readable: bool = True
    table: bool = False
    button: bool = False

    @property
    def possible(self) -> str:
        """The values that it takes, in words, with their unit."""
        unit = f" {self.unit}" if self.unit else ""
        match self.constraint:
            case Range():
                return f"{self.constraint}{unit}"
            case tuple():
                return f"{', '.join(map(as_written, self.constraint))}{unit}"
            case _ if self.kind == "switch":
                return "true, false"
            case _ if self.kind == "push button":
                return "true, which presses it"
            case _:
                return f"any {self.kind}{f' in {self.unit}' if self.unit else ''}"


@dataclass(frozen=True, slots=True)
class FilmFeatures:
    """What a device has for film.

    `transparency`: values of `source` that light film from behind. `infrared`: scanner sections that give it, each in
    another way. `depths`: bits a sample, none where the device has no
    such option. `area_mm`: width and height, None where the device counts in pixels.
    """

    transparency: tuple[str, ...]
    infrared: tuple[dict[str, dict[str, Value]], ...]
    depths: str
    resolutions: str
    area_mm: tuple[float, float] | None
    buttons: tuple[str, ...]


def as_written(value: Value | None) -> str:
    """A value as one would write it into a section."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def unfit(option: Option, value: Value) -> str | None:
    """Say why an option cannot be set to a value, None where it can as far as it says."""
    if not option.settable:
        return f"{option.name} cannot be set, only read"
    if option.table:
        return f"{option.name} is a table, which cannot be set here"
    if option.kind == "switch" or option.kind == "push button":
        fits = isinstance(value, bool) and (value or option.kind == "switch")
    elif option.kind == "text":
        fits = isinstance(value, str) and all(letter <= _LAST_OF_LATIN_1 for letter in value)
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LIMIT[option.kind]
        fits = number and (option.kind == "number" or float(value).is_integer())
    if not (fits and _allowed(option.constraint, value)):
        return f"{option.name} cannot be {as_written(value)}; possible: {option.possible}"
    return None


def same(one: Value | None, other: Value | None) -> bool:
    """Whether two values are one to SANE, whose numbers are multiples of 2 ** -16."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) < NEAR
    return one == other


def _allowed(constraint: Range | Choices | None, value: Value) -> bool:
    match constraint:
        case Range(low, high, step) if not isinstance(value, str):
            steps = (value - low) / step if step else 0
            return low - NEAR <= value <= high + NEAR and abs(steps - round(steps)) * step < NEAR
        case tuple():
            return any(same(choice, value) for choice in constraint)
        case _:
            return True


def film_features(options: Sequence[Option]) -> FilmFeatures:
    """Find out what matters for film among the options of a device, as they are at the moment."""
    by_name = {option.name: option for option in options}
    sources, modes = (_choices(by_name.get(name)) for name in ("source", "mode"))
    transparency = [value for value in sources if _TRANSPARENCY.search(value) and not _INFRARED.search(value)]
    colours = [value for value in modes if _COLOUR.search(value)]
    colour: dict[str, Value] = {name: of[0] for name, of in (("source", transparency), ("mode", colours)) if of}
    infrared = [_section(colour, "source", value) for value in sources if _INFRARED.search(value)]
    infrared += [_section(colour | {"mode": value}, "sample") for value in modes if _RGBI.search(value)]
    infrared += [_section(colour, "mode", value) for value in modes if _INFRARED.search(value)]
    infrared += [
        _section(colour | {option.name: True}, "scan")
        for option in options
        if option.kind == "switch" and _INFRARED.search(f"{option.name} {option.title}")
    ]
    depth = by_name.get("depth")
    resolution = by_name.get("resolution") or by_name.get("x-resolution")
    return FilmFeatures(
        tuple(transparency),
        tuple(infrared),
        depth.possible if depth else "",
        resolution.possible if resolution else "",
        _area_mm(by_name),
        tuple(option.name for option in options if option.button),
    )


def _section(options: dict[str, Value], style: str, value: str | None = None) -> dict[str, dict[str, Value]]:
    """A scanner section with infrared."""
    return {"options": options, "infrared": {"style": style} if value is None else {"style": style, "value": value}}


def _choices(option: Option | None) -> list[str]:
    return [str(value) for value in option.constraint] if option and isinstance(option.constraint, tuple) else []


def _area_mm(options: Mapping[str, Option]) -> tuple[float, float] | None:
    corners = [options.get(name) for name in CORNERS]
    ranges = [corner.constraint for corner in corners if corner and corner.unit == "mm"]
    left, top, right, bottom = ranges if len(ranges) == len(CORNERS) else [None] * len(CORNERS)
    if isinstance(left, Range) and isinstance(top, Range) and isinstance(right, Range) and isinstance(bottom, Range):
        return right.high - left.low, bottom.high - top.low
    return None
