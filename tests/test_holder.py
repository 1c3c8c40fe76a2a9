"""Holders: the shipped ones, the user's own, and what is wrong with one."""

from itertools import combinations
from pathlib import Path

import pytest

from dustwatch.daemon.errors import ExitCode, ServiceError
from dustwatch.daemon.scanner.holder import SHIPPED, load_holder
from dustwatch.daemon.scanner.plan import Window

TWO = """
name: mine
slots:
  - {name: left, x: 1, y: 2.5, width: 36, height: 24}
  - {name: right, x: 41, y: 2.5, width: 36, height: 24}
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of holders, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "dustwatch" / "holders"
    folder.mkdir(parents=True)
    return folder


def problems(file: Path) -> str:
    with pytest.raises(ServiceError) as caught:
        load_holder(str(file))
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_holders_are_sound_and_their_slots_lie_apart(file: Path) -> None:
    holder = load_holder(file.stem)
    assert holder.name == file.stem
    assert holder.description
    for one, other in combinations(holder.slots, 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert beside or one.y + one.height <= other.y or other.y + other.height <= one.y


def test_a_strip_of_35_mm_and_one_of_120_are_shipped() -> None:
    assert {file.stem for file in SHIPPED.glob("*.yaml")} == {"35mm-strip", "120-strip"}
    assert len(load_holder("35mm-strip").slots) == 6


def test_slots_are_read_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TWO)
    holder = load_holder(str(file))
    assert [slot.name for slot in holder.slots] == ["left", "right"]
    assert holder.windows == (
        Window(1, 2.5, 36, 24, "slot left of holder mine"),
        Window(41, 2.5, 36, 24, "slot right of holder mine"),
    )


def test_holders_of_the_user_are_found_by_name_and_hide_shipped_ones(own_folder: Path) -> None:
    (own_folder / "mine.yaml").write_text(TWO)
    (own_folder / "35mm-strip.yaml").write_text(TWO.replace("mine", "35mm-strip"))
    assert load_holder("mine").name == "mine"
    assert len(load_holder("35mm-strip").slots) == 2


def test_a_copy_that_has_kept_its_name_is_refused(own_folder: Path) -> None:
    (own_folder / "copy.yaml").write_text(TWO)
    assert "name: should be 'copy', as the file is called" in problems(own_folder / "copy.yaml")


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(ServiceError, match=r"'35mm-stip' \(did you mean '35mm-strip'\?\); there are: 120-strip, 35"):
        load_holder("35mm-stip")


def test_all_that_is_wrong_with_a_holder_is_said(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(TWO.replace("right", "left").replace("height: 24", "height: 0", 1).replace("x: 1,", "x: -1,"))
    said = problems(file)
    assert f"{file}:4: slots.0.x: should be greater than or equal to 0, not -1" in said
    assert "slots.0.height: should be greater than 0" in said
    assert "slots.1.name: 'left' is given before" in said
    file.write_text("name: mine\nslots: []\n")
    assert problems(file) == (
        f'{file}:2: slots: is empty; write at least one, such as "- {{name: 1st, x: 20, y: 10, width: 38, height: 26}}"'
    )
    file.write_text("slots: 3\nsize: 4\n")
    assert {line.split(": ")[1] for line in problems(file).splitlines()} == {"name", "slots", "size"}
    assert "cannot be read" in problems(tmp_path / "none.yaml")
