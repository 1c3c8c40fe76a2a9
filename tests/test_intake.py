"""What is kept of frames between looking at them and learning from them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from dustwatch.daemon.errors import FrameError
from dustwatch.daemon.film import load_profile
from dustwatch.daemon.frame import Arrival, Content, Stamp
from dustwatch.daemon.intake import observe_all, observe_frame, read_content, recall
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
        known[Arrival(file, PurePosixPath(file.name))] = Content(f"{number}", Stamp.of(file.stat()))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    workplace = Workplace(load_profile("generic-negative"), Output(tmp_path / "clean"), scratch, 1, silent)
    frames, broken = observe_all(known, workplace)
    assert not broken
    assert [frame.observation.codes.path.exists() for frame in frames] == [True] * kept + [False] * (COUNT - kept)
    before = frames[0].observation.codes.path.read_bytes()
    assert not recall(frames, workplace)
    assert all(frame.observation.codes.path.read_bytes() == before for frame in frames)


def test_a_file_that_was_replaced_after_its_digest_was_taken_is_not_observed(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    Image.fromarray(np.full(SHAPE, 128, np.uint8)).save(file)
    arrival = Arrival(file, PurePosixPath(file.name))
    content = read_content(arrival)
    newer = tmp_path / "newer.tif"
    Image.fromarray(np.full(SHAPE, 99, np.uint8)).save(newer)
    newer.replace(file)
    workplace = Workplace(load_profile("generic-negative"), Output(tmp_path / "clean"), tmp_path, 1, silent)
    with pytest.raises(FrameError, match="was changed while it was worked on"):
        observe_frame(arrival, content, tmp_path / "codes", workplace)
    assert not (tmp_path / "codes").exists()
