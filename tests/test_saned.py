"""The virtual scanner as other programs see it: scanimage scans from it, and no client can bring it down."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from dustwatch.daemon.virtual.bed import Bed
from dustwatch.daemon.virtual.film_scanner import FilmScanner
from dustwatch.daemon.virtual.saned import _Client
from dustwatch.processing.figures import figures, mean_figures
from dustwatch.processing.flatbed import Samples, exposed
from dustwatch.processing.platen import Grid
from dustwatch.processing.simulate import SimulatedFrame
from tests.rolls import clean, write_tiff
from tests.scanning import VirtualScanner, needs_scanimage, read_pnm, virtual_scanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dustwatch.processing.arrays import Scan

pytestmark = needs_scanimage

SMALL = ("--resolution", "300", "-x", "12", "-y", "8")
GEOMETRIES = [(0.0, 0.0, 12.0, 8.0, 600), (31.4, 27.18, 9.0, 6.5, 1200), (150.0, 200.0, 40.0, 10.0, 200)]
"""Left, top, width and height in mm; pixels to the inch."""


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualScanner]:
    """A scanner that shows always the same frame."""
    with virtual_scanner(tmp_path_factory.mktemp("repeating"), "--repeat-frame") as scanner:
        yield scanner


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualScanner]:
    """A scanner that goes through faults and clients of all kinds."""
    with virtual_scanner(tmp_path_factory.mktemp("lively")) as scanner:
        yield scanner


def seen(
    geometry: tuple[float, float, float, float, int], samples: Samples = "colour", *, reflected: bool = False
) -> npt.NDArray[np.uint16]:
    """What the bed of the repeating scanner shows there, without any network."""
    left, top, width, height, dpi = (*(round(length * 65536) / 65536 for length in geometry[:4]), geometry[4])
    px_per_mm = dpi / 25.4
    grid = Grid(top, left, px_per_mm, round(height * px_per_mm), round(width * px_per_mm))
    view = Bed(1, repeat_frame=True).view(grid, samples, reflected=reflected)
    return np.concatenate([band.scan for band in exposed(view)])


def over(geometry: tuple[float, float, float, float, int]) -> list[str]:
    left, top, width, height, dpi = map(str, geometry)
    return ["-l", left, "-t", top, "-x", width, "-y", height, "--resolution", dpi]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("depth", [8, 16])
def test_scanimage_gets_what_lies_there_bit_for_bit(
    repeating: VirtualScanner, geometry: tuple[float, float, float, float, int], depth: int
) -> None:
    scan = repeating.scan(*over(geometry), "--depth", depth)
    expected = seen(geometry)
    np.testing.assert_array_equal(scan, expected if depth == 16 else (expected >> 8).astype(np.uint8))
    np.testing.assert_array_equal(repeating.scan(*over(geometry), "--depth", depth), scan)


@pytest.mark.parametrize(
    ("options", "samples", "reflected"),
    [
        (["--source", "Flatbed"], "colour", True),
        (["--mode", "Gray"], "grey", False),
        (["--source", "Transparency Unit Infrared"], "infrared", False),
        (["--mode", "Infrared"], "infrared", False),
    ],
)
def test_every_kind_of_light_gives_its_own_picture(
    repeating: VirtualScanner, options: list[str], samples: Samples, reflected: bool
) -> None:
    scan = repeating.scan(*options, *over(GEOMETRIES[0]))
    np.testing.assert_array_equal(scan, seen(GEOMETRIES[0], samples, reflected=reflected))


def test_infrared_comes_as_fourth_sample(repeating: VirtualScanner) -> None:
    done = repeating.scanimage(
        "--source", "Transparency Unit", "--mode", "RGBI", *over(GEOMETRIES[0]), "--format", "pnm"
    )
    expected = seen(GEOMETRIES[0], "colour and infrared")
    samples = np.frombuffer(done.stdout.split(b"\n", 4)[4], ">u2").reshape(expected.shape)
    np.testing.assert_array_equal(samples, expected)


def test_infrared_comes_as_a_second_page(repeating: VirtualScanner, tmp_path: Path) -> None:
    pages = ["--infrared=yes", f"--batch={tmp_path}/page-%d.pnm", "--batch-count=2", "--format", "pnm"]
    done = repeating.scanimage("--source", "Transparency Unit", *over(GEOMETRIES[0]), *pages)
    assert done.returncode == 0, done.stderr
    pictures: tuple[Samples, ...] = ("colour", "infrared")
    for page, samples in enumerate(pictures, 1):
        scan = read_pnm((tmp_path / f"page-{page}.pnm").read_bytes())
        # Both pages come from one pass: what the sensor counts differs, where it stood does not.
        np.testing.assert_array_equal(scan, seen(GEOMETRIES[0], samples))


def test_scanimage_lists_the_scanner_and_its_options(lively: VirtualScanner) -> None:
    listed = subprocess.run(["scanimage", "-L"], env=lively.environment, capture_output=True, text=True, check=True)
    assert f"device `{lively.device}' is a Virtual FilmScan 9000 film scanner" in listed.stdout
    shown = lively.scanimage("-A")
    assert shown.returncode == 0
    # It finds nothing to complain about.
    assert shown.stderr.decode().replace("Output format is not set, using pnm as a default.\n", "") == ""
    for line in (
        "--mode Gray|Color|Infrared|RGBI [Color]",
        "--depth 8|16bit [16]",
        "--resolution 75|100|150|200|300|400|600|800|1200|1600|2400|3200|4800|6400dpi [300]",
        "--source Flatbed|Transparency Unit|TPU8x10|Transparency Unit Infrared [Flatbed]",
        "--film-type Positive Film|Negative Film [inactive]",
        "-x 0..215.9mm [215.9]",
        "--lamp[=(yes|no)] [yes]",
        "--scan[=(yes|no)] [no] [hardware]",
    ):
        assert f"    {line}\n" in shown.stdout.decode()
    film = lively.scanimage("--source", "Transparency Unit", "-A").stdout.decode()
    assert "--film-type Positive Film|Negative Film [Positive Film]" in film
    assert "-x 0..203mm [203]" in film


def test_a_button_is_seen_once(lively: VirtualScanner) -> None:
    assert lively.tell("press scan") == "ok"
    shown = [b"--scan[=(yes|no)] [yes] [hardware]" in lively.scanimage("-A").stdout for _ in range(2)]
    assert shown == [True, False]


STATUS_TEXTS = {
    "jammed": "Document feeder jammed",
    "cover-open": "Scanner cover is open",
    "no-documents": "Document feeder out of documents",
    "busy": "Device busy",
    "io-error": "Error during device I/O",
}


@pytest.mark.parametrize(
    ("kind", "when"),
    [*((kind, when) for kind in STATUS_TEXTS for when in ("start", "0.5")), ("jammed", "0"), ("jammed", "1")],
)
def test_a_fault_ends_scanimage_with_its_message_and_the_next_scan_is_fine(
    lively: VirtualScanner, kind: str, when: str
) -> None:
    assert lively.tell(f"fault {kind} {when}").startswith("ok")
    failed = lively.scanimage("--source", "Transparency Unit", *SMALL)
    assert failed.returncode != 0
    assert f"{'sane_start' if when == 'start' else 'sane_read'}: {STATUS_TEXTS[kind]}" in failed.stderr.decode()
    assert lively.scan(*SMALL).shape == (94, 142, 3)


def test_a_connection_that_breaks_at_the_start_is_an_error_and_the_next_scan_is_fine(lively: VirtualScanner) -> None:
    lively.tell("fault vanish start")
    failed = lively.scanimage("--source", "Transparency Unit", *SMALL)
    assert failed.returncode != 0
    assert lively.scan(*SMALL).shape == (94, 142, 3)


def test_a_short_frame_ends_as_if_it_were_whole_in_whole_rows(lively: VirtualScanner) -> None:
    lively.tell("fault short 0.5")
    done = lively.scanimage("--source", "Transparency Unit", *SMALL, "--format", "pnm")
    pixels = done.stdout.split(b"\n", 4)[4]
    assert len(pixels) == 94 // 2 * 142 * 3 * 2
    assert lively.scan(*SMALL).shape == (94, 142, 3)


@pytest.mark.parametrize(("kind", "value"), [("blank", 0), ("white", 65535)])
def test_where_the_light_fails_rows_are_black_or_white(lively: VirtualScanner, kind: str, value: int) -> None:
    for when in ("start", "0.5"):
        lively.tell(f"fault {kind} {when}")
        scan = lively.scan(*SMALL)
        assert (scan[48:] == value).all()
        assert (scan[:47] == value).all() == (when == "start")


def test_a_connection_that_breaks_in_the_middle_of_a_frame_leaves_the_device_to_the_next(
    lively: VirtualScanner,
) -> None:
    lively.tell("fault vanish 0.5")
    arguments = ["scanimage", "-d", lively.device, "--source", "Transparency Unit", *SMALL, "--format", "pnm"]
    with subprocess.Popen(arguments, env=lively.environment, stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert len(waiting.stdout.read(30_000)) == 30_000
        # libsane 1.2 does not notice.
        assert lively.scan(*SMALL).shape == (94, 142, 3)
        waiting.kill()


@pytest.mark.parametrize("when", ["start", "0.5"])
def test_a_scan_that_stalls_can_be_killed_and_the_next_is_fine(lively: VirtualScanner, when: str) -> None:
    lively.tell(f"fault stall {when}")
    arguments = ["scanimage", "-d", lively.device, "--source", "Transparency Unit", *SMALL]
    with subprocess.Popen(arguments, env=lively.environment, stdout=subprocess.DEVNULL) as stalled:
        with pytest.raises(subprocess.TimeoutExpired):
            stalled.wait(2)
        # Meanwhile the device is taken.
        assert b"Device busy" in lively.scanimage("-A").stderr
        stalled.kill()
    assert lively.scan(*SMALL).shape == (94, 142, 3)


def test_without_its_lamp_it_sees_nothing_and_it_warms_up_as_long_as_it_is_told(lively: VirtualScanner) -> None:
    assert not lively.scan("--lamp=no", *SMALL).any()
    started = time.monotonic()
    assert lively.scan("--warm-up", 1, *SMALL).any()
    assert time.monotonic() - started > 1


def test_no_more_is_delivered_in_a_second_than_it_may(lively: VirtualScanner) -> None:
    lively.tell("rate 100000")
    started = time.monotonic()
    lively.scan(*SMALL)
    seconds = time.monotonic() - started
    lively.tell("rate none")
    assert seconds > 94 * 142 * 6 / 100000


def control(scanner: VirtualScanner) -> socket.socket:
    return socket.create_connection((scanner.address, 6566), timeout=10)


INIT = struct.pack(">3i", 0, 0x01000003, 0)
OPEN = struct.pack(">2i", 2, 0)
OPTIONS = struct.pack(">2i", 4, 0)
START = struct.pack(">2i", 7, 0)


def open_files(scanner: VirtualScanner) -> int:
    return len(list(Path(f"/proc/{scanner.process.pid}/fd").iterdir()))


def threads(scanner: VirtualScanner) -> int:
    return len(list(Path(f"/proc/{scanner.process.pid}/task").iterdir()))


def settled(scanner: VirtualScanner, most: int) -> bool:
    """Whether it has, before long, no more than `most` open files."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if open_files(scanner) <= most:
            return True
    return False


def test_nothing_that_clients_do_harms_it_or_leaves_a_trace(lively: VirtualScanner) -> None:
    lively.scan(*SMALL)
    files = open_files(lively)
    chance = random.Random(1)
    for _ in range(60):
        with control(lively) as client:
            client.sendall(chance.randbytes(chance.randrange(1, 200)))
        with control(lively) as client:
            # Well begun, then nonsense; some of it in the middle of a frame.
            client.sendall(INIT + OPEN + OPTIONS[: chance.randrange(9)] + chance.choice([b"", START]))
            client.sendall(struct.pack(">i", chance.randrange(11)) + chance.randbytes(chance.randrange(40)))
        with control(lively) as client:
            client.sendall(INIT + OPEN + START)
            if chance.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert settled(lively, files)
    assert lively.scan(*SMALL).shape == (94, 142, 3)
    # The loop, the reader of commands, and what the pool for rendering ever holds.
    assert threads(lively) <= 2 + min(32, (os.cpu_count() or 1) + 4) + 4
    assert settled(lively, files)


def test_a_client_that_leaves_in_the_middle_of_a_frame_leaves_nothing_behind(lively: VirtualScanner) -> None:
    files = open_files(lively)
    lively.tell("rate 50000")
    for _ in range(3):
        arguments = ["scanimage", "-d", lively.device, "--source", "Transparency Unit", *SMALL, "--format", "pnm"]
        with subprocess.Popen(arguments, env=lively.environment, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            client.stdout.read(10_000)
            client.kill()
        assert settled(lively, files)
    lively.tell("rate none")
    assert lively.scan(*SMALL).shape == (94, 142, 3)


def test_a_client_that_does_not_fetch_its_frame_does_not_hold_up_others(lively: VirtualScanner) -> None:
    with control(lively) as client:
        client.sendall(INIT + OPEN + START)
        # Init: 8 bytes, open: 12, start: 16; then the port of the data connection, which nobody calls.
        reply = b""
        while len(reply) < 36:
            reply += client.recv(100)
        assert struct.unpack(">i", reply[20:24]) == (0,)
        assert b"Device busy" in lively.scanimage("-A").stderr
    assert lively.scan(*SMALL).shape == (94, 142, 3)


def test_giving_up_a_frame_can_itself_be_given_up() -> None:
    async def give_up() -> None:
        held = asyncio.Event()

        async def lingering() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await held.wait()

        client = _Client(FilmScanner(Bed(1)), asyncio.StreamReader(), cast("asyncio.StreamWriter", None))
        client._delivery = asyncio.create_task(lingering())
        await asyncio.sleep(0)
        giving_up = asyncio.create_task(client._stop_delivery())
        await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        held.set()

    asyncio.run(give_up())


@pytest.mark.parametrize("client", ["none", "idle", "in a frame", "stalled"])
def test_it_ends_promptly_when_it_is_told_to(client: str, tmp_path: Path) -> None:
    with virtual_scanner(tmp_path, "--rate", "50000") as scanner:
        arguments = ["scanimage", "-d", scanner.device, "--source", "Transparency Unit", *SMALL, "--format", "pnm"]
        clients: list[subprocess.Popen[bytes]] = []
        connections: list[socket.socket] = []
        if client == "idle":
            connections.append(control(scanner))
            connections[0].sendall(INIT + OPEN)
            assert len(connections[0].recv(8, socket.MSG_WAITALL)) == 8
        if client in ("in a frame", "stalled"):
            scanner.tell("fault stall 0.2" if client == "stalled" else "fault none")
            clients.append(subprocess.Popen(arguments, env=scanner.environment, stdout=subprocess.PIPE))
            assert clients[0].stdout is not None
            assert len(clients[0].stdout.read(5000)) == 5000
        started = time.monotonic()
        scanner.process.send_signal(signal.SIGTERM)
        assert scanner.process.wait(10) == 0
        assert time.monotonic() - started < 3
        for one in clients:
            one.kill()
            one.communicate()
        for connection in connections:
            connection.close()


def test_eight_loads_come_out_clean(tmp_path: Path) -> None:
    holder = tmp_path / "holder.yaml"
    holder.write_text("name: one\nslots:\n  - {name: a, x: 20.3, y: 31.7, width: 14.4, height: 9.6}\n")
    frames: list[SimulatedFrame] = []
    scans: list[Scan] = []
    with virtual_scanner(tmp_path, "--holder", holder) as scanner:
        (tmp_path / "scans").mkdir()
        for number in range(1, 9):
            scan = scanner.scan(*over((20.3, 31.7, 14.4, 9.6, 1200)))
            write_tiff(tmp_path / "scans" / f"{number}.tif", scan)
            film, glass, specks = scanner.truth(tmp_path / "truth")
            frames.append(SimulatedFrame(scan, film, glass, specks, (0.0, 0.0), 0))
            scans.append(scan)
    result = clean(tmp_path / "scans", tmp_path / "clean", "--threads", "2")
    assert "1 glass" in result.out
    cleaned = [tifffile.imread(tmp_path / "clean" / f"{number}.tif") for number in range(1, 9)]
    reached = mean_figures([figures(one, frame) for one, frame in zip(cleaned, frames, strict=True)])
    assert reached.psnr_scan_db < 26
    assert reached.psnr_db >= 34
