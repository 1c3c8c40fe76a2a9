"""The commands that the virtual scanner takes while it serves, and what its command line refuses."""

from __future__ import annotations

import asyncio
import shlex
import socket
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dustwatch.daemon.virtual.bed import Bed
from dustwatch.daemon.virtual.console import obey
from dustwatch.daemon.virtual.film_scanner import FilmScanner
from tests.rolls import command, run
from tests.scanning import fresh_address, needs_scanimage, virtual_scanner

if TYPE_CHECKING:
    from pathlib import Path


def told(scanner: FilmScanner, line: str) -> str:
    return asyncio.run(obey(scanner, line))


def test_commands_do_what_they_say() -> None:
    scanner = FilmScanner(Bed(1))
    assert told(scanner, "fault jammed 0.5") == "ok jammed@0.5"
    assert told(scanner, "fault cover-open") == "ok cover-open@start"
    assert [str(fault) for fault in scanner.faults] == ["jammed@0.5", "cover-open@start"]
    assert told(scanner, "rate 1000") == "ok"
    assert scanner.rate == 1000
    assert told(scanner, "rate none") == "ok"
    assert scanner.rate is None
    assert told(scanner, "press scan") == "ok"
    assert scanner.pressed == {"scan"}
    assert told(scanner, "load") == "ok 2"
    assert told(scanner, "wipe") == "ok"


WRONG = (
    *("", "dance", "press nose", "load 3", "fault", "fault ouch", "fault jammed 0.5 0.6"),
    *("rate", "rate 0", "rate -1", "rate nan", "rate fast", "truth", "truth a b", "truth a 1 2", "truth 'a"),
)


@pytest.mark.parametrize("line", WRONG)
def test_what_is_no_command_is_refused(line: str) -> None:
    scanner = FilmScanner(Bed(1))
    with pytest.raises(ValueError, match=r"\w+"):
        told(scanner, line)
    assert not scanner.faults
    assert scanner.rate is None


@needs_scanimage
def test_commands_are_answered_line_by_line_and_nonsense_does_no_harm(tmp_path: Path) -> None:
    with virtual_scanner(tmp_path) as scanner:
        assert scanner.tell("dance").startswith("error: 'dance' is no command; write fault")
        assert scanner.tell(f"truth {tmp_path / 'truth'}").startswith("error: there is no scan 0")
        assert scanner.tell("\xff \0") != ""
        (tmp_path / "file").write_text("in the way")
        scanner.scan("--resolution", "300", "-x", "12", "-y", "8")
        assert scanner.tell(f"truth {tmp_path / 'file'}").startswith("error: ")
        assert scanner.tell("load") == "ok 2"


@needs_scanimage
def test_the_truth_is_that_of_the_scan(tmp_path: Path) -> None:
    with virtual_scanner(tmp_path) as scanner:
        scans = [scanner.scan("--resolution", "1200", "--depth", "16", "-x", "12", "-y", "8") for _ in range(2)]
        for number, scan in enumerate(scans, 1):
            film, glass, specks = scanner.truth(tmp_path / f"truth of {number}", number)
            expected = film * 10 ** -(glass + specks)[..., None]
            error = (scan / 65535.0 - expected) / np.sqrt(expected)
            assert error.std() == pytest.approx(0.0075, rel=0.05)
            assert glass.max() > 0.3


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null", "<{file}"])
def test_it_serves_without_an_input_too(redirection: str, tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("load\ndance\n")
    script = f'exec "$@" {redirection.format(file=shlex.quote(str(tmp_path / "commands")))}'
    address = fresh_address()
    arguments = ["sh", "-c", script, "sh", *command("virtual-scanner", "--listen", address)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if "file" in redirection:
            assert process.stdout.readline() == "ok 2\n"
            assert process.stdout.readline().startswith("error: 'dance' is no command")
        socket.create_connection((address, 6566), timeout=10).close()
        process.terminate()
        assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fault", "ouch@start"], "'ouch@start' is no fault: write KIND@start or KIND@0.5"),
        (["--button", "scan"], "'scan' presses no button: write NAME@LOAD, like scan@2"),
        (["--button", "nose@1"], "NAME is one of scan, file, email, copy"),
        (["--holder", "no-such-holder"], "no-such-holder"),
        (["--listen", "192.0.2.1"], "192.0.2.1:6566: cannot listen there"),
        (["--listen", "127.0.0.1:0"], "'0' is no port"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_to_do(options: list[str], message: str) -> None:
    result = run("virtual-scanner", *options)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with virtual_scanner(tmp_path) as scanner:
        result = run("virtual-scanner", "--listen", scanner.address)
        assert result.code == 2
        assert f"{scanner.address}:6566: cannot listen there" in result.err
    assert fresh_address() != scanner.address
