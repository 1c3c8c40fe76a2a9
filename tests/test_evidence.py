"""Where several frames agree, and what is suspected there."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing.evidence import Evidence, EvidenceParams, Voices, gather, hear, runs, suspects
from dustwatch.processing.register import BEFORE_PX, Laid
from dustwatch.processing.register import MARGIN_PX as SEEN_AROUND_PX
from dustwatch.processing.residual import EXACTLY, UNKNOWN, ResidualParams, decode, encode
from dustwatch.processing.texture import SQUARE_PX, Moduli
from tests import naive

PARAMS, RESIDUAL = EvidenceParams(), ResidualParams()
SIZE, MIDDLE = 80, 40
MARGIN_PX = 3

seeds = st.integers(0, 2**32 - 1)


def one_spot(frames: int, shows_in: int, height: float = 0.1) -> list[Laid]:
    """Frames with noise of .02 D, some of which show a spot in the middle."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIZE, :SIZE] - MIDDLE
    spot = height * np.exp(-(y**2 + x**2) / (2 * 3.0**2))
    shown = rng.normal(0, 0.02, (frames, SIZE, SIZE))
    shown[:shows_in] += spot
    return [frame(one) for one in shown]


def frame(residual: np.ndarray) -> Laid:
    """One whose window is the picture itself; nothing is known around."""
    plane = residual.astype(np.float32)
    codes = encode(plane, np.full(plane.shape, EXACTLY), np.zeros_like(plane))
    before, after = BEFORE_PX, SEEN_AROUND_PX - BEFORE_PX
    return Laid(np.pad(codes, (before, after), constant_values=UNKNOWN), np.zeros((len(plane), 2)))


def heard(frames: Sequence[Laid], scenes: Sequence[int] | None = None, bare: Sequence[bool] | None = None) -> Voices:
    scenes = np.arange(len(frames)) if scenes is None else np.array(scenes)
    bare = np.zeros(len(frames), np.bool_) if bare is None else np.array(bare)
    return hear(frames, [Moduli.of(one.codes) for one in frames], RESIDUAL, scenes, bare)


def suspected(voices: Voices) -> np.ndarray:
    return suspects(gather(voices), PARAMS, MARGIN_PX).wide


@settings(max_examples=40)
@given(scenes=st.integers(1, 5), shape=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=seeds)
def test_sums_are_those_of_the_slow_twin(scenes: int, shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = tuple(-(-length // SQUARE_PX) for length in shape)
    weights = (rng.uniform(1, 100, (scenes, *squares)) * (rng.random((scenes, *squares)) < 0.8)).astype(np.float32)
    wide = np.kron(weights, np.ones((1, SQUARE_PX, SQUARE_PX), np.float32))[:, : shape[0], : shape[1]]
    says = (wide * rng.normal(0, 0.1, (scenes, *shape))).astype(np.float32)
    bare = rng.random(scenes) < 0.3
    said = np.cumsum(np.concatenate([rng.normal(0, 0.1, (1, *shape)), says]), axis=0).astype(np.float32)
    found, everywhere = gather(Voices(said, weights, bare)), np.ones(shape, np.bool_)
    significance, without_loudest = naive.gather(says, wide, bare)
    np.testing.assert_allclose(found.significance, significance, atol=2e-3, rtol=2e-4)
    np.testing.assert_allclose(found.without_loudest(everywhere), without_loudest.ravel(), atol=2e-3, rtol=2e-4)
    density = found.density(everywhere).reshape(shape)
    expected = says.sum(axis=0) / np.maximum(wide.sum(axis=0), 1e-9)
    np.testing.assert_allclose(density, expected, atol=1e-5, rtol=1e-4)


def test_scenes_say_what_stands_out_by_how_busy_their_film_is() -> None:
    one = frame(np.random.default_rng(2).normal(0, 0.05, (70, 60)))
    voices = heard([one])
    texture = Moduli.of(one.codes).texture(RESIDUAL).squares
    residual, known = decode(one.codes)
    inner = np.s_[20:50, 20:40]
    assert known[20:50, 20:40].all()
    np.testing.assert_allclose(voices.weights[0, 2:3, 2:3], 1 / texture[2:3, 2:3] ** 2, rtol=1e-5)
    clipped = np.clip(residual, -3 * texture.max(), 3 * texture.max())
    expected = ndimage.gaussian_filter(clipped, 1.0, truncate=3)[BEFORE_PX:-4, BEFORE_PX:-4]
    wide = np.kron(voices.weights[0], np.ones((SQUARE_PX, SQUARE_PX)))[:70, :60]
    np.testing.assert_allclose((voices.said[1] / wide)[inner], expected[inner], atol=2e-3)


def test_a_smooth_frame_speaks_louder() -> None:
    calm, busy = (frame(np.random.default_rng(k).normal(0, spread, (64, 64))) for k, spread in enumerate((0.01, 0.1)))
    weights = heard([calm, busy]).weights
    assert (weights[0] > 30 * weights[1]).all()


def test_frames_of_one_scene_have_one_voice() -> None:
    frames = one_spot(2, 2)
    together, once = heard([frames[0]] * 3 + frames[1:], [0, 0, 0, 1]), heard(frames)
    np.testing.assert_allclose(together.said, once.said, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(together.weights, once.weights, rtol=1e-5)


def test_a_frame_without_film_is_never_left_out_as_the_loudest() -> None:
    frames = one_spot(2, 1, height=0.3)
    assert not suspected(heard(frames)).any()
    assert suspected(heard(frames, bare=[True, False]))[MIDDLE, MIDDLE]
    assert not suspected(heard(frames, bare=[False, True])).any()


def test_what_nobody_knows_is_nothing() -> None:
    frames = one_spot(3, 3)
    for one in frames:
        one.codes[:, :40] = UNKNOWN
    found = gather(heard(frames))
    assert not found.significance[:, :30].any()
    assert np.isfinite(found.significance).all()


def test_dirt_that_all_frames_show_is_suspected_with_its_rim() -> None:
    mask = suspected(heard(one_spot(8, 8)))
    assert ndimage.label(mask)[1] == 1
    assert mask[MIDDLE, MIDDLE]
    assert 60 < mask.sum() < 600


@settings(max_examples=20)
@given(loud=st.floats(0.05, 5))
def test_one_frame_alone_is_never_enough(loud: float) -> None:
    """A leaf may be as dark as it will: the others do not show it."""
    around = slice(MIDDLE - 5, MIDDLE + 6)
    assert not suspected(heard(one_spot(8, 1, height=loud)))[around, around].any()


def test_one_scene_alone_is_never_enough() -> None:
    around = slice(MIDDLE - 5, MIDDLE + 6)
    assert not suspected(heard(one_spot(8, 4, height=1), [0, 0, 0, 0, 1, 2, 3, 4]))[around, around].any()


def test_clean_glass_is_hardly_ever_suspected() -> None:
    rng = np.random.default_rng(3)
    assert suspected(heard([frame(one) for one in rng.normal(0, 0.02, (8, 300, 300))])).mean() < 0.01


def planes(significance: np.ndarray) -> Evidence:
    """What three scenes say that agree."""
    squares = tuple(-(-length // SQUARE_PX) for length in significance.shape)
    said = (np.arange(4)[:, None, None] * significance / np.sqrt(3)).astype(np.float32)
    return gather(Voices(said, np.ones((3, *squares), np.float32), np.zeros(3, np.bool_)))


def test_spots_need_a_seed_and_an_area_and_have_no_holes() -> None:
    significance = np.zeros((40, 40))
    significance[5:12, 5:12] = PARAMS.grow + 0.1  # no seed
    significance[20:29, 5:14] = PARAMS.grow + 0.1
    significance[20, 5] = PARAMS.seed + 0.1
    significance[23:26, 8:11] = 0  # a hole
    significance[30, 30] = PARAMS.seed + 9  # too small
    expected = np.zeros((40, 40), np.bool_)
    expected[20:29, 5:14] = True
    np.testing.assert_array_equal(suspects(planes(significance), PARAMS, 0).wide, expected)
    found = suspects(planes(significance), PARAMS, 2)
    np.testing.assert_array_equal(found.spots, expected)
    np.testing.assert_array_equal(found.wide, ndimage.binary_dilation(expected, iterations=2))


@settings(max_examples=40)
@given(scenes=st.integers(1, 4), shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=seeds)
def test_spots_are_those_of_the_slow_twin(scenes: int, shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = tuple(-(-length // SQUARE_PX) for length in shape)
    says = ndimage.gaussian_filter(rng.normal(0, 8, (scenes, *shape)), (0, 1, 1)).astype(np.float32)
    said = np.concatenate([np.zeros((1, *shape), np.float32), np.cumsum(says, axis=0)])
    evidence = gather(Voices(said, np.ones((scenes, *squares), np.float32), rng.random(scenes) < 0.5))
    rest = evidence.without_loudest(np.ones(shape, np.bool_)).reshape(shape)
    known = ndimage.gaussian_filter(rng.random(shape), 3) > 0.45
    limits = (PARAMS.seed, PARAMS.grow, PARAMS.without_loudest)
    expected = naive.spots(evidence.significance, rest, known, limits, PARAMS.min_area_px)
    np.testing.assert_array_equal(suspects(evidence, PARAMS, 0, known).spots, expected)


def test_a_spot_inside_one_that_is_known_is_left_out() -> None:
    significance = np.zeros((40, 40))
    significance[10:20, 10:20] = PARAMS.seed + 1
    known = np.zeros((40, 40), np.bool_)
    known[5:20, :20] = True
    assert not suspects(planes(significance), PARAMS, 3, known).wide.any()
    known[19, 10] = False
    np.testing.assert_array_equal(suspects(planes(significance), PARAMS, 0, known).spots, significance > 0)


def test_no_evidence_no_suspects() -> None:
    assert not suspects(planes(np.zeros((5, 5))), PARAMS, MARGIN_PX).wide.any()


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
