"""What tests of scanning share: the virtual scanner as a process, libsane's configuration, and scanimage."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.rolls import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from dustwatch.processing.arrays import Scan

needs_scanimage = pytest.mark.skipif(
    shutil.which("scanimage") is None, reason="scanimage (sane-utils) is not installed"
)

_numbers = itertools.count(1)


def fresh_address() -> str:
    """An address of this machine that no other test listens on: SANE knows hosts, and one port."""
    return f"127.{100 + os.getpid() // 250 % 100}.{1 + os.getpid() % 250}.{next(_numbers) % 254 + 1}"


def sane_config(folder: Path, backend: str = "net", host: str = "127.0.0.1") -> Path:
    """Write a configuration for libsane that knows one backend, and for ``net`` one host."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dll.conf").write_text(f"{backend}\n")
    (folder / "net.conf").write_text(f"connect_timeout = 5\n{host}\n")
    return folder


@dataclass(frozen=True, slots=True)
class VirtualScanner:
    """A running virtual scanner. `config` is what SANE_CONFIG_DIR must be."""

    process: subprocess.Popen[str]
    address: str
    config: Path

    @property
    def device(self) -> str:
        """Its SANE name."""
        return f"net:{self.address}:film"

    @property
    def environment(self) -> dict[str, str]:
        """What a client is started with."""
        return {**os.environ, "SANE_CONFIG_DIR": str(self.config)}

    def tell(self, line: str) -> str:
        """Give a command and return the answer."""
        stdin, stdout = _pipes(self.process)
        stdin.write(line + "\n")
        stdin.flush()
        return stdout.readline().rstrip("\n")

    def truth(self, folder: Path, number: int | None = None) -> tuple[npt.NDArray[np.float32], ...]:
        """Film (rows, columns, samples), glass and specks (rows, columns) of the last whole scan, or of another."""
        told = self.tell(shlex.join(["truth", str(folder), *([] if number is None else [str(number)])]))
        assert told.startswith("ok "), told
        film, glass, specks = (np.load(folder / f"{name}.npy") for name in ("film", "glass", "specks"))
        return film, glass, specks

    def scanimage(self, *options: str | Path) -> subprocess.CompletedProcess[bytes]:
        """Run scanimage on it, to its end."""
        arguments = ["scanimage", "-d", self.device, *map(str, options)]
        return subprocess.run(arguments, capture_output=True, env=self.environment, timeout=120, check=False)

    def scan(self, *options: str | Path) -> Scan:
        """Scan by scanimage, through the transparency unit unless told otherwise: (rows, columns, channels)."""
        done = self.scanimage("--source", "Transparency Unit", *options, "--format", "pnm")
        assert done.returncode == 0, done.stderr
        return read_pnm(done.stdout)


@contextmanager
def virtual_scanner(folder: Path, *options: str | Path) -> Iterator[VirtualScanner]:
    """Run ``dustwatch virtual-scanner`` on an address of its own; `folder` takes SANE's configuration for it.

    Whatever happens to it, it must have had nothing to complain about in the end.
    """
    address = fresh_address()
    arguments = command("virtual-scanner", "--listen", address, *options)
    complaints = folder / f"complaints-{address}"
    with (
        complaints.open("w") as stderr,
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert _pipes(process)[1].readline() == "ready\n"
            yield VirtualScanner(process, address, sane_config(folder / f"sane-{address}", "net", address))
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()
    assert complaints.read_text() == ""


def read_pnm(data: bytes) -> Scan:
    """A picture as scanimage writes it: (rows, columns, channels) of 8 or 16 bit."""
    kind, _comment, size, most, pixels = data.split(b"\n", 4)
    columns, rows = map(int, size.split())
    channels = {b"P5": 1, b"P6": 3}[kind]
    samples: Any = np.frombuffer(pixels, ">u2" if int(most) > 255 else np.uint8)
    return np.asarray(samples.reshape(rows, columns, channels), np.uint16 if int(most) > 255 else np.uint8)


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
