"""``dustwatch demo``: scan a dirty roll into a watched folder, and show what became of it.

The frames are simulated, so the truth is known and can be measured against; the daemon is the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

from ..processing.figures import Figures, figures, mean_figures, same_groups
from ..processing.scenes import landscape
from ..processing.sheet import TILE, Exhibit, draw_sheet, most_telling_window, small
from ..processing.simulate import Roll, RollParams
from .errors import ExitCode, ServiceError
from .output import Output
from .report import Reporter
from .status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from PIL import Image

    from ..processing.arrays import Scan
    from .progress import Progress, Step
    from .status import FolderStatus

_MARK = ".dustwatch-demo"
_SHOWN, _SHOWN_REVISIONS = 8, 6
_FRAME_MM = 36.0
_DRAWN_FOR_PX = 1800
"""Frame width at which dirt has the size that `RollParams` gives it by default."""

_WORKERS = 4
"""Frames simulated at a time, at most: each takes some 600 MB at 6 MP."""

_FILM_SPECKS = 4
"""Fewer than the simulator's default: they stay, by design, and would look like dirt that was missed."""

_BEHIND = 10
"""By how much making frames steps back, so that the daemon need not wait for it."""

_STILL_S, _POLL_S = 0.3, 0.05
_PATIENCE_S = 600.0
"""For how long the daemon may be at one thing."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie in the folder of the demo."""

    scans: Path
    clean: Path
    ripening: Path
    state: Path
    log: Path


@dataclass(frozen=True, slots=True)
class _Revision:
    """A cleaned frame as it was with what `frames` frames told of its glass: dB inside the dirt, and a window of it."""

    frames: int
    psnr_db: float
    window: Scan


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of a frame after it has been cleaned for the last time.

    A frame on a glass of its own has no `found_glass`. Only frames for the sheet have an `exhibit`, and only the first
    of each glass `revisions`, of which the last is the final one.
    """

    index: int
    true_glass: int
    found_glass: str | None
    figures: Figures
    exhibit: Exhibit | None
    revisions: tuple[_Revision, ...]


def run_demo(folder: Path, *, frames: int = 16, megapixels: float = 6.0, threads: int, seed: int = 1) -> None:
    """Leave scans, cleaned frames, early revisions and a contact sheet in `folder`, and print the figures.

    The roll has `frames` frames of 3:2, at least 2, and about `megapixels`; its glass is wiped half way. An earlier
    demo in `folder` is replaced. The daemon is a process of its own, which has ended when this returns or raises.
    Raises ServiceError when `folder` holds anything else or is in use, when a frame could not be cleaned, and when the
    daemon ends by itself or does not get on.
    """
    console = Console()
    places = prepare(folder)
    roll = _roll(frames, megapixels, seed)
    p = roll.params
    console.print(
        f"A roll of {frames} frames, {p.width} x {p.height}, 16 bit; {p.particles} particles on the glass, "
        f"which is wiped before frame {p.wipes[0] + 1}.",
        soft_wrap=True,
    )
    shown = {int(index) for index in np.linspace(0, frames - 1, min(frames, _SHOWN)).round()}
    with Reporter() as reporter:
        workers = min(threads, _WORKERS)
        with _pool(workers, _BEHIND) as pool:
            step = reporter.progress("Making the roll", frames)
            made = _each(pool, step, frames, lambda i: _write_scan(roll, i, places.scans))
            latency_s, kept = _scan(made, p, places, threads, reporter.progress)
        with _pool(workers) as pool:
            step = reporter.progress("Measuring", frames)
            results = list(_each(pool, step, frames, lambda i: _measure(roll, i, places, kept.get(i, {}), i in shown)))
    console.print(_table(results))
    console.print(_ripening_table(results))
    found, true = ([r.found_glass or r.index for r in results], [r.true_glass for r in results])
    console.print(
        f"Groups: {len(set(found))} found, {len(set(true))} true, "
        f"{'every frame in its own' if same_groups(found, true) else 'NOT the same'}. "
        f"A cleaned frame was there {latency_s:.1f} s after its scan (median).",
        soft_wrap=True,
    )
    sheet = folder / "contact-sheet.png"
    _draw(results, p, latency_s).save(sheet)
    console.print(f"Before, after and what was taken off: [bold]{sheet}[/]", soft_wrap=True)
    console.print(f"How the first frames got better, to flip through: [bold]{places.ripening}[/]", soft_wrap=True)


def prepare(folder: Path) -> Places:
    """Make the folder for scans; what an earlier demo left goes, nobody else's does.

    Raises ServiceError (usage) where that is not possible.
    """
    if folder.exists() and not folder.is_dir():
        raise ServiceError(f"{folder}: is not a folder; give another one with --output", ExitCode.USAGE)
    mark = folder / _MARK
    if folder.is_dir() and any(folder.iterdir()) and not mark.exists():
        raise ServiceError(
            f"{folder}: holds files that are not a demo's; give an empty or new folder with --output",
            ExitCode.USAGE,
        )
    places = Places(*(folder / name for name in ("scans", "clean", "ripening", "state", "log.txt")))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
        with Output(places.clean).occupied():  # not while the daemon of another demo writes there
            for old in (places.scans, places.clean, places.ripening, places.state):
                if old.exists():
                    shutil.rmtree(old)
            places.log.unlink(missing_ok=True)
        places.scans.mkdir()
        places.ripening.mkdir()
    except OSError as error:
        raise ServiceError(
            f"{folder}: cannot be written ({error.strerror}); give another folder with --output",
            ExitCode.USAGE,
        ) from error
    return places


def _roll(frames: int, megapixels: float, seed: int) -> Roll:
    """Set up a roll whose dirt is as large in the picture as in a real scan of that resolution."""
    height = max(round((megapixels * 1e6 / 1.5) ** 0.5), 2)
    width = round(height * 1.5)
    params = RollParams(
        frames=frames,
        height=height,
        width=width,
        wipes=(frames // 2,),
        scale=width / _DRAWN_FOR_PX,
        specks=_FILM_SPECKS,
        seed=seed,
    )
    return Roll(params, landscape(seed))


def _name(index: int) -> str:
    return f"frame-{index + 1:02d}.tif"


@contextmanager
def _pool(workers: int, behind: int = 0) -> Iterator[ThreadPoolExecutor]:
    """Threads that let others go first, by `behind` steps of niceness; what they have not begun at the end is left."""
    pool = ThreadPoolExecutor(workers, initializer=os.nice, initargs=(behind,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _each(pool: ThreadPoolExecutor, step: Step, count: int, work: Callable[[int], T]) -> Iterator[T]:
    """Results of `work` for 0..count-1, in order; all of it is begun at once."""

    def stepped(index: int) -> T:
        result = work(index)
        step()
        return result

    return pool.map(stepped, range(count))


# --- scanning -----------------------------------------------------------------------------------------------


def _write_scan(roll: Roll, index: int, scans: Path) -> Path:
    """Simulate a frame into a hidden file, which the daemon does not see."""
    dpi = round(roll.params.width / (_FRAME_MM / 25.4))
    part = scans / f".{_name(index)}.part"
    tifffile.imwrite(
        part,
        roll.frame(index).scan,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        rowsperstrip=64,
        resolution=(dpi, dpi),
        resolutionunit="INCH",
        metadata=None,
    )
    return part


def _scan(
    made: Iterator[Path], p: RollParams, places: Places, threads: int, progress: Progress
) -> tuple[float, dict[int, dict[int, Path]]]:
    """Have the frames appear in the watched folder one by one, and all glasses closed at the end.

    Gives the seconds that it typically takes from a scan to its cleaned frame; and the revisions that were kept of the
    first frame of each glass, by its index and by the number of frames on the glass.
    """
    latencies_s: list[float] = []
    kept: dict[int, dict[int, Path]] = {first: {} for first in (0, *p.wipes)}
    cleaned = progress("Cleaning", p.frames)
    with _watching(places, threads) as daemon:
        for index, part in enumerate(made):
            latencies_s.append(_drop(part, index, daemon))
            _keep(kept, places)
            cleaned()
    closed = progress("Closing the glass", 1)
    with _watching(places, threads, "--close-after", "0.01") as daemon:
        daemon.until(lambda status: not status.glasses_open and not status.to_do)
        _keep(kept, places)
        closed()
    # The median, as the first frame has to wait until the daemon has started.
    return float(np.median(latencies_s)), kept


def _drop(part: Path, index: int, daemon: _Daemon) -> float:
    """Have a frame appear, and wait until nothing is left to do; gives the seconds until its cleaned copy was there."""
    scan = part.with_name(_name(index))
    cleaned = daemon.places.clean / scan.name
    started = time.monotonic()
    part.rename(scan)
    daemon.until(lambda _: cleaned.exists())
    latency_s = time.monotonic() - started
    daemon.until(lambda status: sum(status.frames.values()) > index and not status.to_do)
    return latency_s


def _keep(kept: dict[int, dict[int, Path]], places: Places) -> None:
    """Copy those cleaned frames that more frames than before now tell of."""
    for index, revisions in kept.items():
        cleaned = places.clean / _name(index)
        if not cleaned.exists():
            continue
        frames = max(_receipt(index, places)["map_frames"], 1)
        if frames not in revisions:
            revisions[frames] = places.ripening / f"{cleaned.stem}.after-{frames:02d}-frames.tif"
            shutil.copyfile(cleaned, revisions[frames])


def _receipt(index: int, places: Places) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((places.clean / "receipts" / f"{_name(index)}.json").read_text())
    return told


# --- the daemon ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Daemon:
    """The daemon at work."""

    process: subprocess.Popen[bytes]
    places: Places

    def until(self, reached: Callable[[FolderStatus], bool]) -> None:
        """Wait until it has come so far.

        Raises ServiceError when a file is in trouble, the daemon has ended by itself, or nothing happens for long.
        """
        before, since = None, time.monotonic()
        while True:
            status = self._status()
            if status is not None and status.troubles:
                reasons = (str(trouble["reason"]) for trouble in status.troubles.values())
                raise ServiceError("\n".join(reasons), ExitCode.SOME_FAILED)
            if status is not None and reached(status):
                return
            code = self.process.poll()
            if code is not None:
                reason = f"the daemon has ended by itself, with exit code {code}; {self.places.log} says why"
                raise ServiceError(reason, ExitCode.SOME_FAILED)
            if status != before:
                before, since = status, time.monotonic()
            if time.monotonic() - since > _PATIENCE_S:
                reason = f"the daemon has done nothing for {_PATIENCE_S:.0f} s; {self.places.log} may say why"
                raise ServiceError(reason, ExitCode.SOME_FAILED)
            time.sleep(_POLL_S)

    def _status(self) -> FolderStatus | None:
        """What ``dustwatch status`` tells; None while the daemon is starting."""
        with suppress(ServiceError):
            (status,) = read_status(self.places.state)
            return status
        return None


@contextmanager
def _watching(places: Places, threads: int, *options: str) -> Iterator[_Daemon]:
    """Have the daemon watch the scans, as a user would, and end it in any case."""
    command = [sys.executable, "-m", "dustwatch.daemon", "watch", str(places.scans), str(places.clean)]
    own = ["--state", str(places.state), "--still", str(_STILL_S), "--threads", str(threads), *options]
    with places.log.open("ab") as log, beside_us([*command, *own], stdout=log, stderr=log) as process:
        yield _Daemon(process, places)


@contextmanager
def beside_us(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command, and end it in any case; `options` are those of `subprocess.Popen`."""
    # SIGTERM, too, must not end us before we have ended it.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # In a group of its own, so that Ctrl-C ends us, and we end it.
        with subprocess.Popen(command, process_group=0, **options) as process:  # noqa: S603
            try:
                yield process
            finally:
                process.terminate()
                process.wait()  # after Ctrl-C the context itself does not
    finally:
        signal.signal(signal.SIGTERM, before)


# --- what came of it ----------------------------------------------------------------------------------------


def _measure(roll: Roll, index: int, places: Places, kept: dict[int, Path], shown: bool) -> _Result:
    """Compare a cleaned frame with the truth, which is made once more: a roll's would not fit in memory."""
    name = _name(index)
    truth = roll.frame(index)
    cleaned = tifffile.imread(places.clean / name)
    taken = figures(cleaned, truth)
    rows, columns = cleaned.shape[:2]
    top, left = most_telling_window(truth.film, truth.glass, truth.specks)
    window = np.s_[top : top + TILE[0], left : left + TILE[1]]
    exhibit = None
    if shown:
        exhibit = Exhibit(
            overview=small(truth.scan),
            window=(top / rows, left / columns),
            extent=(TILE[0] / rows, TILE[1] / columns),
            before=truth.scan[window].copy(),
            after=cleaned[window].copy(),
            caption=(
                f"{name}   glass {truth.glass_id + 1}   inside the dirt "
                f"{taken.psnr_scan_db:.1f} dB before, {taken.psnr_db:.1f} dB after"
            ),
        )
    revisions = []
    for frames, file in sorted(kept.items()):
        picture = tifffile.imread(file)
        revisions.append(_Revision(frames, figures(picture, truth).psnr_db, picture[window].copy()))
    return _Result(index, truth.glass_id, _receipt(index, places)["glass_id"], taken, exhibit, tuple(revisions))


def _table(results: Sequence[_Result]) -> Table:
    table = Table(title="Against the truth, inside the dirt", title_justify="left")
    for head in ("frames", "found as", "before", "after", "treated", "harm", "halo harm"):
        table.add_column(head, justify="left" if head in ("frames", "found as") else "right", no_wrap=True)
    for glass in sorted({result.true_glass for result in results}):
        own = [result for result in results if result.true_glass == glass]
        found = ", ".join(sorted({(result.found_glass or "alone")[:8] for result in own}))
        table.add_row(f"{own[0].index + 1} - {own[-1].index + 1}", found, *cells([result.figures for result in own]))
    table.add_section()
    table.add_row(f"all {len(results)}", "", *cells([result.figures for result in results]), style="bold")
    return table


def cells(found: Sequence[Figures]) -> tuple[str, ...]:
    """The mean of some figures, as the columns of a table."""
    mean = mean_figures(found)
    return (
        f"{mean.psnr_scan_db:.1f} dB",
        f"{mean.psnr_db:.1f} dB",
        f"{mean.treated:.1%}",
        f"{mean.harm:.3%}",
        f"{mean.halo_harm:.2%}",
    )


def _ripening_table(results: Sequence[_Result]) -> Table:
    early = {
        _name(result.index): {revision.frames: f"{revision.psnr_db:.1f} dB" for revision in result.revisions}
        for result in results
        if result.revisions
    }
    table = Table(title="How the first frames ripen, inside the dirt", title_justify="left")
    for head in ("frames on the glass", *early):
        table.add_column(head, justify="right", no_wrap=True)
    for frames in sorted(set().union(*early.values())):
        table.add_row(str(frames), *(psnr.get(frames, "") for psnr in early.values()))
    return table


def _draw(results: Sequence[_Result], p: RollParams, latency_s: float) -> Image.Image:
    mean = mean_figures([result.figures for result in results])
    subtitle = (
        "Positives of a simulated roll. Dust on the film itself differs from frame to frame, and stays.\n"
        f"{p.frames} frames of {p.width} x {p.height}, {p.particles} particles on the glass, wiped before "
        f"frame {p.wipes[0] + 1}.   Inside the dirt {mean.psnr_scan_db:.1f} dB -> {mean.psnr_db:.1f} dB, "
        f"{mean.treated:.0%} treated, {mean.harm:.3%} of clean pixels harmed, "
        f"there {latency_s:.1f} s after its scan (median)."
    )
    *early, last = results[0].revisions
    revisions = [(_caption(one), one.window) for one in early[: _SHOWN_REVISIONS - 1]]
    return draw_sheet(
        [result.exhibit for result in results if result.exhibit],
        [*revisions, (f"{_caption(last)}, glass closed", last.window)],
        "dustwatch learned this dirt from the frames themselves",
        subtitle,
    )


def _caption(revision: _Revision) -> str:
    known = "1 frame, as scanned" if revision.frames == 1 else f"{revision.frames} frames"
    return f"{known}: {revision.psnr_db:.1f} dB"
