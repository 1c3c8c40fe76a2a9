"""How kernels are compiled: to machine code that releases the GIL, kept on disk between runs where possible."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba: no GIL, never parallel (threads go over bands and tiles), cached on disk.

    Division by zero is as numpy has it: where it had to be looked for, loops would not become vector code.
    Where no cache folder is writable the kernel is compiled afresh in every process, with a RuntimeWarning.
    """
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
