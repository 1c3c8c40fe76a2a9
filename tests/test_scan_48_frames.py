"""48 frames from a holder of six slots, unattended, against the truth; the longest tests have files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dustwatch.processing.figures import mean_figures
from tests.holders import scan_film
from tests.saned import needs_sane

if TYPE_CHECKING:
    from pathlib import Path


@needs_sane
def test_eight_loads_of_six_slots_come_out_clean(tmp_path: Path) -> None:
    film = scan_film(tmp_path, slots=6, loads=8, width_mm=24, dpi=600)
    assert len(film.found) == 48
    assert film.grouping_exact
    mean = mean_figures(film.found)
    assert mean.psnr_db >= 34
    assert mean.psnr_db > mean.psnr_scan_db + 10
    assert mean.harm < 0.001
    assert film.worse == 0
