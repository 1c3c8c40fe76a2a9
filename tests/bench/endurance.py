"""Measure whether ``dustwatch watch`` stays as small and as fast as it begins, over thousands of frames.

    python -m tests.bench.endurance [--frames 2000] [--folder DIR]

Small frames, GLASS to a glass, are dropped into the folder of one running daemon, BURST at a time, each burst when
nothing is left to do. Prints a Markdown table with a line for each ROW frames. DIR needs some MB for each 10 frames.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import write_tiff
from tests.watching import Daemon, blurred, drop, journal, watching

SIZE: dict[str, Any] = {"height": 200, "width": 300, "scale": 0.6, "particles": 30}
GLASS, BURST, ROW = 50, 25, 200


def drop_burst(first: int, work: Path, scans: Path) -> None:
    """Have frames `first`, `first` + 1, ... appear, which lie on one glass."""
    glass, begin = divmod(first, GLASS)
    roll = Roll(RollParams(frames=GLASS, seed=glass, **SIZE), blurred(glass))
    for number in range(begin, begin + BURST):
        file = work / f"frame-{glass * GLASS + number + 1:05d}.tif"
        write_tiff(file, roll.frame(number).scan)
        drop([file], scans)
        file.unlink()


def wait_for(count: int, daemon: Daemon) -> None:
    """Wait until this many frames are known, and nothing is left to do about any."""
    query = "SELECT (SELECT count(*) FROM frames), (SELECT count(*) FROM to_do)"
    while journal(daemon.state, query) != [(count, 0)]:
        assert daemon.process.poll() is None, daemon.lines
        assert not journal(daemon.state, "SELECT reason FROM troubles"), daemon.lines
        time.sleep(0.05)


def resident_mb(daemon: Daemon) -> float:
    """The memory that the daemon holds, as the system accounts it."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmRSS:"))


def files_mb(folder: Path) -> float:
    """What lies in a folder; files may vanish meanwhile."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(frames: int, work: Path) -> None:
    """Print a line for each `ROW` frames."""
    scans, clean, state = (work / name for name in ("scans", "clean", "state"))
    scans.mkdir()
    with watching(scans, clean, state, "--still", "0.1", "--close-after", "60") as daemon:
        began = time.monotonic()
        for first in range(0, frames, BURST):
            drop_burst(first, work, scans)
            wait_for(first + BURST, daemon)
            if (first + BURST) % ROW == 0:
                now = time.monotonic()
                open_files = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
                cells = (
                    f"{first + BURST}",
                    f"{(now - began) / ROW:.2f}",
                    f"{resident_mb(daemon):.0f}",
                    f"{open_files}",
                    f"{files_mb(state):.1f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)
                began = now


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the daemon stays small and fast.")
    parser.add_argument("--frames", type=int, default=2000, help=f"how many; a multiple of {ROW}")
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    print("| frames | s a frame | memory, MB | open files | state, MB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        measure(arguments.frames, Path(work))


if __name__ == "__main__":
    main()
