"""The forward model keeps its word: what it says about a frame is what the frame shows."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from dustwatch.processing.arrays import Mask, Planes
from dustwatch.processing.density import Tone, light
from dustwatch.processing.simulate import Roll, RollParams, SimulatedFrame

SMALL = RollParams(frames=12, height=160, width=240, particles=30, seed=4)


def gradient(number: int, rows: int, columns: int) -> Planes:
    """A smooth picture, another for every number."""
    slope = np.linspace(0.1, 0.8, columns, dtype=np.float32) ** (1 + number / 4)
    return np.broadcast_to(slope[None, :, None], (rows, columns, 3)).astype(np.float32)


def roll(params: RollParams = SMALL, outlines: tuple[Mask, ...] = ()) -> Roll:
    return Roll(params, gradient, outlines)


def same(one: SimulatedFrame, other: SimulatedFrame) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("scan", "film", "glass", "specks", "offset_px", "glass_id")
    )


def test_a_frame_is_the_same_in_any_order_and_another_for_another_seed() -> None:
    forwards = [roll().frame(i) for i in range(3)]
    again = roll()
    assert all(same(again.frame(i), forwards[i]) for i in (2, 0, 1))
    assert not same(forwards[0], forwards[1])
    assert not np.array_equal(roll(replace(SMALL, seed=5)).frame(0).glass, forwards[0].glass)
    assert len(again) == SMALL.frames


@pytest.mark.parametrize("maximum", [255, 65535])
def test_without_noise_the_scan_is_film_through_all_the_dirt(maximum: int) -> None:
    frame = roll(replace(SMALL, noise=0.0, maximum=maximum)).frame(3)
    seen = frame.film * 10.0 ** -(frame.glass + frame.specks)[..., None]
    assert frame.scan.dtype == (np.uint8 if maximum == 255 else np.uint16)
    np.testing.assert_allclose(frame.scan, np.clip(seen, 1e-4, 1) * maximum, atol=0.51)
    assert frame.glass.max() > 0.1
    assert frame.specks.max() > 0.1


def test_the_noise_is_that_of_light_and_independent_between_frames() -> None:
    params = replace(SMALL, particles=0, specks=0, grain_d=1e-9, scene_repeats=2)
    errors = []
    for frame in map(roll(params).frame, (0, 1)):
        errors.append((frame.scan / 65535 - frame.film) / np.sqrt(frame.film))
        assert errors[-1].std() == pytest.approx(SMALL.noise, rel=0.03)
    assert abs(np.corrcoef(errors[0].ravel(), errors[1].ravel())[0, 1]) < 0.02


def test_an_inverted_positive_is_brightened_by_dirt() -> None:
    tone = Tone(encoding="gamma", dirt="brightens")
    frame = roll(replace(SMALL, tone=tone, noise=0.0, maximum=255)).frame(0)
    linear = light(frame.scan / 255, tone)
    clear = 0.004 / frame.film
    inside = (frame.glass > 0.1) & (linear.max(-1) < 0.9)
    assert (linear[inside] > clear[inside]).mean() > 0.99


def test_offsets_move_the_glass_and_nothing_else() -> None:
    frames = [roll(replace(SMALL, turnover=0.0)).frame(i) for i in range(SMALL.frames)]
    offsets = np.array([frame.offset_px for frame in frames])
    assert np.unique(offsets).size == offsets.size
    assert 0.3 < offsets.std() < 0.7
    inner = np.s_[8:-8, 8:-8]
    for frame, offset in zip(frames[1:], offsets[1:], strict=True):
        expected = ndimage.shift(frames[0].glass, offset - offsets[0], order=3)
        unmoved = np.abs(frame.glass - frames[0].glass)[inner].mean()
        assert np.abs(frame.glass - expected)[inner].mean() < max(0.2 * unmoved, 1e-3)


def test_a_wobbling_carriage_bends_the_glass_along_its_travel_about_the_same_mean() -> None:
    params = replace(SMALL, turnover=0.0, height=480, particles=90)
    plain, wobbling = roll(params), roll(replace(params, wobble_px=0.8))
    swings = []
    for index in range(3):
        still, bent = plain.frame(index), wobbling.frame(index)
        np.testing.assert_array_equal(still.film, bent.film)
        np.testing.assert_array_equal(still.specks, bent.specks)
        assert still.offset_px == bent.offset_px
        assert bent.glass.sum() == pytest.approx(still.glass.sum(), rel=0.02)
        moved = [shift_between(*strips) for strips in zip(bands(still.glass), bands(bent.glass), strict=True)]
        swings.append([down for down, _ in moved])
        assert np.ptp(swings[-1]) > 0.5
        assert np.abs(moved).max() < 1.7
        assert np.abs(np.mean(moved, axis=0)).max() < 0.35
    assert np.abs(np.subtract(swings[0], swings[1])).max() > 0.3
    assert np.abs(np.subtract(swings[1], swings[2])).max() > 0.3


def bands(plane: np.ndarray) -> list[np.ndarray]:
    return np.array_split(plane, 12)


def shift_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By how much the second is moved against the first, (rows, columns): least squares on the slopes."""
    slopes = np.stack([slope.ravel() for slope in np.gradient((first + second) / 2)], axis=1)
    return -np.linalg.lstsq(slopes, (second - first).ravel(), rcond=None)[0]


def test_without_jitter_the_glass_stays_and_film_specks_do_not() -> None:
    still = roll(replace(SMALL, jitter_px=0.0, turnover=0.0))
    first, second = still.frame(0), still.frame(1)
    np.testing.assert_array_equal(first.glass, second.glass)
    assert not np.array_equal(first.specks, second.specks)
    assert not np.array_equal(first.film, second.film)


def test_a_wipe_takes_nearly_all_and_new_dirt_comes() -> None:
    params = replace(SMALL, jitter_px=0.0, turnover=0.0, wipes=(5,), left_behind=0.1, particles=60)
    before, last, after = (roll(params).frame(i) for i in (0, 4, 5))
    np.testing.assert_array_equal(before.glass, last.glass)
    assert (before.glass_id, last.glass_id, after.glass_id) == (0, 0, 1)
    assert after.glass.mean() > before.glass.mean() / 3
    old, new = before.glass > 0.04, after.glass > 0.04
    assert 0 < (old & new).sum() < 0.5 * old.sum()
    spotless = roll(replace(params, particles=0)).frame(0)
    assert spotless.glass.max() == 0


def test_particles_are_born_and_vanish() -> None:
    params = replace(SMALL, jitter_px=0.0, turnover=0.05, particles=60)
    maps = [roll(params).frame(i).glass for i in range(params.frames)]
    came = sum(int(((b > 0.05) & (a < 0.001)).any()) for a, b in pairwise(maps))
    went = sum(int(((a > 0.05) & (b < 0.001)).any()) for a, b in pairwise(maps))
    assert came >= 4
    assert went >= 4
    assert ((maps[0] > 0.05) & (maps[-1] > 0.05)).any()


def test_slots_have_glass_of_their_own_and_take_turns() -> None:
    params = replace(SMALL, jitter_px=0.0, turnover=0.0, slots=2, wipes=(6,))
    frames = [roll(params).frame(i) for i in range(12)]
    assert [frame.glass_id for frame in frames] == [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]
    np.testing.assert_array_equal(frames[0].glass, frames[2].glass)
    assert not np.array_equal(frames[0].glass, frames[1].glass)


def test_a_scene_may_be_taken_twice_or_from_a_tripod() -> None:
    params = replace(SMALL, grain_d=1e-9, scene_repeats=2)
    films = [np.log10(roll(params).frame(i).film[..., 0]) for i in range(4)]
    # Exposures differ between two takes, so films agree up to a step in density.
    assert np.ptp(films[0] - films[1]) < 0.03
    assert np.ptp(films[0] - films[2]) > 0.05


def test_the_holder_edge_stays_dark_in_every_frame_and_on_top_of_the_dirt() -> None:
    fixed = roll(replace(SMALL, fixtures=("holder edge",)))
    for i in range(3):
        assert fixed.frame(i).scan[-30:].max() < 0.01 * 65535
        assert np.median(fixed.frame(i).scan[:100]) > 0.02 * 65535


def test_rebate_text_is_the_same_in_every_frame() -> None:
    marked = roll(replace(SMALL, fixtures=("rebate text",), particles=0, specks=0))
    plain = roll(replace(SMALL, particles=0, specks=0))
    first, second = marked.frame(0), marked.frame(1)
    np.testing.assert_array_equal(first.film[:90], second.film[:90])
    assert np.ptp(np.log10(first.film[:90])) > 0.5
    np.testing.assert_array_equal(first.film[90:], plain.frame(0).film[90:])


def test_dirt_may_come_from_outlines() -> None:
    bar = np.ones((3, 41), bool)
    params = replace(SMALL, particles=1, specks=0, jitter_px=0.0)
    shapes = [roll(replace(params, seed=seed), (bar,)).frame(0).glass > 0.02 for seed in range(6)]
    wide = max(np.ptp(np.nonzero(shape)[1]) for shape in shapes if shape.any())
    tall = max(np.ptp(np.nonzero(shape)[0]) for shape in shapes if shape.any())
    assert wide > 35
    assert tall < 15


def test_without_film_the_lamp_shows_the_glass_as_it_is_at_that_frame() -> None:
    one = roll(replace(SMALL, noise=0.0))
    bare, frame = one.bare(3), one.frame(3)
    np.testing.assert_allclose(bare.scan / 65535, bare.film * 10.0 ** -bare.glass[..., None], atol=1e-5)
    assert not bare.specks.any()
    assert bare.glass_id == frame.glass_id
    assert bare.glass.sum() == pytest.approx(frame.glass.sum(), rel=0.02)
    assert 0.7 < bare.film.min() < bare.film.max() < 0.95
    assert np.abs(np.diff(bare.film, axis=1)).max() < 0.01


def test_scattered_light_lies_over_the_dirt_and_around_it() -> None:
    params = replace(SMALL, noise=0.0)
    plain, veiled = (roll(replace(params, scatter=scatter)).frame(3) for scatter in (0.0, 0.02))
    np.testing.assert_array_equal(veiled.glass, plain.glass)
    np.testing.assert_array_equal(veiled.film, plain.film)
    more = (veiled.scan.astype(np.int64) - plain.scan).min(axis=2) / 65535
    assert more.min() > -1e-4
    assert 0.002 < more[plain.glass > 0.3].mean() < 0.02
    beside = (plain.glass < 0.001) & ndimage.binary_dilation(plain.glass > 0.3, iterations=6)
    assert more[beside].mean() > 1e-4
    far = ~ndimage.binary_dilation(plain.glass > 0.001, iterations=24)
    assert not more[far].any()


def test_a_sharpening_scanner_puts_bright_rings_around_dark_cores() -> None:
    params = replace(SMALL, noise=0.0, grain_d=1e-9, specks=0)
    plain, sharp = (roll(replace(params, sharpen=strength)).frame(3) for strength in (0.0, 0.7))
    np.testing.assert_array_equal(sharp.glass, plain.glass)
    shows = -np.log10(sharp.scan / 65535 / sharp.film).mean(axis=2)
    core = plain.glass > 0.5
    assert shows[core].mean() > plain.glass[core].mean() + 0.02
    ring = (plain.glass < 0.02) & ndimage.binary_dilation(core, iterations=8)
    assert shows[ring].min() < -0.008
    far = ~ndimage.binary_dilation(plain.glass > 0, iterations=8)
    assert np.abs(shows[far]).max() < 1e-3
