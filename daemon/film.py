"""Film profiles: what the scan of a film stock holds and how to treat it, from YAML to typed values.

A profile is made of the parameter dataclasses that live beside the processing functions: their names and
bounds are the schema, there is no other. A file may extend another one. All that is wrong with a file and
with those it extends is reported at once, each problem with the file and the line of the value.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from .. import profiles
from ..processing.clean import RepairParams
from ..processing.density import Tone
from ..processing.evidence import EvidenceParams
from ..processing.fingerprint import MatchParams
from ..processing.particles import LifeParams
from ..processing.residual import ResidualParams
from .errors import ServiceError
from .scanner.section import ScannerSection
from .yaml_file import Line, NamedFiles, Problem, Schema, Written, is_path, make_list_absolute, strict, to_text

SHIPPED = Path(profiles.__file__).parent
_HEAD = ("name", "description", "extends")
"""What a file says of itself: never inherited, no part of the digest."""


@strict
@dataclass(frozen=True, slots=True)
class Profile:
    """A film stock's resolved values. To add a section, add a field of its parameter dataclass here.

    `extends` only tells where values came from; two profiles of equal values are equal. `empty_glass` are absolute
    paths of scans of the glass without film. `scanner` is how film is scanned where dustwatch does that.
    """

    name: Annotated[Line, MinLen(1)]
    description: Line = ""
    extends: str | None = field(default=None, compare=False)
    empty_glass: tuple[Path, ...] = ()
    scan: Tone = field(default_factory=Tone)
    match: MatchParams = field(default_factory=MatchParams)
    residual: ResidualParams = field(default_factory=ResidualParams)
    evidence: EvidenceParams = field(default_factory=EvidenceParams)
    lives: LifeParams = field(default_factory=LifeParams)
    repair: RepairParams = field(default_factory=RepairParams)
    scanner: ScannerSection = field(default_factory=ScannerSection)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all sections: equal values give equal digests, whatever the file looks like.

        What empty-glass scans show belongs to the glass, whose map has a digest of its own; and how a frame was scanned
        does not change how it is cleaned.
        """
        sections = {name: values for name, values in _sections(self).items() if name != "scanner"}
        canonical = json.dumps(sections, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_SCHEMA = Schema(Profile, "a profile")
_FILES = NamedFiles("profile", SHIPPED)


def load_profile(name_or_path: str) -> Profile:
    """Read a profile by its name, or from a file (anything with a path separator or ending in .yaml or .yml).

    Raises ServiceError (usage) for an unknown name and for a file that cannot be read or has problems.
    """
    return read_profile(find_profile(name_or_path))


def with_empty_glass(profile: Profile, scans: tuple[Path, ...] | None) -> Profile:
    """The profile with these empty-glass scans instead of its own; the profile itself if None."""
    return profile if scans is None else replace(profile, empty_glass=tuple(path.absolute() for path in scans))


def find_profile(name_or_path: str) -> Path:
    """Path of the file that `load_profile` reads. Raises ServiceError (usage) for an unknown name."""
    return _FILES.find(name_or_path)


def known_profiles() -> dict[str, Path]:
    """Every name that can be asked for and its file, in order of names; the user's own hide shipped ones."""
    return _FILES.known()


def read_profile(file: Path) -> Profile:
    """Read a file and those it extends. Raises ServiceError (usage) listing all that is wrong with them."""
    problems: list[Problem] = []
    written = _gather(file, (), problems)
    if written is not None:
        problems += _FILES.misnamed(file, written)
    return _SCHEMA.check(file, written, problems)


def to_yaml(profile: Profile) -> str:
    """Every value of `profile` as YAML, without `extends`: `read_profile` makes an equal profile of it."""
    head = {"name": profile.name, "description": profile.description}
    empty_glass = {"empty_glass": [str(path) for path in profile.empty_glass]}
    return to_text(head | empty_glass | _sections(profile))


def opposites(profile: Profile) -> list[Profile]:
    """The shipped profiles in which dirt has the other sign, that of the nearest encoding first."""
    shipped = [read_profile(file) for file in SHIPPED.glob("[!.]*.yaml")]
    others = [other for other in shipped if other.scan.dirt != profile.scan.dirt]
    exponent = _exponent(profile.scan)
    return sorted(others, key=lambda other: (abs(_exponent(other.scan) - exponent), other.name))


def _exponent(tone: Tone) -> float:
    """Exponent of the power curve that comes closest to the encoding."""
    return {"linear": 1.0, "srgb": 2.2, "gamma": tone.gamma}[tone.encoding]


def _sections(profile: Profile) -> dict[str, Any]:
    return {name: value for name, value in asdict(profile).items() if name not in (*_HEAD, "empty_glass")}


# --- a file over those it extends ---------------------------------------------------------------------------


def _find_base(extends: str, file: Path) -> Path | None:
    """Path of what `file` extends: beside it or in the folders.

    A user's ``generic-slide`` may extend the shipped one of the same name: itself is the last that is meant.
    """
    if is_path(extends):
        return file.parent / extends
    candidates = [folder / f"{extends}.yaml" for folder in (file.parent, *_FILES.folders)]
    existing = [candidate for candidate in candidates if candidate.is_file()]
    existing.sort(key=lambda candidate: candidate.resolve() == file.resolve())
    return existing[0] if existing else None


def _gather(file: Path, heirs: tuple[Path, ...], problems: list[Problem]) -> Written | None:
    """Read `file` over those it extends; None where it holds no keys.

    `heirs` are the files that led here; what is wrong is added to `problems`. Raises ServiceError (usage) where
    `file` cannot be read.
    """
    own = _SCHEMA.read(file, problems)
    if own is not None:
        make_list_absolute(own, ("empty_glass",), own.values, file.parent.absolute(), problems)
    if own is None or not isinstance(extends := own.values.get("extends"), str):
        return own
    chain = (*heirs, file)
    base_file = _find_base(extends, file)
    if base_file is None:
        problems.append(own.problem(("extends",), _FILES.unknown(extends)))
        return own
    if base_file.resolve() in [link.resolve() for link in chain]:
        names = " -> ".join(link.stem for link in (*chain, base_file))
        problems.append(own.problem(("extends",), f"goes in a circle: {names}; one must stand alone"))
        return own
    try:
        base = _gather(base_file, chain, problems)
    except ServiceError as error:
        problems.append(own.problem(("extends",), str(error)))
        return own
    if base is None:
        return own
    inherited = {name: value for name, value in base.values.items() if name not in _HEAD}
    return Written(_merged(inherited, own.values), base.places | own.places)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put `over` over `base`: sections that both have are merged in turn, anything else is replaced."""
    merged = base | over
    for name in base.keys() & over.keys():
        if isinstance(base[name], dict) and isinstance(over[name], dict):
            merged[name] = _merged(base[name], over[name])
    return merged
