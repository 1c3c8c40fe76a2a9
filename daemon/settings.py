"""The service's configuration: which folders are watched, and where it keeps what it knows.

``systemd/config.yaml`` explains every key. Folders that would do harm together are refused at once, since
nobody looks on when the service writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval, MinLen
from platformdirs import user_state_path

from .errors import ExitCode, ServiceError
from .film import load_profile
from .scanner.holder import load_holder
from .scanner.section import ScannerSection  # noqa: TC001 - pydantic reads the annotation
from .yaml_file import KeyPath, Line, Problem, Schema, Written, is_path, make_list_absolute, no_path, strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PROFILE = "generic-negative"

SCANNED_STILL_S = 0.1
"""For how long files must be still in the folder of a scanner that we drive: they get their names when whole."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """A folder to watch.

    `input`, `output`: absolute; scans may appear anywhere below `input`, which may come later, as network shares do.
    `profile`: a name or an absolute file, as `load_profile` takes it.
    `still_s`: a file is taken for whole when it has not changed for so many seconds.
    `look_every_s`: the folder is looked at anew at least every so many seconds. Where there are no events, on
    network shares and with `events` off, that is all there is.
    `close_after_min`: a glass without a new frame for so many minutes is closed: its frames are cleaned for the
    last time.
    `events`: ``auto`` takes those of the file system, except on network shares.
    `empty_glass`: scans of the glass without film, absolute; None for those of the profile.
    """

    input: Path
    output: Path
    profile: str = _PROFILE
    still_s: Annotated[float, Interval(ge=0.1, le=3600)] = 2.0
    look_every_s: Annotated[float, Interval(ge=0.1, le=3600)] = 10.0
    close_after_min: Annotated[float, Interval(ge=0.01, le=10080)] = 30.0
    events: Literal["auto", "off"] = "auto"
    empty_glass: tuple[Path, ...] | None = None


@dataclass(frozen=True, slots=True)
class ButtonSettings:
    """What a button of a scanner has scanned: what the scanner's own settings say where it does not say otherwise."""

    holder: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class ScannerSettings:
    """A scanner that is driven, and the folder of its scans, which is watched.

    `device`: its name with SANE. `scans`, `output`: absolute, as `FolderSettings` has them; a new folder of scans is
    made by the service. `on_button`: which buttons have film scanned, and what. `profile`, `holder`: names or absolute
    files; without a holder, all that the device scans by itself is one frame. `section`: how the scanner is set, None
    for what the profile says. `stall_s`: a device that says nothing for so many seconds hangs. `close_after_min`: as
    `FolderSettings` has it.
    """

    device: Annotated[Line, MinLen(1)]
    scans: Path
    output: Path
    on_button: Annotated[dict[str, ButtonSettings], MinLen(1)] = field(
        metadata={"example": "scan: {holder: 35mm-strip}"}
    )
    profile: str = _PROFILE
    holder: str | None = None
    section: ScannerSection | None = None
    stall_s: Annotated[float, Interval(ge=1, le=3600)] = 30.0
    close_after_min: Annotated[float, Interval(ge=0.01, le=10080)] = 30.0

    def __post_init__(self) -> None:
        if len({folder.input for folder in self.folders.values()}) < len(self.folders):
            raise ValueError("two profiles of its buttons are called alike, and so are their folders; rename one")

    @property
    def folders(self) -> dict[str, FolderSettings]:
        """The folders to watch, by profile: where buttons name several, each has one of its name in the others."""
        profiles = dict.fromkeys(button.profile or self.profile for button in self.on_button.values())
        several = len(profiles) > 1
        below = {name: (Path(name).stem if is_path(name) else name) if several else "" for name in profiles}
        return {
            name: FolderSettings(
                self.scans / below[name],
                self.output / below[name],
                name,
                still_s=SCANNED_STILL_S,
                close_after_min=self.close_after_min,
            )
            for name in profiles
        }


@strict
@dataclass(frozen=True, slots=True)
class Settings:
    """What the service is asked to do.

    `folders`, `scanners`: at least one of them. `state`: see `state_folder`. `threads`: None for as many as there are
    cores.
    """

    folders: tuple[FolderSettings, ...] = ()
    scanners: tuple[ScannerSettings, ...] = ()
    state: Path | None = None
    threads: Annotated[int, Interval(ge=1, le=256)] | None = None


_SCHEMA = Schema(Settings, "a configuration")


def load_settings(file: Path) -> Settings:
    """Read the configuration; relative paths in it start at its folder, and ``~`` is a home folder.

    Raises ServiceError (usage) listing all that is wrong with it and with its profiles. An input folder need not exist.
    """
    problems: list[Problem] = []
    written = _SCHEMA.read(file, problems)
    if written is not None:
        if all(written.values.get(name, []) == [] for name in ("folders", "scanners")):
            problems.append(written.problem((), "there is nothing to watch; write at least one folder or scanner"))
        for _, entry in _entries(written):
            if entry.get("events") is False:
                entry["events"] = "off"  # which YAML takes for a truth value
            if isinstance(buttons := entry.get("on_button"), dict):
                entry["on_button"] = {name: {} if one is None else one for name, one in buttons.items()}
        paths = _make_absolute(written, file.parent.absolute(), problems)
        problems += _bad_names(written, paths)
        problems += _bad_devices(written)
        problems += _bad_folders(written, {key: path for key, path in paths.items() if key[-1] not in _NAMED})
    return _SCHEMA.check(file, written, problems)


def refuse_harm(folder: FolderSettings, state: Path) -> None:
    """Refuse what `load_settings` would, for a folder that was given by hand. `state`: where it keeps what it knows.

    Raises ServiceError (usage) where folders would do harm together, and where there is no input folder: whoever gives
    it looks on, so that is a slip.
    """
    if not folder.input.is_dir():
        raise ServiceError(f"{folder.input}: no such folder; check the spelling", ExitCode.USAGE)
    paths = {"input": folder.input, "output": folder.output, "state": state}
    for inner, outer in permutations(paths, 2):
        harm = _HARM.get((inner, outer))
        if harm is not None and _lies_in(Path(os.path.realpath(paths[inner])), Path(os.path.realpath(paths[outer]))):
            reason = f"{paths[inner]} lies in the {outer} folder {paths[outer]}, but {harm}; give a folder beside it"
            raise ServiceError(reason, ExitCode.USAGE)


def state_folder(asked: Path | None) -> Path:
    """Where the service keeps what it must know after a restart; need not exist.

    That is `asked`, or what systemd provides (``StateDirectory=``), or the user's own folder for such things.
    """
    provided = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return asked or (Path(provided) if provided else user_state_path("dustwatch"))


def _entries(written: Written, *names: str) -> list[tuple[KeyPath, dict[str, Any]]]:
    """The sections of the folders and of the scanners, as far as they are sections, or those of some `names` only."""
    found: list[tuple[KeyPath, dict[str, Any]]] = []
    for name in names or ("folders", "scanners"):
        listed = written.values.get(name)
        entries = enumerate(listed) if isinstance(listed, list) else ()
        found += [((name, number), entry) for number, entry in entries if isinstance(entry, dict)]
    return found


def _buttons(written: Written) -> list[tuple[KeyPath, dict[str, Any]]]:
    """The sections of the scanners' buttons, as far as they are sections."""
    found: list[tuple[KeyPath, dict[str, Any]]] = []
    for key, entry in _entries(written, "scanners"):
        if isinstance(buttons := entry.get("on_button"), dict):
            found += [((*key, "on_button", name), one) for name, one in buttons.items() if isinstance(one, dict)]
    return found


def _make_absolute(written: Written, base: Path, problems: list[Problem]) -> dict[KeyPath, Path]:
    """Make all paths absolute where they stand; give those that are paths, in the order of the keys."""
    paths = {}
    for section, values in (*_entries(written), *_buttons(written), ((), written.values)):
        for name in ("input", "scans", "output", *_NAMED) if section else ("state",):
            text = values.get(name)
            if not isinstance(text, str) or (name in _NAMED and not is_path(text)):
                continue
            key = (*section, name)
            if fault := no_path(text):
                problems.append(written.problem(key, fault))
            else:
                paths[key] = base / Path(text).expanduser()
                values[name] = str(paths[key])
    for section, entry in _entries(written):
        make_list_absolute(written, (*section, "empty_glass"), entry, base, problems)
    return paths


_NAMED: dict[str, Callable[[str], object]] = {"profile": load_profile, "holder": load_holder}
"""What can be asked for by name or by file, and how it is read."""


def _bad_names(written: Written, paths: Mapping[KeyPath, Path]) -> Iterator[Problem]:
    """What is wrong with the profiles and holders that are asked for."""
    meant = [(key, {"profile": _PROFILE} | entry) for key, entry in _entries(written)]
    for section, entry in (*meant, *_buttons(written)):
        for name, read in _NAMED.items():
            key, asked = (*section, name), entry.get(name)
            if isinstance(asked, str) and (key in paths or not is_path(asked)):
                try:
                    read(asked)
                except ServiceError as error:
                    yield from (written.problem(key, fault) for fault in str(error).splitlines())


def _bad_devices(written: Written) -> Iterator[Problem]:
    """What is wrong with scanners that several sections drive."""
    first: dict[str, KeyPath] = {}
    for section, entry in _entries(written, "scanners"):
        key, device = (*section, "device"), entry.get("device")
        if isinstance(device, str) and first.setdefault(device, key) != key:
            _, line = written.places[first[device]]
            what = f"{device} is the scanner of line {line}, too; write all its buttons into one section"
            yield written.problem(key, what)


# --- folders that would do harm -----------------------------------------------------------------------------

_HARM = {
    ("output", "input"): "what is written there would be taken for scans",
    ("input", "output"): "what is written there could be taken for scans",
    ("output", "output"): "what one writes there could overwrite or tidy away what the other does",
    ("input", "input"): "scans would be cleaned twice",
    ("state", "input"): "nothing is ever written where scans are",
}
"""What happens where a folder of the first kind is one of the second, or lies inside."""


def _bad_folders(written: Written, paths: Mapping[KeyPath, Path]) -> Iterator[Problem]:
    for key, path in paths.items():
        if os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises where nothing may be looked at)
            yield written.problem(key, f"{path} is a file; give a folder")
    real = {key: Path(os.path.realpath(path)) for key, path in paths.items()}
    order = list(paths)
    for inner, outer in permutations(order, 2):
        harm = _HARM.get((_kind(inner), _kind(outer)))
        if harm is None or not _lies_in(real[inner], real[outer]):
            continue
        same = _lies_in(real[outer], real[inner])
        if same and order.index(inner) < order.index(outer):
            continue  # of two that are the same, the later one is at fault
        how = "is" if same else "lies inside"
        _, line = written.places[outer]
        where = f"{paths[inner]} {how} the {_kind(outer)} folder {paths[outer]} of line {line}"
        yield written.problem(inner, f"{where}, but {harm}; give a folder beside it")


def _kind(key: KeyPath) -> str:
    """What kind of folder is given at a key: those of scans are inputs."""
    return "input" if key[-1] == "scans" else str(key[-1])


def _lies_in(inner: Path, outer: Path) -> bool:
    """Whether a folder is another one or lies in it, however they are spelt or mounted. Neither need exist."""
    return any(place == outer or _same_on_disk(place, outer) for place in (inner, *inner.parents))


def _same_on_disk(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
