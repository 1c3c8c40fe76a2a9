"""Scanner sections: read strictly, and what of them contradicts itself is said."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dustwatch.daemon.errors import ServiceError
from dustwatch.daemon.scanner.section import Infrared, ScannerSection
from dustwatch.daemon.yaml_file import Problem, Schema, strict


@strict
@dataclass(frozen=True, slots=True)
class Holding:
    """A file with a scanner section."""

    scanner: ScannerSection = field(default_factory=ScannerSection)


def read(folder: Path, text: str) -> ScannerSection:
    file = folder / "section.yaml"
    file.write_text("scanner:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    schema = Schema(Holding, "a file")
    problems: list[Problem] = []
    return schema.check(file, schema.read(file, problems), problems).scanner


def test_a_section_is_read_with_raw_names_and_values(tmp_path: Path) -> None:
    section = read(
        tmp_path,
        "resolution: 4800\ndepth: 16\nrequired: [film-type]\nlamp: lamp\nwarm_up_s: 30\n"
        "options: {source: Transparency Unit, film-type: Negative Film, gamma: 1.0, swcrop: false, level: 3}\n"
        "infrared: {style: source, value: Transparency Unit Infrared}",
    )
    raw = {"source": "Transparency Unit", "film-type": "Negative Film", "gamma": 1.0, "swcrop": False, "level": 3}
    assert section == ScannerSection(
        resolution=4800.0,
        depth=16,
        options=raw,
        required=("film-type",),
        infrared=Infrared("source", "Transparency Unit Infrared"),
        lamp="lamp",
        warm_up_s=30.0,
    )
    assert isinstance(section.options["swcrop"], bool)
    assert section.settings == raw | {"resolution": 4800.0, "depth": 16}
    assert list(section.settings)[:2] == ["source", "film-type"]
    light = {"source": "Transparency Unit Infrared"}
    assert section.infrared_settings == light | {"resolution": 4800.0, "depth": 16}


def test_a_section_without_infrared_scan_of_its_own_sets_nothing_for_it() -> None:
    assert ScannerSection(resolution=300, infrared=Infrared("sample")).infrared_settings == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depth: 12", "scanner.depth: should be 8 or 16"),
        ("resolution: true", "scanner.resolution"),
        ("options: {mode: [1]}", "2: scanner.options.mode: should be a number, a text, true or false, not [1]"),
        (
            "options: [1, 2]",
            'options: should be names, each with its value, such as "source: Transparency Unit", not [1, 2]',
        ),
        ("optoins: {}", "did you mean 'options'?"),
        ("infrared: {style: source}", "style source needs value"),
        ("infrared: {style: sample, value: RGBI}", "style sample has no value"),
        ("infrared: {style: mode, value: Infrared}", "say among options what it is for colour"),
        ("infrared: {style: fourth}", "scanner.infrared.style"),
        ("depth: 8\noptions: {depth: 8}", "depth is given twice"),
        ("geometry_dpi: 4000", "geometry_dpi is for geometry: pixels"),
        ("geometry: pixels", "geometry: pixels needs geometry_dpi or resolution"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, text)
    (told,) = str(caught.value).splitlines()
    assert said in told
    assert told.startswith(f"{tmp_path / 'section.yaml'}:")
