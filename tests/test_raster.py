from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dustwatch.processing.raster import (
    Band,
    DamagedImage,
    ImageError,
    UnsupportedImage,
    open_rows,
    probe,
    rewrite,
    write_mask,
    write_png,
)

if TYPE_CHECKING:
    from pathlib import Path


def picture(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(height)
    return random.integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path: Path, image: np.ndarray, kind: str) -> Path:
    if kind == "tiff":
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=7, compression="lzw", metadata=None)
    else:
        Image.fromarray(image).save(path, kind)
    return path


@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg"])
def test_the_content_says_what_a_file_is(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "scan.dat", picture(20, 30), kind)
    assert probe(path).format == kind


@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg"])
@pytest.mark.parametrize("name", [b"fr\xe4me", b"frame[2]", b"frame.jpg[shrink=2]", b"frame[", b"%d"])
def test_a_file_may_have_any_name(tmp_path: Path, kind: str, name: bytes) -> None:
    image = picture(20, 30)
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(save(tmp_path / "in", image, kind).read_bytes())
    with open_rows(probe(path)) as rows, open_rows(probe(tmp_path / "in")) as others:
        np.testing.assert_array_equal(rows.read(0, 20), others.read(0, 20))
    rewrite(probe(path), tmp_path / "out", [Band(0, image, np.ones(20, bool))])
    assert probe(tmp_path / "out").height == 20


@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg"])
@settings(max_examples=15)
@given(data=st.data())
def test_windows_that_overlap_and_skip(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = save(tmp_path_factory.mktemp("raster") / "in", picture(50, 8), kind)
    info = probe(path)
    with open_rows(info) as rows:
        whole = rows.read(0, 50)
    start = stop = 0
    with open_rows(info, 2) as rows:
        for _ in range(8):
            stop = data.draw(st.integers(max(stop, start + 1), 50))
            np.testing.assert_array_equal(rows.read(start, stop), whole[start:stop])
            start = data.draw(st.integers(start, 49))


def test_a_window_is_its_owners(tmp_path: Path) -> None:
    path = save(tmp_path / "in", picture(20, 30), "tiff")
    with open_rows(probe(path)) as rows:
        rows.read(0, 10)[:] = 7
        np.testing.assert_array_equal(rows.read(0, 10), picture(20, 30)[:10])


@pytest.mark.parametrize(("start", "stop"), [(4, 9), (5, 9), (6, 6), (5, 21), (-1, 12)])
def test_windows_that_move_up_or_out_are_refused(tmp_path: Path, start: int, stop: int) -> None:
    path = save(tmp_path / "in", picture(20, 30), "tiff")
    with open_rows(probe(path)) as rows:
        rows.read(5, 10)
        with pytest.raises(ValueError, match="asked for"):
            rows.read(start, stop)


@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg"])
@pytest.mark.parametrize("fault", ["short", "long", "gap", "dtype", "width", "flags"])
def test_bands_that_do_not_fit_are_refused(tmp_path: Path, kind: str, fault: str) -> None:
    image = picture(20, 30)
    info = probe(save(tmp_path / "in", image, kind))
    flags = np.ones(10, bool)
    good = [Band(0, image[:10], flags), Band(10, image[10:], flags)]
    bands = {
        "short": good[:1],
        "long": [*good, Band(20, image[:10], flags)],
        "gap": [good[0], Band(11, image[10:], flags)],
        "dtype": [good[0], Band(10, image[10:].astype(np.uint16), flags)],
        "width": [good[0], Band(10, image[10:, 1:], flags)],
        "flags": [good[0], Band(10, image[10:], flags[1:])],
    }[fault]
    with pytest.raises(ValueError, match="band"):
        rewrite(info, tmp_path / "out", bands)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_file_written_anew_is_read_anew(tmp_path: Path, kind: str) -> None:
    for value in (10, 200):
        path = save(tmp_path / "in", np.full((20, 30, 3), value, np.uint8), kind)
        with open_rows(probe(path)) as rows:
            assert abs(int(rows.read(0, 20).mean()) - value) <= 1


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_file_replaced_after_probing_is_noticed(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "in", picture(20, 30), kind)
    info = probe(path)
    save(path, picture(20, 31), kind)
    with pytest.raises(DamagedImage, match="replaced"), open_rows(info) as rows:
        rows.read(0, 20)
    with pytest.raises(DamagedImage, match="replaced"):
        rewrite(info, tmp_path / "out", [Band(0, picture(20, 30), np.ones(20, bool))])


@pytest.mark.parametrize(
    "content",
    [b"", b"a", b"This is a note, not a scan.\n" * 40, b"II*\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"],
)
def test_what_is_no_picture_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(content)
    with pytest.raises(DamagedImage) as caught:
        probe(path)
    assert str(path) not in str(caught.value)
    assert ";" in str(caught.value)  # what is wrong; what to do


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(UnsupportedImage, match="regular"):
            probe(path)
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "none")
    assert issubclass(UnsupportedImage, ImageError)


def test_a_mask_is_written_band_by_band(tmp_path: Path) -> None:
    mask = (np.random.default_rng(1).random((100, 70)) < 0.1).astype(np.uint8) * 255
    path = tmp_path / "mask.png"
    with write_mask(path, 100, 70) as write:
        for start in range(0, 100, 9):
            write(mask[start : start + 9])
    with Image.open(path) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), mask)
    with pytest.raises(ValueError, match="row 90 of 100"), write_mask(path, 100, 70) as write:
        write(mask[:90])
    for misfit in (mask[:, :69], np.zeros((101, 70), np.uint8)):
        with pytest.raises(ValueError, match="after row 0 of a mask of 100 x 70"), write_mask(path, 100, 70) as write:
            write(misfit)


def test_how_a_mask_comes_makes_no_difference_to_its_file(tmp_path: Path) -> None:
    """Of noise, so that it is of several chunks."""
    mask = np.random.default_rng(1).integers(0, 256, (1000, 700)).astype(np.uint8)
    files = []
    for rows in (1, 17, 1000):
        path = tmp_path / str(rows)
        with write_mask(path, *mask.shape) as write:
            for start in range(0, len(mask), rows):
                write(mask[start : start + rows])
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), mask)


@pytest.mark.parametrize("shape", [(1, 1), (30, 40), (30, 40, 3)])
def test_a_preview_is_written_as_it_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / "preview.png"
    write_png(path, image)
    with Image.open(path) as read:
        np.testing.assert_array_equal(np.asarray(read), image)
