"""A watched folder, as scan software and people leave files in it: the daemon runs as a process, on the real clock."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from dustwatch.daemon.output import Output
from dustwatch.daemon.source import natural_key
from dustwatch.daemon.watch import QUEUE
from dustwatch.processing.density import Tone
from dustwatch.processing.simulate import RollParams
from tests.rolls import command, receipt, run, sha256, simulate, snapshot, write_tiff, write_tiffs
from tests.watching import Daemon, blurred, drop, events, journal, running, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dustwatch.processing.arrays import Scan

SEEDS = count(100)
SIZE: dict[str, Any] = {"height": 200, "width": 300, "scale": 0.6, "particles": 30}

Bursts = list[tuple[int, bytes]]
"""What a program writes between two pauses, and where in the file."""


@dataclass(frozen=True)
class Desk:
    """A watched folder that tests share: each has a subfolder to itself, and names are relative to the whole."""

    daemon: Daemon
    output: Path

    @property
    def scans(self) -> Path:
        return self.daemon.scans

    def told(self, name: str) -> list[tuple[str, str]]:
        """The history of a file."""
        return [(one.event, one.detail) for one in events(self.daemon.state) if one.name == name]

    def arrived(self, name: str) -> list[str]:
        """Digests of all that was ever taken for a frame under a name."""
        return [detail for event, detail in self.told(name) if event == "arrived"]

    def is_out(self, name: str) -> bool:
        """Whether the cleaned frame is that of the file as it is now, and the log says so, which is done last."""
        said = self.lines(name)
        if not said or not re.search(r": (cleaned|unchanged)\b", said[-1]):
            return False
        return bool(receipt(self.output, name)["input_sha256"] == sha256(self.scans / name))

    def until_out(self, *names: str) -> None:
        self.daemon.until(lambda: all(map(self.is_out, names)))

    def until_told(self, name: str, times: int) -> None:
        """Wait until so much has happened to a file."""
        self.daemon.until(lambda: len(self.told(name)) >= times)

    def until_idle(self) -> None:
        """Wait until nothing can be done at present."""
        self.daemon.until(lambda: journal(self.daemon.state, "SELECT count(*) FROM to_do") == [(0,)])

    def troubles(self, folder: str) -> list[str]:
        """Why files of a subfolder are no frames at present."""
        rows = journal(self.daemon.state, "SELECT name, reason FROM troubles")
        return [reason for name, reason in rows if os.fsdecode(name).startswith(f"{folder}/")]

    def lines(self, name: str) -> list[str]:
        """What the log has of a file."""
        return [line for line in self.daemon.lines if f" {logged(self.scans / name)}: " in line]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("desk")
    (place / "scans").mkdir()
    with watching(place / "scans", place / "clean", place / "state") as daemon:
        daemon.until_said("watched")
        yield Desk(daemon, place / "clean")


def logged(path: Path) -> str:
    """A path as it stands in the log."""
    return str(path).encode("unicode_escape").decode()


def noise(seed: int) -> Scan:
    """A tiny scan that has nothing in common with any other one, not even its size."""
    scan: Scan = np.random.default_rng(seed).integers(20000, 40000, (40 + seed % 25, 60 + seed // 25, 3))
    return scan.astype(np.uint16)


def make(folder: Path, *names: str) -> list[Path]:
    """Scans that have nothing in common with any others, outside the watched folder."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiff(path, noise(next(SEEDS)))
    return paths


def as_tiff(seed: int, **options: object) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".tif") as file:
        write_tiff(Path(file.name), noise(seed), **options)
        return Path(file.name).read_bytes()


def by_pillow(seed: int, kind: str, **options: object) -> bytes:
    written = io.BytesIO()
    Image.fromarray((noise(seed) >> 8).astype(np.uint8)).save(written, kind, **options)
    return written.getvalue()


# --- programs that take their time --------------------------------------------------------------------------


def one_after_the_other(data: bytes) -> Bursts:
    """Too little to tell what it is, the first half, all but a byte, and that."""
    cuts = [0, 3, len(data) // 2, len(data) - 1, len(data)]
    return [(start, data[start:stop]) for start, stop in pairwise(cuts)]


def start_last(data: bytes) -> Bursts:
    """As libtiff does: where the directory is stands in the first bytes, and is written when all else has been."""
    half = len(data) // 2
    return [(0, data[:4] + bytes(4)), (8, data[8:half]), (half, data[half:]), (4, data[4:8])]


def room_first(data: bytes) -> Bursts:
    """As programs do that copy: the file has its whole length at once."""
    half = len(data) // 2
    return [(len(data) - 1, b"\0"), (0, data[:half]), (half, data[half:])]


SLOW: dict[str, Bursts] = {
    "plain.tif": one_after_the_other(as_tiff(1)),
    "deflate.tif": one_after_the_other(as_tiff(2, compression="zlib", rowsperstrip=8)),
    "directory last.tif": one_after_the_other(by_pillow(3, "TIFF", compression="tiff_lzw")),
    "start last.tif": start_last(by_pillow(4, "TIFF", compression="tiff_adobe_deflate")),
    "room first.tif": room_first(as_tiff(5, compression="zlib", rowsperstrip=8)),
    "a.png": one_after_the_other(by_pillow(6, "PNG")),
    "room first.png": room_first(by_pillow(7, "PNG")),
    "a.jpg": one_after_the_other(by_pillow(8, "JPEG")),
    "progressive.jpg": one_after_the_other(by_pillow(9, "JPEG", progressive=True)),
}


def test_a_file_with_long_pauses_is_no_frame_before_it_is_whole(desk: Desk) -> None:
    """Each pause lasts until the daemon has taken the file for still, and found that it is not whole."""
    folder, written = desk.scans / "slow", dict.fromkeys(SLOW, 0)
    folder.mkdir()
    with ExitStack() as opened:
        files = {name: opened.enter_context((folder / name).open("wb", buffering=0)) for name in SLOW}

        def write(name: str) -> None:
            at, data = SLOW[name][written[name]]
            files[name].seek(at)
            files[name].write(data)
            written[name] += 1

        while pending := [name for name, bursts in SLOW.items() if written[name] < len(bursts) - 1]:
            for name in pending:
                write(name)
            desk.daemon.until(lambda: all(len(desk.told(f"slow/{name}")) >= times for name, times in written.items()))
            assert not (desk.output / "slow").exists()
        for name in SLOW:
            write(name)
    names = [f"slow/{name}" for name in SLOW]
    desk.until_out(*names)
    for name in names:
        assert {event for event, _ in desk.told(name)} == {"retry", "arrived", "unchanged"}
        assert desk.arrived(name) == [sha256(desk.scans / name)]
    assert desk.troubles("slow") == []


def test_a_file_that_is_opened_and_closed_five_times_is_one_frame(desk: Desk) -> None:
    data, name = as_tiff(11), "closed/a.tif"
    file = desk.scans / name
    file.parent.mkdir()
    part = len(data) // 5
    for pause in range(4):
        with file.open("ab") as stream:
            stream.write(data[pause * part : (pause + 1) * part])
        desk.until_told(name, pause + 1)
    with file.open("ab") as stream:
        stream.write(data[4 * part :])
    desk.until_out(name)
    assert desk.arrived(name) == [sha256(file)]
    assert desk.troubles("closed") == []


HALF = """
import sys, time
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb", 0) as file:
    file.write(data[:len(data) // 2])
    print(flush=True)
    time.sleep(3600)
"""


def test_what_a_killed_program_leaves_is_no_frame_and_the_next_scan_of_the_name_is(desk: Desk, tmp_path: Path) -> None:
    (whole,) = make(tmp_path, "whole.tif")
    name = "killed/a.tif"
    (desk.scans / name).parent.mkdir()
    arguments = [sys.executable, "-c", HALF, whole, desk.scans / name]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as program:
        assert program.stdout
        assert program.stdout.readline() == b"\n"
        program.kill()
    desk.daemon.until(lambda: bool(desk.troubles("killed")))
    assert {event for event, _ in desk.told(name)} == {"retry"}
    assert "is cut short" in desk.troubles("killed")[0]
    assert not (desk.output / name).exists()
    shutil.copyfile(whole, desk.scans / name)
    desk.until_out(name)
    assert desk.arrived(name) == [sha256(whole)]
    assert desk.troubles("killed") == []


# --- files that come in one piece ---------------------------------------------------------------------------


def test_a_file_is_a_frame_once_however_it_gets_its_name(desk: Desk, tmp_path: Path) -> None:
    old, linked, *written = make(tmp_path, "old.tif", "linked.tif", "part.tif", "tmp.tif", "hidden.tif")
    os.utime(old, (1e9, 1e9))
    folder = desk.scans / "named"
    folder.mkdir()
    for file, first in zip(written, ("part.tif.part", "tmp.tif.tmp", ".hidden.tif"), strict=True):
        shutil.copyfile(file, folder / first)
    # By then these were still for long, if anybody took them for frames.
    drop(make(tmp_path, "other.tif"), folder)
    desk.until_out("named/other.tif")
    assert [one.name for one in events(desk.daemon.state) if one.name.startswith("named/")] == ["named/other.tif"] * 2
    for file, first in zip(written, ("part.tif.part", "tmp.tif.tmp", ".hidden.tif"), strict=True):
        (folder / first).rename(folder / file.name)
    old_digest = sha256(old)
    old.rename(folder / "old.tif")
    (folder / "linked.tif").hardlink_to(linked)
    names = ["named/old.tif", "named/linked.tif", *(f"named/{file.name}" for file in written)]
    desk.until_out(*names)
    assert desk.arrived("named/old.tif") == [old_digest]
    for name in names:
        assert [event for event, _ in desk.told(name)] == ["arrived", "unchanged"]


def test_a_frame_that_another_file_takes_the_place_of_is_that_one(desk: Desk, tmp_path: Path) -> None:
    first, second = make(tmp_path, "first.tif", "second.tif")
    digests = [sha256(first), sha256(second)]
    os.utime(second, (1e9, 1e9))
    name = "replaced/a.tif"
    (desk.scans / name).parent.mkdir()
    first.rename(desk.scans / name)
    desk.until_out(name)
    second.replace(desk.scans / name)
    desk.until_out(name)
    assert desk.arrived(name) == digests
    assert sha256(desk.output / name) == digests[1]


def test_a_roll_that_is_moved_here_as_a_folder_is_cleaned(desk: Desk, tmp_path: Path) -> None:
    params = RollParams(seed=8, frames=4, **SIZE)
    files = write_tiffs(simulate(params, blurred(8)), tmp_path / "roll")
    names = [f"roll/{name}" for name in ("1.tif", "2.tif", "10.tif", "again/3.tif")]
    (tmp_path / "roll" / "again").mkdir()
    for file, name in zip(files, names, strict=True):
        file.rename(tmp_path / name)
    (tmp_path / "roll").rename(desk.scans / "roll")
    desk.until_out(*names)
    desk.daemon.until(lambda: [receipt(desk.output, name)["map_frames"] for name in names] == [4] * 4)
    assert {receipt(desk.output, name)["status"] for name in names} == {"cleaned"}
    arrived = [one.name for one in events(desk.daemon.state) if one.event == "arrived"]
    assert [name for name in arrived if name.startswith("roll/")] == names


# --- files that do not stay as they are ---------------------------------------------------------------------


def test_nothing_comes_out_of_files_that_are_replaced_and_deleted_while_they_are_read(
    desk: Desk, tmp_path: Path
) -> None:
    """Whatever is published is, byte by byte, one of the scans that were there, and in the end the last one."""
    folder, names = desk.scans / "restless", [f"restless/{number}.tif" for number in range(5)]
    folder.mkdir()
    contents: dict[str, dict[str, bytes]] = {name: {} for name in names}
    for seed in range(20):
        scan = np.random.default_rng(seed).integers(20000, 40000, (700, 1000, 3)).astype(np.uint16)
        write_tiff(tmp_path / "scan.tif", scan)
        contents[names[seed % 5]][sha256(tmp_path / "scan.tif")] = (tmp_path / "scan.tif").read_bytes()
    dice = random.Random(4)
    seen: set[str] = set()

    def content(name: str) -> bytes:
        return dice.choice([*contents[name].values()][:-1])

    def put(name: str, data: bytes) -> None:
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").replace(desk.scans / name)

    def replace(name: str) -> None:
        put(name, content(name))

    def write_over(name: str) -> None:
        with suppress(FileNotFoundError), (desk.scans / name).open("r+b", buffering=0) as file:
            file.write(content(name))  # as long as what was there

    def write_anew(name: str) -> None:
        (desk.scans / name).write_bytes(content(name))

    def delete(name: str) -> None:
        (desk.scans / name).unlink(missing_ok=True)

    def check() -> None:
        for name in names:
            with suppress(FileNotFoundError):
                told = receipt(desk.output, name)
                assert told["input_sha256"] in contents[name]
                assert told["output_sha256"] == told["input_sha256"]
                seen.add(told["input_sha256"])

    def history() -> list[str]:
        return [event for name in names for event, _ in desk.told(name)]

    def worked() -> bool:
        dice.choice([replace, write_over, write_anew, delete])(dice.choice(names))
        time.sleep(dice.uniform(0, 0.2))
        check()
        happened = history()
        return happened.count("retry") >= 5 and happened.count("unchanged") >= 5

    desk.daemon.until(worked)
    for name in names[1:]:
        put(name, [*contents[name].values()][-1])  # which was never there before
    delete(names[0])
    desk.until_out(*names[1:])
    desk.until_idle()
    check()
    assert len(seen) > 1
    for name in names:
        assert set(desk.arrived(name)) <= contents[name].keys()
    for name in names[1:]:
        assert sha256(desk.output / name) == sha256(desk.scans / name)
    assert desk.troubles("restless") == []


# --- files that are no frames -------------------------------------------------------------------------------


def test_what_is_no_frame_keeps_nobody_and_is_told_of_in_one_line(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd"
    good = ["frame.tif", "folder.tif/inside.tif", "new\nline.tif", "b\udce4d.tif", "two\u2028lines.tif"]
    make(folder, *good, ".hidden.tif", "._frame.tif", ".trash/a.tif", "frame.tif.part", "frame.tif~")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "notes.tif.txt", "text.tif"):
        (folder / name).write_bytes(b"no picture, but some text")
    (folder / "empty.tif").touch()
    os.mkfifo(folder / "pipe.tif")
    (folder / "link.tif").symlink_to(folder / "frame.tif")
    (folder / "gone.tif").symlink_to("nowhere")
    (folder / "round").symlink_to(desk.scans)
    monkeypatch.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
    folder.rename(desk.scans / "odd")
    desk.until_out(*(f"odd/{name}" for name in good))
    refused = ["pipe.tif", "link.tif", "gone.tif", "socket.png"]
    desk.daemon.until(lambda: all(desk.lines(f"odd/{name}") for name in (*refused, "text.tif")))
    drop(make(tmp_path, "late.tif"), desk.scans / "odd")
    desk.until_out("odd/late.tif")
    assert snapshot(desk.output / "odd").keys() == {*good, "late.tif"}
    for name in refused:
        (line,) = desk.lines(f"odd/{name}")
        assert " WARNING " in line
    assert desk.lines("odd/empty.tif") == []
    assert desk.told("odd/empty.tif") == []
    assert {event for event, _ in desk.told("odd/text.tif")} == {"retry"}
    (desk.scans / "odd" / "text.tif").unlink()
    for name in good:
        first, second = desk.lines(f"odd/{name}")
        assert "frame 1 of glass" in first
        assert ": unchanged: " in second


def test_the_log_has_one_line_for_each_event_with_the_name_of_its_file(desk: Desk) -> None:
    """Of all that has come into the folder until now, and of a frame that comes in any case."""
    folder = desk.scans / "logged"
    folder.mkdir()
    (folder / "a.tif").write_bytes(as_tiff(12)[:-1])
    desk.daemon.until(lambda: bool(desk.troubles("logged")))
    (folder / "a.tif").write_bytes(as_tiff(12))
    desk.until_out("logged/a.tif")
    desk.until_idle()
    form = re.compile(rf"\d{{4}}-\S+T\S+ (INFO|WARNING) ({re.escape(str(desk.scans))}(?:/.+?)?): \S.*")

    def all_is_said() -> bool:
        told = [form.fullmatch(line) for line in desk.daemon.lines]
        assert all(told), desk.daemon.lines
        said = Counter(match[2] for match in told if match is not None)
        happened = Counter(logged(desk.scans / one.name) for one in events(desk.daemon.state))
        return all(said[name] == times for name, times in happened.items())

    assert {event for event, _ in desk.told("logged/a.tif")} == {"retry", "arrived", "unchanged"}
    desk.daemon.until(all_is_said)


# --- many files ---------------------------------------------------------------------------------------------


def test_five_hundred_files_at_once_come_out_in_order_and_one_may_ask_how_far_it_is(tmp_path: Path) -> None:
    names = [f"roll/frame {number}.tif" for number in range(1, 501)]
    make(tmp_path, *names)
    scans, output, state = (tmp_path / name for name in ("scans", "clean", "state"))
    scans.mkdir()

    def published() -> int:
        return sum(one.event == "unchanged" for one in events(state))

    def status() -> dict[str, Any]:
        answer = run("status", "--state", state, "--json")
        assert answer.code == 0, answer.err
        (folder,) = json.loads(answer.out)["folders"]
        return dict(folder)

    with watching(scans, output, state, "--close-after", "60") as daemon:
        daemon.until_said("watched")
        (tmp_path / "roll").rename(scans / "roll")
        daemon.until(lambda: published() > 2 * QUEUE)
        before, folder, after = published(), status(), published()
        assert before <= folder["frames"]["unchanged"] <= after < 500
        assert folder["to_do"] <= 1  # each comes out before the next one is taken in
        daemon.until(lambda: published() == 500, 300)
        folder = status()
    assert (folder["frames"], folder["to_do"], folder["troubles"]) == ({"unchanged": 500}, 0, {})
    assert names == sorted(names, key=natural_key)
    for event in ("arrived", "unchanged"):
        assert [one.name for one in events(state) if one.event == event] == names
    assert snapshot(scans) == {name: digest for name, digest in snapshot(output).items() if name.endswith(".tif")}


# --- several folders ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """``dustwatch run`` with two folders below `place`: of negatives, with events, and of slides, without."""

    daemon: Daemon
    place: Path

    def until_out(self, folder: str, *names: str, frames: int = 0) -> None:
        """Wait until frames are out that were cleaned with a map of so many `frames`."""
        output = self.place / f"{folder}-clean"

        def out(name: str) -> bool:
            return (output / f"receipts/{name}.json").exists() and receipt(output, name)["map_frames"] == frames

        self.daemon.until(lambda: all(map(out, names)))

    def said(self, text: str) -> int:
        """In how many lines of the log a text stands."""
        return sum(text in line for line in self.daemon.lines)

    def drop(self, folder: str, name: str, seed: int) -> None:
        """Let a scan appear in a folder."""
        write_tiff(self.place / name, noise(seed))
        (self.place / name).rename(self.place / folder / name)

    def has_events(self, folder: str) -> bool:
        """Whether the kernel tells the daemon what happens in a folder."""
        infos = Path(f"/proc/{self.daemon.process.pid}/fdinfo").iterdir()
        inode = f"ino:{(self.place / folder).stat().st_ino:x} "
        told = ""
        for info in infos:
            with suppress(FileNotFoundError):
                told += info.read_text()
        return any(line.startswith("inotify ") and inode in line for line in told.splitlines())


@contextmanager
def moved(folder: Path, away: Path) -> Iterator[None]:
    """Have a folder somewhere else for a while."""
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


CONFIG = """
folders:
- {input: negatives, output: negatives-clean, still_s: 0.1, look_every_s: 0.2, close_after_min: 0.01}
- input: slides
  output: slides-clean
  profile: generic-slide
  still_s: 0.1
  look_every_s: 0.2
  close_after_min: 0.01
  events: off
state: state
"""


@contextmanager
def serving(place: Path) -> Iterator[Service]:
    """Have the two folders below `place` served, until SIGTERM ends that with 0."""
    for folder in ("negatives", "slides"):
        (place / folder).mkdir()
    (place / "config.yaml").write_text(CONFIG)
    with running(command("run", "--config", place / "config.yaml"), place / "nowhere", place / "state") as daemon:
        daemon.until_said(f"{place / 'slides'}: watched")
        yield Service(daemon, place)
        assert daemon.end() == 0, daemon.lines


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


def test_each_folder_is_cleaned_with_its_own_profile(service: Service, tmp_path: Path) -> None:
    rolls = {}
    for folder, encoding in (("negatives", "linear"), ("slides", "srgb")):
        params = RollParams(seed=8, tone=Tone(encoding), frames=3, **SIZE)
        rolls[folder] = write_tiffs(simulate(params, blurred(8)), tmp_path / folder)
        drop(rolls[folder], service.place / folder)
    for folder, profile in (("negatives", "generic-negative"), ("slides", "generic-slide")):
        output, names = service.place / f"{folder}-clean", [file.name for file in rolls[folder]]
        service.until_out(folder, *names, frames=3)
        for name in names:
            told = receipt(output, name)
            assert (told["profile"], told["status"], told["map_frames"]) == (profile, "cleaned", 3)


def test_an_output_folder_in_which_another_run_writes_is_waited_for(tmp_path: Path) -> None:
    output = tmp_path / "slides-clean"
    with ExitStack() as other:
        other.enter_context(Output(output).occupied())
        with serving(tmp_path) as service:
            busy = f"{output}: another run is writing in this folder"
            service.daemon.until_said(busy)
            service.drop("negatives", "one.tif", 50)
            service.drop("slides", "two.tif", 51)
            service.until_out("negatives", "one.tif")
            assert not (output / "two.tif").exists()
            other.close()
            service.until_out("slides", "two.tif")
            assert service.said(busy) == 1


def test_where_there_are_no_events_the_folder_is_looked_at(service: Service) -> None:
    assert service.has_events("negatives")
    assert not service.has_events("slides")
    service.drop("slides", "silent.tif", 20)
    service.until_out("slides", "silent.tif")
    assert not service.has_events("slides")


def test_an_input_folder_that_is_away_is_waited_for_and_the_other_one_goes_on(service: Service) -> None:
    negatives, away = service.place / "negatives", service.place / "away"
    missing, back = f"WARNING {negatives}: is not there; waiting for that", f"INFO {negatives}: is back"
    with moved(negatives, away):
        service.daemon.until_said(missing)
        for seed, name in enumerate(("one.tif", "two.tif", "three.tif"), start=30):
            service.drop("slides", name, seed)
            service.until_out("slides", name)
        assert (service.said(missing), service.said(back)) == (1, 0)
        service.drop("away", "meanwhile.tif", 33)
    service.until_out("negatives", "meanwhile.tif")
    service.daemon.until(lambda: service.has_events("negatives"))
    service.drop("negatives", "after.tif", 34)
    service.until_out("negatives", "after.tif")
    assert (service.said(missing), service.said(back)) == (1, 1)


def test_an_output_folder_that_is_away_is_waited_for_and_not_made_anew(service: Service) -> None:
    output, away = service.place / "slides-clean", service.place / "slides-away"
    service.drop("slides", "before.tif", 40)
    service.until_out("slides", "before.tif")
    missing, back = f"{output}: {output / 'receipts'} is not there", f"{output}: is back"
    with moved(output, away):
        service.daemon.until_said(missing)
        service.drop("slides", "waiting.tif", 41)
        for seed, name in enumerate(("four.tif", "five.tif", "six.tif"), start=42):
            service.drop("negatives", name, seed)
            service.until_out("negatives", name)
        assert (service.said(missing), service.said(back)) == (1, 0)
        assert not output.exists()
    service.until_out("slides", "waiting.tif")
    assert (service.said(missing), service.said(back)) == (1, 1)
    assert (output / "before.tif").exists()
