"""Spans, bands and tiles cover a picture exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.strips import Span, bands, spans, tiles

lengths = st.integers(1, 400)
halos = st.integers(0, 50)


@given(length=lengths, size=st.integers(1, 500), halo=halos)
def test_spans_cover_every_pixel_once_and_see_their_halo(length: int, size: int, halo: int) -> None:
    pixels = np.arange(length)
    seen = []
    for span in spans(length, size, halo):
        with_halo = pixels[span.low : span.high]
        seen += with_halo[span.inner].tolist()
        assert span.stop - span.start == size or span.stop == length
        assert with_halo[0] == max(span.start - halo, 0)
        assert with_halo[-1] == min(span.stop + halo, length) - 1
    assert seen == pixels.tolist()


@given(
    height=lengths,
    row_bytes=st.integers(1, 100),
    budget=st.integers(1, 30_000),
    halo=halos,
    multiple=st.integers(1, 40),
)
def test_bands_keep_to_their_budget(height: int, row_bytes: int, budget: int, halo: int, multiple: int) -> None:
    plan = bands(height, row_bytes, budget_bytes=budget, halo=halo, multiple=multiple)
    assert [span.start for span in plan] == [0, *(span.stop for span in plan[:-1])]
    assert plan[-1].stop == height
    assert all(span.start % multiple == 0 for span in plan)
    lowest_possible = all(span.stop - span.start <= multiple for span in plan)
    assert lowest_possible or all((span.stop - span.start) * row_bytes <= budget for span in plan)


def test_bands_use_what_they_may() -> None:
    assert bands(1000, 10, budget_bytes=4050, halo=50, multiple=8)[0] == Span(0, 400, 0, 450)


@given(height=lengths, width=lengths, size=st.integers(20, 500), halo=halos)
def test_tiles_cover_every_pixel_once(height: int, width: int, size: int, halo: int) -> None:
    count = np.zeros((height, width), int)
    for tile in tiles(height, width, size=size, halo=halo):
        window = count[tile.rows.low : tile.rows.high, tile.columns.low : tile.columns.high]
        assert window.shape == tile.shape
        window[tile.inner] += 1
    assert (count == 1).all()
