"""Clean one frame of any size with a kept map, against merely copying it: time, memory, and what came off.

    python -m tests.bench.large [--height 38400] [--width 48000] [--threads 2] [--folder DIR] [--output DIR]

The frame, an uncompressed 16-bit BigTIFF, is laid with pieces of generated film behind one dirty glass as with tiles,
and the map is made from the truth about that glass, as the folder that ``--keep-maps`` would leave. Prints a Markdown
table, and leaves it in --output: the whole command's time, that of libvips copying the file, the command's peak memory
as the operating system counts it, and the figures of pieces from all over the frame. --folder needs room for three such
files, 33 GB for 11; all is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from dustwatch.daemon.film import load_profile
from dustwatch.daemon.glass import Run
from dustwatch.daemon.groups import Member
from dustwatch.daemon.kept import keep_glass
from dustwatch.daemon.report import Reporter
from dustwatch.processing.cells import CELL_PX, Patch
from dustwatch.processing.figures import Figures, figures, mean_figures
from dustwatch.processing.fingerprint import by_row
from dustwatch.processing.glass_map import GlassMap, MapDraft, in_steps
from dustwatch.processing.landmarks import Landmarks, landmarks
from dustwatch.processing.observe import observe
from dustwatch.processing.raster import probe
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import command, receipt, write_tiff

from .quality import markdown
from .speed import FILMS, PARTICLES, PIECE, copied

if TYPE_CHECKING:
    from dustwatch.daemon.film import Profile
    from dustwatch.daemon.progress import Progress
    from dustwatch.processing.arrays import Plane
    from dustwatch.processing.fingerprint import Points
    from dustwatch.processing.simulate import SimulatedFrame

PARAMS = RollParams(frames=2, particles=PARTICLES, seed=3, **PIECE)
BAND_ROWS = 2 * CELL_PX
STRIP_BYTES = 1 << 20
CLEAN_D = 0.002
"""What the map leaves out."""

DOUBT_D, DOUBT_SHARE = 0.004, 0.02
"""Standard deviation of the map, as of one that is learnt from many frames: at least, and as a share of the density."""

MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - started
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss * 1024]))
"""
"""In a small process of its own: what a program's parent has held is counted as the program's."""

HEADS = [
    "width x height",
    "GB",
    "s",
    "CPU s",
    "libvips copies in s",
    "ours / copying",
    "peak memory, MB",
    "inside dB before",
    "after",
    "treated",
    "harm",
]


def place(number: int, length: int, size: int) -> slice:
    """The rows or columns of a frame of this size that a piece takes."""
    return slice(number * length, min((number + 1) * length, size))


def film_of(row: int, column: int) -> int:
    """Which film the piece shows that lies there."""
    return (row + column) % FILMS


def write_frame(path: Path, height: int, width: int, pieces: list[SimulatedFrame], progress: Progress) -> None:
    """Lay the scan with pieces, in bands."""
    high, wide = PARAMS.height, PARAMS.width
    strip = max(STRIP_BYTES // (width * 6), 1)
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "bigtiff": True, "rowsperstrip": strip}
    tifffile.imwrite(path, shape=(height, width, 3), dtype=np.uint16, **options)
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    step = progress("Scanning", -(-height // high))
    with path.open("r+b") as raw:
        raw.seek(start)
        for row in range(-(-height // high)):
            own = place(row, high, height)
            for top in range(0, own.stop - own.start, BAND_ROWS):
                rows = slice(top, min(top + BAND_ROWS, own.stop - own.start))
                laid = [pieces[film_of(row, column)].scan[rows] for column in range(-(-width // wide))]
                raw.write(np.concatenate(laid, axis=1)[:, :width].tobytes())
            step()


def keep_map(
    folder: Path, height: int, width: int, bare: SimulatedFrame, profile: Profile, threads: int, progress: Progress
) -> None:
    """Keep the true map of a glass that is laid with pieces of which this is a scan without film."""
    dark = landmarks_of(bare, height, width, profile, threads, folder)
    corners = np.mgrid[0 : height : PARAMS.height, 0 : width : PARAMS.width].reshape(2, -1).T
    points = np.concatenate([dark + np.array([*corner, 0], np.float32) for corner in corners])
    points = by_row(points[(points[:, :2] < (height, width)).all(axis=1)])

    def learn(part: Path) -> GlassMap:
        patch = Patch((0, 0), height, width)
        columns = np.arange(width) % PARAMS.width
        step = progress("Making the map", -(-height // BAND_ROWS))
        with MapDraft(part / "map", patch) as draft:
            for top in range(0, height, BAND_ROWS):
                rows = np.arange(top, min(top + BAND_ROWS, height)) % PARAMS.height
                glass: Plane = bare.glass[rows][:, columns]
                there = glass > CLEAN_D
                doubt = np.maximum(DOUBT_SHARE * glass, np.float32(DOUBT_D)) * there
                draft.add(top, 0, in_steps(glass * there, doubt, there.astype(np.uint32)))
                step()
            return draft.finish()

    witness = Member(0, "0" * 64, bare=True)
    keep_glass(folder / "maps", Run("simulated", (witness,), ()), Landmarks(points), (height, width), profile, learn)


def landmarks_of(bare: SimulatedFrame, height: int, width: int, profile: Profile, threads: int, folder: Path) -> Points:
    """The landmarks of a piece, looked at as in a frame of that size."""
    write_tiff(folder / "bare.tif", bare.scan)
    residual = profile.residual.on(height, width)
    seen = observe(probe(folder / "bare.tif"), profile.scan, residual, folder / "codes", threads).fingerprint
    return landmarks([(seen, (0.0, 0.0))], [0], profile.match, {0}).points


def ours(file: Path, maps: Path, output: Path, threads: int) -> tuple[float, float, int]:
    """Wall and CPU time in s, and peak memory in bytes, of the whole command; the frame must have been repaired."""
    words = command("clean", file, "--map", maps, "--output", output, "--threads", str(threads))
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], check=True, stdout=subprocess.PIPE, text=True)
    code, wall, cpu, peak = json.loads(done.stdout)
    if code or receipt(output, file.name)["status"] != "cleaned":
        raise SystemExit(f"{file} was not repaired; dustwatch clean ended with {code}")
    return wall, cpu, peak


def looked_at(cleaned: Path, scan: Path, height: int, width: int, pieces: list[SimulatedFrame]) -> Figures:
    """The mean figures of pieces from the corners, the sides and the middle of the frame."""
    after, before = (tifffile.memmap(file, mode="r") for file in (cleaned, scan))
    found = []
    for row in spread(-(-height // PARAMS.height)):
        for column in spread(-(-width // PARAMS.width)):
            rows, columns = place(row, PARAMS.height, height), place(column, PARAMS.width, width)
            own = slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start)
            piece = pieces[film_of(row, column)]
            planes = {name: getattr(piece, name)[own] for name in ("scan", "film", "glass", "specks")}
            if not np.array_equal(planes["scan"], before[rows, columns]):
                raise SystemExit(f"{scan} is not what was written")
            found.append(figures(np.array(after[rows, columns]), replace(piece, **planes)))
    return mean_figures(found)


def spread(count: int) -> list[int]:
    """The first, the middle and the last of so many."""
    return sorted({0, count // 2, count - 1})


def measured(height: int, width: int, threads: int, work: Path) -> list[str]:
    profile, file, output = load_profile("generic-negative"), work / "large.tif", work / "clean"
    rolls = [Roll(PARAMS, landscape(3 + film)) for film in range(FILMS)]
    pieces = [roll.frame(1) for roll in rolls]
    with Reporter() as reporter:
        write_frame(file, height, width, pieces, reporter.progress)
        keep_map(work, height, width, rolls[0].bare(0), profile, threads, reporter.progress)
    copy = copied([file], "none")
    wall, cpu, peak = ours(file, work / "maps", output, threads)
    found = looked_at(output / file.name, file, height, width, pieces)
    return [
        f"{width} x {height}",
        f"{file.stat().st_size / 1e9:.2f}",
        f"{wall:.1f}",
        f"{cpu:.1f}",
        f"{copy:.1f}",
        f"{wall / copy:.2f}",
        f"{peak / 1e6:.0f}",
        f"{found.psnr_scan_db:.1f}",
        f"{found.psnr_db:.1f}",
        f"{found.treated:.1%}",
        f"{found.harm:.3%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="dustwatch clean --map over one frame of any size, against copying.")
    parser.add_argument("--height", type=int, default=38400)
    parser.add_argument("--width", type=int, default=48000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the frame goes meanwhile; default: the system's")
    parser.add_argument("--output", type=Path, default=Path("bench-out"), help="where the table goes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as work:
        line = measured(asked.height, asked.width, asked.threads, Path(work))
    asked.output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(markdown(HEADS, [line]))
    print(text)
    (asked.output / "large.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
