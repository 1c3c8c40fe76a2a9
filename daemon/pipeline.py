"""The whole way of a roll: find, observe, group by glass, learn its dirt, clean, put into place."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..processing.placement import Placement
from ..processing.pool import behind
from .empty_glass import observe_empty, refuse_other_size
from .errors import FrameError
from .frame import Arrival, Outcome
from .glass import Glass, find_glasses
from .groups import Member
from .intake import contents, forget, observe_all, observe_frame, recall
from .kept import keeps, open_glasses, recognised, unrecognised
from .output import Output, not_ours
from .repair import UNRECOGNISED, Known, learn_glass, repaired
from .source import find
from .workplace import Workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

    from .film import Profile
    from .frame import Content, Frame, Receipt
    from .glass import Run
    from .kept import KeptGlass
    from .progress import Progress, Step


@dataclass(frozen=True, slots=True)
class Job:
    """What ``dustwatch clean`` was asked for.

    `keep_maps` is where to keep what is learnt of each glass; `map` is where an earlier run has kept that: nothing is
    then learnt.
    """

    paths: tuple[Path, ...]
    output: Path
    profile: Profile
    threads: int
    force: bool = False
    dry_run: bool = False
    keep_maps: Path | None = None
    map: Path | None = None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of a job: an outcome for each file, in their order after failures; and what was passed over."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def clean(job: Job, progress: Progress, begin: Callable[[], None] = lambda: None) -> Cleaned:
    """Clean all pictures of the job, or find out which ones there are to clean; `begin` is called if there are any.

    Raises ServiceError where nothing can be started; what is wrong with a single frame is in its outcome.
    """
    output = Output(job.output, force=job.force)
    glasses = open_glasses(job.map, job.profile) if job.map is not None else None
    found = find(job.paths, job.output, job.profile.empty_glass)
    failed = [Outcome(Arrival.of(path), error=error) for path, error in found.failures]
    known, unreadable = contents(found.arrivals, job.threads, progress)
    with nullcontext() if job.dry_run else output.prepare() as folder:
        receipts, taken = ({}, []) if job.force else _look_at_output(known, output)
        settled = {outcome.arrival: outcome for outcome in (*unreadable, *taken)}
        results: Iterable[Outcome]
        # Receipts do not say where the glass lies in empty-glass scans.
        if glasses is None and not job.profile.empty_glass and _all_as_before(known, receipts, job):
            results = [Outcome(arrival, receipts[arrival], skipped=True) for arrival in known]
        elif folder is None:
            results = [Outcome(arrival, skipped=True) for arrival in known]
        else:
            begin()
            workplace = Workplace(job.profile, output, folder, job.threads, progress)
            if glasses is None:
                results = _clean_roll(known, receipts, settled.keys(), workplace, job.keep_maps)
            else:
                results = _clean_one_by_one(known, receipts, settled.keys(), glasses, workplace)
        # Of a frame that is settled it does not matter that its original is now gone.
        settled = {outcome.arrival: outcome for outcome in results} | settled
    return Cleaned((*failed, *(settled[arrival] for arrival in found.arrivals)), found.notes)


def _clean_roll(
    known: Mapping[Arrival, Content],
    receipts: Mapping[Arrival, Receipt],
    settled: Set[Arrival],
    workplace: Workplace,
    keep_maps: Path | None,
) -> Iterator[Outcome]:
    """Learn from all frames of the roll, and clean those that are not settled and not as an earlier run made them."""
    empty = observe_empty(workplace.profile.empty_glass, workplace)
    filmed, broken = observe_all(known, workplace)
    yield from broken
    refuse_other_size(empty, filmed, workplace.profile)
    frames = [*empty, *filmed]
    step = workplace.progress("Cleaning", len(filmed))
    for glass in find_glasses(frames, workplace.profile.match):
        runs = list(glass.runs())
        for number, run in enumerate(runs, start=1):
            waiting = set()
            for member in run.cleaned:
                frame = frames[member.frame]
                receipt = receipts.get(frame.arrival)
                if receipt and _as_before(receipt, frame.sha256, run, workplace.profile):
                    yield Outcome(frame.arrival, receipt, skipped=True)
                elif frame.arrival not in settled:
                    waiting.add(frame.arrival)
                if frame.arrival not in waiting:
                    step()
            keep = keep_maps if run is runs[-1] and not _is_kept(run, keep_maps) else None
            yield from _clean_run(run, frames, waiting, workplace, keep, step)
            witnesses_to_come = {member.frame for later in runs[number:] for member in later.witnesses}
            forget([frames[one.frame] for one in run.witnesses if not one.bare and one.frame not in witnesses_to_come])


def _clean_run(
    run: Run,
    frames: Sequence[Frame],
    waiting: Set[Arrival],
    workplace: Workplace,
    keep: Path | None,
    step: Step,
) -> Iterator[Outcome]:
    """Learn the map of a run, to be kept in the folder `keep` if given, and clean those of its frames that wait."""
    if not waiting and not keep:
        return
    seen = [frames[member.frame] for member in run.witnesses]
    gone = recall(seen, workplace)
    yield from gone
    lost = {outcome.arrival for outcome in gone}
    run = run.without({member.frame for member in run.witnesses if frames[member.frame].arrival in lost})
    for _ in lost & waiting:
        step()
    known = learn_glass(run, frames, workplace, keep)

    def frames_repaired() -> Iterator[Callable[[], Outcome]]:
        for member in run.cleaned:
            if frames[member.frame].arrival in waiting:
                yield repaired(frames[member.frame], member, known, workplace, step.within)
                step()

    # While a frame is repaired, the one before is put on the disk.
    yield from behind(workplace.threads, frames_repaired())


def _clean_one_by_one(
    known: Mapping[Arrival, Content],
    receipts: Mapping[Arrival, Receipt],
    settled: Set[Arrival],
    glasses: Sequence[KeptGlass],
    workplace: Workplace,
) -> Iterator[Outcome]:
    """Clean the frames that are not settled with what an earlier run has kept of their glasses."""
    observed, cleaned = (workplace.progress(stage, len(known)) for stage in ("Observing", "Cleaning"))
    for arrival, content in known.items():
        receipt = receipts.get(arrival)
        possible = [*(glass.run for glass in glasses), unrecognised(glasses, content.sha256)]
        if receipt and any(_as_before(receipt, content.sha256, run, workplace.profile) for run in possible):
            yield Outcome(arrival, receipt, skipped=True)
        elif arrival not in settled:
            yield _clean_alone(arrival, content, glasses, workplace, observed.within, cleaned.within)
        observed()
        cleaned()


def _clean_alone(
    arrival: Arrival,
    content: Content,
    glasses: Sequence[KeptGlass],
    workplace: Workplace,
    observed: Callable[[float], None],
    cleaned: Callable[[float], None],
) -> Outcome:
    """Clean a frame with what is kept of the glass that it lies on, if it lies on any of these."""
    try:
        frame = observe_frame(arrival, content, workplace.scratch / "residual", workplace, observed)
    except FrameError as error:
        return Outcome(arrival, error=error)
    if found := recognised(glasses, frame.observation.fingerprint, frame.sha256, frame.place, workplace.profile.match):
        glass, member = found
        outcome = repaired(frame, member, Known(glass.cleaning(member), glass.map), workplace, cleaned)()
    else:
        run = unrecognised(glasses, frame.sha256)
        outcome = repaired(frame, run.cleaned[0], Known(run, why_not=UNRECOGNISED), workplace, cleaned)()
    forget([frame])
    return outcome


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


def _all_as_before(known: Mapping[Arrival, Content], receipts: Mapping[Arrival, Receipt], job: Job) -> bool:
    """Whether the receipts tell of these frames and no others, so that to sort them by glass again changes nothing.

    Nor is there a map that is to be kept and is not.
    """
    if receipts.keys() != known.keys():
        return False
    told = [receipts[arrival] for arrival in known]
    on_glass: dict[str, list[Member]] = {}
    for number, (receipt, content) in enumerate(zip(told, known.values(), strict=True)):
        member = Member(number, content.sha256, Placement(receipt.offset_px or (0.0, 0.0), receipt.orientation))
        on_glass.setdefault(receipt.glass_id or f"alone {number}", []).append(member)
    for glass_id, members in on_glass.items():
        glass = Glass(tuple(members))
        if glass_id == replace(glass, wrong_sign=True).glass_id:
            glass = replace(glass, wrong_sign=True)
        runs = list(glass.runs())
        for run in runs:
            if not all(_as_before(told[member.frame], member.sha256, run, job.profile) for member in run.cleaned):
                return False
        if not _is_kept(runs[-1], job.keep_maps):
            return False
    return True


def _is_kept(run: Run, keep_maps: Path | None) -> bool:
    """Whether there is nothing to keep of the newest run of a glass that is not kept already."""
    return keep_maps is None or not run.worth_learning or keeps(keep_maps, run)


def _as_before(receipt: Receipt, input_sha256: str, run: Run, profile: Profile) -> bool:
    """Whether a frame would come out as an earlier run has made it."""
    now = (input_sha256, run.map_sha256, profile.digest)
    return (receipt.input_sha256, receipt.map_sha256, receipt.profile_sha256) == now
