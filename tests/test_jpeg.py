"""Files are written by Pillow; what comes out is decoded by Pillow and by libvips."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dustwatch.processing import jpeg
from dustwatch.processing.raster import (
    Band,
    DamagedImage,
    ImageInfo,
    UnsupportedImage,
    open_rows,
    probe,
    rewrite,
)

if TYPE_CHECKING:
    from pathlib import Path

EXIF = Image.Exif()
EXIF[0x0110] = "film scanner"
EXIF[0x0112] = 6
ICC = b"not much of a profile" * 10


def picture(height: int, width: int, samples: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / (7 + n)) + 60 * np.cos(y / (9 - n)) for n in range(samples)]
    return np.stack(waves, axis=2).clip(0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray, **options: object) -> None:
    options = {"quality": 92, "exif": EXIF, "icc_profile": ICC, "comment": b"a scan", **options}
    Image.fromarray(image if image.shape[2] > 1 else image[:, :, 0]).save(path, "JPEG", dpi=(3200, 3200), **options)


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def bands(image: np.ndarray, height: int) -> list[Band]:
    return [
        Band(start, image[start : start + height], np.ones(len(image[start : start + height]), bool))
        for start in range(0, len(image), height)
    ]


def read_all(info: ImageInfo, step: int = 13) -> np.ndarray:
    with open_rows(info) as rows:
        return np.concatenate(
            [rows.read(start, min(start + step, info.height)) for start in range(0, info.height, step)]
        )


def segments(path: Path) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return list(jpeg._segments(file))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(1, 1), (200, 150), (161, 97)])
def test_a_picture_comes_back_with_its_own_tables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    subsampling: str,
    progressive: bool,
) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    samples = 1 if subsampling == "grey" else 3
    write(
        path,
        picture(*size, samples),
        progressive=progressive,
        **({"subsampling": subsampling} if samples == 3 else {}),
    )
    info = probe(path)
    assert (info.format, info.height, info.width) == ("jpeg", *size)
    assert (info.samples, info.colours, info.dtype) == (samples, samples, np.dtype(np.uint8))
    before = read_all(info)
    np.testing.assert_array_equal(before, decoded(path))

    after = before.copy()
    after[40:60, 50:70] = 250
    monkeypatch.setattr(jpeg, "PIECE_BYTES", info.row_bytes * 40)  # several restart intervals
    written = set()
    for threads in (1, 3):
        rewrite(info, out, bands(after, 11), threads)
        written.add(out.read_bytes())
    assert len(written) == 1

    result = decoded(out)
    np.testing.assert_array_equal(read_all(probe(out)), result)
    difference = np.abs(result.astype(int) - after)
    difference[24:76, 34:86] = 0  # what shares an MCU with the change
    assert difference.max() <= 6
    assert difference.mean() < 0.5
    if size[0] > 60:
        assert np.abs(result[44:56, 54:66].astype(int) - 250).max() <= 8
        intervals = -(-size[0] // (jpeg.read_layout(out).band_mcu_rows * jpeg.read_layout(out).mcu[0]))
        data = out.read_bytes()
        data = data[data.rindex(b"\xff\xda") :]
        assert sum(data.count(bytes([0xFF, 0xD0 + n])) for n in range(8)) == intervals - 1 > 1
    with Image.open(path) as old, Image.open(out) as new:
        assert new.quantization == old.quantization
        assert new.layer == old.layer
        assert new.info["dpi"] == old.info["dpi"]
        assert (new.info["icc_profile"], dict(new.getexif())) == (ICC, dict(EXIF))


def test_application_and_comment_segments_are_kept_in_order(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    image = picture(64, 64)
    write(path, image)
    private = b"\xff\xed" + struct.pack(">H", 12) + b"Photoshop "
    path.write_bytes(path.read_bytes()[:2] + private + path.read_bytes()[2:])
    rewrite(probe(path), out, bands(image, 64))

    def kept(path: Path) -> list[tuple[int, bytes]]:
        return [item for item in segments(path) if item[0] == 0xFE or 0xE0 <= item[0] <= 0xEF]

    assert kept(out) == kept(path)
    assert len(kept(out)) >= 5


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("trailer", ["a newline", "zeros", "a preview"])
def test_what_stands_behind_the_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trailer: str, progressive: bool
) -> None:
    path, out, preview = tmp_path / "in.jpg", tmp_path / "out.jpg", tmp_path / "preview.jpg"
    write(preview, picture(16, 16))
    tail = {"a newline": b"\n", "zeros": bytes(100_000), "a preview": b"SEFH" + preview.read_bytes() + b"SEFT"}[trailer]
    write(path, picture(64, 48), progressive=progressive)
    before = decoded(path)
    with path.open("ab") as file:
        file.write(tail)
    np.testing.assert_array_equal(read_all(probe(path)), before)
    rewrite(probe(path), out, bands(before, 64), 1)
    assert out.read_bytes().endswith(b"\xff\xd9" + tail)
    np.testing.assert_array_equal(read_all(probe(out)), decoded(out))
    again = jpeg.read_layout(out)
    assert out.read_bytes()[again.tail :] == tail
    monkeypatch.setattr(jpeg, "PIECE_BYTES", 1)  # the end lies in two pieces
    assert jpeg.read_layout(out).tail == again.tail


def test_three_different_tables_are_kept(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    tables = [[1 + (n * k) % 50 for n in range(64)] for k in (3, 5, 7)]
    write(path, picture(64, 64), qtables=tables, quality=-1)
    rewrite(probe(path), out, bands(read_all(probe(path)), 64))
    with Image.open(path) as old, Image.open(out) as new:
        assert new.quantization == old.quantization
        assert len(new.quantization) == 3


def test_restart_intervals_of_a_wide_picture_fit_their_counter(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    image = picture(100, 60_000, 1)
    write(path, image)
    layout = jpeg.read_layout(path)
    assert layout.band_mcu_rows * layout.mcus_across <= 65_535
    before = read_all(probe(path))
    rewrite(probe(path), out, bands(before, 50))
    assert np.abs(decoded(out).astype(int) - before).max() <= 3


def test_other_kinds_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    Image.new("CMYK", (16, 16)).save(path)
    with pytest.raises(UnsupportedImage, match="CMYK"):
        probe(path)

    write(path, picture(16, 16))
    good = path.read_bytes()
    place = good.index(b"\xff\xc0")

    def frame(position: int, value: int) -> bytes:
        return good[: place + position] + bytes([value]) + good[place + position + 1 :]

    kinds = {
        "lossless": frame(1, 0xC3),
        "arithmetic": frame(1, 0xC9),
        "hierarchical": frame(1, 0xC5),
        "12 bits": frame(4, 12),
        "subsampling": frame(11, 0x12),
        "stored as RGB": good[:2] + b"\xff\xee\x00\x0eAdobe" + bytes(7) + good[2:],
        "several pictures": good[:2] + b"\xff\xe2\x00\x06MPF\0" + good[2:],
        "height": good[: place + 5] + b"\0\0" + good[place + 7 :],
    }
    for message, data in kinds.items():
        path.write_bytes(data)
        with pytest.raises(UnsupportedImage, match=message):
            probe(path)


@pytest.mark.parametrize(
    ("subsampling", "blocks"), [("4:4:4", 9 * 7 * 3), ("4:2:2", 9 * 4 * 4), ("4:2:0", 5 * 4 * 6), ("grey", 9 * 7)]
)
def test_a_picture_in_passes_too_large_to_be_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subsampling: str, blocks: int
) -> None:
    path = tmp_path / "in.jpg"
    samples = 1 if subsampling == "grey" else 3
    options = {"subsampling": subsampling} if samples == 3 else {}
    write(path, picture(70, 50, samples), progressive=True, **options)
    monkeypatch.setattr(jpeg, "HELD_LIMIT", blocks * 128)
    assert probe(path).height == 70
    monkeypatch.setattr(jpeg, "HELD_LIMIT", blocks * 128 - 1)
    with pytest.raises(UnsupportedImage, match=r"progressive.* more than 0 MiB; save it as a baseline JPEG"):
        probe(path)

    write(path, picture(70, 50, samples), **options)
    assert probe(path).height == 70


def test_a_colour_in_a_scan_of_its_own_makes_several_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.jpg"
    write(path, picture(70, 50))
    monkeypatch.setattr(jpeg, "HELD_LIMIT", 0)
    data = bytearray(path.read_bytes())
    colours = data.index(b"\xff\xda") + 4
    assert data[colours] == 3
    data[colours] = 1
    path.write_bytes(data)
    with pytest.raises(UnsupportedImage, match="passes"):
        probe(path)


def test_an_rgb_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    buffer = io.BytesIO()
    Image.fromarray(picture(32, 32)).save(buffer, "JPEG", keep_rgb=True)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UnsupportedImage, match="RGB"):
        probe(path)


def test_a_file_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    write(path, picture(64, 64), comment=b"the end of a preview: \xff\xd9")
    data = path.read_bytes()
    for length in [*range(3, 700, 7), len(data) // 2, len(data) - 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedImage):
            probe(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_picture_data_that_ends_early_is_noticed(tmp_path: Path, progressive: bool) -> None:
    """Cut in the middle, but with an end marker: libjpeg only warns and paints the rest grey."""
    path = tmp_path / "in.jpg"
    write(path, picture(400, 400), progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    info = probe(path)
    with pytest.raises(DamagedImage):
        read_all(info)
