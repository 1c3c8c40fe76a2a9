"""Scan through SANE into a file, beside scanimage: how fast, in how much memory.

    python -m tests.bench.scan [--dpi 3000] [--folder DIR]

The scanner is SANE's own `test` device, at 16 bit in colour, 200 x 200 mm: 3.3 GB at 3000 dpi, as fast as it can.
Prints a Markdown table. Both write to the page cache; dustwatch then also waits until the disk has it all, which is
told apart. Memory is the peak of the worker process and that of the process that asks it. --folder needs room for one
such file; it is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from dustwatch.daemon.scanner.plan import Plan, Progress, Window
from dustwatch.daemon.scanner.section import ScannerSection
from dustwatch.daemon.scanner.session import Session
from tests.scanning import sane_config

SIDE_MM = 200.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Scan into a file, beside scanimage: speed and memory.")
    parser.add_argument("--dpi", type=int, default=3000, help="resolution of the scan")
    parser.add_argument("--folder", type=Path, help="where the file goes meanwhile; default: the system's")
    arguments = parser.parse_args()
    print("| | GB | s into the file | MB/s | s until on the disk | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        config = sane_config(Path(work, "sane"), "test")
        (config / "test.conf").write_text(f"resolution_max {arguments.dpi}.0\n")
        os.environ["SANE_CONFIG_DIR"] = str(config)
        for name, scan in (("dustwatch", by_dustwatch), ("scanimage", by_scanimage)):
            file = Path(work, "scan.tif")
            into, on_disk, memory = scan(arguments.dpi, file)
            size = file.stat().st_size
            file.unlink()
            megabytes = " + ".join(f"{peak / 1e6:.0f}" for peak in memory)
            disk = f"{on_disk:.1f}" if on_disk else ""
            speed = f"{size / 1e9:.2f} | {into:.1f} | {size / 1e6 / into:.0f}"
            print(f"| {name} | {speed} | {disk} | {megabytes} |", flush=True)


def by_dustwatch(dpi: int, file: Path) -> tuple[float, float, list[int]]:
    """Seconds into the file, seconds until it is on the disk, and the peaks of both processes in bytes."""
    section = ScannerSection(resolution=dpi, depth=16, options={"mode": "Color", "test-picture": "Color pattern"})
    peaks: dict[int, int] = {}

    def look(_: Progress) -> None:
        for process in (os.getpid(), *children(os.getpid())):
            peaks[process] = peak_memory(process)

    with Session("test:0") as session:
        started = time.perf_counter()
        scanned = session.scan(Plan(section, Window(0, 0, SIDE_MM, SIDE_MM)), file, look)
        return scanned.seconds, time.perf_counter() - started, sorted(peaks.values(), reverse=True)


def by_scanimage(dpi: int, file: Path) -> tuple[float, float, list[int]]:
    """The same of scanimage, which does not wait for the disk."""
    options = ["--mode=Color", "--depth=16", f"--resolution={dpi}", "--test-picture=Color pattern"]
    window = ["-l0", "-t0", f"-x{SIDE_MM:g}", f"-y{SIDE_MM:g}"]
    started = time.perf_counter()
    with subprocess.Popen(["scanimage", "-dtest:0", "--format=tiff", f"-o{file}", *options, *window]) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"scanimage ended with {process.returncode}")
    return time.perf_counter() - started, 0.0, [peak]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def peak_memory(process: int) -> int:
    """Peak of a process in bytes, 0 of one that has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
