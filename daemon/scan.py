"""``dustwatch scan``: film goes from the scanner into clean folders, load after load; and the scanners of a service."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from . import log
from .errors import ExitCode, ServiceError
from .feed import Doing, Feed, Load, by_hand, counted, on_buttons
from .film import load_profile
from .frame import shown
from .scanner.fault import ScannerError
from .scanner.holder import load_holder
from .service import serve, state_name
from .settings import SCANNED_STILL_S, FolderSettings, ScannerSettings, refuse_harm
from .status import read_journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .scanner.section import ScannerSection

_log = logging.getLogger(__name__)


def scan_roll(
    roll: Path,
    device: str,
    profile: str,
    *,
    holder: str | None,
    loads: int | None,
    buttons: Sequence[str],
    stall_s: float,
    state: Path,
    threads: int,
) -> None:
    """Scan into ``scans`` in the folder `roll`, and clean into ``clean`` beside it, until all is done.

    So many `loads` follow one upon the other; without a number, the operator says when the next one lies there.
    Raises ServiceError where the scanner cannot be used at all, every slot was blank, or frames could not be cleaned,
    and SystemExit (interrupted) where somebody has ended it before.
    """
    folder = FolderSettings(roll.absolute() / "scans", roll.absolute() / "clean", profile, still_s=SCANNED_STILL_S)
    load = _load(folder, holder, None)
    begin = by_hand(load, _keys(), buttons) if loads is None else counted(load, loads)
    # Until the service knows better: the scanner may have to be waited for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _Display(loads) as display:
        feed = Feed(device, begin, patient=False, stall_s=stall_s, progress=display.scanning)
        if loads != 0:
            _make_scans(feed, load, buttons)
        refuse_harm(folder, state)
        feeds = [] if loads == 0 else [feed]
        done = serve([folder], state, threads, patient=False, feeds=feeds, until_fed=True, show=display.cleaning)
    if not done:
        raise SystemExit(ExitCode.INTERRUPTED)
    status = read_journal(state / state_name(folder) / "journal.sqlite")
    left_out = f", {feed.left_out} left out as blank" if feed.left_out else ""
    cleaned = f"in {shown(folder.output)} {_counted(status.frames) or 'nothing'}"
    click.echo(f"{feed.scanned} scanned into {shown(folder.input)}{left_out}; {cleaned}")
    if feed.error is not None:  # which has been told as it happened
        raise SystemExit(ExitCode.SOME_FAILED if feed.scanned else ExitCode.USAGE)
    if status.to_do or status.troubles:
        reasons = [str(trouble["reason"]) for trouble in status.troubles.values()]
        what = "\n".join(reasons) or f"{status.to_do} frames could not be cleaned; mend what is said above"
        raise ServiceError(f"{what}; then run it again with --loads 0", ExitCode.SOME_FAILED)
    if feed.left_out and not feed.scanned:
        what = "nothing was scanned, every slot is blank; mend what is said above, then run it again"
        raise ServiceError(what, ExitCode.SOME_FAILED)


def _make_scans(feed: Feed, load: Load, buttons: Sequence[str]) -> None:
    """Make the folder of the scans, once the scanner has answered that it does what is wanted."""
    try:
        feed.check(load, buttons)
    except ScannerError as error:
        raise ServiceError(str(error), ExitCode.USAGE) from error
    try:
        load.scans.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{load.scans}: cannot be made ({error.strerror}); give another ROLL"
        raise ServiceError(reason, ExitCode.USAGE) from error


def _keys() -> int:
    """Where the operator types; nowhere, if the input has been closed."""
    return os.open(os.devnull, os.O_RDONLY) if sys.stdin is None else sys.stdin.fileno()


def feed_of(scanner: ScannerSettings, state: Path) -> Feed:
    """The feed of a scanner of the service, whose buttons have film scanned; the folders of its scans are made.

    `state`: where the service keeps what it knows. Raises ServiceError (usage) where that, a profile or a holder cannot
    be read.
    """
    _make_new_folders(scanner, state)
    loads = {}
    for button, asked in scanner.on_button.items():
        folder = scanner.folders[asked.profile or scanner.profile]
        loads[button] = _load(folder, asked.holder or scanner.holder, scanner.section)
    return Feed(scanner.device, on_buttons(loads), stall_s=scanner.stall_s)


def _make_new_folders(scanner: ScannerSettings, state: Path) -> None:
    """Make the folders of scans that have never held any, in one that is there.

    Where there have been frames, a folder that is missing lies on a disk that is not there now; where the folder around
    it is missing, nobody knows. Both are waited for.
    """
    used = {folder.input: _has_had_frames(state / state_name(folder)) for folder in scanner.folders.values()}
    for folder in dict.fromkeys((scanner.scans, *used)):
        if used.get(folder, any(used.values())):
            continue
        try:
            folder.mkdir()
        except FileExistsError:
            pass
        except OSError as error:
            _log.warning("%s: cannot be made (%s)", folder, error.strerror)
        else:
            _log.info("%s: made, for scans of %s", folder, scanner.device)


def _has_had_frames(state: Path) -> bool:
    journal = state / "journal.sqlite"
    made = journal.exists() and journal.stat().st_size > 0  # else the first start was broken off
    return made and bool(read_journal(journal).frames)


def _load(folder: FolderSettings, holder: str | None, section: ScannerSection | None) -> Load:
    """`section`: None for what the profile says."""
    section = section or load_profile(folder.profile).scanner
    return Load(folder.input, folder.output, folder.profile, section, load_holder(holder) if holder else None)


def _counted(frames: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in frames.items())


class _Display:
    """Shows, on a terminal, how far scanning and cleaning are; elsewhere there is only the log."""

    def __init__(self, loads: int | None) -> None:
        self._loads = loads
        self._first: int | None = None
        console = Console(stderr=True)
        self._bars = Progress(
            # However long the paths are, bar and time are seen.
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("Scanning", total=None)
        self._about = self._bars.add_task("", total=1, visible=False)

    def __enter__(self) -> _Display:
        log.setup()
        if not self._bars.disable:
            # What is said appears above the bars.
            handler = RichHandler(console=self._bars.console, show_path=False)
            logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def scanning(self, doing: Doing) -> None:
        """Show how far the present scan is."""
        self._first = self._first or doing.load
        done = doing.done + (doing.load - self._first) * doing.slots
        total = doing.slots * (self._loads or doing.load - self._first + 1)
        self._bars.update(self._task, description=f"Scanning {doing}", completed=done, total=total)

    def cleaning(self, summary: str) -> None:
        """Show what all are doing."""
        self._bars.update(self._about, description=summary, visible=True)
