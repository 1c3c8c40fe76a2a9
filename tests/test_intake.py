"""What is kept of frames between looking at them and learning from them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from dustwatch.daemon.film import load_profile
from dustwatch.daemon.frame import Arrival
from dustwatch.daemon.intake import observe_all, recall
from dustwatch.daemon.output import Output
from dustwatch.daemon.progress import silent
from dustwatch.daemon.workplace import Workplace
from dustwatch.processing.learn import MOST_FRAMES

SHAPE = (100, 150)
COUNT = MOST_FRAMES + 3


@pytest.mark.parametrize(("ending", "kept"), [("tif", COUNT), ("jpg", MOST_FRAMES)])
def test_residuals_take_no_more_room_than_the_files_unless_they_are_few(tmp_path: Path, ending: str, kept: int) -> None:
    level = np.full((*SHAPE, 3), 128, np.uint8)  # far smaller as a JPEG than a byte a pixel
    known = {}
    for number in range(COUNT):
        file = tmp_path / f"{number}.{ending}"
        Image.fromarray(level).save(file)
        known[Arrival(file, PurePosixPath(file.name))] = f"{number}"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    workplace = Workplace(load_profile("generic-negative"), Output(tmp_path / "clean"), scratch, 1, silent)
    frames, broken = observe_all(known, workplace)
    assert not broken
    assert [frame.observation.codes.path.exists() for frame in frames] == [True] * kept + [False] * (COUNT - kept)
    before = frames[0].observation.codes.path.read_bytes()
    assert not recall(frames, workplace)
    assert all(frame.observation.codes.path.read_bytes() == before for frame in frames)
