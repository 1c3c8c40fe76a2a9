"""Telling how far the work has come, to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Step: TypeAlias = Callable[[], None]
"""Call it after each step of a stage."""

Progress: TypeAlias = Callable[[str, int], Step]
"""(name of the stage, its number of steps) -> what to call after each step."""


def silent(stage: str, steps: int) -> Step:  # noqa: ARG001
    """Show nothing."""
    return lambda: None
