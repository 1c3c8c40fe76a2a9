"""YAML files that people write by hand: from text to the values of a dataclass, and what to say where they are not.

The dataclass is the schema: its names, types and bounds, there is no other. All that is wrong with a file is reported
at once, each problem with the file and the line of the value.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Predicate
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
    """Reads files that hold the values of the dataclass `root`; `kind` is what such a file is, as in "a profile"."""

    def __init__(self, root: type[T], kind: str) -> None:
        self.root = root
        self.kind = kind

    def read(self, file: Path, problems: list[Problem]) -> Written | None:
        """Read `file`; None where it holds no keys. What is wrong is added to `problems`. Raises OSError."""
        data = file.read_bytes()
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
                problems += [written.problem(e["loc"], self._say(e)) for e in error.errors(include_url=False)]
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
        here: Any = self.root
        for name in key:
            if is_dataclass(here):
                here = get_type_hints(here).get(str(name))
            else:
                here = {tuple: get_args(here)[:1], dict: get_args(here)[1:]}.get(get_origin(here), (None,))[0]
            if isinstance(here, UnionType):  # a section, or none
                here = get_args(here)[0]
        return [each.name for each in fields(here)] if is_dataclass(here) else []

    def _say(self, error: ErrorDetails) -> str:
        """Put a finding of pydantic in the words of someone who edits a YAML file."""
        key = error["loc"]
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
            case "value_error":
                return str(error["ctx"]["error"])
            case "tuple_type":
                wanted = "should be a list"
            case _:
                wanted = re.sub(r"^(Input|String) should", "should", error["msg"])
        return f"{wanted}, not {json.dumps(error['input'], ensure_ascii=False)}"


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
    except (yaml.constructor.ConstructorError, ValueError):
        problems.append(written.problem(key, f"{node.value!r} is no number, text or truth value"))
        return node.value
