"""The command line as a user meets it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from dustwatch.daemon.cli import cli
from dustwatch.daemon.film import SHIPPED, load_profile, read_profile, to_yaml


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of profiles, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "dustwatch" / "profiles"
    folder.mkdir(parents=True)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="dustwatch")


def leaves(group: click.Group, *path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name))


@pytest.mark.parametrize("command", list(leaves(cli)))
def test_help_shows_an_example_of_every_command(command: str) -> None:
    # On a line of its own: click must not have wrapped it.
    lines = [line.strip() for line in run("--help").stdout.splitlines()]
    assert any(line.startswith(f"dustwatch {command}") for line in lines)


@pytest.mark.parametrize("command", list(leaves(cli)))
def test_every_command_explains_itself(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "\n\n  " in result.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "numba", "pydantic", "yaml", "rich", "pyvips", "tifffile"}
    script = f"import sys, dustwatch.daemon.cli; print(*{heavy!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dustwatch.daemon", "profiles", "show", "no-such-film"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("unknown profile 'no-such-film'")


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("dustwatch, version ")


def test_list_is_one_whole_line_per_profile(own_folder: Path) -> None:
    name = "a-film-stock-whose-name-is-longer-than-any-sensible-column-of-a-table-would-be-wide"
    (own_folder / f"{name}.yaml").write_text(f"name: {name}\nscan: {{encoding: gamma, gamma: 1.8}}\n")
    result = run("profiles", "list")
    assert result.exit_code == 0
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["name", "extends", "encoding", "dirt", "description"]
    assert [row.split()[0] for row in rows] == sorted([name, *(file.stem for file in SHIPPED.glob("*.yaml"))])
    # Columns start where their headings do.
    encoding, dirt = heading.index("encoding"), heading.index("dirt")
    assert rows[0][encoding:dirt].strip() == "gamma 1.8"
    assert {row[dirt:].split()[0] for row in rows} == {"darkens", "brightens"}


def test_list_shows_the_sound_profiles_beside_a_broken_one(own_folder: Path) -> None:
    broken = own_folder / "broken.yaml"
    broken.write_text("name: broken\nscan: {gamma: 9}\n")
    result = run("profiles", "list")
    assert result.exit_code == 2
    assert "generic-slide" in result.stdout
    assert result.stderr.startswith(f"{broken}:2: scan.gamma: ")


def test_show_prints_what_can_be_loaded_again(tmp_path: Path) -> None:
    result = run("profiles", "show", "generic-slide")
    assert result.exit_code == 0
    assert result.stdout == to_yaml(load_profile("generic-slide"))
    file = tmp_path / "again.yaml"
    file.write_text(result.stdout)
    assert read_profile(file) == load_profile("generic-slide")


def test_show_source_prints_the_file() -> None:
    result = run("profiles", "show", "--source", "generic-slide")
    assert result.stdout_bytes == (SHIPPED / "generic-slide.yaml").read_bytes()


def test_check_of_sound_files() -> None:
    files = [str(file) for file in SHIPPED.glob("*.yaml")]
    result = run("profiles", "check", *files)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{file}: ok" for file in files]


def test_check_goes_through_all_files(tmp_path: Path) -> None:
    bad, worse, good = (tmp_path / f"{name}.yaml" for name in ("bad", "worse", "good"))
    bad.write_text("name: bad\nscan: {gamma: 9, black: 9}\n")
    worse.write_text("name: {\n")
    good.write_text("name: good\n")
    result = run("profiles", "check", str(bad), str(worse), str(good))
    assert result.exit_code == 2
    assert result.stdout == f"{good}: ok\n"
    places = [line.split(": ")[0] for line in result.stderr.splitlines()]
    assert places == [f"{bad}:2", f"{bad}:2", f"{worse}:2"]


def test_check_takes_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is what is checked, even one that is called like a shipped profile."""
    monkeypatch.chdir(tmp_path)
    Path("generic-slide").write_text("nonsense: 1\n")
    assert "generic-slide:1: nonsense: unknown key" in run("profiles", "check", "generic-slide").stderr


def test_wrong_usage_is_2() -> None:
    assert run("profiles", "check").exit_code == 2
    assert run("no-such-command").exit_code == 2


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    result = run("watch", str(tmp_path), str(tmp_path / "clean"), "--still", "nan")
    assert result.exit_code == 2
    assert "nan is no number" in result.output
