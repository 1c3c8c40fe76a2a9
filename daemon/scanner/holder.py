"""Holders: where the slots of a film holder lie on the bed, from YAML files that people write by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen
from platformdirs import user_config_path

from ... import profiles
from ..errors import ExitCode, ServiceError
from ..yaml_file import Line, Problem, Schema, did_you_mean, is_path, strict
from .plan import Window

SHIPPED = Path(profiles.__file__).parent / "holders"

_Mm = Annotated[float, Interval(ge=0, le=2000)]


@dataclass(frozen=True, slots=True)
class Slot:
    """A frame's place on the bed, in mm from the top left corner of the scanner's area."""

    name: Annotated[Line, MinLen(1)]
    x: _Mm
    y: _Mm
    width: Annotated[float, Interval(gt=0, le=2000)]
    height: Annotated[float, Interval(gt=0, le=2000)]

    @property
    def window(self) -> Window:
        """What is scanned of it."""
        return Window(self.x, self.y, self.width, self.height)


@strict
@dataclass(frozen=True, slots=True)
class Holder:
    """A film holder: its slots in the order in which they are scanned, each of another name."""

    name: Annotated[Line, MinLen(1)]
    slots: Annotated[tuple[Slot, ...], MinLen(1)]
    description: Line = ""


_SCHEMA = Schema(Holder, "a holder")


def load_holder(name_or_path: str) -> Holder:
    """Read a holder by its name, or from a file (anything with a path separator or ending in .yaml or .yml).

    Raises ServiceError (usage) for an unknown name, and listing all that is wrong with a file.
    """
    if is_path(name_or_path):
        return _read(Path(name_or_path))
    known = known_holders()
    if name_or_path not in known:
        names = ", ".join(known)
        unknown = f"unknown holder {name_or_path!r}{did_you_mean(name_or_path, known)}; there are: {names}"
        raise ServiceError(unknown, ExitCode.USAGE)
    return _read(known[name_or_path])


def known_holders() -> dict[str, Path]:
    """Every name that can be asked for and its file, in order of names; the user's own hide shipped ones."""
    found = {file.stem: file for folder in _folders() for file in folder.glob("[!.]*.yaml")}
    return dict(sorted(found.items()))


def _folders() -> tuple[Path, ...]:
    """Where names are looked up; the last folder that has one wins. A service may have no way to the user's own."""
    own = user_config_path("dustwatch") / "holders"
    return (SHIPPED, own) if os.access(own, os.R_OK | os.X_OK, effective_ids=True) else (SHIPPED,)


def _read(file: Path) -> Holder:
    problems: list[Problem] = []
    try:
        written = _SCHEMA.read(file, problems)
    except OSError as error:
        raise ServiceError(f"{file}: cannot be read: {error.strerror}", ExitCode.USAGE) from error
    if written is not None:
        # Glasses are told apart by it: a copy that has kept its name would share those of another holder.
        by_name = file.parent.resolve() in {folder.resolve() for folder in _folders()}
        name = written.values.get("name")
        if by_name and isinstance(name, str) and name != file.stem:
            problems.append(written.problem(("name",), f"should be {file.stem!r}, as the file is called"))
    if written is not None and isinstance(slots := written.values.get("slots"), list):
        seen: set[object] = set()
        for number, slot in enumerate(slots):
            name = str(slot.get("name")) if isinstance(slot, dict) else None
            if name in seen:
                problems.append(written.problem(("slots", number, "name"), f"{name!r} is given before; name it apart"))
            seen.add(name)
    return _SCHEMA.check(file, written, problems)
