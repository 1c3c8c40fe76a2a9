"""Dirt of the other sign than the profile says: every frame is left alone, and the right profile named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dustwatch.processing.density import Tone
from dustwatch.processing.simulate import RollParams
from tests.rolls import SMALL, clean, receipt, simulate, write_pictures, write_tiffs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 6
POSITIVE = Tone(encoding="srgb", dirt="brightens")


@pytest.fixture(scope="module")
def positives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What scan software makes of negatives."""
    frames = simulate(RollParams(frames=FRAMES, seed=6, tone=POSITIVE, maximum=255, **SMALL))
    return write_pictures(frames, tmp_path_factory.mktemp("positives"), ".png")


@pytest.fixture(scope="module")
def negatives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    frames = simulate(RollParams(frames=FRAMES, seed=6, **SMALL))
    return write_tiffs(frames, tmp_path_factory.mktemp("negatives"))


@pytest.mark.parametrize(
    ("scans", "wrong", "right"),
    [
        ("positives", "generic-negative", "generic-negative-inverted"),
        ("positives", "generic-slide", "generic-negative-inverted"),
        ("negatives", "generic-negative-inverted", "generic-negative"),
    ],
)
def test_frames_are_left_alone_and_the_profile_to_use_is_named(
    scans: str, wrong: str, right: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    paths: list[Path] = request.getfixturevalue(scans)
    result = clean(paths[0].parent, tmp_path / "clean", "--profile", wrong)
    for path in paths:
        told = receipt(tmp_path / "clean", path.name)
        assert (tmp_path / "clean" / path.name).read_bytes() == path.read_bytes()
        assert told["status"] == "abstained"
        assert "use --profile" in told["reason"]
        assert f"{right} (" in told["reason"]
        assert told["reason"] in result.out
    assert f"{FRAMES} abstained" in result.out


@pytest.mark.parametrize(
    ("scans", "right"), [("positives", "generic-negative-inverted"), ("negatives", "generic-negative")]
)
def test_with_the_right_profile_they_are_cleaned(
    scans: str, right: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    paths: list[Path] = request.getfixturevalue(scans)
    result = clean(paths[0].parent, tmp_path / "clean", "--profile", right)
    assert f"{FRAMES} cleaned, 1 glass" in result.out
