"""The memory of ``dustwatch clean`` does not grow with the frames."""

import json
from pathlib import Path

from tests.rolls import peak_of_clean, start, write_large_pair

MIB = 1 << 20


def test_large_frames_take_hardly_more_memory_than_small_ones(tmp_path: Path) -> None:
    """A frame of 36 megapixels takes 216 MB as stored, and twice that as densities of its three colours."""
    small, _ = peak_of_clean(6, tmp_path / "small")
    large, _ = peak_of_clean(36, tmp_path / "large")
    assert large < 600 * MIB
    assert large < 1.25 * small


def test_the_report_counts_what_clean_holds_and_not_its_parent(tmp_path: Path) -> None:
    ballast = b"\1" * (1024 * MIB)
    write_large_pair(tmp_path / "scans", 1)
    start("clean", tmp_path / "scans", "--output", tmp_path / "clean", "--json", tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert 50 * MIB < told["peak_memory_bytes"] < len(ballast)
