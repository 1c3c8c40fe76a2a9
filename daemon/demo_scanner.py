"""``dustwatch demo --scanner``: film is scanned, from a film scanner with dirty glass, straight into clean folders.

The scanner is virtual, a process of its own, so that the truth is known; libsane, the client and the cleaning are real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

from ..processing.figures import Figures, figures, same_groups
from ..processing.sheet import TILE, Exhibit, draw_sheet, most_telling_window, small
from ..processing.simulate import SimulatedFrame
from .demo import beside_us, cells, prepare
from .errors import ExitCode, ServiceError
from .frame import Receipt
from .scanner.holder import load_holder
from .yaml_file import to_text

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = "35mm-strip"
_RESOLUTIONS = (300, 400, 600, 800, 1200, 1600, 2400, 3200)
_MM_PER_INCH = 25.4


@dataclass(frozen=True, slots=True)
class _Result:
    """A frame that was scanned from a slot, and how it came out; one whose glass is not known has no `glass_id`."""

    slot: int
    glass_id: str | None
    figures: Figures
    exhibit: Exhibit


def run_scanner_demo(folder: Path, *, frames: int, megapixels: float, threads: int, seed: int) -> None:
    """Leave scans, cleaned frames and a contact sheet in `folder`, and print the figures.

    At least `frames` frames are scanned, as many as whole loads of the holder give, two at least; they have about
    `megapixels`. An earlier demo in `folder` is replaced. Raises ServiceError when `folder` holds anything else, when
    scanners cannot be driven, and when scanning or cleaning fails.
    """
    console = Console()
    places = prepare(folder)
    holder = load_holder(_HOLDER)
    slots = len(holder.slots)
    loads = max(-(-frames // slots), 2)
    area_mm2 = holder.slots[0].width * holder.slots[0].height
    wanted = (megapixels * 1e6 / area_mm2) ** 0.5 * _MM_PER_INCH
    resolution = min(_RESOLUTIONS, key=lambda dpi: abs(dpi - wanted))
    profile = folder / "profile.yaml"
    section = {"resolution": resolution, "depth": 16, "options": {"source": "Transparency Unit", "mode": "Color"}}
    profile.write_text(to_text({"name": "profile", "extends": "generic-negative", "scanner": section}))
    address = f"127.66.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    sane = folder / "sane"
    sane.mkdir(exist_ok=True)
    (sane / "dll.conf").write_text("net\n")
    (sane / "net.conf").write_text(f"connect_timeout = 5\n{address}\n")
    console.print(
        f"A holder of {slots} slots is scanned {loads} times at {resolution} dpi, from a scanner that only lives in "
        "software; its dirt is fixed to the glass.",
        soft_wrap=True,
    )
    us = [sys.executable, "-m", "dustwatch.daemon"]
    serve = [*us, "virtual-scanner", "--listen", address, "--holder", _HOLDER, "--seed", str(seed)]
    scan = [*us, "scan", str(folder), "--device", f"net:{address}:film", "--profile", str(profile)]
    scan += ["--holder", _HOLDER, "--loads", str(loads), "--state", str(places.state), "--threads", str(threads)]
    environment = os.environ | {"SANE_CONFIG_DIR": str(sane)}
    with beside_us(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as scanner:
        _answer(scanner)
        with beside_us(scan, env=environment, stdin=subprocess.DEVNULL) as client:
            code = client.wait()
        if code:
            raise ServiceError("the scans did not come out clean, as is said above", ExitCode(code))
        names = sorted(file.name for file in places.scans.iterdir())
        results = [_measure(scanner, folder, name, number, slots) for number, name in enumerate(names)]
    console.print(_table(results, slots))
    alike = same_groups([one.glass_id or str(n) for n, one in enumerate(results)], [one.slot for one in results])
    console.print(f"Glasses: {'one for every slot' if alike else 'NOT one for every slot'}.")
    sheet = folder / "contact-sheet.png"
    first = results[0].exhibit
    revisions = [("1 frame, as scanned", first.before), (f"{loads} frames, glass closed", first.after)]
    subtitle = f"{len(names)} frames from {slots} slots of a virtual film scanner, {resolution} dpi."
    exhibits = [one.exhibit for one in results[:slots]]
    draw_sheet(exhibits, revisions, "dustwatch scanned this film, and learned the dirt on the way", subtitle).save(
        sheet
    )
    console.print(f"Before, after and what was taken off: [bold]{sheet}[/]", soft_wrap=True)


def _answer(scanner: subprocess.Popen[Any]) -> str:
    """A line that the virtual scanner says. Raises ServiceError where it has ended."""
    line = str(scanner.stdout and scanner.stdout.readline())
    if not line:
        raise ServiceError("the virtual scanner has ended, and said above why", ExitCode.SOME_FAILED)
    return line


def _measure(scanner: subprocess.Popen[Any], folder: Path, name: str, number: int, slots: int) -> _Result:
    """Compare a cleaned frame with the truth, which the virtual scanner tells."""
    truth = folder / "truth"
    if scanner.stdin is not None:
        print(f"truth {truth} {number + 1}", file=scanner.stdin, flush=True)
    _answer(scanner)
    film, glass, specks = (np.load(truth / f"{part}.npy") for part in ("film", "glass", "specks"))
    scan, cleaned = (tifffile.imread(folder / where / name) for where in ("scans", "clean"))
    receipt = Receipt.from_json((folder / "clean" / "receipts" / f"{name}.json").read_bytes())
    found = figures(cleaned, SimulatedFrame(scan, film, glass, specks, (0.0, 0.0), number % slots))
    rows, columns = scan.shape[:2]
    top, left = most_telling_window(film, glass, specks)
    window = np.s_[top : top + TILE[0], left : left + TILE[1]]
    exhibit = Exhibit(
        overview=small(scan),
        window=(top / rows, left / columns),
        extent=(TILE[0] / rows, TILE[1] / columns),
        before=scan[window].copy(),
        after=cleaned[window].copy(),
        caption=f"{name}   inside the dirt {found.psnr_scan_db:.1f} dB before, {found.psnr_db:.1f} dB after",
    )
    return _Result(number % slots, receipt.glass_id if receipt else None, found, exhibit)


def _table(results: list[_Result], slots: int) -> Table:
    table = Table(title="Against the truth, inside the dirt", title_justify="left")
    for head in ("slot", "found as", "before", "after", "treated", "harm", "halo harm"):
        table.add_column(head, justify="left" if head == "found as" else "right", no_wrap=True)
    for slot in range(slots):
        own = [one for one in results if one.slot == slot]
        found = ", ".join(sorted({(one.glass_id or "alone")[:8] for one in own}))
        table.add_row(str(slot + 1), found, *cells([one.figures for one in own]))
    table.add_section()
    table.add_row("all", "", *cells([one.figures for one in results]), style="bold")
    return table
