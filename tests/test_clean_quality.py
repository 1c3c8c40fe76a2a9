"""``dustwatch clean`` on small simulated rolls: groups, figures, masks and receipts against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dustwatch.processing.density import Tone
from dustwatch.processing.figures import Figures, figures, mean_figures, same_groups
from dustwatch.processing.simulate import RollParams
from tests.rolls import SMALL, clean, mask, receipt, sha256, simulate, write_tiffs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 12


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A roll that was cleaned: its scans, what came of them, and the truth."""

    scans: list[Path]
    output: Path
    receipts: list[dict[str, Any]]
    true_glasses: list[int]
    true_offsets: list[tuple[float, float]]
    figures: Figures

    @property
    def pairs(self) -> list[tuple[Path, Path, dict[str, Any]]]:
        """(scan, cleaned frame, receipt) of every frame."""
        return [(scan, self.output / scan.name, told) for scan, told in zip(self.scans, self.receipts, strict=True)]

    @property
    def glass_ids(self) -> list[str | None]:
        return [told["glass_id"] for told in self.receipts]


def cleaned(folder: Path, params: RollParams) -> Cleaned:
    frames = simulate(params)
    scans = write_tiffs(frames, folder / "scans", compression="zlib")
    output = folder / "clean"
    inverted = params.tone.dirt == "brightens"
    clean(folder / "scans", output, *(("--profile", "generic-negative-inverted") if inverted else ()))
    pairs = zip(scans, frames, strict=True)
    taken = [figures(tifffile.imread(output / scan.name), frame, params.tone) for scan, frame in pairs]
    return Cleaned(
        scans,
        output,
        [receipt(output, scan.name) for scan in scans],
        [frame.glass_id for frame in frames],
        [frame.offset_px for frame in frames],
        mean_figures(taken),
    )


@pytest.fixture(scope="module")
def wiped(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """A roll during which the glass was wiped."""
    return cleaned(tmp_path_factory.mktemp("wiped"), RollParams(frames=FRAMES, wipes=(FRAMES // 2,), seed=1, **SMALL))


@pytest.fixture(scope="module")
def interleaved(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """A roll scanned in a holder with two slots, each with its own patch of glass."""
    return cleaned(tmp_path_factory.mktemp("slots"), RollParams(frames=FRAMES, slots=2, seed=2, **SMALL))


@pytest.fixture(scope="module")
def cropped(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """A roll that software has cropped and turned as it liked."""
    ways = (1, 1, 3, 2, 6, 8)
    params = RollParams(frames=FRAMES, crop_px=60, orientations=ways, seed=3, **SMALL)
    return cleaned(tmp_path_factory.mktemp("cropped"), params)


@pytest.fixture(scope="module")
def wobbling(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """A roll whose carriage wobbles along its travel, which software has laid along the columns."""
    params = RollParams(frames=FRAMES, wobble_px=0.7, orientations=(6, 8), seed=1, **SMALL)
    return cleaned(tmp_path_factory.mktemp("wobbling"), params)


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """Positives of 8 bit, in which the cores of dense dirt are plain white."""
    tone = Tone(encoding="srgb", dirt="brightens")
    params = RollParams(frames=FRAMES, tone=tone, maximum=255, seed=4, **SMALL)
    return cleaned(tmp_path_factory.mktemp("inverted"), params)


@pytest.mark.parametrize("roll", ["wiped", "interleaved", "cropped", "wobbling", "inverted"])
def test_frames_are_grouped_by_their_glass(roll: str, request: pytest.FixtureRequest) -> None:
    done: Cleaned = request.getfixturevalue(roll)
    assert all(done.glass_ids)
    assert same_groups(done.glass_ids, done.true_glasses)
    for told in done.receipts:
        assert told["map_frames"] == done.glass_ids.count(told["glass_id"])


@pytest.mark.parametrize(
    ("roll", "floor_db", "treated"),
    [("wiped", 37.5, 0.85), ("interleaved", 33.0, 0.80), ("cropped", 36.0, 0.85), ("wobbling", 37.5, 0.88)],
)
def test_dirt_goes_and_film_stays(roll: str, floor_db: float, treated: float, request: pytest.FixtureRequest) -> None:
    found: Figures = request.getfixturevalue(roll).figures
    assert found.psnr_scan_db < 25
    assert found.psnr_db > floor_db
    assert found.treated > treated
    assert found.harm < 0.002
    assert found.halo_harm < 0.04


def test_what_was_done_is_true_to_the_pixel(wiped: Cleaned) -> None:
    for scan, picture, told in wiped.pairs:
        changed = (tifffile.imread(scan) != tifffile.imread(picture)).any(axis=2)
        assert told["status"] == "cleaned"
        assert told["reason"] == ""
        np.testing.assert_array_equal(mask(wiped.output, scan.name), changed)
        assert told["changed_px"] == changed.sum() > 0
        assert told["changed_share"] == pytest.approx(changed.mean())
        assert told["input_sha256"] == sha256(scan)
        assert told["output_sha256"] == sha256(picture)
        assert told["profile"] == "generic-negative"
        assert not told["reencoded"]


def test_defects_are_the_connected_places_of_the_mask(wiped: Cleaned) -> None:
    for scan, _, told in wiped.pairs:
        labels, count = ndimage.label(mask(wiped.output, scan.name), np.ones((3, 3)))
        boxes = ndimage.find_objects(labels)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        true = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in boxes]
        found = [(tuple(defect["bbox"]), defect["area_px"]) for defect in told["defects"]]
        assert sorted(found) == sorted(zip(true, areas, strict=True))
        for defect in told["defects"]:
            assert defect["origin"] == "glass"
            assert defect["repair"] in {"divided", "filled", "both"}
            assert defect["peak_density"] < 5


def test_offsets_are_those_of_the_carriage(wiped: Cleaned) -> None:
    true = np.array(wiped.true_offsets)
    found = np.array([told["offset_px"] for told in wiped.receipts])
    for glass in set(wiped.true_glasses):
        here = np.array(wiped.true_glasses) == glass
        apart = found[here] - true[here]
        # A map may lie anywhere; its frames must lie on it as they lie on the glass.
        assert np.abs(apart - np.median(apart, axis=0)).max() < 0.3
