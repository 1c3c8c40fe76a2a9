"""What a person sees of a run: progress while it goes on, a summary at the end, and the same as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from .errors import ExitCode, ServiceError
from .frame import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.progress import TaskID

    from .frame import Outcome
    from .pipeline import Cleaned, Job
    from .progress import Step


@dataclass(slots=True)
class _Bar:
    """The bar of a stage."""

    bars: Bars
    task: TaskID
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        self.within(0)

    def within(self, share: float) -> None:
        self.bars.update(self.task, completed=self.done + share)


class Reporter:
    """Shows progress on stderr, on a terminal only, and the summary on stdout."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Reporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, stage: str, steps: int) -> Step:
        """Show a bar for a stage, or make it longer if there is one; see `dustwatch.daemon.progress`."""
        known = next((task for task in self._bars.tasks if task.description == stage), None)
        task = known.id if known else self._bars.add_task(stage, total=0)
        self._bars.update(task, total=(known.total or 0) + steps if known else steps)
        return _Bar(self._bars, task)

    def finish(self, cleaned: Cleaned, job: Job, report: Path | None) -> None:
        """Print what became of the frames, failures to stderr, and write the report if one is wanted.

        Raises ServiceError where it cannot be written.
        """
        outcomes = cleaned.outcomes
        for note in cleaned.notes:
            click.echo(note, err=True)
        for outcome in outcomes:
            if outcome.error:
                click.echo(str(outcome.error), err=True)
        reasons = Counter(
            (o.status, o.receipt.reason) for o in outcomes if o.receipt and o.status in ("unchanged", "abstained")
        )
        for (status, reason), count in reasons.items():
            click.echo(f"{count} {status}: {reason}")
        if job.dry_run:
            for outcome in outcomes:
                if outcome.skipped and outcome.receipt is None:
                    click.echo(f"would clean {outcome.arrival.shown}")
        click.echo(_summary(outcomes, job))
        if report is not None:
            _write(report, outcomes)


def check_report(report: Path) -> None:
    """Refuse (ServiceError, usage) a report that would be written over anything but an earlier one, or nowhere.

    An original or a cleaned frame named by mistake must not be lost.
    """
    try:
        if report.exists() and not report.is_file():  # a pipe would be waited for
            raise ServiceError(f"{report}: is no file; give another --json", ExitCode.USAGE)
        with report.open("rb") as file:
            ours = file.read(len(_REPORT_BEGINS)) == _REPORT_BEGINS
    except FileNotFoundError:
        ours = True
        if not report.parent.is_dir():
            reason = f"{report}: there is no folder {report.parent}; make it, or give another --json"
            raise ServiceError(reason, ExitCode.USAGE) from None
    except OSError as error:
        reason = f"{report}: cannot be used: {error.strerror}; give another --json"
        raise ServiceError(reason, ExitCode.USAGE) from error
    if not ours:
        reason = f"{report}: is there already and is no report of dustwatch; give another --json"
        raise ServiceError(reason, ExitCode.USAGE)


_REPORT_BEGINS = b'{\n  "schema": 1,\n  "peak_memory_bytes":'


def _write(report: Path, outcomes: Sequence[Outcome]) -> None:
    try:
        check_report(report)  # once more, as the run itself may have written a frame there
    except ServiceError as error:
        raise ServiceError(error.message, ExitCode.SOME_FAILED) from error
    part = report.with_name(f".{report.name}.part")
    try:
        part.write_text(json.dumps(_as_json(outcomes), indent=2) + "\n")
        part.replace(report)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = f"{report}: cannot be written: {error.strerror}; give another --json"
        raise ServiceError(reason, ExitCode.SOME_FAILED) from error


def _summary(outcomes: Sequence[Outcome], job: Job) -> str:
    counts = Counter("to do" if outcome.skipped and outcome.receipt is None else outcome.status for outcome in outcomes)
    glasses = {o.receipt.glass_id for o in outcomes if o.receipt and o.receipt.glass_id}
    said = [
        f"{counts[status]} {status}"
        for status in ("cleaned", "unchanged", "abstained", "to do", "skipped", "failed")
        if counts[status]
    ]
    on = f", {len(glasses)} glass{'es' if len(glasses) != 1 else ''}" if glasses else ""
    return f"{len(outcomes)} frame{'s' if len(outcomes) != 1 else ''}: {', '.join(said)}{on} -> {shown(job.output)}"


def _as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "schema": 1,
        "peak_memory_bytes": _peak_memory_bytes(),
        "frames": [_frame_as_json(outcome) for outcome in outcomes],
    }


def _peak_memory_bytes() -> int:
    """Peak of the memory that this program has held.

    Not getrusage's: that counts what the parent held when it started us.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _frame_as_json(outcome: Outcome) -> dict[str, Any]:
    receipt = outcome.receipt
    told: dict[str, Any] = {"input": outcome.arrival.shown, "status": outcome.status}
    if outcome.error:
        told["error"] = str(outcome.error)
    if receipt:
        names = (
            "reason",
            "glass_id",
            "map_frames",
            "offset_px",
            "changed_px",
            "changed_share",
            "defect_count",
            "input_sha256",
            "output_sha256",
        )
        told |= {name: getattr(receipt, name) for name in names}
    told["megapixels"] = outcome.megapixels
    told["seconds"] = {stage: round(seconds, 4) for stage, seconds in outcome.seconds.items()}
    return told
