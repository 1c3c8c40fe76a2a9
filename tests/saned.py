"""SANE's own network daemon, serving its `test` device on an address of this machine."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.scanning import fresh_address, sane_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_sane = pytest.mark.skipif(
    importlib.util.find_spec("_sane") is None or ctypes.util.find_library("sane") is None,
    reason="libsane or python-sane is not installed",
)

_SANED = shutil.which("saned") or shutil.which("saned", path="/usr/sbin")
needs_saned = pytest.mark.skipif(_SANED is None, reason="saned (sane-utils) is not installed")

_PORT = 6566


class Saned:
    """The daemon, to be frozen, killed and started again; `config` is what SANE_CONFIG_DIR of a client must be."""

    def __init__(self, folder: Path) -> None:
        self.address = fresh_address()
        self.config = sane_config(folder / "client", "net", self.address)
        self._own = sane_config(folder / "daemon", "test")
        (self._own / "saned.conf").write_text("127.0.0.0/8\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def device(self) -> str:
        return f"net:{self.address}:test:0"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert _SANED
        # Every client is served by a child of it; they share a group.
        self._process = subprocess.Popen(
            [_SANED, "-l", "-b", self.address],
            env={**os.environ, "SANE_CONFIG_DIR": str(self._own)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while not self._listens():
            assert time.monotonic() < deadline, "saned does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex((self.address, _PORT)) == 0

    def send(self, what: signal.Signals) -> None:
        """Send a signal to it and to those who serve its clients."""
        assert self._process
        os.killpg(self._process.pid, what)

    def kill(self) -> None:
        """Kill all of it."""
        if self._process:
            self.send(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def saned(folder: Path) -> Iterator[Saned]:
    """Run saned; `folder` takes its configuration and that of its clients."""
    daemon = Saned(folder)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()
