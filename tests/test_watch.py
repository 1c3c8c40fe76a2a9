"""A watched folder, turn by turn, under a clock that the tests move: groups, revisions, changed files, troubles."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, ServiceError
from dustwatch.daemon.film import load_profile
from dustwatch.daemon.pipeline import Job, clean
from dustwatch.daemon.progress import silent
from dustwatch.daemon.service import _Stop, _take_turns
from dustwatch.daemon.settings import FolderSettings
from dustwatch.daemon.status import read_status
from dustwatch.daemon.watch import QUEUE, Watch, ripe
from dustwatch.processing.figures import same_groups
from dustwatch.processing.learn import MOST_FRAMES
from dustwatch.processing.simulate import Roll, RollParams, SimulatedFrame
from tests.rolls import receipt, sha256, simulate, snapshot, write_tiff, write_tiffs
from tests.watching import blurred, drop, events, journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from dustwatch.daemon.inbox import Sighting
    from dustwatch.daemon.journal import Entry

SIZE: dict[str, Any] = {"height": 200, "width": 300, "scale": 0.6, "particles": 30}
CLOSE_S = 30 * 60
HOUR = 3600.0


@dataclass
class Clock:
    """What time it is, in seconds since the epoch; it goes when a test wants it."""

    now: float = 1.7e9

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """A folder to watch, where its cleaned frames go, the state, and the clock on the wall."""

    folder: Path
    clock: Clock = field(default_factory=Clock)

    @property
    def scans(self) -> Path:
        return self.folder / "scans"

    @property
    def output(self) -> Path:
        return self.folder / "clean"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @contextmanager
    def watched(self, profile: str = "generic-negative", kind: type[Watch] = Watch) -> Iterator[Watch]:
        """A daemon from its start to its end."""
        settings = FolderSettings(self.scans, self.output, profile, close_after_min=CLOSE_S / 60)
        with kind(settings, load_profile(profile), self.state / "scans", 2, self.clock) as watch:
            yield watch

    def let(self, watch: Watch, seconds: float = 15.0) -> None:
        """Let time go by, and the daemon do what there is to do meanwhile."""
        end = self.clock.now + seconds
        while True:
            while _take_turns([watch], _Stop()):
                pass
            if self.clock.now >= end:
                return
            self.clock.now = min(self.clock.now + max(watch.due_in(), 0.5), end)

    def close_all(self, watch: Watch) -> None:
        self.clock.now += CLOSE_S
        self.let(watch)
        assert open_glasses(self.state) == []

    def receipts(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [receipt(self.output, name) for name in names]

    def equals_clean(self) -> None:
        """Everything is as ``dustwatch clean`` makes it of the same frames in the same order, receipts included."""
        expected = self.folder / "expected"
        cleaned = clean(Job((self.scans,), expected, load_profile("generic-negative"), 2), silent)
        assert not any(outcome.error for outcome in cleaned.outcomes)
        assert snapshot(self.output) == snapshot(expected)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "scans").mkdir()
    return Place(tmp_path)


@dataclass(frozen=True)
class Film:
    """A simulated roll as files, and the glass on which each lies in truth."""

    files: list[Path]
    glasses: list[int]

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]


def film(folder: Path, **params: Any) -> Film:
    frames: list[SimulatedFrame] = simulate(RollParams(**SIZE | params), blurred(params["seed"]))
    return Film(write_tiffs(frames, folder), [frame.glass_id for frame in frames])


def in_slots(files: Sequence[Path], slots: str, folder: Path) -> Film:
    """The same frames as if each had been scanned in a slot of a holder."""
    folder.mkdir()
    for file, slot in zip(files, slots, strict=True):
        described = json.dumps({"scanner": "virtual", "holder": "strips", "slot": slot})
        write_tiff(folder / file.name, tifffile.imread(file), description=described)
    return Film([folder / file.name for file in files], [sorted(set(slots)).index(slot) for slot in slots])


@pytest.fixture(scope="module")
def wiped(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Ten frames, and a wipe before the sixth."""
    return film(tmp_path_factory.mktemp("wiped"), frames=10, wipes=(5,), seed=3)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Forty frames on one glass."""
    return film(tmp_path_factory.mktemp("long"), frames=40, seed=8)


@pytest.fixture(scope="module")
def roll(long: Film) -> Film:
    """Five frames on one glass."""
    return Film(long.files[:5], long.glasses[:5])


def pictures(folder: Path) -> dict[str, str]:
    """Digests of cleaned frames and masks, by name."""
    return {name: digest for name, digest in snapshot(folder).items() if not name.endswith(".json")}


def groups(told: Sequence[dict[str, Any]]) -> list[str]:
    """What tells the glass of each frame from the others'; of one of which nothing is known, its content."""
    return [one["glass_id"] or one["input_sha256"] for one in told]


def open_glasses(state: Path) -> list[int]:
    """The last frame of each glass that is not closed."""
    query = (
        "SELECT max(frame) FROM members WHERE fold = 'upright' GROUP BY first "
        "HAVING max(frame) NOT IN (SELECT last FROM closings)"
    )
    return [last for (last,) in journal(state, query)]


def told_of(place: Place, name: str) -> list[tuple[str, str]]:
    """What the history has of a file: events, and the last of what belongs to each."""
    return [(event.event, event.detail) for event in events(place.state) if event.name == name]


def first_maps(place: Place) -> list[str]:
    """From how many frames the maps were learnt with which frames were first published."""
    return [one.detail.split(", ")[1] for one in events(place.state) if one.detail.startswith("revision 1,")]


def maps(place: Place, name: str) -> list[str]:
    """The same of all revisions of one frame."""
    return [detail.split(", ")[1] for event, detail in told_of(place, name) if event in ("cleaned", "unchanged")]


def written(folder: Path) -> dict[str, int]:
    """When each file was last written, in ns."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def noise(seed: int) -> npt.NDArray[np.uint16]:
    """A tiny scan that has nothing in common with any other one."""
    return np.random.default_rng(seed).integers(20000, 40000, (48, 64, 3)).astype(np.uint16)


def write_cut_short(path: Path) -> None:
    write_tiff(path, noise(1))
    os.truncate(path, path.stat().st_size // 2)


def write_unsupported(path: Path) -> None:
    write_tiff(path, noise(1).astype(np.float32))


# --- empty-glass scans --------------------------------------------------------------------------------------


@pytest.fixture
def empty(place: Place) -> Path:
    """The glass of `roll`, without film."""
    made = Roll(RollParams(**SIZE | {"frames": 40, "seed": 8}), blurred(8))
    write_tiff(place.folder / "empty.tif", made.bare(0).scan)
    return place.folder / "empty.tif"


def naming(place: Place, *scans: Path) -> str:
    """A profile that names these empty-glass scans."""
    file = place.folder / "generic-negative.yaml"
    listed = [str(scan) for scan in scans]
    file.write_text(f"name: generic-negative\nextends: generic-negative\nempty_glass: {listed}\n")
    return str(file)


@pytest.mark.parametrize("restarted", [False, True])
def test_with_an_empty_glass_scan_the_first_frame_is_cleaned_at_once(
    place: Place, roll: Film, empty: Path, restarted: bool
) -> None:
    profile = naming(place, empty)
    with place.watched(profile) as watch:
        place.let(watch, HOUR)  # nobody scans yet
        assert "0 frames, 0 to do" in watch.summary()
        assert read_status(place.state)[0].glasses_open == 0
        drop(roll.files[:1], place.scans)
        place.let(watch)
        (told,) = place.receipts(roll.names[:1])
        assert (told["status"], told["map_frames"]) == ("cleaned", 2)
        if not restarted:
            drop(roll.files[1:], place.scans)
            place.let(watch)
            place.close_all(watch)
    if restarted:
        with place.watched(profile) as watch:
            drop(roll.files[1:], place.scans)
            place.let(watch)
            place.close_all(watch)
    assert read_status(place.state)[0].frames == {"cleaned": 5}
    assert {one["map_frames"] for one in place.receipts(roll.names)} == {6}
    expected = place.folder / "expected"
    clean(Job((place.scans,), expected, load_profile(profile), 2), silent)
    assert snapshot(place.output) == snapshot(expected)


def test_an_empty_glass_scan_among_the_frames_is_none_of_them(place: Place, roll: Film, empty: Path) -> None:
    profile = naming(place, empty.rename(place.scans / "empty.tif"))
    with place.watched(profile) as watch:
        drop(roll.files[:1], place.scans)
        place.let(watch)
        assert "1 frame, 0 to do" in watch.summary()
    assert [one["status"] for one in place.receipts(roll.names[:1])] == ["cleaned"]
    assert not (place.output / "empty.tif").exists()


def test_an_empty_glass_scan_that_is_not_given_any_more_is_forgotten(place: Place, roll: Film, empty: Path) -> None:
    with place.watched(naming(place, empty)) as watch:
        drop(roll.files[:1], place.scans)
        place.let(watch)
    with place.watched(naming(place)) as watch:
        drop(roll.files[1:2], place.scans)
        place.let(watch)
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(roll.names[:2])] == [2, 2]
    with place.watched(naming(place, empty)) as watch:
        drop(roll.files[2:3], place.scans)
        place.let(watch)
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(roll.names[:3])] == [4, 4, 4]


def test_a_bad_empty_glass_scan_is_refused_at_the_start(place: Place, roll: Film) -> None:
    with pytest.raises(ServiceError, match="film") as refused, place.watched(naming(place, roll.files[0])):
        pass
    assert refused.value.exit_code is ExitCode.USAGE
    with place.watched():  # nothing is locked
        pass


# --- groups -------------------------------------------------------------------------------------------------


def test_a_wipe_parts_the_glasses_and_no_frame_is_ever_cleaned_with_the_old_map(place: Place, wiped: Film) -> None:
    with place.watched() as watch:
        for count, (file, name) in enumerate(zip(wiped.files, wiped.names, strict=True), start=1):
            drop([file], place.scans)
            place.let(watch)
            told = place.receipts(wiped.names[:count])
            assert same_groups(groups(told), wiped.glasses[:count])
            if count in (1, 6):
                assert (told[-1]["status"], told[-1]["map_frames"], told[-1]["glass_id"]) == ("unchanged", 0, None)
                assert sha256(place.output / name) == sha256(file)
        assert first_maps(place) == [f"{frames} frames" for frames in [0, 2, 2, 2, 4] * 2]
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(wiped.names)] == [5] * 10
    place.equals_clean()


@pytest.mark.parametrize("restarted", [False, True])
def test_frames_from_different_slots_lie_on_different_glasses_whatever_they_show(
    place: Place, long: Film, restarted: bool
) -> None:
    scanned = in_slots(long.files[:8], "ABBABABA", place.folder / "scanned")
    with place.watched() as watch:
        drop(scanned.files[:4], place.scans)
        place.let(watch)
        if not restarted:
            drop(scanned.files[4:], place.scans)
            place.let(watch)
            place.close_all(watch)
    if restarted:
        with place.watched() as watch:
            drop(scanned.files[4:], place.scans)
            place.let(watch)
            place.close_all(watch)
    told = place.receipts(scanned.names)
    assert same_groups(groups(told), scanned.glasses)
    assert [one["map_frames"] for one in told] == [4] * 8
    place.equals_clean()


def test_slots_take_turns_and_are_kept_apart(place: Place, tmp_path: Path) -> None:
    slots = film(tmp_path / "slots", frames=10, slots=2, seed=5)
    with place.watched() as watch:
        for count, file in enumerate(slots.files, start=1):
            drop([file], place.scans)
            place.let(watch)
            assert same_groups(groups(place.receipts(slots.names[:count])), slots.glasses[:count])
        place.close_all(watch)
    place.equals_clean()


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_glass_after_hours_is_the_same_glass(place: Place, roll: Film, restarted: bool) -> None:
    with place.watched() as watch:
        drop(roll.files[:3], place.scans)
        place.let(watch)
        place.close_all(watch)
        place.let(watch, 5 * HOUR)
        if not restarted:
            drop(roll.files[3:], place.scans)
            place.let(watch)
            assert len(open_glasses(place.state)) == 1
            place.close_all(watch)
    if restarted:
        place.clock.now += 5 * HOUR
        drop(roll.files[3:], place.scans)
        with place.watched() as watch:
            place.let(watch)
            place.close_all(watch)
    told = place.receipts(roll.names)
    assert len(set(groups(told))) == 1
    assert [one["map_frames"] for one in told] == [5] * 5
    assert maps(place, roll.names[0]) == [f"{frames} frames" for frames in [0, 2, 3, 4, 5]]
    place.equals_clean()


def test_a_glass_without_frames_for_a_while_is_closed_and_by_a_restart_it_is_not(
    place: Place, roll: Film, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dustwatch")
    drop(roll.files[:3], place.scans)
    for _ in range(3):
        with place.watched() as watch:
            place.let(watch, 60)
        assert open_glasses(place.state) == [3]
        assert [one["map_frames"] for one in place.receipts(roll.names[:3])] == [2, 2, 2]
    place.clock.now += CLOSE_S - 180
    with place.watched() as watch:
        place.let(watch, 1)
        assert open_glasses(place.state) == [3]
        place.let(watch, 15)
    assert open_glasses(place.state) == []
    told = place.receipts(roll.names[:3])
    assert [one["map_frames"] for one in told] == [3, 3, 3]
    assert f"{place.scans}: glass {told[0]['glass_id']} is closed, with 3 frames" in caplog.messages


def test_a_glass_is_closed_when_many_frames_lay_on_others(place: Place, roll: Film) -> None:
    names = [roll.names[0], *(f"other-{number:02d}.tif" for number in range(24))]
    drop(roll.files[:1], place.scans)
    with place.watched() as watch:
        place.let(watch)
        for name in names[1:-1]:
            write_tiff(place.scans / name, noise(int(name[6:8])))
        place.let(watch)
        assert 1 in open_glasses(place.state)
        write_tiff(place.scans / names[-1], noise(99))
        place.let(watch)
        assert open_glasses(place.state) == list(range(2, 26))


def test_a_start_after_every_step_changes_nothing(place: Place, wiped: Film) -> None:
    """A process that ends whenever something is done finds the rest to be done."""
    drop(wiped.files[:8], place.scans)
    starts = 0
    while True:
        with place.watched() as watch:
            began = place.clock.now
            while not watch.turn() and place.clock.now < began + 2 * CLOSE_S:
                place.clock.now += 2
            if place.clock.now >= began + 2 * CLOSE_S:
                break
            starts += 1
            assert starts < 100
    assert same_groups(groups(place.receipts(wiped.names[:8])), wiped.glasses[:8])
    assert starts > 2 * 8
    place.equals_clean()


def test_a_glass_that_drifts_is_followed_by_a_later_frame_after_a_start(place: Place, tmp_path: Path) -> None:
    size = {"height": 280, "width": 420, "particles": 70}
    roll = film(tmp_path / "wobbling", frames=5, wobble_px=0.7, seed=5, **size)
    for files in roll.files[:4], roll.files[4:]:
        drop(files, place.scans)
        with place.watched() as watch:
            place.let(watch)
    assert [told["map_frames"] for told in place.receipts(roll.names)] == [4] * 5
    (about,) = place.state.glob("*/maps/*/about.json")
    assert len(json.loads(about.read_text())["wobble"]["drifts"]) == 4
    with place.watched() as watch:
        place.close_all(watch)
    place.equals_clean()


# --- revisions ----------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6))
def test_maps_are_learnt_from_no_more_frames_than_there_are_and_at_few_numbers(count: int) -> None:
    assert ripe(count) <= count
    assert ripe(count) % 16 == 0 or ripe(count).bit_count() == 1
    assert ripe(count - 1) <= ripe(count)
    assert ripe(ripe(count)) == ripe(count)
    assert count < 2 * ripe(count) if count < 32 else count < ripe(count) + 16


def test_maps_are_learnt_at_one_two_four_eight_and_then_every_sixteen_frames() -> None:
    assert sorted({ripe(count) for count in range(100)}) == [0, 1, 2, 4, 8, 16, 32, 48, 64, 80, 96]


@dataclass(frozen=True)
class Evening:
    """A long roll on one glass that came frame by frame: what the receipts and pictures were after each."""

    place: Place
    names: list[str]
    map_frames: dict[int, list[int]]
    pictures: dict[int, dict[str, str]]


@pytest.fixture(scope="module")
def evening(long: Film, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    place = Place(tmp_path_factory.mktemp("evening"))
    found = Evening(place, long.names, {}, {})
    with place.watched() as watch:
        for count, file in enumerate(long.files, start=1):
            drop([file], place.scans)
            place.let(watch)
            found.map_frames[count] = [one["map_frames"] for one in place.receipts(long.names[:count])]
            if count >= MOST_FRAMES:
                found.pictures[count] = pictures(place.output)
        place.close_all(watch)
    return found


def test_all_frames_are_done_again_when_the_glass_is_known_better(evening: Evening) -> None:
    assert evening.map_frames[1] == [0]
    for count in range(2, MOST_FRAMES + 1):
        assert evening.map_frames[count] == [ripe(count)] * count


def test_a_newcomer_is_cleaned_with_the_map_so_far_and_does_not_wait_for_its_own(evening: Evening) -> None:
    expected = [0, 2, *(ripe(count - 1) for count in range(3, len(evening.names) + 1))]
    assert first_maps(evening.place) == [f"{min(frames, MOST_FRAMES)} frames" for frames in expected]


def test_every_revision_is_told_of(evening: Evening) -> None:
    (arrived, digest), *revisions = told_of(evening.place, evening.names[0])
    assert (arrived, digest) == ("arrived", sha256(evening.place.scans / evening.names[0]))
    expected = enumerate((0, 2, 4, 8, 16, 32), start=1)
    assert [detail.split(", ")[:2] for _, detail in revisions] == [
        [f"revision {revision}", f"{frames} frames"] for revision, frames in expected
    ]


def test_frames_of_a_full_map_do_not_change_when_more_come(evening: Evening) -> None:
    settled = evening.pictures[MOST_FRAMES]
    assert len(settled) == 2 * MOST_FRAMES
    for count in evening.pictures:
        assert evening.map_frames[count] == [MOST_FRAMES] * count
        assert settled.items() <= evening.pictures[count].items()
    assert settled.items() <= pictures(evening.place.output).items()


def test_a_long_evening_comes_out_as_if_it_had_been_cleaned_at_once(evening: Evening) -> None:
    assert {told["map_frames"] for told in evening.place.receipts(evening.names)} == {MOST_FRAMES}
    evening.place.equals_clean()


def test_frames_that_come_faster_than_they_are_cleaned_come_out_the_same(
    place: Place, long: Film, evening: Evening
) -> None:
    """The map of the first frames gets guests before all of its witnesses have been cleaned with it."""
    with place.watched() as watch:
        drop(long.files, place.scans)
        place.let(watch)
        assert {one["map_frames"] for one in place.receipts(long.names)} == {MOST_FRAMES}
        assert watch.summary() == f"{place.scans}: {len(long.files)} frames, 0 to do"
        place.close_all(watch)
    assert pictures(place.output) == pictures(evening.place.output)
    slow, fast = ([one | {"input": ""} for one in where.receipts(long.names)] for where in (evening.place, place))
    assert slow == fast


def test_a_glass_that_comes_back_is_known_as_well_as_before(place: Place, long: Film) -> None:
    """From six frames that come without a break, a map would be learnt of four of them."""
    with place.watched() as watch:
        drop(long.files[:5], place.scans)
        place.let(watch)
        place.close_all(watch)
        before = written(place.output)
        drop(long.files[5:6], place.scans)
        place.let(watch)
        assert [one["map_frames"] for one in place.receipts(long.names[:6])] == [5] * 6
        assert before.items() <= written(place.output).items()
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(long.names[:6])] == [6] * 6
    place.equals_clean()


def test_little_is_kept_of_a_glass_that_is_closed(place: Place, wiped: Film) -> None:
    """When the next frame comes, its residuals are given up, and all maps that no frame waits for."""
    with place.watched() as watch:
        drop(wiped.files[:5], place.scans)
        place.let(watch)
        place.close_all(watch)
        drop(wiped.files[5:6], place.scans)
        place.let(watch)
    kept = place.state / "scans"
    assert sorted(file.parent.name for file in kept.glob("frames/*/residual")) == ["6"]
    assert len(list(kept.glob("frames/*/fingerprint.npz"))) == 6  # the glass may come back
    assert not list(kept.glob("maps/*"))


def test_nothing_but_fingerprints_is_kept_when_no_more_frames_will_come(place: Place, wiped: Film) -> None:
    with place.watched() as watch:
        drop(wiped.files[:3], place.scans)
        watch.wind_up()
        place.let(watch, 30)
        assert watch.wound_up
    kept = place.state / "scans"
    assert not list(kept.glob("frames/*/residual"))
    assert len(list(kept.glob("frames/*/fingerprint.npz"))) == 3
    assert not list(kept.glob("maps/*"))


def test_a_frame_by_which_another_is_known_is_kept_in_mind_however_old(place: Place, long: Film) -> None:
    """The second and the last frame share bright dirt, as if they were of the opposite kind."""
    specks = np.random.default_rng(5).integers(10, (190, 290), (60, 2))
    specked = []
    for number in (1, 38):
        scan = tifffile.imread(long.files[number]).astype(np.float32)
        for row, column in specks:
            scan[row - 2 : row + 2, column - 2 : column + 2] *= 1.6
        specked.append(place.folder / long.names[number])
        write_tiff(specked[-1], scan.clip(0, 65535).astype(np.uint16))
    with place.watched() as watch:
        drop([long.files[0], specked[0], *long.files[2:38]], place.scans)
        place.let(watch)
        drop(specked[1:], place.scans)
        place.let(watch)
        place.close_all(watch)
        drop(long.files[39:], place.scans)
        place.let(watch)
    both = "SELECT first FROM members WHERE fold = 'inverted' AND frame IN (2, 39) GROUP BY first HAVING count(*) = 2"
    assert len(journal(place.state, both)) == 1
    with place.watched() as watch:
        write_tiff(place.scans / "other.tif", noise(1))
        place.let(watch)
        assert watch.summary() == f"{place.scans}: {len(long.files) + 1} frames, 0 to do"


# --- files that change --------------------------------------------------------------------------------------


def test_a_frame_scanned_again_is_cleaned_anew_and_the_old_one_is_no_witness(place: Place, roll: Film) -> None:
    old, again = roll.names[1], roll.files[4]
    with place.watched() as watch:
        drop(roll.files[:4], place.scans)
        place.let(watch)
        shutil.copy(again, place.scans / old)
        place.let(watch)
        assert receipt(place.output, old)["input_sha256"] == sha256(again)
        place.close_all(watch)
    told = place.receipts(roll.names[:4])
    assert [one["map_frames"] for one in told] == [4] * 4
    assert len(set(groups(told))) == 1
    assert journal(place.state, "SELECT DISTINCT frame FROM members ORDER BY frame") == [(1,), (3,), (4,), (5,)]
    assert journal(place.state, "SELECT state FROM frames WHERE number = 2") == [("replaced",)]


def test_if_the_first_frame_is_scanned_again_its_glass_stays_one(place: Place, roll: Film) -> None:
    """Its name was made from that frame."""
    with place.watched() as watch:
        drop(roll.files[:4], place.scans)
        place.let(watch)
        shutil.copy(roll.files[4], place.scans / roll.names[0])
        place.let(watch)
        place.close_all(watch)
    told = place.receipts(roll.names[:4])
    assert [one["map_frames"] for one in told] == [4] * 4
    assert len(set(groups(told))) == 1


def test_a_frame_that_is_merely_touched_is_not_done_again(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files, place.scans)
        place.let(watch)
        before, history = written(place.output), events(place.state)
        os.utime(place.scans / roll.names[1])
        shutil.copy(place.scans / roll.names[2], place.scans / "copy.part")
        (place.scans / "copy.part").replace(place.scans / roll.names[2])
        place.let(watch, 60)
        assert written(place.output) == before
        assert events(place.state) == history
    for number in (1, 2):
        status = (place.scans / roll.names[number]).stat()
        known = journal(place.state, "SELECT size, mtime_ns, inode FROM frames WHERE number = ?", number + 1)
        assert known == [(status.st_size, status.st_mtime_ns, status.st_ino)]


def test_an_original_that_vanishes_leaves_its_frame_and_stays_a_witness(place: Place, roll: Film) -> None:
    gone = roll.names[0]
    with place.watched() as watch:
        drop(roll.files[:3], place.scans)
        place.let(watch)
        before = sha256(place.output / gone)
        (place.scans / gone).unlink()
        drop(roll.files[3:4], place.scans)
        place.let(watch)
        assert [one["map_frames"] for one in place.receipts(roll.names[:4])] == [2, 4, 4, 4]
        assert sha256(place.output / gone) == before
        drop(roll.files[:1], place.scans)
        place.let(watch)
        assert receipt(place.output, gone)["map_frames"] == 4
    place.equals_clean()


def test_an_original_that_comes_back_after_its_glass_was_closed_is_served_all_the_same(
    place: Place, wiped: Film
) -> None:
    gone = wiped.names[0]
    with place.watched() as watch:
        drop(wiped.files[:3], place.scans)
        place.let(watch)
        (place.scans / gone).unlink()
        drop(wiped.files[3:5], place.scans)
        place.let(watch)
        place.close_all(watch)
        for file in wiped.files[5:]:
            drop([file], place.scans)
            place.let(watch)
        place.close_all(watch)
        assert receipt(place.output, gone)["map_frames"] == 2
        drop(wiped.files[:1], place.scans)
        place.let(watch)
        assert [one["map_frames"] for one in place.receipts(wiped.names)] == [5] * 10
    assert journal(place.state, "SELECT count(*) FROM troubles") == [(0,)]
    place.equals_clean()


def take_in_one(place: Place, watch: Watch, file: Path) -> Path:
    """Have a frame taken in and not cleaned, and its original go; where that is now."""
    drop([file], place.scans)
    watch.look_again()
    assert not watch.turn()
    place.clock.now += watch.due_in()
    assert watch.turn()
    away = place.folder / file.name
    (place.scans / file.name).rename(away)
    return away


def test_a_frame_that_was_away_before_it_came_out_comes_out_when_it_is_back(
    place: Place, roll: Film, other_profile: str
) -> None:
    with place.watched() as watch:
        away = take_in_one(place, watch, roll.files[0])
        place.let(watch)
    with place.watched(other_profile) as watch:
        place.let(watch)
        away.rename(place.scans / away.name)
        place.let(watch, 30)
        assert receipt(place.output, away.name)["profile"] == "other"


def test_so_it_does_when_its_glass_was_closed_and_has_come_back_meanwhile(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:2], place.scans)
        place.let(watch)
        away = take_in_one(place, watch, roll.files[2])
        place.let(watch)
        place.close_all(watch)
        write_tiff(place.scans / "other.tif", noise(5))
        place.let(watch)
        place.close_all(watch)
        drop(roll.files[3:4], place.scans)
        place.let(watch)
        away.rename(place.scans / away.name)
        place.let(watch, 30)
        place.close_all(watch)
    assert len(set(groups(place.receipts(roll.names[:4])))) == 1


def test_a_scan_that_stays_cut_short_when_saved_again_is_put_aside_like_any(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:2], place.scans)
        while not (place.output / "receipts" / f"{roll.names[1]}.json").exists():
            if not watch.turn():
                place.clock.now += 0.5
        os.truncate(place.scans / roll.names[0], 1000)  # it was to be cleaned again
        place.let(watch, 2 * HOUR)
    told = [event for event, _ in told_of(place, roll.names[0])]
    assert told == ["arrived", "unchanged", "gone", *["retry"] * 9, "quarantine"]


def test_nothing_is_left_to_do_for_a_file_that_vanished_before_it_was_a_frame(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:2], place.scans)
        write_cut_short(place.scans / "bad.tif")
        place.let(watch)
        assert "1 put aside" in watch.summary()
        (place.scans / "bad.tif").unlink()
        place.let(watch)
        assert watch.summary() == f"{place.scans}: 2 frames, 0 to do"


def test_what_vanishes_between_the_look_and_the_reading_keeps_nobody(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:3], place.scans)
        assert not watch.turn()
        place.clock.now += watch.due_in()
        assert watch.turn()  # the first frame is taken in, and the others are queued
        (place.scans / roll.names[1]).unlink()
        shutil.copy(roll.files[4], place.scans / roll.names[2])
        place.let(watch, 30)
        assert [one["input_sha256"] for one in place.receipts([roll.names[0], roll.names[2]])] == [
            sha256(roll.files[0]),
            sha256(roll.files[4]),
        ]
        assert watch.summary() == f"{place.scans}: 2 frames, 0 to do"


# --- profiles -----------------------------------------------------------------------------------------------


@pytest.fixture
def other_profile(place: Place) -> str:
    file = place.folder / "other.yaml"
    file.write_text(
        "name: other\ndescription: Faint dirt is left alone\nextends: generic-negative\n"
        "repair:\n  # So that something differs.\n  min_density_d: 0.05\n"
    )
    return str(file)


def test_another_profile_holds_for_frames_that_come_from_then_on(
    place: Place, roll: Film, other_profile: str, caplog: pytest.LogCaptureFixture
) -> None:
    with place.watched() as watch:
        drop(roll.files[:3], place.scans)
        place.let(watch)
    before = written(place.output)
    with place.watched(other_profile) as watch:
        drop(roll.files[3:4], place.scans)
        place.let(watch)
        assert receipt(place.output, roll.names[3])["map_frames"] == 0
    warned = f"{place.scans}: another profile than before; it holds for frames that come now"
    assert [text for text in caplog.messages if text.startswith(warned)]
    caplog.clear()
    with place.watched(other_profile) as watch:
        drop(roll.files[4:], place.scans)
        place.let(watch)
        place.close_all(watch)
    assert caplog.messages == []
    assert before.items() <= written(place.output).items()
    told = place.receipts(roll.names)
    assert [one["profile"] for one in told] == ["generic-negative"] * 3 + ["other"] * 2
    assert [one["map_frames"] for one in told[3:]] == [2, 2]
    assert told[3]["glass_id"] not in groups(told[:3])


def test_frames_that_the_other_profile_had_not_published_yet_come_out_with_the_new_one(
    place: Place, roll: Film, other_profile: str
) -> None:
    with place.watched() as watch:
        drop(roll.files[:1], place.scans)
        place.let(watch)
        drop(roll.files[1:3], place.scans)
        watch.look_again()
        assert not watch.turn()
        place.clock.now += watch.due_in()
        assert watch.turn()
        assert journal(place.state, "SELECT name FROM frames WHERE published IS NULL") == [(b"frame-02.tif",)]
    with place.watched(other_profile) as watch:
        place.let(watch)
        assert [(one["profile"], one["map_frames"]) for one in place.receipts(roll.names[:3])] == [
            ("generic-negative", 0),
            ("other", 2),
            ("other", 2),
        ]


# --- troubles -----------------------------------------------------------------------------------------------


def test_a_damaged_file_is_tried_again_ever_more_rarely_and_then_put_aside(
    place: Place, roll: Film, caplog: pytest.LogCaptureFixture
) -> None:
    with place.watched() as watch:
        drop(roll.files[:2], place.scans)
        write_cut_short(place.scans / "bad.tif")
        drop(roll.files[2:], place.scans)
        place.let(watch)
        assert [one["map_frames"] for one in place.receipts(roll.names)] == [4] * 5
        place.let(watch, HOUR)
        at = [event.at for event in events(place.state) if event.name == "bad.tif"]
        assert [event for event, _ in told_of(place, "bad.tif")] == ["retry"] * 9 + ["quarantine"]
        waits = np.diff(at)
        delays = np.array([5, 10, 20, 40, 80, 160, 320, 600, 600])
        assert (waits >= delays).all()
        assert (waits <= delays + 13).all()  # found at the next look, and still
        assert journal(place.state, "SELECT attempts, retry_at FROM troubles") == [(10, None)]
        assert not (place.output / "bad.tif").exists()
        said = [text for text in caplog.messages if text.startswith(f"{place.scans / 'bad.tif'}: ")]
        assert [text.rpartition("; ")[2] for text in said[::9]] == ["trying again in 5 s", "put aside until it changes"]
        shutil.copy(roll.files[0], place.scans / "bad.tif")
        place.let(watch)
        assert receipt(place.output, "bad.tif")["input_sha256"] == sha256(roll.files[0])
        assert journal(place.state, "SELECT * FROM troubles") == []


def test_what_is_put_aside_stays_so_after_a_restart(place: Place) -> None:
    write_unsupported(place.scans / "bad.tif")
    for _ in range(2):
        with place.watched() as watch:
            place.let(watch, HOUR / 4)
            assert watch.summary() == f"{place.scans}: 0 frames, 0 to do, 1 put aside"
        assert [event for event, _ in told_of(place, "bad.tif")] == ["skip"]
        ((remedy, reason, attempts, retry_at),) = journal(
            place.state, "SELECT remedy, reason, attempts, retry_at FROM troubles"
        )
        assert (remedy, attempts, retry_at) == ("skip", 1, None)
        assert reason.startswith(f"{place.scans / 'bad.tif'}: ")


class Faulty(Watch):
    """A watch with a fault in its code, which some frames run into when they are taken in, and others when cleaned."""

    def _take_in(self, sighting: Sighting) -> None:
        if sighting.arrival.relative.name == "frame-02.tif":
            raise ZeroDivisionError("while taking in")
        super()._take_in(sighting)

    def _clean(self, entry: Entry) -> None:
        if entry.name.name == "frame-04.tif":
            raise KeyError("while cleaning")
        super()._clean(entry)


def test_a_fault_in_our_code_puts_its_frame_aside_and_does_not_stop_the_others(
    place: Place, roll: Film, caplog: pytest.LogCaptureFixture
) -> None:
    with place.watched(kind=Faulty) as watch:
        drop(roll.files, place.scans)
        place.let(watch)
        place.close_all(watch)
        troubles = journal(place.state, "SELECT name, remedy, retry_at FROM troubles ORDER BY name")
        assert troubles == [(b"frame-02.tif", "quarantine", None), (b"frame-04.tif", "quarantine", None)]
    # The fourth is a frame, and known to be one of the glass, although it cannot be cleaned.
    assert [one["map_frames"] for one in place.receipts([roll.names[k] for k in (0, 2, 4)])] == [4] * 3
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.exc_info is not None for record in said] == [True, False] * 2
    assert "ZeroDivisionError: while taking in; please report this; put aside" in said[1].message
    # When the fault is mended: a touch, and they are frames like the others.
    for name in (roll.names[1], roll.names[3]):
        os.utime(place.scans / name)
    with place.watched() as watch:
        place.let(watch)
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(roll.names)] == [5] * 5


class Hopeless(Watch):
    """A watch with a fault that has nothing to do with any frame."""

    turns = 0

    def _close_next(self) -> bool:
        self.turns += 1
        raise IndexError("while closing")


def test_a_fault_that_is_no_frames_is_not_blamed_on_one_and_does_not_make_us_run_in_circles(
    place: Place, roll: Film
) -> None:
    with place.watched(kind=Hopeless) as watch:
        drop(roll.files[:2], place.scans)
        place.let(watch, 60)
        assert isinstance(watch, Hopeless)
        assert watch.turns <= 10
    assert [one["map_frames"] for one in place.receipts(roll.names[:2])] == [0, 2]
    assert journal(place.state, "SELECT * FROM troubles") == []


@pytest.mark.parametrize("name", ["b\xfcd.tif", "bad\nmap.tif", "b\udce4d.tif"], ids=ascii)
def test_the_name_of_a_file_that_fails_may_be_anything(place: Place, name: str) -> None:
    """In the place of its receipt is a folder, and the message about that has the name as the file system spells it."""
    (place.output / "receipts" / f"{name}.json").mkdir(parents=True)
    write_tiff(place.scans / name, noise(1))
    write_tiff(place.scans / "other.tif", noise(2))
    with place.watched() as watch:
        place.let(watch)
    assert (place.output / "other.tif").exists()
    ((found, reason),) = journal(place.state, "SELECT name, reason FROM troubles")
    assert found == os.fsencode(name)
    assert reason.endswith(".json: cannot be read: Is a directory; allow this user to read it, or move it away")
    (place.output / "receipts" / f"{name}.json").rmdir()
    with place.watched() as watch:
        place.let(watch)
    assert sha256(place.output / name) == sha256(place.scans / name)


def test_a_frame_that_cannot_be_written_is_not_asked_for_when_its_original_is_gone(place: Place) -> None:
    """As when somebody does as the message says, and renames it."""
    (place.output / "receipts" / "bad.tif.json").mkdir(parents=True)
    write_tiff(place.scans / "bad.tif", noise(1))
    with place.watched() as watch:
        place.let(watch)
        (place.scans / "bad.tif").rename(place.scans / "good.tif")
        place.let(watch, 60)
        assert watch.summary() == f"{place.scans}: 2 frames, 0 to do"
    assert sha256(place.output / "good.tif") == sha256(place.scans / "good.tif")
    assert journal(place.state, "SELECT state FROM frames ORDER BY number") == [("gone",), ("served",)]


def test_two_files_of_the_same_content_on_glasses_of_their_own_do_not_get_in_each_others_way(place: Place) -> None:
    """Their glasses have the same name, and so has the first map; and the first of them cannot be written at first."""
    obstacle = place.output / "receipts" / "a.tif.json"
    obstacle.mkdir(parents=True)
    write_tiff(place.scans / "a.tif", noise(1))
    shutil.copy(place.scans / "a.tif", place.scans / "b.tif")
    with place.watched() as watch:
        place.let(watch)
        obstacle.rmdir()
        place.let(watch, 30)
        assert watch.summary() == f"{place.scans}: 2 frames, 0 to do"
    assert sha256(place.output / "a.tif") == sha256(place.output / "b.tif") == sha256(place.scans / "a.tif")


def test_what_was_lost_of_the_state_is_found_out_again(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:3], place.scans)
        place.let(watch)
    shutil.rmtree(place.state / "scans" / "frames" / "2")
    with place.watched() as watch:
        drop(roll.files[3:], place.scans)
        place.let(watch)
        place.close_all(watch)
    assert [one["map_frames"] for one in place.receipts(roll.names)] == [5] * 5
    place.equals_clean()


def test_an_output_folder_whose_disk_is_away_at_the_start_is_waited_for(place: Place, roll: Film) -> None:
    """An empty folder is where the disk would be."""
    with place.watched() as watch:
        drop(roll.files[:2], place.scans)
        place.let(watch)
    away = place.output.rename(place.folder / "away")
    place.output.mkdir()
    with place.watched() as watch:
        drop(roll.files[2:4], place.scans)
        place.let(watch, 60)
        assert not list(place.output.iterdir())
        place.output.rmdir()
        away.rename(place.output)
        place.let(watch, 30)
        place.close_all(watch)
    place.equals_clean()


def test_it_is_not_wound_up_while_a_folder_is_away(place: Place, roll: Film) -> None:
    drop(roll.files[:2], place.scans)
    away = place.scans.rename(place.folder / "away")
    with place.watched() as watch:
        watch.wind_up()
        place.let(watch, 60)
        assert not watch.wound_up
        away.rename(place.scans)
        place.let(watch, 60)
        assert watch.wound_up
    assert [one["map_frames"] for one in place.receipts(roll.names[:2])] == [2, 2]
    assert open_glasses(place.state) == []


def test_what_cannot_be_written_again_is_tried_ever_more_rarely(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:1], place.scans)
        place.let(watch)
        obstacle = place.output / "receipts" / f".{roll.names[0]}.json.dustwatch.part"
        obstacle.mkdir()
        drop(roll.files[1:2], place.scans)
        place.let(watch, 200)
        waits = np.diff([event.at for event in events(place.state) if event.event == "retry"])
        assert (waits[:4] >= [5, 10, 20, 40]).all()
        obstacle.rmdir()
        place.let(watch, 200)
    assert [one["map_frames"] for one in place.receipts(roll.names[:2])] == [2, 2]


# --- a frame that is being put into place -------------------------------------------------------------------


def test_the_next_frame_is_observed_while_a_slow_disk_takes_in_the_one_before(
    place: Place, roll: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, came_meanwhile = os.fsync, []

    def slow(handle: int) -> None:
        file = Path(f"/proc/self/fd/{handle}").readlink()
        if place.output in file.parents and roll.names[0] in file.name:
            patience = time.monotonic() + 20
            while not told_of(place, roll.names[1]) and time.monotonic() < patience:
                time.sleep(0.01)
            came_meanwhile.append(told_of(place, roll.names[1]))
        fsync(handle)

    drop(roll.files[:3], place.scans)
    with place.watched() as watch:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", slow)
            place.let(watch, 5)
        place.close_all(watch)
    assert [event for event, _ in came_meanwhile[0]] == ["arrived"]
    place.equals_clean()


def begin_placing(place: Place, watch: Watch, file: Path) -> None:
    """Have a file taken in and cleaned, but no turn after that."""
    drop([file], place.scans)
    watch.turn()
    place.clock.now += 5
    assert [watch.turn(), watch.turn()] == [True, True]
    assert [event for event, _ in told_of(place, file.name)] == ["arrived"]


def test_what_is_being_put_into_place_at_the_end_is_there_and_known(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        begin_placing(place, watch, roll.files[0])
    assert [event for event, _ in told_of(place, roll.names[0])] == ["arrived", "unchanged"]
    assert place.receipts(roll.names[:1])


def test_a_fault_of_what_puts_into_place_at_the_end_leaves_nothing_open(
    place: Place, roll: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def broken(handle: int) -> None:
        if place.output in Path(f"/proc/self/fd/{handle}").readlink().parents:
            raise RuntimeError("nobody foresaw this")
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(RuntimeError, match="foresaw"), place.watched() as watch:
            begin_placing(place, watch, roll.files[0])
    with place.watched() as watch:
        place.let(watch)
        place.close_all(watch)
    place.equals_clean()


def test_a_file_may_be_scanned_anew_while_it_is_being_put_into_place(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        begin_placing(place, watch, roll.files[0])
        shutil.copyfile(roll.files[1], place.scans / roll.names[0])
        watch.look_again()
        place.let(watch)
        place.close_all(watch)
    assert [event for event, _ in told_of(place, roll.names[0])] == ["arrived", "unchanged"] * 2
    place.equals_clean()


# --- many files, and odd clocks -----------------------------------------------------------------------------


def test_few_of_many_files_are_held_in_memory_and_all_come_out_in_order(place: Place) -> None:
    for number in range(200):
        # Each of a size of its own: then nobody has to find out whether any two lie on one glass.
        write_tiff(place.scans / f"{number}.tif", noise(number)[number % 20 :, number // 20 :])
    waiting = []
    with place.watched() as watch:
        for _ in range(2):
            while watch.turn():
                waiting.append(int(watch.summary().split()[-3]))
            place.clock.now += 2
    assert max(waiting) == QUEUE + 1  # and the one that is being put into place
    order = [int(one.name.removesuffix(".tif")) for one in events(place.state) if one.event == "unchanged"]
    assert order == list(range(200))


def test_it_goes_on_when_the_clock_is_set_back(place: Place, roll: Film) -> None:
    with place.watched() as watch:
        drop(roll.files[:1], place.scans)
        place.let(watch)
        place.clock.now -= 5 * HOUR
        drop(roll.files[1:], place.scans)
        place.let(watch)
        assert [one["map_frames"] for one in place.receipts(roll.names)] == [4] * 5
