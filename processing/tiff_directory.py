"""The directories of a TIFF or BigTIFF: what its tags say, and where in the file their values stand.

They are read strictly, and by code of our own: libraries mend or skip what is wrong in a file, which is right
for looking at it and wrong before it is written again.

References: TIFF Revision 6.0, Adobe 1992; for BigTIFF the specification of libtiff.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

from .image import DamagedImage

if TYPE_CHECKING:
    from pathlib import Path

BIG_SIGNATURES = (b"II+\0", b"MM\0+")
SIGNATURES = (b"II*\0", b"MM\0*", *BIG_SIGNATURES)

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the type of its field."""

INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How `struct` reads the types that hold whole numbers."""

# Tags.
STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS = 273, 279, 324, 325
SUB_DIRECTORIES, JPEG_OFFSET, JPEG_BYTES = 330, 513, 514
DESCRIPTION = 270
DATA_TAGS = ((STRIP_OFFSETS, STRIP_BYTE_COUNTS), (TILE_OFFSETS, TILE_BYTE_COUNTS), (JPEG_OFFSET, JPEG_BYTES))

MOST_ENTRIES = 0xFFFF
"""As many entries as a directory of a classic TIFF can have; a BigTIFF that claims more is spoilt."""

MOST_TEXT = 0xFFFF
"""Bytes of a text that somebody may have meant to be read."""

CUT_SHORT = "it is cut short: {} lies beyond its end; copy or scan it again"


@dataclass(frozen=True, slots=True)
class Variant:
    """How wide the fields are in which classic TIFF and BigTIFF differ: codes of `struct`, and bytes."""

    header_bytes: int
    count: Literal["H", "Q"]  # of a directory's entries
    offset: Literal["I", "Q"]
    kind: int  # type of a field that holds offsets
    limit: int  # bytes that a file may have

    @property
    def count_bytes(self) -> int:
        """Bytes of the number of entries, with which a directory begins."""
        return struct.calcsize("=" + self.count)

    @property
    def offset_bytes(self) -> int:
        """Bytes of an offset, and of the values that may stand in its place."""
        return struct.calcsize("=" + self.offset)

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry: tag, type, number of values, and their offset."""
        return 4 + 2 * self.offset_bytes


CLASSIC = Variant(8, "H", "I", 4, 1 << 32)
BIG = Variant(16, "Q", "Q", 16, 1 << 63)


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a directory: where it stands, its type and count, and where its values are.

    `offset_at` is the place of the offset of the values; there stand the values themselves if they fit.
    """

    position: int
    kind: int
    count: int
    offset_at: int
    values_at: int

    @property
    def value_bytes(self) -> int:
        """Bytes that the values take, 0 where the type is unknown."""
        return self.count * TYPE_BYTES.get(self.kind, 0)

    @property
    def inline(self) -> bool:
        """Whether the values stand in the directory itself."""
        return self.values_at == self.offset_at


Directory = dict[int, Entry]
Extent = tuple[int, int]  # first byte, byte after the last


def open_unbuffered(path: Path) -> IO[bytes]:
    """Open for `os.pread`: no buffer of Python's in between."""
    return path.open("rb", buffering=0)


class Structure:
    """The directories of a TIFF, checked against the length of the file.

    `pages` are the first page, those that follow it and their sub-directories; `extents` are the places of the
    header, the directories and their values. Raises DamagedImage.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.file_bytes = os.fstat(file.fileno()).st_size
        head = self._take(0, CLASSIC.header_bytes, "its header")
        if head[:4] not in SIGNATURES:
            raise DamagedImage("it is no TIFF; scan it again")
        self.order: Literal["<", ">"] = "<" if head[:2] == b"II" else ">"
        self.variant = BIG if head[:4] in BIG_SIGNATURES else CLASSIC
        if self.variant is BIG and struct.unpack(self.order + "HH", head[4:]) != (8, 0):
            raise DamagedImage("its header makes no sense; copy or scan it again")
        self.extents: list[Extent] = [(0, self.variant.header_bytes)]
        self.pages: list[Directory] = []
        first_at = self.variant.header_bytes - self.variant.offset_bytes
        self._walk(self._number(self.variant.offset, first_at, "its header"))
        if not self.pages:
            raise DamagedImage("it has no pages; scan it again")
        if any(stop > self.file_bytes for page in self.pages[1:] for _, stop in self.data_extents(page)):
            raise DamagedImage(CUT_SHORT.format("the picture data of a later page"))

    def entry(self, code: int) -> Entry:
        """Return the field of tag `code` of the first page. Raises DamagedImage where it is absent."""
        found = self.pages[0].get(code)
        if found is None or not found.count:
            raise DamagedImage(f"its first page lacks tag {code}; scan it again")
        return found

    def values(self, code: int, default: int | None = None) -> list[int]:
        """Return the values of tag `code` of the first page, `default` where it is absent."""
        entry = self.pages[0].get(code)
        if default is not None and (entry is None or not entry.count):
            return [default]
        return self.integers(self.entry(code))

    def first(self, code: int, default: int | None = None) -> int:
        """Return the first value of tag `code` of the first page, `default` where it is absent."""
        return self.values(code, default)[0]

    def text(self, code: int) -> str:
        """Return tag `code` of the first page, up to its first zero byte; empty where there is none or far too much."""
        entry = self.pages[0].get(code)
        if entry is None or entry.value_bytes > MOST_TEXT:
            return ""
        data = self._take(entry.values_at, entry.value_bytes, "a value")
        return data.split(b"\0")[0].decode(errors="replace")

    def integers(self, entry: Entry) -> list[int]:
        """Return the values of a field of BYTE, SHORT, LONG, LONG8 or IFD type."""
        if entry.kind not in INTEGERS:
            raise DamagedImage("a field that must hold whole numbers does not; scan it again")
        data = self._take(entry.values_at, entry.value_bytes, "a value")
        return list(struct.unpack(f"{self.order}{entry.count}{INTEGERS[entry.kind]}", data))

    def data_extents(self, page: Directory) -> list[Extent]:
        """Return where the strips, tiles and JPEG data of a page lie."""
        found: list[Extent] = []
        for offsets, sizes in DATA_TAGS:
            if offsets in page and sizes in page:
                pairs = zip(self.integers(page[offsets]), self.integers(page[sizes]), strict=False)
                found += [(offset, offset + size) for offset, size in pairs]
        return found

    def _walk(self, first: int) -> None:
        """Read the directory at byte `first`, those that follow it and their sub-directories, each of them once.

        Sub-directories may be listed and follow each other as well; only what follows itself is a loop.
        """
        pending, seen = [first], set[int]()
        while pending:
            offset, chain = pending.pop(), set[int]()
            while offset and offset not in seen:
                seen.add(offset)
                chain.add(offset)
                page, offset = self._directory(offset)
                self.pages.append(page)
                if SUB_DIRECTORIES in page:
                    pending += self.integers(page[SUB_DIRECTORIES])
            if offset in chain:
                raise DamagedImage("its directories form a loop; scan it again")

    def _directory(self, offset: int) -> tuple[Directory, int]:
        """Read the directory at byte `offset`, and where the one is that follows it."""
        variant = self.variant
        count = self._number(variant.count, offset, "a directory")
        if count > MOST_ENTRIES:
            raise DamagedImage(f"a directory claims to have {count} entries; copy or scan it again")
        start = offset + variant.count_bytes
        stop = start + count * variant.entry_bytes
        table = self._take(start, stop - start, "a directory")
        following = self._number(variant.offset, stop, "a directory")
        self.extents.append((offset, stop + variant.offset_bytes))
        page: Directory = {}
        for at in range(0, len(table), variant.entry_bytes):
            code, entry = self._entry(table, start, at)
            page.setdefault(code, entry)
        return page, following

    def _entry(self, table: bytes, start: int, at: int) -> tuple[int, Entry]:
        """Read the entry at byte `at` of a table that begins at byte `start` of the file."""
        wide = self.variant.offset
        code, kind, count, offset = struct.unpack_from(f"{self.order}HH{wide}{wide}", table, at)
        offset_at = start + at + self.variant.entry_bytes - self.variant.offset_bytes
        length = count * TYPE_BYTES.get(kind, 0)
        if length <= self.variant.offset_bytes:
            return code, Entry(start + at, kind, count, offset_at, offset_at)
        if offset + length > self.file_bytes:
            raise DamagedImage(CUT_SHORT.format(f"the value of tag {code}"))
        self.extents.append((offset, offset + length))
        return code, Entry(start + at, kind, count, offset_at, offset)

    def _number(self, code: str, offset: int, what: str) -> int:
        (number,) = struct.unpack(self.order + code, self._take(offset, struct.calcsize("=" + code), what))
        return int(number)

    def _take(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > self.file_bytes:
            raise DamagedImage(CUT_SHORT.format(what))
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise DamagedImage("it became shorter while it was being read; try again")
        return data
