"""Pass 2 over real files, with a map of the glass that is known exactly."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from dustwatch.processing import clean as module
from dustwatch.processing.cells import Patch
from dustwatch.processing.clean import (
    APART_PX,
    CleanReport,
    Dirty,
    FrameDirt,
    RepairParams,
    clean,
    dirt_in_frame,
    reaching_in,
)
from dustwatch.processing.density import Tone, density_table
from dustwatch.processing.drift import STEADY, Drift
from dustwatch.processing.glass_map import DENSITY_STEP_D, GlassMap, MapDraft, MapWindow
from dustwatch.processing.image import DamagedImage
from dustwatch.processing.observe import observe
from dustwatch.processing.placement import Placement, turned, upright_size
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.raster import probe
from dustwatch.processing.register import BEFORE_PX, LANCZOS, MARGIN_PX, resample, split
from dustwatch.processing.residual import ResidualParams
from dustwatch.processing.strips import Span, spans

SHAPE = (230, 300)
SPOTS = [(40.0, 40.0, 0.6), (100.0, 256.0, 0.3), (128.0, 120.0, 0.05), (190.0, 3.0, 0.4), (60.0, 150.0, 0.8)]
WITNESS = 5
LINEAR = Tone()
PARAMS = RepairParams()


def dirt(offset: tuple[float, float] = (0.0, 0.0), spots: list[tuple[float, float, float]] = SPOTS) -> np.ndarray:
    """Density in D of Gaussian spots of (row, column, peak); sigma 2 px, cut off where it ends on the map too."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    total = np.zeros(SHAPE)
    for row, column, peak in spots:
        apart = (y - row - offset[0]) ** 2 + (x - column - offset[1]) ** 2
        total += peak * np.exp(-apart / (2 * 2.0**2))
    return total


def film(kind: type = np.uint16, samples: int = 3) -> np.ndarray:
    """Share of full scale: a slope with a little grain, another in each channel; never clipped."""
    rng = np.random.default_rng(6)
    slope = np.linspace(0.3, 0.8, SHAPE[1])[:, None] * np.linspace(1.0, 0.7, samples)
    grainy = slope * rng.normal(1, 0.004, (*SHAPE, samples))
    return np.rint(grainy * np.iinfo(kind).max).astype(kind)


def behind(picture: np.ndarray, glass: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """The colours of a picture seen through the glass; a fourth sample is not of light and stays."""
    seen = picture.copy()
    light = picture[..., :3] * 10 ** (-sign * glass[..., None])
    seen[..., :3] = np.rint(light.clip(0, np.iinfo(picture.dtype).max))
    return seen


def known_glass(folder: Path, density: np.ndarray, lives: int = 1 << WITNESS, doubt_d: float = 1e-4) -> GlassMap:
    there = density >= 3 * DENSITY_STEP_D
    values = {
        "density": np.where(there, np.rint(density / DENSITY_STEP_D), 0).astype(np.int16),
        "doubt": np.where(there, round(doubt_d / DENSITY_STEP_D), 0).astype(np.uint16),
        "lives": np.where(there, lives, 0).astype(np.uint32),
    }
    with MapDraft(folder / "map", Patch((0, 0), *SHAPE)) as draft:
        draft.add(0, 0, MapWindow(**values))
        return draft.finish()


@dataclass(frozen=True)
class Cleaned:
    scan: np.ndarray
    picture: np.ndarray
    mask: np.ndarray
    report: CleanReport
    files: tuple[bytes, bytes]


def cleaned(
    folder: Path,
    scan: np.ndarray,
    glass: GlassMap,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    tone: Tone = LINEAR,
    params: RepairParams = PARAMS,
    threads: int = 2,
) -> Cleaned:
    source = folder / "scan.tif"
    stored = scan[..., 0] if scan.shape[2] == 1 else scan
    extra = {"extrasamples": ["unspecified"]} if scan.shape[2] == 4 else {}
    photometric = "minisblack" if scan.shape[2] == 1 else "rgb"
    tifffile.imwrite(source, stored, photometric=photometric, rowsperstrip=7, **extra)
    info = probe(source)
    seen = observe(info, tone, ResidualParams(), folder / "codes", 1)
    what = FrameDirt(glass, seen.codes, WITNESS, Placement(offset))
    target, mask = folder / "clean.tif", folder / "mask.png"
    shares: list[float] = []
    report = clean(info, what, tone, ResidualParams(), params, target, mask, threads, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    picture = tifffile.imread(target).reshape(scan.shape)
    with Image.open(mask) as opened:
        marked = np.asarray(opened)
    return Cleaned(scan, picture, marked, report, (target.read_bytes(), mask.read_bytes()))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_what_is_not_in_the_mask_is_untouched(tmp_path: Path, kind: type, samples: int) -> None:
    scan = behind(film(kind, samples), dirt())
    found = cleaned(tmp_path, scan, known_glass(tmp_path, dirt()))
    changed = (found.picture != scan).any(axis=2)
    assert set(np.unique(found.mask)) == {0, 255}
    np.testing.assert_array_equal(found.mask == 255, changed)
    assert not changed[dirt() < 0.001].any()
    assert changed[dirt() > 0.05].mean() > 0.99
    assert found.report.changed_px == changed.sum()
    np.testing.assert_array_equal(found.picture[..., 3:], scan[..., 3:])


@pytest.mark.parametrize("dirt_does", ["darkens", "brightens"])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (2.0, -3.0), (0.4, -1.7)])
def test_the_film_beneath_comes_back(tmp_path: Path, dirt_does: str, offset: tuple[float, float]) -> None:
    """To .004 D everywhere and with its own grain, from dirt of up to .8 D."""
    tone = Tone(dirt="darkens" if dirt_does == "darkens" else "brightens")
    truth = film() // 4 if dirt_does == "brightens" else film()
    scan = behind(truth, dirt(offset), tone.sign)
    assert ((scan > 0) & (scan < 65535)).all()
    noiseless = RepairParams(min_density_d=0.003, scanner_noise=1e-4)
    found = cleaned(tmp_path, scan, known_glass(tmp_path, dirt()), offset=offset, tone=tone, params=noiseless)
    table = density_table(tone, 65535)
    before, after = (np.abs(table[some] - table[truth]) for some in (scan, found.picture))
    assert before.max() > 0.7
    assert after.max() < 0.004
    assert {defect.repair for defect in found.report.defects} == {"divided"}


def test_where_no_light_came_through_the_hole_is_filled(tmp_path: Path) -> None:
    glass = dirt(spots=[(100.0, 100.0, 5.0), (40.0, 200.0, 0.2)])
    glass = np.minimum(glass, 3.2)
    truth = film(np.uint8)
    found = cleaned(tmp_path, behind(truth, glass), known_glass(tmp_path, glass))
    core = glass > 2.5
    assert not found.scan[core].any()
    np.testing.assert_allclose(np.log10(found.picture[core] / truth[core]), 0, atol=0.03)
    faint, deep = sorted(found.report.defects, key=lambda defect: defect.peak_density)
    assert (faint.repair, deep.repair) == ("divided", "both")


def test_clipped_light_is_filled_whatever_the_map_says(tmp_path: Path) -> None:
    glass = dirt(spots=[(100.0, 100.0, 0.1)])
    scan = behind(film(), glass)
    scan[97:104, 97:104] = 65535
    found = cleaned(
        tmp_path, scan, known_glass(tmp_path, glass), params=RepairParams(min_density_d=0.003, scanner_noise=0.0)
    )
    assert (found.picture[98:102, 98:102] < 60000).all()


def test_a_doubtful_map_is_not_divided_by(tmp_path: Path) -> None:
    glass = dirt(spots=[(100.0, 100.0, 0.3)])
    found = cleaned(tmp_path, behind(film(), glass), known_glass(tmp_path, 2 * glass, doubt_d=0.3))
    (defect,) = found.report.defects
    assert defect.repair == "filled"
    ratio = np.log10(found.picture / film().astype(float))
    assert np.abs(ratio[glass > 0.01]).max() < 0.02


def test_dirt_that_is_not_there_in_this_frame_is_left_alone(tmp_path: Path) -> None:
    scan = behind(film(), dirt())
    others = (1 << 32) - 1 - (1 << WITNESS)
    found = cleaned(tmp_path, scan, known_glass(tmp_path, dirt(), lives=others))
    np.testing.assert_array_equal(found.picture, scan)
    assert found.report == CleanReport(())
    assert not found.mask.any()


def test_faint_dirt_is_left_alone(tmp_path: Path) -> None:
    scan = behind(film(), dirt())
    found = cleaned(tmp_path, scan, known_glass(tmp_path, dirt()), params=RepairParams(min_density_d=0.1))
    assert (dirt()[found.mask > 0] > 0.099).all()
    assert not found.mask[123:134, 115:126].any()


def test_the_report_lists_what_the_mask_shows(tmp_path: Path) -> None:
    found = cleaned(tmp_path, behind(film(), dirt()), known_glass(tmp_path, dirt()))
    labels, count = ndimage.label(found.mask, np.ones((3, 3)))
    boxes = [(r.start, c.start, r.stop, c.stop) for r, c in ndimage.find_objects(labels)]
    assert sorted(defect.bbox for defect in found.report.defects) == sorted(boxes)
    assert sum(defect.area_px for defect in found.report.defects) == found.report.changed_px
    peaks = sorted(defect.peak_density for defect in found.report.defects if defect.area_px > 20)
    np.testing.assert_allclose(peaks, sorted(peak for *_, peak in SPOTS), atol=0.002)
    assert count >= len(SPOTS)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("band_bytes", [1, 1_500_000, 1 << 30])
def test_neither_threads_nor_bands_nor_tiles_leave_a_trace(
    tmp_path: Path, threads: int, band_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, glass = behind(film(), dirt((0.3, 0.6))), known_glass(tmp_path, dirt())
    expected = cleaned(tmp_path, scan, glass, offset=(0.3, 0.6), threads=1)
    monkeypatch.setattr(module, "_BAND_BYTES", band_bytes)
    monkeypatch.setattr(module, "_TILE_PX", 96 if band_bytes < 1 << 20 else 2048)
    again = cleaned(tmp_path, scan, glass, offset=(0.3, 0.6), threads=threads)
    assert again.files == expected.files
    assert again.report == expected.report


def test_no_file_stays_open_and_no_scratch_file_behind(tmp_path: Path) -> None:
    scan, glass = behind(film(), dirt()), known_glass(tmp_path, dirt())
    cleaned(tmp_path, scan, glass)
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = {path.name for path in tmp_path.iterdir()}
    cleaned(tmp_path, scan, glass)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert {path.name for path in tmp_path.iterdir()} == files
    assert files == {"scan.tif", "codes", "codes.fingerprint", "map", "clean.tif", "mask.png"}


def test_a_file_that_goes_bad_is_reported_and_no_scratch_file_stays(tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    tifffile.imwrite(source, behind(film(), dirt()), photometric="rgb", rowsperstrip=7)
    info = probe(source)
    seen = observe(info, LINEAR, ResidualParams(), tmp_path / "codes", 1)
    what = FrameDirt(known_glass(tmp_path, dirt()), seen.codes, WITNESS, (0.0, 0.0))
    with source.open("r+b") as opened:
        opened.truncate(source.stat().st_size // 2)
    target, mask = tmp_path / "clean.tif", tmp_path / "mask.png"
    with pytest.raises(DamagedImage):
        clean(info, what, LINEAR, ResidualParams(), RepairParams(), target, mask, 2)
    assert not list(tmp_path.glob("*.raw"))


def spread(found: Dirty, rows: Span) -> tuple[np.ndarray, np.ndarray]:
    """Density and doubt of dirt in rows of a frame."""
    density, doubt = np.zeros(SHAPE), np.zeros(SHAPE)
    density[tuple(found.pixels)] = found.density
    doubt[tuple(found.pixels)] = found.doubt
    assert not density[: rows.low].any()
    assert not density[rows.high :].any()
    return density[rows.low : rows.high], doubt[rows.low : rows.high]


def lies(glass: GlassMap, placement: Placement, drift: Drift = STEADY) -> FrameDirt:
    size = upright_size(placement.orientation, *SHAPE)
    return FrameDirt(glass, PlaneFile(Path("codes"), *size, np.dtype(np.int8)), WITNESS, placement, drift)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (5.0, -3.0), (0.5, 0.5), (-1.3, 20.2)])
@pytest.mark.parametrize("rows", [Span(0, 230, 0, 230), Span(32, 64, 20, 90)])
def test_the_dirt_in_a_frame_is_the_map_moved(tmp_path: Path, offset: tuple[float, float], rows: Span) -> None:
    found = dirt_in_frame(lies(known_glass(tmp_path, dirt()), Placement(offset)), rows, 0.0)
    density, _ = spread(found, rows)
    expected = dirt(offset)[rows.low : rows.high]
    # The spot at the left edge is only half on the map.
    np.testing.assert_allclose(density[:, 30:], expected[:, 30:], atol=0.005)
    assert (found.doubt >= np.float32(1e-4)).all()
    keys = found.pixels[0] * SHAPE[1] + found.pixels[1]
    assert (np.diff(keys) > 0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_it_is_resampled_as_planes_are(tmp_path: Path, axis: int) -> None:
    """Dense noise in all cells but some, moved and bent."""
    density = np.random.default_rng(3).uniform(0.01, 0.9, SHAPE)
    density[64:160, 96:192] = density[:40, 250:] = 0
    glass, offset = known_glass(tmp_path, density), (5.3, -2.6)
    coefficients = np.random.default_rng(1).normal(0, 1.5, (15, 2))
    drift = Drift(axis, 0.0, float(SHAPE[axis]), tuple(map(tuple, coefficients.tolist())))
    shifts = -np.array(offset) - drift.at(np.arange(SHAPE[axis]) - offset[axis])
    whole, beyond, more = split(shifts)
    shape = (SHAPE[0] + MARGIN_PX + more[0], SHAPE[1] + MARGIN_PX + more[1])
    window = glass.window(whole[0] - BEFORE_PX, whole[1] - BEFORE_PX, shape)
    assert window is not None
    steps = window.density.astype(np.float32)
    ought = resample(steps * np.float32(DENSITY_STEP_D), beyond, axis, LANCZOS)
    rows = Span(0, SHAPE[0], 0, SHAPE[0])
    found, _ = spread(dirt_in_frame(lies(glass, Placement(offset), drift), rows, 0.02), rows)
    np.testing.assert_allclose(found, np.where(np.abs(ought) >= 0.02, ought, 0), atol=2e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_the_frame_is(tmp_path: Path, orientation: int) -> None:
    glass = known_glass(tmp_path, dirt())
    upright = Span(0, SHAPE[0], 0, SHAPE[0])
    expected, _ = spread(dirt_in_frame(lies(glass, Placement()), upright, 0.01), upright)
    height, width = upright_size(orientation, *SHAPE)
    frame = lies(glass, Placement.of_upright((0.0, 0.0), orientation, height, width))
    density = np.zeros((height, width))
    for start in range(0, height, 64):
        stop = min(start + 64, height)
        some = dirt_in_frame(frame, Span(start, stop, start, stop), 0.01)
        density[tuple(some.pixels)] = some.density
    np.testing.assert_allclose(turned(density, orientation), expected, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_dirt_drifts_with_the_glass(tmp_path: Path, axis: int) -> None:
    swings = (((0.9, -0.6),) * 5 + ((-0.8, 0.7),) * 5) * 2
    drift = Drift(axis, 0.0, float(SHAPE[axis]), swings[:15])
    frame, rows = lies(known_glass(tmp_path, dirt()), Placement((5.3, -2.6)), drift), Span(0, SHAPE[0], 0, SHAPE[0])
    whole = dirt_in_frame(frame, rows, 0.0)
    found, _ = spread(whole, rows)
    y, x = np.indices(SHAPE) - np.reshape((5.3, -2.6), (2, 1, 1))
    drifts = drift.at((y, x)[axis].ravel()).reshape(*SHAPE, 2)
    expected = np.zeros(SHAPE)
    for row, column, peak in SPOTS:
        apart = (y - drifts[..., 0] - row) ** 2 + (x - drifts[..., 1] - column) ** 2
        expected += peak * np.exp(-apart / (2 * 2.0**2))
    np.testing.assert_allclose(found[:, 30:], expected[:, 30:], atol=0.005)
    assert np.abs(expected - dirt((5.3, -2.6)))[:, 30:].max() > 0.1
    for part in spans(SHAPE[0], 50, 0):
        band, _ = spread(dirt_in_frame(frame, part, 0.0), part)
        np.testing.assert_allclose(band, found[part.low : part.high], atol=1e-6)


def test_a_frame_without_dirt_has_none(tmp_path: Path) -> None:
    glass = known_glass(tmp_path, dirt(), lives=1)
    found = dirt_in_frame(lies(glass, Placement((0.3, 0.3))), Span(0, 230, 0, 230), 0.001)
    assert found.pixels.shape == (2, 0)
    assert len(found.density) == len(found.doubt) == 0


def linked(pixels: np.ndarray, some: np.ndarray, apart: int) -> np.ndarray:
    """Which pixels can be reached from some of them by steps of less than `apart` rows and columns."""
    steps = (np.abs(pixels[:, :, None] - pixels[:, None]) < apart).all(axis=0)
    reached = some
    while (more := reached | steps[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return reached


@given(count=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_spots_that_reach_in_are_filled_as_a_whole_and_others_are_not(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (90, 130)
    pixels = np.unique(rng.integers(0, shape, (count, 2)), axis=0).T
    inside = (pixels[0] >= 40) & (pixels[1] < 70)
    found = reaching_in(pixels, inside, shape)
    assert not (linked(pixels, inside, APART_PX) & ~found).any()
    assert not (found & ~linked(pixels, inside, 2 * APART_PX)).any()
