"""The contact sheet shows pictures the right way round, at the right place, and what was taken off."""

import numpy as np

from dustwatch.processing.arrays import Scan
from dustwatch.processing.sheet import TILE, Exhibit, draw_sheet, most_telling_window, small
from dustwatch.processing.simulate import FILM_BASE_D, FILM_GAMMA

ROWS, COLUMNS = 800, 1200


def negative(scene: float) -> Scan:
    """A tile of an even grey."""
    density = np.array(FILM_BASE_D) + FILM_GAMMA * np.log10(scene / 0.004)
    return np.broadcast_to(np.rint(10**-density * 65535), (*TILE, 3)).astype(np.uint16)


def test_the_window_lies_where_dirt_shows_and_the_film_has_none() -> None:
    film = np.full((ROWS, COLUMNS, 3), 0.3, np.float32)
    glass, specks = np.zeros((2, ROWS, COLUMNS), np.float32)
    glass[100:110, 100:110] = glass[700:710, 1000:1010] = 0.3
    specks[200:220, 200:220] = 0.3
    top, left = most_telling_window(film, glass, specks)
    assert top <= 700 < 710 <= top + TILE[0] <= ROWS
    assert left <= 1000 < 1010 <= left + TILE[1] <= COLUMNS


def test_of_two_places_the_one_with_structure_is_shown() -> None:
    film = np.full((ROWS, COLUMNS, 3), 0.3, np.float32)
    film[:300, :400:20] = 0.15
    glass = np.zeros((ROWS, COLUMNS), np.float32)
    glass[100:110, 100:110] = glass[700:710, 1000:1010] = 0.3
    top, left = most_telling_window(film, glass, np.zeros_like(glass))
    assert top <= 100 < top + TILE[0]
    assert left <= 100 < left + TILE[1]


def test_a_frame_smaller_than_a_tile_is_shown_from_its_corner() -> None:
    film = np.full((100, 150, 3), 0.3, np.float32)
    glass = np.full((100, 150), 0.1, np.float32)
    assert most_telling_window(film, glass, np.zeros_like(glass)) == (0, 0)


def test_small_is_the_mean() -> None:
    scan = np.zeros((80, 4 * TILE[1], 3), np.uint16)
    scan[::2] = 65535
    np.testing.assert_allclose(small(scan), 0.5, atol=1e-4)
    assert small(scan).shape == (20, TILE[1], 3)


def test_the_sheet_shows_positives_and_what_went() -> None:
    bright, dark = negative(0.5), negative(0.02)
    before = dark.copy()
    before[100:150, 100:150] //= 4
    overview = np.concatenate([bright, dark])[::2, ::2] / np.float32(65535)
    exhibit = Exhibit(overview, (0.1, 0.1), (0.4, 0.4), before, dark, "a caption")
    sheet = np.asarray(draw_sheet([exhibit], "title", "subtitle"), np.int32)
    top = sheet.shape[0] - TILE[0] - 34 - 24
    left = [24 + column * (TILE[1] + 24) for column in range(4)]
    spot = [sheet[top + 120, x + 120] for x in left]
    beside = [sheet[top + 200, x + 300] for x in left]
    # Dirt that darkens a negative is bright in its positive; cleaned, it is like its surroundings.
    assert spot[1].min() > beside[1].max() + 40
    np.testing.assert_allclose(spot[2], beside[2], atol=3)
    np.testing.assert_allclose(beside[1], beside[2], atol=3)
    # Grey film is grey, and only what changed glows.
    assert np.ptp(beside[2]) < 6
    assert spot[3].max() > 200
    assert beside[3].max() < 20
