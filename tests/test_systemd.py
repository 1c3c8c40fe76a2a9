"""The service as systemd reads it."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dustwatch.daemon.cli import cli
from dustwatch.daemon.errors import ExitCode

FOLDER = Path(__file__).parent.parent / "systemd"
UNIT = FOLDER / "dustwatch.service"
USERS = FOLDER / "dustwatch.sysusers.conf"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


def section(name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys keep their case
    parser.read_string(UNIT.read_text("utf-8"))
    return dict(parser[name])


SERVICE = section("Service")


def complaints(unit: str, folder: Path) -> list[str]:
    """What systemd has to say of a unit. Its exit code says nothing: it passes over keys that it does not know."""
    file = folder / UNIT.name
    # Here the program lies elsewhere.
    file.write_text(unit.replace("/usr/bin/dustwatch", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True)
    # Other units of this machine are read, too.
    return [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]


@needs_systemd
def test_systemd_knows_every_key_and_value(tmp_path: Path) -> None:
    assert complaints(UNIT.read_text("utf-8"), tmp_path) == []


@needs_systemd
@pytest.mark.parametrize("line", ["RestartSecs=10", "IOSchedulingClass=lazy", "ExecStartPre=/no/such/program"])
def test_systemd_would_have_said_so(line: str, tmp_path: Path) -> None:
    unit = UNIT.read_text("utf-8").replace("[Service]\n", f"[Service]\n{line}\n")
    assert len(complaints(unit, tmp_path)) == 1


@needs_systemd
def test_user_can_be_made() -> None:
    done = subprocess.run(["systemd-sysusers", "--dry-run", USERS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_service_runs_as_that_user_in_its_own_folders() -> None:
    (user,) = re.findall(r'^u (\S+) - "[^"]+" (\S+)$', USERS.read_text("utf-8"), re.MULTILINE)
    assert user == (SERVICE["User"], f"/var/lib/{SERVICE['StateDirectory']}")
    assert SERVICE["Environment"] == f"NUMBA_CACHE_DIR=%C/{SERVICE['CacheDirectory']}"


def test_wrong_configuration_is_not_tried_again() -> None:
    assert SERVICE["Restart"] == "on-failure"
    assert SERVICE["RestartPreventExitStatus"].split() == [str(int(ExitCode.USAGE))]


def test_scanners_can_be_reached() -> None:
    assert SERVICE["SupplementaryGroups"] == "scanner"
    assert re.search("^g scanner ", USERS.read_text("utf-8"), re.MULTILINE)
    assert SERVICE["DevicePolicy"] == "closed"
    assert SERVICE["DeviceAllow"] == "char-usb_device rw"
    assert {"AF_NETLINK", "AF_UNIX", "AF_INET", "AF_INET6"} == set(SERVICE["RestrictAddressFamilies"].split())
    assert "PrivateDevices" not in SERVICE


def test_numba_may_write_code() -> None:
    assert SERVICE["MemoryDenyWriteExecute"] == "no"


def test_it_starts_a_command_that_there_is() -> None:
    _, name, *arguments = SERVICE["ExecStart"].split()
    context = cli.commands[name].make_context(name, arguments)
    assert context.params == {"config": Path("/etc/dustwatch/config.yaml")}
