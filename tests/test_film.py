"""Profiles: the shipped ones, inheritance, and that everything wrong is found at once and in its place."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, ServiceError
from dustwatch.daemon.film import (
    SHIPPED,
    Profile,
    find_profile,
    known_profiles,
    load_profile,
    opposites,
    read_profile,
    to_yaml,
)
from dustwatch.daemon.scanner.section import Infrared, ScannerSection
from dustwatch.processing.clean import RepairParams
from dustwatch.processing.density import Tone
from dustwatch.processing.particles import LifeParams
from tests.permissions import ordinary_user

Write = Callable[[str, str], Path]
SHIPPED_FILES = sorted(SHIPPED.glob("*.yaml"))
KEYS = "name, description, extends, empty_glass, scan, match, residual, evidence, lives, repair, scanner"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of profiles, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "dustwatch" / "profiles"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    return write


def problems(file: Path) -> list[str]:
    """What is wrong with `file`, a line each, the folder of the file left out."""
    with pytest.raises(ServiceError) as caught:
        read_profile(file)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


def test_who_cannot_reach_the_users_own_folder_has_the_shipped_profiles(own_folder: Path) -> None:
    own_folder.parent.chmod(0o700)
    own_folder.chmod(0)
    with ordinary_user():
        assert set(known_profiles()) == {file.stem for file in SHIPPED_FILES}
        assert load_profile("generic-slide").name == "generic-slide"
    own_folder.chmod(0o755)


# --- the shipped profiles ---------------------------------------------------------------------------------


def test_the_generic_profiles_are_shipped() -> None:
    assert {file.stem for file in SHIPPED_FILES} >= {
        "generic-negative",
        "generic-negative-inverted",
        "generic-slide",
    }


@pytest.mark.parametrize("file", SHIPPED_FILES, ids=lambda file: file.stem)
def test_shipped_profile_is_sound(file: Path) -> None:
    profile = load_profile(file.stem)
    assert profile.name == file.stem
    assert profile.description
    assert len(profile.description) <= 80


@pytest.mark.parametrize("file", SHIPPED_FILES, ids=lambda file: file.stem)
def test_shipped_profiles_write_only_what_differs_from_what_they_extend(file: Path) -> None:
    written = yaml.safe_load(file.read_text("utf-8"))
    if "extends" not in written:
        return
    inherited = yaml.safe_load(to_yaml(load_profile(written["extends"])))
    sections = {name: values for name, values in written.items() if isinstance(values, dict)}
    # What dirt does to the picture is said in each, since everything hangs on it.
    repeated = [
        (section, key)
        for section, values in sections.items()
        for key, value in values.items()
        if inherited[section][key] == value and key != "dirt"
    ]
    assert repeated == []


@pytest.mark.parametrize("file", SHIPPED_FILES, ids=lambda file: file.stem)
def test_every_key_of_a_shipped_profile_has_a_comment(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()

    def bare(node: yaml.Node | None) -> list[str]:
        if not isinstance(node, yaml.MappingNode):
            return []
        found = []
        for key, value in node.value:
            line = key.start_mark.line
            above = lines[line - 1].lstrip() if line else ""
            if not above.startswith("#") and " #" not in lines[line]:
                found.append(f"{line + 1}: {key.value}")
            found += bare(value)
        return found

    assert bare(yaml.compose(file.read_text("utf-8"))) == []


def test_generic_negative_spells_out_every_value() -> None:
    """The others extend it: whoever reads it sees all that can be set."""
    written = yaml.safe_load((SHIPPED / "generic-negative.yaml").read_text("utf-8"))
    assert written == yaml.safe_load(to_yaml(load_profile("generic-negative")))


def test_what_the_generic_profiles_say_of_the_scan() -> None:
    assert load_profile("generic-negative").scan == Tone("linear", dirt="darkens")
    assert load_profile("generic-slide").scan == Tone("srgb", dirt="darkens")
    assert load_profile("generic-negative-inverted").scan == Tone("srgb", dirt="brightens")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("generic-negative", "generic-negative-inverted"),
        ("generic-slide", "generic-negative-inverted"),
        ("generic-negative-inverted", "generic-slide"),
    ],
)
def test_opposite(name: str, expected: str) -> None:
    assert opposites(load_profile(name))[0].name == expected


def test_all_that_darken_are_opposites_of_the_inverted() -> None:
    found = [other.name for other in opposites(load_profile("generic-negative-inverted"))]
    assert found == ["generic-slide", "generic-negative"]


def test_opposite_of_a_linear_positive_is_the_linear_negative() -> None:
    assert opposites(Profile("mine", scan=Tone("linear", dirt="brightens")))[0].name == "generic-negative"


# --- names and files --------------------------------------------------------------------------------------


def test_unknown_name_lists_the_known_and_the_closest() -> None:
    with pytest.raises(ServiceError, match=r"did you mean 'generic-slide'\?") as caught:
        load_profile("generic-slid")
    assert caught.value.exit_code is ExitCode.USAGE
    assert all(file.stem in str(caught.value) for file in SHIPPED_FILES)


def test_own_profile_is_found_by_name_and_hides_the_shipped(own_folder: Path) -> None:
    own = own_folder / "generic-slide.yaml"
    own.write_text("name: generic-slide\nextends: generic-slide\nscan: {black: 0.01}\n")
    assert find_profile("generic-slide") == own
    assert known_profiles()["generic-slide"] == own
    # What it extends is the shipped one, not itself.
    assert load_profile("generic-slide").scan == Tone("srgb", dirt="darkens", black=0.01)


def test_own_profile_carries_the_name_of_its_file(own_folder: Path) -> None:
    file = own_folder / "ektar.yaml"
    file.write_text("description: x\nname: portra\n")
    assert problems(file) == ["ektar.yaml:2: name: should be 'ektar', as the file is called"]


def test_any_other_file_is_free_in_its_name(write: Write) -> None:
    assert load_profile(str(write("a.yml", "name: Kodak Ektar 100\n"))).name == "Kodak Ektar 100"


def test_path_with_a_separator_is_a_file_whatever_it_ends_in(write: Write) -> None:
    assert load_profile(str(write("profile.txt", "name: mine\n"))).name == "mine"


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == ["no.yaml: cannot be read: No such file or directory"]


# --- values -----------------------------------------------------------------------------------------------


def test_values_that_are_not_given_are_the_defaults(write: Write) -> None:
    assert read_profile(write("a.yaml", "name: a\n")) == Profile("a")


def test_section_without_keys_is_as_good_as_none(write: Write) -> None:
    file = write("a.yaml", "name: a\nextends: generic-slide\nscan:\n  # encoding: linear\n")
    assert read_profile(file).scan == load_profile("generic-slide").scan


def test_everything_wrong_is_reported_at_once_with_its_line(write: Write) -> None:
    file = write(
        "a.yaml",
        """\
# a comment takes a line too
name: 400
colour: red
scan:
  encoding: lin
  gamma: 4.5
  blakc: 0.1

  black: "0.1"
  dirt: true
  gamma: 2
""",
    )
    assert problems(file) == [
        "a.yaml:2: name: should be a valid string, not 400",
        f"a.yaml:3: colour: unknown key; there are: {KEYS}",
        "a.yaml:5: scan.encoding: should be 'linear', 'gamma' or 'srgb', not \"lin\"",
        "a.yaml:6: scan.gamma: should be less than or equal to 4, not 4.5",
        "a.yaml:7: scan.blakc: unknown key (did you mean 'black'?); there are: encoding, gamma, dirt, black",
        'a.yaml:9: scan.black: should be a valid number, not "0.1"',
        "a.yaml:10: scan.dirt: should be 'darkens' or 'brightens', not true",
        "a.yaml:11: scan.gamma: given before in line 6; keep one",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "description: |\n  a\n  b",
            '2: description: should be a single line of printable text, not "a\\nb\\n"',
        ),
        ("scan: 3", "2: scan: should be a section with the keys encoding, gamma, dirt, black"),
        ("\nscan: [1]", "3: scan: should be a section with the keys encoding, gamma, dirt, black"),
        ("lives: {fewest_scenes: 2.5}", "2: lives.fewest_scenes: should be a valid integer, not 2.5"),
        (
            "lives: {change_rat: 0.1}",
            "2: lives.change_rat: unknown key (did you mean 'change_rate'?); "
            "there are: change_rate, min_support, fewest_scenes",
        ),
        ("evidence:\n  most_share: 0", "3: evidence.most_share: should be greater than 0, not 0"),
    ],
)
def test_single_faults(write: Write, text: str, expected: str) -> None:
    assert problems(write("a.yaml", f"name: a\n{text}\n")) == [f"a.yaml:{expected}"]


def test_file_without_keys(write: Write) -> None:
    assert problems(write("a.yaml", "# nothing\n")) == [f"a.yaml:1: holds no keys; a profile has {KEYS}"]


def test_missing_name(write: Write) -> None:
    assert problems(write("a.yaml", "description: x\n")) == ["a.yaml:1: name: is missing; write it"]


# --- inheritance ------------------------------------------------------------------------------------------


def test_sections_are_merged_key_by_key_over_generations(write: Write) -> None:
    write(
        "old.yaml",
        "name: old\ndescription: not handed down\nscan: {encoding: gamma, gamma: 1.8, black: 0.1}\n",
    )
    write("mid.yaml", "name: mid\nextends: old.yaml\nscan: {gamma: 2.4}\n")
    profile = read_profile(write("new.yaml", "name: new\nextends: mid\nscan: {black: 0.05}\n"))
    assert profile == Profile("new", scan=Tone("gamma", 2.4, "darkens", 0.05))
    assert profile.extends == "mid"


def test_each_section_is_inherited_by_itself(write: Write) -> None:
    write("old.yaml", "name: old\nrepair: {scanner_noise: 0.02}\nlives: {min_support: 9}\n")
    profile = read_profile(write("new.yaml", "name: new\nextends: old\nrepair: {min_density_d: 0.01}\n"))
    assert profile == Profile("new", lives=LifeParams(min_support=9.0), repair=RepairParams(0.01, 0.02))


def test_path_to_extend_starts_at_the_file(write: Write) -> None:
    write("a/old.yaml", "name: old\nscan: {black: 0.1}\n")
    assert read_profile(write("b/new.yaml", "name: new\nextends: ../a/old.yaml\n")).scan.black == 0.1


def test_empty_glass_scans_start_at_the_file_that_names_them(write: Write, tmp_path: Path) -> None:
    write("a/old.yaml", "name: old\nempty_glass: [empty.tif, /scans/other.tif]\n")
    heir = write("b/new.yaml", "name: new\nextends: ../a/old.yaml\n")
    found = tuple(path.resolve() for path in read_profile(heir).empty_glass)
    assert found == (tmp_path / "a/empty.tif", Path("/scans/other.tif"))
    heir.write_text("name: new\nextends: ../a/old.yaml\nempty_glass: []\n")
    assert read_profile(heir).empty_glass == ()


def test_empty_glass_scans_are_a_list_of_paths(write: Write) -> None:
    assert problems(write("a.yaml", "name: a\nempty_glass: empty.tif\n")) == [
        'a.yaml:2: empty_glass: should be a list, not "empty.tif"'
    ]
    (fault,) = problems(write("a.yaml", "name: a\nempty_glass:\n  - smb://nas/empty.tif\n"))
    assert fault.startswith("a.yaml:3: empty_glass.0: smb://nas/empty.tif is an address")


def test_inherited_faults_name_the_file_and_line_they_were_written_in(write: Write) -> None:
    write("old.yaml", "name: old\nscan:\n  gamma: 9\n  gama: 2\n  black: 1\n  black: 0\n  dirt: dark\n")
    file = write("new.yaml", "name: new\nextends: old\nscan:\n  encoding: lin\n  dirt: brightens\n")
    assert problems(file) == [
        "new.yaml:4: scan.encoding: should be 'linear', 'gamma' or 'srgb', not \"lin\"",
        "old.yaml:3: scan.gamma: should be less than or equal to 4, not 9",
        "old.yaml:4: scan.gama: unknown key (did you mean 'gamma'?); there are: encoding, gamma, dirt, black",
        "old.yaml:5: scan.black: should be less than or equal to 0.2, not 1",
        "old.yaml:6: scan.black: given before in line 5; keep one",
    ]


def test_broken_base_does_not_hide_the_faults_of_the_file(write: Write) -> None:
    write("old.yaml", "name: old\nscan: {\n")
    file = write("new.yaml", "name: new\nextends: old\nscan: {gamma: 9}\n")
    assert problems(file) == [
        "new.yaml:3: scan.gamma: should be less than or equal to 4, not 9",
        "old.yaml:3: not valid YAML: expected the node content, but found '<stream end>'",
    ]


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("generic-slid", "unknown profile 'generic-slid' (did you mean 'generic-slide'?); there are: "),
        ("no.yaml", "no.yaml: cannot be read: No such file or directory"),
        ("7", "should be a valid string, not 7"),
        ("a", "goes in a circle: a -> a; one must stand alone"),
        ("a.yaml", "goes in a circle: a -> a; one must stand alone"),
    ],
)
def test_faults_of_extends(write: Write, extends: str, expected: str) -> None:
    (problem,) = problems(write("a.yaml", f"name: a\nextends: {extends}\n"))
    assert problem.startswith(f"a.yaml:2: extends: {expected}")


def test_longer_circles_are_found_where_they_close(write: Write) -> None:
    write("b.yaml", "name: b\n\nextends: c\n")
    write("c.yaml", "name: c\nextends: b.yaml\n")
    file = write("a.yaml", "name: a\nextends: b\n")
    assert problems(file) == ["c.yaml:2: extends: goes in a circle: a -> b -> c -> b; one must stand alone"]


# --- to text and back -------------------------------------------------------------------------------------


def valid(parameters: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of a parameter dataclass, or of Profile, with every field drawn from its type and bounds."""
    hints = get_type_hints(parameters, include_extras=True)
    drawn = {
        name: valid(hints[name]) if dataclasses.is_dataclass(hints[name]) else st.from_type(hints[name])
        for name in (field.name for field in dataclasses.fields(parameters))
    }
    return st.builds(parameters, **(drawn | given))


SCANS = st.lists(st.text("aé #:-~'", min_size=1).map(lambda name: Path("/scans", name)), max_size=3).map(tuple)


SECTIONS = st.builds(
    ScannerSection,
    resolution=st.none() | st.floats(1, 1e5),
    options=st.dictionaries(st.text("ab-", min_size=1), st.booleans() | st.integers() | st.text("ab 1")).map(
        lambda options: options | {"source": "Film"}
    ),
    infrared=st.sampled_from([Infrared(), Infrared("source", "TPU Infrared"), Infrared("sample")]),
)


@given(profile=valid(Profile, extends=st.none(), empty_glass=SCANS, scanner=SECTIONS))
@example(profile=Profile("1e3", "no"))
def test_yaml_round_trip(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(to_yaml(profile), "utf-8", newline="")
    again = read_profile(file)
    assert again == profile
    assert again.digest == profile.digest


@given(
    one=valid(Profile, empty_glass=SCANS, scanner=SECTIONS), other=valid(Profile, empty_glass=SCANS, scanner=SECTIONS)
)
def test_digest_differs_exactly_where_sections_do(one: Profile, other: Profile) -> None:
    apart = {name: getattr(other, name) for name in ("name", "description", "empty_glass", "scanner")}
    same = dataclasses.replace(one, **apart) == other
    assert (one.digest == other.digest) == same


def test_digest_does_not_depend_on_how_the_file_is_written(write: Write) -> None:
    one = read_profile(write("a.yaml", "name: a\nscan:\n  gamma: 2  # two\n  black: 0.01\n"))
    other = read_profile(write("b.yaml", "scan: {black: 1.0e-2, gamma: 2.0}\nname: b\n"))
    assert one.digest == other.digest
    assert len(one.digest) == 64
