"""How much of clean glass is taken for dirt: what the profile's comments say of it is what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from dustwatch.daemon.film import load_profile
from dustwatch.processing.learn import LearnParams
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from dustwatch.processing.strips import tiles
from tests.bench.false_alarms import (
    HEADS,
    Alarms,
    Seen,
    alarms,
    at_most,
    groups,
    observed,
    smooth,
    spots,
    table,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dustwatch.processing.simulate import Scene

PROFILE = load_profile("generic-negative")
PARAMS = LearnParams(PROFILE.residual, PROFILE.evidence, PROFILE.lives)
CLEAN = RollParams(frames=8, height=400, width=600, particles=0, seed=1)
FILMS: dict[str, Scene] = {"smooth": smooth(1), "landscapes": landscape(1)}
SIZES = (2, 4, 8)
SUSPECTED, ACCEPTED = 5.0, 1.0
"""A megapixel, at most; in the comments of the profile's section evidence."""


def learnt(frames: Sequence[Seen], size: int, params: LearnParams = PARAMS) -> Alarms:
    """What is taken for dirt if every `size` of the frames are learnt from."""
    return total([alarms(group, params, 2) for group in groups(frames, size)])


@pytest.fixture(scope="module")
def rolls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Seen]]:
    return {film: observed(Roll(CLEAN, scene), tmp_path_factory.mktemp("roll"), 2) for film, scene in FILMS.items()}


@pytest.fixture(scope="module")
def found(rolls: Mapping[str, Sequence[Seen]]) -> dict[str, list[Alarms]]:
    return {film: [learnt(frames, size) for size in SIZES] for film, frames in rolls.items()}


def keeps_its_word(alarm: Alarms) -> bool:
    return alarm.by_all + alarm.by_runs < SUSPECTED * alarm.megapixels and alarm.accepted < ACCEPTED * alarm.megapixels


@pytest.mark.parametrize("film", FILMS)
def test_clean_glass_is_taken_for_dirt_no_more_often_than_the_profile_says(
    found: dict[str, list[Alarms]], film: str
) -> None:
    whole = total(found[film])
    assert whole.megapixels > 1
    assert keeps_its_word(whole)


def test_lower_thresholds_would_break_that_word(rolls: dict[str, list[Seen]]) -> None:
    asked = PARAMS.evidence
    low = replace(
        asked, seed=0.6 * asked.seed, grow=0.6 * asked.grow, without_loudest=0.6 * asked.without_loudest, run_surplus=0
    )
    assert not keeps_its_word(learnt(rolls["landscapes"], 4, replace(PARAMS, evidence=low)))


@pytest.mark.parametrize(("film", "least", "most"), [("smooth", 0.30, 0.37), ("landscapes", 0.45, 0.67)])
def test_the_significance_of_clean_glass_deviates_as_the_profile_says(
    found: dict[str, list[Alarms]], film: str, least: float, most: float
) -> None:
    for alarm in found[film]:
        assert least < alarm.whole.deviation < most
        assert alarm.without_loudest.deviation < alarm.whole.deviation


def test_a_spot_is_counted_by_one_tile() -> None:
    rng = np.random.default_rng(3)
    mask = ndimage.binary_dilation(rng.random((300, 200)) < 0.002, iterations=2)
    cut = tiles(300, 200, size=64, halo=40)
    seen = [mask[tile.rows.low : tile.rows.high, tile.columns.low : tile.columns.high] for tile in cut]
    counted = sum(spots(one, tile) for one, tile in zip(seen, cut, strict=True))
    assert counted == ndimage.label(mask, np.ones((3, 3)))[1]
    assert counted > 50


def test_nothing_found_is_not_never() -> None:
    assert at_most(0, 2.0) == pytest.approx(-np.log(0.05) / 2)
    assert at_most(5, 2.0) > 5 / 2


def test_the_table_has_a_line_for_each_film_and_number_of_frames() -> None:
    base = replace(CLEAN, frames=4, height=160, width=200)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(FILMS, (2, 4), base, 2)]
    assert lines[0] == list(HEADS)
    assert all(len(line) == len(HEADS) for line in lines)
    assert [line[:2] for line in lines[3:]] == [[film, size] for film in FILMS for size in ("2", "4")]
