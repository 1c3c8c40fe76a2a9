"""The scanner itself, in the worker process only: python-sane for devices, options and start, sane_read for the rows.

python-sane reads no rows that are padded, of four samples or of more than 2 GiB, so they are read from the handle that
it holds. What it takes of options it takes without a look: a misspelt one, or a number for a switch. So all is checked
here before it gets there, and read back.
"""

from __future__ import annotations

import ctypes
import fcntl
import select
import termios
from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import _sane
import sane

from ..errors import ExitCode, ServiceError
from .device import CORNERS, NEAR, Device, Kind, Option, Range, as_written, same, unfit
from .fault import Fault, ScannerError, scanner_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from .device import Choices, Value
    from .plan import Window
    from .section import ScannerSection, Style

_GOOD, _END = 0, 5
_SET_VALUE = 1

_FAULTS = {
    1: Fault.REFUSED,
    2: Fault.CANCELLED,
    3: Fault.BUSY,
    4: Fault.REFUSED,
    5: Fault.IO_ERROR,
    6: Fault.JAMMED,
    7: Fault.NO_DOCUMENTS,
    8: Fault.COVER_OPEN,
    9: Fault.IO_ERROR,
    10: Fault.IO_ERROR,
    11: Fault.DENIED,
}
"""What a status of SANE means in the middle of things."""

_NOT_THERE = (Fault.REFUSED, Fault.IO_ERROR)
"""What a device that is not there answers to being opened."""

_KINDS: dict[int, Kind] = {0: "switch", 1: "whole number", 2: "number", 3: "text", 4: "push button"}
_UNITS = ("", "px", "bit", "mm", "dpi", "%", "µs")
_INT, _FIXED, _BUTTON, _GROUP = 1, 2, 4, 5
_SOFT_SELECT, _HARD_SELECT, _SOFT_DETECT, _INACTIVE = 1, 2, 4, 32
_WORD_BYTES = 4
_ONE = 1 << 16
"""The number 1 in SANE's fixed point."""

_EDGES = dict(zip(CORNERS, ("left", "top", "right", "bottom"), strict=True))

_WINDOW_SLACK_MM = 0.5
"""By so much a device may move the edge of a window to where it can stop."""


class _Parameters(ctypes.Structure):
    """SANE_Parameters."""

    _fields_ = (
        ("format", ctypes.c_int),
        ("last_frame", ctypes.c_int),
        ("bytes_per_line", ctypes.c_int),
        ("pixels_per_line", ctypes.c_int),
        ("lines", ctypes.c_int),
        ("depth", ctypes.c_int),
    )


_FORMATS = ("gray", "color", "red", "green", "blue")

# Through python-sane's own module, which is the libsane that it is bound to.
_library = ctypes.CDLL(_sane.__file__)
_library.sane_strstatus.restype = ctypes.c_char_p
_library.sane_get_parameters.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Parameters))
_library.sane_control_option.argtypes = (
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_int),
)
_library.sane_get_select_fd.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
_library.sane_read.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int))

_STATUS_OF = {_library.sane_strstatus(status).decode(): status for status in _FAULTS}
"""Statuses by the text that is all that python-sane tells."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What SANE calls a frame: the rows of one pass.

    `format`: of `_FORMATS`. `last`: nothing of this picture follows. `height` is None where it is not known.
    """

    format: str
    last: bool
    width: int
    height: int | None
    depth: int
    row_bytes: int

    def unfit(self, style: Style) -> str | None:
        """Say why its samples are not what a style of infrared needs; None where they are, or it is not known yet."""
        sample_bytes = self.depth // 8
        if self.width < 1 or sample_bytes < 1:
            return None
        samples = self.row_bytes / (self.width * sample_bytes)
        if style == "sample" and samples < 4:
            return f"it gives {int(samples)} samples a pixel, but infrared style sample needs 4; set its mode"
        if style != "sample" and self.format == "color" and samples == 4:
            return "it gives 4 samples a pixel; write infrared style sample"
        return None


def devices() -> tuple[Device, ...]:
    """List the devices that SANE finds."""
    sane.init()
    return tuple(Device(*map(str, listed)) for listed in sane.get_devices())


def open_scanner(name: str) -> Scanner:
    """Open a device. Raises ScannerError, and ServiceError where python-sane is another than is known."""
    sane.init()
    try:
        dev = sane.open(name).dev
        told = dev.get_parameters()
    except _sane.error as error:
        fault = Fault.VANISHED if _fault(error) in _NOT_THERE else _fault(error)
        raise scanner_error(name, fault, f"it cannot be opened ({error})") from error
    # There it stands in the object of python-sane, which has no way to ask for it; so what it gives is compared.
    handle = ctypes.c_void_p.from_address(id(dev) + object.__basicsize__).value
    found = _parameters(name, handle)
    size = (found.pixels_per_line, found.lines)
    if told != (_format(found), found.last_frame, size, found.depth, found.bytes_per_line):
        raise ServiceError("this version of python-sane cannot be used; install 2.9.2", ExitCode.USAGE)
    return Scanner(name, dev, handle)


def _parameters(name: str, handle: int | None) -> _Parameters:
    """What comes, or would come if a scan were started."""
    found = _Parameters()
    status = _library.sane_get_parameters(handle, ctypes.byref(found))
    if status != _GOOD:
        # Where the other end has gone, the net backend gives whatever lies in memory for a status.
        raise scanner_error(name, _FAULTS.get(status, Fault.VANISHED), "it does not tell what it scans")
    return found


def _format(found: _Parameters) -> str:
    return _FORMATS[found.format] if 0 <= found.format < len(_FORMATS) else "unknown format"


class Scanner:
    """An open device. All methods raise ScannerError; after any error nothing more can be asked of it."""

    def __init__(self, name: str, dev: Any, handle: int | None) -> None:
        """`dev` is what python-sane works with, `handle` what libsane does; `open_scanner` has both."""
        self.name = name
        self._dev = dev
        self._handle = handle

    def close(self) -> None:
        """End a scan that goes on, and let go of the device."""
        self._dev.cancel()
        self._dev.close()
        sane.exit()

    # --- options --------------------------------------------------------------------------------------------

    def options(self) -> tuple[Option, ...]:
        """All options with their values; not of buttons, for reading one uses its being pressed up."""
        described = self._described().values()
        return tuple(self._with_value(number, option) for number, option in described)

    def pressed(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these buttons have been pressed since they were last read."""
        described = self._described()
        # Not every backend says of a button that it is one; what programs can set is none.
        unknown = [name for name in names if name not in described or described[name][1].settable]
        if unknown:
            buttons = ", ".join(name for name, (_, option) in described.items() if option.button) or "none"
            self._refuse([f"there is no button {', '.join(unknown)}; there are: {buttons}"])
        return frozenset(name for name in names if described[name][1].active and self._get(described[name][0]))

    def set(self, settings: Mapping[str, Value]) -> None:
        """Set options; refuses with all that is wrong."""
        self._refuse(self._apply(settings))

    def configure(self, section: ScannerSection, window: Window | None, *, infrared: bool = False) -> None:
        """Set all that the section says, or, after that, what its infrared scan needs, then the window; read it back.

        Refuses with all that is wrong.
        """
        self._refuse(self._configure_infrared(section, window) if infrared else self._configure(section, window))

    def check(self, section: ScannerSection, windows: Sequence[Window]) -> None:
        """Set the device as for scans of each window and of infrared. Refuses with all that is wrong."""
        described = self._described()
        problems = [_unknown(name, described) for name in (section.lamp,) if name is not None and name not in described]
        for window in windows or (None,):
            said = self._configure(section, window)
            problems += said
            if not said and (unfit := self._frame().unfit(section.infrared.style)) is not None:
                problems.append(unfit)
            if section.infrared_settings:
                problems += self._configure_infrared(section, window, said)
        self._refuse(list(dict.fromkeys(problems)))

    def _configure(self, section: ScannerSection, window: Window | None) -> list[str]:
        problems = self._apply(section.settings)
        described = self._described()
        for name in section.required:
            if name in section.settings:
                continue  # what is wrong with it has been said
            if name not in described:
                problems.append(f"{_unknown(name, described)}, which is required")
            elif not described[name][1].active:
                problems.append(f"{name}, which is required, is inactive with these options")
        return problems + self._place(window, section)

    def _configure_infrared(
        self, section: ScannerSection, window: Window | None, said: Collection[str] = ()
    ) -> list[str]:
        problems = self._apply(section.infrared_settings) + self._place(window, section)
        return [f"infrared.value {section.infrared.value}: {problem}" for problem in problems if problem not in said]

    def value(self, name: str) -> Value | None:
        """The value of an option, None where there is none."""
        number, option = self._described().get(name, (0, None))
        return self._with_value(number, option).value if option else None

    def _refuse(self, problems: list[str]) -> None:
        if problems:
            raise scanner_error(self.name, Fault.REFUSED, *problems)

    def _apply(self, settings: Mapping[str, Value]) -> list[str]:
        """Set options, those that are inactive when others have been set; give what is wrong."""
        problems: list[str] = []
        pending, done = dict(settings), {}
        while pending:
            waiting = {}
            for name, value in pending.items():
                described = self._described()
                number, option = described.get(name, (0, None))
                if option is None:
                    problems.append(_unknown(name, described))
                elif (fault := unfit(option, value)) is not None:
                    problems.append(fault)
                elif not option.active:
                    waiting[name] = value
                elif (fault := self._set(number, option, value)) is not None:
                    problems.append(fault)
                else:
                    done[name] = value
            if len(waiting) == len(pending):
                problems += [f"{name} is inactive with these options" for name in waiting]
                break
            pending = waiting
        # Setting one option may have changed another.
        for name, value in self._different(done).items():
            number, option = self._described()[name]
            if option.active:
                self._set(number, option, value)  # where that is refused, it has another value below
        described = self._described()
        for name, value in self._different(done).items():
            number, option = described[name]
            became = self._with_value(number, option).value
            what = f"became {as_written(became)}"
            if became is None:
                what = "cannot be read back" if option.active else "is inactive with these options"
            problems.append(f"{name}: {as_written(value)} {what}; possible: {option.possible}")
        return problems

    def _different(self, settings: Mapping[str, Value]) -> dict[str, Value]:
        """Those options that do not have these values; push buttons have none."""
        described = self._described()
        wanted = {name: value for name, value in settings.items() if described[name][1].kind != "push button"}
        return {
            name: value for name, value in wanted.items() if not same(self._with_value(*described[name]).value, value)
        }

    def _place(self, window: Window | None, section: ScannerSection) -> list[str]:
        """Set the window, if any; give what is wrong."""
        if window is None:
            return []
        described = self._described()
        unit = {"mm": "mm", "pixels": "px"}[section.geometry]
        missing = [name for name in CORNERS if name not in described or not described[name][1].active]
        if missing:
            return [f"it has no {', '.join(missing)}, so that no window can be set"]
        found = described["tl-x"][1].unit
        if found != unit:
            right = {"mm": "mm", "px": "pixels"}.get(found, "mm")
            return [f"it measures the window in {right}; write geometry: {right}"]
        per_mm = 1.0 if unit == "mm" else (section.geometry_dpi or section.resolution or 0.0) / 25.4
        far = (window.x + window.width, window.y + window.height)
        wanted = dict(zip(CORNERS, (mm * per_mm for mm in (window.x, window.y, *far)), strict=True))
        beside = [
            f"its {_EDGES[name]} edge at {value / per_mm:g} mm (possible: {limits.low / per_mm:g} to "
            f"{limits.high / per_mm:g} mm)"
            for name, value in wanted.items()
            if isinstance(limits := described[name][1].constraint, Range)
            and not limits.low - NEAR <= value <= limits.high + NEAR
        ]
        if beside:
            what_to_do = "correct it in the holder's file, or set a source with a larger area"
            return [f"{window.name} lies beside the bed: {', '.join(beside)}; {what_to_do}"]
        problems = []
        for near, away in (("tl-x", "br-x"), ("tl-y", "br-y")):
            # Neither edge may pass the other on the way.
            beyond = wanted[near] > float(self._get(described[away][0]) or 0)
            for name in (away, near) if beyond else (near, away):
                number, option = described[name]
                value = round(wanted[name]) if option.kind == "whole number" else wanted[name]
                if (fault := self._set(number, option, value)) is not None:
                    problems.append(fault)
        for name, value in () if problems else wanted.items():
            number, option = described[name]
            became = float(self._get(number) or 0)
            step = option.constraint.step if isinstance(option.constraint, Range) else 0
            if abs(became - value) > max(step, 1.0 if unit == "px" else 0.0, _WINDOW_SLACK_MM * per_mm):
                problems.append(f"{name}: {value:g} {unit} became {became:g}; possible: {option.possible}")
        return [f"{window.name}: {problem}" for problem in problems]

    def _described(self) -> dict[str, tuple[int, Option]]:
        """Numbers and descriptions of all options, without values. Fetched anew: any setting may have changed them."""
        try:
            listed = self._dev.get_options()
        except _sane.error as error:
            self._fail(error, "its options cannot be read")
        return {name: (number, option) for number, option in map(_option, listed) if (name := option.name)}

    def _with_value(self, number: int, option: Option) -> Option:
        if not (option.active and option.readable):
            return option
        try:
            value = self._get(number)
        except ScannerError as error:
            if error.fault is not Fault.REFUSED:
                raise
            return option
        return replace(option, value=bool(value) if option.kind == "switch" else value)

    def _get(self, number: int) -> Value | None:
        try:
            value: Value | None = self._dev.get_option(number)
        except _sane.error as error:
            self._fail(error, "an option cannot be read")
        return value

    def _set(self, number: int, option: Option, value: Value) -> str | None:
        """Set an option; say what is wrong where the device refuses that."""
        if option.kind == "push button":
            return self._press(number, option)
        # python-sane takes nothing but floats for numbers, whose last bit it cuts off, and nothing but integers for
        # switches.
        if isinstance(value, str):
            sent: Value = value
        else:
            sent = round(value * _ONE) / _ONE if option.kind == "number" else int(value)
        try:
            self._dev.set_option(number, sent)
        except _sane.error as error:
            what = f"{option.name} cannot be set to {as_written(value)} ({error}); possible: {option.possible}"
            if _fault(error) is Fault.REFUSED:
                return what
            raise scanner_error(self.name, _fault(error), what) from error
        return None

    def _press(self, number: int, option: Option) -> str | None:
        """Press a push button, which python-sane does not do; say what is wrong where the device refuses that."""
        status = _library.sane_control_option(self._handle, number, _SET_VALUE, None, ctypes.byref(ctypes.c_int()))
        fault, what = _FAULTS.get(status, Fault.IO_ERROR), f"{option.name} cannot be pressed"
        if status != _GOOD and fault is not Fault.REFUSED:
            raise scanner_error(self.name, fault, what)
        return None if status == _GOOD else what

    # --- rows -----------------------------------------------------------------------------------------------

    def start(self) -> Frame:
        """Start a pass, or the next one."""
        try:
            self._dev.start()
        except _sane.error as error:
            self._fail(error, "it does not start")
        return self._frame()

    def _frame(self) -> Frame:
        """The pass that was started, or what one would be if it were started now."""
        told = _parameters(self.name, self._handle)
        height = told.lines if told.lines >= 0 else None
        last = bool(told.last_frame)
        return Frame(_format(told), last, told.pixels_per_line, height, told.depth, told.bytes_per_line)

    def read(self, buffer: npt.NDArray[np.uint8], start: int) -> int | None:
        """Read what there is into `buffer` from byte `start` on; None at the end of the pass."""
        count = ctypes.c_int()
        status = _library.sane_read(self._handle, buffer.ctypes.data + start, buffer.size - start, ctypes.byref(count))
        if status == _END:
            return None
        if status != _GOOD:
            fault = _FAULTS.get(status, Fault.IO_ERROR)
            # The options have been taken; a backend that finds fault with them now has lost its scanner.
            fault = Fault.IO_ERROR if fault is Fault.REFUSED else fault
            raise scanner_error(self.name, fault, "it stopped in the middle of a scan")
        return count.value

    def hung_up(self) -> bool:
        """Whether the other end of that through which rows come has closed it, and nothing is left in it.

        False where the backend does not say what that is.
        """
        fd = ctypes.c_int()
        if _library.sane_get_select_fd(self._handle, ctypes.byref(fd)) != _GOOD or fd.value < 0:
            return False
        poll = select.poll()
        poll.register(fd.value, select.POLLRDHUP)
        if not poll.poll(0):
            return False
        left = array("i", [0])
        try:
            fcntl.ioctl(fd.value, termios.FIONREAD, left)
        except OSError:
            return False
        return not left[0]

    def cancel(self) -> None:
        """End the scan: after its last pass, too."""
        self._dev.cancel()

    def _fail(self, error: Exception, what: str) -> NoReturn:
        raise scanner_error(self.name, _fault(error), f"{what} ({error})") from error


def _fault(error: Exception) -> Fault:
    """What an error of python-sane means in the middle of things."""
    status = _STATUS_OF.get(str(error))
    return Fault.VANISHED if status is None else _FAULTS[status]  # as above


def _option(listed: tuple[Any, ...]) -> tuple[int, Option]:
    """Number and description of an option as python-sane lists it."""
    number, name, title, _, kind, unit, size, capabilities, constraint = listed
    button = bool(capabilities & _HARD_SELECT and capabilities & _SOFT_DETECT) and kind <= _INT
    table = kind <= _FIXED and size > _WORD_BYTES
    limits: Range | Choices | None = None
    if isinstance(constraint, tuple):
        limits = Range(*constraint)
    elif constraint is not None:
        limits = tuple(constraint)
    return number, Option(
        "" if kind == _GROUP else name,
        title,
        _KINDS.get(kind, "push button"),
        _UNITS[unit],
        limits,
        None,
        active=not capabilities & _INACTIVE,
        settable=bool(capabilities & _SOFT_SELECT),
        readable=bool(capabilities & _SOFT_DETECT) and not (button or table) and kind < _BUTTON,
        table=table,
        button=button,
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    from ..yaml_file import did_you_mean  # a library that a worker without problems does without

    return f"there is no option {name}{did_you_mean(name, known)}"
