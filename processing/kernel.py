"""How kernels are compiled: to machine code that releases the GIL, kept on disk between runs where possible."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numba
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

_settings: Any = numba.config


def _cache_folder() -> Path:
    """Where kernels are kept that just this code has in just this place, by just this Python, numba and processor.

    numba looks whether a kernel's own file has changed, not whether those have that its constants and the kernels that
    it calls come from: after an upgrade it would go on with the old ones.
    """
    here = Path(__file__).parent
    processor = f"{get_host_cpu_name()} {get_host_cpu_features().flatten()}"
    code = hashlib.sha256(f"{here} {sys.version} {numba.__version__} {processor}".encode(errors="surrogateescape"))
    for file in sorted(here.glob("*.py")):
        code.update(file.read_bytes())
    beside = here / "__pycache__"
    # Not every user has a home; Path.expanduser would raise.
    users = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dustwatch")  # noqa: PTH111
    own = users if users.is_absolute() and not os.access(here, os.W_OK) else beside
    return Path(_settings.CACHE_DIR or own, f"kernels-{code.hexdigest()[:16]}")


CACHE = _cache_folder()
"""The folder of compiled kernels; where it cannot be written, numba may find another one."""


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba: no GIL, never parallel (threads go over bands and tiles), cached on disk.

    Division by zero is as numpy has it: where it had to be looked for, loops would not become vector code.
    Where no cache folder is writable the kernel is compiled afresh in every process, with a RuntimeWarning.
    """
    asked, _settings.CACHE_DIR = _settings.CACHE_DIR, str(CACHE)
    try:
        return cast("Callable[P, R]", numba.njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:
        warnings.warn(
            "no writable folder for compiled kernels, so each start takes some seconds longer; "
            "set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return cast("Callable[P, R]", numba.njit(nogil=True, error_model="numpy")(function))
    finally:
        _settings.CACHE_DIR = asked
