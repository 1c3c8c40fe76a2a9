"""What stays from frame to frame is not always dirt: on clean glass nothing is changed, and it is said why.

Every frame must come out byte for byte as it went in, whatever the film shows.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from dustwatch.processing.scenes import BUSY, busy, landscape
from dustwatch.processing.simulate import RollParams
from tests.rolls import SMALL, clean, receipt, simulate, write_tiff, write_tiffs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dustwatch.processing.simulate import Fixture, Scene

FILM = Path(__file__).parents[2] / "shared" / "data" / "film"
"""Scans of real film, unrelated to each other, where somebody has put them."""

CLEAN_GLASS = RollParams(height=400, width=600, particles=0, seed=3)
KINDS = list(BUSY)


@pytest.fixture(scope="module")
def busy_scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """25 scans over clean glass: foliage, grass, roofs, text and stars in turn."""
    return scans(tmp_path_factory.mktemp("busy"), replace(CLEAN_GLASS, frames=25), busy(3))


def scans(folder: Path, params: RollParams, scene: Scene) -> list[Path]:
    return write_tiffs(simulate(params, scene), folder / "scans")


def assert_left_alone(originals: Sequence[Path], work: Path, *options: str) -> None:
    """Clean these scans as a roll: all come out as they are, and the receipts and the terminal say why."""
    roll, output = work / "roll", work / "clean"
    roll.mkdir()
    for original in originals:
        os.link(original, roll / original.name)
    result = clean(roll, output, *options)
    for original in originals:
        told = receipt(output, original.name)
        assert (output / original.name).read_bytes() == original.read_bytes(), told
        assert told["status"] in {"unchanged", "abstained"}
        assert told["changed_px"] == 0
        assert told["defects"] == []
        assert told["reason"] in result.out
        assert "dirt" in told["reason"]
        assert not (output / "receipts" / f"{original.name}.mask.png").exists()


@pytest.mark.parametrize("frames", [2, 3, 4, 8, 24])
def test_busy_frames(busy_scans: list[Path], frames: int, tmp_path: Path) -> None:
    assert_left_alone(busy_scans[:frames], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_busy_frames_of_one_kind(busy_scans: list[Path], kind: str, tmp_path: Path) -> None:
    assert_left_alone(busy_scans[KINDS.index(kind) :: len(KINDS)], tmp_path)


@pytest.mark.parametrize(
    ("frames", "fixtures"), [(5, ("holder edge",)), (5, ("rebate text",)), (2, ("holder edge", "rebate text"))]
)
def test_what_is_in_the_picture_each_time(frames: int, fixtures: tuple[Fixture, ...], tmp_path: Path) -> None:
    assert_left_alone(scans(tmp_path, replace(CLEAN_GLASS, frames=frames, fixtures=fixtures), busy(4)), tmp_path)


@pytest.mark.parametrize("scene", [busy(5), landscape(5)], ids=["busy", "landscape"])
def test_every_scene_taken_twice(scene: Scene, tmp_path: Path) -> None:
    assert_left_alone(scans(tmp_path, replace(CLEAN_GLASS, frames=6, scene_repeats=2), scene), tmp_path)


@pytest.mark.parametrize(
    "scene", [BUSY["foliage"](6), BUSY["stars"](6), landscape(6)], ids=["foliage", "stars", "land"]
)
def test_tripod_series(scene: Scene, tmp_path: Path) -> None:
    assert_left_alone(scans(tmp_path, replace(CLEAN_GLASS, frames=4, scene_repeats=4), scene), tmp_path)


@pytest.mark.skipif(not FILM.is_dir(), reason="no scans of real film beside the repository")
@pytest.mark.parametrize("profile", ["generic-negative-inverted", "generic-slide"])
def test_unrelated_scans_of_real_film(profile: str, tmp_path: Path) -> None:
    """Quarters of each, so that there are many of one size, and some of another."""
    quarters = tmp_path / "quarters"
    quarters.mkdir()
    for file in sorted(FILM.glob("*.jpg")):
        picture = np.asarray(Image.open(file))
        rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
        for number in range(4):
            top, left = number // 2 * rows, number % 2 * columns
            write_tiff(quarters / f"{file.stem} {number}.tif", picture[top : top + rows, left : left + columns])
    assert_left_alone(sorted(quarters.iterdir()), tmp_path, "--profile", profile)


def test_holder_and_rebate_are_left_alone_also_on_dirty_glass(tmp_path: Path) -> None:
    params = RollParams(frames=8, fixtures=("holder edge", "rebate text"), seed=5, **SMALL)
    paths = scans(tmp_path, params, landscape(5))
    clean(tmp_path / "scans", tmp_path / "clean")
    for path in paths:
        told = receipt(tmp_path / "clean", path.name)
        changed = (tifffile.imread(path) != tifffile.imread(tmp_path / "clean" / path.name)).any(axis=2)
        assert told["status"] == "cleaned"
        assert not changed[:90].any()
        assert not changed[-45:].any()
