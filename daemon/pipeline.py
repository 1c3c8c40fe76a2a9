"""The whole way of a roll: find, observe, group by glass, learn its dirt, clean, put into place."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import FrameError
from .frame import Arrival, Outcome
from .glass import find_glasses, learn_glass
from .intake import digests, forget, observe_all, recall
from .output import Output, not_ours
from .repair import clean_frame
from .source import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from pathlib import Path

    from .film import Profile
    from .progress import Progress


@dataclass(frozen=True, slots=True)
class Job:
    """What ``dustwatch clean`` was asked for."""

    paths: tuple[Path, ...]
    output: Path
    profile: Profile
    threads: int
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of a job: an outcome for each file, in their order after failures; and what was passed over."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def clean(job: Job, progress: Progress) -> Cleaned:
    """Clean all pictures of the job, or find out which ones there are to clean.

    Raises ServiceError where nothing can be started; what is wrong with a single frame is in its outcome.
    """
    output = Output(job.output, force=job.force)
    found = find(job.paths, job.output)
    failed = [Outcome(Arrival.of(path), error=error) for path, error in found.failures]
    known, unreadable = digests(found.arrivals, progress)
    roll = hashlib.sha256("\n".join(known.values()).encode()).hexdigest()
    with nullcontext() if job.dry_run else output.prepare() as folder:
        waiting, settled = _sort_out(known, roll, job, output)
        if folder is None:
            settled += [Outcome(arrival, skipped=True) for arrival in waiting]
        elif waiting:
            done = _clean_waiting(waiting, known, roll, job, output, folder, progress)
            # Of a frame that is settled it does not matter that its original is now gone.
            settled += [outcome for outcome in done if outcome.arrival in waiting]
    order = {arrival: number for number, arrival in enumerate(found.arrivals)}
    outcomes = failed + sorted(unreadable + settled, key=lambda outcome: order[outcome.arrival])
    return Cleaned(tuple(outcomes), found.notes)


def _clean_waiting(
    waiting: Set[Arrival],
    known: dict[Arrival, str],
    roll: str,
    job: Job,
    output: Output,
    folder: Path,
    progress: Progress,
) -> Iterator[Outcome]:
    """Learn from all frames of the roll, and clean those that are waiting."""
    frames, broken = observe_all(known, job.profile, folder, job.threads, progress)
    yield from broken
    step = progress("Cleaning", sum(frame.arrival in waiting for frame in frames))
    for glass in find_glasses(frames, job.profile.match):
        for run in glass.runs():
            if waiting.isdisjoint(frames[member.frame].arrival for member in run):
                continue
            gone = recall([frames[member.frame] for member in run], job.profile, job.threads)
            yield from gone
            lost = {outcome.arrival for outcome in gone}
            here = [member for member in run if frames[member.frame].arrival not in lost]
            wanted = [member.frame for member in here if frames[member.frame].arrival in waiting]
            if wanted:
                verdict = learn_glass(glass, here, frames, job.profile, folder, job.threads, progress)
                for number in wanted:
                    yield clean_frame(number, frames[number], verdict, job.profile, roll, output, job.threads)
                    step()
            forget([frames[member.frame] for member in run])


def _sort_out(known: dict[Arrival, str], roll: str, job: Job, output: Output) -> tuple[set[Arrival], list[Outcome]]:
    """Which arrivals are waiting to be cleaned, and the outcomes of the others."""
    waiting: set[Arrival] = set()
    settled = []
    for arrival in known:
        try:
            state = "to do" if job.force else output.state(arrival, roll, job.profile.digest)
        except FrameError as error:
            settled.append(Outcome(arrival, error=error))
            continue
        if state == "to do":
            waiting.add(arrival)
        elif state == "done":
            settled.append(Outcome(arrival, output.read_receipt(arrival), skipped=True))
        else:
            settled.append(Outcome(arrival, error=not_ours(output.path(arrival), state)))
    return waiting, settled
