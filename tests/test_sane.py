"""Windows on devices as there are none among SANE's own: in pixels, on a grid, or with edges that may not pass."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.scanner.fault import Fault, ScannerError
from dustwatch.daemon.scanner.plan import Window
from dustwatch.daemon.scanner.section import ScannerSection
from tests.saned import needs_sane

pytestmark = needs_sane

CORNERS = ("tl-x", "tl-y", "br-x", "br-y")
INT, PIXEL, SOFT = 1, 1, 1 | 4
DPI = 4000
SIZE_PX = (3946, 5959)
AREA_MM = tuple(size / DPI * 25.4 for size in SIZE_PX)


class FilmScanner:
    """The part of python-sane that a film scanner of the kind of coolscan3 needs: its window is in pixels.

    It refuses edges that pass each other, and moves them to multiples of `grid`, at most to `most`. To set the option
    `refused` fails with the error of this text, and so does reading the option `secret`.
    """

    def __init__(
        self, grid: int = 1, most: int = 1 << 30, refused: tuple[str, str] = ("", ""), secret: str = ""
    ) -> None:
        self.grid, self.most, self.refused, self.secret = grid, most, refused, secret
        self.values = [0, 0, *SIZE_PX]

    def get_options(self) -> list[tuple[Any, ...]]:
        limits = [(0, SIZE_PX[number % 2], self.grid if self.grid > 1 else 0) for number in range(4)]
        return [(number, name, name, "", INT, PIXEL, 4, SOFT, limits[number]) for number, name in enumerate(CORNERS)]

    def get_option(self, number: int) -> int:
        import _sane

        if self.secret == CORNERS[number]:
            raise _sane.error("Invalid argument")
        return self.values[number]

    def set_option(self, number: int, value: int) -> int:
        import _sane

        option, error = self.refused
        if option == CORNERS[number]:
            raise _sane.error(error)
        values = list(self.values)
        values[number] = min(round(value / self.grid) * self.grid, self.most)
        if values[0] > values[2] or values[1] > values[3]:
            raise _sane.error("Invalid argument")
        self.values = values
        return 0


def place(device: FilmScanner, *windows: Window) -> None:
    from dustwatch.daemon.scanner.sane import Scanner

    scanner = Scanner("film", device, None)
    section = ScannerSection(geometry="pixels", geometry_dpi=DPI)
    for window in windows:
        scanner.configure(section, window)


edges = (
    st.lists(st.floats(0.02, 0.98), min_size=2, max_size=2).map(sorted).filter(lambda pair: pair[1] - pair[0] > 0.01)
)


@given(st.lists(st.tuples(edges, edges), min_size=1, max_size=4))
def test_windows_in_mm_become_pixels_and_no_edge_passes_another_on_the_way(
    shares: list[tuple[list[float], list[float]]],
) -> None:
    device = FilmScanner()
    windows = [
        Window(
            across[0] * AREA_MM[0],
            down[0] * AREA_MM[1],
            (across[1] - across[0]) * AREA_MM[0],
            (down[1] - down[0]) * AREA_MM[1],
        )
        for across, down in shares
    ]
    place(device, *windows)
    (left, right), (top, bottom) = shares[-1]
    expected = [left * SIZE_PX[0], top * SIZE_PX[1], right * SIZE_PX[0], bottom * SIZE_PX[1]]
    assert [abs(value - wanted) < 0.51 for value, wanted in zip(device.values, expected, strict=True)] == [True] * 4


def test_a_device_that_stops_on_a_grid_only_is_taken_as_it_is() -> None:
    device = FilmScanner(grid=16)
    place(device, Window(1, 1, 10, 10))
    assert device.values == [160, 160, 1728, 1728]


def test_a_device_that_cuts_a_window_short_is_refused() -> None:
    with pytest.raises(ScannerError, match=r"br-y: 1732\.28 px became 1000; possible: 0 to 5959 px") as caught:
        place(FilmScanner(most=1000), Window(1, 1, 5, 10))
    assert caught.value.fault is Fault.REFUSED


def test_a_window_beyond_the_area_is_refused_with_the_area() -> None:
    with pytest.raises(ScannerError, match=r"beside the bed: its right edge at 26 mm \(possible: 0 to 25\.0571 mm\)"):
        place(FilmScanner(), Window(1, 1, 25, 10))


def test_what_the_device_refuses_is_listed_with_all_that_is_wrong() -> None:
    from dustwatch.daemon.scanner.sane import Scanner

    asked = {"tl-x": 5, "br-x": 1000, "br-y": 1 << 20, "gamma": 1}
    section = ScannerSection(options=asked, geometry="pixels", geometry_dpi=DPI, required=("focus",))
    with pytest.raises(ScannerError) as caught:
        Scanner("film", FilmScanner(refused=("br-x", "Invalid argument")), None).check(section, [Window(1, 1, 5, 5)])
    assert caught.value.fault is Fault.REFUSED
    assert str(caught.value).splitlines() == [
        "film: all of this is wrong:",
        "  br-x cannot be set to 1000 (Invalid argument); possible: 0 to 3946 px",
        "  br-y cannot be 1048576; possible: 0 to 5959 px",
        "  there is no option gamma",
        "  there is no option focus, which is required",
        "  the window: br-x cannot be set to 945 (Invalid argument); possible: 0 to 3946 px",
        '"dustwatch devices --options" tells what is possible',
    ]


def test_an_option_that_the_device_does_not_tell_hides_no_other() -> None:
    from dustwatch.daemon.scanner.sane import Scanner

    scanner = Scanner("film", FilmScanner(secret="br-x"), None)
    assert [option.value for option in scanner.options()] == [0, 0, None, SIZE_PX[1]]
    with pytest.raises(ScannerError, match="br-x: 1000 cannot be read back") as caught:
        scanner.check(ScannerSection(options={"br-x": 1000, "br-y": 1 << 20}), [])
    assert "br-y cannot be 1048576" in str(caught.value)


def test_a_device_that_fails_while_it_is_set_is_not_refusing() -> None:
    device = FilmScanner(refused=("br-x", "Error during device I/O"))
    with pytest.raises(ScannerError, match=r"br-x cannot be set to .* \(Error during device I/O\)") as caught:
        place(device, Window(1, 1, 5, 5))
    assert caught.value.fault is Fault.IO_ERROR


def test_an_edge_that_passes_the_area_by_less_than_a_number_of_sane_is_inside() -> None:
    device = FilmScanner()
    place(device, Window(0, 0, AREA_MM[0] + 1e-9, AREA_MM[1]))
    assert device.values == [0, 0, *SIZE_PX]
