"""Measure whether ``dustwatch watch`` keeps up with a fast scanner, and stays as small as it begins.

    python -m tests.bench.keeping_up [--megapixels 54] [--frames 30] [--every 10] [--folder DIR]

Frames on one glass, 16-bit RGB TIFFs in deflate, are dropped into the folder of a running daemon, one every so many
seconds, whatever it is doing. Prints a Markdown table: for each frame how long it took from the complete file to the
cleaned one, waiting for it to be still (STILL_S) included; how many frames were then still to be cleaned again; the
memory of the daemon, and what its state takes for each pixel of a frame. Then how long after the last frame nothing
was left to do. DIR needs some 20 bytes a pixel and frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.watching import Daemon, drop, events, journal, watching

from .endurance import files_mb, resident_mb
from .speed import Group, pixels, write

STILL_S = 0.5
DONE = {"cleaned", "unchanged"}


def follow(came: dict[str, float], expected: int, megapixels: float, daemon: Daemon) -> bool:
    """Print the lines of the frames that have been put into place since the last call; True if all have been."""
    first: dict[str, float] = {}
    for event in events(daemon.state):
        if event.event in DONE:
            first.setdefault(event.name, event.at)
    for name, at in first.items():
        if name in came:
            ((to_do,),) = journal(daemon.state, "SELECT count(*) FROM to_do")
            memory, state = resident_mb(daemon), files_mb(daemon.state) / megapixels
            print(f"| {name} | {at - came.pop(name):.1f} | {to_do} | {memory:.0f} | {state:.1f} |", flush=True)
    return len(first) == expected


def measure(group: Group, every: float, work: Path) -> None:
    """Print a line for each frame, and one about the end."""
    (work / "made").mkdir()
    files = write(group, work / "made")
    scans, clean, state = (work / name for name in ("scans", "clean", "state"))
    scans.mkdir()
    options = ("--still", str(STILL_S), "--close-after", "60")
    came: dict[str, float] = {}
    with watching(scans, clean, state, *options) as daemon:
        for file in files:
            began = time.time()
            drop([file], scans)
            file.unlink()
            came[file.name] = last = time.time()
            while time.time() < began + every:
                follow(came, len(files), pixels(group), daemon)
                time.sleep(0.2)
        daemon.until(lambda: follow(came, len(files), pixels(group), daemon), 3600)
        daemon.until(lambda: journal(state, "SELECT count(*) FROM to_do") == [(0,)], 3600)
        print(f"\nNothing was left to do {time.time() - last:.0f} s after the last frame had come.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the daemon keeps up with a fast scanner.")
    parser.add_argument("--megapixels", type=int, default=54, help="size of frames")
    parser.add_argument("--frames", type=int, default=30, help="how many, all on one glass")
    parser.add_argument("--every", type=float, default=10, help="seconds from one to the next")
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    print("| frame | s until cleaned | to be cleaned again | memory, MB | state, bytes a pixel |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        measure(Group(arguments.megapixels, "deflate", arguments.frames), arguments.every, Path(work))


if __name__ == "__main__":
    main()
