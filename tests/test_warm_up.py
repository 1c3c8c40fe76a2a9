"""Kernels are compiled ahead of the first run, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dustwatch.daemon import warm_up
from dustwatch.daemon.progress import silent
from dustwatch.processing.simulate import RollParams
from tests.rolls import TINY, command, simulate, start, write_tiffs


def peak(scans: Path, kernels: Path, *options: str) -> int:
    """Bytes that `clean` takes at most, with kernels kept in a folder."""
    report = kernels.with_suffix(".json")
    words = ("clean", scans, "--output", kernels.with_suffix(".clean"), "--json", report, *options)
    done = start(*words, NUMBA_CACHE_DIR=str(kernels))
    assert (done.code, done.err) == (0, "")
    return int(json.loads(report.read_text())["peak_memory_bytes"])


def test_the_first_run_takes_hardly_more_memory_than_the_next(tmp_path: Path) -> None:
    write_tiffs(simulate(RollParams(frames=3, seed=3, **TINY)), tmp_path / "scans")
    first = peak(tmp_path / "scans", tmp_path / "kernels")
    assert first < 1.1 * peak(tmp_path / "scans", tmp_path / "kernels", "--force")  # 1.8 times where that compiles
    assert not list((tmp_path / "kernels").glob("*/warming-up-*"))


def test_who_is_told_to_end_while_kernels_are_compiled_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    service = subprocess.Popen(
        command("watch", tmp_path / "scans", tmp_path / "clean", "--state", tmp_path / "state"),
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        latest = time.monotonic() + 60
        while not any(tmp_path.glob("kernels/*/warming-up-*/*")) and time.monotonic() < latest:
            time.sleep(0.05)
        service.send_signal(signal.SIGTERM)
        _, err = service.communicate(timeout=30)
        assert service.returncode == 0
        assert "kernels are compiled first" in err
        with pytest.raises(ProcessLookupError):
            os.killpg(service.pid, 0)
    finally:
        service.kill()
        service.wait()
    assert not any(tmp_path.glob("kernels/*/warming-up-*"))


def test_who_cannot_compile_ahead_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "_DONE", tmp_path / "compiled-ahead")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.warns(RuntimeWarning, match=r"cannot be compiled ahead in .*\(exit code 1\)"):
        warm_up.compile_ahead(silent)
