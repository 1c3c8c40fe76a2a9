"""The virtual scanner as a device: what its options do, its buttons, its pages and its faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.virtual.bed import Bed
from dustwatch.daemon.virtual.faults import STATUS, FaultKind, parse_fault
from dustwatch.daemon.virtual.film_scanner import FilmScanner, Frame, Press, RefusedError, Session
from dustwatch.daemon.virtual.protocol import Capability, Descriptor, Info, Kind, Range, Status, Value

MM = 65536
TRANSPARENCY = "Transparency Unit"


def number(session: Session, name: str) -> int:
    return [one.name for one in session.descriptors()].index(name)


def descriptor(session: Session, name: str) -> Descriptor:
    return session.descriptors()[number(session, name)]


def get(session: Session, name: str) -> Value:
    return session.get(number(session, name))[1]


def put(session: Session, **options: int | str) -> Info:
    """Set options; what came of the last one."""
    info = Info.NONE
    for name, value in options.items():
        words = value if isinstance(value, str) else (value,)
        info = session.set(number(session, name.replace("_", "-")), words)[2]
    return info


def window(session: Session, width: float, height: float) -> None:
    put(session, tl_x=10 * MM, tl_y=20 * MM, br_x=round((10 + width) * MM), br_y=round((20 + height) * MM))


def opened(**options: int | str) -> tuple[FilmScanner, Session]:
    scanner = FilmScanner(Bed(1))
    session = scanner.open()
    put(session, **{"source": TRANSPARENCY, **options})
    window(session, 12, 8)
    return scanner, session


def whole(session: Session) -> Frame:
    frame = session.start()
    session.finish(whole=True)
    return frame


def status(refused: pytest.ExceptionInfo[RefusedError]) -> Status:
    return refused.value.status


def test_one_client_has_it_at_a_time_and_finds_everything_at_its_default() -> None:
    scanner, session = opened(mode="Gray", depth=8)
    with pytest.raises(RefusedError) as refused:
        scanner.open()
    assert status(refused) == Status.DEVICE_BUSY
    session.close()
    again = scanner.open()
    assert (get(again, "mode"), get(again, "depth"), get(again, "source")) == ("Color", (16,), "Flatbed")


def test_all_that_holds_something_can_be_read_and_has_a_title() -> None:
    session = FilmScanner(Bed(1)).open()
    options = session.descriptors()
    assert session.get(0)[1] == (len(options),)
    names = [one.name for one in options if one.name]
    assert len(names) == len(set(names))
    for index, one in enumerate(options):
        assert one.title
        if one.kind not in (Kind.GROUP, Kind.BUTTON) and not one.capabilities & Capability.INACTIVE:
            assert session.get(index)[1] is not None


def test_film_options_are_active_with_a_transparency_unit_only_which_is_smaller() -> None:
    session = FilmScanner(Bed(1)).open()
    for name in ("film-type", "infrared"):
        assert descriptor(session, name).capabilities & Capability.INACTIVE
        with pytest.raises(RefusedError):
            get(session, name)
    assert put(session, source=TRANSPARENCY) == Info.RELOAD_OPTIONS | Info.RELOAD_PARAMETERS
    for name in ("film-type", "infrared"):
        assert not descriptor(session, name).capabilities & Capability.INACTIVE
    assert descriptor(session, "br-x").constraint == Range(0, 203 * MM)
    assert get(session, "br-x") == (203 * MM,)
    assert get(session, "br-y") == (254 * MM,)


@pytest.mark.parametrize(
    ("name", "value", "info"),
    [
        ("mode", "Gray", Info.RELOAD_PARAMETERS),
        ("depth", 8, Info.RELOAD_PARAMETERS),
        ("resolution", 600, Info.RELOAD_PARAMETERS),
        ("br_x", 100 * MM, Info.RELOAD_PARAMETERS),
        ("mode", "Color", Info.NONE),
        ("film_type", "Negative Film", Info.NONE),
        ("infrared", 1, Info.NONE),
        ("lamp", 0, Info.NONE),
    ],
)
def test_setting_an_option_tells_what_else_it_changes(name: str, value: int | str, info: Info) -> None:
    _, session = opened()
    assert put(session, **{name: value}) == info


@given(dpi=st.integers(-10, 10_000))
def test_a_resolution_that_it_has_not_becomes_the_closest_and_is_called_inexact(dpi: int) -> None:
    session = FilmScanner(Bed(1)).open()
    info = put(session, resolution=dpi)
    choices = descriptor(session, "resolution").constraint
    assert isinstance(choices, tuple)
    (held,) = get(session, "resolution") or ()
    assert held in choices
    assert bool(info & Info.INEXACT) == (dpi not in choices)
    assert all(abs(int(held) - dpi) <= abs(int(one) - dpi) for one in choices)


@given(place=st.integers(-(2**31), 2**31 - 1))
def test_a_place_outside_becomes_the_edge_and_is_called_inexact(place: int) -> None:
    session = FilmScanner(Bed(1)).open()
    info = put(session, br_x=place)
    limits = descriptor(session, "br-x").constraint
    assert isinstance(limits, Range)
    assert get(session, "br-x") == (min(max(place, limits.least), limits.most),)
    assert bool(info & Info.INEXACT) == (not limits.least <= place <= limits.most)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "Colour"),
        ("mode", (1,)),
        ("depth", "16"),
        ("depth", (8, 16)),
        ("depth", ()),
        ("lamp", (2,)),
        ("scan", (1,)),
        ("", (3,)),
        ("film-type", "Negative Film"),
    ],
)
def test_what_an_option_cannot_hold_is_refused(name: str, value: Value) -> None:
    session = FilmScanner(Bed(1)).open()
    with pytest.raises(RefusedError) as refused:
        session.set(number(session, name), value)
    assert status(refused) == Status.INVALID


@pytest.mark.parametrize("index", [-1, 1000])
def test_there_are_no_other_options(index: int) -> None:
    session = FilmScanner(Bed(1)).open()
    for ask in (lambda: session.get(index), lambda: session.set(index, (1,))):
        with pytest.raises(RefusedError):
            ask()


@pytest.mark.parametrize(
    ("mode", "source", "channels"),
    [
        ("Color", TRANSPARENCY, 3),
        ("Gray", TRANSPARENCY, 1),
        ("Infrared", TRANSPARENCY, 1),
        ("RGBI", TRANSPARENCY, 4),
        ("Color", "Transparency Unit Infrared", 1),
        ("Color", "Flatbed", 3),
    ],
)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_frame_is_what_was_announced(mode: str, source: str, channels: int, depth: int) -> None:
    _, session = opened(mode=mode, source=source, depth=depth, resolution=600)
    announced = session.parameters()
    assert (announced.pixels_per_line, announced.lines, announced.depth) == (283, 189, depth)
    assert announced.bytes_per_line == 283 * channels * depth // 8
    assert whole(session).parameters == announced


@pytest.mark.parametrize("mode", ["Infrared", "RGBI"])
def test_there_is_no_infrared_on_the_flatbed(mode: str) -> None:
    _, session = opened(mode=mode, source="Flatbed")
    with pytest.raises(RefusedError) as refused:
        session.start()
    assert status(refused) == Status.INVALID


def test_an_empty_window_is_refused() -> None:
    _, session = opened()
    put(session, br_x=0)
    assert session.parameters().pixels_per_line == 0
    with pytest.raises(RefusedError) as refused:
        session.start()
    assert status(refused) == Status.INVALID


def test_while_a_frame_is_under_way_nothing_is_set_or_started() -> None:
    _, session = opened()
    session.start()
    for ask in (session.start, lambda: put(session, depth=8)):
        with pytest.raises(RefusedError) as refused:
            ask()
        assert status(refused) == Status.DEVICE_BUSY
    session.cancel()
    put(session, depth=8)
    session.start()


def test_a_button_is_pressed_until_it_is_read_once_whoever_has_the_device() -> None:
    scanner, session = opened()
    scanner.pressed.add("scan")
    session.close()
    session = scanner.open()
    assert get(session, "file") == (0,)
    assert [get(session, "scan") for _ in range(2)] == [(1,), (0,)]


def test_planned_presses_come_when_their_load_is_ready() -> None:
    planned = [Press("scan", 1), Press("copy", 2), Press("scan", 2), Press("email", 4)]
    scanner = FilmScanner(Bed(1), presses=planned)
    session = scanner.open()
    put(session, source=TRANSPARENCY)
    window(session, 12, 8)
    pressed = []
    for _ in range(4):
        pressed.append(sorted(scanner.pressed))
        scanner.pressed.clear()
        whole(session)
    assert pressed == [["scan"], ["copy", "scan"], [], ["email"]]


def test_with_the_infrared_page_frames_come_in_pairs() -> None:
    _, session = opened(infrared=1)
    frames = [whole(session) for _ in range(4)]
    assert [one.view.samples for one in frames] == ["colour", "infrared"] * 2
    assert frames[0].view.films == frames[1].view.films != frames[2].view.films
    assert frames[0].view.offset_px == frames[1].view.offset_px


def test_the_last_frame_is_what_is_announced_until_it_is_cancelled() -> None:
    _, session = opened(infrared=1)
    colour = whole(session).parameters
    assert session.parameters() == colour
    infrared = session.start().parameters
    assert session.parameters() == infrared != colour
    session.cancel()
    assert session.parameters() == colour


@pytest.mark.parametrize("ending", ["cancelled", "short", "option set"])
def test_the_infrared_page_only_follows_a_whole_frame(ending: str) -> None:
    _, session = opened(infrared=1)
    session.start()
    session.finish(whole=ending != "short")
    if ending == "cancelled":
        session.cancel()
    if ending == "option set":
        put(session, depth=8)
    assert session.start().view.samples == "colour"


@pytest.mark.parametrize("kind", STATUS)
def test_a_fault_at_the_start_is_told_and_gone_with_the_next(kind: FaultKind) -> None:
    scanner, session = opened()
    scanner.faults.append(parse_fault(kind.value))
    with pytest.raises(RefusedError) as refused:
        session.start()
    assert status(refused) == STATUS[kind]
    assert session.start().fault is None


def test_faults_concern_one_scan_after_the_other() -> None:
    scanner, session = opened()
    scanner.faults.extend(parse_fault(text) for text in ("none", "short@0.5", "stall@0"))
    assert [str(whole(session).fault) for _ in range(4)] == ["none@start", "short@0.5", "stall@0", "None"]


def test_scans_are_remembered_by_their_number() -> None:
    scanner, session = opened()
    frames = [whole(session) for _ in range(3)]
    session.start()
    session.finish(whole=False)
    assert [scanner.view(which) for which in (1, 2, 3)] == [frame.view for frame in frames]
    for which in (0, 4, -1):
        with pytest.raises(ValueError, match=f"no scan {which}: those from 1 to 3"):
            scanner.view(which)
