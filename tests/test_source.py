"""What is found among real files, links, pipes and forbidden folders, in which order, and what is refused."""

import os
import random
import socket
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, Remedy, ServiceError
from dustwatch.daemon.source import Found, find, natural_key
from tests.permissions import ordinary_user


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "clean"


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def names(found: Found) -> list[str]:
    return [str(arrival.relative) for arrival in found.arrivals]


def failures(found: Found) -> dict[str, str]:
    """Text of each failure by the name of its file, which the text must begin with."""
    assert all(str(error).startswith(f"{path}: ") for path, error in found.failures)
    return {path.name: str(error).removeprefix(f"{path}: ") for path, error in found.failures}


def refusal(paths: list[Path], output: Path) -> str:
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(ServiceError) as caught:
        find(paths, output)
    assert caught.value.exit_code is ExitCode.USAGE
    assert sorted(output.parent.rglob("*")) == before
    return str(caught.value)


# --- what is found ------------------------------------------------------------------------------------------


def test_pictures_are_found_in_any_case_and_at_any_depth(scans: Path, output: Path) -> None:
    make(scans, "a.tif", "b.TIFF", "c.Png", "roll/d.jpg", "roll/deep/e.JPEG")
    found = find([scans], output)
    assert names(found) == ["a.tif", "b.TIFF", "c.Png", "roll/d.jpg", "roll/deep/e.JPEG"]
    assert [arrival.path for arrival in found.arrivals] == [scans / name for name in names(found)]
    assert (found.failures, found.notes) == ((), ())


def test_what_is_no_picture_is_passed_over(scans: Path, output: Path) -> None:
    make(scans, "a.tif", "notes.txt", "b.tif.part", "c.tif.tmp", "tif", ".hidden.tif", ".trash/d.tif")
    assert names(find([scans], output)) == ["a.tif"]


def test_masks_of_an_earlier_run_are_no_pictures_but_scans_of_receipts_are(scans: Path, output: Path) -> None:
    make(scans, "a.tif", "receipts/a.tif.mask.png", "receipts/roll/b.tif.mask.png", "receipts/bakery.png")
    assert names(find([scans], output)) == ["a.tif", "receipts/bakery.png"]


def test_a_folder_named_like_a_picture_is_a_folder(scans: Path, output: Path) -> None:
    make(scans, "x.tif/1.tif")
    assert names(find([scans], output)) == ["x.tif/1.tif"]


def test_a_named_file_is_taken_whatever_its_name(scans: Path, output: Path) -> None:
    make(scans, "roll/raw.part", ".hidden", "ignored.tif")
    assert names(find([scans / "roll/raw.part", scans / ".hidden"], output)) == [".hidden", "raw.part"]


def test_a_named_link_is_followed(scans: Path, tmp_path: Path, output: Path) -> None:
    make(scans, "a.tif")
    (tmp_path / "link.tif").symlink_to(scans / "a.tif")
    assert names(find([tmp_path / "link.tif"], output)) == ["link.tif"]


def test_empty_glass_scans_among_the_pictures_are_passed_over(scans: Path, output: Path, tmp_path: Path) -> None:
    make(scans, "a.tif", "empty.tif")
    found = find([scans], output, [scans / "empty.tif", tmp_path / "elsewhere.tif"])
    assert names(found) == ["a.tif"]
    assert found.notes == (f"{scans / 'empty.tif'}: is the empty-glass scan, which is not cleaned",)
    with pytest.raises(ServiceError, match="no pictures in"):
        find([scans / "empty.tif"], output, [scans / "empty.tif"])


def test_an_empty_glass_scan_is_never_written_over(scans: Path, output: Path) -> None:
    make(scans, "a.tif")
    make(output, "a.tif")
    with pytest.raises(ServiceError, match=r"would be written over the original"):
        find([scans], output, [output / "a.tif"])


def test_folders_can_be_given_relative_to_here(scans: Path, monkeypatch: pytest.MonkeyPatch, output: Path) -> None:
    make(scans, "a.tif", "roll/b.tif")
    monkeypatch.chdir(scans)
    assert names(find([Path()], output)) == ["a.tif", "roll/b.tif"]
    monkeypatch.chdir(scans / "roll")
    assert names(find([Path("..")], output)) == ["a.tif", "roll/b.tif"]


def test_names_that_are_no_text_are_found_and_can_be_shown(scans: Path, output: Path) -> None:
    try:
        (scans / os.fsdecode(b"scan-\xff.tif")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    arrival = find([scans], output).arrivals[0]
    assert arrival.shown == rf"{scans}/scan-\udcff.tif"


# --- the order ----------------------------------------------------------------------------------------------


def test_numbers_count_and_case_does_not(scans: Path, output: Path) -> None:
    expected = ["a.tif", "A 2.tif", "a 10.tif", "b1-9.tif", "B1-010.tif", "b01-11.tif", "c.jpg", "c.tif"]
    make(scans, *sorted(expected))
    assert names(find([scans], output)) == expected


def test_files_of_a_folder_stay_together(scans: Path, output: Path) -> None:
    expected = ["5.tif", "roll 2/1.tif", "roll 2/3.tif", "roll 2/b/1.tif", "roll 10/2.tif"]
    make(scans, *expected)
    assert names(find([scans], output)) == expected


def test_the_order_in_which_files_are_given_does_not_matter(scans: Path, output: Path) -> None:
    make(scans, "1.tif", "2.tif", "10.tif")
    given = [scans / name for name in ("10.tif", "1.tif", "2.tif")]
    assert names(find(given, output)) == ["1.tif", "2.tif", "10.tif"]


FILE_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@given(st.sets(FILE_NAMES | st.from_regex("[aB]?[0-9]{1,3}[bß]?([.][aT0])?", fullmatch=True)), st.randoms())
def test_the_order_of_names_is_total(given_names: set[str], rng: random.Random) -> None:
    shuffled = sorted(given_names)
    rng.shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == sorted(given_names, key=natural_key)


# --- what fails, the rest being found -----------------------------------------------------------------------


def test_pipes_sockets_and_devices_are_named_and_never_opened(public: Path, output: Path) -> None:
    make(public, "a.tif")
    os.mkfifo(public / "pipe.tif")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(public / "socket.png"))
        found = find([public, Path("/dev/null")], output)
    assert names(found) == ["a.tif"]
    assert failures(found) == {
        "null": "a device, no picture; save the scan to a file",
        "pipe.tif": "a pipe, no picture; save the scan to a file",
        "socket.png": "a socket, no picture; save the scan to a file",
    }
    assert {error.remedy for _, error in found.failures} == {Remedy.SKIP}


def test_links_to_files_in_a_folder_are_named_with_what_to_give(scans: Path, output: Path) -> None:
    make(scans, "a.tif")
    (scans / "again.tif").symlink_to("a.tif")
    (scans / "gone.tif").symlink_to("nowhere")
    (scans / "loop.tif").symlink_to("loop.tif")
    (scans / "loop.txt").symlink_to("loop.txt")
    found = find([scans], output)
    assert names(found) == ["a.tif"]
    text = failures(found)
    assert text.keys() == {"again.tif", "gone.tif", "loop.tif"}
    assert text["again.tif"].endswith(f"give {scans / 'a.tif'} itself")
    assert "leads to no file" in text["gone.tif"]
    assert "leads to no file" in text["loop.tif"]


def test_linked_folders_are_noted_and_not_followed(scans: Path, tmp_path: Path, output: Path) -> None:
    make(scans, "a.tif")
    make(tmp_path, "elsewhere/b.tif", "elsewhere/notes.txt")
    (scans / "more").symlink_to(tmp_path / "elsewhere")
    (scans / "round").symlink_to(scans)
    (scans / "notes").symlink_to(tmp_path / "elsewhere/notes.txt")
    found = find([scans], output)
    assert (names(found), found.failures) == (["a.tif"], ())
    assert [note.split(": ")[0] for note in found.notes] == [str(scans / "more"), str(scans / "round")]


def test_what_may_not_be_read_is_named_and_the_rest_found(public: Path, output: Path) -> None:
    make(public, "a.tif", "secret.tif", "locked/b.tif", "notes.txt")
    for name in ("secret.tif", "locked", "notes.txt"):
        (public / name).chmod(0)
    try:
        with ordinary_user():
            found = find([public], output)
            named = find([public / "secret.tif"], output)
    finally:
        (public / "locked").chmod(0o700)
    assert names(found) == ["a.tif"]
    text = failures(found)
    assert text.keys() == {"secret.tif", "locked"}
    assert "Permission denied; check its permissions" in text["secret.tif"]
    assert "Permission denied; check its permissions" in text["locked"]
    assert failures(named) == {"secret.tif": text["secret.tif"]}
    assert {error.remedy for _, error in found.failures} == {Remedy.RETRY}


# --- what is refused ----------------------------------------------------------------------------------------


def test_paths_that_do_not_exist(scans: Path, output: Path) -> None:
    (scans / "gone.tif").symlink_to("nowhere")
    (scans / "loop.tif").symlink_to("loop.tif")
    make(scans, "a.tif")
    assert f"{scans / 'b.tif'}: no such file" in refusal([scans / "a.tif", scans / "b.tif"], output)
    assert f"{scans / 'gone.tif'}: a link to a file that is gone" in refusal([scans / "gone.tif"], output)
    assert f"{scans / 'loop.tif'}: cannot be reached: Too many" in refusal([scans / "loop.tif"], output)


def test_nothing_to_do_says_what_was_looked_for(scans: Path, output: Path) -> None:
    make(scans, "notes.txt")
    text = refusal([scans], output)
    assert text == f"no pictures in {scans}; looked for *.tif, *.tiff, *.png, *.jpg, *.jpeg"


def test_the_output_must_not_be_or_lie_in_an_input_folder(scans: Path, tmp_path: Path) -> None:
    make(scans, "a.tif", "roll/b.tif")
    assert f"output folder {scans} is the input folder {scans}" in refusal([scans], scans)
    assert "lies inside the input folder" in refusal([scans], scans / "new" / "clean")
    (tmp_path / "way").symlink_to(scans / "roll")
    assert "lies inside the input folder" in refusal([scans], tmp_path / "way" / "clean")
    (tmp_path / "door").symlink_to(scans)
    assert "lies inside the input folder" in refusal([tmp_path / "door"], scans / "clean")
    assert "is the input folder" in refusal([scans], scans / "roll" / "..")


def test_a_folder_beside_the_input_is_fine(scans: Path) -> None:
    make(scans, "a.tif")
    assert names(find([scans], scans.with_name("scans-clean"))) == ["a.tif"]
    assert names(find([scans / "a.tif"], scans / "clean")) == ["a.tif"]


def test_an_input_inside_the_output_is_fine_until_an_original_would_be_overwritten(tmp_path: Path) -> None:
    make(tmp_path, "clean/in/a.tif", "clean/b.TIF", "other/b.tif")
    output = tmp_path / "clean"
    assert names(find([output / "in"], output)) == ["a.tif"]
    assert f"over the original {output / 'b.TIF'}" in refusal([output / "b.TIF"], output)


def test_an_original_is_safe_behind_a_link_in_the_output(scans: Path, output: Path) -> None:
    make(scans, "roll/a.tif")
    output.mkdir()
    (output / "roll").symlink_to(scans / "roll")
    assert f"over the original {scans / 'roll/a.tif'}" in refusal([scans], output)


def test_an_original_is_not_overwritten_by_a_mask(scans: Path, output: Path) -> None:
    make(output, "receipts/a.tif.mask.png")
    make(scans, "a.tif")
    assert "over the original" in refusal([scans, output / "receipts/a.tif.mask.png"], output)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("one/a.tif", "two/a.tif"),
        ("one/a.tif", "two/A.TIF"),
        ("one/straße.tif", "two/STRASSE.tif"),
        ("one/a.tif", "two/a.tif/b.tif"),  # a file where a folder is needed
        ("one/a.tif/b.tif", "two/a.tif"),
        ("one/a.tif", "two/receipts/a.tif.json/x.png"),  # likewise, of the receipts
    ],
)
def test_two_inputs_for_one_output(scans: Path, output: Path, first: str, second: str) -> None:
    make(scans, first, second)
    for paths in ([scans / "one", scans / "two"], [scans / "two", scans / "one"]):
        text = refusal(paths, output)
        assert str(scans / first) in text
        assert str(scans / second) in text
        assert "rename one" in text


def test_an_input_named_like_the_folder_of_receipts(scans: Path, output: Path) -> None:
    make(scans, "receipts")
    assert "rename one" in refusal([scans / "receipts"], output)


def test_one_file_given_twice(scans: Path, output: Path) -> None:
    make(scans, "roll/a.tif")
    assert "given twice" in refusal([scans, scans / "roll"], output)
    assert "given twice" in refusal([scans / "roll/a.tif", scans / "roll/a.tif"], output)


def test_paths_below_the_output_are_relative(scans: Path, output: Path) -> None:
    make(scans, "roll/a.tif")
    assert find([scans], output).arrivals[0].relative == PurePosixPath("roll/a.tif")
