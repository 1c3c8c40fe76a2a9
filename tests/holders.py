"""Film that is scanned from a holder, load after load, unattended, and how it came out against the truth."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from dustwatch.processing.figures import Figures, figures, same_groups
from dustwatch.processing.simulate import SimulatedFrame
from tests.rolls import command, receipt
from tests.scanning import virtual_scanner

if TYPE_CHECKING:
    from pathlib import Path

BED_MM = 200, 250
GAP_MM = 2
COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Film:
    """What became of film from so many `slots`: `found` and `glasses` by frame, in the order of the scans."""

    slots: int
    shape: tuple[int, ...]
    found: list[Figures]
    glasses: list[str]
    seconds: float

    @property
    def grouping_exact(self) -> bool:
        """Whether each slot was found to have a glass of its own."""
        return same_groups(self.glasses, [number % self.slots for number in range(len(self.glasses))])

    @property
    def worse(self) -> int:
        """How many frames came out worse than their scans."""
        return sum(one.psnr_db < one.psnr_scan_db for one in self.found)


def widest(slots: int) -> float:
    """How wide slots may be, in mm, for so many to find room on the bed."""
    rows = -(-slots // COLUMNS)
    return min(BED_MM[0] / COLUMNS - GAP_MM, 1.5 * (BED_MM[1] / rows - GAP_MM))


def write_holder(file: Path, slots: int, width_mm: float) -> None:
    """Slots of 3:2, three beside each other."""
    height_mm = width_mm / 1.5
    places = [divmod(number, COLUMNS) for number in range(slots)]
    listed = [
        {
            "name": f"{number + 1}",
            "x": 1 + column * (width_mm + GAP_MM),
            "y": 1 + row * (height_mm + GAP_MM),
            "width": width_mm,
            "height": height_mm,
        }
        for number, (row, column) in enumerate(places)
    ]
    file.write_text(json.dumps({"name": f"{slots}-slots", "slots": listed}))


def scan_film(folder: Path, slots: int, loads: int, *, width_mm: float, dpi: int, seed: int = 1) -> Film:
    """Have ``dustwatch scan`` scan so many loads from the virtual scanner and clean them; compare with the truth."""
    holder, profile, roll = folder / "holder.yaml", folder / "mine.yaml", folder / "roll"
    write_holder(holder, slots, width_mm)
    scanner = {"resolution": dpi, "depth": 16, "options": {"source": "Transparency Unit"}}
    profile.write_text(json.dumps({"name": "mine", "extends": "generic-negative", "scanner": scanner}))
    names = [f"load-{load + 1:03d}-slot-{slot + 1:02d}.tif" for load in range(loads) for slot in range(slots)]
    own = ["--profile", profile, "--holder", holder, "--loads", str(loads), "--state", folder / "state"]
    with virtual_scanner(folder, "--holder", holder, "--seed", str(seed)) as virtual:
        begun = time.monotonic()
        scan = command("scan", roll, "--device", virtual.device, *own)
        with subprocess.Popen(scan, env=virtual.environment, stdin=subprocess.DEVNULL) as process:
            try:
                for number, name in enumerate(names, start=1):
                    while not (roll / "scans" / name).exists() and process.poll() is None:
                        time.sleep(0.05)
                    # At once, as long as the scanner has the picture at hand: rendering takes it the longest.
                    assert virtual.tell(f"truth {folder}/truth-{name} {number}") == f"ok {number}"
                assert process.wait(600) == 0
            finally:
                process.kill()
        seconds = time.monotonic() - begun
    assert sorted(file.name for file in (roll / "clean").glob("*.tif")) == names
    found, glasses = [], []
    for number, name in enumerate(names):
        before, after = tifffile.imread(roll / "scans" / name), tifffile.imread(roll / "clean" / name)
        film, glass, specks = (
            np.load(folder / f"truth-{name}" / f"{part}.npy") for part in ("film", "glass", "specks")
        )
        found.append(figures(after, SimulatedFrame(before, film, glass, specks, (0.0, 0.0), number % slots)))
        glasses.append(receipt(roll / "clean", name)["glass_id"] or name)
    return Film(slots, before.shape, found, glasses, seconds)
