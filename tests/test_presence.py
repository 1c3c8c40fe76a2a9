"""Which dirt of a map lies in a later frame: with a map that is known exactly, and with maps that were learnt."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dustwatch.processing import learn as learn_module
from dustwatch.processing.cells import CELL_PX, Patch
from dustwatch.processing.clean import FrameDirt, RepairParams, clean
from dustwatch.processing.density import Tone
from dustwatch.processing.drift import STEADY
from dustwatch.processing.figures import Figures, figures
from dustwatch.processing.glass_map import DENSITY_STEP_D, GlassMap, MapDraft, MapWindow
from dustwatch.processing.image import ImageInfo
from dustwatch.processing.learn import LearnParams, Witness, learn
from dustwatch.processing.observe import observe
from dustwatch.processing.particles import LifeParams, lives
from dustwatch.processing.placement import UNMOVED, Placement
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.presence import _prior_odds, present
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import ResidualParams
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams, SimulatedFrame

SHAPE = (300, 330)
PATCH = Patch((0, 0), *SHAPE)
LAST = 7
PARAMS = LifeParams()
Spot = tuple[int, int, float]
SPOTS: list[Spot] = [(60, 50, 0.3), (120, 256, 0.1), (256, 150, 0.6), (200, 290, 0.06)]
ONE = SPOTS[0]


def dirt(spots: Sequence[Spot] = SPOTS, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Density in D of Gaussian spots of (row, column, peak); sigma 2 px."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    total = np.zeros(SHAPE)
    for row, column, peak in spots:
        total += peak * np.exp(-((y - row - offset[0]) ** 2 + (x - column - offset[1]) ** 2) / (2 * 2.0**2))
    return total


def film(grain_d: float = 0.006, seed: int = 3) -> np.ndarray:
    """Density in D of a smooth slope with grain."""
    grain = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, SHAPE), 0.7)
    return np.asarray(np.linspace(0.3, 0.7, SHAPE[1]) + grain / grain.std() * grain_d)


def scanned(path: Path, scan: np.ndarray) -> tuple[ImageInfo, PlaneFile]:
    """A scan as a file, and its coded residual beside it."""
    tifffile.imwrite(path.with_suffix(".tif"), scan, photometric="rgb" if scan.ndim == 3 else "minisblack")
    info = probe(path.with_suffix(".tif"))
    return info, observe(info, Tone(), ResidualParams(), path, 1).codes


def coded(path: Path, density: np.ndarray) -> PlaneFile:
    """The residual of a frame of this density."""
    return scanned(path, np.rint(65535 * 10**-density).astype(np.uint16))[1]


def known_glass(folder: Path, density: np.ndarray, lived: np.ndarray | int = 1 << LAST) -> GlassMap:
    there = density >= 0.005
    values = {
        "density": np.where(there, np.rint(density / DENSITY_STEP_D), 0).astype(np.int16),
        "doubt": np.where(there, 10, 0).astype(np.uint16),
        "lives": np.where(there, lived, 0).astype(np.uint32),
    }
    with MapDraft(folder / "map", PATCH) as draft:
        draft.add(0, 0, MapWindow(**values))
        return draft.finish()


def looked_for(
    glass: GlassMap,
    codes: PlaneFile,
    *,
    last: int = LAST,
    offset: tuple[float, float] = (0.0, 0.0),
    gap: int = 1,
    params: LifeParams = PARAMS,
    threads: int = 2,
) -> GlassMap:
    destination = codes.path.with_name(codes.path.name + "-lives")
    return present(glass, last, codes, Placement(offset), STEADY, gap, ResidualParams(), params, destination, threads)


def whole(glass: GlassMap) -> MapWindow:
    shape = glass.patch.height, glass.patch.width
    nothing = (np.zeros(shape, kind) for kind in (np.int16, np.uint16, np.uint32))
    return glass.window(0, 0, shape) or MapWindow(*nothing)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (4.0, -3.0), (0.4, -1.7), (-5.3, 6.6)])
def test_dirt_that_stayed_is_found(tmp_path: Path, offset: tuple[float, float]) -> None:
    glass = known_glass(tmp_path, dirt())
    found = looked_for(glass, coded(tmp_path / "new", film() + dirt(offset=offset)), offset=offset)
    assert (whole(found).lives[dirt() > 0.05] == 1).all()
    np.testing.assert_array_equal(whole(found).lives, dirt() >= 0.005)
    assert found.dirty_px == np.count_nonzero(dirt() >= 0.005)
    for name in ("density", "doubt"):
        np.testing.assert_array_equal(getattr(whole(found), name), getattr(whole(glass), name))


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.4, -1.7), (-5.3, 6.6)])
@pytest.mark.parametrize("gone", SPOTS)
def test_dirt_that_was_brushed_away_is_not(tmp_path: Path, gone: Spot, offset: tuple[float, float]) -> None:
    stayed = [spot for spot in SPOTS if spot != gone]
    codes = coded(tmp_path / "new", film() + dirt(stayed, offset))
    found = looked_for(known_glass(tmp_path, dirt()), codes, offset=offset)
    np.testing.assert_array_equal(whole(found).lives, dirt(stayed) >= 0.005)


@pytest.mark.parametrize("last", [0, 7, 31])
def test_what_was_gone_from_the_newest_witness_is_not_looked_for(tmp_path: Path, last: int) -> None:
    others = (1 << 32) - 1 - (1 << last)
    lived = np.where(dirt([ONE]) > 0, others, 1 << last)
    lived[dirt(SPOTS[1:]) >= 0.005] = 1 << last
    glass = known_glass(tmp_path, dirt(), lived)
    found = looked_for(glass, coded(tmp_path / "new", film() + dirt()), last=last)
    np.testing.assert_array_equal(whole(found).lives, dirt(SPOTS[1:]) >= 0.005)


def test_where_nothing_can_be_there_nothing_is_written(tmp_path: Path) -> None:
    found = looked_for(known_glass(tmp_path, dirt(), 1), coded(tmp_path / "new", film() + dirt()))
    assert found.dirty_px == 0
    assert not whole(found).lives.any()
    assert found.window(0, 0, SHAPE) is None
    assert found.path.stat().st_size == found.cells.nbytes


def test_what_the_frame_does_not_show_has_stayed(tmp_path: Path) -> None:
    """Busy film, clipped light, and glass beyond the edge of the frame; on calm film the same dirt is gone."""
    glass = known_glass(tmp_path, dirt([ONE]))
    clipped = film()
    clipped[52:69, 42:59] = 0.0
    busy = ndimage.gaussian_filter(film(1.0), 1)
    for name, density, offset, stayed in (
        ("calm", film(), (0.0, 0.0), False),
        ("busy", busy + 1 - busy.min(), (0.0, 0.0), True),
        ("clipped", clipped, (0.0, 0.0), True),
        ("beyond", film(), (-90.0, 0.0), True),
    ):
        found = looked_for(glass, coded(tmp_path / name, density), offset=offset)
        np.testing.assert_array_equal(whole(found).lives, (dirt([ONE]) >= 0.005) & stayed, name)


@given(gap=st.integers(1, 30), rate=st.floats(1e-5, 0.3))
def test_the_prior_is_that_of_the_chain_of_lives(gap: int, rate: float) -> None:
    """It outweighs just as much evidence as the frames between do, if they show nothing."""
    params = LifeParams(change_rate=rate)
    prior = _prior_odds(gap, params)
    ratios = np.zeros((gap + 1, 2))
    ratios[0] = 1e5
    ratios[-1] = -prior + np.array([1e-6, -1e-6])
    assert lives(ratios, params)[-1].tolist() == [True, False]


def test_the_longer_ago_the_less_has_stayed(tmp_path: Path) -> None:
    """Of spots from faint to dense, none of them there, on film with coarse grain."""
    places = [(row, column) for row in range(30, 300, 40) for column in range(30, 330, 40)]
    spots = [(*place, 0.02 + 0.002 * number) for number, place in enumerate(places)]
    glass = known_glass(tmp_path, dirt(spots))
    codes = coded(tmp_path / "new", film(0.02))
    found = [whole(looked_for(glass, codes, gap=gap)).lives for gap in (1, 10, 100, 10**6)]
    stayed = [np.count_nonzero(bits) for bits in found]
    assert stayed[0] > stayed[1] > stayed[2] >= stayed[3]
    for sooner, later in pairwise(found):
        assert (sooner >= later).all()


@pytest.mark.parametrize("gap", [0, -1])
def test_a_frame_that_is_no_later_is_refused(tmp_path: Path, gap: int) -> None:
    with pytest.raises(ValueError, match=f"1 or more frames after the map, not {gap}"):
        looked_for(known_glass(tmp_path, dirt()), coded(tmp_path / "new", film()), gap=gap)
    assert not (tmp_path / "new-lives").exists()


@pytest.mark.parametrize("last", [-1, 32])
def test_a_witness_that_no_map_has_is_refused(tmp_path: Path, last: int) -> None:
    with pytest.raises(ValueError, match=f"witnesses 0 to 31, not {last}"):
        looked_for(known_glass(tmp_path, dirt()), coded(tmp_path / "new", film()), last=last)


@pytest.mark.parametrize("tile_px", [64, 96])
def test_neither_threads_nor_tiles_leave_a_trace(tmp_path: Path, tile_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    glass = known_glass(tmp_path, dirt())
    codes = coded(tmp_path / "new", film() + dirt(SPOTS[:3], (0.3, 0.6)))
    expected = looked_for(glass, codes, offset=(0.3, 0.6))
    monkeypatch.setattr(learn_module, "_TILE_PX", (tile_px, tile_px))
    for threads in (1, 2, 3):
        found = looked_for(glass, codes, offset=(0.3, 0.6), threads=threads)
        assert found.dirty_px == expected.dirty_px
        for name in ("density", "doubt", "lives"):
            np.testing.assert_array_equal(getattr(whole(found), name), getattr(whole(expected), name))


def test_no_file_stays_open(tmp_path: Path) -> None:
    glass, codes = known_glass(tmp_path, dirt()), coded(tmp_path / "new", film() + dirt())
    before = len(list(Path("/proc/self/fd").iterdir()))
    looked_for(glass, codes)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_learnt_map_holds_is_found_or_gone(tmp_path: Path) -> None:
    """The map is from frames with two spots; of the later frames one shows both, one only the first."""
    witnesses = [Witness(coded(tmp_path / str(k), film(seed=k) + dirt(SPOTS[:2])), UNMOVED, k) for k in range(LAST + 1)]
    glass = learnt(witnesses, tmp_path / "map")
    both, first = (dirt(spots) > 0.05 for spots in (SPOTS[:2], SPOTS[:1]))
    unchanged = looked_for(glass, coded(tmp_path / "unchanged", film(seed=20) + dirt(SPOTS[:2])))
    brushed = looked_for(glass, coded(tmp_path / "brushed", film(seed=21) + dirt(SPOTS[:1])))
    assert (whole(unchanged).lives[both] == 1).all()
    assert (whole(brushed).lives[first] == 1).all()
    assert not whole(brushed).lives[:, SHAPE[1] // 2 :].any()


# --- simulated rolls ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulated:
    folder: Path
    frames: list[SimulatedFrame]
    infos: list[ImageInfo]
    witnesses: list[Witness]
    early: GlassMap
    """Learnt from all frames but the newest."""


def learnt(witnesses: Sequence[Witness], folder: Path) -> GlassMap:
    codes = witnesses[0].codes
    patch = Patch((0, 0), codes.height, codes.width)
    fixed = np.zeros((-(-patch.height // CELL_PX), -(-patch.width // CELL_PX)), np.bool_)
    folder.mkdir()
    return learn(witnesses, patch, fixed, LearnParams(), folder, 2, lambda _: lambda: None)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A roll during which dirt comes and goes."""
    folder = tmp_path_factory.mktemp("roll")
    params = RollParams(frames=8, height=480, width=480, scale=0.6, particles=50, turnover=0.04, seed=4)
    roll = Roll(params, landscape(params.seed))
    frames = [roll.frame(number) for number in range(len(roll))]
    files = [scanned(folder / str(number), frame.scan) for number, frame in enumerate(frames)]
    witnesses = [Witness(codes, Placement(frames[k].offset_px), k) for k, (_, codes) in enumerate(files)]
    return Simulated(folder, frames, [info for info, _ in files], witnesses, learnt(witnesses[:-1], folder / "early"))


def looked_for_in_newest(roll: Simulated) -> GlassMap:
    newest = roll.witnesses[-1]
    return looked_for(roll.early, newest.codes, last=len(roll.frames) - 2, offset=newest.placement.offset)


def on_the_glass(frame: SimulatedFrame) -> np.ndarray:
    """The true density of the dirt, moved from the frame onto the grid of the map."""
    return np.asarray(ndimage.shift(frame.glass, -np.array(frame.offset_px), order=5))


def test_what_came_and_went_on_a_roll_is_told_apart(simulated: Simulated) -> None:
    found = whole(looked_for_in_newest(simulated)).lives
    before, now = (on_the_glass(frame) for frame in simulated.frames[-2:])
    candidates = (whole(simulated.early).lives >> np.uint32(len(simulated.frames) - 2)) & 1
    stayed = (candidates > 0) & (before > 0.05) & (now > 0.05)
    gone = (candidates > 0) & (before > 0.05) & (now < 0.005)
    assert stayed.sum() > 1000
    assert gone.sum() > 50
    assert found[stayed].mean() > 0.98
    assert found[gone].mean() < 0.1
    assert not found[candidates == 0].any()


def test_a_later_frame_comes_out_as_clean_as_a_witness(simulated: Simulated) -> None:
    """Within 1 dB of what the map learnt with this frame makes of it, and film without dirt is hardly touched."""
    complete = learnt(simulated.witnesses, simulated.folder / "complete")
    later = cleaned(simulated, looked_for_in_newest(simulated), 0)
    witness = cleaned(simulated, complete, len(simulated.frames) - 1)
    unchanged = cleaned(simulated, simulated.early, len(simulated.frames) - 2)
    assert later.psnr_db > later.psnr_scan_db + 8
    assert later.psnr_db > witness.psnr_db - 1
    assert later.harm < 0.0015 < unchanged.harm


def cleaned(roll: Simulated, glass: GlassMap, witness: int) -> Figures:
    """How the newest frame comes out if its dirt is taken for that of this witness."""
    newest = roll.witnesses[-1]
    target, mask = roll.folder / "clean.tif", roll.folder / "mask.png"
    what = FrameDirt(glass, newest.codes, witness, newest.placement)
    clean(roll.infos[-1], what, Tone(), ResidualParams(), RepairParams(), target, mask, 2)
    return figures(tifffile.imread(target), roll.frames[-1])
