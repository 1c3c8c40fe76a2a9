"""The server: a control connection for each client, and a data connection for each frame.

Nothing that a client sends, or stops sending, ends it: a connection that says no sense is closed.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ...processing.flatbed import exposed
from . import protocol
from .faults import STATUS, FaultKind
from .film_scanner import MODEL, NAME, TYPE, VENDOR, FilmScanner, RefusedError, Session
from .protocol import Action, Info, Kind, ProtocolError, Request, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .film_scanner import Frame

_RECEIVED = 1 << 16
_RECORD = 1 << 16
_PATIENCE_S = 10.0
"""A client must have fetched a frame's first byte in so many seconds."""

_HANDLE = 0


async def listen(scanner: FilmScanner, host: str, port: int) -> asyncio.Server:
    """Serve `scanner` to whoever connects, until the server is closed. Raises OSError when `host` is not to be had."""
    clients: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: those of asyncio complain when they are cancelled, up to Python 3.11.
        client = asyncio.create_task(_Client(scanner, reader, writer).talk())
        clients.add(client)
        client.add_done_callback(clients.discard)

    return await asyncio.start_server(connected, host, port)


class _Client:
    """One control connection."""

    def __init__(self, scanner: FilmScanner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._scanner = scanner
        self._reader = reader
        self._writer = writer
        self._session: Session | None = None
        self._delivery: asyncio.Task[None] | None = None

    async def talk(self) -> None:
        """Answer requests until the client goes, or says what is none."""
        try:
            async for request in self._requests():
                if isinstance(request, protocol.Exit):
                    return
                self._writer.write(await self._answer(request))
                await self._writer.drain()
        except (ProtocolError, OSError):
            return
        finally:
            await self._release()
            self._writer.close()

    async def _requests(self) -> AsyncIterator[Request]:
        pending = b""
        while True:
            taken = protocol.take_request(pending)
            if taken is not None:
                request, length = taken
                pending = pending[length:]
                yield request
            elif received := await self._reader.read(_RECEIVED):
                pending += received
            else:
                return

    async def _answer(self, request: Request) -> bytes:
        match request:
            case protocol.Init():
                return protocol.init_reply()
            case protocol.GetDevices():
                return protocol.devices_reply(NAME, VENDOR, MODEL, TYPE)
            case protocol.Open(device):
                return await self._open(device)
            case protocol.Close():
                await self._release()
                return protocol.dummy_reply()
            case protocol.Authorize():
                return protocol.dummy_reply()
        session = self._session
        if session is None:
            raise ProtocolError("no device is open")
        match request:
            case protocol.GetOptionDescriptors():
                return protocol.descriptors_reply(session.descriptors())
            case protocol.ControlOption():
                return _controlled(session, request)
            case protocol.GetParameters():
                return protocol.parameters_reply(session.parameters())
            case protocol.Start():
                return await self._start(session)
            case protocol.Cancel():
                await self._stop_delivery()
                session.cancel()
                return protocol.dummy_reply()
        raise ProtocolError(f"nothing is known of {request}")

    async def _open(self, device: str) -> bytes:
        if device not in ("", NAME):
            return protocol.open_reply(Status.INVALID, _HANDLE)
        if self._session is not None:
            return protocol.open_reply(Status.DEVICE_BUSY, _HANDLE)
        try:
            self._session = self._scanner.open()
        except RefusedError as refused:
            return protocol.open_reply(refused.status, _HANDLE)
        return protocol.open_reply(Status.GOOD, _HANDLE)

    async def _release(self) -> None:
        """Take the device back from the client."""
        session, self._session = self._session, None
        try:
            await self._stop_delivery()
        finally:
            if session is not None:
                session.close()

    async def _start(self, session: Session) -> bytes:
        try:
            frame = session.start()
        except RefusedError as refused:
            return protocol.start_reply(refused.status, 0)
        if frame.fault is not None and frame.fault.at is None:
            if frame.fault.kind == FaultKind.STALL:
                # Whatever comes next, be it the end: there was no answer to wait for.
                await self._reader.read(1)
            if frame.fault.kind in (FaultKind.STALL, FaultKind.VANISH):
                self._writer.transport.abort()
                raise ConnectionAbortedError
        host = self._writer.get_extra_info("sockname")[0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        self._delivery = asyncio.create_task(self._deliver(session, frame, listener))
        return protocol.start_reply(Status.GOOD, port)

    async def _stop_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.wait([self._delivery])  # whose being cancelled is not ours
            self._delivery = None

    async def _deliver(self, session: Session, frame: Frame, listener: socket.socket) -> None:
        """Send a frame over a connection of its own, up to its end or its fault."""
        loop = asyncio.get_running_loop()
        with listener, suppress(ConnectionError, TimeoutError):
            connection, _ = await asyncio.wait_for(loop.sock_accept(listener), _PATIENCE_S)
            with connection:
                await self._send(frame, connection)
                kind = FaultKind.NONE if frame.fault is None else frame.fault.kind
                if kind == FaultKind.STALL:
                    await asyncio.Event().wait()
                if kind == FaultKind.VANISH:
                    self._writer.transport.abort()
                    return
                # Before the client knows, who may start the next frame at once.
                session.finish(whole=kind == FaultKind.NONE)
                await loop.sock_sendall(connection, protocol.last_record(STATUS.get(kind, Status.EOF)))
                return
        session.finish(whole=False)

    async def _send(self, frame: Frame, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(frame.warm_up_s)
        due = loop.time()
        async for data in _pieces(frame):
            await loop.sock_sendall(connection, protocol.record(data))
            if self._scanner.rate is not None:
                due += len(data) / self._scanner.rate
                await asyncio.sleep(max(due - loop.time(), 0))


async def _pieces(frame: Frame) -> AsyncIterator[bytes]:
    """The bytes of a frame as far as they go; black or white from where light fails."""
    fault, p = frame.fault, frame.parameters
    total = p.bytes_per_line * p.lines
    sound = total if fault is None or fault.kind == FaultKind.NONE else int(total * (fault.at or 0.0))
    end, fill = sound, b""
    if fault is not None and fault.kind in _FILLS:
        end, fill = total, _FILLS[fault.kind]
    elif fault is not None and fault.kind == FaultKind.SHORT:
        end = sound // p.bytes_per_line * p.bytes_per_line
    sent = 0
    async for data in _rows(frame):
        seen = data[: max(sound - sent, 0)]
        whole = (seen + fill * (len(data) - len(seen)))[: max(end - sent, 0)]
        for first in range(0, len(whole), _RECORD):
            yield whole[first : first + _RECORD]
        sent += len(data)
        if sent >= end:
            return


async def _rows(frame: Frame) -> AsyncIterator[bytes]:
    """The bytes of a frame, band by band; they are worked out while others are served."""
    bands = exposed(frame.view)
    while (band := await asyncio.to_thread(next, bands, None)) is not None:
        scan = np.zeros_like(band.scan) if frame.dark else band.scan
        yield (scan >> 8).astype("u1").tobytes() if frame.parameters.depth == 8 else scan.astype("<u2").tobytes()


_FILLS = {FaultKind.BLANK: b"\x00", FaultKind.WHITE: b"\xff"}
"""What comes in the place of samples."""


def _controlled(session: Session, request: protocol.ControlOption) -> bytes:
    """Get or set an option."""
    try:
        if request.action == Action.GET:
            option, value = session.get(request.option)
            return protocol.option_reply(Status.GOOD, Info.NONE, option.kind, option.size, value)
        if request.action == Action.SET:
            option, value, info = session.set(request.option, request.value)
            return protocol.option_reply(Status.GOOD, info, option.kind, option.size, value)
    except RefusedError as refused:
        return protocol.option_reply(refused.status, Info.NONE, Kind.BUTTON, 0, None)
    return protocol.option_reply(Status.UNSUPPORTED, Info.NONE, Kind.BUTTON, 0, None)
