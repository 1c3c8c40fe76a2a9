"""All kernels compiled before the first frame comes: once for an installation, in a process of its own.

    python -m dustwatch.daemon.warm_up FOLDER

is that process, which works in FOLDER. What the compiler takes, some 200 MB, would stay with whoever calls it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from ..processing.kernel import CACHE
from ..processing.packed import PackedCodes, pack
from ..processing.planes import PlaneFile
from ..processing.rounding import FEW_FRAMES
from ..processing.scenes import landscape
from ..processing.simulate import Roll, RollParams
from .film import load_profile, with_empty_glass
from .pipeline import Job, clean
from .progress import silent

if TYPE_CHECKING:
    from .film import Profile
    from .progress import Progress

_ALL_COMPILED = CACHE / "all-compiled"
"""An empty file, there when all have been."""

_FRAMES = 3
"""Frames of a roll of which something can be learnt."""


def compile_ahead(progress: Progress) -> None:
    """Compile the kernels and keep them, unless that is done, or the folder for them cannot be written.

    Where it fails, which is told by a RuntimeWarning, they are compiled when they are called.
    """
    if _ALL_COMPILED.exists() or not os.access(CACHE, os.W_OK):
        return
    step = progress("Compiling", 1)
    try:
        with _working_in(CACHE) as folder:
            # -P: what lies in the folder that we were started in is none of ours.
            command = [sys.executable, "-P", "-m", __name__, str(folder)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
        told = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
    except OSError as error:
        told = str(error)
    if not _ALL_COMPILED.exists():
        why = f"kernels cannot be compiled ahead ({told}); this start takes longer, and more memory"
        warnings.warn(why, RuntimeWarning, stacklevel=2)
    step()


def warm_up(folder: Path) -> None:
    """Clean a tiny roll in a folder, so that the kernels are loaded when the first frame comes.

    Raises OSError or ServiceError where that is not possible in this folder.
    """
    with _working_in(folder) as place:
        scans = _simulated(_FRAMES, np.dtype(np.uint16), Path(place, "scans"))
        clean(Job((scans,), Path(place, "clean"), _profile(), 1), silent)


def _compile(place: Path) -> None:
    """Do all that calls a kernel, in a folder: with few frames and with many, for which there are other ones."""
    for frames, dtype in ((FEW_FRAMES + 1, np.dtype(np.uint16)), (_FRAMES, np.dtype(np.uint8))):
        here = place / str(dtype)
        *known, later = sorted(_simulated(frames + 1, dtype, here / "scans").iterdir())
        clean(Job(tuple(known), here / "clean", _profile(), 1, keep_maps=here / "maps"), silent)
        clean(Job((later,), here / "later", _profile(), 1, map=here / "maps"), silent)
    codes = PlaneFile(place / "residual", 64, 64, np.dtype(np.int8))
    codes.create()
    pack(codes, place / "residual.packed", 1)
    PackedCodes(place / "residual.packed", codes.height, codes.width, codes.dtype).read(0, 64, 0, 64)
    _ALL_COMPILED.touch()


def _working_in(folder: Path) -> TemporaryDirectory[str]:
    return TemporaryDirectory(dir=folder, prefix="warming-up-")


def _simulated(frames: int, dtype: np.dtype[np.uint8] | np.dtype[np.uint16], scans: Path) -> Path:
    """Scan a tiny roll into a new folder."""
    roll = Roll(RollParams(frames=frames, height=192, width=288, particles=40, scale=0.6), landscape(0))
    scans.mkdir(parents=True)
    for number in range(len(roll)):
        scan = (roll.frame(number).scan >> (16 - 8 * dtype.itemsize)).astype(dtype)
        file = scans / f"{number}.tif"
        tifffile.imwrite(file, scan, photometric="rgb", metadata=None, compression="lzw", predictor=True)
    return scans


def _profile() -> Profile:
    return with_empty_glass(load_profile("generic-negative"), ())


if __name__ == "__main__":
    _compile(Path(sys.argv[1]))
