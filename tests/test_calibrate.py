"""Scans of the empty glass: ``dustwatch calibrate`` checks them, and with one a roll is clean from the first frame."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from dustwatch.daemon.service import profile_of
from dustwatch.daemon.settings import load_settings
from dustwatch.processing.figures import figures
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import SMALL, clean, landscapes, mask, receipt, run, snapshot, write_tiff, write_tiffs
from tests.watching import watching

if TYPE_CHECKING:
    from pathlib import Path


def roll(frames: int = 2, seed: int = 1, **params: Any) -> Roll:
    return Roll(RollParams(frames=frames, seed=seed, **SMALL | params), landscapes(seed))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The glass of `roll` without film."""
    write_tiff(tmp_path / "empty.tif", roll().bare(0).scan)
    return tmp_path / "empty.tif"


def treated(output: Path, made: Roll, count: int) -> list[float]:
    """Share of the dirt that went, and a check that next to no film went with it, by frame."""
    shares = []
    for index in range(count):
        found = figures(tifffile.imread(output / f"frame-{index + 1:02d}.tif"), made.frame(index))
        assert found.harm < 0.002
        shares.append(found.treated)
    return shares


# --- calibrate ------------------------------------------------------------------------------------------------


def test_a_good_scan_is_described_drawn_and_its_lines_can_be_pasted(tmp_path: Path, empty: Path) -> None:
    done = run("calibrate", empty, "--picture", tmp_path / "dirt.png")
    assert (done.code, done.err) == (0, "")
    said, _, *lines = done.out.splitlines()
    assert said.startswith(f"{empty}: ")
    assert "particles, " in said
    assert "% of the glass dirty, median density 0." in said
    assert yaml.safe_load("\n".join(lines)) == {"empty_glass": [str(empty)]}
    (tmp_path / "mine.yaml").write_text("\n".join(["name: mine", "extends: generic-negative", *lines]))
    assert run("profiles", "check", tmp_path / "mine.yaml").code == 0
    with Image.open(tmp_path / "dirt.png") as picture:
        dark = np.asarray(picture) < 200
    glass = roll().bare(0).glass
    assert dark[glass > 0.3].mean() > 0.9
    assert not dark[glass < 0.01].any()


def test_all_that_is_wrong_with_all_scans_is_said_at_once(tmp_path: Path, empty: Path) -> None:
    made = roll()
    scans = {
        "film": made.frame(0).scan,
        "dark": made.bare(0).scan // 100,
        "light": np.minimum(made.bare(0).scan * 1.2, 65535).astype(np.uint16),
        "half": made.bare(0).scan[::2, ::2],
        "other": roll(seed=7).bare(0).scan,
    }
    for name, scan in scans.items():
        write_tiff(tmp_path / f"{name}.tif", scan)
    (tmp_path / "text.tif").write_text("no picture")
    names = [*scans, "text", "missing"]
    done = run("calibrate", empty, *(tmp_path / f"{name}.tif" for name in names))
    assert (done.code, done.out) == (2, "")
    said = {line.split(".tif: ")[0].removeprefix(f"{tmp_path}/"): line for line in done.err.splitlines()}
    assert said.keys() == set(names)
    assert "neither film nor anything else" in said["film"]
    assert "too dark" in said["dark"]
    assert "over-exposed" in said["light"]
    assert "360 x 240 pixels" in said["half"]
    assert "does not show the dirt" in said["other"]
    assert "cannot be read" in said["missing"]


def test_inverted_scans_and_a_picture_that_is_there_are_refused(empty: Path) -> None:
    done = run("calibrate", empty, "--profile", "generic-negative-inverted")
    assert done.code == 2
    assert "must not be inverted" in done.err
    done = run("calibrate", empty, "--picture", empty)
    assert done.code == 2
    assert f"{empty}: is there already" in done.err


# --- watch and run --------------------------------------------------------------------------------------------


def test_watch_takes_it_and_refuses_a_bad_one(tmp_path: Path, empty: Path) -> None:
    scans, output, state = (tmp_path / name for name in ("scans", "clean", "state"))
    (frame,) = write_tiffs([roll().frame(0)], scans)
    done = run("watch", scans, output, "--state", state, "--empty-glass", frame)
    assert done.code == 2
    assert f"{frame}: " in done.err
    with watching(scans, output, state, "--empty-glass", empty) as daemon:
        daemon.until_settled()
    told = receipt(output, frame.name)
    assert (told["status"], told["map_frames"]) == ("cleaned", 2)


def test_the_configuration_comes_before_the_profile(tmp_path: Path, empty: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nextends: generic-negative\nempty_glass: [gone.tif]\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "folders:\n- {input: scans, output: clean, profile: mine.yaml, empty_glass: [other.tif]}\nstate: state\n"
    )
    done = run("run", "--config", config)
    assert done.code == 2
    assert f"{tmp_path / 'other.tif'}: cannot be read" in done.err
    config.write_text("folders:\n- {input: scans, output: clean, profile: mine.yaml, empty_glass: [empty.tif]}\n")
    (folder,) = load_settings(config).folders
    assert profile_of(folder).empty_glass == (empty,)
    assert profile_of(replace(folder, empty_glass=None)).empty_glass == (tmp_path / "gone.tif",)


# --- clean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_helps_from_the_first_frame_on(tmp_path: Path, empty: Path, count: int) -> None:
    made = roll(frames=max(count, 2))
    if count > 2:  # what is born and goes is drawn for the roll as a whole
        write_tiff(empty, made.bare(0).scan)
    write_tiffs([made.frame(index) for index in range(count)], tmp_path / "scans")
    clean(tmp_path / "scans", tmp_path / "without")
    clean(tmp_path / "scans", tmp_path / "with", "--empty-glass", empty)
    without, helped = (treated(tmp_path / name, made, count) for name in ("without", "with"))
    assert min(helped) > 0.8
    assert np.mean(helped) > np.mean(without) + 0.05
    if count == 1:
        assert without == [0]
    assert receipt(tmp_path / "with", "frame-01.tif")["map_frames"] == count + 1


def test_a_second_run_does_nothing_and_one_without_it_does_all_again(tmp_path: Path, empty: Path) -> None:
    scans, output = tmp_path / "scans", tmp_path / "clean"
    write_tiffs([roll().frame(index) for index in range(2)], scans)
    clean(scans, output, "--empty-glass", empty)
    first = snapshot(output)
    assert "2 skipped" in clean(scans, output, "--empty-glass", empty).out
    assert snapshot(output) == first
    assert "2 cleaned" in clean(scans, output).out


def test_a_profile_can_name_it_and_the_command_line_replaces_that(tmp_path: Path, empty: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nextends: generic-negative\nempty_glass: [empty.tif]\n")
    (tmp_path / "gone.yaml").write_text("name: gone\nextends: generic-negative\nempty_glass: [gone.tif]\n")
    write_tiffs([roll().frame(0)], tmp_path / "scans")
    clean(tmp_path / "scans", tmp_path / "clean", "--profile", tmp_path / "mine.yaml")
    assert receipt(tmp_path / "clean", "frame-01.tif")["status"] == "cleaned"
    done = clean(tmp_path / "scans", tmp_path / "other", "--profile", tmp_path / "gone.yaml", expect=2)
    assert f"{tmp_path / 'gone.tif'}: cannot be read" in done.err
    clean(tmp_path / "scans", tmp_path / "other", "--profile", tmp_path / "gone.yaml", "--empty-glass", empty)


def test_one_among_the_frames_is_not_cleaned(tmp_path: Path, empty: Path) -> None:
    scans = tmp_path / "scans"
    write_tiffs([roll().frame(0)], scans)
    among = empty.rename(scans / "empty.tif")
    done = clean(scans, tmp_path / "clean", "--empty-glass", among)
    assert "1 frame: 1 cleaned, 1 glass" in done.out
    assert "is the empty-glass scan" in done.err
    assert not (tmp_path / "clean" / "empty.tif").exists()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("left_behind", [0.0, 0.08])
def test_a_wipe_since_then_makes_it_useless_and_no_harm_is_done(tmp_path: Path, count: int, left_behind: float) -> None:
    scans, empty = tmp_path / "scans", tmp_path / "empty.tif"
    made = roll(frames=3, wipes=(1,), left_behind=left_behind)
    write_tiff(empty, made.bare(0).scan)
    write_tiffs([made.frame(1 + index) for index in range(count)], scans)
    clean(scans, tmp_path / "without")
    clean(scans, tmp_path / "with", "--empty-glass", empty)
    assert snapshot(tmp_path / "with") == snapshot(tmp_path / "without")


def test_every_slot_of_a_holder_can_have_its_own(tmp_path: Path) -> None:
    options: list[str | Path] = []
    (tmp_path / "scans").mkdir()
    rolls = {"1": roll(seed=1), "2": roll(seed=2)}
    for slot, made in rolls.items():
        description = json.dumps({"scanner": "virtual", "slot": slot})
        for name, scan in ((f"empty-{slot}.tif", made.bare(0).scan), (f"scans/{slot}.tif", made.frame(0).scan)):
            write_tiff(tmp_path / name, scan, description=description)
        options += ["--empty-glass", tmp_path / f"empty-{slot}.tif"]
    clean(tmp_path / "scans", tmp_path / "clean", *options)
    for slot, made in rolls.items():
        assert figures(tifffile.imread(tmp_path / "clean" / f"{slot}.tif"), made.frame(0)).treated > 0.9


def test_one_of_another_resolution_is_refused(tmp_path: Path, empty: Path) -> None:
    write_tiffs([roll().frame(index) for index in range(2)], tmp_path / "scans")
    write_tiff(empty, roll().bare(0).scan[::2, ::2])
    done = clean(tmp_path / "scans", tmp_path / "clean", "--empty-glass", empty, expect=2)
    assert "is 360 x 240 pixels, which no frame is" in done.err
    assert "scanned at another resolution?" in done.err
    assert not list((tmp_path / "clean").glob("*.tif"))


def test_one_serves_frames_that_are_turned(tmp_path: Path, empty: Path) -> None:
    scan = roll().frame(0).scan
    (tmp_path / "scans").mkdir()
    write_tiff(tmp_path / "scans" / "turned.tif", np.rot90(scan).copy())
    clean(tmp_path / "scans", tmp_path / "clean", "--empty-glass", empty)
    assert receipt(tmp_path / "clean", "turned.tif")["status"] == "cleaned"


def test_rebate_text_stays(tmp_path: Path) -> None:
    """It is the same in all frames, and not in the scan of the empty glass."""
    made = roll(frames=4, fixtures=("rebate text",))
    write_tiff(tmp_path / "empty.tif", made.bare(0).scan)
    write_tiffs([made.frame(index) for index in range(4)], tmp_path / "scans")
    clean(tmp_path / "scans", tmp_path / "clean", "--empty-glass", tmp_path / "empty.tif")
    assert min(treated(tmp_path / "clean", made, 4)) > 0.75
    text = np.s_[:90]
    for index in range(4):
        changed = mask(tmp_path / "clean", f"frame-{index + 1:02d}.tif")[text]
        glass = made.frame(index).glass[text]
        assert changed[glass > 0.04].mean() > 0.5  # without the scan it is left alone, as all the text is
        assert changed[glass < 0.005].mean() < 0.01


def test_frames_of_one_scene_stay_clean(tmp_path: Path) -> None:
    """They tell nothing of the glass by themselves."""
    made = roll(frames=3, scene_repeats=3)
    write_tiff(tmp_path / "empty.tif", made.bare(0).scan)
    write_tiffs([made.frame(index) for index in range(3)], tmp_path / "scans")
    clean(tmp_path / "scans", tmp_path / "clean", "--empty-glass", tmp_path / "empty.tif")
    assert min(treated(tmp_path / "clean", made, 3)) > 0.7
