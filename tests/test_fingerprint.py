"""Signatures of frames, and what two of them have in common."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing import fingerprint as module
from dustwatch.processing.cells import CELL_PX, Cells
from dustwatch.processing.fingerprint import (
    MatchParams,
    Points,
    alike,
    coincide,
    fingerprint,
    match,
    same_scene,
)
from dustwatch.processing.placement import ORIENTATIONS, turned
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.residual import EXACTLY, ResidualParams, background, block_means, encode
from tests import naive
from tests.signatures import HEIGHT, WIDTH, a_film, ordered, scattered, signature

PARAMS = MatchParams()
AREA = HEIGHT * WIDTH

seeds = st.integers(0, 2**32 - 1)
kernels = settings(max_examples=40)


def crowd(rng: np.random.Generator, count: int) -> Points:
    """Points close together, some on whole pixels, where ties are."""
    points = rng.uniform(0, 12, (count, 3))
    points[: count // 2] = np.rint(points[: count // 2])
    return ordered(points)


def left_by(folder: Path, density: np.ndarray, known: np.ndarray | None = None) -> PlaneFile:
    """The coded residual of a frame of this density, as a first pass leaves it."""
    known = np.full(density.shape, EXACTLY) if known is None else known
    file = PlaneFile(folder / "codes", *density.shape, np.dtype(np.int8))
    file.create()
    file.write(0, 0, encode(density, known.astype(np.uint8), background(block_means(density), ResidualParams())))
    return file


def cells_of(density: np.ndarray) -> np.ndarray:
    return np.zeros(tuple(-(-n // CELL_PX) for n in density.shape), np.float32)


def blobs(shape: tuple[int, int], places: list[tuple[float, float]], peak: float, grain: float = 0.004) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    density = np.random.default_rng(1).normal(0.5, grain, shape)
    for row, column in places:
        density += peak * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))
    return density.astype(np.float32)


@kernels
@given(seed=seeds, counts=st.tuples(st.integers(0, 12), st.integers(0, 12)), bins=st.sampled_from([7, 11]))
def test_votes_are_those_of_the_slow_twin(seed: int, counts: tuple[int, int], bins: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (crowd(rng, count) for count in counts)
    votes = np.zeros((bins, bins), np.int32)
    module._vote(first, second, votes)
    each = np.pad(naive.vote(first, second, bins, 3), 1)
    around = sum(each[down : down + bins, right : right + bins] for down in range(3) for right in range(3))
    np.testing.assert_array_equal(votes, around)


@kernels
@given(seed=seeds, shape=st.tuples(st.integers(3, 20), st.integers(3, 20)))
def test_local_maxima_are_those_of_a_maximum_filter(seed: int, shape: tuple[int, int]) -> None:
    small = np.random.default_rng(seed).integers(-3, 9, shape).astype(np.float32) / 10  # with many ties
    rows, columns = shape
    found = module._local_maxima(small, 1, rows - 1, 1, columns - 1)
    expected = (small >= ndimage.maximum_filter(small, 5)) & (small > 0.3)
    expected[[0, -1]] = expected[:, [0, -1]] = False
    np.testing.assert_array_equal(np.transpose(found), np.argwhere(expected))


@kernels
@given(seed=seeds, bins=st.integers(1, 20))
def test_votes_are_summed_up_as_by_the_slow_twin(seed: int, bins: int) -> None:
    votes = np.random.default_rng(seed).integers(0, 4, (bins, bins), np.int32)
    row, column, total, squares = module._summed(votes)
    assert (row, column) == np.unravel_index(votes.argmax(), votes.shape)
    assert (total, squares) == (votes.sum(), (votes.astype(np.int64) ** 2).sum())


@kernels
@given(
    seed=seeds,
    counts=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    offset=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    radius=st.floats(0.3, 3),
)
def test_coincidences_are_those_of_the_slow_twin(
    seed: int, counts: tuple[int, int], offset: tuple[float, float], radius: float
) -> None:
    rng = np.random.default_rng(seed)
    first, second = (ordered(rng.uniform(0, 12, (count, 3))) for count in counts)
    found = coincide(first, second, offset, radius)
    assert found.shape[1] == 2
    assert [tuple(pair) for pair in found.tolist()] == naive.nearest(first, second, offset, radius)


@settings(max_examples=30)
@given(seed=seeds, offset=st.tuples(st.floats(-7.5, 7.5), st.floats(-7.5, 7.5)))
def test_a_match_finds_the_offset(seed: int, offset: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 60)
    first, second = signature(rng, dirt), signature(rng, dirt, offset=offset)
    found = match(first.dark, second.dark, AREA, PARAMS.search_px)
    np.testing.assert_allclose(found.offset, offset, atol=0.12)
    assert found.score > PARAMS.min_score
    assert 25 < found.hits < 60


@settings(max_examples=50)
@given(seed=seeds, clutter=st.integers(0, 600))
def test_strangers_do_not_match(seed: int, clutter: int) -> None:
    rng = np.random.default_rng(seed)
    found = match(scattered(rng, clutter), scattered(rng, 300), AREA, PARAMS.search_px)
    assert found.score < PARAMS.min_score


def test_no_points_match_nothing() -> None:
    none = np.zeros((0, 3), np.float32)
    some = scattered(np.random.default_rng(0), 50)
    for first, second in ((none, none), (none, some), (some, none)):
        assert match(first, second, AREA, 8).score == 0


def test_points_lie_where_the_dirt_does(tmp_path: Path) -> None:
    places = [(40.3, 50.0), (60.0, 200.7), (150.5, 120.25), (300.2, 330.4)]
    density = blobs((340, 400), places, 0.2)
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams())
    strong = found.dark[found.dark[:, 2] > 5]
    np.testing.assert_allclose(strong[:, :2], places, atol=0.1)
    assert not (found.light[:, 2] > 5).any()
    assert (np.diff(found.dark[:, 0]) >= 0).all()


def test_light_specks_make_light_points(tmp_path: Path) -> None:
    density = blobs((200, 300), [(60, 60), (100, 200)], -0.2)
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams())
    assert (found.light[:, 2] > 5).sum() == 2
    assert found.inverted.dark is found.light
    assert found.inverted.inverted == found


def test_clipped_places_make_no_points(tmp_path: Path) -> None:
    density = blobs((200, 300), [(60, 60), (100, 200)], 0.3)
    known = np.ones(density.shape, np.bool_)
    known[50:70, 50:70] = False
    found = fingerprint(left_by(tmp_path, density, known), cells_of(density), ResidualParams())
    strong = found.dark[found.dark[:, 2] > 3]
    np.testing.assert_allclose(strong[:, :2], [(100, 200)], atol=0.1)


def test_texture_is_told_by_cells(tmp_path: Path) -> None:
    density = blobs((300, 500), [], 0, grain=0.005)
    density[:, 250:] += np.random.default_rng(7).normal(0, 0.1, (300, 250)).astype(np.float32)
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams())
    texture = found.texture.values
    assert texture.shape == (10, 16)
    np.testing.assert_allclose(texture[:, :6], 0.008, rtol=0.15)
    np.testing.assert_allclose(texture[:, 10:], 0.103, rtol=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (33, 4), (517, 40)])
def test_small_and_narrow_frames_have_fingerprints(tmp_path: Path, shape: tuple[int, int]) -> None:
    density = blobs(shape, [], 0)
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams())
    assert (found.texture.values > 0).all()
    assert (found.height, found.width) == shape


@pytest.mark.parametrize("tile", [64, 160, 2048])
@pytest.mark.parametrize("background_px", [12, 13])
def test_tiles_leave_no_trace(tmp_path: Path, tile: int, background_px: float, monkeypatch: pytest.MonkeyPatch) -> None:
    params = ResidualParams(background_px)
    rng = np.random.default_rng(3)
    places = [(float(y), float(x)) for y, x in rng.uniform(0, (530, 450), (120, 2))]
    density = blobs((530, 450), places, 0.1, grain=0.02)
    codes = left_by(tmp_path, density)
    whole = fingerprint(codes, cells_of(density), params)
    monkeypatch.setattr(module, "_TILE_PX", tile)
    cut = fingerprint(codes, cells_of(density), params)
    for name in ("dark", "light"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(cut.texture.values, whole.texture.values)
    np.testing.assert_array_equal(cut.relief.values, whole.relief.values)


def test_a_large_frame_is_looked_at_with_less_resolution(tmp_path: Path) -> None:
    """Its dirt is larger, and found where it is."""
    places = [(150.0, 300.0), (700.3, 1200.6), (1300.5, 400.25)]
    y, x = np.mgrid[:1540, :1543]
    density = np.random.default_rng(1).normal(0.5, 0.004, y.shape)
    for row, column in places:
        density += 0.2 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 4.5**2))
    film = cells_of(density)
    found = fingerprint(left_by(tmp_path, density.astype(np.float32)), film, ResidualParams(background_px=40))
    strong = found.dark[found.dark[:, 2] > 5]
    np.testing.assert_allclose(strong[:, :2], places, atol=0.3)
    assert found.relief.step == 6
    assert found.texture.values.shape == film.shape
    assert (found.texture.values > 0).all()


def test_of_a_busy_frame_only_the_strongest_points_are_noted(tmp_path: Path) -> None:
    density = blobs((480, 480), [], 0, grain=0.1)
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams())
    assert len(found.dark) == 480 * 480 // 1440
    cells = np.unique(found.dark[:, :2] // CELL_PX, axis=0, return_counts=True)[1]
    assert cells.max() <= 6


@settings(max_examples=20)
@given(seed=seeds, exposure=st.floats(-0.3, 0.3))
def test_a_scene_is_known_again_at_another_exposure(seed: int, exposure: float) -> None:
    rng = np.random.default_rng(seed)
    nothing = scattered(rng, 0)
    first = signature(rng, nothing, clutter=300)
    again = replace(first, film=Cells(first.film.values + np.float32(exposure)))
    assert same_scene(first, again, PARAMS)
    assert alike(first, again, PARAMS) is None


def test_of_large_films_some_cells_tell_whether_they_are_one_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    first, other = (signature(rng, scattered(rng, 0), clutter=300) for _ in range(2))
    again = replace(first, film=Cells(first.film.values + np.float32(0.1)))
    monkeypatch.setattr(module, "_ENOUGH_CELLS", 100)
    assert first.film.values.size > 9 * 100
    assert same_scene(first, again, PARAMS)
    assert not same_scene(first, other, PARAMS)


def test_an_object_that_moves_does_not_make_another_scene() -> None:
    rng = np.random.default_rng(5)
    first = signature(rng, scattered(rng, 0), clutter=300)
    film = first.film.values + np.float32(0.1)
    film[5:14, 5:18] = a_film(rng)[5:14, 5:18]
    assert same_scene(first, replace(first, film=Cells(film)), PARAMS)


@settings(max_examples=20)
@given(seed=seeds)
def test_frames_on_one_glass_are_alike_and_strangers_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dirt = scattered(rng, 60)
    first, second, stranger = signature(rng, dirt), signature(rng, dirt, offset=(2.3, -1.6)), signature(rng, dirt[:0])
    found = alike(first, second, PARAMS)
    assert found is not None
    np.testing.assert_allclose(found.offset, (2.3, -1.6), atol=0.12)
    assert alike(first, stranger, PARAMS) is None


def test_what_is_shared_where_the_film_never_changes_does_not_count() -> None:
    """Two frames in one holder: its edge and the rebate's text are in both."""
    rng = np.random.default_rng(4)
    text = scattered(rng, 100)
    text[:, 0] = np.sort(rng.uniform(10, 55, 100))
    films = [a_film(rng) for _ in range(2)]
    assert alike(*(signature(rng, text, film=film) for film in films), PARAMS)
    for film in films:
        film[:2] = 0.3
    assert alike(*(signature(rng, text, film=film) for film in films), PARAMS) is None


@settings(max_examples=20)
@given(seed=seeds, offset=st.tuples(st.floats(-60, 60), st.floats(-60, 60)))
def test_a_scene_is_known_again_wherever_its_film_lies(seed: int, offset: tuple[float, float]) -> None:
    """Else what is on the film would pass for dirt that is shared: its dark points coincide as dirt does."""
    rng = np.random.default_rng(seed)
    film = ndimage.zoom(rng.uniform(0.2, 1.5, (10, 15)), 3 * CELL_PX, order=1)
    picture = signature(rng, scattered(rng, 0), clutter=300)
    frames = []
    for down, right in ((0.0, 0.0), offset):
        seen = ndimage.shift(film, (down, right), order=1)[2 * CELL_PX :, 2 * CELL_PX :][: 25 * CELL_PX, : 38 * CELL_PX]
        cells = seen.reshape(25, CELL_PX, 38, CELL_PX).mean((1, 3)).astype(np.float32)
        moved = np.array([down, right, 0], np.float32)
        dark, light = picture.dark + moved, picture.light + moved
        frames.append(replace(picture, film=Cells(cells), dark=dark, light=light))
    assert same_scene(*frames, PARAMS)
    assert alike(*frames, PARAMS) is None


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_frame_has_its_points_and_cells_where_the_picture_has_them(tmp_path: Path, orientation: int) -> None:
    """The frame's size is no multiple of a cell's, so that the last, narrow cells become the first."""
    density = blobs((200, 270), [(40.3, 50.0), (60.0, 100.7), (150.5, 120.25)], 0.3)
    density[:, 180:] += np.random.default_rng(7).normal(0, 0.1, (200, 90)).astype(np.float32)
    (tmp_path / "turned").mkdir()
    upright = turned(density, orientation)
    expected = fingerprint(left_by(tmp_path / "turned", upright), cells_of(upright), ResidualParams())
    found = fingerprint(left_by(tmp_path, density), cells_of(density), ResidualParams()).turned(orientation)
    assert (found.height, found.width) == upright.shape
    strong, wanted = (one.dark[one.dark[:, 2] > 5] for one in (found, expected))
    assert len(strong) == 3
    np.testing.assert_allclose(strong, wanted, rtol=0.01, atol=0.05)
    assert (np.diff(found.dark[:, 0]) >= 0).all()
    everywhere = np.random.default_rng(1).uniform((0, 0), upright.shape, (200, 2)).astype(np.float32)
    known = [(one.texture.at(everywhere) > 0.05) for one in (found, expected)]
    assert (known[0] == known[1]).mean() > 0.9


def test_how_improbable_it_is_that_points_coincide_is_what_chance_says() -> None:
    """Of matches of strangers, one in ten is that improbable, or one in a hundred."""
    rng = np.random.default_rng(0)
    scores = [match(scattered(rng, 300), scattered(rng, 300), AREA, 16).score for _ in range(1500)]
    for decades in (1, 2):
        share = np.mean(np.array(scores) >= decades)
        assert 0.05 * 10**-decades < share < 1.2 * 10**-decades


def test_the_seams_of_sprocket_holes_tell_nothing(tmp_path: Path) -> None:
    density = blobs((480, 640), [(100, 100), (120, 500)], 0.2) + np.float32(0.8)
    for left in range(40, 640, 160):
        density[300:420, left : left + 80] = 2.0  # the seam
        density[308:412, left + 8 : left + 72] = 0.05
    film = density.reshape(480 // CELL_PX, CELL_PX, 640 // CELL_PX, CELL_PX).mean((1, 3))
    found = fingerprint(left_by(tmp_path, density), film, ResidualParams())
    strong = found.dark[found.dark[:, 2] > 5]
    np.testing.assert_allclose(strong[:, :2], [(100, 100), (120, 500)], atol=0.2)
    assert not found.relief.values[148:156, 20:60].any()
    assert found.relief.values[:130].any()


def test_frames_cropped_to_either_side_of_a_size_from_which_reliefs_are_coarser_find_each_other() -> None:
    rng = np.random.default_rng(8)
    dirt = scattered(rng, 60)
    first, second = signature(rng, dirt), signature(rng, dirt)
    values = second.relief.values
    rows, columns = (length // 2 for length in values.shape)
    halved = values[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).astype(float).mean((1, 3))
    coarse = replace(second.relief, values=np.rint(halved).astype(np.int8), step=2 * second.relief.step)
    found = alike(first, replace(second, relief=coarse), PARAMS)
    assert found is not None
    np.testing.assert_allclose(found.offset, (0, 0), atol=0.2)
