"""The demo does what it says, in a folder of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from PIL import Image

from dustwatch.daemon.cli import cli


def demo(folder: Path, *arguments: str) -> Result:
    command = ["demo", "--output", str(folder), "--frames", "4", "--megapixels", "0.5", *arguments]
    return CliRunner().invoke(cli, command, prog_name="dustwatch")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("work") / "demo"
    result = demo(folder)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_scans_are_16_bit_frames_with_a_resolution(shown: tuple[Path, str]) -> None:
    scans = sorted((shown[0] / "scans").iterdir())
    assert [scan.name for scan in scans] == [f"frame-0{n}.tif" for n in range(1, 5)]
    with tifffile.TiffFile(scans[0]) as file:
        page = file.pages[0]
        assert page.dtype == np.uint16
        assert page.shape[1] / page.shape[0] == pytest.approx(1.5, abs=0.01)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        across, per = page.tags["XResolution"].value
        assert page.shape[1] / (across / per) * 25.4 == pytest.approx(36, rel=0.01)


def test_every_frame_was_cleaned_with_a_receipt(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    for scan in (folder / "scans").iterdir():
        assert (folder / "clean" / scan.name).exists()
        assert json.loads((folder / "clean" / "receipts" / f"{scan.name}.json").read_text())["status"]


def test_the_table_gives_figures_and_groups(shown: tuple[Path, str]) -> None:
    _, printed = shown
    for word in ("before", "after", "treated", "harm", "halo harm", "all 4", "Groups:", "s a frame"):
        assert word in printed


def test_the_contact_sheet_is_a_picture(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    sheet = folder / "contact-sheet.png"
    assert str(sheet) in printed
    with Image.open(sheet) as image:
        assert image.width > 1500
        assert image.height > 4 * 300


def test_a_second_demo_replaces_the_first_and_nothing_else(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    first = (folder / "scans" / "frame-01.tif").read_bytes()
    stale = folder / "scans" / "frame-99.tif"
    stale.write_bytes(first)
    (folder / "mine.txt").write_text("kept")
    assert demo(folder, "--seed", "2", "--frames", "2").exit_code == 0
    assert not stale.exists()
    assert (folder / "mine.txt").read_text() == "kept"
    assert (folder / "scans" / "frame-01.tif").read_bytes() != first


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "holiday.tif").write_bytes(b"precious")
    result = demo(tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
    assert "--output" in result.stderr
    assert (tmp_path / "scans" / "holiday.tif").read_bytes() == b"precious"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    result = demo(tmp_path / "demo")
    assert result.exit_code == 2
    assert str(tmp_path / "demo") in result.stderr
