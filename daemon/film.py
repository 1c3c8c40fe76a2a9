"""Film profiles: what the scan of a film stock holds and how to treat it, from YAML to typed values.

A profile is made of the parameter dataclasses that live beside the processing functions: their names and
bounds are the schema, there is no other. A file may extend another one. All that is wrong with a file and
with those it extends is reported at once, each problem with the file and the line of the value.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, get_type_hints

import yaml
from annotated_types import MinLen, Predicate
from platformdirs import user_config_path
from pydantic import ConfigDict, TypeAdapter, ValidationError

from .. import profiles
from ..processing.clean import RepairParams
from ..processing.density import Tone
from ..processing.evidence import EvidenceParams
from ..processing.fingerprint import MatchParams
from ..processing.particles import LifeParams
from ..processing.residual import ResidualParams
from .errors import ExitCode, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

SHIPPED = Path(profiles.__file__).parent
_HEAD = ("name", "description", "extends")
"""What a file says of itself: never inherited, no part of the digest."""

KeyPath: TypeAlias = tuple[str | int, ...]
Line: TypeAlias = Annotated[str, Predicate(str.isprintable)]


@dataclass(frozen=True, slots=True)
class Profile:
    """A film stock's resolved values. To add a section, add a field of its parameter dataclass here.

    `extends` only tells where values came from; two profiles of equal values are equal.
    """

    # Strict, so that neither "2.2" nor true passes for a number. Sections inherit this.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: Annotated[Line, MinLen(1)]
    description: Line = ""
    extends: str | None = field(default=None, compare=False)
    scan: Tone = field(default_factory=Tone)
    match: MatchParams = field(default_factory=MatchParams)
    residual: ResidualParams = field(default_factory=ResidualParams)
    evidence: EvidenceParams = field(default_factory=EvidenceParams)
    lives: LifeParams = field(default_factory=LifeParams)
    repair: RepairParams = field(default_factory=RepairParams)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all sections: equal values give equal digests, whatever the file looks like."""
        canonical = json.dumps(_sections(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def load_profile(name_or_path: str) -> Profile:
    """Read a profile by its name, or from a file (anything with a path separator or ending in .yaml or .yml).

    Raises ServiceError (usage) for an unknown name and for a file that cannot be read or has problems.
    """
    return read_profile(find_profile(name_or_path))


def find_profile(name_or_path: str) -> Path:
    """Path of the file that `load_profile` reads. Raises ServiceError (usage) for an unknown name."""
    if _is_path(name_or_path):
        return Path(name_or_path)
    known = known_profiles()
    if name_or_path not in known:
        raise ServiceError(_unknown(name_or_path, known), ExitCode.USAGE)
    return known[name_or_path]


def known_profiles() -> dict[str, Path]:
    """Every name that can be asked for and its file, in order of names; the user's own hide shipped ones."""
    found = {file.stem: file for folder in reversed(_folders()) for file in folder.glob("[!.]*.yaml")}
    return dict(sorted(found.items()))


def read_profile(file: Path) -> Profile:
    """Read a file and those it extends. Raises ServiceError (usage) listing all that is wrong with them."""
    problems: list[_Problem] = []
    try:
        layer = _gather(file, (), problems)
    except OSError as error:
        raise ServiceError(f"{file}: cannot be read: {error.strerror}", ExitCode.USAGE) from error
    if layer is not None:
        name = layer.values.get("name")
        if isinstance(name, str) and name != file.stem and file.parent.resolve() in _resolved(_folders()):
            problems.append(layer.problem(("name",), f"should be {file.stem!r}, as the file is called"))
        try:
            # Through JSON: pydantic then takes mappings for sections and lists for tuples without being lax.
            profile = _adapter().validate_json(json.dumps(layer.values, default=str))
        except ValidationError as error:
            problems += [layer.problem(e["loc"], _say(e)) for e in error.errors(include_url=False)]
    if problems:
        # The file itself comes first, then those it extends.
        problems.sort(key=lambda problem: (problem.file != file, str(problem.file), problem.line))
        raise ServiceError("\n".join(map(str, problems)), ExitCode.USAGE)
    return profile


def to_yaml(profile: Profile) -> str:
    """Every value of `profile` as YAML, without `extends`: `read_profile` makes an equal profile of it."""
    head = {"name": profile.name, "description": profile.description}
    values = head | _sections(profile)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


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
    return {name: value for name, value in asdict(profile).items() if name not in _HEAD}


@cache
def _adapter() -> TypeAdapter[Profile]:
    return TypeAdapter(Profile)


# --- where profiles lie -------------------------------------------------------------------------------------


def _folders() -> tuple[Path, ...]:
    """Where names are looked up; the first folder that has one wins."""
    return user_config_path("dustwatch") / "profiles", SHIPPED


def _resolved(files: Iterable[Path]) -> list[Path]:
    return [file.resolve() for file in files]


def _is_path(name_or_path: str) -> bool:
    return os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def _find_base(extends: str, file: Path) -> Path | None:
    """Path of what `file` extends: beside it or in the folders.

    A user's ``generic-slide`` may extend the shipped one of the same name: itself is the last that is meant.
    """
    if _is_path(extends):
        return file.parent / extends
    candidates = [folder / f"{extends}.yaml" for folder in (file.parent, *_folders())]
    existing = [candidate for candidate in candidates if candidate.is_file()]
    existing.sort(key=lambda candidate: candidate.resolve() == file.resolve())
    return existing[0] if existing else None


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"unknown profile {name!r}{_closest(name, known)}; there are: {', '.join(known)}"


def _closest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


# --- from YAML to values that know their line ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Problem:
    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Layer:
    """The values of a file, or of a file over those it extends, and where each of them was written."""

    values: dict[str, Any]
    places: dict[KeyPath, tuple[Path, int]]

    def problem(self, key: KeyPath, text: str) -> _Problem:
        """Make a problem at `key`, placed where the key was written, or else what encloses it."""
        written = next(key[:end] for end in range(len(key), -1, -1) if key[:end] in self.places)
        return _Problem(*self.places[written], f"{'.'.join(map(str, key))}: {text}" if key else text)


class _Loader(yaml.SafeLoader):
    """Safe YAML that takes 1e-3 for a number, without aliases: a value has one place, never holds itself."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stub has no types here
            raise yaml.composer.ComposerError(None, None, "aliases are not used here; write the value", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that `_Loader` would take for a number."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def _gather(file: Path, heirs: tuple[Path, ...], problems: list[_Problem]) -> _Layer | None:
    """Read `file` over those it extends; None where it holds no keys.

    `heirs` are the files that led here; what is wrong is added to `problems`. Raises OSError where `file`
    cannot be read.
    """
    own = _parse(file, problems)
    if own is None or not isinstance(extends := own.values.get("extends"), str):
        return own
    chain = (*heirs, file)
    base_file = _find_base(extends, file)
    if base_file is None:
        problems.append(own.problem(("extends",), _unknown(extends, known_profiles())))
        return own
    if base_file.resolve() in _resolved(chain):
        names = " -> ".join(link.stem for link in (*chain, base_file))
        problems.append(own.problem(("extends",), f"goes in a circle: {names}; one must stand alone"))
        return own
    try:
        base = _gather(base_file, chain, problems)
    except OSError as error:
        problems.append(own.problem(("extends",), f"{base_file} cannot be read: {error.strerror}"))
        return own
    if base is None:
        return own
    inherited = {name: value for name, value in base.values.items() if name not in _HEAD}
    return _Layer(_merged(inherited, own.values), base.places | own.places)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put `over` over `base`: sections that both have are merged in turn, anything else is replaced."""
    merged = base | over
    for name in base.keys() & over.keys():
        if isinstance(base[name], dict) and isinstance(over[name], dict):
            merged[name] = _merged(base[name], over[name])
    return merged


def _parse(file: Path, problems: list[_Problem]) -> _Layer | None:
    """Read one file alone; None where it holds no keys. What is wrong is added to `problems`."""
    data = file.read_bytes()
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1
        problems.append(_Problem(file, line, "not a text; save it as UTF-8, without control characters"))
        return None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(_Problem(file, line, f"not valid YAML: {error.problem}"))
        return None
    if not isinstance(root, yaml.MappingNode):
        problems.append(_Problem(file, 1, f"holds no keys; a profile has {', '.join(_keys_at(()))}"))
        return None
    layer = _Layer({}, {(): (file, 1)})
    layer.values.update(_values(root, (), loader, layer, problems))
    for name in _keys_at(()):
        if _keys_at((name,)) and name in layer.values and layer.values[name] is None:
            layer.values[name] = {}  # a section whose keys are all commented out
    return layer


def _values(node: yaml.Node, key: KeyPath, loader: _Loader, layer: _Layer, problems: list[_Problem]) -> Any:
    """Turn `node` into dicts, lists and scalars; note in `layer` where each was written."""
    file, _ = layer.places[()]
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            layer.places[*key, index] = (file, item.start_mark.line + 1)
            items.append(_values(item, (*key, index), loader, layer, problems))
        return items
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # A key that is itself a list or mapping becomes a name that no section knows.
            inner = (*key, str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?")
            line = key_node.start_mark.line + 1
            if inner in layer.places:
                first = layer.places[inner][1]
                dotted = ".".join(map(str, inner))
                problems.append(_Problem(file, line, f"{dotted}: given before in line {first}; keep one"))
                continue
            layer.places[inner] = (file, line)
            values[str(inner[-1])] = _values(value_node, inner, loader, layer, problems)
        return values
    try:
        return loader.construct_object(node)
    except (yaml.constructor.ConstructorError, ValueError):
        problems.append(layer.problem(key, f"{node.value!r} is no number, text or truth value"))
        return node.value


# --- what to say --------------------------------------------------------------------------------------------


def _keys_at(key: KeyPath) -> list[str]:
    """List the keys that the section at `key` may have, none where it is no section; () is the whole file."""
    here: Any = Profile
    for name in key:
        here = get_type_hints(here).get(str(name)) if is_dataclass(here) else None
    return [each.name for each in fields(here)] if is_dataclass(here) else []


def _say(error: ErrorDetails) -> str:
    """Put a finding of pydantic in the words of someone who edits a YAML file."""
    key = error["loc"]
    match error["type"]:
        case "unexpected_keyword_argument":
            known = _keys_at(key[:-1])
            return f"unknown key{_closest(str(key[-1]), known)}; there are: {', '.join(known)}"
        case "missing":
            return "is missing; write it"
        case "dataclass_type":
            return f"should be a section with the keys {', '.join(_keys_at(key))}"
        case "predicate_failed":
            return f"should be a single line of printable text, not {json.dumps(error['input'])}"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            wanted = re.sub(r"^(Input|String|List|Tuple) should", "should", error["msg"])
            return f"{wanted}, not {json.dumps(error['input'], ensure_ascii=False)}"
