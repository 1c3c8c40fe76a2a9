"""From the scanner into clean folders, as a user runs it: ``dustwatch scan``, and scanners in the configuration."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

from dustwatch.daemon.scan import feed_of
from dustwatch.daemon.settings import ButtonSettings, ScannerSettings
from dustwatch.processing.figures import figures, mean_figures, same_groups
from dustwatch.processing.simulate import SimulatedFrame
from tests.rolls import Result, clean, command, receipt, run, snapshot, start
from tests.saned import needs_sane
from tests.scanning import VirtualScanner, sane_config, virtual_scanner
from tests.watching import Daemon, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = needs_sane

SLOT_MM = 44, 30


@dataclass(frozen=True, slots=True)
class Desk:
    """A virtual scanner on a desk, with a holder and a profile for it, and a folder for what is scanned."""

    folder: Path
    scanner: VirtualScanner

    @property
    def roll(self) -> Path:
        return self.folder / "roll"

    @property
    def names(self) -> list[str]:
        return sorted(file.name for file in (self.roll / "clean").glob("*.tif"))

    def command(self, *options: str | Path) -> list[str]:
        own = ["--profile", self.folder / "mine.yaml", "--holder", self.folder / "holder.yaml"]
        return command(
            "scan", self.roll, "--device", self.scanner.device, *own, "--state", self.folder / "state", *options
        )

    def scan(self, *options: str | Path, expect: int = 0, typed: str = "") -> Result:
        done = subprocess.run(
            self.command("--threads", "2", *options),
            env=self.scanner.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == expect, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def receipts(self) -> list[dict[str, Any]]:
        return [receipt(self.roll / "clean", name) for name in self.names]


def write_yaml(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values))  # which is YAML


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """`param`: options of the virtual scanner."""
    width, height = SLOT_MM
    slots = [
        {"name": str(n + 1), "x": 2, "y": 2 + n * (height + 2), "width": width, "height": height} for n in range(2)
    ]
    write_yaml(tmp_path / "holder.yaml", {"name": "two", "slots": slots})
    set_scanner(tmp_path)
    options: Sequence[str] = getattr(request, "param", ())
    with virtual_scanner(tmp_path, "--holder", tmp_path / "holder.yaml", *options) as scanner:
        yield Desk(tmp_path, scanner)


def set_scanner(folder: Path, resolution: int = 300, **section: Any) -> None:
    options = section.pop("options", {"source": "Transparency Unit"})
    scanner = {"resolution": resolution, "depth": 16, "options": options, **section}
    write_yaml(folder / "mine.yaml", {"name": "mine", "extends": "generic-negative", "scanner": scanner})


def test_film_comes_out_clean_and_every_slot_has_a_glass_of_its_own(desk: Desk) -> None:
    said = desk.scan("--loads", "4").out
    assert f"8 scanned into {desk.roll}/scans; in {desk.roll}/clean 8 cleaned" in said
    told = desk.receipts()
    assert same_groups([one["glass_id"] for one in told], [0, 1] * 4)
    assert {one["map_frames"] for one in told} == {4}
    found = []
    for number, name in enumerate(desk.names, start=1):
        scan, cleaned = (tifffile.imread(desk.roll / folder / name) for folder in ("scans", "clean"))
        film, glass, specks = desk.scanner.truth(desk.folder / "truth", number)
        found.append(figures(cleaned, SimulatedFrame(scan, film, glass, specks, (0, 0), number % 2)))
    mean = mean_figures(found)
    assert mean.psnr_db > mean.psnr_scan_db + 6
    assert min(one.psnr_db - one.psnr_scan_db for one in found) > 0
    assert mean.harm < 0.001
    # It is what "clean" makes of the same scans.
    clean(desk.roll / "scans", desk.folder / "again", "--profile", desk.folder / "mine.yaml")
    pictures = [
        {n: d for n, d in snapshot(folder).items() if not n.endswith(".json")}
        for folder in (desk.roll / "clean", desk.folder / "again")
    ]
    assert pictures[0] == pictures[1]


def test_enter_begins_the_next_load_and_the_end_of_the_input_is_the_end(desk: Desk) -> None:
    said = desk.scan(typed="the next\n").err
    assert len(desk.names) == 4
    assert said.count("put the next film in and press Enter") == 2
    assert len(desk.scan("--loads", "1").err) > 0
    assert desk.names[-1] == "load-003-slot-02.tif"


def test_an_input_that_is_closed_has_ended(desk: Desk) -> None:
    done = subprocess.run(
        desk.command(),
        env=desk.scanner.environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: os.close(0),
    )
    assert done.returncode == 0, done.stderr
    assert desk.names == ["load-001-slot-01.tif", "load-001-slot-02.tif"]


@pytest.mark.parametrize(
    "section",
    [
        {
            "options": {"source": "Transparency Unit"},
            "infrared": {"style": "source", "value": "Transparency Unit Infrared"},
        },
        {
            "options": {"source": "Transparency Unit", "mode": "Color"},
            "infrared": {"style": "mode", "value": "Infrared"},
        },
        {"options": {"source": "Transparency Unit", "infrared": True}, "infrared": {"style": "scan"}},
        {"options": {"source": "Transparency Unit", "mode": "RGBI"}, "infrared": {"style": "sample"}},
    ],
    ids=lambda section: section["infrared"]["style"],
)
def test_infrared_is_carried_through(desk: Desk, section: dict[str, Any]) -> None:
    set_scanner(desk.folder, resolution=150, **section)
    desk.scan("--loads", "2")
    for name in desk.names:
        scan, cleaned = (tifffile.imread(desk.roll / folder / name) for folder in ("scans", "clean"))
        assert scan.shape[2] == 4
        assert (cleaned[..., 3] == scan[..., 3]).all()
        assert len(set(scan[::16, ::16, 3].ravel().tolist())) > 10


@pytest.mark.parametrize("desk", [["--fault", "white", "--fault", "white"]], indirect=True)
def test_slots_that_are_left_out_are_counted_and_nothing_but_those_is_a_failure(desk: Desk) -> None:
    set_scanner(desk.folder, resolution=75)
    done = desk.scan("--loads", "1", expect=1)
    assert f"0 scanned into {desk.roll}/scans, 2 left out as blank; in {desk.roll}/clean nothing" in done.out
    assert "nothing was scanned, every slot is blank; mend what is said above" in done.err


def test_what_the_scanner_refuses_is_said_at_once(desk: Desk) -> None:
    set_scanner(desk.folder, resolution=301)
    said = desk.scan("--loads", "1", expect=2).err
    assert "resolution" in said
    assert "300" in said
    assert said.count(desk.scanner.device) == 1
    assert not desk.roll.exists()


def test_a_scanner_that_is_not_there_is_a_slip_and_those_that_are_there_are_named(desk: Desk) -> None:
    slip = desk.scanner.device.replace("film", "flim")
    own = ["--loads", "1", "--state", desk.folder / "state", "--profile", desk.folder / "mine.yaml"]
    for name, told in ((slip, slip), ("", "''"), (f"{slip} ", f"'{slip} '")):
        done = start("scan", desk.roll, "--device", name, *own, SANE_CONFIG_DIR=str(desk.scanner.config))
        assert done.code == 2
        assert done.err.splitlines()[-1] == f"{told}: there is no such scanner; there are: {desk.scanner.device}"
    assert not desk.roll.exists()
    assert not (desk.folder / "state").exists()


def test_what_ends_it_half_way_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANE_CONFIG_DIR", str(sane_config(tmp_path / "sane", "test")))
    set_scanner(tmp_path, resolution=75, options={"read-return-value": "SANE_STATUS_ACCESS_DENIED"})
    own = ["--loads", "1", "--state", tmp_path / "state", "--profile", tmp_path / "mine.yaml"]
    done = run("scan", tmp_path / "roll", "--device", "test:0", *own)
    assert done.code == 2
    assert done.err.count("this user may not use it") == 1


def test_a_slip_is_no_scan(tmp_path: Path) -> None:
    for options, expected in (
        (["--holder", "35mm-stripe"], "did you mean '35mm-strip'?"),
        (["--profile", "generic-negativ"], "did you mean 'generic-negative'?"),
        (["--loads", "0"], "no such folder"),
    ):
        done = run("scan", tmp_path / "roll", "--device", "net:localhost:film", *options)
        assert done.code == 2
        assert expected in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("desk", [["--rate", "60000"]], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_and_the_next_run_goes_on(desk: Desk, number: signal.Signals) -> None:
    process = subprocess.Popen(
        desk.command("--loads", "9"), env=desk.scanner.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not list(desk.roll.glob("scans/load-001-slot-02.tif.part")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert [file.name for file in (desk.roll / "scans").iterdir()] == ["load-001-slot-01.tif"]
    # Another folder to which the same scans are cleaned is nobody's business here.
    (known,) = (desk.folder / "state").iterdir()
    shutil.copytree(known, desk.folder / "state" / "other")
    assert "1 unchanged" in desk.scan("--loads", "0").out


def test_a_scanner_that_does_not_answer_can_be_given_up_and_nothing_has_been_made(desk: Desk) -> None:
    desk.scanner.process.send_signal(signal.SIGSTOP)
    process = subprocess.Popen(
        desk.command("--loads", "1", "--stall", "1"), env=desk.scanner.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().endswith("; it is tried again until it works\n")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        desk.scanner.process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not desk.roll.exists()


@contextmanager
def serving(desk: Desk, *others: dict[str, Any]) -> Iterator[Daemon]:
    """A service that drives the scanner on the desk, and others."""
    own = {
        "device": desk.scanner.device,
        "scans": "roll/scans",
        "output": "roll/clean",
        "profile": "mine.yaml",
        "holder": "holder.yaml",
        "on_button": {"scan": None},
        "close_after_min": 0.01,
    }
    config = desk.folder / "config.yaml"
    write_yaml(config, {"state": "state", "scanners": [own, *others]})
    with running(command("run", "--config", config), desk.roll / "scans", desk.folder / "state") as service:
        yield service


@pytest.mark.parametrize("desk", [["--button", "scan@1", "--fault", "io-error@0.5"]], indirect=True)
def test_a_service_scans_when_a_button_is_pressed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANE_CONFIG_DIR", str(desk.scanner.config))
    desk.roll.mkdir()
    # Another one, which is not there, holds nobody up.
    other = {"device": "net:127.0.0.2:film", "scans": "a", "output": "b", "on_button": {"scan": None}}
    with serving(desk, other) as service:
        service.until(lambda: len(desk.names) == 2)
        desk.scanner.tell("press scan")
        service.until(lambda: len(desk.names) == 4)
        service.until_said("is closed, with 2 frames")
        for device in (desk.scanner.device, "net:127.0.0.2:film"):
            assert any(device in line and "it is tried again until it works" in line for line in service.lines)
        service.until_said(f"{desk.roll}/scans: made, for scans of {desk.scanner.device}")
    # Where there have been frames, a folder that is missing lies on a disk that is not there.
    (desk.roll / "scans").rename(desk.folder / "unmounted")
    with serving(desk) as service:
        service.until_said(f"{desk.roll}/scans: is not there")
        assert not (desk.roll / "scans").exists()


@pytest.mark.parametrize("desk", [["--button", "scan@1"]], indirect=True)
def test_all_that_the_scanner_refuses_a_service_is_said_in_a_line_each(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANE_CONFIG_DIR", str(desk.scanner.config))
    desk.roll.mkdir()
    set_scanner(desk.folder, resolution=301, options={"sauce": "Transparency Unit"})
    with serving(desk) as service:
        service.until_said("; it is driven no more")
        said = [line.split(" ERROR ")[1] for line in service.lines if " ERROR " in line]
    assert said[0] == f"{desk.scanner.device}: all of this is wrong:"
    assert said[1].startswith("  there is no option sauce")
    assert said[2].startswith("  resolution cannot be 301")
    assert said[3:] == ['"dustwatch devices --options" tells what is possible; it is driven no more']


@pytest.mark.parametrize("desk", [["--button", "scan@1", "--rate", "60000"]], indirect=True)
def test_a_service_that_is_stopped_within_a_load_leaves_no_half_scan(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANE_CONFIG_DIR", str(desk.scanner.config))
    desk.roll.mkdir()
    with serving(desk) as service:
        service.until(lambda: bool(list(desk.roll.glob("scans/load-001-slot-02.tif.part"))))
        assert service.end(seconds=30) == 0
    assert [file.name for file in (desk.roll / "scans").iterdir()] == ["load-001-slot-01.tif"]


def test_profiles_of_buttons_get_folders_where_there_is_room_for_them(tmp_path: Path) -> None:
    buttons = {"scan": ButtonSettings(), "email": ButtonSettings(profile="generic-slide")}
    scanner = ScannerSettings("net:localhost:film", tmp_path / "disk" / "scans", tmp_path / "clean", buttons)
    feed_of(scanner, tmp_path / "state")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "disk").mkdir()
    for _ in range(2):
        feed_of(scanner, tmp_path / "state")
        assert sorted(folder.name for folder in scanner.scans.iterdir()) == ["generic-negative", "generic-slide"]
