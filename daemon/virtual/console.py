"""``dustwatch virtual-scanner``: the process that serves it, and the commands that it takes while it does."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ...processing.flatbed import CHANNELS, exposed
from ...processing.platen import Area
from ..errors import ExitCode, ServiceError
from ..scanner.holder import load_holder
from .bed import Bed
from .faults import parse_fault
from .film_scanner import BUTTONS, FilmScanner, Press
from .saned import listen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...processing.flatbed import View

_STDIN = 0


def virtual_scanner(
    seed: int,
    holder: str | None,
    *,
    repeat_frame: bool,
    faults: Sequence[str],
    rate: float | None,
    buttons: Sequence[str],
) -> FilmScanner:
    """Make the scanner that the command line asks for. Raises ServiceError, which says what is wrong with it."""
    try:
        planned = [parse_fault(text) for text in faults]
        presses = [_parse_press(text) for text in buttons]
    except ValueError as error:
        raise ServiceError(str(error), ExitCode.USAGE) from error
    slots = [] if holder is None else [Area(s.x, s.y, s.width, s.height) for s in load_holder(holder).slots]
    return FilmScanner(Bed(seed, slots, repeat_frame=repeat_frame), rate=rate, faults=planned, presses=presses)


def _parse_press(text: str) -> Press:
    button, _, load = text.partition("@")
    if button in BUTTONS and load.isdecimal() and int(load) > 0:
        return Press(button, int(load))
    raise ValueError(f"{text!r} presses no button: write NAME@LOAD, like scan@2; NAME is one of {', '.join(BUTTONS)}")


def run_virtual_scanner(scanner: FilmScanner, host: str, port: int) -> None:
    """Serve `scanner` until SIGTERM or Ctrl-C; lines on stdin are commands, each answered by a line.

    ``ready`` is printed when clients may come. Raises ServiceError when nobody can listen at `host` and `port`.
    """
    asyncio.run(_serve(scanner, host, port))


async def _serve(scanner: FilmScanner, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    # Else a shell's background job would be stopped for reading the terminal.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        server = await listen(scanner, host, port)
    except OSError as error:
        text = f"{host}:{port}: cannot listen there ({error.strerror}); give another address with --listen"
        raise ServiceError(text, ExitCode.USAGE) from error
    click.echo("ready")
    lines: asyncio.Queue[str] = asyncio.Queue()
    threading.Thread(target=_read_lines, args=(loop, lines), daemon=True).start()
    commands = asyncio.create_task(_obey_all(scanner, lines))
    await stopped.wait()
    commands.cancel()
    server.close()


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    """Hand on what is typed, or piped, until its end.

    A thread, since files and terminals cannot be waited for alike; and past Python's buffers, whose locks would be
    missed at the end of the process. Without an input, or behind a terminal's back, there are no commands.
    """
    pending = b""
    with suppress(OSError):
        while received := os.read(_STDIN, 4096):
            *whole, pending = (pending + received).split(b"\n")
            for line in whole:
                loop.call_soon_threadsafe(lines.put_nowait, line.decode("utf-8", "replace"))


async def _obey_all(scanner: FilmScanner, lines: asyncio.Queue[str]) -> None:
    while True:
        line = await lines.get()
        try:
            answer = await obey(scanner, line)
        except (ValueError, OSError) as error:
            answer = f"error: {error}"
        click.echo(answer)


async def obey(scanner: FilmScanner, line: str) -> str:
    """Do what a line asks for and give the answer.

    Raises ValueError for what is no command, and OSError when the truth cannot be written.
    """
    match shlex.split(line):
        case ["fault", kind, *when] if len(when) < 2:
            fault = parse_fault("@".join((kind, *when)))
            scanner.faults.append(fault)
            return f"ok {fault}"
        case ["rate", "none"]:
            scanner.rate = None
            return "ok"
        case ["rate", number] if float(number) > 0:
            scanner.rate = float(number)
            return "ok"
        case ["press", button] if button in BUTTONS:
            scanner.pressed.add(button)
            return "ok"
        case ["load"]:
            scanner.load()
            return f"ok {scanner.bed.load_number}"
        case ["wipe"]:
            scanner.bed.wipe()
            return "ok"
        case ["truth", folder, *number] if len(number) < 2:
            which = int(number[0]) if number else scanner.delivered_count
            await asyncio.to_thread(_write_truth, scanner.view(which), Path(folder))
            return f"ok {which}"
    raise ValueError(
        f"{line!r} is no command; write fault KIND WHEN, rate BYTES_PER_S|none, press {'|'.join(BUTTONS)}, load, wipe "
        "or truth FOLDER [NUMBER]"
    )


def _write_truth(view: View, folder: Path) -> None:
    """Write what film and dirt are in a scan: ``film.npy`` (rows, columns, samples), ``glass.npy``, ``specks.npy``.

    As in `processing.flatbed.Band`; they are written band by band.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = view.grid.rows, view.grid.columns
    shapes = {"film": (rows, columns, CHANNELS[view.samples]), "glass": (rows, columns), "specks": (rows, columns)}
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in shapes}
        for name, shape in shapes.items():
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[name], header)
        for band in exposed(view):
            for name, file in files.items():
                file.write(getattr(band, name).astype("<f4").tobytes())
