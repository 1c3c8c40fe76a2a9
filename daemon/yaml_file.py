"""YAML files that people write by hand: from text to the values of a dataclass, and what to say where they are not.

The dataclass is the schema: its names, types and bounds, there is no other. All that is wrong with a file is reported
at once, each problem with the file and the line of the value.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Predicate
from platformdirs import user_config_path
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from .errors import ExitCode, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

T = TypeVar("T")

KeyPath: TypeAlias = tuple[str | int, ...]
Line: TypeAlias = Annotated[str, Predicate(str.isprintable)]

strict = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
"""Marks the root of a schema: neither "2.2" nor true passes for a number there. Sections inherit it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a line of a file."""

    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Written:
    """The values of a file, or of several laid over each other, and where each of them was written."""

    values: dict[str, Any]
    places: dict[KeyPath, tuple[Path, int]]

    def problem(self, key: KeyPath, text: str) -> Problem:
        """Make a problem at `key`, placed where the key was written, or else what encloses it."""
        written = next(key[:end] for end in range(len(key), -1, -1) if key[:end] in self.places)
        return Problem(*self.places[written], f"{'.'.join(map(str, key))}: {text}" if key else text)


class Schema(Generic[T]):
    """Reads files that hold the values of the dataclass `root`; `kind` is what such a file is, as in "a profile".

    A field may have an ``example`` in its metadata, which is shown to those who have written something else.
    """

    def __init__(self, root: type[T], kind: str) -> None:
        self.root = root
        self.kind = kind

    def read(self, file: Path, problems: list[Problem]) -> Written | None:
        """Read `file`; None where it holds no keys. What is wrong with it is added to `problems`.

        Raises ServiceError (usage) where it cannot be read.
        """
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ServiceError(f"{file}: cannot be read: {error.strerror}", ExitCode.USAGE) from error
        try:
            loader = _Loader(data)
            root = loader.get_single_node()
        except yaml.reader.ReaderError as error:
            line = data.count(b"\n", 0, error.position) + 1
            problems.append(Problem(file, line, "not a text; save it as UTF-8, without control characters"))
            return None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problems.append(Problem(file, line, f"not valid YAML: {error.problem}"))
            return None
        if not isinstance(root, yaml.MappingNode):
            problems.append(Problem(file, 1, f"holds no keys; {self.kind} has {', '.join(self._keys_at(()))}"))
            return None
        written = Written({}, {(): (file, 1)})
        written.values.update(_values(root, (), loader, written, problems))
        for name in self._keys_at(()):
            if self._keys_at((name,)) and name in written.values and written.values[name] is None:
                written.values[name] = {}  # a section whose keys are all commented out
        return written

    def check(self, file: Path, written: Written | None, problems: list[Problem]) -> T:
        """Make the value of what was read from `file`.

        Raises ServiceError (usage) that lists `problems` and all that is wrong with the values.
        """
        if written is not None:
            try:
                # Through JSON: pydantic then takes mappings for sections and lists for tuples without being lax.
                value = self._adapter.validate_json(json.dumps(written.values, default=str))
            except ValidationError as error:
                found = [written.problem(*self._say(e)) for e in error.errors(include_url=False)]
                problems += dict.fromkeys(found)  # a value that may be of several kinds is told to be none of each
        if problems:
            # The file itself comes first, then those it was laid over.
            problems.sort(key=lambda problem: (problem.file != file, str(problem.file), problem.line))
            raise ServiceError("\n".join(map(str, problems)), ExitCode.USAGE)
        return value

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.root)

    def _keys_at(self, key: KeyPath) -> list[str]:
        """List the keys that the section at `key` may have, none where it is no section; () is the whole file."""
        here = self._type_at(key)
        return [each.name for each in fields(here)] if is_dataclass(here) else []

    def _example(self, key: KeyPath) -> str:
        """What could stand at `key`, to go on after a word; nothing where no example is known."""
        here = self._type_at(key[:-1])
        each = next((each for each in fields(here) if each.name == key[-1]), None) if is_dataclass(here) else None
        return f', such as "{each.metadata["example"]}"' if each and "example" in each.metadata else ""

    def _type_at(self, key: KeyPath) -> Any:
        here: Any = self.root
        for name in key:
            if is_dataclass(here):
                here = get_type_hints(here).get(str(name))
            else:
                here = {tuple: get_args(here)[:1], dict: get_args(here)[1:]}.get(get_origin(here), (None,))[0]
            match get_args(here):
                case (optional, none) if none is NoneType:
                    here = optional
        return here

    def _say(self, error: ErrorDetails) -> tuple[KeyPath, str]:
        """Put a finding of pydantic in the words of someone who edits a YAML file; tell which key it is about."""
        key = error["loc"]
        if isinstance(self._type_at(key[:-1]), UnionType):  # then the last name is the kind that it is not
            wanted = "should be a number, a text, true or false"
            return key[:-1], f"{wanted}, not {json.dumps(error['input'], ensure_ascii=False)}"
        return key, self._say_at(key, error)

    def _say_at(self, key: KeyPath, error: ErrorDetails) -> str:
        match error["type"]:
            case "unexpected_keyword_argument":
                known = self._keys_at(key[:-1])
                return f"unknown key{did_you_mean(str(key[-1]), known)}; there are: {', '.join(known)}"
            case "missing":
                return "is missing; write it"
            case "dataclass_type":
                return f"should be a section with the keys {', '.join(self._keys_at(key))}"
            case "value_error":
                return str(error["ctx"]["error"])
            case "predicate_failed":
                return f"should be a single line of printable text, not {json.dumps(error['input'])}"
            case "too_short":
                return f"is empty; write at least one{self._example(key)}"
            case "dict_type":
                wanted = f"should be names, each with its value{self._example(key)}"
            case "tuple_type":
                wanted = f"should be a list{self._example(key)}"
            case _:
                wanted = re.sub(r"^(Input|String) should", "should", error["msg"])
        return f"{wanted}, not {json.dumps(error['input'], ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Files that are asked for by name, or by path; `kind` is what each is, as in "profile".

    They lie in the folder `shipped` and in the user's own, whose files hide shipped ones of their name.
    """

    kind: str
    shipped: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where names are looked up; the first that has one wins. A service may have no way to the user's own."""
        own = user_config_path("dustwatch") / f"{self.kind}s"
        return (own, self.shipped) if os.access(own, os.R_OK | os.X_OK, effective_ids=True) else (self.shipped,)

    def known(self) -> dict[str, Path]:
        """Every name that can be asked for and its file, in order of names."""
        found = {file.stem: file for folder in reversed(self.folders) for file in folder.glob("[!.]*.yaml")}
        return dict(sorted(found.items()))

    def find(self, name_or_path: str) -> Path:
        """Path of the file that is meant. Raises ServiceError (usage) for an unknown name."""
        if is_path(name_or_path):
            return Path(name_or_path)
        known = self.known()
        if name_or_path not in known:
            raise ServiceError(self.unknown(name_or_path), ExitCode.USAGE)
        return known[name_or_path]

    def unknown(self, name: str) -> str:
        """Say that nothing has this name, and which names there are."""
        known = self.known()
        return f"unknown {self.kind} {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}"

    def misnamed(self, file: Path, written: Written) -> list[Problem]:
        """What is wrong with the name that a file gives itself: where it is found by name, it has that one."""
        name = written.values.get("name")
        by_name = file.parent.resolve() in [folder.resolve() for folder in self.folders]
        if not (by_name and isinstance(name, str) and name != file.stem):
            return []
        return [written.problem(("name",), f"should be {file.stem!r}, as the file is called")]


def is_path(name_or_path: str) -> bool:
    """Whether this asks for a file rather than for a name."""
    return os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def no_path(text: str) -> str | None:
    """What keeps a text from being a path, if anything does."""
    if not text or "\0" in text:
        return "is empty, or has characters that no path can have; write a path"
    if re.match(r"[\w+.-]+:[/\\]|\\\\", text):
        return f"{text} is an address; mount what it stands for, and give the folder where it appears"
    try:
        Path(text).expanduser()
    except RuntimeError:
        return f"{text} begins with the home folder of nobody; write the path in full"
    return None


def make_list_absolute(
    written: Written, key: KeyPath, section: dict[str, Any], base: Path, problems: list[Problem]
) -> None:
    """Make the paths listed at `key`, the last name of which `section` has, absolute: relative ones start at `base`."""
    listed = section.get(str(key[-1]))
    if not isinstance(listed, list):
        return
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            continue
        if fault := no_path(text):
            problems.append(written.problem((*key, number), fault))
        else:
            listed[number] = str(base / Path(text).expanduser())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name what of `known` comes closest, in brackets after a space; nothing where nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def to_text(values: dict[str, Any]) -> str:
    """YAML that `Schema.read` makes equal values of, as long as every text is a printable line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def to_line(values: dict[str, Any]) -> str:
    """The same in a single line, between braces."""
    line: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize, default_flow_style=True
    )
    return line.rstrip("\n")


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


def _values(node: yaml.Node, key: KeyPath, loader: _Loader, written: Written, problems: list[Problem]) -> Any:
    """Turn `node` into dicts, lists and scalars; note in `written` where each was written."""
    file, _ = written.places[()]
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            written.places[*key, index] = (file, item.start_mark.line + 1)
            items.append(_values(item, (*key, index), loader, written, problems))
        return items
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # A key that is itself a list or mapping becomes a name that no section knows.
            inner = (*key, str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?")
            line = key_node.start_mark.line + 1
            if inner in written.places:
                first = written.places[inner][1]
                dotted = ".".join(map(str, inner))
                problems.append(Problem(file, line, f"{dotted}: given before in line {first}; keep one"))
                continue
            written.places[inner] = (file, line)
            values[str(inner[-1])] = _values(value_node, inner, loader, written, problems)
        return values
    try:
        return loader.construct_object(node)
    except (yaml.constructor.ConstructorError, ValueError, LookupError, AttributeError):  # by tags in the text
        problems.append(written.problem(key, f"{node.value!r} is no number, text or truth value"))
        return node.value
