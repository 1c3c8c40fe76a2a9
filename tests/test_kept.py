"""Glasses that one run keeps and the next knows again: ``--keep-maps`` and ``--map`` of ``dustwatch clean``."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from dustwatch.processing.figures import Figures, figures
from dustwatch.processing.placement import turned_back
from dustwatch.processing.simulate import RollParams, SimulatedFrame
from tests.rolls import SMALL, TINY, clean, receipt, simulate, snapshot, write_tiff, write_tiffs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 9
PARAMS = RollParams(frames=FRAMES, seed=1, **SMALL)


@dataclass(frozen=True)
class Kept:
    """A roll of which all frames but the last were cleaned, with the map kept; and the whole roll cleaned."""

    frames: list[SimulatedFrame]
    scans: list[Path]
    maps: Path
    output: Path
    whole: Path

    @property
    def last(self) -> Path:
        return self.scans[-1]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    frames = simulate(PARAMS)
    scans = write_tiffs(frames, folder / "scans")
    clean(folder / "scans", folder / "whole")
    shutil.copytree(folder / "scans", folder / "first")
    (folder / "first" / scans[-1].name).unlink()
    clean(folder / "first", folder / "clean", "--keep-maps", folder / "maps")
    return Kept(frames, scans, folder / "maps", folder / "clean", folder / "whole")


@pytest.fixture
def maps(kept: Kept, tmp_path: Path) -> Path:
    """A copy of the folder of maps, to be spoilt; it holds that of one glass."""
    return shutil.copytree(kept.maps, tmp_path / "maps")


def figures_of(picture: Path, frame: SimulatedFrame) -> Figures:
    return figures(tifffile.imread(picture), frame, PARAMS.tone)


def glass_of(maps: Path) -> Path:
    (glass,) = maps.iterdir()
    return glass


def test_a_kept_glass_is_named_as_in_the_receipts(kept: Kept) -> None:
    told = receipt(kept.output, kept.scans[0].name)
    glass = glass_of(kept.maps)
    assert glass.name == told["glass_id"]
    assert json.loads((glass / "glass.json").read_text())["map_sha256"] == told["map_sha256"]


def test_what_is_cleaned_does_not_depend_on_whether_maps_are_kept(kept: Kept, tmp_path: Path) -> None:
    clean(kept.output.parent / "first", tmp_path / "clean")
    assert snapshot(tmp_path / "clean") == snapshot(kept.output)


def test_a_later_frame_is_cleaned_nearly_as_well_as_within_the_roll(kept: Kept, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    result = clean(kept.last, output, "--map", kept.maps)
    assert "1 cleaned, 1 glass" in result.out
    alone, within = (figures_of(folder / kept.last.name, kept.frames[-1]) for folder in (output, kept.whole))
    assert within.psnr_db > 34
    assert alone.psnr_db > within.psnr_db - 2.5
    assert alone.treated > within.treated - 0.05
    assert alone.harm < 0.002
    told, first = receipt(output, kept.last.name), receipt(kept.output, kept.scans[0].name)
    for name in ("glass_id", "map_sha256", "map_frames"):
        assert told[name] == first[name]


def test_the_folder_of_one_glass_does_as_well_as_that_of_all(kept: Kept, tmp_path: Path) -> None:
    for number, folder in enumerate((kept.maps, glass_of(kept.maps))):
        clean(kept.last, tmp_path / f"{number}", "--map", folder)
    one, other = (tifffile.imread(tmp_path / f"{number}" / kept.last.name) for number in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_frame_that_the_map_was_learnt_from_comes_out_as_it_did_then(kept: Kept, tmp_path: Path) -> None:
    name = kept.scans[3].name
    clean(kept.scans[3], tmp_path / "clean", "--map", kept.maps)
    assert (tmp_path / "clean" / name).read_bytes() == (kept.output / name).read_bytes()


def test_a_frame_from_another_slot_is_not_cleaned_with_it(kept: Kept, tmp_path: Path) -> None:
    frame = tmp_path / kept.last.name
    write_tiff(frame, tifffile.imread(kept.last), description='{"scanner": "virtual", "slot": "2"}')
    assert "1 unchanged" in clean(frame, tmp_path / "clean", "--map", kept.maps).out


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_and_cropped_frame_is_cleaned_too(kept: Kept, tmp_path: Path, orientation: int) -> None:
    frame = kept.frames[-1]
    cut = slice(31, None), slice(12, -20)
    scan, film, glass, specks = (
        np.ascontiguousarray(turned_back(plane[cut], orientation))
        for plane in (frame.scan, frame.film, frame.glass, frame.specks)
    )
    cropped = SimulatedFrame(scan, film, glass, specks, frame.offset_px, frame.glass_id, orientation)
    write_tiff(tmp_path / "late.tif", scan)
    clean(tmp_path / "late.tif", tmp_path / "clean", "--map", kept.maps)
    assert receipt(tmp_path / "clean", "late.tif")["orientation"] == orientation
    assert figures_of(tmp_path / "clean" / "late.tif", cropped).psnr_db > 33


def test_a_frame_of_another_glass_is_left_alone(kept: Kept, tmp_path: Path) -> None:
    (other,) = write_tiffs(simulate(RollParams(frames=1, seed=7, **SMALL)), tmp_path / "other")
    result = clean(other, tmp_path / "clean", "--map", kept.maps)
    assert "1 unchanged: none of the kept maps shows its dirt" in result.out
    assert (tmp_path / "clean" / other.name).read_bytes() == other.read_bytes()
    told = receipt(tmp_path / "clean", other.name)
    assert (told["glass_id"], told["map_frames"]) == (None, 0)
    again = clean(other, tmp_path / "clean", "--map", kept.maps)
    assert "1 skipped" in again.out


def test_the_glass_is_chosen_that_the_frame_lies_on(kept: Kept, tmp_path: Path) -> None:
    write_tiffs(simulate(RollParams(frames=4, seed=8, **SMALL)), tmp_path / "scans")
    maps = shutil.copytree(kept.maps, tmp_path / "maps")
    clean(tmp_path / "scans", tmp_path / "others", "--keep-maps", maps)
    assert len(list(maps.iterdir())) == 2
    clean(kept.last, tmp_path / "clean", "--map", maps)
    assert receipt(tmp_path / "clean", kept.last.name)["glass_id"] == glass_of(kept.maps).name


def test_what_is_done_is_not_done_again_until_another_map_is_there(kept: Kept, maps: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    clean(kept.last, output, "--map", maps)
    before = snapshot(output)
    assert "1 skipped" in clean(kept.last, output, "--map", maps).out
    assert snapshot(output) == before
    clean(kept.scans[0].parent, tmp_path / "whole", "--keep-maps", maps)
    assert glass_of(maps).name == receipt(output, kept.last.name)["glass_id"]
    assert "1 cleaned" in clean(kept.last, output, "--map", maps).out
    assert receipt(output, kept.last.name)["map_frames"] == FRAMES


def test_a_map_is_kept_also_of_frames_that_are_done(kept: Kept, tmp_path: Path) -> None:
    scans, output = kept.output.parent / "first", tmp_path / "clean"
    shutil.copytree(kept.output, output)
    assert "8 skipped" in clean(scans, output, "--keep-maps", tmp_path / "maps").out
    made = snapshot(tmp_path / "maps")
    assert made == snapshot(kept.maps)
    stamps = {file: file.stat().st_mtime_ns for file in glass_of(tmp_path / "maps").iterdir()}
    clean(scans, output, "--keep-maps", tmp_path / "maps")
    assert {file: file.stat().st_mtime_ns for file in glass_of(tmp_path / "maps").iterdir()} == stamps
    assert snapshot(output) == snapshot(kept.output)


def test_frames_alone_leave_no_map(tmp_path: Path) -> None:
    write_tiffs(simulate(RollParams(frames=1, seed=2, **TINY)), tmp_path / "scans")
    clean(tmp_path / "scans", tmp_path / "clean", "--keep-maps", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_another_version(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))


def of_another_map(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"map_sha256": "0" * 64}))


@pytest.mark.parametrize("name", ["glass.json", "about.json", "map", "landmarks.npy"])
@pytest.mark.parametrize("spoil", [cut_short, lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_a_damaged_map_is_refused_by_name(kept: Kept, maps: Path, tmp_path: Path, name: str, spoil: Any) -> None:
    spoil(glass_of(maps) / name)
    result = clean(kept.last, tmp_path / "clean", "--map", maps, expect=2)
    assert str(glass_of(maps)) in result.err
    assert "keep the maps again, with --keep-maps" in result.err
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(("spoil", "said"), [(of_another_version, "another version"), (of_another_map, "damaged")])
def test_so_is_one_that_is_not_what_it_says(kept: Kept, maps: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    spoil(glass_of(maps) / "glass.json")
    result = clean(kept.last, tmp_path / "clean", "--map", maps, expect=2)
    assert said in result.err
    assert str(glass_of(maps)) in result.err


def test_so_is_a_folder_without_maps_and_none_at_all(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path / "empty", "no map is kept there"), (tmp_path / "nowhere", "check the spelling")):
        result = clean(kept.last, tmp_path / "clean", "--map", folder, expect=2)
        assert str(folder) in result.err
        assert said in result.err


def test_so_is_a_map_of_scans_that_hold_something_else(kept: Kept, tmp_path: Path) -> None:
    options = ("--map", kept.maps, "--profile", "generic-slide")
    result = clean(kept.last, tmp_path / "clean", *options, expect=2)
    assert "use --profile generic-negative" in result.err


def test_with_a_map_nothing_is_learnt_or_kept(kept: Kept, tmp_path: Path) -> None:
    for option in ("--keep-maps", "--empty-glass"):
        result = clean(kept.last, tmp_path / "clean", "--map", kept.maps, option, tmp_path / "other", expect=2)
        assert "nothing is learnt" in result.err


def test_maps_that_cannot_be_kept_end_the_run_with_the_remedy(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("a file")
    result = clean(kept.scans[0].parent, tmp_path / "clean", "--keep-maps", tmp_path / "maps", expect=1)
    assert f"{tmp_path / 'maps'}: maps cannot be kept there" in result.err
    assert "give another --keep-maps" in result.err


def test_what_a_killed_run_left_is_no_map(kept: Kept, maps: Path, tmp_path: Path) -> None:
    (maps / f"{'0' * 12}.part").mkdir()
    (maps / f"{'0' * 12}.old.part").mkdir()
    assert "1 cleaned" in clean(kept.last, tmp_path / "clean", "--map", maps).out
