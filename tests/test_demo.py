"""The demo has the daemon clean a roll as a scanner would bring it, in a folder of its own, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from PIL import Image

from dustwatch.daemon.cli import cli
from dustwatch.daemon.output import Output
from tests.rolls import command, receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES = [f"frame-0{number}.tif" for number in range(1, 6)]
"""Two on the first glass, three on the second."""

SMALL = ("--frames", str(len(FRAMES)), "--megapixels", "0.5")


def demo(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["demo", "--output", str(folder), *SMALL, *arguments], prog_name="dustwatch")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("work") / "demo"
    result = demo(folder)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_scans_are_16_bit_frames_with_a_resolution(shown: tuple[Path, str]) -> None:
    scans = sorted((shown[0] / "scans").iterdir())
    assert [scan.name for scan in scans] == FRAMES
    with tifffile.TiffFile(scans[0]) as file:
        page = file.pages[0]
        assert page.dtype == np.uint16
        assert page.shape[1] / page.shape[0] == pytest.approx(1.5, abs=0.01)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        across, per = page.tags["XResolution"].value
        assert page.shape[1] / (across / per) * 25.4 == pytest.approx(36, rel=0.01)


def test_every_frame_was_cleaned_with_all_of_its_glass(shown: tuple[Path, str]) -> None:
    receipts = [receipt(shown[0] / "clean", name) for name in FRAMES]
    assert {told["status"] for told in receipts} == {"cleaned"}
    assert [told["map_frames"] for told in receipts] == [2, 2, 3, 3, 3]
    assert len({told["glass_id"] for told in receipts}) == 2


def test_the_first_frame_of_each_glass_ripens_from_the_scan_to_what_is_left(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    kept = sorted(file.name for file in (folder / "ripening").iterdir())
    assert kept == [
        *(f"frame-01.after-0{frames}-frames.tif" for frames in (1, 2)),
        *(f"frame-03.after-0{frames}-frames.tif" for frames in (1, 2, 3)),
    ]
    for first, last in ((kept[0], kept[1]), (kept[2], kept[4])):
        name = f"{first[:8]}.tif"
        assert (folder / "ripening" / first).read_bytes() == (folder / "scans" / name).read_bytes()
        assert (folder / "ripening" / last).read_bytes() == (folder / "clean" / name).read_bytes()
        assert name in printed


def test_the_tables_give_figures_and_groups(shown: tuple[Path, str]) -> None:
    _, printed = shown
    for words in ("before", "after", "treated", "harm", "halo harm", "all 5", "frames on the glass"):
        assert words in printed
    assert "Groups: 2 found, 2 true, every frame in its own" in printed
    assert "s after its scan" in printed


def test_the_contact_sheet_is_a_picture(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    sheet = folder / "contact-sheet.png"
    assert str(sheet) in printed
    with Image.open(sheet) as image:
        assert image.width > 1500
        assert image.height > (1 + len(FRAMES)) * 300


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "holiday.tif").write_bytes(b"precious")
    result = demo(tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
    assert "--output" in result.stderr
    assert (tmp_path / "scans" / "holiday.tif").read_bytes() == b"precious"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    result = demo(tmp_path / "demo")
    assert result.exit_code == 2
    assert str(tmp_path / "demo") in result.stderr


def test_the_folder_of_a_demo_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".dustwatch-demo").touch()
    (tmp_path / "scans").mkdir()
    with Output(tmp_path / "clean").occupied():
        result = demo(tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path / "clean") in result.stderr
    assert (tmp_path / "scans").is_dir()


# --- processes ----------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo as a process, in a group of its own as from a shell, and the daemon's process id, once it watches."""
    arguments = command("demo", "--output", folder, *SMALL)
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # Whoever starts the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = folder / "log.txt"
    try:
        wait_until(lambda: process.poll() is not None or bool(children(process.pid) and "watched" in log.read_text()))
        (daemon,) = children(process.pid)
        yield process, daemon
    finally:
        if process.poll() is None:  # the daemon, in a group of its own, would outlive it
            for one in (*children(process.pid), process.pid):
                os.kill(one, signal.SIGKILL)
        process.communicate()


def wait_until(reached: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def children(parent: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state = (place / "stat").read_text().rpartition(")")[2].split()  # proc(5)
        except OSError:  # it has ended
            continue
        if int(state[1]) == parent:
            found.append(int(place.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_the_demo_ends_the_daemon(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "demo") as (process, daemon):
        if number == signal.SIGINT:  # Ctrl-C goes to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert not Path(f"/proc/{daemon}").exists()


def test_a_daemon_that_dies_ends_the_demo_with_its_exit_code(tmp_path: Path) -> None:
    with running(tmp_path / "demo") as (process, daemon):
        os.kill(daemon, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "exit code -9" in said
        assert str(tmp_path / "demo" / "log.txt") in said
        assert "Traceback" not in said


def test_a_scan_that_cannot_be_cleaned_ends_the_demo_with_its_reason(tmp_path: Path) -> None:
    with running(tmp_path / "demo") as (process, daemon):
        (tmp_path / "demo" / "scans" / "frame-00.tif").write_bytes(b"no picture at all")
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "frame-00.tif" in said
        assert "Traceback" not in said
        assert not Path(f"/proc/{daemon}").exists()


def test_a_second_demo_replaces_the_first_and_nothing_else(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    (folder / "mine.txt").write_text("kept")
    with running(folder):
        assert not (folder / "scans" / FRAMES[-1]).exists()
        assert not (folder / "clean" / FRAMES[-1]).exists()
        assert not (folder / "ripening" / "frame-03.after-03-frames.tif").exists()
    assert (folder / "mine.txt").read_text() == "kept"
