"""The virtual film scanner as a device: its options, what they do to each other, its window, buttons and faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...processing.flatbed import CHANNELS, Samples, View
from ...processing.platen import Grid
from .faults import STATUS, Fault
from .protocol import (
    Capability,
    Constraint,
    Descriptor,
    FrameFormat,
    Info,
    Kind,
    Parameters,
    Range,
    Status,
    Unit,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .bed import Bed

NAME, VENDOR, MODEL, TYPE = "film", "Virtual", "FilmScan 9000", "film scanner"
BUTTONS = ("scan", "file", "email", "copy")

_MM_PER_INCH = 25.4
_FIXED = 1 << 16
"""What 1 is as a FIXED."""

_FLATBED, _TRANSPARENCY, _INFRARED = "Flatbed", "Transparency Unit", "Transparency Unit Infrared"
_AREAS_MM = {
    _FLATBED: (215.9, 297.2),
    _TRANSPARENCY: (203.0, 254.0),
    "TPU8x10": (203.2, 254.0),
    _INFRARED: (203.0, 254.0),
}
"""Width and height that each source lights."""

_MODES: dict[str, Samples] = {
    "Gray": "grey",
    "Color": "colour",
    "Infrared": "infrared",
    "RGBI": "colour and infrared",
}
_RESOLUTIONS = (75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400)
_REMEMBERED = 1024
"""Of so many scans the truth can be asked for."""

_SETTABLE = Capability.SOFT_SELECT | Capability.SOFT_DETECT


class RefusedError(Exception):
    """The device does not do what it is asked for; `status` says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Press:
    """A button is pressed when it is time to scan a load; they are counted from 1."""

    button: str
    load_number: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that has been started. `warm_up_s` pass before its first row; without the lamp it is `dark`."""

    parameters: Parameters
    view: View
    warm_up_s: float
    dark: bool
    fault: Fault | None


class FilmScanner:
    """One device, which one client at a time may open. Infrared comes in each of the four styles.

    `rate`: bytes a second, None for as fast as it goes. `faults`: what goes wrong with the next scans, one each.
    `pressed`: buttons that nobody has read since. `delivered`: the newest scans that went out as a whole.
    """

    def __init__(
        self,
        bed: Bed,
        *,
        rate: float | None = None,
        faults: Iterable[Fault] = (),
        presses: Iterable[Press] = (),
    ) -> None:
        """`presses`: buttons that are going to be pressed."""
        self.bed = bed
        self.rate = rate
        self.faults = deque(faults)
        self.pressed: set[str] = set()
        self.delivered: deque[View] = deque(maxlen=_REMEMBERED)
        self.delivered_count = 0
        self._presses = list(presses)
        self._in_use = False
        self._press_for(bed.load_number)

    def open(self) -> Session:
        """Give the device to a client, with all options at their defaults. Raises RefusedError while another has it."""
        if self._in_use:
            raise RefusedError(Status.DEVICE_BUSY)
        self._in_use = True
        return Session(self)

    def close(self) -> None:
        """Take the device back."""
        self._in_use = False

    def load(self) -> None:
        """Put new film in."""
        self.bed.load()
        self._press_for(self.bed.load_number)

    def deliver(self, view: View) -> None:
        """Note that a scan went out as a whole."""
        self.bed.scanned(view)
        self.delivered.append(view)
        self.delivered_count += 1
        if self.bed.all_scanned:
            self._press_for(self.bed.load_number + 1)

    def view(self, number: int) -> View:
        """The scan that was delivered as number `number`, from 1 on. Raises ValueError where it is not remembered."""
        oldest = self.delivered_count - len(self.delivered) + 1
        if not oldest <= number <= self.delivered_count:
            raise ValueError(f"there is no scan {number}: those from {oldest} to {self.delivered_count} are remembered")
        return self.delivered[number - oldest]

    def _press_for(self, load_number: int) -> None:
        self.pressed |= {press.button for press in self._presses if press.load_number == load_number}
        self._presses = [press for press in self._presses if press.load_number != load_number]


class Session:
    """The device in the hands of a client."""

    def __init__(self, scanner: FilmScanner) -> None:
        self._scanner = scanner
        self._values = dict(_DEFAULTS)
        self._frame: Frame | None = None
        self._next_page: View | None = None
        self._announced: Parameters | None = None

    # --- options ----------------------------------------------------------------------------------------------

    def descriptors(self) -> list[Descriptor]:
        """All options as they are now."""
        return [self._now(one) for one in _OPTIONS]

    def get(self, number: int) -> tuple[Descriptor, Value]:
        """Give an option and what it holds; that releases a button. Raises RefusedError for what holds nothing."""
        option = self._option(number)
        if option.capabilities & Capability.INACTIVE:
            raise RefusedError(Status.INVALID)
        if number == _COUNT:
            return option, (len(_OPTIONS),)
        if option.name in BUTTONS:
            pressed = option.name in self._scanner.pressed
            self._scanner.pressed.discard(option.name)
            return option, (int(pressed),)
        if option.name not in self._values:
            raise RefusedError(Status.INVALID)
        return option, self._values[option.name]

    def set(self, number: int, value: Value) -> tuple[Descriptor, Value, Info]:
        """Let an option hold `value`, or the closest to it that there is; give the option, that, and what else changes.

        Raises RefusedError for what cannot be set, for a text that is no choice, and while a frame is under way.
        """
        option = self._option(number)
        if not option.capabilities & Capability.SOFT_SELECT or option.capabilities & Capability.INACTIVE:
            raise RefusedError(Status.INVALID)
        if self._frame is not None:
            raise RefusedError(Status.DEVICE_BUSY)
        if option.kind == Kind.BUTTON:
            return option, None, Info.NONE
        options, parameters = self.descriptors(), self.parameters()
        held = _closest(value, option)
        self._values[option.name] = held
        self._announced = self._next_page = None
        if option.name == "source":
            for name in ("tl-x", "tl-y", "br-x", "br-y"):
                place = self._now(next(one for one in _OPTIONS if one.name == name))
                self._values[name] = _closest(self._values[name], place)
        info = Info.NONE if held == value else Info.INEXACT
        if self.descriptors() != options:
            info |= Info.RELOAD_OPTIONS
        if self.parameters() != parameters:
            info |= Info.RELOAD_PARAMETERS
        return option, held, info

    def _option(self, number: int) -> Descriptor:
        if not 0 <= number < len(_OPTIONS):
            raise RefusedError(Status.INVALID)
        return self._now(_OPTIONS[number])

    def _now(self, option: Descriptor) -> Descriptor:
        """An option as it is with what the others hold."""
        if option.name in ("film-type", "infrared") and self._text("source") == _FLATBED:
            return replace(option, capabilities=option.capabilities | Capability.INACTIVE)
        width, height = _AREAS_MM[self._text("source")]
        if option.name in ("tl-x", "br-x"):
            return replace(option, constraint=Range(0, _fixed(width)))
        if option.name in ("tl-y", "br-y"):
            return replace(option, constraint=Range(0, _fixed(height)))
        return option

    def _text(self, name: str) -> str:
        return str(self._values[name])

    def _word(self, name: str) -> int:
        value = self._values[name]
        return value[0] if isinstance(value, tuple) else 0

    # --- frames -----------------------------------------------------------------------------------------------

    def parameters(self) -> Parameters:
        """What the last frame is until it is cancelled or an option set, or what one would be if it began now."""
        return self._announced or self._next()

    def _next(self) -> Parameters:
        grid, samples = self._grid(), self._samples()
        channels, depth = CHANNELS[samples], self._word("depth")
        return Parameters(
            FrameFormat.GREY if channels == 1 else FrameFormat.RGB,
            True,
            grid.columns * channels * depth // 8,
            grid.columns,
            grid.rows,
            depth,
        )

    def start(self) -> Frame:
        """Begin a frame. Raises RefusedError when one is under way, when there is nothing to see, and for a fault."""
        if self._frame is not None:
            raise RefusedError(Status.DEVICE_BUSY)
        grid, samples, flatbed = self._grid(), self._samples(), self._text("source") == _FLATBED
        if not (grid.rows and grid.columns) or (flatbed and "infrared" in samples):
            raise RefusedError(Status.INVALID)
        fault = self._scanner.faults.popleft() if self._scanner.faults else None
        if fault is not None and fault.at is None and fault.kind in STATUS:
            raise RefusedError(STATUS[fault.kind])
        if self._next_page is not None:
            view = replace(self._next_page, samples="infrared")
        else:
            view = self._scanner.bed.view(grid, samples, reflected=flatbed)
        dark = not self._word("lamp")
        self._announced = self._next()
        self._frame = Frame(self._announced, view, self._word("warm-up"), dark, fault)
        return self._frame

    def finish(self, *, whole: bool) -> None:
        """End the frame; `whole`: all of it has been delivered, and it was good."""
        frame, self._frame = self._frame, None
        pages = bool(self._word("infrared")) and self._text("source") != _FLATBED
        infrared_follows = pages and self._next_page is None and frame is not None and frame.view.samples != "infrared"
        self._next_page = frame.view if frame is not None and whole and infrared_follows else None
        if frame is not None and whole:
            self._scanner.deliver(frame.view)

    def cancel(self) -> None:
        """Forget the frame that is under way, and the page after it."""
        self._frame = self._announced = self._next_page = None

    def close(self) -> None:
        """Give the device back."""
        self._scanner.close()

    def _grid(self) -> Grid:
        left, top, right, bottom = (self._word(name) / _FIXED for name in ("tl-x", "tl-y", "br-x", "br-y"))
        px_per_mm = self._word("resolution") / _MM_PER_INCH
        rows, columns = (max(round(length * px_per_mm), 0) for length in (bottom - top, right - left))
        return Grid(top, left, px_per_mm, rows, columns)

    def _samples(self) -> Samples:
        if self._next_page is not None or self._text("source") == _INFRARED:
            return "infrared"
        return _MODES[self._text("mode")]


def _closest(value: Value, option: Descriptor) -> Value:
    """What `option` can hold that is closest to `value`. Raises RefusedError for another type or text."""
    constraint = option.constraint
    if option.kind == Kind.STRING:
        if not isinstance(constraint, tuple) or value not in constraint:
            raise RefusedError(Status.INVALID)
        return value
    if not isinstance(value, tuple) or len(value) != 1:
        raise RefusedError(Status.INVALID)
    (word,) = value
    if option.kind == Kind.BOOL and word not in (0, 1):
        raise RefusedError(Status.INVALID)
    if isinstance(constraint, Range):
        return (min(max(word, constraint.least), constraint.most),)
    if isinstance(constraint, tuple):
        return (min((one for one in constraint if isinstance(one, int)), key=lambda one: abs(one - word)),)
    return value


def _fixed(number: float) -> int:
    return round(number * _FIXED)


def _group(title: str) -> Descriptor:
    return Descriptor("", title, "", Kind.GROUP, Unit.NONE, 0, Capability(0))


def _choice(name: str, title: str, description: str, choices: Iterable[str]) -> Descriptor:
    texts = tuple(choices)
    size = max(map(len, texts)) + 1
    return Descriptor(name, title, description, Kind.STRING, Unit.NONE, size, _SETTABLE, texts)


def _number(
    name: str, title: str, description: str, unit: Unit, constraint: Constraint, kind: Kind = Kind.INT
) -> Descriptor:
    return Descriptor(name, title, description, kind, unit, 4, _SETTABLE, constraint)


def _switch(name: str, title: str, description: str, capabilities: Capability = _SETTABLE) -> Descriptor:
    return Descriptor(name, title, description, Kind.BOOL, Unit.NONE, 4, capabilities)


def _edge(name: str, title: str, description: str) -> Descriptor:
    return _number(name, title, description, Unit.MM, None, Kind.FIXED)


_BUTTON = Capability.HARD_SELECT | Capability.SOFT_DETECT

_COUNT = 0
"""The option that says how many there are; SANE wants it to be the first."""

_OPTIONS = (
    Descriptor("", "Number of options", "How many options there are.", Kind.INT, Unit.NONE, 4, Capability.SOFT_DETECT),
    _group("Scan Mode"),
    _choice(
        "mode",
        "Scan mode",
        "What each pixel has; RGBI is red, green, blue and, as fourth sample, infrared. "
        "Infrared needs a transparency unit.",
        _MODES,
    ),
    _number("depth", "Bit depth", "Bits of a sample, linear in light.", Unit.BIT, (8, 16)),
    _number("resolution", "Scan resolution", "Pixels to the inch.", Unit.DPI, _RESOLUTIONS),
    _choice("source", "Scan source", "Where the light comes from.", _AREAS_MM),
    _choice(
        "film-type",
        "Film type",
        "What lies in the holder. It is scanned as it is either way, and not inverted.",
        ("Positive Film", "Negative Film"),
    ),
    _switch("infrared", "Infrared page", "The frame after each one shows the same window in infrared."),
    _group("Geometry"),
    _edge("tl-x", "Top-left x", "Left edge of the window."),
    _edge("tl-y", "Top-left y", "Upper edge of the window."),
    _edge("br-x", "Bottom-right x", "Right edge of the window."),
    _edge("br-y", "Bottom-right y", "Lower edge of the window."),
    _group("Lamp"),
    _switch("lamp", "Lamp", "Without it all is dark."),
    Descriptor(
        "warm-up",
        "Warm-up time",
        "Seconds from the start of a scan to its first row.",
        Kind.INT,
        Unit.NONE,
        4,
        _SETTABLE | Capability.ADVANCED,
        Range(0, 60, 1),
    ),
    Descriptor("calibrate", "Calibrate", "Find white and black anew.", Kind.BUTTON, Unit.NONE, 0, _SETTABLE),
    _group("Buttons"),
    *(_switch(name, f"{name.capitalize()} button", "Pressed since it was last read.", _BUTTON) for name in BUTTONS),
)

_DEFAULTS: dict[str, Value] = {
    "mode": "Color",
    "depth": (16,),
    "resolution": (300,),
    "source": _FLATBED,
    "film-type": "Positive Film",
    "infrared": (0,),
    "tl-x": (0,),
    "tl-y": (0,),
    "br-x": (_fixed(_AREAS_MM[_FLATBED][0]),),
    "br-y": (_fixed(_AREAS_MM[_FLATBED][1]),),
    "lamp": (1,),
    "warm-up": (0,),
}
