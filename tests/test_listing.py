"""``dustwatch devices``: what scanners have for film, and all their options."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from dustwatch.daemon.scanner.plan import Plan, Window
from dustwatch.daemon.scanner.section import ScannerSection
from dustwatch.daemon.scanner.session import Session
from tests.rolls import command
from tests.saned import needs_sane
from tests.scanning import VirtualScanner, fresh_address, sane_config, virtual_scanner


def run(config: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SANE_CONFIG_DIR": str(config), **more}
    return subprocess.run(command("devices", *arguments), capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualScanner]:
    with virtual_scanner(tmp_path_factory.mktemp("film")) as scanner:
        yield scanner


@needs_sane
def test_devices_are_listed_with_what_matters_for_film(virtual: VirtualScanner) -> None:
    done = run(virtual.config)
    assert done.returncode == 0, done.stderr
    heading, *lines = done.stdout.splitlines()
    assert heading.startswith(f"{virtual.device}: ")
    told = {line[:14].strip(): line[14:] for line in lines if line[2] != " "}
    assert told == {
        "film": "source Transparency Unit, source TPU8x10",
        "infrared": "scanner: {options: {source: Transparency Unit, mode: Color}, "
        "infrared: {style: source, value: Transparency Unit Infrared}}",
        "depth": "8, 16 bit",
        "resolution": "75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400 dpi",
        "area": "203 x 254 mm",  # of the transparency unit: the flatbed's is larger
        "buttons": "scan, file, email, copy",
    }


@needs_sane
def test_what_is_said_of_infrared_is_a_section_that_gives_it(
    tmp_path: Path, virtual: VirtualScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = re.findall("scanner: (.*)", run(virtual.config).stdout)
    monkeypatch.setenv("SANE_CONFIG_DIR", str(virtual.config))
    styles = []
    with Session(virtual.device) as session:
        for number, text in enumerate(sections):
            section = TypeAdapter(ScannerSection).validate_python(yaml.safe_load(text))
            plan = Plan(section, Window(90, 13, 12, 8))
            assert session.scan(plan, tmp_path / f"{number}.tif", lambda _: None).samples == 4
            styles.append(section.infrared.style)
    assert styles == ["source", "sample", "mode", "scan"]


STUBBORN = """
import sys

from dustwatch.daemon.virtual.bed import Bed
from dustwatch.daemon.virtual.console import run_virtual_scanner
from dustwatch.daemon.virtual.film_scanner import FilmScanner, RefusedError, Session
from dustwatch.daemon.virtual.protocol import Status


class StubbornSession(Session):
    def set(self, number, value):
        if self._option(number).name == "source":
            raise RefusedError(Status.INVALID)
        return super().set(number, value)


class Stubborn(FilmScanner):
    def open(self):
        super().open()
        return StubbornSession(self)


run_virtual_scanner(Stubborn(Bed(1, [])), sys.argv[1], 6566)
"""


@needs_sane
def test_of_a_device_whose_light_for_film_cannot_be_set_the_rest_is_told(tmp_path: Path) -> None:
    address = fresh_address()
    arguments = [sys.executable, "-c", STUBBORN, address]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        done = run(sane_config(tmp_path, "net", address))
        process.terminate()
    assert done.returncode == 0, done.stderr
    *_, area, buttons, unknown = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (area, buttons[0], unknown[0]) == (["area", "215.9 x 297.2 mm"], "buttons", "unknown")
    assert unknown[1].startswith(
        f"what of this is different with source Transparency Unit: net:{address}:film: source cannot be set to "
        "Transparency Unit (Invalid argument); possible: Flatbed, "
    )


@needs_sane
def test_every_option_of_a_device_is_shown_with_type_value_and_range(virtual: VirtualScanner) -> None:
    done = run(virtual.config, virtual.device, "--options")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert lines["br-x"] == "number 215.9 0 to 215.9 mm"
    assert lines["film-type"] == "text - inactive Positive Film, Negative Film"
    assert lines["lamp"] == "switch true true, false"
    assert lines["scan"] == "switch - button on the device true, false"
    assert lines["calibrate"] == "push button - true, which presses it"


@needs_sane
def test_of_a_name_that_is_wrong_the_right_ones_are_told(virtual: VirtualScanner) -> None:
    slip, blank_end = "net:127.0.0.1:nothing", f"{virtual.device} "
    for name, told in ((slip, slip), (blank_end, f"'{blank_end}'")):
        done = run(virtual.config, name)
        assert done.returncode == 2
        assert done.stderr == f"{told}: there is no such scanner; there are: {virtual.device}\n"


@needs_sane
def test_where_there_is_no_scanner_that_is_said(tmp_path: Path) -> None:
    config = sane_config(tmp_path / "none", "test")
    (config / "dll.conf").write_text("")
    done = run(config)
    assert done.returncode == 1
    assert "SANE finds no scanner" in done.stderr


def test_without_sane_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "_sane.py").write_text("raise ImportError('libsane.so.1: cannot open shared object file')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run(tmp_path, PYTHONPATH=path)
    assert done.returncode == 2
    assert "install libsane, then 'dustwatch[scanner]' with pip" in done.stderr
    assert "Traceback" not in done.stderr
