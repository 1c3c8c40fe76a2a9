"""The SANE network protocol, version 3: requests from bytes, replies to bytes. No sockets here.

Words are 32 bits, big-endian and signed; strings end with a zero and carry their length; what the protocol calls a
pointer is a word that says whether it is null, and what it points to. The SANE standard describes it in its chapter
on the network protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E", bound=IntEnum)

VERSION = 1 << 24 | 3
"""Major version of SANE, and the version of the protocol."""

LITTLE_ENDIAN = 0x1234
END_OF_RECORDS = -1

_LONGEST = 1 << 16
"""Nothing that a client sends is longer, in bytes."""


class ProtocolError(Exception):
    """What a client has sent is no request."""


class Status(IntEnum):
    """How a request ended."""

    GOOD = 0
    UNSUPPORTED = 1
    CANCELLED = 2
    DEVICE_BUSY = 3
    INVALID = 4
    EOF = 5
    JAMMED = 6
    NO_DOCUMENTS = 7
    COVER_OPEN = 8
    IO_ERROR = 9


class Kind(IntEnum):
    """What an option holds."""

    BOOL = 0
    INT = 1
    FIXED = 2
    STRING = 3
    BUTTON = 4
    GROUP = 5


class Unit(IntEnum):
    """What an option is measured in."""

    NONE = 0
    BIT = 2
    MM = 3
    DPI = 4


class Capability(IntFlag):
    """What can be done with an option."""

    SOFT_SELECT = 1
    HARD_SELECT = 2
    SOFT_DETECT = 4
    INACTIVE = 32
    ADVANCED = 64


class Info(IntFlag):
    """What came of setting an option."""

    NONE = 0
    INEXACT = 1
    RELOAD_OPTIONS = 2
    RELOAD_PARAMETERS = 4


class Action(IntEnum):
    """What to do with an option."""

    GET = 0
    SET = 1
    SET_AUTO = 2


class FrameFormat(IntEnum):
    """What the samples of a frame are."""

    GREY = 0
    RGB = 1


@dataclass(frozen=True, slots=True)
class Range:
    """Words from `least` to `most` in steps of `quantum`; 0 for any between."""

    least: int
    most: int
    quantum: int = 0


Constraint: TypeAlias = "Range | tuple[int, ...] | tuple[str, ...] | None"
Value: TypeAlias = "tuple[int, ...] | str | None"
"""Words (those of a FIXED are 1/65536), the text of a STRING, nothing for a BUTTON or a GROUP."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What an option is. `size`: of its value in bytes."""

    name: str
    title: str
    description: str
    kind: Kind
    unit: Unit
    size: int
    capabilities: Capability
    constraint: Constraint = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the next frame will be. `lines` of `bytes_per_line` with `pixels_per_line` of `depth` bits a sample."""

    frame_format: FrameFormat
    last_frame: bool
    bytes_per_line: int
    pixels_per_line: int
    lines: int
    depth: int


@dataclass(frozen=True, slots=True)
class Init:
    """The first request."""

    version: int
    user: str


@dataclass(frozen=True, slots=True)
class GetDevices:
    """Ask which devices are there."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a device; without a name the first."""

    device: str


@dataclass(frozen=True, slots=True)
class Close:
    """Give a device back."""

    handle: int


@dataclass(frozen=True, slots=True)
class GetOptionDescriptors:
    """Ask which options the device has, as they are now."""

    handle: int


@dataclass(frozen=True, slots=True)
class ControlOption:
    """Get or set an option. `kind`, `size` and `value` are not sent with SET_AUTO."""

    handle: int
    option: int
    action: Action
    kind: Kind = Kind.INT
    size: int = 0
    value: Value = None


@dataclass(frozen=True, slots=True)
class GetParameters:
    """Ask what the next frame will be."""

    handle: int


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a frame."""

    handle: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a frame, or say that no further one is wanted."""

    handle: int


@dataclass(frozen=True, slots=True)
class Authorize:
    """Log in, which no virtual scanner asks for."""

    resource: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The last request."""


Request: TypeAlias = (
    Init
    | GetDevices
    | Open
    | Close
    | GetOptionDescriptors
    | ControlOption
    | GetParameters
    | Start
    | Cancel
    | Authorize
    | Exit
)


def take_request(data: bytes) -> tuple[Request, int] | None:
    """The request at the beginning of `data`, and its length; None while bytes of it are missing.

    Raises ProtocolError when no bytes to come could make a request of it.
    """
    fields = _Fields(data)
    try:
        call = fields.word()
        if call not in _REQUESTS:
            raise ProtocolError(f"there is no request {call}")
        return _REQUESTS[call](fields), fields.taken
    except _MoreNeededError:
        return None


class _MoreNeededError(Exception):
    """The bytes end before the request does."""


class _Fields:
    """Reads one field after the other. `taken`: how many bytes they had."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.taken = 0

    def word(self) -> int:
        (value,) = struct.unpack(">i", self._bytes(4))
        return int(value)

    def string(self) -> str:
        """A null one is taken for an empty one."""
        return self._bytes(self._length()).split(b"\0", 1)[0].decode("latin-1")

    def value(self, kind: Kind) -> Value:
        if kind == Kind.STRING:
            return self.string()
        words = tuple(self.word() for _ in range(self._length(4)))
        return words if kind in (Kind.BOOL, Kind.INT, Kind.FIXED) else None

    def _length(self, size: int = 1) -> int:
        length = self.word()
        if not 0 <= length * size <= _LONGEST:
            raise ProtocolError(f"a field of {length} elements is too long")
        return length

    def _bytes(self, count: int) -> bytes:
        taken = self._data[self.taken : self.taken + count]
        if len(taken) < count:
            raise _MoreNeededError
        self.taken += count
        return taken


def _control_option(fields: _Fields) -> ControlOption:
    handle, option, action = fields.word(), fields.word(), _member(Action, fields.word())
    if action == Action.SET_AUTO:
        return ControlOption(handle, option, action)
    kind, size = _member(Kind, fields.word()), fields.word()
    return ControlOption(handle, option, action, kind, size, fields.value(kind))


def _member(of: type[E], number: int) -> E:
    try:
        return of(number)
    except ValueError:
        raise ProtocolError(f"{number} is no {of.__name__}") from None


_REQUESTS: dict[int, Callable[[_Fields], Request]] = {
    0: lambda fields: Init(fields.word(), fields.string()),
    1: lambda _: GetDevices(),
    2: lambda fields: Open(fields.string()),
    3: lambda fields: Close(fields.word()),
    4: lambda fields: GetOptionDescriptors(fields.word()),
    5: _control_option,
    6: lambda fields: GetParameters(fields.word()),
    7: lambda fields: Start(fields.word()),
    8: lambda fields: Cancel(fields.word()),
    9: lambda fields: Authorize(fields.string(), fields.string(), fields.string()),
    10: lambda _: Exit(),
}


def words(*values: int) -> bytes:
    """Words one after the other."""
    return struct.pack(f">{len(values)}i", *values)


def string(text: str) -> bytes:
    """A string; characters that Latin-1 has not become question marks."""
    encoded = text.encode("latin-1", "replace") + b"\0"
    return words(len(encoded)) + encoded


_NULL_STRING = words(0)
_NO_RESOURCE = _NULL_STRING
"""Nobody need log in."""


def init_reply() -> bytes:
    """Say which version is spoken."""
    return words(Status.GOOD, VERSION)


def devices_reply(name: str, vendor: str, model: str, kind: str) -> bytes:
    """Name the only device."""
    return words(Status.GOOD, 2, 0) + b"".join(map(string, (name, vendor, model, kind))) + words(1)


def open_reply(status: Status, handle: int) -> bytes:
    """Give the device, or say why not."""
    return words(status, handle) + _NO_RESOURCE


def dummy_reply() -> bytes:
    """Answer what needs no answer."""
    return words(0)


def descriptors_reply(descriptors: list[Descriptor]) -> bytes:
    """Describe all options."""
    return words(len(descriptors)) + b"".join(words(0) + _descriptor(one) for one in descriptors)


def _descriptor(one: Descriptor) -> bytes:
    texts = b"".join(map(string, (one.name, one.title, one.description)))
    return texts + words(one.kind, one.unit, one.size, one.capabilities) + _constraint(one.constraint)


def _constraint(constraint: Constraint) -> bytes:
    if constraint is None:
        return words(0)
    if isinstance(constraint, Range):
        return words(1, 0, constraint.least, constraint.most, constraint.quantum)
    numbers = [one for one in constraint if isinstance(one, int)]
    if numbers:
        return words(2, len(numbers) + 1, len(numbers), *numbers)
    texts = [string(one) for one in constraint if isinstance(one, str)]
    return words(3, len(texts) + 1) + b"".join(texts) + _NULL_STRING


def option_reply(status: Status, info: Info, kind: Kind, size: int, value: Value) -> bytes:
    """Say what an option holds, in `size` bytes where it is text."""
    return words(status, info, kind, size) + _value(value, size) + _NO_RESOURCE


def _value(value: Value, size: int) -> bytes:
    if value is None:
        return words(0)
    if isinstance(value, str):
        return words(size) + value.encode("latin-1", "replace")[: max(size - 1, 0)].ljust(size, b"\0")
    return words(len(value), *value)


def parameters_reply(p: Parameters) -> bytes:
    """Say what the next frame will be."""
    return words(Status.GOOD, p.frame_format, p.last_frame, p.bytes_per_line, p.pixels_per_line, p.lines, p.depth)


def start_reply(status: Status, port: int) -> bytes:
    """Say where the frame is to be fetched, and that its samples are little-endian."""
    return words(status, port, LITTLE_ENDIAN) + _NO_RESOURCE


def record(data: bytes) -> bytes:
    """A piece of a frame."""
    return words(len(data)) + data


def last_record(status: Status) -> bytes:
    """The end of a frame: EOF, or what is wrong."""
    return words(END_OF_RECORDS) + bytes([status])
