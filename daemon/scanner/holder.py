"""Holders: where the slots of a film holder lie on the bed, from YAML files that people write by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen

from ... import profiles
from ..yaml_file import Line, NamedFiles, Problem, Schema, strict
from .plan import Window

SHIPPED = Path(profiles.__file__).parent / "holders"

_SLOT = "- {name: 1st, x: 20, y: 10, width: 38, height: 26}"

_Mm = Annotated[float, Interval(ge=0, le=2000)]


@dataclass(frozen=True, slots=True)
class Slot:
    """A frame's place on the bed, in mm from the top left corner of the scanner's area."""

    name: Annotated[Line, MinLen(1)]
    x: _Mm
    y: _Mm
    width: Annotated[float, Interval(gt=0, le=2000)]
    height: Annotated[float, Interval(gt=0, le=2000)]


@strict
@dataclass(frozen=True, slots=True)
class Holder:
    """A film holder: its slots in the order in which they are scanned, each of another name."""

    name: Annotated[Line, MinLen(1)]
    slots: Annotated[tuple[Slot, ...], MinLen(1)] = field(metadata={"example": _SLOT})
    description: Line = ""

    @property
    def windows(self) -> tuple[Window, ...]:
        """What is scanned, slot by slot."""
        return tuple(
            Window(slot.x, slot.y, slot.width, slot.height, f"slot {slot.name} of holder {self.name}")
            for slot in self.slots
        )


_SCHEMA = Schema(Holder, "a holder")
_FILES = NamedFiles("holder", SHIPPED)


def load_holder(name_or_path: str) -> Holder:
    """Read a holder by its name, or from a file (anything with a path separator or ending in .yaml or .yml).

    Raises ServiceError (usage) for an unknown name, and listing all that is wrong with a file.
    """
    file = _FILES.find(name_or_path)
    problems: list[Problem] = []
    written = _SCHEMA.read(file, problems)
    if written is not None:
        # Glasses are told apart by it: a copy that has kept its name would share those of another holder.
        problems += _FILES.misnamed(file, written)
    if written is not None and isinstance(slots := written.values.get("slots"), list):
        seen: set[object] = set()
        for number, slot in enumerate(slots):
            name = str(slot.get("name")) if isinstance(slot, dict) else None
            if name in seen:
                problems.append(written.problem(("slots", number, "name"), f"{name!r} is given before; name it apart"))
            seen.add(name)
    return _SCHEMA.check(file, written, problems)
