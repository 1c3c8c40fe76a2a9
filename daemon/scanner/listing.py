"""Scanners in words: what they have for film, and all their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..yaml_file import to_line
from .device import as_written, film_features
from .fault import ScannerError
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .device import Option


def film_text(device: str) -> str:
    """Say what a device has for film, with its light for film on. Raises ScannerError as `Session` does.

    Where that light cannot be set, it says what is known without, and what is not.
    """
    unknown = ""
    with Session(device) as session:
        has = film_features(session.options())
        if has.transparency:  # it often has an area and resolutions of its own
            source = has.transparency[0]
            try:
                has = film_features(session.options({"source": source}))
            except ScannerError as error:
                unknown = f"what of this is different with source {source}: {error}"
    area = f"{has.area_mm[0]:g} x {has.area_mm[1]:g} mm" if has.area_mm else ""
    infrared = [f"scanner: {to_line(section)}" for section in has.infrared] or ["-"]
    rows = [
        ("film", ", ".join(f"source {value}" for value in has.transparency)),
        ("infrared", infrared[0]),
        *(("", section) for section in infrared[1:]),
        ("depth", has.depths),
        ("resolution", has.resolutions),
        ("area", area),
        ("buttons", ", ".join(has.buttons)),
    ]
    if unknown:
        rows.append(("unknown", unknown))
    return _table((name, told or "-") for name, told in rows)


def options_text(device: str) -> str:
    """Tell all options of a device, a line each. Raises ScannerError as `Session` does."""
    with Session(device) as session:
        options = session.options()
    heads = ("option", "type", "value", "", "possible")
    return _table([heads, *((o.name, o.kind, _value(o), _notes(o), o.possible) for o in options)])


def _value(option: Option) -> str:
    return "-" if option.value is None else as_written(option.value)


def _notes(option: Option) -> str:
    """What keeps an option from being set."""
    notes = {
        "inactive": not option.active,
        "table": option.table,
        "button on the device": option.button,
        "read only": not (option.settable or option.button),
    }
    return ", ".join(note for note, holds in notes.items() if holds)


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
