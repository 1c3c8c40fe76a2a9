"""What ``dustwatch clean`` tells of how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dustwatch.daemon.film import load_profile
from dustwatch.daemon.pipeline import Job, clean
from dustwatch.processing.simulate import RollParams
from tests.rolls import SMALL, simulate, write_tiffs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 4


class Told:
    """A stage of the work, and how much of it was done each time that something was told."""

    def __init__(self) -> None:
        self.steps = 0
        self.done = [0.0]
        self._whole = 0

    def __call__(self) -> None:
        self._whole += 1
        self.done.append(self._whole)

    def within(self, share: float) -> None:
        self.done.append(self._whole + share)


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_goes_forward_to_the_end_also_of_what_is_half_done(tmp_path: Path, threads: int) -> None:
    files = write_tiffs(simulate(RollParams(frames=FRAMES, seed=1, **SMALL)), tmp_path / "scans")
    job = Job((tmp_path / "scans",), tmp_path / "clean", load_profile("generic-negative"), threads)
    for _ in range(2):
        stages: dict[str, Told] = {}

        def progress(stage: str, steps: int, stages: dict[str, Told] = stages) -> Told:
            told = stages.setdefault(stage, Told())
            told.steps += steps
            return told

        assert all(outcome.error is None for outcome in clean(job, progress).outcomes)
        for stage, told in stages.items():
            assert told.done == sorted(told.done), stage
            assert told.done[-1] == told.steps, stage
        assert stages["Cleaning"].steps == FRAMES
        (tmp_path / "clean" / files[1].name).unlink()
