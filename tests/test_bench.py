"""The benchmark runs, and its tables have what they should. How good the figures are is for people to judge."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dustwatch.processing.simulate import Roll, RollParams, SimulatedFrame
from tests.bench.masks import DIRT, PURE, THRESHOLDS, best_threshold, f1, f1_curve, labels
from tests.bench.quality import FULL, INVERTED, any_roll
from tests.bench.rolls import Scanned, pixels, true_groups
from tests.bench.sizes import diameters
from tests.saned import needs_sane
from tests.scanning import needs_scanimage

ROOT = Path(__file__).parent.parent


def tables(printed: str) -> list[list[list[str]]]:
    """Heads and lines of each table, without the ruler between them."""
    found = []
    for block in printed.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            found.append([rows[0], *rows[2:]])
    return found


def test_quick_benchmark_prints_the_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.quality", "--quick", "--output", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "generated landscapes" in done.stdout.splitlines()[0]
    peers, by_count, grouping = tables(done.stdout)

    assert peers[0][1:] == ["inside dB", "treated", "harm", "halo harm", "F1", "grouping", "seconds a frame"]
    figures = {row[0]: row[1:] for row in peers[1:]}
    for part in ("scans", "dustbust", "Telea, TRUE", "Navier-Stokes", "biharmonic", "DoG", "Sobel", "divided"):
        assert any(part in name for name in figures)
    assert {"dustwatch, no oracle", "dustwatch, no oracle: roll 1"} <= set(figures)
    scans, limit = (next(cells for name, cells in figures.items() if part in name) for part in ("scans", "divided"))
    assert float(scans[0]) < float(limit[0])
    assert scans[1:5] == ["0.0%", "0.000%", "0.00%", ""]

    assert [row[:2] for row in by_count[1:]] == [
        ["16-bit negatives", "4"],
        ["16-bit negatives", "8"],
        ["8-bit positives, JPEG 90", "8"],
    ]
    for row in by_count[1:]:
        line = dict(zip(by_count[0][:9], row, strict=False))
        assert line["grouping"] == "exact (1 found, 1 true)"
        assert 0.5 < float(line["F1"]) <= 1

    roll = any_roll(RollParams(frames=8, height=600, width=900), 1)
    assert grouping[1][:4] == ["1", str(roll.particles), ", ".join(str(w + 1) for w in roll.wipes), str(roll.slots)]
    assert f"{len(set(true_groups(roll)))} true" in grouping[1][4]
    assert (tmp_path / "out" / "quality.md").read_text() == done.stdout
    assert (tmp_path / "out" / "quality.png").stat().st_size > 10_000


@needs_sane
@needs_scanimage
def test_scanning_is_measured_beside_scanimage(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.scan", "--dpi", "100", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ((heads, ours, theirs),) = tables(done.stdout)
    assert heads[3] == "MB/s"
    assert (ours[0], theirs[0]) == ("dustwatch", "scanimage")
    assert float(ours[3]) > 0
    assert float(ours[5].split(" + ")[0]) > 10
    assert list(tmp_path.iterdir()) == []


def test_one_large_frame_is_cleaned_with_a_kept_map_and_all_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    size = ("--height", "2100", "--width", "900")  # of two pieces, which are cut
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.large", *size, "--folder", str(folder), "--output", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ((heads, line),) = tables(done.stdout)
    told = dict(zip(heads, line, strict=True))
    assert told["width x height"] == "900 x 2100"
    assert float(told["after"]) > float(told["inside dB before"]) + 10
    assert 50 < float(told["peak memory, MB"]) < 600
    assert (tmp_path / "out" / "large.md").read_text() == done.stdout
    assert list(folder.iterdir()) == []


def test_what_is_dirt_and_what_is_clean() -> None:
    glass = np.array([[0.0, 0.014, 0.02, 0.05, 0.05, 0.0]], np.float32)
    specks = np.array([[0.0, 0.0, 0.0, 0.0, 0.01, 0.01]], np.float32)
    frame = SimulatedFrame(np.zeros((1, 6, 3), np.uint8), np.zeros((1, 6, 3), np.float32), glass, specks, (0, 0), 0)
    assert labels(frame).tolist() == [[PURE, PURE, 0, DIRT, 0, 0]]


def test_f1_is_that_of_the_pixels_that_count() -> None:
    truth = np.array([[DIRT, DIRT, DIRT, PURE, PURE, 0]], np.uint8)
    assert f1(truth == DIRT, truth) == 1
    assert f1(np.array([[True, False, False, True, False, True]]), truth) == pytest.approx(2 / (2 + 1 + 2))
    assert math.isnan(f1(truth > 0, np.full_like(truth, PURE)))


def test_the_oracle_finds_the_threshold_that_a_search_finds() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (40, 50)).astype(np.uint8)
    evidence = (0.05 * (truth == DIRT) + rng.normal(0.03, 0.03, truth.shape)).astype(np.float32)
    searched = [f1(evidence > threshold, truth) for threshold in THRESHOLDS]
    assert f1_curve(evidence, truth) == pytest.approx(searched)
    assert best_threshold([f1_curve(evidence, truth)]) == THRESHOLDS[np.argmax(searched)]


def test_rolls_for_grouping_are_of_every_kind() -> None:
    rolls = [any_roll(FULL.wiped, seed) for seed in range(1, FULL.grouped + 1)]
    assert all(30 <= roll.particles <= 400 for roll in rolls)
    assert min(roll.particles for roll in rolls) < 60
    assert max(roll.particles for roll in rolls) > 260
    assert {roll.slots for roll in rolls} == {1, 2, 3}
    assert {len(roll.wipes) for roll in rolls} == {0, 1, 2}


def test_scans_of_positives_have_been_jpegs(tmp_path: Path) -> None:
    params = RollParams(frames=2, height=64, width=96, particles=5, wipes=(1,), **INVERTED)
    roll = Roll(params, lambda _, rows, columns: np.full((rows, columns, 3), 0.2, np.float32))
    scanned = Scanned(roll, tmp_path)
    frames = [scanned.write(index) for index in range(2)]
    assert scanned.profile == "generic-negative-inverted"
    assert [frame.glass_id for frame in frames] == true_groups(params)
    for index, (frame, file) in enumerate(zip(frames, scanned.files, strict=True)):
        assert file.suffix == ".png"
        assert (frame.scan == pixels(file)).all()
        assert (frame.scan != roll.frame(index).scan).any()
        assert (scanned.read(index).scan == frame.scan).all()


def test_the_size_of_a_particle_is_the_diameter_of_a_disc_of_its_area() -> None:
    glass = np.zeros((40, 60), np.float32)
    y, x = np.mgrid[:40, :60]
    glass[np.hypot(y - 20, x - 20) < 10] = 0.3
    glass[30, 50:54] = 0.3
    size = diameters(glass)
    assert size[20, 20] == pytest.approx(20, rel=0.05)
    assert size[30, 51] == pytest.approx(np.sqrt(16 / np.pi))
    assert not size[glass == 0].any()
