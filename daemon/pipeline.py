"""The whole way of a roll: find, observe, group by glass, learn its dirt, clean, put into place."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..processing.placement import Placement
from .empty_glass import observe_empty, refuse_other_size
from .errors import FrameError
from .frame import Arrival, Outcome
from .glass import Glass, find_glasses
from .groups import Member
from .intake import digests, forget, observe_all, recall
from .output import Output, not_ours
from .repair import clean_frame, learn_glass
from .source import find
from .workplace import Workplace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

    from .film import Profile
    from .frame import Frame, Receipt
    from .glass import Run
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
    found = find(job.paths, job.output, job.profile.empty_glass)
    failed = [Outcome(Arrival.of(path), error=error) for path, error in found.failures]
    known, unreadable = digests(found.arrivals, progress)
    with nullcontext() if job.dry_run else output.prepare() as folder:
        receipts, taken = ({}, []) if job.force else _look_at_output(known, output)
        settled = {outcome.arrival: outcome for outcome in (*unreadable, *taken)}
        results: Iterable[Outcome]
        # Receipts do not say where the glass lies in empty-glass scans.
        if not job.profile.empty_glass and _all_as_before(known, receipts, job.profile):
            results = [Outcome(arrival, receipts[arrival], skipped=True) for arrival in known]
        elif folder is None:
            results = [Outcome(arrival, skipped=True) for arrival in known]
        else:
            workplace = Workplace(job.profile, output, folder, job.threads, progress)
            results = _clean_roll(known, receipts, settled.keys(), workplace)
        # Of a frame that is settled it does not matter that its original is now gone.
        settled = {outcome.arrival: outcome for outcome in results} | settled
    return Cleaned((*failed, *(settled[arrival] for arrival in found.arrivals)), found.notes)


def _clean_roll(
    known: Mapping[Arrival, str],
    receipts: Mapping[Arrival, Receipt],
    settled: Set[Arrival],
    workplace: Workplace,
) -> Iterator[Outcome]:
    """Learn from all frames of the roll, and clean those that are not settled and not as an earlier run made them."""
    empty = observe_empty(workplace.profile.empty_glass, workplace)
    filmed, broken = observe_all(known, workplace)
    yield from broken
    refuse_other_size(empty, filmed, workplace.profile)
    frames = [*empty, *filmed]
    step = workplace.progress("Cleaning", len(filmed))
    for glass in find_glasses(frames, workplace.profile.match):
        for run in glass.runs():
            waiting = set()
            for member in run.cleaned:
                frame = frames[member.frame]
                receipt = receipts.get(frame.arrival)
                if receipt and _as_before(receipt, frame.sha256, run, workplace.profile):
                    yield Outcome(frame.arrival, receipt, skipped=True)
                elif frame.arrival not in settled:
                    waiting.add(frame.arrival)
            for outcome in _clean_run(run, frames, waiting, workplace):
                yield outcome
                step()


def _clean_run(run: Run, frames: Sequence[Frame], waiting: Set[Arrival], workplace: Workplace) -> Iterator[Outcome]:
    """Learn the map of a run and clean those of its frames that are waiting."""
    if not waiting:
        return
    seen = [frames[member.frame] for member in run.witnesses]
    gone = recall(seen, workplace)
    yield from gone
    lost = {outcome.arrival for outcome in gone}
    run = run.without({member.frame for member in run.witnesses if frames[member.frame].arrival in lost})
    known = learn_glass(run, frames, workplace)
    for member in run.cleaned:
        if frames[member.frame].arrival in waiting:
            yield clean_frame(frames[member.frame], member, known, workplace)
    forget([frame for frame in seen if not frame.bare])


def _look_at_output(known: Iterable[Arrival], output: Output) -> tuple[dict[Arrival, Receipt], list[Outcome]]:
    """The receipts of earlier runs, and the outcomes of the frames in whose place there is what is not ours."""
    receipts = {}
    taken = []
    for arrival in known:
        try:
            state, receipt = output.state(arrival), output.read_receipt(arrival)
        except FrameError as error:
            taken.append(Outcome(arrival, error=error))
            continue
        if state in ("edited", "foreign"):
            taken.append(Outcome(arrival, error=not_ours(output.path(arrival), state)))
        if receipt is not None and state != "none":
            receipts[arrival] = receipt
    return receipts, taken


def _all_as_before(known: Mapping[Arrival, str], receipts: Mapping[Arrival, Receipt], profile: Profile) -> bool:
    """Whether the receipts tell of these frames and no others, so that to sort them by glass again changes nothing."""
    if receipts.keys() != known.keys():
        return False
    told = [receipts[arrival] for arrival in known]
    on_glass: dict[str, list[Member]] = {}
    for number, (receipt, sha256) in enumerate(zip(told, known.values(), strict=True)):
        member = Member(number, sha256, Placement(receipt.offset_px or (0.0, 0.0), receipt.orientation))
        on_glass.setdefault(receipt.glass_id or f"alone {number}", []).append(member)
    for glass_id, members in on_glass.items():
        glass = Glass(tuple(members))
        if glass_id == replace(glass, wrong_sign=True).glass_id:
            glass = replace(glass, wrong_sign=True)
        for run in glass.runs():
            if not all(_as_before(told[member.frame], member.sha256, run, profile) for member in run.cleaned):
                return False
    return True


def _as_before(receipt: Receipt, input_sha256: str, run: Run, profile: Profile) -> bool:
    """Whether a frame would come out as an earlier run has made it."""
    now = (input_sha256, run.map_sha256, profile.digest)
    return (receipt.input_sha256, receipt.map_sha256, receipt.profile_sha256) == now
