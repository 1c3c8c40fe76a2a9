"""TIFFs written while their rows come, read by others and by us."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.image import DamagedImage
from dustwatch.processing.raster import probe
from dustwatch.processing.tiff import pieces
from dustwatch.processing.tiff import probe as probe_tiff
from dustwatch.processing.tiff_stream import IMAGE_DESCRIPTION, MODEL, X_RESOLUTION, StreamedTiff, Tag

TAGS: dict[int, Tag] = {IMAGE_DESCRIPTION: '{"slot": "1"}', MODEL: "X", X_RESOLUTION: Fraction(4800)}


def picture(height: int, width: int, samples: int, depth: int, seed: int = 1) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 1 << depth, (height, width, samples)).astype(f"u{depth // 8}")


def stream(file: Path, scan: npt.NDArray[np.uint16], colours: int, block: int) -> None:
    tiff = StreamedTiff(file, scan.shape[1], scan.shape[2], scan.dtype)
    for top in range(0, len(scan), block):
        tiff.put(top, 0, scan[top : top + block])
    tiff.finish(len(scan), colours, TAGS)
    tiff.close()


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 20),
    kind=st.sampled_from([(1, 1), (2, 1), (3, 3), (4, 3)]),
    depth=st.sampled_from([8, 16]),
    block=st.integers(1, 31),
)
def test_what_is_put_in_is_read_by_others_and_by_us(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, kind: tuple[int, int], depth: int, block: int
) -> None:
    file = tmp_path_factory.mktemp("streamed") / "scan.tif"
    samples, colours = kind
    scan = picture(height, width, samples, depth)
    stream(file, scan, colours, block)
    np.testing.assert_array_equal(tifffile.imread(file).reshape(scan.shape), scan)
    info = probe_tiff(file)
    assert (info.height, info.width, info.samples, info.colours) == (height, width, samples, colours)
    np.testing.assert_array_equal(np.concatenate(list(pieces(info, 1))), scan)
    with tifffile.TiffFile(file) as tiff:
        tags = tiff.pages.first.tags
        assert tags[IMAGE_DESCRIPTION].value == TAGS[IMAGE_DESCRIPTION]
        assert (tags[MODEL].value, tags[X_RESOLUTION].value) == ("X", (4800, 1))
        assert (tags["ExtraSamples"].value if samples > colours else ()) == (0,) * (samples - colours)


def test_samples_may_come_apart_and_in_any_order(tmp_path: Path) -> None:
    file, scan = tmp_path / "scan.tif", picture(20, 7, 4, 16)
    tiff = StreamedTiff(file, 7, 4, scan.dtype)
    for first, samples, tops in ((3, 1, (12, 0)), (0, 3, (0, 12))):
        for top in tops:
            tiff.put(top, first, scan[top : (20, 12)[top == 0], :, first : first + samples])
    tiff.finish(20, 3, {})
    tiff.close()
    np.testing.assert_array_equal(tifffile.imread(file), scan)


def test_a_file_that_is_not_finished_is_no_picture_and_holds_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    stream(file, picture(50, 50, 3, 16), 3, 50)
    tiff = StreamedTiff(file, 9, 3, np.dtype(np.uint16))
    tiff.put(0, 0, picture(4, 9, 3, 16))
    tiff.close()
    with pytest.raises(DamagedImage):
        probe_tiff(file)


def test_rows_beyond_the_height_are_cut_off(tmp_path: Path) -> None:
    file, scan = tmp_path / "scan.tif", picture(10, 9, 3, 8)
    tiff = StreamedTiff(file, 9, 3, scan.dtype)
    tiff.put(0, 0, scan)
    tiff.finish(6, 3, {})
    tiff.close()
    np.testing.assert_array_equal(tifffile.imread(file), scan[:6])


def test_a_scan_of_more_than_4_gib_is_a_bigtiff_and_a_smaller_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    row = picture(1, 40_000, 4, 16)
    for height, big in ((13_400, False), (13_430, True)):
        tiff = StreamedTiff(file, 40_000, 4, row.dtype)
        tiff.put(height - 1, 0, row)  # what is above takes no room on the disk
        tiff.finish(height, 3, TAGS)
        tiff.close()
        with tifffile.TiffFile(file) as read:
            assert read.is_bigtiff == big
            page = read.pages.first
            assert page.shape == (height, 40_000, 4)
            np.testing.assert_array_equal(page.asarray(out="memmap")[-1], row[0])
        assert probe(file).samples == 4
        assert file.stat().st_blocks * 512 < 1 << 20
