"""Requests and replies of the SANE network protocol: what is written is read again, and nonsense does no harm."""

from __future__ import annotations

import struct
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.virtual import protocol
from dustwatch.daemon.virtual.protocol import (
    Action,
    Capability,
    ControlOption,
    Descriptor,
    FrameFormat,
    Info,
    Kind,
    Parameters,
    ProtocolError,
    Range,
    Request,
    Status,
    Unit,
    take_request,
)

WORDS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)
NUMBERS = {
    protocol.Init: 0,
    protocol.GetDevices: 1,
    protocol.Open: 2,
    protocol.Close: 3,
    protocol.GetOptionDescriptors: 4,
    ControlOption: 5,
    protocol.GetParameters: 6,
    protocol.Start: 7,
    protocol.Cancel: 8,
    protocol.Authorize: 9,
    protocol.Exit: 10,
}


@st.composite
def control_options(draw: st.DrawFn) -> ControlOption:
    handle, option, action = draw(WORDS), draw(WORDS), draw(st.sampled_from(Action))
    if action == Action.SET_AUTO:
        return ControlOption(handle, option, action)
    kind = draw(st.sampled_from(Kind))
    words = st.lists(WORDS, max_size=8).map(tuple)
    values = {Kind.STRING: TEXTS, Kind.BUTTON: st.none(), Kind.GROUP: st.none()}
    return ControlOption(handle, option, action, kind, draw(WORDS), draw(values.get(kind, words)))


def others() -> st.SearchStrategy[Request]:
    handles: list[Any] = [
        protocol.Close,
        protocol.GetOptionDescriptors,
        protocol.GetParameters,
        protocol.Start,
        protocol.Cancel,
    ]
    return st.one_of(
        st.builds(protocol.Init, WORDS, TEXTS),
        st.builds(protocol.GetDevices),
        st.builds(protocol.Open, TEXTS),
        st.builds(protocol.Authorize, TEXTS, TEXTS, TEXTS),
        st.builds(protocol.Exit),
        *(st.builds(kind, WORDS) for kind in handles),
    )


REQUESTS: st.SearchStrategy[Request] = st.one_of(others(), control_options())


def encoded(request: Request) -> bytes:
    """A request as a client sends it."""
    words = [struct.pack(">i", NUMBERS[type(request)])]
    if isinstance(request, ControlOption):
        words.append(struct.pack(">3i", request.handle, request.option, request.action))
        if request.action != Action.SET_AUTO:
            words.append(struct.pack(">2i", request.kind, request.size))
            words.append(field(() if request.value is None else request.value))
        return b"".join(words)
    return b"".join([*words, *(field(value) for value in astuple(request))])


def field(value: int | str | tuple[int, ...]) -> bytes:
    if isinstance(value, str):
        return struct.pack(">i", len(value) + 1) + value.encode("latin-1") + b"\0"
    if isinstance(value, tuple):
        return struct.pack(f">{len(value) + 1}i", len(value), *value)
    return struct.pack(">i", value)


class Reply:
    """Reads a reply as a client does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def word(self) -> int:
        (value,) = struct.unpack(">i", self.data[:4])
        self.data = self.data[4:]
        return int(value)

    def words(self, count: int) -> tuple[int, ...]:
        return tuple(self.word() for _ in range(count))

    def bytes(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        assert len(taken) == count
        return taken

    def string(self) -> str:
        text = self.bytes(self.word())
        assert text.endswith(b"\0")
        return text[:-1].decode("latin-1")

    def descriptor(self) -> Descriptor:
        assert self.word() == 0
        name, title, description = self.string(), self.string(), self.string()
        kind, unit, size, capabilities = self.words(4)
        head = (name, title, description, Kind(kind), Unit(unit), size, Capability(capabilities))
        match self.word():
            case 0:
                return Descriptor(*head)
            case 1:
                assert self.word() == 0
                return Descriptor(*head, Range(*self.words(3)))
            case 2:
                length, count = self.words(2)
                assert length == count + 1
                return Descriptor(*head, self.words(count))
        texts = tuple(self.string() for _ in range(self.word() - 1))
        assert self.word() == 0
        return Descriptor(*head, texts)


DESCRIPTORS = st.builds(
    Descriptor,
    TEXTS,
    TEXTS,
    TEXTS,
    st.sampled_from(Kind),
    st.sampled_from(Unit),
    WORDS,
    st.sampled_from([Capability(0), Capability.INACTIVE, Capability.SOFT_SELECT | Capability.SOFT_DETECT]),
    st.one_of(
        st.none(),
        st.builds(Range, WORDS, WORDS, WORDS),
        st.lists(WORDS, min_size=1, max_size=5).map(tuple),
        st.lists(TEXTS, min_size=1, max_size=5).map(tuple),
    ),
)


@given(request=REQUESTS, more=st.binary(max_size=20))
def test_a_request_is_read_as_it_was_written_and_no_further(request: Request, more: bytes) -> None:
    data = encoded(request)
    assert take_request(data + more) == (request, len(data))


@given(request=REQUESTS)
def test_every_beginning_of_a_request_waits_for_the_rest(request: Request) -> None:
    data = encoded(request)
    assert [take_request(data[:length]) for length in range(len(data))] == [None] * len(data)


@given(data=st.binary(max_size=200), number=st.integers(0, 10))
def test_whatever_comes_is_a_request_or_the_beginning_of_one_or_refused(data: bytes, number: int) -> None:
    for sent in (data, struct.pack(">i", number) + data):
        try:
            taken = take_request(sent)
        except ProtocolError:
            continue
        assert taken is None or 0 < taken[1] <= len(sent)


@pytest.mark.parametrize("length", [2**31 - 1, 2**20, -1])
def test_what_claims_to_be_very_long_is_refused_at_once(length: int) -> None:
    with pytest.raises(ProtocolError, match="too long"):
        take_request(struct.pack(">2i", 2, length))


@given(descriptors=st.lists(DESCRIPTORS, max_size=5))
def test_options_are_read_as_they_were_described(descriptors: list[Descriptor]) -> None:
    reply = Reply(protocol.descriptors_reply(descriptors))
    assert [reply.descriptor() for _ in range(reply.word())] == descriptors
    assert reply.data == b""


@given(
    value=st.one_of(st.none(), st.lists(WORDS, max_size=8).map(tuple), TEXTS),
    status=st.sampled_from(Status),
    size=st.integers(0, 50),
)
def test_what_an_option_holds_is_read_as_it_was_said(
    value: tuple[int, ...] | str | None, status: Status, size: int
) -> None:
    kind = Kind.STRING if isinstance(value, str) else Kind.INT
    reply = Reply(protocol.option_reply(status, Info.INEXACT, kind, size, value))
    assert reply.words(4) == (status, Info.INEXACT, kind, size)
    if isinstance(value, str):
        # As many bytes as the client has room for, and a zero among them.
        text = reply.bytes(reply.word())
        assert len(text) == size
        assert text.split(b"\0")[0].decode("latin-1") == value[: max(size - 1, 0)]
    else:
        assert reply.words(reply.word()) == (value or ())
    assert reply.data == b"\0\0\0\0"


def test_the_small_replies_say_what_they_should() -> None:
    devices = Reply(protocol.devices_reply("film", "Virtual", "FilmScan", "film scanner"))
    assert devices.words(3) == (Status.GOOD, 2, 0)
    assert [devices.string() for _ in range(4)] == ["film", "Virtual", "FilmScan", "film scanner"]
    assert Reply(protocol.init_reply()).words(2) == (Status.GOOD, 0x01000003)
    parameters = Parameters(FrameFormat.RGB, True, 600, 100, 50, 16)
    assert Reply(protocol.parameters_reply(parameters)).words(7) == (Status.GOOD, 1, 1, 600, 100, 50, 16)
    assert Reply(protocol.start_reply(Status.GOOD, 4711)).words(4) == (Status.GOOD, 4711, 0x1234, 0)
    assert Reply(protocol.open_reply(Status.DEVICE_BUSY, 0)).words(3) == (Status.DEVICE_BUSY, 0, 0)
    assert protocol.record(b"rows") == b"\0\0\0\4rows"
    assert protocol.last_record(Status.EOF) == b"\xff\xff\xff\xff\5"
