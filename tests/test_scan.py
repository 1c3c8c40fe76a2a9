"""From the scanner into clean folders, as a user runs it: ``dustwatch scan``, and scanners in the configuration."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

from dustwatch.processing.figures import figures, mean_figures, same_groups
from dustwatch.processing.simulate import SimulatedFrame
from tests.rolls import Result, clean, command, receipt, run, snapshot
from tests.saned import needs_sane
from tests.scanning import VirtualScanner, virtual_scanner
from tests.watching import running

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
    said = desk.scan(typed="\n").err
    assert len(desk.names) == 4
    assert said.count("put the next film in and press Enter") == 2
    assert len(desk.scan("--loads", "1").err) > 0
    assert desk.names[-1] == "load-003-slot-02.tif"


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


def test_what_the_scanner_refuses_is_said_at_once(desk: Desk) -> None:
    set_scanner(desk.folder, resolution=301)
    said = desk.scan("--loads", "1", expect=2).err
    assert "resolution" in said
    assert "300" in said


def test_a_slip_is_no_scan(tmp_path: Path) -> None:
    for options, expected in (
        (["--holder", "35mm-stripe"], "did you mean '35mm-strip'?"),
        (["--profile", "generic-negativ"], "did you mean 'generic-negative'?"),
    ):
        done = run("scan", tmp_path / "roll", "--device", "net:localhost:film", *options)
        assert done.code == 2
        assert expected in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("desk", [["--rate", "60000"]], indirect=True)
def test_ctrl_c_ends_it_and_the_next_run_goes_on(desk: Desk) -> None:
    process = subprocess.Popen(
        desk.command("--loads", "9"), env=desk.scanner.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not list(desk.roll.glob("scans/load-001-slot-02.tif.part")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=15)
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


@pytest.mark.parametrize("desk", [["--button", "scan@1", "--fault", "io-error@0.5"]], indirect=True)
def test_a_service_scans_when_a_button_is_pressed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANE_CONFIG_DIR", str(desk.scanner.config))
    (desk.roll / "scans").mkdir(parents=True)
    write_yaml(
        desk.folder / "config.yaml",
        {
            "state": "state",
            "scanners": [
                {
                    "device": desk.scanner.device,
                    "scans": "roll/scans",
                    "output": "roll/clean",
                    "profile": "mine.yaml",
                    "holder": "holder.yaml",
                    "on_button": {"scan": None},
                    "close_after_min": 0.01,
                },
                # Another one, which is not there, holds nobody up.
                {"device": "net:127.0.0.2:film", "scans": "a", "output": "b", "on_button": {"scan": None}},
            ],
        },
    )
    with running(
        command("run", "--config", desk.folder / "config.yaml"), desk.roll / "scans", desk.folder / "state"
    ) as service:
        service.until(lambda: len(desk.names) == 2)
        desk.scanner.tell("press scan")
        service.until(lambda: len(desk.names) == 4)
        service.until_said("is closed, with 2 frames")
        for device in (desk.scanner.device, "net:127.0.0.2:film"):
            assert any(device in line and "it is tried again until it works" in line for line in service.lines)
