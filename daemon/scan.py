"""``dustwatch scan``: film goes from the scanner into clean folders, load after load; and the scanners of a service."""

from __future__ import annotations

import logging
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
from .scanner.holder import load_holder
from .service import serve, state_name
from .settings import SCANNED_STILL_S, FolderSettings, ScannerSettings, refuse_harm
from .status import read_journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .scanner.section import ScannerSection


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
    Raises ServiceError where the scanner cannot be used at all, or frames could not be cleaned, and SystemExit
    (interrupted) where somebody has ended it before.
    """
    folder = FolderSettings(roll.absolute() / "scans", roll.absolute() / "clean", profile, still_s=SCANNED_STILL_S)
    load = _load(folder, holder, None)
    try:
        folder.input.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{folder.input}: cannot be made ({error.strerror}); give another ROLL"
        raise ServiceError(reason, ExitCode.USAGE) from error
    refuse_harm(folder, state)
    begin = by_hand(load, sys.stdin.fileno(), buttons) if loads is None else counted(load, loads)
    with _Display(loads) as display:
        feed = Feed(device, begin, stall_s=stall_s, progress=display.scanning)
        feeds = [] if loads == 0 else [feed]
        done = serve([folder], state, threads, patient=False, feeds=feeds, until_fed=True, show=display.cleaning)
    if not done:
        raise SystemExit(ExitCode.INTERRUPTED)
    if feed.error is not None:
        raise ServiceError(str(feed.error), ExitCode.SOME_FAILED if feed.scanned else ExitCode.USAGE) from feed.error
    status = read_journal(state / state_name(folder) / "journal.sqlite")
    click.echo(f"{feed.scanned} scanned into {folder.input}; in {folder.output} {_counted(status.frames) or 'nothing'}")
    if status.to_do or status.troubles:
        reasons = [str(trouble["reason"]) for trouble in status.troubles.values()]
        what = "\n".join(reasons) or f"{status.to_do} frames could not be cleaned; mend what is said above"
        raise ServiceError(f"{what}; then run it again with --loads 0", ExitCode.SOME_FAILED)


def feed_of(scanner: ScannerSettings) -> Feed:
    """The feed of a scanner of the service, whose buttons have film scanned.

    Raises ServiceError (usage) where a profile or a holder cannot be read.
    """
    loads = {}
    for button, asked in scanner.on_button.items():
        folder = scanner.folders[asked.profile or scanner.profile]
        loads[button] = _load(folder, asked.holder or scanner.holder, scanner.section)
    return Feed(scanner.device, on_buttons(loads), stall_s=scanner.stall_s)


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
