"""Where several frames agree, and what is suspected there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing import evidence as module
from dustwatch.processing.evidence import Evidence, EvidenceParams, gather, hear, runs, suspects
from tests import naive

PARAMS = EvidenceParams()
MARGIN_PX = 3

seeds = st.integers(0, 2**32 - 1)


def one_spot(frames: int, shows_in: int, height: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals, textures and knowledge of frames with noise of .02 D, some with a spot in the middle."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:60, :60]
    spot = height * np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / (2 * 3.0**2))
    residuals = rng.normal(0, 0.02, (frames, 60, 60))
    residuals[:shows_in] += spot
    shape = residuals.shape
    return residuals.astype(np.float32), np.full(shape, 0.02, np.float32), np.ones(shape, np.bool_)


@settings(deadline=None, max_examples=40)
@given(frames=st.integers(1, 6), shape=st.tuples(st.integers(1, 4), st.integers(1, 4)), seed=seeds)
def test_sums_are_those_of_the_slow_twin(frames: int, shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    residuals = rng.normal(0, 0.1, (frames, *shape)).astype(np.float32)
    textures = rng.uniform(0.01, 0.1, residuals.shape).astype(np.float32)
    known = rng.random(residuals.shape) < 0.7
    scenes = rng.integers(0, 3, frames)
    found = [np.empty(shape, np.float32) for _ in range(3)]
    bare = set(rng.integers(0, 3, rng.integers(0, 3)).tolist())
    voices = hear(residuals, textures, known, scenes, np.isin(scenes, list(bare)))
    module._gather(voices.says, voices.weights, voices.bare, *found)
    for fast, slow in zip(found, naive.gather(residuals, textures, known, scenes, bare), strict=True):
        np.testing.assert_allclose(fast, slow, atol=2e-3, rtol=2e-4)


def test_a_smooth_frame_speaks_louder() -> None:
    residuals = np.stack([np.full((9, 9), value, np.float32) for value in (0.01, 0.03)])
    textures = np.stack([np.full((9, 9), value, np.float32) for value in (0.01, 0.1)])
    found = gather(hear(residuals, textures, np.ones(residuals.shape, np.bool_), np.arange(2)))
    np.testing.assert_allclose(found.density, (0.01 * 1e4 + 0.03 * 1e2) / 1.01e4, rtol=1e-5)


def test_frames_of_one_scene_have_one_voice() -> None:
    residuals, textures, known = one_spot(4, 4)
    residuals[1:3] = residuals[0]
    together = gather(hear(residuals, textures, known, np.array([0, 0, 0, 1])))
    once = gather(hear(residuals[[0, 3]], textures[:2], known[:2], np.array([0, 1])))
    for name in ("significance", "without_loudest", "density"):
        np.testing.assert_allclose(getattr(together, name), getattr(once, name), atol=1e-5)


def test_a_frame_without_film_is_never_left_out_as_the_loudest() -> None:
    residuals, textures, known = one_spot(2, 1)
    scenes, margin = np.arange(2), MARGIN_PX
    assert not suspects(gather(hear(residuals, textures, known, scenes)), PARAMS, margin).any()
    assert suspects(gather(hear(residuals, textures, known, scenes, np.array([True, False]))), PARAMS, margin)[30, 30]
    assert not suspects(gather(hear(residuals, textures, known, scenes, np.array([False, True]))), PARAMS, margin).any()


def test_what_nobody_knows_is_nothing() -> None:
    residuals, textures, known = one_spot(3, 3)
    known[:, :, :20] = False
    residuals[:, :, :20] = np.nan
    found = gather(hear(residuals, textures, known, np.arange(3)))
    assert not found.density[:, :20].any()
    assert np.isfinite(found.significance).all()


def test_dirt_that_all_frames_show_is_suspected_with_its_rim() -> None:
    mask = suspects(gather(hear(*one_spot(8, 8), np.arange(8))), PARAMS, MARGIN_PX)
    assert ndimage.label(mask)[1] == 1
    assert mask[30, 30]
    assert 60 < mask.sum() < 600


@settings(deadline=None, max_examples=20)
@given(loud=st.floats(0.05, 5))
def test_one_frame_alone_is_never_enough(loud: float) -> None:
    """A leaf may be as dark as it will: the others do not show it."""
    residuals, textures, known = one_spot(8, 1, height=loud)
    assert not suspects(gather(hear(residuals, textures, known, np.arange(8))), PARAMS, MARGIN_PX)[25:36, 25:36].any()


def test_one_scene_alone_is_never_enough() -> None:
    residuals, textures, known = one_spot(8, 4, height=1)
    scenes = np.array([0, 0, 0, 0, 1, 2, 3, 4])
    assert not suspects(gather(hear(residuals, textures, known, scenes)), PARAMS, MARGIN_PX)[25:36, 25:36].any()


def test_clean_glass_is_hardly_ever_suspected() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.02, (8, 300, 300)).astype(np.float32)
    found = suspects(
        gather(hear(noise, np.full(noise.shape, 0.02, np.float32), noise < 9, np.arange(8))), PARAMS, MARGIN_PX
    )
    assert found.mean() < 0.01


def planes(significance: np.ndarray) -> Evidence:
    plane = significance.astype(np.float32)
    return Evidence(plane, plane, plane)


def test_spots_need_a_seed_and_an_area_and_have_no_holes() -> None:
    significance = np.zeros((40, 40))
    significance[5:12, 5:12] = PARAMS.grow + 0.1  # no seed
    significance[20:29, 5:14] = PARAMS.grow + 0.1
    significance[20, 5] = PARAMS.seed + 0.1
    significance[23:26, 8:11] = 0  # a hole
    significance[30, 30] = PARAMS.seed + 9  # too small
    expected = np.zeros((40, 40), np.bool_)
    expected[20:29, 5:14] = True
    np.testing.assert_array_equal(suspects(planes(significance), PARAMS, 0), expected)
    wide = suspects(planes(significance), PARAMS, 2)
    np.testing.assert_array_equal(wide, ndimage.binary_dilation(expected, iterations=2))


def test_no_evidence_no_suspects() -> None:
    assert not suspects(planes(np.zeros((5, 5))), PARAMS, MARGIN_PX).any()


@given(scenes=st.integers(2, 40))
def test_every_few_scenes_in_a_row_have_a_run_that_is_mostly_theirs(scenes: int) -> None:
    asked = runs(scenes)
    assert asked[0] == (0, scenes)
    assert len(set(asked)) == len(asked)
    assert all(0 <= first < stop <= scenes and stop - first >= 2 for first, stop in asked)
    for first in range(scenes):
        for stop in range(first + 2, scenes + 1):
            inside = max((b - a for a, b in asked if first <= a and b <= stop), default=0)
            assert inside >= 2
            assert inside >= (stop - first) / 4


def test_a_run_must_be_surer_than_all_frames_together() -> None:
    stricter = PARAMS.of_a_run
    for name in ("seed", "grow", "without_loudest"):
        assert getattr(stricter, name) == pytest.approx(getattr(PARAMS, name) + PARAMS.run_surplus)
    assert stricter.min_area_px == PARAMS.min_area_px
