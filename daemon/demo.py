"""``dustwatch demo``: make a roll on dirty glass, clean it, and show what became of it.

The frames are simulated, so the truth is known and can be measured against; the cleaning is the real one.
"""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

from ..processing.figures import Figures, figures, mean_figures, same_groups
from ..processing.scenes import landscape
from ..processing.sheet import TILE, Exhibit, draw_sheet, most_telling_window, small
from ..processing.simulate import Roll, RollParams
from .errors import ExitCode, ServiceError
from .film import load_profile
from .pipeline import Job, clean
from .report import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

    from .progress import Progress

_MARK = ".dustwatch-demo"
_SHOWN = 8
_FRAME_MM = 36.0
_DRAWN_FOR_PX = 1800
"""Frame width at which dirt has the size that `RollParams` gives it by default."""

_WORKERS = 4
"""Frames simulated at a time, at most: each takes some 600 MB at 6 MP."""

_FILM_SPECKS = 4
"""Fewer than the simulator's default: they stay, by design, and would look like dirt that was missed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of a frame after it has been cleaned."""

    true_glass: int
    found_glass: str
    figures: Figures
    exhibit: Exhibit | None


def run_demo(folder: Path, *, frames: int = 16, megapixels: float = 6.0, threads: int, seed: int = 1) -> None:
    """Leave `folder`/scans, `folder`/clean and `folder`/contact-sheet.png, and print the figures.

    The roll has `frames` frames of 3:2 and about `megapixels`; its glass is wiped half way. An earlier demo in
    `folder` is replaced. Raises ServiceError when it holds anything else, and when a frame could not be cleaned.
    """
    console = Console()
    scans, cleaned = _prepare(folder)
    roll = _roll(frames, megapixels, seed)
    p = roll.params
    console.print(
        f"A roll of {frames} frames, {p.width} x {p.height}, 16 bit; {p.particles} particles on the glass, "
        f"which is wiped before frame {p.wipes[0] + 1}.",
        soft_wrap=True,
    )
    shown = {int(index) for index in np.linspace(0, frames - 1, min(frames, _SHOWN)).round()}
    with Reporter() as reporter, ThreadPoolExecutor(min(threads, _WORKERS)) as pool:
        _each(pool, reporter.progress, "Making the roll", frames, lambda i: _write_scan(roll, i, scans))
        started = time.monotonic()
        _clean(scans, cleaned, threads, reporter.progress)
        seconds = time.monotonic() - started
        results = _each(
            pool,
            reporter.progress,
            "Measuring",
            frames,
            lambda i: _measure(roll, i, scans, cleaned, i in shown),
        )
    console.print(_table(results))
    exact = same_groups([r.found_glass for r in results], [r.true_glass for r in results])
    found, true = (len({getattr(r, name) for r in results}) for name in ("found_glass", "true_glass"))
    console.print(
        f"Groups: {found} found, {true} true, {'every frame in its own' if exact else 'NOT the same'}. "
        f"{seconds / frames:.1f} s a frame ({p.width * p.height * frames / 1e6 / seconds:.1f} MP/s)."
    )
    sheet = folder / "contact-sheet.png"
    _draw(results, roll, seconds).save(sheet)
    console.print(f"Before, after and what was taken off: [bold]{sheet}[/]", soft_wrap=True)


def _prepare(folder: Path) -> tuple[Path, Path]:
    """Make the folders for scans and cleaned frames; what an earlier demo left goes, nobody else's does."""
    if folder.exists() and not folder.is_dir():
        raise ServiceError(f"{folder}: is not a folder; give another one with --output", ExitCode.USAGE)
    mark = folder / _MARK
    if folder.is_dir() and any(folder.iterdir()) and not mark.exists():
        raise ServiceError(
            f"{folder}: holds files that are not a demo's; give an empty or new folder with --output",
            ExitCode.USAGE,
        )
    scans, clean = folder / "scans", folder / "clean"
    try:
        for old in (scans, clean):
            if old.exists():
                shutil.rmtree(old)
        scans.mkdir(parents=True)
        mark.touch()
    except OSError as error:
        raise ServiceError(
            f"{folder}: cannot be written ({error.strerror}); give another folder with --output",
            ExitCode.USAGE,
        ) from error
    return scans, clean


def _roll(frames: int, megapixels: float, seed: int) -> Roll:
    """Set up a roll whose dirt is as large in the picture as in a real scan of that resolution."""
    height = max(round((megapixels * 1e6 / 1.5) ** 0.5), 2)
    width = round(height * 1.5)
    params = RollParams(
        frames=frames,
        height=height,
        width=width,
        wipes=(frames // 2,) if frames > 1 else (frames,),
        scale=width / _DRAWN_FOR_PX,
        specks=_FILM_SPECKS,
        seed=seed,
    )
    return Roll(params, landscape(seed))


def _name(index: int) -> str:
    return f"frame-{index + 1:02d}.tif"


def _write_scan(roll: Roll, index: int, scans: Path) -> None:
    dpi = round(roll.params.width / (_FRAME_MM / 25.4))
    tifffile.imwrite(
        scans / _name(index),
        roll.frame(index).scan,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        rowsperstrip=64,
        resolution=(dpi, dpi),
        resolutionunit="INCH",
        metadata=None,
    )


def _clean(scans: Path, output: Path, threads: int, progress: Progress) -> None:
    """Do what ``dustwatch clean`` does."""
    cleaned = clean(Job((scans,), output, load_profile("generic-negative"), threads), progress)
    errors = [str(outcome.error) for outcome in cleaned.outcomes if outcome.error]
    if errors:
        raise ServiceError("\n".join(errors), ExitCode.SOME_FAILED)


def _measure(roll: Roll, index: int, scans: Path, output: Path, shown: bool) -> _Result:
    """Compare a cleaned frame with the truth, which is made once more: a roll's would not fit in memory."""
    name = _name(index)
    truth = roll.frame(index)
    cleaned = tifffile.imread(output / name)
    receipt = json.loads((output / "receipts" / f"{name}.json").read_text())
    taken = figures(cleaned, truth)
    exhibit = None
    if shown:
        scan = tifffile.imread(scans / name)
        rows, columns = scan.shape[:2]
        top, left = most_telling_window(truth.film, truth.glass, truth.specks)
        window = np.s_[top : top + TILE[0], left : left + TILE[1]]
        exhibit = Exhibit(
            overview=small(scan),
            window=(top / rows, left / columns),
            extent=(TILE[0] / rows, TILE[1] / columns),
            before=scan[window].copy(),
            after=cleaned[window].copy(),
            caption=(
                f"{name}   glass {truth.glass_id + 1}   inside the dirt "
                f"{taken.psnr_scan_db:.1f} dB before, {taken.psnr_db:.1f} dB after"
            ),
        )
    return _Result(truth.glass_id, str(receipt["glass_id"]), taken, exhibit)


def _table(results: list[_Result]) -> Table:
    table = Table(title="Against the truth, inside the dirt", title_justify="left")
    for head in ("frames", "found as", "before", "after", "treated", "harm", "halo harm"):
        table.add_column(head, justify="left" if head in ("frames", "found as") else "right", no_wrap=True)
    for glass in sorted({result.true_glass for result in results}):
        own = [result for result in results if result.true_glass == glass]
        found = ", ".join(sorted({result.found_glass[:8] for result in own}))
        frames = f"{results.index(own[0]) + 1} - {results.index(own[-1]) + 1}"
        table.add_row(frames, found, *_cells(own))
    table.add_section()
    table.add_row(f"all {len(results)}", "", *_cells(results), style="bold")
    return table


def _cells(results: list[_Result]) -> tuple[str, ...]:
    mean = mean_figures([result.figures for result in results])
    return (
        f"{mean.psnr_scan_db:.1f} dB",
        f"{mean.psnr_db:.1f} dB",
        f"{mean.treated:.1%}",
        f"{mean.harm:.3%}",
        f"{mean.halo_harm:.2%}",
    )


def _draw(results: list[_Result], roll: Roll, seconds: float) -> Image.Image:
    mean = mean_figures([result.figures for result in results])
    p = roll.params
    subtitle = (
        "Positives of a simulated roll. Dust on the film itself differs from frame to frame, and stays.\n"
        f"{p.frames} frames of {p.width} x {p.height}, {p.particles} particles on the glass, wiped before "
        f"frame {p.wipes[0] + 1}.   Inside the dirt {mean.psnr_scan_db:.1f} dB -> {mean.psnr_db:.1f} dB, "
        f"{mean.treated:.0%} treated, {mean.harm:.3%} of clean pixels harmed, "
        f"{seconds / p.frames:.1f} s a frame."
    )
    exhibits = [result.exhibit for result in results if result.exhibit]
    return draw_sheet(exhibits, "dustwatch learned this dirt from the frames themselves", subtitle)


def _each(pool: ThreadPoolExecutor, progress: Progress, stage: str, count: int, work: Callable[[int], T]) -> list[T]:
    """Results of `work` for 0..count-1, in order."""
    step = progress(stage, count)

    def stepped(index: int) -> T:
        result = work(index)
        step()
        return result

    return list(pool.map(stepped, range(count)))
