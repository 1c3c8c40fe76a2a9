"""One watched folder: frames are taken in as they become whole, and cleaned again when more is known of their glass.

Nothing here is remembered that the journal does not know, so it does not matter when the process ends. A frame is
cleaned at once with the map so far of its glass, again when the glass has 2, 4, 8, 16, 32, 48, ... frames, and for the
last time when it closes; always from its original.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..processing.image import ImageError
from ..processing.learn import MOST_FRAMES
from ..processing.packed import PackedCodes
from ..processing.rounding import FEW_FRAMES
from .empty_glass import observe_empty
from .errors import ExitCode, FrameError, Remedy, ServiceError
from .frame import Arrival, Content, Frame, Stamp, shown
from .glass import FOLDS, Glass, Glasses, Run, learn_map
from .groups import LIVE, Group, Member
from .inbox import Sighting, look
from .intake import forget, is_same, observe_frame, read_content, read_info
from .journal import Entry, Journal, Trouble
from .output import Output, locked
from .progress import silent
from .repair import Known, repaired
from .stability import Stability
from .store import Store
from .workplace import Workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import PurePosixPath
    from types import TracebackType

    from ..processing.observe import Observation
    from .film import Profile
    from .frame import Outcome, Receipt
    from .settings import FolderSettings

_log = logging.getLogger(__name__)

QUEUE = 64
"""Frames that wait in memory to be taken in, at most; the folder itself holds the others."""

_PASSED = 24
"""A glass on which none of the newest frames lay, this many, is closed: it was wiped, or the holder was changed."""

_ATTEMPTS = 10
"""After so many a file that is cut short is given up until it changes. A disk may get room or permissions any time."""

_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 600.0
_REST_S = 10.0
"""How long to wait when nothing can be written at all."""


def ripe(count: int) -> int:
    """From how many of the `count` frames on a glass its maps are learnt as long as more may come."""
    return max(1 << count.bit_length() - 1, count // 16 * 16) if count else 0


@dataclass(frozen=True, slots=True)
class _Foundation:
    """From how many frames of a glass its maps are learnt, and whether these are its last."""

    frames: int
    closed: bool


@dataclass(frozen=True, slots=True)
class _Placing:
    """A cleaned frame that is being put into place, by a thread of its own, and how that will come out."""

    entry: Entry
    outcome: Future[Outcome]


class Watch:
    """A folder being watched; a context manager. `clock` gives seconds since the epoch.

    Entering raises ServiceError (usage) where what is known of the folder cannot be kept, or another process keeps it,
    and where an empty-glass scan is no good.
    """

    def __init__(
        self,
        settings: FolderSettings,
        profile: Profile,
        state: Path,
        threads: int,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._profile = profile
        self._state = state
        self.scratch = state / "scratch"
        self._clock = clock
        self._threads = threads
        self._open = ExitStack()
        self._stability = Stability(settings.still_s)
        self._ready: list[Sighting] = []
        self._look_at = -float("inf")
        self._rest_until = -float("inf")
        self._astray = False
        self._occupied = False
        self._said: dict[Path, str] = {}
        self._in_work: tuple[PurePosixPath, Stamp] | None = None
        self._placing: _Placing | None = None
        self._empty: set[Path] = set()
        self._all_in = False
        self._winding_up = False

    def __enter__(self) -> Watch:
        self._output = Output(self.settings.output)
        with ExitStack() as opened:
            try:
                self._enter_state(opened)
            except BlockingIOError as error:
                reason = f"{self.settings.input}: another process is watching this folder; end that one first"
                raise ServiceError(reason, ExitCode.USAGE) from error
            except (OSError, sqlite3.Error) as error:
                reason = f"{self._state}: what is known of the folder cannot be kept there: {error}"
                raise ServiceError(f"{reason}; mend it, or give another state folder", ExitCode.USAGE) from error
            self._open = opened.pop_all()
        return self

    def _enter_state(self, opened: ExitStack) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        opened.enter_context(locked(self._state))
        shutil.rmtree(self.scratch, ignore_errors=True)  # a killed process leaves it
        opened.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        self._journal = Journal.writing(self._state / "journal.sqlite")
        opened.callback(self._journal.close)
        self._store = Store(self._state, self._threads)
        opened.callback(self._store.tidy)
        self._workplace = Workplace(self._profile, self._output, self.scratch, self._threads, silent)
        self._placer = opened.enter_context(ThreadPoolExecutor(1))
        self._placer.submit(int).result()  # a thread that a signal keeps from starting is not waited for
        self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        broken_off = self._in_work is not None
        try:
            with suppress(OSError, sqlite3.Error):  # then the next start finds out
                self._finish_placing()
                if self.wound_up:  # no frame will come that would do it
                    self._sweep()
        finally:
            self._placer.shutdown()  # before others may use the output folder
            self._open.close()
            if broken_off:  # perhaps while it was cleaning up behind itself
                with suppress(ServiceError), self._output.occupied():
                    pass

    def occupy(self) -> None:
        """Keep other processes out of the output folder, if it is there or has never been.

        Raises ServiceError (usage) where it cannot be used, or another process does.
        """
        if not self._occupied and not (self._journal.any_published() and _why_closed(self._output.receipts)):
            self._open.enter_context(self._output.occupied())
            self._occupied = True

    # --- turns ----------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Do the most urgent piece of work; False if there is none at present."""
        if self._rest_s() > 0:
            return False
        try:
            if self._astray:
                self._recover()
            done = self._folders_are_there() and (
                self._clean_next(never_yet=True)
                or self._take_in_next()
                or self._close_next()
                or self._clean_next(never_yet=False)
                or self._finish_placing()
            )
        except (OSError, sqlite3.Error) as error:
            self._astray, self._in_work = True, None
            self._ready, self._all_in = [], False  # frames come in their order, and this one was taken out of it
            self.look_again()
            self._rest_until = self._clock() + _REST_S
            self._say(self._state, f"cannot be used: {error}; make room, or mend it: waiting for that")
            return False
        if done and self._said.pop(self._state, ""):
            _log.info("%s: can be used again", self._state)
        return done

    def look_again(self) -> None:
        """Heed a hint that something has happened in the folder."""
        self._look_at = -float("inf")

    def wind_up(self) -> None:
        """Close all glasses as soon as what is in the folder is taken in: no more will come."""
        self._winding_up, self._all_in = True, False
        self.look_again()

    @property
    def wound_up(self) -> bool:
        """Whether nothing is left to be done after `wind_up`; to be asked when a turn has found nothing.

        Not so while a folder or the state cannot be used: it is waited for, and who knows what is there?
        """
        return self._winding_up and self._all_in

    def due_in(self) -> float:
        """Seconds until there may be work, unless a hint comes."""
        return max(self._look_at - self._clock(), self._rest_s())

    def _rest_s(self) -> float:
        """Seconds until it tries again after a fault; none where the clock was set back meanwhile."""
        left = self._rest_until - self._clock()
        return left if 0 < left <= _REST_S else 0.0

    def summary(self) -> str:
        """How far it is, in a line."""
        try:
            frames, to_do, troubles = self._journal.counts()
        except sqlite3.Error as error:
            return f"{self.settings.input}: waiting for {self._state} ({error})"
        said = [f"{frames} frame{'s' if frames != 1 else ''}", f"{len(self._ready) + to_do} to do"]
        return f"{self.settings.input}: {', '.join(said + [f'{troubles} put aside'] * bool(troubles))}"

    def give_up(self, error: Exception) -> None:
        """Put what is in work aside after an error that nobody foresaw, so that the others go on."""
        self._astray = True
        if self._in_work is None:
            self._rest_until = self._clock() + _REST_S
        else:
            name, stamp = self._in_work
            fault = f"{self.settings.input / name}: {type(error).__name__}: {error}; please report this"
            with suppress(sqlite3.Error):  # it is found out again
                self._fail(name, stamp, FrameError(fault, Remedy.QUARANTINE))
            self._in_work = None

    def _folders_are_there(self) -> bool:
        """Whether there is an input and an output folder: those on a network share may come and go."""
        faults = {self.settings.input: _why_closed(self.settings.input), self._output.folder: self._why_not_out()}
        for folder, fault in faults.items():
            if fault:
                self._say(folder, f"{fault}; waiting for that")
            elif self._said.pop(folder, None):
                _log.info("%s: is back", folder)
        if any(faults.values()):
            self._all_in = False
            self._look_at = self._clock() + self.settings.look_every_s
        return not any(faults.values())

    def _why_not_out(self) -> str | None:
        """Why nothing can be put into the output folder, if so."""
        try:
            self.occupy()
        except ServiceError as error:
            return str(error).removeprefix(f"{self._output.folder}: ")
        fault = _why_closed(self._output.receipts)
        return fault and f"{self._output.receipts} {fault} (on a new disk, make that folder)"

    # --- taking in ------------------------------------------------------------------------------------------

    def _take_in_next(self) -> bool:
        if not self._ready:
            self._look()
        if not self._ready:
            return False
        sighting = self._ready[0]
        if self._placing is not None and self._placing.entry.name == sighting.arrival.relative:
            self._finish_placing()  # before there is another frame of this name
        del self._ready[0]
        with self._working_on(sighting.arrival.relative, sighting.stamp):
            self._take_in(sighting)
        return True

    def _look(self) -> None:
        """Look at the folder if it is time, and queue what is new and has been still."""
        now = self._clock()
        if 0 < self._look_at - now <= max(self.settings.still_s, self.settings.look_every_s):
            return  # it is not time yet, unless the clock has been set back
        self._look_at = now + self.settings.look_every_s
        try:
            seen = look(self.settings.input)
        except OSError as error:
            self._all_in = False
            self._say(self.settings.input, f"cannot be listed ({error.strerror}); waiting for it")
            return
        names = {sighting.arrival.relative for sighting in seen.sightings}
        for vanished in self._journal.troubles().keys() - names:
            self._journal.end_trouble(vanished)
        new = [one for one in seen.sightings if not self._is_empty_glass(one) and not self._is_known(one)]
        still = self._stability.still(new, now)
        self._ready = still[:QUEUE]
        self._all_in = not new
        soon = len(new) > len(still) or self._winding_up
        self._look_at = now + (self.settings.still_s if soon else self.settings.look_every_s)
        if len(still) > QUEUE:
            self._look_at = now
        lasting = {self.settings.input, self._output.folder, self._state, *(path for path, _ in seen.refused)}
        self._said = {path: what for path, what in self._said.items() if path in lasting}
        for path, fault in seen.refused:
            self._say(path, str(fault).removeprefix(f"{path}: "))

    def _is_empty_glass(self, sighting: Sighting) -> bool:
        """Whether a file is an empty-glass scan, which may lie among the frames."""
        return bool(self._empty) and Path(os.path.realpath(sighting.arrival.path)) in self._empty

    def _is_known(self, sighting: Sighting) -> bool:
        """Whether there is nothing to be done about a file at present."""
        name = sighting.arrival.relative
        entry = self._journal.named(name)
        if entry is not None and entry.stamp == sighting.stamp and entry.state != "gone":
            return True
        trouble = self._journal.trouble(name)
        if trouble is None or trouble.stamp != sighting.stamp:
            return False
        return trouble.retry_at is None or trouble.retry_at > self._clock()

    def _take_in(self, sighting: Sighting) -> None:
        """Observe a file that is whole, and sort it in."""
        arrival = sighting.arrival
        content = replace(read_content(arrival), stamp=sighting.stamp)  # it has been still since then
        old = self._journal.named(arrival.relative)
        if old is not None and old.sha256 == content.sha256 and old.wanted is not None:
            with self._journal.transaction():
                self._journal.set_stamp(old.number, sighting.stamp)
                if old.state == "gone":
                    self._journal.set_state(old.number, "served")
                self._journal.end_trouble(arrival.relative)
            return
        number = self._journal.newest() + 1
        frame = observe_frame(arrival, content, self.scratch / "residual", self._workplace)
        self._admit(number, frame, old)
        here = next(glass for glass in self._glasses.live if number in glass.numbers)
        _log.info("%s: frame %d of glass %s", arrival.shown, len(here.filmed), here.glass_id)

    def _admit(self, number: int, frame: Frame, old: Entry | None) -> None:
        """Sort in a frame that has been observed, in the place of an `old` one if there is one."""
        name, now = frame.arrival.relative, self._clock()
        self._store.keep(number, frame.observation)
        with self._journal.transaction():
            if old is not None:
                self._withdraw(old.number)
            bare, place = frame.bare, frame.place
            self._journal.add(number, name, frame.stamp, frame.sha256, now, bare=bare, place=place)
            self._journal.end_trouble(name)
            self._journal.tell(now, name, "arrived", frame.sha256)
            ended = self._glasses.admit(Member(number, frame.sha256, bare=bare, place=place))
            self._plan(ended)
        self._sweep()

    def _take_in_empty_glass(self) -> None:
        """Take in the empty-glass scans that are new, and forget those that are not given any more.

        Raises ServiceError (usage) where one is no good.
        """
        self._empty = {path.resolve() for path in self._profile.empty_glass}
        seen = observe_empty(self._profile.empty_glass, self._workplace)
        names = {frame.arrival.relative for frame in seen}
        for entry in self._journal.bare():
            if entry.name not in names:
                with self._journal.transaction():
                    self._withdraw(entry.number)
                    self._plan()
        for frame in seen:
            old = self._journal.named(frame.arrival.relative)
            if old is not None and old.sha256 == frame.sha256 and old.state == "served":
                self._journal.set_stamp(old.number, frame.stamp)
                continue
            number = self._journal.newest() + 1
            self._admit(number, frame, old)
            _log.info("%s: taken for the empty glass", frame.arrival.shown)
        forget(seen)

    # --- glasses --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Go on with the glasses that the journal knows, if they were learnt with this profile."""
        if self._journal.about("profile") not in (None, self._profile.digest):
            _log.warning(
                "%s: another profile than before; it holds for frames that come now, and glasses are learnt anew. "
                "To clean earlier frames with it, use dustwatch clean",
                self.settings.input,
            )
            with self._journal.transaction():
                self._journal.forget_groups()
        self._journal.set_about("profile", self._profile.digest)
        self._journal.set_about("input", shown(self.settings.input))
        self._journal.set_about("output", shown(self.settings.output))
        self._recover()
        self._take_in_empty_glass()

    def _recover(self) -> None:
        """Know again what the journal knows, after a start or a step that failed half way."""
        folds = {fold: self._journal.groups(fold, LIVE) for fold in FOLDS}
        self._glasses = Glasses(self._store.fingerprint, self._profile.match, folds)
        self._noted = {fold: _members(groups) for fold, groups in folds.items()}
        self._planned: dict[Glass, _Foundation] = {}
        for number in _newest(group for groups in folds.values() for group in groups):
            if not self._store.knows(number):  # part of the state was deleted
                with suppress(FrameError):
                    self._observation(number)
        self._astray = False

    def _plan(self, ended: Iterable[Glass] = ()) -> None:
        """Note which frames lie together and with which map each is now to be cleaned."""
        for fold, groups in self._glasses.folds.items():
            members = _members(groups.live)
            self._journal.set_members(fold, members - self._noted[fold])
            self._noted[fold] = members
        for glass in ended:
            self._journal.close_group(glass.members[-1].frame, self._clock())
            self._want(glass, self._foundation(glass))
        self._plan_maps()

    def _plan_maps(self) -> None:
        """Note with which map the frames of each glass are now to be cleaned."""
        before, self._planned = self._planned, {glass: self._foundation(glass) for glass in self._glasses.live}
        for glass, foundation in self._planned.items():
            if before.get(glass) != foundation:
                self._want(glass, foundation)

    def _foundation(self, glass: Glass) -> _Foundation:
        """What the maps of a glass are to be learnt from at present.

        The frame that has just come shall not wait for a map that it has a part in, if there is an earlier one.
        """
        count, newest = len(glass.members), self._journal.entry(glass.members[-1].frame)
        if self._is_closed(glass):
            return _Foundation(count, closed=True)
        settled = count - 1 if count > 2 and newest.published is None and not newest.bare else count
        return _Foundation(max(ripe(settled), self._closed_with(glass)), closed=False)

    def _want(self, glass: Glass, foundation: _Foundation) -> None:
        """Have the frames of a glass cleaned with these maps."""
        *settled, newest = glass.runs(foundation.frames)
        if not foundation.closed:
            # Offsets get better with every frame; that alone is no reason to do frames again.
            newest = newest.as_in(self._journal.runs(newest.glass_id))
        for run in (*settled, newest):
            if self._journal.set_wanted([member.frame for member in run.cleaned], run.map_sha256):
                self._journal.set_run(run, newest=run is newest)

    def _is_closed(self, glass: Glass) -> bool:
        return self._journal.closed(glass.members[-1].frame)

    def _closed_with(self, glass: Glass) -> int:
        """How many frames a glass had when it was last closed: it will not be cleaned with less knowledge again."""
        numbers = [member.frame for member in glass.members]
        closings = self._journal.closings(numbers[0], numbers[-1])
        return max((count for count, number in enumerate(numbers, start=1) if number in closings), default=0)

    def _close_next(self) -> bool:
        """Close a glass that has had no frame for a while."""
        now, newest = self._clock(), self._journal.newest()
        for glass in self._glasses.live:
            last = glass.members[-1].frame
            idle_s = now - self._journal.arrived_at(last)
            over = idle_s >= self.settings.close_after_min * 60 or newest - last >= _PASSED or self.wound_up
            if over and glass.filmed and not self._is_closed(glass):
                with self._journal.transaction():
                    self._journal.close_group(last, now)
                    self._plan()
                count = len(glass.filmed)
                frames = f"{count} frame{'s' if count != 1 else ''}"
                _log.info("%s: glass %s is closed, with %s", self.settings.input, glass.glass_id, frames)
                return True
        return False

    def _withdraw(self, number: int) -> None:
        """Take a frame out of its group: its original is another one now, or nothing is left of it."""
        self._glasses.withdraw(number)
        self._journal.leave_groups(number)

    def _sweep(self) -> None:
        """Give up what is no longer needed of frames and glasses: most of what is known of those that are closed.

        What is kept of glasses with many frames is rounded.
        """
        live = self._glasses.live
        open_ = [glass for glass in live if not self._is_closed(glass)]
        self._journal.forget_runs({glass.glass_id for glass in live})
        runs = self._journal.needed_runs({glass.glass_id for glass in open_})
        needed = {member.frame for run in runs for member in (*run.witnesses, *run.cleaned)}
        groups = [group for fold in self._glasses.folds.values() for group in fold.live]
        self._store.sweep(_newest(groups) | needed, _newest(open_) | needed, {run.map_sha256 for run in runs})
        # Of few frames a map is learnt from all that they show.
        few = [run for run in runs if len(run.witnesses) <= FEW_FRAMES and self._store.map(run.map_sha256) is None]
        exact = {member.frame for run in few for member in run.witnesses}
        self._store.compact(_newest(glass for glass in open_ if len(glass.members) > FEW_FRAMES) - exact)

    # --- cleaning -------------------------------------------------------------------------------------------

    def _clean_next(self, *, never_yet: bool) -> bool:
        """Clean a frame, or have the one before put into place, which comes first; False if there is none to clean."""
        for entry in self._journal.to_do():
            if self._placing is not None and entry.number == self._placing.entry.number:
                continue
            if never_yet and entry.published is not None:
                return False
            trouble = self._journal.trouble(entry.name)
            if trouble is None or (trouble.retry_at is not None and trouble.retry_at <= self._clock()):
                if self._finish_placing():
                    return True  # what is wanted may have changed by that
                with self._working_on(entry.name, entry.stamp):
                    self._clean(entry)
                return True
        return False

    def _clean(self, entry: Entry) -> None:
        """Clean a frame as the journal wants it, unless its place in the output folder is somebody else's."""
        arrival = self._arrival(entry)
        self._output.settle(arrival)
        state, receipt = self._output.state(arrival), self._output.read_receipt(arrival)
        if state == "ours" and receipt is not None and self._is_wanted(entry, receipt):
            self._note_published(entry, receipt)  # by a process that was killed before it could say so
            return
        replacing = entry.published is not None or (receipt is not None and receipt.input_sha256 == entry.sha256)
        if state in ("edited", "foreign") or (state == "none" and replacing):
            if not _why_closed(self._output.receipts):  # else it is not the picture that has gone
                self._leave(entry, state)
            return
        if not is_same(arrival, entry.stamp):
            with self._journal.transaction():
                self._journal.set_state(entry.number, "gone")
                self._tell_gone(arrival, "is not there as it was; its frame stays as it is")
            return
        self._glasses.forget_fingerprints()
        run = self._journal.run(str(entry.wanted))
        # Another frame of the same content that lies alone as well may have put its run in the place of this one's.
        member = run.member(entry.number) or Member(entry.number, entry.sha256)
        known, seen = self._learn(run), self._observation(entry.number)
        if known is None or seen is None:  # a frame was lost
            if self._journal.entry(entry.number).wanted == entry.wanted:  # and its glass does not live any more
                self._journal.leave_groups(entry.number)
            return
        frame = Frame(arrival, read_info(arrival), entry.sha256, entry.stamp, seen, 0.0)
        put_into_place = repaired(frame, member, known, self._workplace, replacing=replacing)
        self._placing = _Placing(entry, self._placer.submit(put_into_place))
        if self._threads == 1:
            self._finish_placing()

    def _finish_placing(self) -> bool:
        """Wait until the frame that is being put into place is there, and note it; False if there is none."""
        if self._placing is None:
            return False
        wait([self._placing.outcome])
        entry, outcome = self._placing.entry, self._placing.outcome
        self._placing = None
        with self._working_on(entry.name, entry.stamp):
            self._note_outcome(entry, outcome.result())
        return True

    def _note_outcome(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.error is not None:
            taken = self._output.state(self._arrival(entry))
            if taken not in ("edited", "foreign"):
                raise outcome.error
            self._leave(entry, taken)
        if outcome.receipt is not None:
            self._note_published(entry, outcome.receipt)

    def _is_wanted(self, entry: Entry, receipt: Receipt) -> bool:
        told = (receipt.input_sha256, receipt.map_sha256, receipt.profile_sha256)
        return told == (entry.sha256, entry.wanted, self._profile.digest)

    def _note_published(self, entry: Entry, receipt: Receipt) -> None:
        with self._journal.transaction():
            revision = self._journal.set_published(entry.number, receipt.map_sha256, receipt.status)
            self._plan_maps()
            self._journal.end_trouble(entry.name)
            detail = f"revision {revision}, {receipt.map_frames} frames, map {receipt.map_sha256}"
            self._journal.tell(self._clock(), entry.name, receipt.status, detail)
        _log.info("%s: %s%s", self._arrival(entry).shown, receipt.status, _why(receipt, revision))

    def _leave(self, entry: Entry, state: str) -> None:
        """Never write a frame again: somebody else has changed, moved or deleted it, or put another one there."""
        picture = self._output.path(self._arrival(entry))
        what = {"edited": "has been changed", "foreign": "is not ours", "none": "has been moved or deleted"}[state]
        with self._journal.transaction():
            self._journal.set_state(entry.number, "left")
            self._journal.tell(self._clock(), entry.name, "left", what)
        _log.info("%s: %s, and is left so", picture, what)

    def _tell_gone(self, arrival: Arrival, what: str) -> None:
        self._journal.tell(self._clock(), arrival.relative, "gone", what)
        _log.info("%s: %s", arrival.shown, what)

    def _learn(self, run: Run) -> Known | None:
        """What is known of the glass of a run; None where a witness is lost, without which the journal plans anew."""
        if not run.worth_learning:
            return Known(run)
        found = self._store.map(run.map_sha256)
        if found is None:
            witnesses = []
            for member in run.witnesses:
                seen = self._observation(member.frame, exact=len(run.witnesses) <= FEW_FRAMES)
                if seen is None:
                    return None
                witnesses.append((seen, member))
            found = self._store.make_map(run.map_sha256, lambda folder: learn_map(witnesses, folder, self._workplace))
        return Known(run, found)

    def _observation(self, number: int, *, exact: bool = False) -> Observation | None:
        """What a frame has shown, from its original if need be; None, and the frame withdrawn, if that is gone, too.

        Where it shall be `exact`, it is rounded only if the original is gone.
        """
        seen = self._store.observation(number)
        if seen is not None and not (exact and isinstance(seen.codes, PackedCodes)):
            return seen
        entry = self._journal.entry(number)
        arrival = self._arrival(entry)
        if not is_same(arrival, entry.stamp):
            if seen is not None:
                return seen
            with self._journal.transaction():
                self._withdraw(number)
                self._plan()
                self._tell_gone(arrival, "is gone, and nothing is left of what it has shown of the glass")
            return None
        content = Content(entry.sha256, entry.stamp)
        frame = observe_frame(arrival, content, self.scratch / "residual", self._workplace)
        self._store.keep(number, frame.observation)
        return self._store.observation(number)

    # --- troubles -------------------------------------------------------------------------------------------

    def _arrival(self, entry: Entry) -> Arrival:
        return Arrival(self.settings.input / entry.name, entry.name)

    @contextmanager
    def _working_on(self, name: PurePosixPath, stamp: Stamp) -> Iterator[None]:
        """Note what keeps a file from being a frame."""
        self._in_work = name, stamp
        try:
            yield
        except FrameError as error:
            self._fail(name, stamp, error)
        self._in_work = None

    def _fail(self, name: PurePosixPath, stamp: Stamp, error: FrameError) -> None:
        if not os.path.lexists(self.settings.input / name):
            self._forget_gone(name, stamp, error)
            return
        before = self._journal.trouble(name)
        attempts = 1 + (before.attempts if before is not None and before.stamp == stamp else 0)
        hopeless = isinstance(error.__cause__, ImageError) and attempts >= _ATTEMPTS
        remedy = Remedy.QUARANTINE if hopeless else error.remedy
        delay_s = min(_FIRST_RETRY_S * 2 ** min(attempts - 1, 16), _LONGEST_RETRY_S)
        now = self._clock()
        retry_at = now + delay_s if remedy is Remedy.RETRY else None
        with self._journal.transaction():
            self._journal.set_trouble(name, Trouble(stamp, remedy, error.reason, attempts, retry_at))
            self._journal.tell(now, name, remedy.value, error.reason)
        then = f"trying again in {delay_s:.0f} s" if retry_at else "put aside until it changes"
        _log.warning("%s; %s", error.reason, then)

    def _forget_gone(self, name: PurePosixPath, stamp: Stamp, error: FrameError) -> None:
        """Ask no more for a frame whose original somebody has taken away, which else would be tried for ever."""
        entry = self._journal.named(name)
        if entry is not None and entry.stamp == stamp and entry.state == "served":
            with self._journal.transaction():
                self._journal.set_state(entry.number, "gone")
                self._journal.end_trouble(name)
                self._tell_gone(self._arrival(entry), f"is gone, and was not cleaned: {error.reason}")

    def _say(self, about: Path, what: str) -> None:
        """Warn of something once."""
        if self._said.get(about) != what:
            self._said[about] = what
            _log.warning("%s: %s", about, what)


def _why_closed(folder: Path) -> str | None:
    """Why a folder cannot be listed, if so."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
    return None


def _newest(groups: Iterable[Group | Glass]) -> set[int]:
    """The newest frames of each, as many as a map is learnt from."""
    return {member.frame for group in groups for member in group.members[-MOST_FRAMES:]}


def _members(groups: Iterable[Group]) -> set[tuple[int, Member]]:
    return {(group.first, member) for group in groups for member in group.members}


def _why(receipt: Receipt, revision: int) -> str:
    again = f" (revision {revision})" if revision > 1 else ""
    if receipt.status != "cleaned":
        return f"{again}: {receipt.reason}"
    return f"{again}: {receipt.changed_px} px, {receipt.map_frames} frames in the map of glass {receipt.glass_id}"
