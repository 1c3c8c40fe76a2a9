"""36 frames from a holder of twelve slots, unattended, against the truth; the longest tests have files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dustwatch.processing.figures import mean_figures
from tests.holders import scan_film
from tests.saned import needs_sane

if TYPE_CHECKING:
    from pathlib import Path


@needs_sane
def test_three_loads_of_twelve_slots_come_out_better_than_the_scans(tmp_path: Path) -> None:
    film = scan_film(tmp_path, slots=12, loads=3, width_mm=24, dpi=600)
    assert len(film.found) == 36
    assert film.grouping_exact
    assert film.worse == 0
    assert mean_figures(film.found).psnr_db > mean_figures(film.found).psnr_scan_db + 4
