"""All kernels compiled before the first frame comes: once for a machine, in a process of its own.

    python -m dustwatch.daemon.warm_up

is that process. What the compiler takes, some 200 MB, would stay with the process that has called it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import tifffile

from ..processing.kernel import CACHE
from ..processing.scenes import landscape
from ..processing.simulate import Roll, RollParams
from .film import load_profile, with_empty_glass
from .pipeline import Job, clean
from .progress import silent

if TYPE_CHECKING:
    from .progress import Progress

_ALL_COMPILED = CACHE / "all-compiled"
"""An empty file, there when all have been."""

_FEW_FRAMES, _MANY_FRAMES = 3, 9
"""Of many frames residuals are rounded and the loudest are left out, which takes further kernels."""


def compile_ahead(progress: Progress) -> None:
    """Compile all kernels and keep them, unless that is done, or there is no place where they could be kept.

    Where it cannot be done, which is told by a RuntimeWarning, they are compiled when they are called.
    """
    if _ALL_COMPILED.exists() or not os.access(CACHE, os.W_OK):
        return
    step = progress("Compiling", 1)
    # -P: what lies in the folder that we were started in is none of ours.
    command = [sys.executable, "-P", "-m", __name__]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        warnings.warn(f"kernels cannot be compiled ahead ({why}), so this takes more memory", RuntimeWarning, 2)
    step()


def warm_up(folder: Path, frames: int = _FEW_FRAMES) -> None:
    """Clean a tiny roll in a folder, so that kernels are there when the first frame comes.

    Raises OSError or ServiceError where that is not possible in this folder.
    """
    profile = with_empty_glass(load_profile("generic-negative"), ())
    roll = Roll(RollParams(frames=frames, height=192, width=288, particles=40, scale=0.6), landscape(0))
    with TemporaryDirectory(dir=folder, prefix="warming-up-") as place:
        scans = Path(place, "scans")
        scans.mkdir()
        for number in range(len(roll)):
            scan, file = roll.frame(number).scan, scans / f"{number}.tif"
            tifffile.imwrite(file, scan, photometric="rgb", metadata=None, compression="lzw", predictor=True)
        clean(Job((scans,), Path(place, "clean"), profile, 1), silent)


if __name__ == "__main__":
    warm_up(CACHE, _MANY_FRAMES)
    _ALL_COMPILED.touch()
