"""The house is in order: what README and changelog say is there is there, and every source file has its tests."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from dustwatch.daemon.cli import cli
from dustwatch.daemon.errors import ExitCode
from dustwatch.daemon.film import SHIPPED, read_profile
from dustwatch.daemon.frame import Receipt
from dustwatch.processing.defects import Defect

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SOURCES = sorted(file for folder in ("daemon", "processing") for file in (ROOT / folder).rglob("[!_]*.py"))

TESTED_WITH = {
    "clean": "clean_quality",
    "empty_glass": "calibrate",
    "glass": "clean_quality",
    "image": "raster",
    "learn": "clean_quality",
    "map_folder": "store",
    "memory": "clean_memory",
    "pipeline": "clean_quality",
    "plan": "session",
    "repair": "clean_quality",
    "report": "clean_quality",
    "rows": "session",
    "worker": "session",
    "workplace": "clean_quality",
}
"""Files without tests of their own, and those that go through them from end to end."""


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(leaves(cli))


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


BENCHMARK = r"python -m tests\.bench\.(\w+)([^`]*)"


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def code() -> list[str]:
    """All that stands in the README as code: lines of shell, and spans in the text."""
    return [line for block in blocks("sh") for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", README)


def rows(heading: str) -> list[str]:
    """First cells of the table whose first column has this heading."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table, heading
    return [line.split("|")[1].strip() for line in table[1].splitlines()]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_source_file_has_its_tests(file: Path) -> None:
    candidates = {file.stem, TESTED_WITH.get(file.stem, file.stem)}
    assert any((ROOT / "tests" / f"test_{name}.py").exists() for name in candidates)


def test_readme_shows_commands_that_exist() -> None:
    shown = {
        match[1] for text in code() if (match := re.search(r"(?:^|/)dustwatch ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)", text))
    }
    assert len(shown) > 3
    known = {start for name in COMMANDS for start in (name, name.split()[0])}
    assert {words for words in shown if words not in known and words.split()[0] not in COMMANDS} == set()


def test_readme_shows_every_command() -> None:
    text = "\n".join(code())
    assert [name for name in COMMANDS if f"dustwatch {name}" not in text and f"make {name}" not in text] == []


def test_readme_names_options_that_exist_and_all_of_clean_and_watch() -> None:
    named = options_in(re.sub(BENCHMARK, "", README))
    assert named <= set().union(*map(options, COMMANDS.values()))
    for heading, command in (("option", "clean"), ("option of `watch`", "watch")):
        assert {row.split()[0].strip("`") for row in rows(heading)} == options(COMMANDS[command])


def test_readme_shows_benchmarks_and_their_options_that_exist() -> None:
    shown = re.findall(BENCHMARK, README)
    assert len(shown) > 3
    for name, arguments in shown:
        source = (ROOT / "tests" / "bench" / f"{name}.py").read_text("utf-8")
        assert {option for option in options_in(arguments) if f'"{option}"' not in source} == set(), name


def test_readme_explains_receipts_as_they_are() -> None:
    (example,) = blocks("json")
    receipt = json.loads(example)
    assert list(receipt) == [field.name for field in fields(Receipt)]
    assert set(receipt["defects"][0]) == {field.name for field in fields(Defect)}
    assert Receipt.from_json(example.encode()) is not None
    explained = {name for row in rows("key") for name in re.findall(r"`(\w+)`", row)}
    assert explained == set(receipt) | set(receipt["defects"][0])


def test_profile_in_readme_is_sound(tmp_path: Path) -> None:
    (example,) = blocks("yaml")
    file = tmp_path / "mine.yaml"
    file.write_text(example)
    assert read_profile(file).extends


def test_readme_lists_exit_codes_and_shipped_profiles() -> None:
    assert rows("code") == [str(int(code)) for code in ExitCode]
    assert sorted(row.strip("`") for row in rows("profile")) == sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def test_readme_names_files_and_targets_that_exist() -> None:
    files = {text for text in code() if re.fullmatch(r"(?:daemon|processing|profiles|tests)/[\w./-]*", text)}
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).exists()] == []
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {match[1] for text in code() if (match := re.match(r"make (\w+)", text))}
    assert {"demo", "test"} <= targets
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_changelog_begins_with_what_is_not_released() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (.*)", changelog, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = set(re.findall(r"^### (.*)", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_dependency_has_its_version_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["dev"]
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert {re.split(r"[\[>]", need)[0].lower() for need in needed} - pinned == set()
