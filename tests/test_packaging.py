"""The wheel holds the three packages and nothing else, and the program runs from it."""

import os
import shutil
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from dustwatch.daemon.film import SHIPPED

ROOT = Path(__file__).parent.parent
PACKAGES = ("daemon", "processing", "profiles")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
INFO = f"dustwatch-{PROJECT['version']}.dist-info"


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves things behind, and would put into the wheel what an older build left."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        (source / name / "notes.txt").write_text("a stray file")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, source)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def ours(installed: Path, *arguments: str | Path) -> str:
    """Run Python with the installed packages in front of those that the tests themselves run from."""
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CONFIG_HOME": str(installed / "no-config")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=installed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_works_everywhere(wheel: Path) -> None:
    assert wheel.name == f"dustwatch-{PROJECT['version']}-py3-none-any.whl"


def test_wheel_holds_every_module_and_profile_and_nothing_else(wheel: Path) -> None:
    # Sub-folders would silently be left out, so they are looked for.
    files = [file for name in PACKAGES for file in (ROOT / name).rglob("*")]
    wanted = {
        f"dustwatch/{file.relative_to(ROOT).as_posix()}"
        for file in files
        if file.suffix in (".py", ".yaml") or file.name == "py.typed"
    }
    assert {f"dustwatch/{name}/py.typed" for name in PACKAGES} < wanted
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE")
    assert set(ZipFile(wheel).namelist()) == wanted | {f"{INFO}/{name}" for name in about}


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        told = Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())
        entry_points = archive.read(f"{INFO}/entry_points.txt").decode()
    assert told["License-Expression"] == "MIT"
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert told.get_payload() == (ROOT / "README.md").read_text("utf-8")
    needed = [need for need in told.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert len(needed) == len(PROJECT["dependencies"])
    assert entry_points.split() == ["[console_scripts]", "dustwatch", "=", "dustwatch.daemon.cli:main"]


def test_program_runs_from_the_wheel(installed: Path) -> None:
    assert ours(installed, installed / "bin" / "dustwatch", "--version") == f"dustwatch, version {PROJECT['version']}\n"


def test_installed_program_finds_its_own_profiles(installed: Path) -> None:
    script = "from dustwatch.daemon.film import SHIPPED, known_profiles; print(SHIPPED, *known_profiles())"
    folder, *names = ours(installed, "-c", script).split()
    assert folder == str(installed / "dustwatch" / "profiles")
    assert names == sorted(file.stem for file in SHIPPED.glob("*.yaml"))
