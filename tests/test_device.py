"""What is known of a scanner's options: which values they take, and what of them matters for film."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.scanner.device import (
    Choices,
    Kind,
    Option,
    Range,
    Value,
    as_written,
    film_features,
    same,
    unfit,
)


def option(
    name: str = "gain",
    kind: Kind = "number",
    constraint: Range | Choices | None = None,
    *,
    unit: str = "",
    settable: bool = True,
    table: bool = False,
    button: bool = False,
) -> Option:
    return Option(name, name.title(), kind, unit, constraint, None, True, settable, table=table, button=button)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        (option(kind="switch"), False),
        (option(kind="push button"), True),
        (option(kind="text"), "anything"),
        (option(kind="text", constraint=("Gray", "Color")), "Color"),
        (option(kind="whole number"), 3),
        (option(kind="whole number", constraint=(8, 16)), 16.0),
        (option(constraint=Range(0, 200, 1)), 25),
        (option(constraint=Range(0, 1)), 0.123),
        (option(constraint=(-32.69999694824219, 42.0)), -32.7),
    ],
)
def test_values_that_an_option_takes_fit(asked: Option, value: Value) -> None:
    assert unfit(asked, value) is None


@pytest.mark.parametrize(
    ("asked", "value", "said"),
    [
        (option(kind="switch"), 1, "gain cannot be 1; possible: true, false"),
        (option(kind="push button"), False, "gain cannot be false; possible: true, which presses it"),
        (option(kind="text"), 3, "gain cannot be 3; possible: any text"),
        (option(kind="text", constraint=("Gray", "Color")), "Colour", "gain cannot be Colour; possible: Gray, Color"),
        (option(kind="whole number"), 2.5, "gain cannot be 2.5; possible: any whole number"),
        (option(kind="whole number"), True, "gain cannot be true; possible: any whole number"),
        (option(unit="mm"), "3", "gain cannot be 3; possible: any number in mm"),
        (option(constraint=(8, 16), unit="bit"), 12, "gain cannot be 12; possible: 8, 16 bit"),
        (option(constraint=Range(1, 9, 2)), 4, "gain cannot be 4; possible: 1 to 9 in steps of 2"),
        (option(constraint=Range(1, 9), unit="dpi"), 9.5, "gain cannot be 9.5; possible: 1 to 9 dpi"),
        (option(kind="whole number"), 1 << 31, "gain cannot be 2147483648; possible: any whole number"),
        (option(), 1e9, "gain cannot be 1e+09; possible: any number"),
        (option(kind="text"), "\u2026", "gain cannot be \u2026; possible: any text"),
        (option(settable=False), 1.0, "gain cannot be set, only read"),
        (option(table=True), 1.0, "gain is a table, which cannot be set here"),
    ],
)
def test_others_are_refused_with_what_is_possible(asked: Option, value: Value, said: str) -> None:
    assert unfit(asked, value) == said


@given(st.integers(-1000, 1000), st.integers(1, 50), st.integers(0, 40), st.integers(0, 49))
def test_a_range_with_steps_takes_its_steps_only(low: int, step: int, steps: int, beside: int) -> None:
    asked = option(constraint=Range(low, low + 40 * step, step))
    value = low + steps * step + beside % step
    assert (unfit(asked, value) is None) == (beside % step == 0 and value <= low + 40 * step)


def test_numbers_are_the_same_when_sane_cannot_tell_them_apart() -> None:
    assert same(0.1, round(0.1 * 65536) / 65536)
    assert not same(0.1, 0.101)
    assert same("Color", "Color")
    assert not same(None, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (0.30000000000000004, "0.3"), (4800, "4800"), ("Color", "Color"), (None, "None")],
)
def test_values_are_told_as_one_writes_them(value: Value | None, text: str) -> None:
    assert as_written(value) == text


def test_film_features_are_found_among_raw_options() -> None:
    found = film_features(
        [
            option("mode", "text", ("Gray", "Color", "RGBI", "Infrared")),
            option("source", "text", ("Flatbed", "Transparency Adapter", "Transparency Adapter Infrared")),
            option("depth", "whole number", (8, 16), unit="bit"),
            option("resolution", "whole number", (1200, 4800), unit="dpi"),
            option("infrared", "switch"),
            option("tl-x", constraint=Range(0, 70), unit="mm"),
            option("tl-y", constraint=Range(10, 230), unit="mm"),
            option("br-x", constraint=Range(0, 70), unit="mm"),
            option("br-y", constraint=Range(10, 230), unit="mm"),
            option("scan", "switch", button=True),
        ]
    )
    assert found.transparency == ("Transparency Adapter",)
    light = {"source": "Transparency Adapter"}
    colour = light | {"mode": "Color"}
    assert found.infrared == (
        {"options": colour, "infrared": {"style": "source", "value": "Transparency Adapter Infrared"}},
        {"options": light | {"mode": "RGBI"}, "infrared": {"style": "sample"}},
        {"options": colour, "infrared": {"style": "mode", "value": "Infrared"}},
        {"options": colour | {"infrared": True}, "infrared": {"style": "scan"}},
    )
    assert (found.depths, found.resolutions) == ("8, 16 bit", "1200, 4800 dpi")
    assert found.area_mm == (70, 220)
    assert found.buttons == ("scan",)


def test_a_device_without_options_has_nothing_for_film() -> None:
    found = film_features([option("tl-x", constraint=Range(0, 5000), unit="px")])
    assert (found.transparency, found.infrared, found.area_mm, found.depths, found.buttons) == ((), (), None, "", ())
