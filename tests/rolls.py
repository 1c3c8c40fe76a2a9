"""What the end-to-end tests share: simulated rolls as files, and the command run as a user runs it."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips
import tifffile
from PIL import Image

from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams, Scene, SimulatedFrame
from tests import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dustwatch.processing.arrays import Mask, Scan

PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2  # of Linux: prctl(2), capabilities(7)

SMALL: dict[str, Any] = {"height": 480, "width": 720, "scale": 0.6, "particles": 60}
"""Roll parameters for frames that are quick to clean, with dirt large enough to be found in them."""

TINY: dict[str, Any] = {"height": 320, "width": 480, "scale": 0.6, "particles": 40}
"""The same where it does not matter how well they are cleaned."""


STRIP_ROWS = 64
SPECKS = 6
DIRTY_COLUMNS = 600
SPECK = 10 ** -(0.3 * np.exp(-((np.mgrid[-9:10, -9:10] / 3.0) ** 2).sum(axis=0))).astype(np.float32)
CAST = np.array([1.0, 0.75, 0.55], np.float32)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of the command ended, and what it said; `said` is stdout and stderr together."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "dustwatch.daemon", *map(str, arguments)]


def run(*arguments: str | Path, before: Callable[[], None] | None = None) -> Result:
    """Run ``dustwatch`` to its end, in a process of its own that need not load everything first: see `tests.warm`.

    `before` is called in the new process before it becomes dustwatch; then it is begun by `start`.
    """
    if before:
        return start(*arguments, before=before)
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        code = warm.run([*map(str, arguments)], out, err)
        return _result(code, out.read_text(), err.read_text())


def start(*arguments: str | Path, before: Callable[[], None] | None = None, **environment: str) -> Result:
    """Run ``dustwatch`` to its end as a user starts it; `before` as in `run`."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
        env=os.environ | environment,
    )
    return _result(done.returncode, done.stdout, done.stderr)


def _result(code: int, out: str, err: str) -> Result:
    assert "Traceback" not in err, err
    return Result(code, out, err)


def clean(
    scans: Path, output: Path, *options: str | Path, expect: int = 0, before: Callable[[], None] | None = None
) -> Result:
    """Run ``dustwatch clean`` on a folder and check its exit code; `before` as in `run`."""
    result = run("clean", scans, "--output", output, *options, before=before)
    assert result.code == expect, result.said
    return result


def bound_by_permissions() -> None:
    """Root may read and write everything: give that up, for the program that is started next."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "a capability cannot be given up")


# --- scans --------------------------------------------------------------------------------------------------


@cache
def landscapes(seed: int) -> Scene:
    """Landscapes of which the last are kept: to render them is most of what a simulated frame takes."""
    return lru_cache(maxsize=12)(landscape(seed))


def simulate(params: RollParams, scene: Scene | None = None) -> list[SimulatedFrame]:
    """All frames of a roll with their truth; landscapes if no other scenes are given."""
    roll = Roll(params, scene or landscapes(params.seed))
    return [roll.frame(index) for index in range(len(roll))]


def write_tiffs(frames: Sequence[SimulatedFrame], folder: Path, **options: Any) -> list[Path]:
    """Write the scans as TIFF; `options` are tifffile's."""
    return _write(frames, folder, ".tif", lambda path, scan: write_tiff(path, scan, **options))


def write_pictures(frames: Sequence[SimulatedFrame], folder: Path, suffix: str, **options: Any) -> list[Path]:
    """Write the scans of an 8-bit roll with Pillow, as JPEG or PNG; `options` are Pillow's."""
    return _write(frames, folder, suffix, lambda path, scan: Image.fromarray(scan).save(path, **options))


def _write(
    frames: Sequence[SimulatedFrame], folder: Path, suffix: str, write: Callable[[Path, Scan], None]
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"frame-{number:02d}{suffix}" for number in range(1, len(frames) + 1)]
    for path, frame in zip(paths, frames, strict=True):
        write(path, frame.scan)
    return paths


def write_tiff(path: Path, scan: Scan, **options: Any) -> None:
    photometric = "rgb" if scan.ndim == 3 else "minisblack"
    tifffile.imwrite(path, scan, **{"photometric": photometric, "metadata": None} | options)


def write_large_pair(folder: Path, megapixels: float) -> None:
    """Write two uncompressed 16-bit frames of 3:2 strip by strip, in little memory.

    The dirt is all on the left: only there it costs time, and everywhere it would not cost more memory.
    """
    folder.mkdir(parents=True)
    rows = round((megapixels * 1e6 / 1.5) ** 0.5 / STRIP_ROWS) * STRIP_ROWS
    columns = round(rows * 1.5)
    for number in range(2):
        path = folder / f"frame-{number + 1}.tif"
        tifffile.imwrite(path, shape=(rows, columns, 3), dtype=np.uint16, photometric="rgb", metadata=None)
        with tifffile.TiffFile(path) as file:
            start = file.pages[0].dataoffsets[0]
        film, glass = np.random.default_rng((2, number)), np.random.default_rng(1)
        grain = film.normal(0, 250, (STRIP_ROWS, columns, 1)).astype(np.float32)
        down = np.arange(STRIP_ROWS, dtype=np.float32)[:, None, None]
        across = np.linspace(0.8, 1.2 + 0.2 * number, columns, dtype=np.float32)[:, None]
        with path.open("r+b") as raw:
            raw.seek(start)
            for top in range(0, rows, STRIP_ROWS):
                light = 20000 * across * (1 - (number - 0.5) * (top + down) / rows)
                strip = light + np.roll(grain, int(film.integers(columns)), axis=1)
                for _ in range(SPECKS):
                    at, left = glass.integers((STRIP_ROWS - SPECK.shape[0], DIRTY_COLUMNS - SPECK.shape[1]))
                    strip[at : at + SPECK.shape[0], left : left + SPECK.shape[1], 0] *= SPECK ** glass.uniform(0.3, 2)
                raw.write((strip * CAST).astype(np.uint16).tobytes())


def peak_of_clean(megapixels: float, work: Path) -> tuple[int, float]:
    """Peak memory in bytes and wall time in s of ``clean`` on two threads over a large pair, which is cleaned."""
    write_large_pair(work / "scans", megapixels)
    report = work / "report.json"
    started = time.perf_counter()
    result = start("clean", work / "scans", "--output", work / "clean", "--threads", "2", "--json", report)
    seconds = time.perf_counter() - started
    assert "2 cleaned, 1 glass" in result.out
    shutil.rmtree(work / "scans")
    shutil.rmtree(work / "clean")
    return json.loads(report.read_text())["peak_memory_bytes"], seconds


# --- what a run left ----------------------------------------------------------------------------------------


def receipt(output: Path, name: str) -> dict[str, Any]:
    """Read the receipt of the frame `name`."""
    told: dict[str, Any] = json.loads((output / "receipts" / f"{name}.json").read_text())
    return told


def mask(output: Path, name: str) -> Mask:
    """Where the frame `name` was changed, according to its mask; there must be one."""
    picture = pyvips.Image.new_from_file(str(output / "receipts" / f"{name}.mask.png"))
    assert (picture.interpretation, picture.bands) == ("b-w", 1)
    values = picture.numpy()
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, hidden ones included, by its relative path."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
