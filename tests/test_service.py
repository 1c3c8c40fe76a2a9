"""The service beside its manager: what systemd is told, in a real process on a real socket."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dustwatch.daemon.progress import silent
from dustwatch.daemon.service import _until_stopped, state_name
from dustwatch.daemon.settings import FolderSettings
from dustwatch.daemon.warm_up import compile_ahead
from dustwatch.processing.simulate import RollParams
from tests.rolls import TINY, command, simulate, write_tiffs


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        yield manager


def until(manager: socket.socket, said: str) -> list[str]:
    """All that is said until this is, with it."""
    heard = []
    while not heard or said not in heard[-1]:
        heard.append(manager.recv(4096).decode())
    return heard


def test_systemd_hears_when_it_is_ready_how_far_it_is_and_that_it_stops(tmp_path: Path, manager: socket.socket) -> None:
    compile_ahead(silent)  # the first start on a machine says first that it compiles
    frames = write_tiffs(simulate(RollParams(frames=2, seed=3, **TINY)), tmp_path / "scans")
    config = tmp_path / "config.yaml"
    config.write_text("folders:\n- {input: scans, output: clean, still_s: 0.1, close_after_min: 0.01}\nstate: state\n")
    service = subprocess.Popen(
        command("run", "--config", config),
        env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        before = until(manager, "READY=1")
        assert before == ["READY=1"]
        assert not any((tmp_path / "clean").rglob("*.tif"))  # it is ready before it begins
        told = until(manager, f"STATUS={tmp_path}/scans: 2 frames, 0 to do")
        assert any("0 frames, 2 to do" in line or "1 frame," in line for line in told)
        service.send_signal(signal.SIGTERM)
        until(manager, "STOPPING=1")
        _, err = service.communicate(timeout=10)
    finally:
        service.kill()
        service.wait()
    assert service.returncode == 0
    assert "Traceback" not in err
    for frame in frames:
        about = [line for line in err.splitlines() if str(frame) in line]
        assert len(about) >= 2
    assert not list(tmp_path.glob("state/warming-up-*"))


def test_a_wrong_configuration_ends_it_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("folders:\n- {input: scans, output: scans/clean}\n")
    done = subprocess.run(command("run", "--config", config), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"{config}:2" in done.stderr


def test_every_folder_has_a_state_of_its_own_that_people_recognise() -> None:
    one = FolderSettings(Path("/scans/roll"), Path("/clean"))
    other = FolderSettings(Path("/scans/roll"), Path("/clean2"))
    assert state_name(one).startswith("roll-")
    assert state_name(one) == state_name(FolderSettings(one.input, one.output, "generic-slide"))
    assert state_name(one) != state_name(other)


def test_a_stop_that_becomes_another_error_on_the_way_ends_it_all_the_same() -> None:
    with _until_stopped():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise SystemError("as C code does") from error
        pytest.fail("went on")


def test_a_stop_that_is_lost_on_the_way_is_remembered() -> None:
    with _until_stopped() as stop:
        with suppress(BaseException):  # as finalizers do
            signal.raise_signal(signal.SIGINT)
        stop.check()
        pytest.fail("went on")


def test_an_error_that_nobody_asked_for_is_not_taken_for_a_stop() -> None:
    with pytest.raises(ZeroDivisionError), _until_stopped():
        raise ZeroDivisionError
