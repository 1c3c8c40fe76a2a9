"""The contact sheet shows pictures the right way round, at the right place, and what was taken off."""

import numpy as np
import numpy.typing as npt
import pytest

from dustwatch.processing.arrays import Scan
from dustwatch.processing.sheet import TILE, Exhibit, draw_sheet, most_telling_window, small
from dustwatch.processing.simulate import FILM_BASE_D, FILM_GAMMA

ROWS, COLUMNS = 800, 1200
MARGIN, CAPTION = 24, 34


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


def dirty(tile: Scan, row: int, column: int) -> Scan:
    """A copy with a square of 50 pixels of opaque dirt."""
    copy = tile.copy()
    copy[row : row + 50, column : column + 50] //= 4
    return copy


def drawn(before: Scan, after: Scan, *revisions: Scan) -> npt.NDArray[np.int32]:
    """A sheet of one frame, half bright and half dark, and its revisions."""
    overview = np.concatenate([negative(0.5), negative(0.02)])[::2, ::2] / np.float32(65535)
    exhibit = Exhibit(overview, (0.1, 0.1), (0.4, 0.4), before, after, "a caption")
    captioned = [(f"revision {number}", revision) for number, revision in enumerate(revisions)]
    return np.asarray(draw_sheet([exhibit], captioned, "title", "subtitle"), np.int32)


def test_the_sheet_shows_positives_and_what_went() -> None:
    dark = negative(0.02)
    sheet = drawn(dirty(dark, 100, 100), dark, dark)
    top = sheet.shape[0] - TILE[0] - CAPTION - MARGIN
    left = [MARGIN + column * (TILE[1] + MARGIN) for column in range(4)]
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


@pytest.mark.parametrize("count", [2, 5, 8])
def test_revisions_stand_side_by_side_in_their_order_where_most_went(count: int) -> None:
    dark = negative(0.02)
    # Dirt near the right edge, which goes at last; on the left there is less, which stays.
    early = dirty(dirty(dark, 100, 420), 250, 20)
    sheet = drawn(early, dark, *[early] * (count - 1), dirty(dark, 250, 20))
    bottom = sheet.shape[0] - 2 * (TILE[0] + CAPTION + MARGIN) - 32
    rows = slice(bottom, bottom + TILE[0])
    columns = min((sheet.shape[1] - MARGIN) // count - MARGIN, TILE[1])
    tiles = [sheet[rows, MARGIN + n * (columns + MARGIN) :][:, :columns] for n in range(count)]
    for tile in tiles[:-1]:
        np.testing.assert_array_equal(tile, tiles[0])
    spots = [tile[100:150].max() for tile in tiles]
    assert min(spots[:-1]) > spots[-1] + 40
    # Between the tiles and beside them there is nothing.
    background = sheet[0, 0]
    for n in range(count + 1):
        gap = sheet[rows, n * (columns + MARGIN) :][:, :MARGIN]
        assert (gap == background).all()
