"""Sessions with a scanner: SANE's own test device, its daemon on the network, and the virtual film scanner."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile

from dustwatch.daemon.scanner.device import Device
from dustwatch.daemon.scanner.fault import Fault, ScannerError
from dustwatch.daemon.scanner.holder import Holder, Slot
from dustwatch.daemon.scanner.plan import Plan, Progress, Scanned, Window
from dustwatch.daemon.scanner.section import Infrared, ScannerSection
from dustwatch.daemon.scanner.session import Session, devices
from dustwatch.processing.arrays import Scan
from tests.saned import needs_sane, needs_saned, saned
from tests.scanning import VirtualScanner, needs_scanimage, read_pnm, sane_config, virtual_scanner

pytestmark = needs_sane

DEVICE = "test:0"
PATTERN = {"mode": "Color", "test-picture": "Color pattern"}
WINDOW = Window(10, 20, 40, 30)
SLOW = {"read-delay": True, "read-delay-duration": 100_000}
"""A tenth of a second for every piece that the device delivers."""

STALL_S = 3.0
"""So long a worker may take to start on a busy machine, too."""

LONG_STALL_S = 120.0
"""So long nobody waits: what has to be noticed at once is not noticed by the timer."""


@pytest.fixture
def test_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SANE's own test device, and no other."""
    monkeypatch.setenv("SANE_CONFIG_DIR", str(sane_config(tmp_path / "sane", "test")))


def section(resolution: float = 200, depth: int | None = 16, **more: bool | int | float | str) -> ScannerSection:
    options = PATTERN | {name.replace("_", "-"): value for name, value in more.items()}
    return ScannerSection(resolution=resolution, depth=8 if depth == 8 else 16, options=options)


def silent(_: Progress) -> None:
    pass


def scan(
    plan: Plan,
    file: Path,
    device: str = DEVICE,
    progress: Callable[[Progress], None] = silent,
    stall_s: float = 30.0,
) -> Scanned:
    with Session(device, stall_s) as session:
        return session.scan(plan, file, progress)


def fault_of(plan: Plan, file: Path, device: str = DEVICE, **more: object) -> ScannerError:
    """The error of a scan, which has to leave nothing behind."""
    with pytest.raises(ScannerError) as caught:
        scan(plan, file, device, **more)
    assert list(file.parent.glob("*.tif*")) == []
    assert str(caught.value).startswith(f"{device}: ")
    return caught.value


def workers() -> list[int]:
    """Workers that this process has started and that are still there."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if b"scanner.worker" in Path("/proc", child, "cmdline").read_bytes()]


def corners(window: Window) -> list[str]:
    return [f"-l{window.x:g}", f"-t{window.y:g}", f"-x{window.width:g}", f"-y{window.height:g}"]


def by_scanimage(device: str, settings: dict[str, bool | int | float | str], window: Window) -> Scan:
    words = {True: "yes", False: "no"}
    options = [f"--{name}={words[value] if isinstance(value, bool) else value}" for name, value in settings.items()]
    arguments = ["scanimage", f"-d{device}", *options, *corners(window), "--format=pnm"]
    done = subprocess.run(arguments, capture_output=True)
    assert done.returncode == 0, done.stderr
    return read_pnm(done.stdout)


# --- what comes ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("test_backend")
def test_devices_are_listed() -> None:
    assert Device(DEVICE, "Noname", "frontend-tester", "virtual device") in devices()


@needs_scanimage
@pytest.mark.usefixtures("test_backend")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depth": 8},
        {"mode": "Gray"},
        {"mode": "Gray", "depth": 8, "resolution": 75},
        {"three_pass": True, "three_pass_order": "GBR", "depth": 8},
        {"read_limit": True, "read_limit_size": 77},
        {"fuzzy_parameters": True},
        {"invert_endianess": True},
    ],
    ids=str,
)
def test_a_scan_is_what_scanimage_makes_of_it(tmp_path: Path, options: dict[str, bool | int | str]) -> None:
    asked = section(**options)
    scanned = scan(Plan(asked, WINDOW), tmp_path / "1.tif")
    picture = tifffile.imread(tmp_path / "1.tif")
    expected = by_scanimage(DEVICE, {"mode": "Color", "depth": 16} | asked.settings, WINDOW)
    assert (scanned.height, scanned.width, scanned.samples) == expected.shape
    np.testing.assert_array_equal(picture.reshape(expected.shape), expected)


@pytest.mark.usefixtures("test_backend")
@pytest.mark.parametrize("options", [{}, {"depth": 8}, {"mode": "Gray", "depth": 8}, {"three_pass": True}], ids=str)
def test_what_rows_are_padded_with_is_left_out(tmp_path: Path, options: dict[str, bool | int | str]) -> None:
    lost = (0, 1, 5)
    with Session(DEVICE) as session:
        for padding in lost:
            asked = section(73, **options, ppl_loss=padding)
            session.scan(Plan(asked, WINDOW), tmp_path / f"{padding}.tif", silent)
    whole, *cut = (tifffile.imread(tmp_path / f"{padding}.tif") for padding in lost)
    for padding, picture in zip(lost[1:], cut, strict=True):
        np.testing.assert_array_equal(picture, whole[:, :-padding])


@pytest.mark.usefixtures("test_backend")
def test_a_hand_scanner_says_only_at_the_end_how_long_the_picture_is(tmp_path: Path) -> None:
    told: list[Progress] = []
    scanned = scan(Plan(section(100, 8, hand_scanner=True)), tmp_path / "1.tif", progress=told.append)
    assert tifffile.imread(tmp_path / "1.tif").shape == (scanned.height, scanned.width, 3)
    assert told[-1].rows == scanned.height > 100
    assert {each.of_rows for each in told} == {None}


@pytest.mark.usefixtures("test_backend")
def test_the_file_tells_where_it_comes_from(tmp_path: Path) -> None:
    told: list[Progress] = []
    device = Device(DEVICE, "Noname", "frontend-tester", "virtual device")
    plan = Plan(section(200), WINDOW, {"slot": "2", "holder": "mine", "profile": "portra"}, device)
    file = tmp_path / "1.tif"
    assert scan(plan, file, progress=told.append).file == file
    with tifffile.TiffFile(file) as tiff:
        tags = {tag.name: tag.value for tag in tiff.pages.first.tags}
    assert (tags["Make"], tags["Model"]) == ("Noname", "frontend-tester")
    assert (tags["XResolution"], tags["YResolution"], tags["ResolutionUnit"]) == ((200, 1), (200, 1), 2)
    assert tags["Software"].startswith("dustwatch ")
    assert abs(time.mktime(time.strptime(tags["DateTime"], "%Y:%m:%d %H:%M:%S")) - time.time()) < 60
    assert json.loads(tags["ImageDescription"]) == {
        "scanner": DEVICE,
        "slot": "2",
        "holder": "mine",
        "profile": "portra",
        "options": {"resolution": 200.0, "depth": 16} | PATTERN,
    }
    assert (told[0].rows, told[-1].rows) == (0, told[-1].of_rows)
    assert workers() == []


@pytest.mark.usefixtures("test_backend")
def test_a_session_scans_again_and_options_of_the_last_scan_do_not_stay(tmp_path: Path) -> None:
    with Session(DEVICE) as session:
        for number, mode in enumerate(("Gray", "Color", "Gray")):
            plan = Plan(section(75, mode=mode), WINDOW)
            assert session.scan(plan, tmp_path / f"{number}.tif", silent).samples == {"Gray": 1, "Color": 3}[mode]
        assert len(workers()) == 1
    assert workers() == []


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("test_backend")
def test_options_are_told_with_type_unit_range_value_and_whether_they_are_active() -> None:
    with Session(DEVICE) as session:
        options = {option.name: option for option in session.options()}
        assert options["three-pass"].active is False
        assert options["three-pass"].value is None
        assert (options["tl-x"].unit, options["tl-x"].possible) == ("mm", "0 to 200 in steps of 1 mm")
        assert options["mode"].value == "Gray"
        assert options["red-gamma-table"].table
        assert options["bool-hard-select-soft-detect"].button
        assert not options["bool-soft-detect"].settable
        options = {option.name: option for option in session.options({"mode": "Color"})}
        assert options["three-pass"].active


@pytest.mark.usefixtures("test_backend")
def test_all_that_is_wrong_with_a_section_is_said_at_once() -> None:
    options = {"mode": "Gray", "three-pass": True, "test-pictur": "Grid", "ppl-loss": 500, "red-gamma-table": 3}
    wrong = ScannerSection(
        resolution=200.5, options=options, required=("film-type", "three-pass-order", "mode"), lamp="light"
    )
    with Session(DEVICE) as session, pytest.raises(ScannerError) as caught:
        session.check(wrong, [Window(0, 0, 150, 250)])
    assert caught.value.fault is Fault.REFUSED
    assert not caught.value.retry
    assert str(caught.value).splitlines() == [
        f"{DEVICE}: all of this is wrong:",
        "  there is no option light",
        "  there is no option test-pictur (did you mean 'test-picture'?)",
        "  ppl-loss cannot be 500; possible: 0 to 128 in steps of 1 px",
        "  red-gamma-table is a table, which cannot be set here",
        "  resolution cannot be 200.5; possible: 1 to 1200 in steps of 1 dpi",
        "  three-pass is inactive with these options",
        "  there is no option film-type, which is required",
        "  three-pass-order, which is required, is inactive with these options",
        "  the window lies beside the bed: its bottom edge at 250 mm (possible: 0 to 200 mm); correct it in the "
        "holder's file, or set a source with a larger area",
        '"dustwatch devices --options" tells what is possible',
    ]


@pytest.mark.usefixtures("test_backend")
def test_one_cause_is_said_once() -> None:
    wrong = section(three_pass_order="RGB", mode="Gray")
    with Session(DEVICE) as session, pytest.raises(ScannerError) as caught:
        session.check(dataclasses.replace(wrong, required=("three-pass-order",)), [WINDOW, Window(0, 0, 10, 10)])
    assert str(caught.value).startswith(f"{DEVICE}: three-pass-order is inactive with these options; ")


@pytest.mark.usefixtures("test_backend")
def test_what_is_wrong_with_infrared_only_is_told_from_the_options() -> None:
    wrong = dataclasses.replace(section(source="Flatbed"), infrared=Infrared("source", "Infrarot"))
    with Session(DEVICE) as session, pytest.raises(ScannerError) as caught:
        session.check(wrong, [WINDOW])
    said = "infrared.value Infrarot: source cannot be Infrarot; possible: Flatbed, Automatic Document Feeder; "
    assert str(caught.value).startswith(f"{DEVICE}: {said}")


@pytest.mark.usefixtures("test_backend")
def test_slots_that_lie_beside_the_bed_are_named() -> None:
    inside, beside = Slot("left", 10, 20, 36, 24), [Slot("right", 180, 20, 36, 24), Slot("far", 300, 300, 36, 24)]
    with Session(DEVICE) as session, pytest.raises(ScannerError) as caught:
        session.check(section(), Holder("wide", (inside, *beside)).windows)
    assert str(caught.value).splitlines()[1:3] == [
        "  slot right of holder wide lies beside the bed: its right edge at 216 mm (possible: 0 to 200 mm); "
        "correct it in the holder's file, or set a source with a larger area",
        "  slot far of holder wide lies beside the bed: its left edge at 300 mm (possible: 0 to 200 mm), its top edge "
        "at 300 mm (possible: 0 to 200 mm), its right edge at 336 mm (possible: 0 to 200 mm), its bottom edge at 324 "
        "mm (possible: 0 to 200 mm); correct it in the holder's file, or set a source with a larger area",
    ]


@pytest.mark.usefixtures("test_backend")
def test_a_value_that_the_device_rounds_silently_is_refused() -> None:
    with Session(DEVICE) as session, pytest.raises(ScannerError, match="int-inexact: 5 became 6"):
        session.check(section(enable_test_options=True, int_inexact=5))


@pytest.mark.usefixtures("test_backend")
def test_options_may_be_given_before_those_that_make_them_active() -> None:
    options = {
        "three-pass-order": "BRG",
        "three-pass": True,
        "mode": "Color",
        "button": True,
        "enable-test-options": True,
    }
    with Session(DEVICE) as session:
        session.check(ScannerSection(options=options, required=("three-pass-order",)), [WINDOW])
        values = {option.name: option.value for option in session.options()}
    assert values["three-pass-order"] == "BRG"
    assert [values[name] for name in ("tl-x", "tl-y", "br-x", "br-y")] == [10, 20, 50, 50]


@pytest.mark.usefixtures("test_backend")
def test_a_window_in_the_wrong_unit_is_refused() -> None:
    with Session(DEVICE) as session, pytest.raises(ScannerError, match="measures the window in mm; write geometry: mm"):
        session.check(ScannerSection(geometry="pixels", geometry_dpi=4000), [WINDOW])


@pytest.mark.usefixtures("test_backend")
def test_only_buttons_that_are_there_are_asked_for() -> None:
    for name in ("scan", "mode"):
        told = f"no button {name}; there are: bool-hard-select"
        with Session(DEVICE) as session, pytest.raises(ScannerError, match=told):
            session.pressed([name])


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("test_backend")
@pytest.mark.parametrize(
    ("status", "fault", "what_to_do"),
    [
        ("JAMMED", Fault.JAMMED, "take it out and put it in again"),
        ("COVER_OPEN", Fault.COVER_OPEN, "close it"),
        ("NO_DOCS", Fault.NO_DOCUMENTS, "put film in"),
        ("DEVICE_BUSY", Fault.BUSY, "close that program"),
        ("IO_ERROR", Fault.IO_ERROR, "check its cable and power"),
        ("NO_MEM", Fault.IO_ERROR, "check its cable and power"),
        ("INVAL", Fault.IO_ERROR, "check its cable and power"),
        ("UNSUPPORTED", Fault.IO_ERROR, "check its cable and power"),
        ("ACCESS_DENIED", Fault.DENIED, "add the user to the group 'scanner'"),
        ("CANCELLED", Fault.CANCELLED, "scan again when you like"),
        ("EOF", Fault.SHORT, "it ended after 0 of 236 rows; check its cable and power"),
    ],
)
def test_every_fault_ends_in_a_clear_message_and_a_usable_next_scan(
    tmp_path: Path, status: str, fault: Fault, what_to_do: str
) -> None:
    wrong = section(read_return_value=f"SANE_STATUS_{status}")
    error = fault_of(Plan(wrong, WINDOW), tmp_path / "1.tif")
    assert error.fault is fault
    assert what_to_do in str(error)
    assert error.retry == (fault not in (Fault.DENIED, Fault.CANCELLED))
    assert workers() == []
    assert scan(Plan(section(), WINDOW), tmp_path / "1.tif").height == 236


@pytest.mark.usefixtures("test_backend")
@pytest.mark.parametrize(("picture", "told"), [("Solid black", "0.0%"), ("Solid white", "100.0%")])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_blank_frame_is_no_frame(tmp_path: Path, picture: str, told: str, depth: int) -> None:
    error = fault_of(Plan(section(75, depth, test_picture=picture), WINDOW), tmp_path / "1.tif")
    assert error.fault is Fault.BLANK
    assert f"all of it has {told} of the full brightness; is there film in the slot" in str(error)


@pytest.mark.usefixtures("test_backend")
def test_a_scan_of_one_bit_is_refused(tmp_path: Path) -> None:
    plan = Plan(ScannerSection(options={"depth": 1}), WINDOW)
    assert "it gives 1 bits a sample, not 8 or 16" in str(fault_of(plan, tmp_path / "1.tif"))


@pytest.mark.usefixtures("test_backend")
def test_a_device_without_infrared_is_not_taken_to_have_it(tmp_path: Path) -> None:
    for infrared, said in (
        (Infrared("sample"), "gives 3 samples a pixel, but infrared style sample needs 4"),
        (Infrared("source", "Infrared"), "source cannot be Infrared; possible: Flatbed"),
        (Infrared("mode", "Gray"), ""),
    ):
        plan = Plan(ScannerSection(resolution=75, options=PATTERN | {"source": "Flatbed"}, infrared=infrared), WINDOW)
        if said:
            assert said in str(fault_of(plan, tmp_path / "1.tif"))
        else:  # grey light will do for a fourth sample
            assert scan(plan, tmp_path / "1.tif").samples == 4


@pytest.mark.parametrize(
    ("style", "mode", "said"),
    [
        ("sample", "Color", "it gives 3 samples a pixel, but infrared style sample needs 4; set its mode"),
        ("none", "RGBI", "it gives 4 samples a pixel; write infrared style sample"),
    ],
)
def test_samples_that_do_not_fit_the_infrared_are_found_before_the_first_scan(
    virtual: VirtualScanner, style: Literal["sample", "none"], mode: str, said: str
) -> None:
    with Session(virtual.device) as session, pytest.raises(ScannerError) as caught:
        session.check(film(Infrared(style), mode=mode), [FILM, Window(90, 33, 12, 8)])
    assert caught.value.fault is Fault.REFUSED
    assert str(caught.value).startswith(f"{virtual.device}: {said}; ")


@pytest.mark.usefixtures("test_backend")
@pytest.mark.parametrize(
    ("infrared", "options", "said"),
    [
        (Infrared("scan"), {}, "the page after the colours has colours again"),
        (Infrared("scan"), {"mode": "Gray"}, "what it gives for infrared is a copy of a colour"),
        (Infrared("mode", "Color"), {}, "what it gives for infrared is a copy of a colour"),
        (Infrared("source", "Flatbed"), {"source": "Flatbed"}, "what it gives for infrared is a copy of a colour"),
    ],
    ids=str,
)
def test_a_copy_of_a_colour_is_no_infrared(
    tmp_path: Path, infrared: Infrared, options: dict[str, str], said: str
) -> None:
    plan = Plan(dataclasses.replace(section(75, **options), infrared=infrared), WINDOW)
    error = fault_of(plan, tmp_path / "1.tif")
    assert error.fault is Fault.NO_INFRARED
    assert f"{said}; switch infrared on among options" in str(error)


@pytest.mark.usefixtures("test_backend")
def test_a_device_that_is_not_there_is_told_from_one_that_is_busy() -> None:
    with pytest.raises(ScannerError, match="test:7: it cannot be opened") as caught, Session("test:7"):
        pass
    assert caught.value.fault is Fault.VANISHED
    assert caught.value.retry
    assert workers() == []


@pytest.mark.usefixtures("test_backend")
def test_a_session_that_has_ended_says_so(tmp_path: Path) -> None:
    with Session(DEVICE) as session:
        with pytest.raises(ScannerError):
            session.check(section(nonsense=True))
        with pytest.raises(ScannerError, match="its session has ended"):
            session.scan(Plan(), tmp_path / "1.tif", silent)


@pytest.mark.usefixtures("test_backend")
def test_a_full_disk_and_a_missing_folder_are_told_before_or_while_rows_come(tmp_path: Path) -> None:
    error = fault_of(Plan(section(), WINDOW), tmp_path / "none" / "1.tif")
    assert error.fault is Fault.DISK
    assert "No such file or directory" in str(error)
    error = fault_of(Plan(section(), WINDOW), tmp_path / f"{300 * '1'}.tif")
    assert error.fault is Fault.DISK
    assert "File name too long" in str(error)
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / "1.tif.part").symlink_to(full)
        error = fault_of(Plan(section(), WINDOW), tmp_path / "1.tif")
        assert error.fault is Fault.DISK
        assert "cannot be written" in str(error)


@pytest.mark.usefixtures("test_backend")
def test_an_earlier_file_is_never_replaced_also_one_that_comes_during_the_scan(tmp_path: Path) -> None:
    file = tmp_path / "1.tif"
    begun = []

    def write(_: Progress) -> None:
        begun.append(file.exists())
        file.write_text("an earlier scan")

    for _ in range(2):
        with pytest.raises(ScannerError, match=f"{DEVICE}: {file} is there already; .* move it away") as caught:
            scan(Plan(section(75), WINDOW), file, progress=write)
        assert caught.value.fault is Fault.TAKEN
        assert [file.read_text() for file in tmp_path.glob("*.tif*")] == ["an earlier scan"]
    assert begun.count(False) == 1  # the second time, nothing was scanned
    assert begun.index(False) == 0


def test_a_worker_that_cannot_be_started_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(ScannerError, match="the process that talks to it cannot be started: No such file") as caught:
        Session(DEVICE).__enter__()
    assert caught.value.fault is Fault.NO_PROCESS
    assert caught.value.retry
    with pytest.raises(ScannerError, match="SANE: the process"):
        devices()


@pytest.mark.usefixtures("test_backend")
def test_a_worker_that_dies_is_noticed_and_the_next_session_is_fine(tmp_path: Path) -> None:
    def kill(_: Progress) -> None:
        os.kill(workers()[0], signal.SIGKILL)

    error = fault_of(Plan(section(**SLOW), WINDOW), tmp_path / "1.tif", progress=kill)
    assert error.fault is Fault.VANISHED
    assert scan(Plan(section(), WINDOW), tmp_path / "1.tif").height == 236


# --- stopping -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("test_backend")
def test_a_scan_is_stopped_from_another_thread(tmp_path: Path) -> None:
    with Session(DEVICE) as session:
        started = time.monotonic()

        def stop(progress: Progress) -> None:
            if progress.rows:
                threading.Thread(target=session.stop).start()

        with pytest.raises(ScannerError, match="the scan was cancelled") as caught:
            session.scan(Plan(section(600, **SLOW), Window(0, 0, 200, 200)), tmp_path / "1.tif", stop)
        assert caught.value.fault is Fault.CANCELLED
        assert time.monotonic() - started < 10
    assert list(tmp_path.glob("*.tif*")) == []
    assert workers() == []


@pytest.mark.usefixtures("test_backend")
def test_a_session_that_is_stopped_while_the_lamp_warms_up_does_not_wait_for_it(tmp_path: Path) -> None:
    with Session(DEVICE) as session:
        threading.Timer(0.2, session.stop).start()
        warming = ScannerSection(options=PATTERN, lamp="non-blocking", warm_up_s=600)
        with pytest.raises(ScannerError, match="cancelled"):
            session.scan(Plan(warming, WINDOW), tmp_path / "1.tif", silent)


@pytest.mark.usefixtures("test_backend")
def test_what_the_caller_raises_meanwhile_ends_the_scan(tmp_path: Path) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(Plan(section(**SLOW), WINDOW), tmp_path / "1.tif", progress=interrupt)
    assert list(tmp_path.glob("*.tif*")) == []
    assert workers() == []


PARENT = """
import os, sys
from pathlib import Path
from dustwatch.daemon.scanner.plan import Plan, Window
from dustwatch.daemon.scanner.section import ScannerSection
from dustwatch.daemon.scanner.session import Session

def tell(progress):
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    print(children, flush=True)

options = {"mode": "Color", "read-delay": True, "read-delay-duration": 200000}
with Session("test:0") as session:
    session.scan(Plan(ScannerSection(1200, 16, options), Window(0, 0, 200, 200)), Path(sys.argv[1]), tell)
"""


@pytest.mark.usefixtures("test_backend")
def test_no_worker_outlives_a_parent_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "1.tif")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        assert "scanner.worker" in (worker / "cmdline").read_text()
        parent.kill()
    deadline = time.monotonic() + 10
    while worker.exists() and "State:\tZ" not in (worker / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- on the network -----------------------------------------------------------------------------------------


@needs_saned
@pytest.mark.parametrize("what", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
def test_a_daemon_that_goes_in_the_middle_is_noticed_in_time_and_used_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: signal.Signals
) -> None:
    with saned(tmp_path) as daemon:
        monkeypatch.setenv("SANE_CONFIG_DIR", str(daemon.config))
        gone: list[float] = []

        def end(progress: Progress) -> None:
            if progress.rows and not gone:
                daemon.send(what)
                gone.append(time.monotonic())

        plan = Plan(section(300, **SLOW), Window(0, 0, 100, 150))
        frozen = what is signal.SIGSTOP
        error = fault_of(
            plan, tmp_path / "1.tif", daemon.device, progress=end, stall_s=STALL_S if frozen else LONG_STALL_S
        )
        assert error.fault is (Fault.STALLED if frozen else Fault.VANISHED)
        assert time.monotonic() - gone[0] < STALL_S + 2
        assert workers() == []
        if what is signal.SIGSTOP:
            daemon.send(signal.SIGCONT)
        else:
            daemon.kill()
            with pytest.raises(ScannerError) as caught, Session(daemon.device, STALL_S):
                pass
            assert caught.value.fault is Fault.VANISHED
            daemon.start()
        assert scan(Plan(section(), WINDOW), tmp_path / "1.tif", daemon.device).height == 236


@needs_saned
def test_a_daemon_that_goes_between_two_scans_is_noticed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(section(), WINDOW)
    with saned(tmp_path) as daemon:
        monkeypatch.setenv("SANE_CONFIG_DIR", str(daemon.config))
        with Session(daemon.device, LONG_STALL_S) as session:
            session.scan(plan, tmp_path / "1.tif", silent)
            daemon.kill()
            gone = time.monotonic()
            with pytest.raises(ScannerError) as caught:
                session.scan(plan, tmp_path / "2.tif", silent)
        assert caught.value.fault is Fault.VANISHED
        assert time.monotonic() - gone < STALL_S
        daemon.start()
        assert scan(plan, tmp_path / "2.tif", daemon.device).height == 236


@needs_saned
def test_a_daemon_that_is_frozen_from_the_start_is_noticed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saned(tmp_path) as daemon:
        monkeypatch.setenv("SANE_CONFIG_DIR", str(daemon.config))
        daemon.send(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(ScannerError, match=f"{daemon.device}: it has said nothing for 1 s") as caught:
            Session(daemon.device, stall_s=1.0).__enter__()
        assert caught.value.fault is Fault.STALLED
        assert time.monotonic() - started < 3
        daemon.send(signal.SIGCONT)
        assert scan(Plan(section(), WINDOW), tmp_path / "1.tif", daemon.device).height == 236


# --- the virtual film scanner -------------------------------------------------------------------------------


FILM = Window(90, 13, 12, 8)


def film(style: Infrared | None = None, **more: bool | str) -> ScannerSection:
    light: dict[str, bool | int | float | str] = {"source": "Transparency Unit", "film-type": "Negative Film"}
    options = {"mode": "Color"} | light | more
    return ScannerSection(300, 16, options, required=("film-type",), infrared=style or Infrared())


@pytest.fixture(scope="module")
def film_scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualScanner]:
    """A virtual film scanner that shows the same frame again and again."""
    with virtual_scanner(tmp_path_factory.mktemp("film"), "--repeat-frame") as virtual:
        yield virtual


@pytest.fixture
def virtual(film_scanner: VirtualScanner, monkeypatch: pytest.MonkeyPatch) -> VirtualScanner:
    """The same, where libsane looks for it."""
    monkeypatch.setenv("SANE_CONFIG_DIR", str(film_scanner.config))
    return film_scanner


@needs_scanimage
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("window", "dpi"), [(FILM, 300), (Window(12.3, 20.7, 9, 6.5), 1200), (Window(150, 200, 40, 10), 200)]
)
def test_film_is_what_scanimage_gets_bit_for_bit(
    tmp_path: Path, virtual: VirtualScanner, window: Window, dpi: int, depth: Literal[8, 16]
) -> None:
    plan = Plan(dataclasses.replace(film(), resolution=dpi, depth=depth), window)
    with Session(virtual.device) as session:
        scanned = session.scan(plan, tmp_path / "scan.tif", silent)
    ours = tifffile.imread(scanned.file)
    assert ours.dtype == (np.uint8 if depth == 8 else np.uint16)
    theirs = virtual.scan(*corners(window), f"--resolution={dpi}", f"--depth={depth}")
    np.testing.assert_array_equal(ours, theirs)


@needs_scanimage
def test_film_is_scanned_with_infrared_in_every_style(tmp_path: Path, virtual: VirtualScanner) -> None:
    sections = {
        "none": film(),
        "source": film(Infrared("source", "Transparency Unit Infrared")),
        "mode": film(Infrared("mode", "Infrared")),
        "scan": film(Infrared("scan"), infrared=True),
        "sample": film(Infrared("sample"), mode="RGBI"),
    }
    scans = {}
    with Session(virtual.device) as session:
        for name, asked in sections.items():
            session.check(asked, [FILM])
            scanned = session.scan(Plan(asked, FILM), tmp_path / f"{name}.tif", silent)
            scans[name] = tifffile.imread(scanned.file)
    window = ["--resolution=300", *corners(FILM)]
    colours = virtual.scan(*window)
    infrared = virtual.scan(*window, "--source=Transparency Unit Infrared")[:, :, 0]
    np.testing.assert_array_equal(scans["none"], colours)
    for name in ("source", "mode", "scan"):
        np.testing.assert_array_equal(scans[name][:, :, :3], colours)
        np.testing.assert_array_equal(scans[name][:, :, 3], infrared)
    # Four samples at once have other noise; nothing else differs.
    for sample, other in enumerate((*np.moveaxis(colours, 2, 0), infrared)):
        beside = scans["sample"][:, :, sample].astype(float) - other
        assert abs(np.median(beside)) < 0.01 * np.median(other)
        assert np.std(beside) < 0.1 * np.median(other)


def test_the_lamp_is_lit_before_the_first_scan(tmp_path: Path, virtual: VirtualScanner) -> None:
    with Session(virtual.device) as session:
        session.options({"lamp": False})
        lit = dataclasses.replace(film(), lamp="lamp", warm_up_s=0.1)
        session.scan(Plan(lit, FILM), tmp_path / "1.tif", silent)
        session.options({"lamp": False})
        with pytest.raises(ScannerError, match="the frame is blank"):
            session.scan(Plan(lit, FILM), tmp_path / "2.tif", silent)


def test_buttons_are_seen_once(virtual: VirtualScanner) -> None:
    with Session(virtual.device) as session:
        assert session.pressed(["scan", "copy"]) == frozenset()
        virtual.tell("press scan")
        session.options()
        session.check(film(), [FILM])
        assert session.pressed(["scan", "copy"]) == {"scan"}
        assert session.pressed(["scan", "copy"]) == frozenset()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("jammed start", Fault.JAMMED),
        ("cover-open start", Fault.COVER_OPEN),
        ("no-documents start", Fault.NO_DOCUMENTS),
        ("busy start", Fault.BUSY),
        ("io-error 0.5", Fault.IO_ERROR),
        ("short 0.5", Fault.SHORT),
        ("stall 0.5", Fault.STALLED),
        ("blank 0", Fault.BLANK),
        ("white 0", Fault.BLANK),
    ],
)
def test_faults_of_a_film_scanner_are_told_and_the_next_scan_is_whole(
    tmp_path: Path, virtual: VirtualScanner, fault: str, found: Fault
) -> None:
    assert virtual.tell(f"fault {fault}").startswith("ok")
    stall_s = STALL_S if found is Fault.STALLED else 30.0
    error = fault_of(Plan(film(), FILM), tmp_path / "1.tif", virtual.device, stall_s=stall_s)
    assert error.fault is found
    assert scan(Plan(film(), FILM), tmp_path / "1.tif", virtual.device).samples == 3


def test_a_connection_that_breaks_in_the_middle_is_noticed(tmp_path: Path, virtual: VirtualScanner) -> None:
    assert virtual.tell("fault vanish 0.5").startswith("ok")
    started = time.monotonic()
    error = fault_of(Plan(film(), FILM), tmp_path / "1.tif", virtual.device, stall_s=LONG_STALL_S)
    assert time.monotonic() - started < LONG_STALL_S / 2
    assert error.fault is Fault.VANISHED
    assert scan(Plan(film(), FILM), tmp_path / "1.tif", virtual.device).samples == 3


def test_a_carriage_that_moves_only_when_rows_are_asked_for_has_as_long_as_one_that_moves_before(
    tmp_path: Path, virtual: VirtualScanner
) -> None:
    slow = dataclasses.replace(film(), options={**film().options, "warm-up": 4}, start_s=30.0)
    assert scan(Plan(slow, FILM), tmp_path / "1.tif", virtual.device, stall_s=1.5).samples == 3


@pytest.mark.parametrize("fault", ["blank 0", "white 0"])
def test_a_blank_frame_is_not_the_end_of_the_session(tmp_path: Path, virtual: VirtualScanner, fault: str) -> None:
    lit = dataclasses.replace(film(), lamp="lamp", warm_up_s=0.1)
    with Session(virtual.device) as session:
        session.scan(Plan(lit, FILM), tmp_path / "1.tif", silent)
        (worker,) = workers()
        virtual.tell(f"fault {fault}")
        with pytest.raises(ScannerError, match="the frame is blank"):
            session.scan(Plan(lit, FILM), tmp_path / "2.tif", silent)
        session.scan(Plan(lit, FILM), tmp_path / "3.tif", silent)
        assert workers() == [worker]
    assert sorted(file.name for file in tmp_path.glob("*.tif*")) == ["1.tif", "3.tif"]
