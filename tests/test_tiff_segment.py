"""One segment decoded and encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from dustwatch.processing import tiff_layout, tiff_segment
from dustwatch.processing.raster import DamagedImage, probe
from tests.tiffs import changed, check, picture, read_all, set_value, spoil, strips, with_directory_last, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small strips count as large ones."""
    monkeypatch.setattr(tiff_layout, "STREAMED_BYTES", 10_000)
    monkeypatch.setattr(tiff_segment, "PIECE_BYTES", 5_000)


@pytest.mark.usefixtures("little_memory")
def test_a_large_deflate_strip_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    before = picture(200, 90, 3, "uint16")
    write(path, before, compression="deflate", predictor=True, rowsperstrip=150)
    with_directory_last(path)
    assert tiff_layout.read_layout(path).streamed
    np.testing.assert_array_equal(read_all(probe(path)), before)
    out = check(path, changed(before, [160]), before)
    assert strips(out)[0] == strips(path)[0]

    spoil(path, 0)
    with pytest.raises(DamagedImage, match=r"strip 1 of 2 \(rows 0-149\)"):
        read_all(probe(path))


@pytest.mark.usefixtures("little_memory")
def test_large_deflate_strips_of_planes_are_streamed_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    before = picture(200, 90, 4, "uint16")
    write(path, before, compression="deflate", predictor=True, rowsperstrip=150, planarconfig="separate")
    assert tiff_layout.read_layout(path).streamed
    np.testing.assert_array_equal(read_all(probe(path)), before)
    out = check(path, changed(before, [20], samples=np.s_[1:3]), before)
    assert [one != other for one, other in zip(strips(out), strips(path), strict=True)] == [
        *(False, False),
        *(True, False),
        *(True, False),
        *(False, False),
    ]
    spoil(path, 2)
    with pytest.raises(DamagedImage, match=r"strip 3 of 8 \(rows 0-149\)"):
        read_all(probe(path))


@pytest.mark.usefixtures("little_memory")
def test_the_checksum_of_a_streamed_plane_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(200, 90, 3, "uint16"), compression="deflate", rowsperstrip=200, planarconfig="separate")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        last = page.dataoffsets[2] + page.databytecounts[2] - 1
    data = bytearray(path.read_bytes())
    data[last] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match="strip 3 of 3"):
        read_all(probe(path))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_spoilt_strip_is_named(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression="deflate", rowsperstrip=8)
    spoil(path, 3)
    with pytest.raises(DamagedImage, match=r"strip 4 of 8 \(rows 24-31\)"):
        read_all(probe(path), threads)


def test_a_spoilt_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression="deflate", tile=(32, 32))
    spoil(path, 3)
    with pytest.raises(DamagedImage, match=r"tile 4 of 4 \(rows 32-63, columns 32-49\) cannot be decoded"):
        read_all(probe(path))


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
def test_a_strip_that_ends_early_is_named(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(64, 50, 3, "uint16"), compression=compression, rowsperstrip=8)
    set_value(path, 279, len(strips(path)[1]) // 2, 1)
    with pytest.raises(DamagedImage, match=r"strip 2 of 8 \(rows 8-15\)"):
        read_all(probe(path))


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
def test_a_tile_that_holds_too_few_rows_is_named(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "in.tif"
    write(path, picture(32, 32, 3, "uint8"), compression=compression, tile=(32, 32))
    set_value(path, 323, 48)
    with pytest.raises(DamagedImage, match="tile 1 of 1"):
        read_all(probe(path))
