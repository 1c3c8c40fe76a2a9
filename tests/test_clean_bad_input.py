"""Files that cannot be cleaned are named with what is wrong and what to do, and keep nobody else from being cleaned."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import time
from contextlib import chdir
from dataclasses import dataclass
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dustwatch.processing.learn import MOST_FRAMES
from dustwatch.processing.simulate import RollParams
from tests.rolls import (
    TINY,
    Result,
    bound_by_permissions,
    clean,
    command,
    run,
    simulate,
    snapshot,
    write_tiff,
    write_tiffs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dustwatch.processing.arrays import Planes

FRAMES = 4
FRAME_BYTES = TINY["height"] * TINY["width"] * 6


@dataclass(frozen=True, slots=True)
class Roll:
    """A folder of scans and what a run over it made and said."""

    scans: Path
    output: Path
    result: Result

    def line(self, name: str) -> str:
        """What stderr says of a file; exactly one line does."""
        (said,) = [line for line in self.result.err.splitlines() if line.startswith(f"{self.scans / name}: ")]
        return said


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    frames = simulate(RollParams(frames=FRAMES, seed=11, **TINY))
    return write_tiffs(frames, tmp_path_factory.mktemp("good"), compression="zlib")


@pytest.fixture
def scans(good: list[Path], tmp_path: Path) -> Path:
    """A folder of good frames, to put something bad into."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for file in good:
        shutil.copy(file, folder)
    return folder


# --- in the folder ------------------------------------------------------------------------------------------

BAD = {
    "truncated.tif": ("cut short", "scan it again"),
    "truncated.png": ("cut short", "scan it again"),
    "truncated.jpg": ("cut short", "scan it again"),
    "spoilt.tif": ("cannot be decoded", "scan it again"),
    "zero.tif": ("empty (0 bytes)", "scan it again"),
    "zero.png": ("empty (0 bytes)", "scan it again"),
    "text.tif": ("no TIFF, PNG or JPEG", "save it as one"),
    "palette.tif": ("palette", "save it as"),
    "palette.png": ("palette", "save it as"),
    "cmyk.tif": ("CMYK", "save it as"),
    "cmyk.jpg": ("CMYK", "save it as"),
    "float.tif": ("floating point", "save it as"),
    "packbits.tif": ("PackBits", "save it as"),
    "big.tif": ("cut short", "scan it again"),
    "loop.tif": ("link that leads to no file", "remove it"),
    "link.tif": ("link", "give"),
    "dangling.tif": ("link that leads to no file", "remove it"),
    "pipe.tif": ("pipe", "save the scan to a file"),
    "socket.tif": ("socket", "save the scan to a file"),
    "unreadable.tif": ("Permission denied", "permissions"),
}


@pytest.fixture(scope="module")
def mixed(good: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roll]:
    """Good frames between all kinds of bad ones."""
    work = tmp_path_factory.mktemp("mixed")
    scans = work / "scans"
    scans.mkdir()
    for file in good:
        shutil.copy(file, scans)
    write_bad(scans, good[0])
    result = clean(scans, work / "clean", "--json", work / "report.json", expect=1, before=bound_by_permissions)
    yield Roll(scans, work / "clean", result)
    (scans / "unreadable.tif").chmod(0o600)


def write_bad(scans: Path, good: Path) -> None:
    scan = tifffile.imread(good)
    small = (scan >> 8).astype(np.uint8)
    picture = Image.fromarray(small)
    data = good.read_bytes()
    (scans / "truncated.tif").write_bytes(data[: len(data) // 2])
    png = imagecodecs.png_encode(scan)
    (scans / "truncated.png").write_bytes(png[: len(png) // 2])
    jpeg = imagecodecs.jpeg8_encode(small)
    (scans / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (scans / "spoilt.tif").write_bytes(data[:2000] + bytes(len(data) // 2) + data[2000 + len(data) // 2 :])
    (scans / "zero.tif").touch()
    (scans / "zero.png").touch()
    (scans / "text.tif").write_text("the scanner was out of order\n" * 20)
    for suffix in ("tif", "png"):
        picture.quantize(64).save(scans / f"palette.{suffix}")
    for suffix in ("tif", "jpg"):
        picture.convert("CMYK").save(scans / f"cmyk.{suffix}")
    write_tiff(scans / "float.tif", scan.astype(np.float32))
    write_tiff(scans / "packbits.tif", small, compression="packbits")
    write_tiff(scans / "big.tif", scan, bigtiff=True)
    os.truncate(scans / "big.tif", 10_000)
    (scans / "loop.tif").symlink_to("loop.tif")
    (scans / "link.tif").symlink_to(good)
    (scans / "dangling.tif").symlink_to("nowhere.tif")
    os.mkfifo(scans / "pipe.tif")
    with socket.socket(socket.AF_UNIX) as listener, chdir(scans):  # a socket's address must be short
        listener.bind("socket.tif")
    shutil.copy(good, scans / "unreadable.tif")
    (scans / "unreadable.tif").chmod(0)
    (scans / "folder.tif").mkdir()
    write_tiff(scans / "dot.tif", scan[:1, :1])
    write_tiff(scans / "row.tif", scan[:1])
    write_tiff(scans / "column.tif", scan[:, :1])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_fault_and_remedy(mixed: Roll, name: str) -> None:
    fault, remedy = BAD[name]
    said = mixed.line(name)
    assert fault in said
    assert remedy in said
    assert not (mixed.output / name).exists()
    assert not (mixed.output / "receipts" / f"{name}.json").exists()


def test_nothing_but_the_bad_files_fails(mixed: Roll) -> None:
    assert len(mixed.result.err.splitlines()) == len(BAD)
    assert f"{len(BAD)} failed" in mixed.result.out


def test_the_good_frames_are_done(mixed: Roll, good: list[Path]) -> None:
    assert f"{FRAMES} cleaned" in mixed.result.out
    for file in good:
        assert tifffile.imread(mixed.output / file.name).shape == tifffile.imread(file).shape


@pytest.mark.parametrize("name", ["dot.tif", "row.tif", "column.tif"])
def test_the_smallest_pictures_are_left_as_they_are(mixed: Roll, name: str) -> None:
    assert (mixed.output / name).read_bytes() == (mixed.scans / name).read_bytes()


def test_a_folder_that_is_named_like_a_picture_is_a_folder(mixed: Roll) -> None:
    assert "folder.tif" not in mixed.result.said


def test_no_unfinished_file_is_left(mixed: Roll) -> None:
    assert not [path for path in mixed.output.rglob("*") if path.name.startswith(".")]


def test_the_report_has_the_errors(mixed: Roll) -> None:
    report = json.loads((mixed.output.parent / "report.json").read_text())
    failed = {frame["input"]: frame["error"] for frame in report["frames"] if frame["status"] == "failed"}
    assert sorted(failed) == sorted(str(mixed.scans / name) for name in BAD)
    assert sorted(failed.values()) == sorted(mixed.result.err.splitlines())


def test_pictures_in_a_folder_that_is_named_like_one_are_cleaned(good: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "scans" / "x.tif"
    folder.mkdir(parents=True)
    for file in good[:2]:
        shutil.copy(file, folder)
    clean(tmp_path / "scans", tmp_path / "clean")
    assert (tmp_path / "clean" / "x.tif" / good[0].name).is_file()


def test_an_unreadable_folder_is_named(scans: Path, tmp_path: Path) -> None:
    (scans / "closed").mkdir()
    (scans / "closed").chmod(0)
    result = clean(scans, tmp_path / "clean", expect=1, before=bound_by_permissions)
    (scans / "closed").chmod(0o700)
    assert f"{scans / 'closed'}: folder cannot be read: Permission denied" in result.err
    assert f"{FRAMES} cleaned, 1 failed" in result.out


# --- on the command line ------------------------------------------------------------------------------------


def refused(*arguments: str | Path, before: Callable[[], None] | None = None) -> str:
    """Run ``dustwatch clean``, which must end with exit code 2 and say why in a line or two."""
    result = run("clean", *arguments, before=before)
    assert result.code == 2, result.said
    assert result.out == ""
    return result.err


def test_a_missing_path(tmp_path: Path) -> None:
    said = refused(tmp_path / "scams", "--output", tmp_path / "clean")
    assert said == f"{tmp_path / 'scams'}: no such file or folder; check the spelling\n"
    assert not (tmp_path / "clean").exists()


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    assert "no pictures in" in refused(tmp_path / "scans", "--output", tmp_path / "clean")


def test_an_unknown_profile(scans: Path, tmp_path: Path) -> None:
    said = refused(scans, "--output", tmp_path / "clean", "--profile", "generic-negativ")
    assert "did you mean 'generic-negative'?" in said
    assert "generic-slide" in said


@pytest.mark.parametrize("where", [".", "clean", "deeper/clean"])
def test_output_in_the_input(scans: Path, where: str) -> None:
    before = snapshot(scans)
    said = refused(scans, "--output", scans / where)
    assert str(scans) in said
    assert "give one beside it" in said
    assert snapshot(scans) == before


def test_two_inputs_that_collide(scans: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(scans, other)
    said = refused(scans, other, "--output", tmp_path / "clean")
    assert str(scans / "frame-01.tif") in said
    assert str(other / "frame-01.tif") in said
    assert "rename one" in said
    assert not (tmp_path / "clean").exists()


def test_the_same_file_twice(scans: Path, tmp_path: Path) -> None:
    assert "given twice" in refused(scans, scans / "frame-01.tif", "--output", tmp_path / "clean")


def test_a_single_frame_is_said_to_tell_nothing(good: list[Path], tmp_path: Path) -> None:
    result = run("clean", good[0], "--output", tmp_path / "clean")
    assert result.code == 0
    assert re.search("1 unchanged: no other frame of its resolution shares its dirt", result.out)
    assert "1 frame: 1 unchanged" in result.out
    assert (tmp_path / "clean" / good[0].name).read_bytes() == good[0].read_bytes()


# --- where the output goes ----------------------------------------------------------------------------------


def test_an_unwritable_output(scans: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o500)
    for output in (closed, closed / "clean"):
        said = refused(scans, "--output", output, before=bound_by_permissions)
        assert str(output) in said
        assert "Permission denied" in said
        assert "give one that this user can write in" in said


def test_an_output_that_is_a_file(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "clean").touch()
    assert str(tmp_path / "clean") in refused(scans, "--output", tmp_path / "clean")


def test_a_report_without_a_folder(scans: Path, tmp_path: Path) -> None:
    said = refused(scans, "--output", tmp_path / "out", "--json", tmp_path / "none" / "report.json")
    assert str(tmp_path / "none" / "report.json") in said
    assert "there is no folder" in said
    assert not (tmp_path / "out").exists()


def test_a_report_into_a_pipe(scans: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = refused(scans, "--output", tmp_path / "out", "--json", tmp_path / "pipe")
    assert f"{tmp_path / 'pipe'}: is no file; give another --json" in said
    assert not (tmp_path / "out").exists()


def test_a_report_is_never_written_over_an_original(scans: Path, tmp_path: Path) -> None:
    original = min(scans.iterdir())
    before = original.read_bytes()
    said = refused(scans, "--output", tmp_path / "out", "--json", original)
    assert f"{original}: is there already and is no report of dustwatch" in said
    assert original.read_bytes() == before


def test_a_report_is_never_written_over_what_the_run_has_written(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    clean(scans, output)
    frame = min(output.glob("*.tif"))
    before = frame.read_bytes()
    frame.unlink()
    result = run("clean", scans, "--output", output, "--json", frame)
    assert result.code == 1
    assert f"{frame}: is there already" in result.err
    assert frame.read_bytes() == before


def test_a_report_is_written_over_an_earlier_one(scans: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    for _ in range(2):
        clean(scans, tmp_path / "out", "--json", report)
    assert {frame["status"] for frame in json.loads(report.read_text())["frames"]} == {"skipped"}


def at_most(size: int) -> Callable[[], None]:
    """Let no file grow beyond `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_files_that_may_not_be_as_large_as_the_pictures(scans: Path, tmp_path: Path) -> None:
    originals = snapshot(scans)
    result = clean(scans, tmp_path / "clean", expect=1, before=at_most(FRAME_BYTES * 3 // 4))
    said = result.err.splitlines()
    assert len(said) == FRAMES
    for number, line in enumerate(said, 1):
        assert f"frame-{number:02d}.tif: cannot be written" in line
        assert "limit" in line
        assert "run again" in line
    assert snapshot(tmp_path / "clean") == {}
    assert snapshot(scans) == originals


def test_files_that_may_not_be_as_large_as_the_scratch_files(scans: Path, tmp_path: Path) -> None:
    result = clean(scans, tmp_path / "clean", expect=1, before=at_most(FRAME_BYTES // 20))
    assert result.err.startswith(f"{tmp_path / 'clean'}: ")
    assert "limit" in result.err
    assert "run again" in result.err
    assert len(result.err.splitlines()) == 1
    assert snapshot(tmp_path / "clean") == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a disk of so many KiB."""
    mounted = []

    def mount(kib: int) -> Path:
        folder = tmp_path / f"disk of {kib} KiB"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("this user may not mount a disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("kib", [100, 800, 2000], ids=["observing", "learning", "writing"])
def test_a_full_disk(scans: Path, small_disk: Callable[[int], Path], tmp_path: Path, kib: int) -> None:
    originals = snapshot(scans)
    output = small_disk(kib) / "clean"
    result = clean(scans, output, expect=1)
    assert "disk is full; free some space" in result.err
    assert "run again" in result.err
    assert all(str(output) in line for line in result.err.splitlines())
    assert not [path for path in output.rglob("*") if path.name.startswith(".")]
    assert snapshot(scans) == originals
    # With more room the same run goes on.
    shutil.copytree(output, tmp_path / "moved")
    assert "failed" not in clean(scans, tmp_path / "moved").out


# --- files that change while they are read ------------------------------------------------------------------


def while_running(scans: Path, output: Path, when: Callable[[], bool], then: Callable[[], object]) -> Result:
    """Run ``dustwatch clean`` on one thread and do something to it when the time has come."""
    process = subprocess.Popen(
        command("clean", scans, "--output", output, "--threads", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    then()
    out, err = process.communicate(timeout=100)
    assert "Traceback" not in err
    return Result(process.returncode, out, err)


@pytest.mark.parametrize("moment", ["observing", "cleaning"])
def test_a_file_that_vanishes(scans: Path, tmp_path: Path, moment: str) -> None:
    output = tmp_path / "clean"
    begun = {
        "observing": lambda: any(output.glob(".dustwatch-*/0.residual")),
        "cleaning": lambda: any((output / "receipts").glob("*")),
    }
    result = while_running(scans, output, begun[moment], (scans / "frame-04.tif").unlink)
    assert result.code == 1
    assert f"{scans / 'frame-04.tif'}: cannot be read: No such file or directory" in result.err
    assert len(result.err.splitlines()) == 1
    assert f"{FRAMES - 1} cleaned, 1 failed" in result.out
    assert not (output / "frame-04.tif").exists()


def test_a_file_that_vanishes_from_a_roll_that_needs_several_maps(tmp_path: Path) -> None:
    """Such a roll is read once more before each map is learnt."""

    def sky(number: int, rows: int, columns: int) -> Planes:
        down, right = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
        slope = np.random.default_rng(number).uniform(-0.2, 0.2, 2)
        return np.repeat((0.4 + slope[0] * down + slope[1] * right)[..., None], 3, axis=2).astype(np.float32)

    scans, output, count = tmp_path / "scans", tmp_path / "clean", MOST_FRAMES + 1
    last = write_tiffs(simulate(RollParams(frames=count, seed=12, **TINY), sky), scans)[-1]
    result = while_running(scans, output, lambda: any((output / "receipts").glob("*")), last.unlink)
    assert result.code == 1
    assert f"{last}: cannot be read: No such file or directory" in result.err
    assert f"{count - 1} cleaned, 1 failed, 1 glass " in result.out


@pytest.mark.parametrize("by", ["a picture of another size", "half a picture"])
@pytest.mark.parametrize("moment", ["observing", "cleaning"])
def test_a_file_that_is_replaced(scans: Path, tmp_path: Path, moment: str, by: str) -> None:
    output, last = tmp_path / "clean", scans / "frame-04.tif"
    other = tmp_path / "other.tif"
    if by == "half a picture":
        other.write_bytes(last.read_bytes()[:5000])
    else:
        write_tiff(other, tifffile.imread(last)[:99, :99], compression="zlib")
    begun = {
        "observing": lambda: any(output.glob(".dustwatch-*/0.residual")),
        "cleaning": lambda: any((output / "receipts").glob("*")),
    }
    result = while_running(scans, output, begun[moment], lambda: other.replace(last))
    assert f"{FRAMES - 1} cleaned" in result.out
    if result.code:
        assert result.code == 1
        assert result.err.startswith(f"{last}: ")
        assert "again" in result.err
        assert len(result.err.splitlines()) == 1
    # The next run takes what is there.
    again = clean(scans, output, expect=1 if by == "half a picture" else 0)
    assert "Traceback" not in again.err


def test_nobody_reads_what_it_says(scans: Path, tmp_path: Path) -> None:
    """``dustwatch clean ... | head -0`` is no fault of the frames."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command("clean", scans, "--output", tmp_path / "clean"),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "clean").glob("frame-*.tif"))) == FRAMES
