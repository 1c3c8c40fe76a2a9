"""Telling how far the work has come, to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias


class Step(Protocol):
    """Call it after each step of a stage."""

    def __call__(self) -> None:
        """Tell that the next step is done."""

    def within(self, share: float) -> None:
        """Tell how much of the next step is done, 0..1, where that takes long."""


Progress: TypeAlias = Callable[[str, int], Step]
"""(name of the stage, its number of steps) -> what to call after each step."""


class _Silence:
    def __call__(self) -> None:
        pass

    def within(self, share: float) -> None:
        pass


def silent(stage: str, steps: int) -> Step:  # noqa: ARG001
    """Show nothing."""
    return _Silence()
