"""The records that flow forwards: a file to clean, what was done to it, and how it came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..processing.defects import Defect  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from ..processing.image import ImageInfo
    from ..processing.observe import Observation
    from .errors import FrameError


def shown(path: PurePath | str) -> str:
    """A path, or a text with paths in it, that can be printed and stored: bytes that are no UTF-8 are escaped."""
    return str(path).encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file was touched: two equal ones are of a file that nobody has written to in between."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take it from what stat says of a file."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a file: its SHA-256 in hex, of which it was no other as long as it has this stamp."""

    sha256: str
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Arrival:
    """A picture file to clean, and its name below the output folder."""

    path: Path
    relative: PurePosixPath

    @classmethod
    def of(cls, path: Path) -> Arrival:
        """Take a file under its bare name."""
        return cls(path, PurePosixPath(path.name))

    @property
    def shown(self) -> str:
        """The path as text that can be printed and stored."""
        return shown(self.path)


@dataclass(frozen=True, slots=True)
class Frame:
    """An arrival that could be read: what kind of picture it is, its digest, and what it says about the glass.

    It was all read while the file had this `stamp`. A `bare` one is a scan of the glass without film.
    """

    arrival: Arrival
    info: ImageInfo
    sha256: str
    stamp: Stamp
    observation: Observation
    seconds: float
    bare: bool = False

    @property
    def place(self) -> str:
        """Where it lay, as `place_of` has it."""
        return place_of(self.info.description)


def place_of(description: str) -> str:
    """Scanner, holder and slot in which a frame lay that we have scanned, as its description tells; empty if unknown.

    Two frames of different places never lie on the same glass.
    """
    try:
        told = _place_adapter().validate_json(description)
    except ValidationError:
        return ""
    return ", ".join(filter(None, (told.scanner, told.holder, told.slot)))


@dataclass(frozen=True, slots=True)
class _Place:
    """What is read of a description; the names are those that scans are described by."""

    scanner: str
    holder: str | None = None
    slot: str | None = None


@cache
def _place_adapter() -> TypeAdapter[_Place]:
    return TypeAdapter(_Place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was done to a frame: the content of ``receipts/<name>.json``. Numbers are Python's own.

    `map_sha256` stands for the glass and the frames from which its map was learnt, `profile_sha256` for the profile's
    values; `offset_px` (rows, columns) and `orientation` are those of its placement. With `reencoded` the picture is a
    JPEG that was repaired, and its untouched pixels may differ from the original's by rounding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    schema: Literal[1] = 1
    dustwatch: str = field(default_factory=cache(lambda: version("dustwatch")))
    input: str
    input_sha256: str
    output_sha256: str
    map_sha256: str
    profile: str
    profile_sha256: str
    status: Literal["cleaned", "unchanged", "abstained"]
    reason: str
    glass_id: str | None = None
    map_frames: int = 0
    offset_px: tuple[float, float] | None = None
    orientation: Annotated[int, Interval(ge=1, le=8)] = 1
    changed_px: int = 0
    changed_share: float = 0.0
    reencoded: bool = False
    defect_count: int = 0
    defects: tuple[Defect, ...] = ()

    def in_brief(self) -> Receipt:
        """The same without each single defect: there may be thousands in each of hundreds of frames."""
        return replace(self, defects=())

    def to_json(self) -> bytes:
        """Write the receipt as indented JSON in UTF-8, ending in a newline."""
        return _adapter().dump_json(self, indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes) -> Receipt | None:
        """Read what `to_json` wrote; None for anything else, a receipt of another schema included."""
        try:
            return _adapter().validate_json(data)
        except ValidationError:
            return None


@cache
def _adapter() -> TypeAdapter[Receipt]:
    return TypeAdapter(Receipt)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a frame came out: with a receipt in brief, or with the error that kept it from one.

    `skipped` says that nothing was written: an earlier run had done it (its receipt is then here), or this was a dry
    run. `seconds` are by stage of the work.
    """

    arrival: Arrival
    receipt: Receipt | None = None
    error: FrameError | None = None
    skipped: bool = False
    megapixels: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let go what the error's traceback holds, and those before it: whole bands of the step that failed."""
        error: BaseException | None = self.error
        while error is not None:
            error.__traceback__, error = None, error.__context__

    @property
    def status(self) -> Literal["cleaned", "unchanged", "abstained", "skipped", "failed"]:
        """One word for the whole."""
        if self.error is not None:
            return "failed"
        if self.skipped or self.receipt is None:
            return "skipped"
        return self.receipt.status
