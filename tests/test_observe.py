"""Pass 1 over real files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dustwatch.processing import observe as module
from dustwatch.processing.cells import CELL_PX
from dustwatch.processing.density import Tone
from dustwatch.processing.image import DamagedImage
from dustwatch.processing.observe import Observation, observe
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import ResidualParams, background, block_means, encode, mean_density

PARAMS = ResidualParams()
TONE = Tone()


def picture(shape: tuple[int, ...] = (517, 203, 3), kind: type = np.uint16) -> np.ndarray:
    """Noise on a slope, with specks and a few clipped places."""
    rng = np.random.default_rng(3)
    slope = np.linspace(0.2, 0.6, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    light = slope * rng.uniform(0.95, 1.05, shape)
    for top, left in rng.integers(0, (shape[0] - 4, shape[1] - 4), (60, 2)):
        light[top : top + 3, left : left + 3] *= 0.7
    light[:5, :5] = 1
    light[100:103, 50:60] = 0
    return np.rint(light * np.iinfo(kind).max).astype(kind)


def seen(scan: np.ndarray, folder: Path, threads: int = 1) -> Observation:
    path = folder / "scan.tif"
    tifffile.imwrite(path, scan, rowsperstrip=16, photometric="rgb" if scan.ndim == 3 else "minisblack")
    return observe(probe(path), TONE, PARAMS, folder / "codes", threads)


def everything(of: Observation) -> list[object]:
    one = of.fingerprint
    parts = (one.dark, one.light, one.texture.values, one.film.values, one.relief.values)
    return [of.codes.path.read_bytes(), *(part.tobytes() for part in parts)]


@pytest.mark.parametrize(("shape", "colours"), [((517, 203), 1), ((517, 203, 3), 3), ((517, 203, 4), 3), ((1, 1), 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_it_is_what_the_whole_picture_at_once_gives(
    tmp_path: Path, shape: tuple[int, ...], colours: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BAND_BYTES", 1 << 18)
    scan = np.full(shape, 7, kind) if shape == (1, 1) else picture(shape, kind)
    found = seen(scan, tmp_path)
    whole = scan.reshape(*scan.shape[:2], -1)
    density, known = mean_density(whole, colours, TONE, np.iinfo(kind).max)
    blocks = background(block_means(density), PARAMS)
    height, width = scan.shape[:2]
    np.testing.assert_array_equal(found.codes.read(0, height, 0, width), encode(density, known, blocks))
    per_cell = CELL_PX // 4
    film = [
        [blocks[y : y + per_cell, x : x + per_cell].mean() for x in range(0, blocks.shape[1], per_cell)]
        for y in range(0, blocks.shape[0], per_cell)
    ]
    np.testing.assert_allclose(found.fingerprint.film.values, film, rtol=1e-5)
    assert (found.fingerprint.height, found.fingerprint.width) == (height, width)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("band_bytes", [1, 1 << 19, 1 << 30])
def test_neither_threads_nor_bands_leave_a_trace(
    tmp_path: Path, threads: int, band_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = picture()
    expected = everything(seen(scan, tmp_path))
    monkeypatch.setattr(module, "_BAND_BYTES", band_bytes)
    assert everything(seen(scan, tmp_path, threads)) == expected


def test_no_file_stays_open(tmp_path: Path) -> None:
    seen(picture(), tmp_path, 2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    seen(picture(), tmp_path, 2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_tells_how_much_of_a_large_picture_is_done(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, np.zeros((4000, 2000, 3), np.uint16), compression="zlib", photometric="rgb")
    shares: list[float] = []
    observe(probe(path), TONE, PARAMS, tmp_path / "codes", 2, shares.append)
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_file_that_does_not_decode_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, picture(), compression="zlib", photometric="rgb", rowsperstrip=16)
    with tifffile.TiffFile(path) as file:
        (first, *_), (count, *_) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    with path.open("r+b") as spoilt:
        spoilt.seek(first)
        spoilt.write(b"\xff" * count)
    with pytest.raises(DamagedImage):
        observe(probe(path), TONE, PARAMS, tmp_path / "codes", 2)
