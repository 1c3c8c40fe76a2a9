"""The benchmark runs, and its table has what it should. How good the figures are is for people to judge."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_quick_benchmark_prints_the_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.quality", "--quick", "--output", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "generated landscapes" in lines[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    heads = ["inside dB", "treated", "harm", "halo harm", "grouping", "seconds a frame"]
    assert rows[0][1:] == heads
    names = [row[0] for row in rows[2:]]
    for part in ("scans", "dustbust", "Telea, TRUE", "Navier-Stokes", "DoG", "Sobel", "divided"):
        assert any(part in name for name in names)
    assert {"dustwatch, no oracle", "dustwatch, no oracle: roll 1", "15 particles", "two slots"} <= set(names)
    figures = {row[0]: row[1:] for row in rows[2:] if len(row) == len(heads) + 1}
    scans, limit = (next(cells for name, cells in figures.items() if part in name) for part in ("scans", "divided"))
    assert float(scans[0]) < float(limit[0])
    assert scans[1:4] == ["0.0%", "0.000%", "0.00%"]
    assert (tmp_path / "out" / "quality.md").read_text() == done.stdout
    assert (tmp_path / "out" / "quality.png").stat().st_size > 10_000
