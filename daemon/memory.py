"""One heap for all threads, so that memory which one of them frees is there for the others, and for the system."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""M_MMAP_THRESHOLD and M_ARENA_MAX of malloc.h."""

_APART_BYTES = 8 << 20
"""From how many bytes what is allocated lies outside the heap, and goes back to the system as soon as it is freed."""


def set_up_heap() -> None:
    """Have threads that start from now on share one heap, where the C library can be told so.

    glibc gives each thread its own and leaves there what is freed: at every step of the work another thread's heap
    grows to the step's size, which is 100 MB in all that nobody uses. Our arrays are few and large, so threads hardly
    ever wait for each other. It also comes to keep what is as large as whole bands there, which leaves holes between.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_THRESHOLD, _APART_BYTES)


def give_back() -> None:
    """Give free memory back to the system, where the C library can be told so.

    What one step has left in pieces between what is still in use is of no use to the next one, which needs large ones.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
