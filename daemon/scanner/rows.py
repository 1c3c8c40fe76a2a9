"""A scan, in the worker process: from the scanner's rows to a file, as they come.

A scan is one pass or several: a colour each, or infrared after the colours. Each brings some samples of every pixel.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from fractions import Fraction
from importlib.metadata import version
from time import monotonic, sleep
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from ...processing.blank import Brightness
from ...processing.tiff_stream import (
    DATE_TIME,
    IMAGE_DESCRIPTION,
    MAKE,
    MODEL,
    SOFTWARE,
    X_RESOLUTION,
    Y_RESOLUTION,
    StreamedTiff,
)
from .fault import Fault, scanner_error
from .plan import Progress, Scanned, Starting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ...processing.arrays import Scan
    from ...processing.tiff_stream import Tag
    from .plan import Plan
    from .sane import Frame, Scanner
    from .section import Style

    Tell: TypeAlias = Callable[[Progress | Starting | None], None]

_BLOCK_BYTES = 1 << 20
"""Rows are written in blocks of about this size, which caches hold."""

_TELL_S = 0.1
"""Progress is told so often."""

_IDLE_S = 0.01

_SEPARATE = ("red", "green", "blue")
"""Formats of passes that bring a colour each."""

_SAMPLES = {"gray": 1, "color": 3} | dict.fromkeys(_SEPARATE, 1)
"""Samples a pixel, by the format of a pass."""


def scan(scanner: Scanner, plan: Plan, file: Path, tell: Tell) -> Scanned:
    """Scan as planned into a TIFF at `file`, made anew.

    `tell` is called with None where there is nothing to tell, so that it can raise what ends the scan. Raises that, and
    ScannerError; after either the file is of no use.
    """
    started, now = monotonic(), datetime.now().astimezone()
    section, infrared = plan.section, plan.section.infrared
    scanner.configure(section, plan.window)
    tags = _tags(scanner, plan, now)
    tell(Starting())
    frame = scanner.start()
    try:
        passes = _Passes(scanner, plan, frame, file, tell)
        try:
            passes.take(frame)
            while not frame.last:
                tell(Starting())
                frame = scanner.start()
                passes.take(frame)
            if infrared.style in ("source", "mode", "scan"):
                if infrared.value is not None:
                    scanner.cancel()
                    scanner.configure(section, plan.window, infrared=True)
                tell(Starting())
                passes.take(scanner.start(), infrared=True)
            scanner.cancel()
            return passes.finish(tags, monotonic() - started)
        finally:
            passes.close()
    except OSError as error:
        raise scanner_error(scanner.name, Fault.DISK, f"{file} cannot be written: {error.strerror}") from error


class _Passes:
    """The passes of one scan on their way into a file; `first` is the first of them. It has to be closed."""

    def __init__(self, scanner: Scanner, plan: Plan, first: Frame, file: Path, tell: Tell) -> None:
        self._scanner, self._file, self._tell = scanner, file, tell
        self._width, self._depth = first.width, first.depth
        style = plan.section.infrared.style
        self._require_depth(first, plan.section.depth)
        self._four, self._page = style == "sample", style == "scan"
        self._require_samples(first, style)
        self._colours = 1 if first.format == "gray" and not self._four else 3
        self._height: int | None = None
        passes = (1 if first.last else 3) + (style in ("source", "mode", "scan"))
        self._of_rows = None if first.height is None else first.height * passes
        dtype = np.dtype(np.uint8 if first.depth == 8 else np.uint16)
        samples = self._colours + (style != "none")
        self._require_room((first.height or 0) * first.width * samples * dtype.itemsize)
        self._brightness = Brightness(self._colours, dtype)
        self._tiff = StreamedTiff(file, first.width, samples, dtype)
        # The colours that infrared has not differed from yet: a copy of one is no infrared.
        self._copied = [] if style == "none" else list(range(self._colours))
        self._told = 0.0
        self._rows = 0

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()

    def take(self, frame: Frame, infrared: bool = False) -> None:
        """Write the rows of a pass that has been started."""
        if (frame.width, frame.depth) != (self._width, self._depth):
            self._differ(f"{frame.width} pixels of {frame.depth} bits", f"{self._width} of {self._depth} bits")
        if not self._four and frame.format not in _SAMPLES:
            self._refuse(f"it gives rows of {frame.format}; set its mode to grey or colour")
        if infrared and self._page and frame.format != "gray":
            self._miss_infrared("the page after the colours has colours again")
        first = _SEPARATE.index(frame.format) if frame.format in _SEPARATE else 0
        first = self._colours if infrared else first
        samples = self._tiff.samples if self._four else _SAMPLES[frame.format]
        if frame.row_bytes < self._width * samples * self._tiff.dtype.itemsize:
            self._differ(f"{frame.row_bytes} bytes a row", f"{samples} samples a pixel")
        size = max(1, _BLOCK_BYTES // frame.row_bytes)
        block = np.empty((size, frame.row_bytes), np.uint8)
        top = filled = 0
        rows_before = self._rows
        hung_up = False
        self._report(0)
        self._tell(Starting())  # many begin to move the carriage only when they are asked for rows
        while (count := self._scanner.read(block, filled)) is not None:
            if not count:  # some do not wait for rows
                self._tell(None)
                if hung_up:
                    raise scanner_error(self._scanner.name, Fault.VANISHED, "the connection to it broke")
                # The net backend takes that for rows to come, for ever. Others read the end that they are told of.
                hung_up = self._scanner.hung_up()
                sleep(_IDLE_S)
                continue
            filled += count
            self._rows = rows_before + top + filled // frame.row_bytes
            if filled == block.size:
                self._put(top, first, samples, block)
                top, filled = top + size, 0
            self._report(_TELL_S)
        height, rest = divmod(filled, frame.row_bytes)
        if height:
            self._put(top, first, samples, block[:height])
        height += top
        # Where rows were not announced, a broken one is all that tells that some are missing.
        expected = self._height or frame.height or max(1, height + (rest > 0))
        if height < expected:
            raise scanner_error(self._scanner.name, Fault.SHORT, f"it ended after {height} of {expected} rows")
        if height > expected and self._height is not None:
            self._differ(f"{height} rows", f"{expected} rows")
        self._height = height
        self._report(0)

    def finish(self, tags: dict[int, Tag], seconds: float) -> Scanned:
        """Make a picture of what was taken. Raises ScannerError where there is nothing on it."""
        brightness = self._brightness.blank()
        if brightness is not None:
            what = f"the frame is blank: all of it has {brightness:.1%} of the full brightness"
            raise scanner_error(self._scanner.name, Fault.BLANK, what)
        if self._copied:
            self._miss_infrared("what it gives for infrared is a copy of a colour")
        height = self._height or 0
        self._tiff.finish(height, self._colours, tags)
        return Scanned(self._file, self._width, height, self._tiff.samples, self._depth, seconds)

    def _put(self, top: int, first: int, samples: int, block: npt.NDArray[np.uint8]) -> None:
        """Write whole rows, without what a device pads them with."""
        used = self._width * samples * self._tiff.dtype.itemsize
        packed = np.ascontiguousarray(block[:, :used])
        rows: Scan = packed.view(self._tiff.dtype).reshape(len(block), self._width, samples)
        if first < self._colours:
            self._brightness.see(first, rows[:, :, : self._colours])
        else:
            rows = rows[:, :, samples // 2 : samples // 2 + 1]  # in colour, infrared is in all of them
        self._tiff.put(top, first, rows)
        if self._copied and (self._four or first == self._colours):
            written = self._tiff.rows(top, len(rows))
            self._copied = [one for one in self._copied if np.array_equal(written[:, :, one], written[:, :, -1])]

    def _report(self, every_s: float) -> None:
        now = monotonic()
        if now - self._told < every_s:
            return
        self._told = now
        self._tell(Progress(self._rows, self._of_rows))

    def _require_depth(self, frame: Frame, asked: int | None) -> None:
        if frame.depth not in (8, 16) or asked not in (None, frame.depth):
            self._refuse(f"it gives {frame.depth} bits a sample, not {asked or '8 or 16'}; set its depth or its mode")

    def _require_samples(self, frame: Frame, style: Style) -> None:
        if frame.width < 1 or frame.row_bytes < 1:
            self._refuse("the window that it scans is empty; make it larger")
        if (unfit := frame.unfit(style)) is not None:
            self._refuse(unfit)

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._file.parent).free
        if needed > free:
            what = f"{self._file} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free"
            raise scanner_error(self._scanner.name, Fault.DISK, what)

    def _miss_infrared(self, what: str) -> NoReturn:
        raise scanner_error(self._scanner.name, Fault.NO_INFRARED, what)

    def _differ(self, these: str, those: str) -> NoReturn:
        self._refuse(f"its passes do not fit together: one gives {these}, another {those}")

    def _refuse(self, what: str) -> NoReturn:
        raise scanner_error(self._scanner.name, Fault.REFUSED, what)


def _tags(scanner: Scanner, plan: Plan, now: datetime) -> dict[int, Tag]:
    """What the file says of the scan, the scanner being set for it."""
    options = {name: scanner.value(name) for name in plan.section.settings}
    told = {"scanner": scanner.name, **plan.tags, "options": options}
    tags: dict[int, Tag] = {
        IMAGE_DESCRIPTION: json.dumps(told, default=str),
        SOFTWARE: f"dustwatch {version('dustwatch')}",
        DATE_TIME: now.strftime("%Y:%m:%d %H:%M:%S"),
    }
    if plan.device is not None:
        tags |= {MAKE: plan.device.vendor, MODEL: plan.device.model}
    for code, name in ((X_RESOLUTION, "x-resolution"), (Y_RESOLUTION, "y-resolution")):
        dpi = scanner.value(name) or scanner.value("resolution")
        if isinstance(dpi, int | float) and dpi > 0:
            tags[code] = Fraction(dpi).limit_denominator(1 << 16)
    return tags
