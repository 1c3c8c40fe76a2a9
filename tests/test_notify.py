"""What systemd hears of the service, on a socket such as it listens on."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import pytest

from dustwatch.daemon import notify


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"{folder}/notify" if request.param == "file" else f"@dustwatch-test-{os.getpid()}"
        listener.bind(address.replace("@", "\0"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listener


def test_each_message_is_a_datagram(manager: socket.socket) -> None:
    notify.ready()
    notify.status("frame-01.tif: cleaned")
    notify.stopping()
    assert [manager.recv(4096) for _ in range(3)] == [b"READY=1", b"STATUS=frame-01.tif: cleaned", b"STOPPING=1"]


def test_name_of_a_file_cannot_say_anything_else(manager: socket.socket) -> None:
    notify.status(f"a\nMAINPID=1\r\n{os.fsdecode(bytes([0xE9]))}é.tif")
    assert manager.recv(4096).decode() == "STATUS=a MAINPID=1 \\udce9é.tif"


@pytest.mark.parametrize("address", ["", None])
def test_nothing_happens_outside_a_service(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()


def test_manager_that_is_gone_is_no_fault(manager: socket.socket) -> None:
    manager.close()
    notify.ready()


@pytest.mark.parametrize("address", ["/no/such/socket", "/too-long" * 100, "vsock:2:1234"])
def test_address_of_no_manager_is_no_fault(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()


def test_manager_that_does_not_answer_is_not_waited_for(manager: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
        other.setblocking(False)
        other.connect(manager.getsockname())
        while True:
            other.send(b"WATCHDOG=1")
    notify.ready()
    received = set()
    with suppress(BlockingIOError):
        while True:
            received.add(manager.recv(4096))
    assert received == {b"WATCHDOG=1"}
