"""Cleaned frames keep their format and everything that is not dirt, whatever they are stored as.

The frames of a roll may be stored in different ways, so one roll goes through each format: 16-bit negatives and
8-bit positives. What is in the files is read with tifffile, Pillow and, where it is installed, exiftool.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from dustwatch.processing.density import Tone
from dustwatch.processing.simulate import RollParams
from tests.rolls import SMALL, clean, mask, receipt, simulate, write_tiff

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dustwatch.processing.arrays import Scan

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- evening --></x:xmpmeta>'
IPTC = bytes([0x1C, 2, 120, 0, 7]) + b"Holiday"
EXIF = struct.pack("<HHHII", 1, 0x8827, 3, 1, 400) + bytes(4)  # a directory of one tag: the film's speed
BYTE, ASCII, SHORT, LONG, UNDEFINED = 1, 2, 3, 4, 7
STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS, EXIF_DIRECTORY = 273, 279, 324, 325, 34665
TAGS = [
    (271, ASCII, 0, "Nikon", True),
    (272, ASCII, 0, "LS-5000", True),
    (274, SHORT, 1, 6, True),  # orientation: turned
    (315, ASCII, 0, "A. Photographer", True),
    (700, BYTE, len(XMP), XMP, True),
    (33432, ASCII, 0, "Copyright 1987", True),
    (33723, UNDEFINED, len(IPTC), IPTC, True),
    (65000, UNDEFINED, 9, b"private\0\1", True),
]
NEGATIVES = [
    "tagged.tif",
    "infrared.tif",
    "pages.tif",
    "big-endian.tif",
    "grey.tif",
    "tiles.tif",
    "planes.tif",
    "big-planes-in-tiles.tif",
    "chunks.png",
    "grey.png",
]
POSITIVES = ["plain.jpg", "fine.jpg", "grey.jpg", "chunks.png", "grey.png", "plain.tif"]


@dataclass(frozen=True, slots=True)
class Folders:
    scans: Path
    output: Path


@pytest.fixture(scope="module")
def negatives(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    work = tmp_path_factory.mktemp("negatives")
    scans = work / "scans"
    scans.mkdir()
    frames = [frame.scan for frame in simulate(RollParams(frames=len(NEGATIVES), seed=8, **SMALL))]
    tagged, infrared, pages, big_endian, grey, tiles, planes, planes_in_tiles, chunks, grey_png = frames
    write_tagged(scans / "tagged.tif", tagged)
    seen_by_infrared = np.random.default_rng(1).integers(0, 65535, (*infrared.shape[:2], 1), np.uint16)
    rgbi = np.concatenate([infrared, seen_by_infrared], axis=2)
    write_tiff(scans / "infrared.tif", rgbi, extrasamples=["unspecified"], compression="zlib", rowsperstrip=32)
    with tifffile.TiffWriter(scans / "pages.tif") as file:
        file.write(pages, photometric="rgb", metadata=None, compression="lzw", predictor=True, rowsperstrip=16)
        file.write(pages[::8, ::8], photometric="rgb", metadata=None, subfiletype=1, description="small")
    write_tiff(scans / "big-endian.tif", big_endian, byteorder=">", rowsperstrip=7)
    write_tiff(scans / "grey.tif", grey[..., 1], compression="zlib", predictor=True, rowsperstrip=50)
    write_tagged(scans / "tiles.tif", tiles, tile=(64, 96), compression="zstd")
    planar = [np.moveaxis(scan, 2, 0).copy() for scan in (planes, planes_in_tiles)]
    write_tagged(scans / "planes.tif", planar[0], planarconfig="separate", compression="lzw", predictor=False)
    big = {"bigtiff": True, "byteorder": ">", "extratags": TAGS}
    write_tiff(scans / "big-planes-in-tiles.tif", planar[1], planarconfig="separate", tile=(128, 64), **big)
    (scans / "chunks.png").write_bytes(with_chunks(imagecodecs.png_encode(chunks)))
    (scans / "grey.png").write_bytes(imagecodecs.png_encode(grey_png[..., 1].copy()))
    clean(scans, work / "clean")
    return Folders(scans, work / "clean")


@pytest.fixture(scope="module")
def positives(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    work = tmp_path_factory.mktemp("positives")
    scans = work / "scans"
    scans.mkdir()
    tone = Tone(encoding="srgb", dirt="brightens")
    params = RollParams(frames=len(POSITIVES), seed=9, tone=tone, maximum=255, **SMALL)
    plain, fine, grey, chunks, grey_png, tiff = [Image.fromarray(frame.scan) for frame in simulate(params)]
    exif = Image.Exif()
    exif[271] = "Nikon"
    exif[274] = 6
    plain.save(scans / "plain.jpg", quality=87, icc_profile=ICC, exif=exif, dpi=(4000, 4000), comment=b"roll 7")
    fine.save(scans / "fine.jpg", quality=96, subsampling=0, xmp=XMP)
    grey.convert("L").save(scans / "grey.jpg", quality=93, dpi=(2400, 2400))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Evening")
    text.add_itxt("Author", "Zoë", zip=True)
    chunks.save(scans / "chunks.png", pnginfo=text, icc_profile=ICC, exif=exif, dpi=(4000, 4000))
    grey_png.convert("L").save(scans / "grey.png")
    write_tiff(scans / "plain.tif", np.asarray(tiff), compression="lzw", rowsperstrip=64)
    clean(scans, work / "clean", "--profile", "generic-negative-inverted")
    return Folders(scans, work / "clean")


def write_tagged(path: Path, scan: Scan, **storage: Any) -> None:
    """Write a TIFF with all that a scanner's or an archive's software puts into one; EXIF stands at its end."""
    tags: dict[str, Any] = {
        "iccprofile": ICC,
        "resolution": (4000, 4000),
        "resolutionunit": "INCH",
        "software": "VueScan",
        "datetime": "1987:06:05 04:03:02",
        "description": "the evening at the lake",
        "extratags": [*TAGS, (EXIF_DIRECTORY - 1, LONG, 1, 0, True)],  # tifffile writes no EXIF: its neighbour
    }
    write_tiff(path, scan, **tags, **{"compression": "zlib", "predictor": True, "rowsperstrip": 40} | storage)
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[EXIF_DIRECTORY - 1].offset
    with path.open("r+b") as raw:
        at = raw.seek(0, 2)
        raw.write(EXIF)
        raw.seek(entry)
        raw.write(struct.pack("<HHII", EXIF_DIRECTORY, LONG, 1, at))


def with_chunks(png: bytes) -> bytes:
    """Put chunks of all sorts, known and private, in front of the picture of a PNG and behind it."""
    head = [(b"pHYs", struct.pack(">IIB", 157480, 157480, 1)), (b"iCCP", b"sRGB\0\0" + zlib.compress(ICC))]
    tail = [(b"tEXt", b"Comment\0behind the picture"), (b"duST", b"private")]
    return (
        png[:33] + b"".join(chunk(*one) for one in head) + png[33:-12] + b"".join(chunk(*o) for o in tail) + png[-12:]
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks_of(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield all chunks of a PNG but those of the picture, in order."""
    data, at = path.read_bytes(), 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind != b"IDAT":
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def pixels(path: Path) -> npt.NDArray[Any]:
    """Decode a picture of any kind, as stored."""
    data = imagecodecs.imread(path) if path.suffix == ".png" else None
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            data = page.asarray()
            data = np.moveaxis(data, 0, 2) if page.planarconfig == 2 else data
    return np.asarray(Image.open(path)) if data is None else np.asarray(data)


def tags_of(page: tifffile.TiffPage) -> dict[int, tuple[Any, ...]]:
    """Type, count and value of every tag but those that say where the picture data lies."""
    tags = {tag.code: (tag.dtype, tag.count, tag.value) for tag in page.tags}
    data = (STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS)
    return {code: tag for code, tag in tags.items() if code not in data}


# --- all lossless formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEGATIVES)
def test_only_the_mask_of_a_negative_is_changed(negatives: Folders, name: str) -> None:
    assert_only_the_mask_is_changed(negatives, name)


@pytest.mark.parametrize("name", ["chunks.png", "grey.png", "plain.tif"])
def test_only_the_mask_of_a_positive_is_changed(positives: Folders, name: str) -> None:
    assert_only_the_mask_is_changed(positives, name)


def assert_only_the_mask_is_changed(folders: Folders, name: str) -> None:
    before, after = pixels(folders.scans / name), pixels(folders.output / name)
    told = receipt(folders.output, name)
    assert told["status"] == "cleaned"
    assert not told["reencoded"]
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    changed = (after != before).reshape(*before.shape[:2], -1).any(axis=2)
    assert changed.any()
    np.testing.assert_array_equal(mask(folders.output, name), changed)


# --- TIFF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NEGATIVES if name.endswith(".tif")])
def test_a_tiff_keeps_all_its_tags_and_pages(negatives: Folders, name: str) -> None:
    with tifffile.TiffFile(negatives.scans / name) as before, tifffile.TiffFile(negatives.output / name) as after:
        assert (after.byteorder, after.is_bigtiff) == (before.byteorder, before.is_bigtiff)
        assert len(after.pages) == len(before.pages)
        for old, new in zip(before.pages, after.pages, strict=True):
            assert tags_of(new) == tags_of(old)


@pytest.mark.parametrize("name", ["tagged.tif", "tiles.tif", "planes.tif"])
def test_the_tags_that_are_kept_are_those_that_matter(negatives: Folders, name: str) -> None:
    with tifffile.TiffFile(negatives.output / name) as file:
        page = file.pages[0]
        assert page.tags["InterColorProfile"].value == ICC
        assert page.tags["XResolution"].value == (4000, 1)
        assert page.tags["ExifTag"].value == {"ISOSpeedRatings": 400}
        assert page.tags[700].value == XMP
        assert page.tags[33723].value == IPTC
        assert page.tags[65000].value == b"private\0\1"
        assert {page.tags[code].value for code in (271, 272, 315, 33432)} == {
            "Nikon",
            "LS-5000",
            "A. Photographer",
            "Copyright 1987",
        }
        assert page.tags[274].value == 6


def test_the_infrared_sample_is_untouched(negatives: Folders) -> None:
    before, after = (pixels(folder / "infrared.tif") for folder in (negatives.scans, negatives.output))
    assert before.shape[2] == 4
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert (after[..., :3] != before[..., :3]).any()


def test_the_second_page_is_untouched(negatives: Folders) -> None:
    before, after = (tifffile.imread(folder / "pages.tif", key=1) for folder in (negatives.scans, negatives.output))
    np.testing.assert_array_equal(after, before)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("roll", ["negatives", "positives"])
def test_exiftool_sees_no_difference(roll: str, request: pytest.FixtureRequest) -> None:
    folders: Folders = request.getfixturevalue(roll)
    before, after = exiftool(folders.scans), exiftool(folders.output)
    assert before
    assert after == before


def exiftool(folder: Path) -> dict[str, Any]:
    """Everything that exiftool finds in the files of a folder, but names, sizes and places of the files' own."""
    left_out = [f"--{name}" for name in ("System:all", "ExifTool:all", "EncodingProcess")]
    left_out += [f"--{kind}{list_}" for kind in ("Strip", "Tile") for list_ in ("Offsets", "ByteCounts")]
    command = ["exiftool", "-json", "-a", "-u", "-G1", *left_out, "-ext", "*", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {told.pop("SourceFile").rsplit("/", 1)[-1]: told for told in json.loads(done.stdout)}


# --- PNG ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roll", ["negatives", "positives"])
def test_a_png_keeps_all_its_chunks(roll: str, request: pytest.FixtureRequest) -> None:
    folders: Folders = request.getfixturevalue(roll)
    before, after = (list(chunks_of(folder / "chunks.png")) for folder in (folders.scans, folders.output))
    assert {b"pHYs", b"iCCP", b"tEXt"} <= {kind for kind, _ in before}
    assert after == before


# --- JPEG ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in POSITIVES if name.endswith(".jpg")])
def test_a_jpeg_keeps_its_tables_sampling_and_segments(positives: Folders, name: str) -> None:
    with Image.open(positives.scans / name) as before, Image.open(positives.output / name) as after:
        assert after.mode == before.mode
        assert after.size == before.size
        assert after.quantization == before.quantization
        assert after.layer == before.layer
        assert after.applist == before.applist
        assert before.applist
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert dict(after.getexif()) == dict(before.getexif())


def test_a_jpeg_is_said_to_be_encoded_again(positives: Folders) -> None:
    for name in ("plain.jpg", "fine.jpg", "grey.jpg"):
        told = receipt(positives.output, name)
        assert told["status"] == "cleaned"
        assert told["reencoded"]
        assert "encoded again" in told["reason"]
        assert told["changed_px"] == mask(positives.output, name).sum() > 0


@pytest.mark.parametrize("name", ["plain.jpg", "fine.jpg", "grey.jpg"])
def test_far_from_the_mask_a_jpeg_differs_by_rounding(positives: Folders, name: str) -> None:
    before, after = (pixels(folder / name).astype(int) for folder in (positives.scans, positives.output))
    blocks = np.kron(block_has(mask(positives.output, name)), np.ones((16, 16), bool))
    apart = np.abs(after - before)[: blocks.shape[0], : blocks.shape[1]]
    assert np.percentile(apart[~blocks], 99.9) <= 8
    assert apart[~blocks].mean() < 0.5
    assert apart[blocks].max() > 30


def block_has(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which blocks of 16 x 16 px contain a changed pixel or touch one that does."""
    rows, columns = (size // 16 for size in changed.shape)
    blocks = changed[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16).any(axis=(1, 3))
    padded = np.pad(blocks, 1)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).any(axis=(2, 3))
