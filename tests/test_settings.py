"""The service's configuration: the example is the defaults, and folders that would do harm are refused."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.daemon.errors import ExitCode, ServiceError
from dustwatch.daemon.scanner.section import ScannerSection
from dustwatch.daemon.settings import (
    ButtonSettings,
    FolderSettings,
    ScannerSettings,
    Settings,
    load_settings,
    state_folder,
)
from tests.permissions import ordinary_user

EXAMPLE = Path(__file__).parent.parent / "systemd" / "config.yaml"
KEYS = "input, output, profile, still_s, look_every_s, close_after_min, events, empty_glass"

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without anything in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(text, "utf-8")
        return file

    return write


def problems(file: Path) -> list[str]:
    """What is wrong with `file`, a line each, the folder of the file left out."""
    with pytest.raises(ServiceError) as caught:
        load_settings(file)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


def folders(*pairs: tuple[str, str]) -> str:
    """A configuration of inputs and outputs: those of pair n, from 0, stand in the lines 2n + 2 and 2n + 3."""
    return "folders:\n" + "".join(f"  - input: {one}\n    output: {other}\n" for one, other in pairs)


def scanners(buttons: str) -> str:
    """A configuration with a scanner that has these buttons."""
    return f"scanners: [{{device: a, scans: scans, output: clean, on_button: {{{buttons}}}}}]\n"


# --- the example ------------------------------------------------------------------------------------------


def test_example_has_every_key_with_its_default() -> None:
    assert load_settings(EXAMPLE) == Settings((FolderSettings(Path("/srv/scans"), Path("/srv/clean")),))
    written = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert list(written) == [field.name for field in fields(Settings)]
    assert [list(folder) for folder in written["folders"]] == [[field.name for field in fields(FolderSettings)]]


def test_every_key_of_the_example_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.lstrip().startswith("#")]
    assert len(keys) == len(fields(Settings)) + len(fields(FolderSettings))
    assert [lines[number] for number in keys if not lines[number - 1].lstrip().startswith("#")] == []


def example_with_scanner() -> str:
    """The example with the marks taken off that make its scanner a comment."""
    head, _, rest = EXAMPLE.read_text("utf-8").partition("scanners: []\n")
    scanner, _, tail = rest.partition("\n\n")
    return "\n".join([head + "scanners:", *(line[1:] for line in scanner.splitlines()), tail])


def test_the_scanner_of_the_example_has_every_key_with_a_comment_above_it(write: Write) -> None:
    text = example_with_scanner()
    (scanner,) = load_settings(write(text)).scanners
    assert scanner.on_button == {"scan": ButtonSettings(), "email": ButtonSettings("120-strip", "generic-slide")}
    assert scanner.section == ScannerSection(3200.0, 16, {"source": "Transparency Unit"})
    (written,) = yaml.safe_load(text)["scanners"]
    assert set(written) == {field.name for field in fields(ScannerSettings)}
    for field in fields(ScannerSettings):
        if field.default is not MISSING and field.name not in ("holder", "section"):
            assert written[field.name] == field.default


# --- values -----------------------------------------------------------------------------------------------


def test_all_values_arrive(write: Write) -> None:
    settings = load_settings(
        write(
            """\
folders:
  - {input: /a/in, output: /a/out}
  - input: /b/in
    output: /b/out
    profile: generic-slide
    still_s: 5
    look_every_s: 60
    close_after_min: 1e+2
    events: "off"
state: /var/x
threads: 3
"""
        )
    )
    other = FolderSettings(Path("/b/in"), Path("/b/out"), "generic-slide", 5.0, 60.0, 100.0, "off")
    assert settings == Settings((FolderSettings(Path("/a/in"), Path("/a/out")), other), (), Path("/var/x"), 3)


def test_relative_paths_start_at_the_file_and_a_tilde_at_home(
    write: Write, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    file = write("folders: [{input: scans, output: ~/clean, profile: mine.yaml}]\nstate: ../state\n")
    monkeypatch.chdir(tmp_path.parent)
    for spelt in (file, file.relative_to(tmp_path.parent)):
        (folder,) = load_settings(spelt).folders
        assert folder.input == tmp_path / "scans"
        assert folder.output == home / "clean"
        assert folder.profile == str(tmp_path / "mine.yaml")
        assert load_settings(spelt).state == tmp_path / ".." / "state"


def test_empty_glass_scans_start_at_the_file_and_none_given_are_the_profiles(write: Write, tmp_path: Path) -> None:
    listed = "folders: [{input: a, output: b, empty_glass: [empty.tif]}, {input: c, output: d, empty_glass: []}]\n"
    assert [one.empty_glass for one in load_settings(write(listed)).folders] == [(tmp_path / "empty.tif",), ()]
    assert load_settings(write(folders(("a", "b")))).folders[0].empty_glass is None


def test_off_needs_no_quotes(write: Write) -> None:
    (folder,) = load_settings(write("folders: [{input: a, output: b, events: off}]\n")).folders
    assert folder.events == "off"


def test_a_scanner_is_a_folder_to_watch(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("slots: [{name: a, x: 0, y: 0, width: 9, height: 9}]\nname: mine\n")
    (scanner,) = load_settings(write(scanners("scan: {holder: mine.yaml}"))).scanners
    assert scanner.on_button == {"scan": ButtonSettings(str(tmp_path / "mine.yaml"))}
    (folder,) = scanner.folders.values()
    assert (folder.input, folder.output) == (tmp_path / "scans", tmp_path / "clean")
    assert folder.still_s < 1


def test_profiles_that_would_share_a_folder_are_refused(write: Write, tmp_path: Path) -> None:
    mine = tmp_path / "generic-slide.yaml"
    mine.write_text("name: generic-slide\n")
    (problem,) = problems(write(scanners(f"scan: {{profile: generic-slide}}, email: {{profile: {mine.name}}}")))
    assert "scanners.0: two profiles of its buttons are called alike" in problem


def test_buttons_with_profiles_of_their_own_have_folders_of_their_own(write: Write, tmp_path: Path) -> None:
    (scanner,) = load_settings(write(scanners("scan:, email: {profile: generic-slide}"))).scanners
    assert {name: folder.input for name, folder in scanner.folders.items()} == {
        "generic-negative": tmp_path / "scans" / "generic-negative",
        "generic-slide": tmp_path / "scans" / "generic-slide",
    }
    (one,) = load_settings(write(scanners("email: {profile: generic-slide}"))).scanners
    assert {name: folder.input for name, folder in one.folders.items()} == {"generic-slide": tmp_path / "scans"}


def test_a_dot_in_the_name_of_a_profile_belongs_to_it(write: Write, tmp_path: Path, home: Path) -> None:
    own = home / ".config/dustwatch/profiles"
    own.mkdir(parents=True)
    for name in ("portra.400", "portra.800"):
        (own / f"{name}.yaml").write_text(f"extends: generic-negative\nname: {name}\n")
    (scanner,) = load_settings(write(scanners("scan: {profile: portra.400}, email: {profile: portra.800}"))).scanners
    assert {folder.input for folder in scanner.folders.values()} == {
        tmp_path / "scans" / "portra.400",
        tmp_path / "scans" / "portra.800",
    }


def test_folders_need_not_exist(write: Write, tmp_path: Path) -> None:
    load_settings(write(folders(("not/yet/mounted", "not/yet/made"))))
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


# --- what is refused --------------------------------------------------------------------------------------


def test_everything_wrong_is_reported_at_once_with_its_line(write: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nscan: {gamma: 9, blakc: 0}\n")
    file = write(
        """\
folders:
  - input: scans
    output: clean
    profile: mine.yaml
    still_s: 0
    still_s: 1
  - input: scans/slides
    profile: generic-slid
    evnts: auto
  - scans
state: scans/state
threads: 0.5
"""
    )
    keys = "encoding, gamma, dirt, black"
    assert problems(file) == [
        "config.yaml:4: folders.0.profile: mine.yaml:2: scan.gamma: should be less than or equal to 4, not 9",
        "config.yaml:4: folders.0.profile: mine.yaml:2: scan.blakc: unknown key (did you mean 'black'?); "
        f"there are: {keys}",
        "config.yaml:5: folders.0.still_s: should be greater than or equal to 0.1, not 0",
        "config.yaml:6: folders.0.still_s: given before in line 5; keep one",
        "config.yaml:7: folders.1.input: scans/slides lies inside the input folder scans of line 2, "
        "but scans would be cleaned twice; give a folder beside it",
        "config.yaml:7: folders.1.output: is missing; write it",
        "config.yaml:8: folders.1.profile: unknown profile 'generic-slid' (did you mean 'generic-slide'?); "
        "there are: generic-negative, generic-negative-inverted, generic-slide",
        f"config.yaml:9: folders.1.evnts: unknown key (did you mean 'events'?); there are: {KEYS}",
        f"config.yaml:10: folders.2: should be a section with the keys {KEYS}",
        "config.yaml:11: state: scans/state lies inside the input folder scans of line 2, "
        "but nothing is ever written where scans are; give a folder beside it",
        "config.yaml:12: threads: should be a valid integer, not 0.5",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads: 2", "1: there is nothing to watch; write at least one folder or scanner"),
        ("folders:", "1: folders: should be a list, not null"),
        ("folders: []", "1: there is nothing to watch; write at least one folder or scanner"),
        ("folders: {input: a, output: b}", '1: folders: should be a list, not {"input": "a", "output": "b"}'),
        ("[]", "1: holds no keys; a configuration has folders, scanners, state, threads"),
        (folders(("3", "b")), "2: folders.0.input: should be a valid string, not 3"),
        (folders(("a", "b")) + "    events: on", "4: folders.0.events: should be 'auto' or 'off', not true"),
        (folders(("a", "b")) + "threads: 257", "4: threads: should be less than or equal to 256, not 257"),
        (folders(("a", "b")) + "    profile: 3", "4: folders.0.profile: should be a valid string, not 3"),
        (
            folders(("a", "b")) + "    profile: no/such.yaml",
            "4: folders.0.profile: no/such.yaml: cannot be read: No such file or directory",
        ),
        (
            folders(('""', "b")),
            "2: folders.0.input: is empty, or has characters that no path can have; write a path",
        ),
        (
            folders(("a", '"b\\0"')),
            "3: folders.0.output: is empty, or has characters that no path can have; write a path",
        ),
        (
            folders(("a", "b")) + '    profile: "x\\0.yaml"',
            "4: folders.0.profile: is empty, or has characters that no path can have; write a path",
        ),
        (
            folders(("~nobody-here/a", "b")),
            "2: folders.0.input: ~nobody-here/a begins with the home folder of nobody; write the path in full",
        ),
    ],
)
def test_single_faults(write: Write, text: str, expected: str) -> None:
    assert problems(write(f"{text}\n")) == [f"config.yaml:{expected}"]


def test_everything_wrong_with_scanners_is_reported_with_its_line(write: Write) -> None:
    file = write(
        """\
scanners:
  - device: a
    scans: scans
    output: scans/clean
    on_button: {}
  - device: b
    scans: scans/b
    output: b
    on_button:
      scan: {holdr: x}
      email: {holder: 35mm-stri, profile: generic-slid}
    section:
      resolution: 0
      reqired: []
      infrared: {style: mode}
"""
    )
    said = problems(file)
    inside = "lies inside the input folder scans of line 3"
    assert said[0].startswith(f"config.yaml:4: scanners.0.output: scans/clean {inside}")
    assert said[1] == (
        'config.yaml:5: scanners.0.on_button: is empty; write at least one, such as "scan: {holder: 35mm-strip}"'
    )
    assert said[2].startswith(f"config.yaml:7: scanners.1.scans: scans/b {inside}")
    assert said[3:] == [
        "config.yaml:10: scanners.1.on_button.scan.holdr: unknown key (did you mean 'holder'?); "
        "there are: holder, profile",
        "config.yaml:11: scanners.1.on_button.email.profile: unknown profile 'generic-slid' (did you mean "
        "'generic-slide'?); there are: generic-negative, generic-negative-inverted, generic-slide",
        "config.yaml:11: scanners.1.on_button.email.holder: unknown holder '35mm-stri' (did you mean '35mm-strip'?); "
        "there are: 120-strip, 35mm-strip",
        "config.yaml:13: scanners.1.section.resolution: should be greater than or equal to 1, not 0",
        "config.yaml:14: scanners.1.section.reqired: unknown key (did you mean 'required'?); there are: "
        f"{', '.join(field.name for field in fields(ScannerSection))}",
        "config.yaml:15: scanners.1.section.infrared: style mode needs value: what the option 'mode' is set to for "
        "infrared",
    ]


def test_a_scanner_is_driven_by_one_section_only(write: Write) -> None:
    devices = {"a": "net:a:film", "b": "net:a:other", "c": "net:a:film"}
    sections = [
        f"  - {{device: {device}, scans: {name}, output: {name}{name}, on_button: {{scan: }}}}"
        for name, device in devices.items()
    ]
    assert problems(write("\n".join(["scanners:", *sections]))) == [
        "config.yaml:4: scanners.2.device: net:a:film is the scanner of line 2, too; write all its buttons into one "
        "section"
    ]


def test_profile_that_is_meant_without_being_named_is_checked_too(write: Write, home: Path) -> None:
    own = home / ".config" / "dustwatch" / "profiles" / "generic-negative.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: mine\n")
    assert problems(write(folders(("a", "b")))) == [
        "config.yaml:2: folders.0.profile: home/.config/dustwatch/profiles/generic-negative.yaml:1: name: "
        "should be 'generic-negative', as the file is called"
    ]


@pytest.mark.parametrize("address", ["smb://nas/scans", "nas:/export/scans", "\\\\nas\\scans", "D:\\scans"])
def test_address_of_a_share_is_no_folder(write: Write, address: str) -> None:
    assert problems(write(folders((address, "b")))) == [
        f"config.yaml:2: folders.0.input: {address} is an address; mount what it stands for, "
        "and give the folder where it appears"
    ]


def test_file_is_no_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    assert problems(write(folders(("a.tif", "b")))) == [
        "config.yaml:2: folders.0.input: a.tif is a file; give a folder"
    ]


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == ["no.yaml: cannot be read: No such file or directory"]


def test_unreadable_file_is_named(public: Path) -> None:
    file = public / "config.yaml"
    file.touch(0)
    with ordinary_user():
        assert problems(file) == ["config.yaml: cannot be read: Permission denied"]


def test_folders_that_may_not_be_looked_at_are_no_fault(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their permissions may be put right while the service runs."""
    monkeypatch.setenv("HOME", str(public))
    file = public / "config.yaml"
    file.write_text(folders(("private/scans", "clean"), ("private/slides", "other")))
    (public / "private" / "scans").mkdir(parents=True)
    (public / "private").chmod(0)
    try:
        with ordinary_user():
            settings = load_settings(file)
    finally:
        (public / "private").chmod(0o700)
    assert [folder.input.name for folder in settings.folders] == ["scans", "slides"]


# --- folders that would do harm ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("a", "a")], "3: folders.0.output: a is the input folder a of line 2"),
        ([("a", "a/b/c")], "3: folders.0.output: a/b/c lies inside the input folder a of line 2"),
        ([("a/b", "a")], "2: folders.0.input: a/b lies inside the output folder a of line 3"),
        ([("a", "b"), ("c", "a/d")], "5: folders.1.output: a/d lies inside the input folder a of line 2"),
        ([("a", "b"), ("b", "c")], "4: folders.1.input: b is the output folder b of line 3"),
        ([("a", "b"), ("c", "b")], "5: folders.1.output: b is the output folder b of line 3"),
        ([("a", "b/d"), ("c", "b")], "3: folders.0.output: b/d lies inside the output folder b of line 5"),
        ([("a", "b"), ("a", "c")], "4: folders.1.input: a is the input folder a of line 2"),
        ([("a/c", "b"), ("a", "c")], "2: folders.0.input: a/c lies inside the input folder a of line 4"),
        ([("a", "x/../a/b")], "3: folders.0.output: x/../a/b lies inside the input folder a of line 2"),
    ],
)
def test_folders_that_would_do_harm(write: Write, pairs: list[tuple[str, str]], expected: str) -> None:
    (problem,) = problems(write(folders(*pairs)))
    assert problem.startswith(f"config.yaml:{expected}, but ")
    assert problem.endswith("; give a folder beside it")


def test_links_are_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "elsewhere").symlink_to("scans")
    assert problems(write(folders(("scans", "elsewhere/not/yet")))) == [
        "config.yaml:3: folders.0.output: elsewhere/not/yet lies inside the input folder scans of line 2, "
        "but what is written there would be taken for scans; give a folder beside it"
    ]


def test_mounts_are_seen_through(write: Write, tmp_path: Path) -> None:
    for name in ("scans", "mount"):
        (tmp_path / name).mkdir()
    file = write(folders(("scans", "mount/clean")))
    assert load_settings(file).folders
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && "$@"']
    mounted = [*apart, "sh", tmp_path / "scans", tmp_path / "mount"]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    script = "import sys, pathlib, dustwatch.daemon.settings as s; s.load_settings(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([*mounted, sys.executable, "-c", script, file], capture_output=True, text=True)
    assert f"{tmp_path}/mount/clean lies inside the input folder {tmp_path}/scans of line 2" in done.stderr


def test_circles_of_links_do_no_harm(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert load_settings(write(folders(("a/scans", "clean")))).folders


def test_similar_names_are_different_folders(write: Write) -> None:
    assert load_settings(write(folders(("scans", "scans-clean"), ("scan", "clean")))).folders


@pytest.mark.parametrize(("state", "how"), [("scans", "is"), ("scans/a/b", "lies inside")])
def test_state_in_an_input_is_refused_wherever_it_is_written(write: Write, state: str, how: str) -> None:
    (problem,) = problems(write(f"state: {state}\n" + folders(("scans", "clean"))))
    assert problem.startswith(f"config.yaml:1: state: {state} {how} the input folder scans of line 3, but ")


@pytest.mark.parametrize("state", ["clean", "clean/state", "state", "."])
def test_state_may_lie_anywhere_but_in_the_input(write: Write, tmp_path: Path, state: str) -> None:
    settings = load_settings(write(folders(("scans", "clean")) + f"state: {state}\n"))
    assert settings.state == tmp_path / state


paths = st.lists(st.sampled_from("ab"), min_size=1, max_size=4)


@given(pairs=st.lists(st.tuples(paths, paths), min_size=1, max_size=3))
def test_folders_stand_apart(
    pairs: list[tuple[list[str], list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "apart.yaml"
    file.write_text(folders(*(("/".join(one), "/".join(other)) for one, other in pairs)))
    every = [path for pair in pairs for path in pair]
    apart = all(
        one is other or one[: len(other)] != other  # no one begins with another
        for one in every
        for other in every
    )
    try:
        load_settings(file)
    except ServiceError:
        assert not apart
    else:
        assert apart


# --- state ------------------------------------------------------------------------------------------------


def test_state_folder_is_what_was_asked_for_then_that_of_systemd_then_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_folder(None) == home / ".local" / "state" / "dustwatch"
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    assert state_folder(None) == Path("/x/state/dustwatch")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/dustwatch:/var/lib/other")
    assert state_folder(None) == Path("/var/lib/dustwatch")
    assert state_folder(Path("/asked")) == Path("/asked")
    monkeypatch.setenv("STATE_DIRECTORY", "")
    assert state_folder(None) == Path("/x/state/dustwatch")
