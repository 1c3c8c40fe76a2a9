"""YAML files: values know where they were written, and everything wrong is said at once, in plain words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval, MinLen
from hypothesis import example, given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, ServiceError
from dustwatch.daemon.yaml_file import Line, Problem, Schema, Written, did_you_mean, strict, to_text

Write = Callable[[str], Path]


@dataclass(frozen=True, slots=True)
class Lamp:
    kind: Literal["led", "xenon"] = "led"
    watts: Annotated[float, Interval(gt=0, le=100)] = 5.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Tray:
    folder: Path
    lamp: Lamp = field(default_factory=Lamp)


@strict
@dataclass(frozen=True, slots=True)
class Scanner:
    name: Line = ""
    lamp: Lamp = field(default_factory=Lamp)
    trays: tuple[Tray, ...] = ()
    spare: Path | None = None
    lamps: Annotated[dict[str, Lamp] | None, MinLen(1)] = field(default=None, metadata={"example": "uv: {watts: 3}"})


SCANNER = Schema(Scanner, "a scanner")
KEYS = "name, lamp, trays, spare, lamps"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "a.yaml"
        file.write_text(text, "utf-8")
        return file

    return write


def load(file: Path) -> Scanner:
    found: list[Problem] = []
    return SCANNER.check(file, SCANNER.read(file, found), found)


def problems(file: Path) -> list[str]:
    """What is wrong with `file`, a line each, the folder of the file left out."""
    with pytest.raises(ServiceError) as caught:
        load(file)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


def test_values_become_the_dataclass(write: Write) -> None:
    file = write(
        "name: mine\nlamp: {kind: xenon, watts: 3}\ntrays:\n  - folder: x\n  - {folder: y, lamp: {count: 2}}\nspare: z"
    )
    trays = (Tray(Path("x")), Tray(Path("y"), Lamp(count=2)))
    assert load(file) == Scanner("mine", Lamp("xenon", 3.0), trays, Path("z"))


def test_numbers_in_all_their_spellings(write: Write) -> None:
    assert load(write("lamp: {watts: 1e-3, count: 0x10}")).lamp == Lamp(watts=0.001, count=16)
    assert load(write("lamp: {watts: +.5E+1}")).lamp == Lamp(watts=5.0)


def test_section_without_keys_is_as_good_as_none(write: Write) -> None:
    assert load(write("lamp:\n  # watts: 3\n")) == Scanner()


def test_everything_wrong_is_reported_at_once_with_its_line(write: Write) -> None:
    file = write(
        """\
# a comment takes a line too
name: 400
colour: red
trays:
  - folder: 3
    lamp:
      wats: 3
  - lamp:
      watts: "3"
  -

  - x
  - folder: x
    folder: y
"""
    )
    assert problems(file) == [
        "a.yaml:2: name: should be a valid string, not 400",
        f"a.yaml:3: colour: unknown key; there are: {KEYS}",
        "a.yaml:5: trays.0.folder: should be a valid string, not 3",
        "a.yaml:7: trays.0.lamp.wats: unknown key (did you mean 'watts'?); there are: kind, watts, count",
        "a.yaml:8: trays.1.folder: is missing; write it",
        'a.yaml:9: trays.1.lamp.watts: should be a valid number, not "3"',
        "a.yaml:10: trays.2: should be a section with the keys folder, lamp",
        "a.yaml:12: trays.3: should be a section with the keys folder, lamp",
        "a.yaml:14: trays.4.folder: given before in line 13; keep one",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lamp: {watts: .nan}", "2: lamp.watts: should be a finite number, not NaN"),
        ("lamp: {watts: .inf}", "2: lamp.watts: should be a finite number, not Infinity"),
        ("lamp: {watts: yes}", "2: lamp.watts: should be a valid number, not true"),
        ("lamp: {watts: 0}", "2: lamp.watts: should be greater than 0, not 0"),
        ("lamp: {watts: [2]}", "2: lamp.watts: should be a valid number, not [2]"),
        ("lamp: {watts: null}", "2: lamp.watts: should be a valid number, not null"),
        ("lamp: {count: 2.5}", "2: lamp.count: should be a valid integer, not 2.5"),
        ("lamp: {kind: neon}", "2: lamp.kind: should be 'led' or 'xenon', not \"neon\""),
        ('name: "a\\nb"', '2: name: should be a single line of printable text, not "a\\nb"'),
        ("trays: x", '2: trays: should be a list, not "x"'),
        ("trays:", "2: trays: should be a list, not null"),
        ("trays: {folder: x}", '2: trays: should be a list, not {"folder": "x"}'),
        ("\nlamp: [1]", "3: lamp: should be a section with the keys kind, watts, count"),
        ("name: 2020-99-99", "2: name: '2020-99-99' is no number, text or truth value"),
        ("name: !!bool x", "2: name: 'x' is no number, text or truth value"),
        ("name: !!timestamp x", "2: name: 'x' is no number, text or truth value"),
        ("name: !secret x", "2: name: 'x' is no number, text or truth value"),
        ("? [a, b]\n: 1", f"2: ?: unknown key; there are: {KEYS}"),
        ("lamps: {}", '2: lamps: is empty; write at least one, such as "uv: {watts: 3}"'),
        ("lamps: [uv]", '2: lamps: should be names, each with its value, such as "uv: {watts: 3}", not ["uv"]'),
        ("spare: b", "2: spare: given before in line 1; keep one"),
        ("\nlamp: {watts: 2", "4: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("\tlamp: 2", "2: not valid YAML: found character '\\t' that cannot start any token"),
        ("lamp: &loop {lamp: *loop}", "2: not valid YAML: aliases are not used here; write the value"),
        ("---\nname: b", "2: not valid YAML: but found another document"),
        ("name: '\x01'", "2: not a text; save it as UTF-8, without control characters"),
    ],
)
def test_single_faults(write: Write, text: str, expected: str) -> None:
    assert problems(write(f"spare: a\n{text}\n")) == [f"a.yaml:{expected}"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "- name\n", "name\n"])
def test_file_without_keys(write: Write, text: str) -> None:
    assert problems(write(text)) == [f"a.yaml:1: holds no keys; a scanner has {KEYS}"]


def test_other_encodings_than_utf8_are_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("spare: a\nname: Grün\n".encode("latin-1"))
    assert problems(file) == ["a.yaml:2: not a text; save it as UTF-8, without control characters"]


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "a.yaml") == ["a.yaml: cannot be read: No such file or directory"]


def test_problem_is_placed_at_what_encloses_a_key_that_was_not_written() -> None:
    file = Path("a.yaml")
    written = Written({}, {(): (file, 1), ("lamp",): (file, 4), ("lamp", "watts"): (file, 6)})
    assert str(written.problem(("lamp", "watts"), "too many")) == "a.yaml:6: lamp.watts: too many"
    assert str(written.problem(("lamp", "kind"), "is odd")) == "a.yaml:4: lamp.kind: is odd"
    assert str(written.problem(("name",), "is odd")) == "a.yaml:1: name: is odd"
    assert str(written.problem((), "is odd")) == "a.yaml:1: is odd"


def test_problems_of_the_file_itself_come_before_those_of_others() -> None:
    file, other = Path("b.yaml"), Path("a.yaml")
    found = [Problem(other, 1, "x"), Problem(file, 10, "x"), Problem(file, 9, "x")]
    with pytest.raises(ServiceError) as caught:
        SCANNER.check(file, None, found)
    assert str(caught.value).splitlines() == ["b.yaml:9: x", "b.yaml:10: x", "a.yaml:1: x"]


def test_did_you_mean_says_nothing_where_nothing_is_close() -> None:
    assert did_you_mean("whats", ["kind", "watts"]) == " (did you mean 'watts'?)"
    assert did_you_mean("colour", ["kind", "watts"]) == ""


lines = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | lines
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(lines, inner), max_leaves=5)


@given(values=st.dictionaries(lines, trees, max_size=5))
@example(values={"a": "1e3", "1e3": "no", "b": "<<", "<<": "=", "c": "*x", "d": "2020-01-01", "e": 1e300})
def test_yaml_round_trip(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(to_text(values), "utf-8", newline="")
    found: list[Problem] = []
    written = Schema(Lamp, "a lamp").read(file, found)  # which has no sections that could be empty
    assert found == []
    assert written is not None
    assert written.values == values
