"""A scanner's feeder on the virtual scanner: what it scans, what it waits for, and what it survives."""

from __future__ import annotations

import gc
import json
import os
import random
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

from dustwatch.daemon.errors import ServiceError
from dustwatch.daemon.feed import Doing, Feed, Load, by_hand, counted, on_buttons
from dustwatch.daemon.frame import place_of
from dustwatch.daemon.memory import give_back
from dustwatch.daemon.scanner.fault import Fault, ScannerError
from dustwatch.daemon.scanner.holder import Holder, Slot, load_holder
from dustwatch.daemon.scanner.section import ScannerSection
from tests.saned import needs_sane
from tests.scanning import VirtualScanner, virtual_scanner

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_sane

SECTION = ScannerSection(300, 16, {"source": "Transparency Unit"})
COLUMNS, ROWS = 71, 47
HOLDER = {
    "name": "three",
    "slots": [{"name": n, "x": 1 + 8 * k, "y": 2, "width": 6, "height": 4} for k, n in enumerate("ABC")],
}


@dataclass
class Place:
    """A virtual scanner with film in three slots, and the folders of its scans."""

    folder: Path
    scanner: VirtualScanner
    doings: list[Doing] = field(default_factory=list)

    @property
    def load(self) -> Load:
        holder = load_holder(str(self.folder / "three.yaml"))
        return Load(self.folder / "scans", self.folder / "clean", "generic-negative", SECTION, holder)

    def feed(self, begin: Any, stall_s: float = 10.0) -> Feed:
        return Feed(
            self.scanner.device, begin, patient=False, stall_s=stall_s, pause_s=0.05, progress=self.doings.append
        )

    @property
    def names(self) -> list[str]:
        return sorted(file.name for file in (self.folder / "scans").iterdir())


@contextmanager
def place_with(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, holder: bool = True) -> Iterator[Place]:
    (folder / "scans").mkdir()
    (folder / "three.yaml").write_text(json.dumps(HOLDER))
    film = ["--holder", folder / "three.yaml"] if holder else []
    with virtual_scanner(folder, *film, *options) as scanner:
        monkeypatch.setenv("SANE_CONFIG_DIR", str(scanner.config))
        yield Place(folder, scanner)
    assert children() == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with place_with(tmp_path, monkeypatch) as place:
        yield place


def children() -> list[int]:
    """Processes that we have started and that are still there."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


def to_its_end(feed: Feed, seconds: float = 120) -> BaseException | None:
    rung = threading.Event()
    end = time.monotonic() + seconds
    with feed.running(rung.set):
        while not feed.ended:
            assert rung.wait(end - time.monotonic()), feed.summary()
            rung.clear()
    return feed.error


def names(loads: int, slots: int = 3) -> list[str]:
    return [f"load-{load:03d}-slot-{slot:02d}.tif" for load in range(1, loads + 1) for slot in range(1, slots + 1)]


def require_whole(place: Place) -> None:
    """All scans are whole pictures, and no two show the same."""
    seen = set()
    for name in place.names:
        picture = tifffile.imread(place.folder / "scans" / name)
        assert picture.shape == (ROWS, COLUMNS, 3)
        seen.add(picture.tobytes())
    assert len(seen) == len(place.names)


def test_every_slot_of_every_load_becomes_a_file_that_says_where_it_lay(place: Place) -> None:
    feed = place.feed(counted(place.load, 2))
    assert to_its_end(feed) is None
    assert place.names == names(2)
    assert feed.scanned == 6
    require_whole(place)
    places = []
    for name in place.names:
        with tifffile.TiffFile(place.folder / "scans" / name) as file:
            places.append(place_of(file.pages[0].tags["ImageDescription"].value))
    assert places == [f"{place.scanner.device}, three, {slot}" for slot in "ABCABC"]
    assert {(one.load, one.slot, one.slots) for one in place.doings} == {(n, s, 3) for n in (1, 2) for s in (1, 2, 3)}
    assert all(one.slot - 1 <= one.done <= one.slot for one in place.doings)


def test_without_a_holder_what_the_device_scans_is_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, holder=False) as place:
        load = Load(place.folder / "scans", place.folder / "clean", "generic-negative", ScannerSection(75, 8))
        assert to_its_end(place.feed(counted(load, 1), stall_s=60)) is None
        assert place.names == names(1, slots=1)


@pytest.mark.parametrize(
    "faults",
    [
        ["jammed@start", "cover-open@start", "no-documents@start", "busy@start"],
        ["io-error@start", "io-error@0.5", "short@0.5", "vanish@0.5"],
    ],
)
def test_what_can_pass_is_waited_for_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, faults: list[str]
) -> None:
    options = [one for fault in faults for one in ("--fault", fault, "--fault", "none@start")]
    with place_with(tmp_path, monkeypatch, *options) as place, caplog.at_level("INFO"):
        assert to_its_end(place.feed(counted(place.load, 2))) is None
        assert place.names == names(2)
        require_whole(place)
    said = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert len(said) == len(faults)
    assert all(place.scanner.device in one and one.endswith("; it is tried again until it works") for one in said)
    assert [one.message for one in caplog.records].count(f"{place.scanner.device}: works again") == len(faults)


def test_a_scanner_that_hangs_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, "--fault", "stall@0.5") as place:
        assert to_its_end(place.feed(counted(place.load, 1), stall_s=2.0)) is None
        assert place.names == names(1)
        require_whole(place)


def test_a_slot_without_film_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, "--fault", "none", "--fault", "white") as place:
        assert to_its_end(place.feed(counted(place.load, 1))) is None
        assert place.names == [names(1)[0], names(1)[2]]


def test_who_stops_a_scan_at_the_device_does_not_end_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with place_with(tmp_path, monkeypatch, "--fault", "none", "--fault", "cancelled@0.5") as place:
        assert to_its_end(place.feed(counted(place.load, 2))) is None
        assert place.names == [names(1)[0], *names(2)[3:]]
        require_whole(place)
    (said,) = (one.message for one in caplog.records if one.levelname == "WARNING")
    assert said.endswith("scan again when you like; the rest of load 1 is left out")


def test_only_what_is_still_wrong_is_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, "--fault", "jammed", "--fault", "white") as place:
        said = []
        feed = place.feed(counted(place.load, 1))
        feed._progress = lambda _: said.append(feed.summary())
        assert to_its_end(feed) is None
        assert place.names == names(1)[1:]
        assert said[-1] == f"{place.scanner.device}: load 1, slot 3 of 3"
        assert [line for line in said if "slot 2 of 3" in line]


def test_a_scanner_that_was_never_there_is_a_slip_unless_somebody_has_patience(place: Place) -> None:
    slip = place.scanner.device.replace("film", "flim")
    expected = re.escape(f"{slip}: there is no such scanner; there are: {place.scanner.device}")
    with pytest.raises(ServiceError, match=expected):
        Feed(slip, counted(place.load, 1), patient=False, pause_s=0.05).check(place.load, ())
    assert place.names == []
    feed = Feed(slip, counted(place.load, 1), pause_s=0.05)
    with feed.running(lambda: None):
        begun = time.monotonic()
        while "cannot be opened" not in feed.summary():
            assert time.monotonic() < begun + 30, feed.summary()
            assert not feed.ended
            time.sleep(0.05)


def test_what_the_scanner_refuses_ends_it_with_the_reason(place: Place) -> None:
    section = ScannerSection(301, 16, {"sauce": "Transparency Unit"})
    load = Load(place.folder / "scans", place.folder / "clean", "generic-negative", section)
    error = to_its_end(place.feed(counted(load, 1)))
    assert isinstance(error, ScannerError)
    assert error.fault is Fault.REFUSED
    assert "sauce" in str(error)
    assert "resolution" in str(error)
    assert place.names == []


def test_a_slot_outside_of_the_bed_is_refused_before_anything_is_scanned(place: Place) -> None:
    holder = Holder("far", (Slot("1", 1, 1, 6, 4), Slot("2", 400, 1, 6, 4)))
    load = Load(place.folder / "scans", place.folder / "clean", "generic-negative", SECTION, holder)
    error = to_its_end(place.feed(counted(load, 1)))
    assert isinstance(error, ScannerError)
    assert error.fault is Fault.REFUSED
    assert place.names == []


def test_it_stops_at_once_and_leaves_no_half_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, "--rate", "4000") as place:
        feed = place.feed(counted(place.load, 1))
        begun = time.monotonic()
        with feed.running(lambda: None):
            while not any(name.endswith(".part") for name in place.names):
                assert time.monotonic() < begun + 30
                time.sleep(0.02)
            left = time.monotonic()
        assert time.monotonic() < left + 8
        assert feed.ended
        assert feed.error is None
        assert place.names == []


def test_a_button_of_the_scanner_begins_a_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with place_with(tmp_path, monkeypatch, "--button", "email@1", "--button", "scan@2") as place:
        single = Holder("one", (Slot("A", 1, 2, 6, 4),))
        short = Load(place.folder / "scans", place.folder / "clean", "generic-slide", SECTION, single)
        feed = place.feed(on_buttons({"scan": short, "email": place.load}))
        rung = threading.Event()
        with feed.running(rung.set):
            while feed.scanned < 4:
                assert rung.wait(30), feed.summary()
                rung.clear()
        assert place.names == names(2)[:4]


@pytest.mark.parametrize("end", [b"q\n", b""])
def test_a_key_says_that_the_next_load_lies_there(place: Place, end: bytes) -> None:
    theirs, ours = os.pipe()
    try:
        os.write(ours, b"\n")
        feed = place.feed(by_hand(place.load, theirs, ["scan"]))
        rung = threading.Event()
        with feed.running(rung.set):
            while feed.scanned < 6:
                assert rung.wait(30), feed.summary()
                rung.clear()
            place.scanner.tell("press scan")
            while feed.scanned < 9:
                assert rung.wait(30), feed.summary()
                rung.clear()
            os.write(ours, end)
            if not end:
                os.close(ours)
            while not feed.ended:
                assert rung.wait(30), feed.summary()
                rung.clear()
        assert place.names == names(3)
    finally:
        os.close(theirs)
        if end:
            os.close(ours)


def test_enter_that_was_typed_while_it_scanned_does_not_count(place: Place) -> None:
    ours, theirs = os.openpty()
    try:
        feed = place.feed(by_hand(place.load, theirs, []))
        rung = threading.Event()
        with feed.running(rung.set):
            os.write(ours, b"\n\n")
            while feed.scanned < 2:
                assert rung.wait(30), feed.summary()
                rung.clear()
            os.write(ours, b"q\n")
            while not feed.ended:
                assert rung.wait(30), feed.summary()
                rung.clear()
        assert feed.error is None
        assert place.names == names(1)
    finally:
        os.close(theirs)
        os.close(ours)


def test_no_number_is_given_twice_and_what_a_killed_process_left_goes(place: Place) -> None:
    (place.folder / "clean").mkdir()
    (place.folder / "clean" / "load-007-slot-02.tif").touch()
    (place.folder / "scans" / "load-006-slot-01.tif.part").touch()
    (place.folder / "scans" / "mine-009-slot-01.tif.part").touch()
    assert to_its_end(place.feed(counted(place.load, 1))) is None
    assert place.names == [*(f"load-008-slot-{slot:02d}.tif" for slot in (1, 2, 3)), "mine-009-slot-01.tif.part"]


def test_a_folder_that_is_missing_is_waited_for(place: Place) -> None:
    load = place.load
    (load.scans / names(1)[0]).write_bytes(b"an earlier one")
    away = load.scans.rename(place.folder / "away")
    feed = place.feed(counted(load, 1))
    with feed.running(lambda: None):
        begun = time.monotonic()
        while str(load.scans) not in feed.summary():
            assert time.monotonic() < begun + 30, feed.summary()
            time.sleep(0.05)
        away.rename(load.scans)
        while not feed.ended:
            assert time.monotonic() < begun + 60, feed.summary()
            time.sleep(0.05)
    assert place.names == [names(1)[0], *names(2)[3:]]
    assert (load.scans / names(1)[0]).read_bytes() == b"an earlier one"


def memory_kb() -> int:
    """What is in use; what earlier tests have freed, and what comes and goes, is given back first."""
    gc.collect()
    give_back()
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def test_a_hundred_scans_with_a_fault_in_every_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [
        "jammed",
        "cover-open",
        "no-documents",
        "busy",
        "io-error",
        "io-error@0.5",
        "short@0.3",
        "vanish@0.7",
        "stall@0.2",
    ]
    rng = random.Random(6)
    faults = [rng.choice(kinds) if number % 3 == 2 else "none" for number in range(150)]
    options = [one for fault in faults for one in ("--fault", fault)]
    with place_with(tmp_path, monkeypatch, *options) as place:
        feed = place.feed(counted(place.load, 34), stall_s=2.0)
        rung = threading.Event()
        held: dict[int, int] = {}
        with feed.running(rung.set):
            while not feed.ended:
                assert rung.wait(60), feed.summary()
                rung.clear()
                held[feed.scanned] = memory_kb()
                assert len(children()) <= 2  # the virtual scanner, and a worker
        assert feed.error is None
        assert place.names == names(34)
        require_whole(place)
        assert held[102] < held[min(held, key=lambda count: abs(count - 30))] + 8000
