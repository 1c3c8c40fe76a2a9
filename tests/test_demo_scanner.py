"""The demo on the virtual scanner: it scans, cleans and measures, and leaves no process."""

from __future__ import annotations

import os
import re
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from dustwatch.daemon.cli import cli
from tests.rolls import receipt
from tests.saned import needs_sane

SMALL = ("--scanner", "--frames", "2", "--megapixels", "0.5")


@needs_sane
def test_two_loads_are_scanned_and_come_out_clean(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = CliRunner().invoke(cli, ["demo", "--output", str(folder), *SMALL], prog_name="dustwatch")
    assert done.exit_code == 0, done.output
    assert "Glasses: one for every slot." in done.stdout
    names = sorted(file.name for file in (folder / "clean").glob("*.tif"))
    assert len(names) == 12
    assert len({receipt(folder / "clean", name)["glass_id"] for name in names}) == 6
    whole = re.search(r"all\W+(\d+\.\d) dB\W+(\d+\.\d) dB", done.stdout)
    assert whole, done.stdout
    assert float(whole[2]) > float(whole[1]) + 4
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    us = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    assert [child for file in us for child in file.read_text().split()] == []


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    done = CliRunner().invoke(cli, ["demo", "--output", str(tmp_path), *SMALL], prog_name="dustwatch")
    assert done.exit_code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
