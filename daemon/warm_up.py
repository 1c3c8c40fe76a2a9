"""Kernels compiled before the first frame comes: once for an installation, in processes of their own.

    python -m dustwatch.daemon.warm_up FOLDER DEPTH

is one of these, which works in FOLDER. What the compiler takes, some 200 MB, would stay with whoever calls it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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

_DONE = CACHE / "compiled-ahead"
"""An empty file, there when that is done."""

_DEPTHS = "uint16", "uint8"
"""Of samples: each has kernels of its own."""

_FRAMES = 3
"""Frames of a roll of which something can be learnt."""


def compile_ahead(progress: Progress) -> None:
    """Compile the kernels and keep them, unless that is done, or the folder for them cannot be written.

    Where it fails, which is told by a RuntimeWarning, they are compiled when they are called.
    """
    if _DONE.exists() or not os.access(CACHE, os.W_OK):
        return
    step = progress("Compiling, once", len(_DEPTHS))
    try:
        for depth in _DEPTHS:
            with _working_in(CACHE) as folder:
                # -P: what lies in the folder that we were started in is none of ours.
                command = [sys.executable, "-P", "-m", __name__, folder, depth]
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)  # noqa: S603
            step()
        _DONE.touch()
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().rpartition("\n")[2] or f"exit code {error.returncode}"
    except OSError as error:
        why = str(error)
    else:
        return
    told = f"kernels cannot be compiled ahead in {CACHE} ({why}); this start takes longer, and more memory"
    warnings.warn(told, RuntimeWarning, stacklevel=2)


def warm_up(folder: Path) -> None:
    """Clean a tiny roll in a folder, so that the kernels are loaded when the first frame comes.

    Raises OSError or ServiceError where that is not possible in this folder.
    """
    with _working_in(folder) as place:
        scans = _simulated(_FRAMES, np.dtype(np.uint16), Path(place, "scans"))
        clean(Job((scans,), Path(place, "clean"), _profile(), 1), silent)


def _compile(place: Path, depth: str) -> None:
    """Do all that calls a kernel, in a folder: with few frames and with many, for which there are other ones."""
    frames = {"uint16": FEW_FRAMES + 1, "uint8": _FRAMES}[depth]
    *known, later = sorted(_simulated(frames + 1, np.dtype(depth), place / "scans").iterdir())
    clean(Job(tuple(known), place / "clean", _profile(), 1, keep_maps=place / "maps"), silent)
    clean(Job((later,), place / "later", _profile(), 1, map=place / "maps"), silent)
    codes = PlaneFile(place / "residual", 64, 64, np.dtype(np.int8))
    codes.create()
    pack(codes, place / "residual.packed", 1)
    PackedCodes(place / "residual.packed", codes.height, codes.width, codes.dtype).read(0, 64, 0, 64)


def _working_in(folder: Path) -> TemporaryDirectory[str]:
    return TemporaryDirectory(dir=folder, prefix="warming-up-")


def _simulated(frames: int, dtype: np.dtype[Any], scans: Path) -> Path:
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
    _compile(Path(sys.argv[1]), sys.argv[2])
    shutil.rmtree(sys.argv[1])  # whoever has begun this may have been killed
