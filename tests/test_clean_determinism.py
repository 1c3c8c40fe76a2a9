"""The same bytes from any number of threads and from every run; a run that is broken off goes on at the next start."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from dustwatch.processing.simulate import RollParams
from tests.rolls import TINY, Result, clean, command, receipt, sha256, simulate, snapshot, write_tiffs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 8


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roll") / "scans"
    write_tiffs(simulate(RollParams(frames=FRAMES, wipes=(5,), seed=10, **TINY)), folder, compression="zlib")
    return folder


@pytest.fixture(scope="module")
def undisturbed(scans: Path) -> Path:
    """What a run makes that nobody disturbs."""
    output = scans.parent / "undisturbed"
    result = clean(scans, output, "--threads", "2")
    assert f"{FRAMES} cleaned, 2 glasses" in result.out
    return output


@pytest.fixture
def output(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run's output, to do something to."""
    shutil.copytree(undisturbed, tmp_path / "clean")
    return tmp_path / "clean"


def written(folder: Path) -> dict[str, int]:
    """When each file was last written, in ns."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_one_thread_and_two_give_the_same_bytes(scans: Path, undisturbed: Path, tmp_path: Path) -> None:
    clean(scans, tmp_path / "clean", "--threads", "1")
    assert snapshot(tmp_path / "clean") == snapshot(undisturbed)


def test_two_runs_give_the_same_bytes(scans: Path, undisturbed: Path, tmp_path: Path) -> None:
    clean(scans, tmp_path / "clean", "--threads", "2")
    found = snapshot(tmp_path / "clean")
    assert found == snapshot(undisturbed)
    assert len(found) == 3 * FRAMES


# --- the second run -----------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(scans: Path, output: Path) -> None:
    before = written(output)
    result = clean(scans, output)
    assert f"{FRAMES} skipped" in result.out
    assert written(output) == before


def test_what_is_missing_is_done_again(scans: Path, output: Path, undisturbed: Path) -> None:
    (output / "frame-03.tif").unlink()
    (output / "receipts" / "frame-05.tif.json").unlink()
    (output / "frame-05.tif").unlink()
    result = clean(scans, output)
    assert "2 cleaned" in result.out
    assert f"{FRAMES - 2} skipped" in result.out
    assert snapshot(output) == snapshot(undisturbed)


def test_force_does_all_again(scans: Path, output: Path, undisturbed: Path) -> None:
    before = written(output)
    result = clean(scans, output, "--force")
    assert f"{FRAMES} cleaned" in result.out
    assert all(time > before[file] for file, time in written(output).items())
    assert snapshot(output) == snapshot(undisturbed)


def test_a_frame_less_on_a_glass_concerns_only_that_glass(scans: Path, output: Path, tmp_path: Path) -> None:
    roll = tmp_path / "scans"
    shutil.copytree(scans, roll)
    (roll / "frame-08.tif").unlink()
    result = clean(roll, output)
    assert "2 cleaned, 5 skipped" in result.out
    assert receipt(output, "frame-07.tif")["map_frames"] == 2


def test_an_edited_output_is_left_alone(scans: Path, output: Path, undisturbed: Path) -> None:
    edited = output / "frame-02.tif"
    edited.write_bytes(edited.read_bytes() + b"retouched")
    mine = sha256(edited)
    result = clean(scans, output, expect=1)
    assert str(edited) in result.err
    assert "has been changed since it was cleaned" in result.err
    assert "--force" in result.err
    assert f"{FRAMES - 1} skipped, 1 failed" in result.out
    assert sha256(edited) == mine
    clean(scans, output, "--force")
    assert snapshot(output) == snapshot(undisturbed)


def test_a_foreign_picture_in_the_output_is_left_alone(scans: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "clean" / "frame-02.tif"
    foreign.parent.mkdir()
    foreign.write_bytes(b"somebody else's")
    result = clean(scans, tmp_path / "clean", expect=1)
    assert str(foreign) in result.err
    assert "--force" in result.err
    assert f"{FRAMES - 1} cleaned, 1 failed" in result.out
    assert foreign.read_bytes() == b"somebody else's"


# --- broken off ---------------------------------------------------------------------------------------------


def broken_off(scans: Path, output: Path, how: signal.Signals, finished: int) -> Result:
    """Start a run and send it a signal when so many frames have been put into place."""
    process = subprocess.Popen(
        command("clean", scans, "--output", output, "--threads", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever starts the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(output.glob("receipts/frame-*.json"))) < finished and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


def leftovers(output: Path) -> list[str]:
    """Whatever is hidden: scratch folders and unfinished files."""
    return [str(path) for path in output.rglob("*") if path.name.startswith(".")]


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    scans: Path, undisturbed: Path, tmp_path: Path
) -> None:
    originals = snapshot(scans)
    output = tmp_path / "clean"
    for finished in (1, 3, 4, 7):
        assert broken_off(scans, output, signal.SIGKILL, finished).code == -signal.SIGKILL
        for name, digest in snapshot(output).items():  # whatever is in its place is whole
            if name.startswith("frame-"):
                assert digest == sha256(undisturbed / name)
    result = clean(scans, output)
    assert "skipped" in result.out
    assert leftovers(output) == []
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in undisturbed.iterdir())
    assert snapshot(output) == snapshot(undisturbed)
    assert snapshot(scans) == originals


def test_a_run_killed_before_the_first_frame_leaves_nothing_to_the_next(
    scans: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "clean"
    process = subprocess.Popen(command("clean", scans, "--output", output), stdout=subprocess.DEVNULL)
    while not list(output.glob(".dustwatch-*/*.residual")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert leftovers(output)
    clean(scans, output)
    assert snapshot(output) == snapshot(undisturbed)


def test_an_interrupted_run_cleans_up_and_goes_on_later(scans: Path, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    result = broken_off(scans, output, signal.SIGINT, 2)
    assert result.code == 130
    assert result.err == "interrupted; finished frames are kept: run again to go on\n"
    assert leftovers(output) == []
    result = clean(scans, output)
    assert "skipped" in result.out
    assert snapshot(output) == snapshot(undisturbed)


def test_two_runs_at_once_do_not_mix(scans: Path, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    first = subprocess.Popen(
        command("clean", scans, "--output", output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not list(output.glob(".dustwatch-*")):
        assert first.poll() is None
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)  # lest it be quicker than the other starts
    try:
        result = clean(scans, output, expect=2)
    finally:
        first.send_signal(signal.SIGCONT)
    assert "another run is writing in this folder" in result.err
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert snapshot(output) == snapshot(undisturbed)
