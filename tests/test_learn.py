"""The map of a glass, learnt from imagined and from simulated frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dustwatch.processing import learn as module
from dustwatch.processing.cells import CELL_PX, Patch
from dustwatch.processing.density import Tone
from dustwatch.processing.drift import Drift
from dustwatch.processing.glass_map import DENSITY_STEP_D, GlassMap, MapWindow
from dustwatch.processing.learn import (
    MOST_FRAMES,
    LearnParams,
    Witness,
    lay,
    learn,
)
from dustwatch.processing.observe import observe
from dustwatch.processing.particles import LifeParams
from dustwatch.processing.placement import Placement
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import EXACTLY, ResidualParams, decode, encode
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams, SimulatedFrame
from dustwatch.processing.strips import Tile, tiles

PARAMS = LearnParams()
SIZE = (480, 360)
SMALL = Patch((0, 0), 96, 128)
ROLL = RollParams(frames=8, height=480, width=360, particles=30, turnover=0.0, specks=3, seed=5)


def witness(path: Path, scan: np.ndarray, offset: tuple[float, float], scene: int) -> Witness:
    """What a frame leaves behind, by way of a real file."""
    tifffile.imwrite(path.with_suffix(".tif"), scan, photometric="rgb" if scan.ndim == 3 else "minisblack")
    seen = observe(probe(path.with_suffix(".tif")), Tone(), ResidualParams(), path, 1)
    return Witness(seen.codes, Placement(offset), scene)


def cells(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(tuple(-(-n // CELL_PX) for n in shape), np.bool_)


def learnt(
    witnesses: Sequence[Witness],
    folder: Path,
    *,
    threads: int = 2,
    fixed: np.ndarray | None = None,
    params: LearnParams = PARAMS,
) -> GlassMap:
    codes = witnesses[0].codes
    fixed = cells((codes.height, codes.width)) if fixed is None else fixed
    folder.mkdir(exist_ok=True)
    patch = Patch((0, 0), codes.height, codes.width)
    return learn(witnesses, patch, fixed, params, folder, threads, lambda _: lambda: None)


def whole(glass: GlassMap) -> MapWindow:
    shape = glass.patch.height, glass.patch.width
    nothing = (np.zeros(shape, kind) for kind in (np.int16, np.uint16, np.uint32))
    return glass.window(0, 0, shape) or MapWindow(*nothing)


@dataclass(frozen=True)
class Simulated:
    frames: list[SimulatedFrame]
    witnesses: list[Witness]
    map: GlassMap


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("roll")
    roll = Roll(ROLL, landscape(3))
    frames = [roll.frame(k) for k in range(len(roll))]
    witnesses = [witness(folder / str(k), frame.scan, frame.offset_px, k) for k, frame in enumerate(frames)]
    return Simulated(frames, witnesses, learnt(witnesses, folder / "map"))


def on_the_glass(frame: SimulatedFrame) -> np.ndarray:
    """The true density of the dirt, moved from the frame onto the grid of the map."""
    return np.asarray(ndimage.shift(frame.glass, -np.array(frame.offset_px), order=5))


def test_the_density_is_recovered(simulated: Simulated) -> None:
    """To .025 D in the mean square, .012 D in the mean; of dirt over .35 D next to nothing is missed."""
    truth = on_the_glass(simulated.frames[0])
    density = whole(simulated.map).density * DENSITY_STEP_D
    inside = np.pad(np.ones((SIZE[0] - 16, SIZE[1] - 16), np.bool_), 8)  # what every frame sees
    claimed = inside & (density > 0)
    assert claimed.sum() > 2000
    error = (density - truth)[claimed]
    assert np.sqrt((error**2).mean()) < 0.025
    assert abs(error.mean()) < 0.012
    assert (claimed[inside & (truth > 0.35)]).mean() > 0.97
    assert (density[truth < 0.002] > 0.01).mean() < 0.001


def test_dirt_that_lasts_is_there_in_all_frames(simulated: Simulated) -> None:
    lives = whole(simulated.map).lives
    strong = (on_the_glass(simulated.frames[0]) > 0.1) & (lives > 0)
    assert (lives[strong] == 0b1111_1111).mean() > 0.95


def test_the_map_is_empty_where_there_is_no_dirt(simulated: Simulated) -> None:
    found = whole(simulated.map)
    density, doubt, lives = found.density, found.doubt, found.lives
    assert simulated.map.dirty_px == np.count_nonzero(lives)
    assert not density[lives == 0].any()
    assert not doubt[lives == 0].any()
    assert (doubt[lives > 0] > 0).all()
    assert (lives < 1 << len(simulated.frames)).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_leave_no_trace(simulated: Simulated, tmp_path: Path, threads: int) -> None:
    again = learnt(simulated.witnesses, tmp_path, threads=threads)
    assert again.path.read_bytes() == simulated.map.path.read_bytes()


def test_nothing_is_learnt_in_fixed_cells(simulated: Simulated, tmp_path: Path) -> None:
    fixed = cells(SIZE)
    fixed[:, :6] = True
    density = whole(learnt(simulated.witnesses, tmp_path, fixed=fixed)).density
    assert not density[:, : 6 * CELL_PX].any()
    assert density[:, 6 * CELL_PX :].any()


def test_one_scene_alone_teaches_nothing(simulated: Simulated, tmp_path: Path) -> None:
    same = [replace(one, scene=0) for one in simulated.witnesses]
    assert learnt(same, tmp_path).dirty_px == 0


def test_clean_glass_gives_an_empty_map(tmp_path: Path) -> None:
    params = RollParams(frames=6, height=300, width=300, particles=0, specks=12, seed=2)
    roll = Roll(params, landscape(8))
    frames = [roll.frame(k) for k in range(len(roll))]
    witnesses = [witness(tmp_path / str(k), frame.scan, frame.offset_px, k) for k, frame in enumerate(frames)]
    found = learnt(witnesses, tmp_path / "map")
    assert found.dirty_px == 0
    assert found.window(0, 0, (300, 300)) is None


def imagined(
    folder: Path, there: Sequence[bool], shape: tuple[int, int] = (96, 128), depth: float = 0.3
) -> list[Witness]:
    """Grainy frames with two spots, `depth` D: the left one always, the right one in the frames where it is `there`."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: shape[0], : shape[1]]
    always, sometimes = (depth * np.exp(-((y - 48) ** 2 + (x - left) ** 2) / (2 * 2.5**2)) for left in (32, 96))
    found = []
    for k, shown in enumerate(there):
        film = 0.5 + ndimage.gaussian_filter(rng.normal(0, 0.03, shape), 0.7)
        scan = np.rint(65535 * 10 ** -(film + always + shown * sometimes)).astype(np.uint16)
        found.append(witness(folder / str(k), scan, (0.0, 0.0), k))
    return found


def test_a_life_has_a_bit_for_every_frame(tmp_path: Path) -> None:
    found = learnt(imagined(tmp_path, [False] * 20 + [True] * 12), tmp_path / "map")
    lives = whole(found).lives
    assert lives[48, 32] == 2**32 - 1
    assert lives[48, 96] == 2**32 - 2**20
    density = whole(found).density[48, [32, 96]] * DENSITY_STEP_D
    np.testing.assert_allclose(density, 0.3, atol=0.03)


def test_what_fell_late_is_found_among_the_frames_in_which_it_lay(tmp_path: Path) -> None:
    witnesses = imagined(tmp_path, [False] * 29 + [True] * 3, depth=0.1)
    assert whole(learnt(witnesses, tmp_path / "map")).lives[48, 96] == 7 << 29
    all_or_none = replace(PARAMS, evidence=replace(PARAMS.evidence, run_surplus=20.0))
    assert whole(learnt(witnesses, tmp_path / "map", params=all_or_none)).lives[48, 96] == 0


def test_what_only_one_frame_shows_is_left_alone(tmp_path: Path) -> None:
    lives = whole(learnt(imagined(tmp_path, [False] * 3 + [True] + [False] * 4), tmp_path / "map")).lives
    assert lives[48, 32] == 255
    assert lives[48, 96] == 0


@pytest.mark.parametrize(("fewest", "learnt_bits"), [(6, 0b0011_1111), (7, 0)])
def test_what_too_few_frames_show_is_left_alone(tmp_path: Path, fewest: int, learnt_bits: int) -> None:
    params = LearnParams(lives=LifeParams(fewest_scenes=fewest))
    lives = whole(learnt(imagined(tmp_path, [True] * 6 + [False] * 2), tmp_path / "map", params=params)).lives
    assert lives[48, 32] == 255
    assert lives[48, 96] == learnt_bits


@pytest.mark.parametrize("count", [0, 1, MOST_FRAMES + 1])
def test_too_few_and_too_many_frames_are_refused(tmp_path: Path, count: int) -> None:
    witnesses = imagined(tmp_path, [True]) * count
    with pytest.raises(ValueError, match=f"from 2 to 32 frames, not {count}"):
        learn(witnesses, SMALL, cells((96, 128)), PARAMS, tmp_path, 1, lambda _: lambda: None)


def test_steps_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE_PX", (64, 64))
    steps: list[int] = []
    done: list[None] = []

    def begun(count: int) -> Callable[[], None]:
        steps.append(count)
        return lambda: done.append(None)

    learn(imagined(tmp_path, [True] * 2), SMALL, cells((96, 128)), PARAMS, tmp_path, 2, begun)
    assert steps == [len(done)] == [4]


def test_no_file_stays_open(tmp_path: Path) -> None:
    witnesses = imagined(tmp_path, [True] * 3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    learnt(witnesses, tmp_path / "map")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def shown(witness: Witness, tile: Tile, corner: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """What a frame shows all over a tile of the map, in D, and where that is known."""
    rows, columns = (axis.ravel() for axis in np.indices(tile.shape))
    values, seen = lay(witness, tile, corner).at(rows, columns)
    return values.reshape(tile.shape), seen.reshape(tile.shape)


@pytest.mark.parametrize("offset", [(0, 0), (3, -2), (-7, 40), (300, 0)])
def test_frames_are_laid_over_the_map(tmp_path: Path, offset: tuple[int, int]) -> None:
    codes = PlaneFile(tmp_path / "codes", 96, 128, np.dtype(np.int8))
    codes.create()
    codes.write(0, 0, np.random.default_rng(0).integers(-127, 128, (96, 128)))
    (tile,) = tiles(96, 128, size=128, halo=0)
    found, sure = shown(Witness(codes, Placement((float(offset[0]), float(offset[1]))), 0), tile)
    there = tuple(slice(400 + shift, 400 + shift + n) for shift, n in zip(offset, (96, 128), strict=True))
    np.testing.assert_allclose(found, np.pad(decode(codes.read(0, 96, 0, 128))[0], 400)[there], atol=1e-6)
    # Interpolation asks two pixels before and three behind.
    np.testing.assert_array_equal(sure, np.pad(np.ones((91, 123), np.bool_), ((402, 403), (402, 403)))[there])


def test_between_pixels_a_frame_is_interpolated(tmp_path: Path) -> None:
    (one,) = imagined(tmp_path, [True])
    (tile,) = tiles(96, 128, size=128, halo=0)
    whole_px = shown(one, tile)[0]
    half_px = shown(Witness(one.codes, Placement((0.0, 0.5)), 0), tile)[0]
    spot = (slice(44, 53), slice(28, 37))
    expected = ndimage.shift(whole_px, (0, -0.5), order=5)
    np.testing.assert_allclose(half_px[spot], expected[spot], atol=0.006)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_frame_that_drifts_is_bent_straight_and_without_seams(tmp_path: Path, axis: int) -> None:
    """A picture that is a straight line at any place, so what was seen can be told wherever it was taken from."""
    slope, size = np.array([0.004, 0.003]), (96, 128)
    codes = PlaneFile(tmp_path / "codes", *size, np.dtype(np.int8))
    codes.create()
    line = np.moveaxis(np.indices(size), 0, 2) @ slope - 0.35
    codes.write(0, 0, encode(line.astype(np.float32), np.full(size, EXACTLY), np.zeros_like(line, np.float32), 0))
    coefficients = np.random.default_rng(1).normal(0, 1.5, (15, 2))
    drift = Drift(axis, 0.0, float(size[axis]), tuple(map(tuple, coefficients.tolist())))
    one = Witness(codes, Placement((0.3, -0.6)), 0, drift=drift)
    (tile,) = tiles(*size, size=128, halo=0)
    found, sure = shown(one, tile, (2, 3))
    places = np.moveaxis(np.indices(size), 0, 2) + np.array([2, 3])
    drifts = drift.at(places[..., axis].ravel()).reshape(*size, 2)
    expected = (places + np.array([0.3, -0.6]) + drifts) @ slope - 0.35
    inner = np.s_[12:-12, 12:-12]
    assert sure[inner].all()
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.01)
    for part in tiles(*size, size=40, halo=0):
        window = slice(part.rows.low, part.rows.high), slice(part.columns.low, part.columns.high)
        np.testing.assert_allclose(shown(one, part, (2, 3))[0], found[window], atol=1e-6)
