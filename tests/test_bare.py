"""What passes for a scan of the bare light table, and the dirt in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from dustwatch.processing.bare import dirt_seen, same_dirt, why_not_bare
from dustwatch.processing.density import Tone
from dustwatch.processing.evidence import EvidenceParams
from dustwatch.processing.fingerprint import MatchParams
from dustwatch.processing.observe import Observation, observe
from dustwatch.processing.planes import PlaneFile
from dustwatch.processing.raster import probe
from dustwatch.processing.residual import ResidualParams
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams
from tests.rolls import SMALL, write_tiff

if TYPE_CHECKING:
    from pathlib import Path

    from dustwatch.processing.arrays import Scan


def roll(**params: Any) -> Roll:
    return Roll(RollParams(frames=2, **SMALL | params), landscape(params.get("seed", 0)))


def seen(folder: Path, scan: Scan, name: str = "scan") -> Observation:
    write_tiff(folder / f"{name}.tif", scan)
    return observe(probe(folder / f"{name}.tif"), Tone(), ResidualParams(), folder / name, 2)


@pytest.mark.parametrize("noise", [0.002, 0.0075, 0.02])
@pytest.mark.parametrize("maximum", [255, 65535])
def test_a_lamp_that_falls_off_and_is_noisy_passes(tmp_path: Path, noise: float, maximum: int) -> None:
    made = roll(noise=noise, maximum=maximum, fixtures=("holder edge",)).bare(0)
    assert why_not_bare(seen(tmp_path, made.scan)) is None
    y, x = (np.linspace(-1, 1, length) for length in made.scan.shape[:2])
    corners = 1 - 0.2 * (y[:, None, None] ** 2 + x[:, None] ** 2)  # 40 % less there
    assert why_not_bare(seen(tmp_path, (made.scan * corners).astype(made.scan.dtype))) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain", [1, 8])
def test_film_does_not(tmp_path: Path, seed: int, gain: int) -> None:
    """Whether the scanner makes up for its density or not."""
    scan = np.minimum(roll(seed=seed).frame(0).scan.astype(np.int64) * gain, 65534).astype(np.uint16)
    assert "film" in str(why_not_bare(seen(tmp_path, scan)))


def test_what_is_too_dark_or_too_light_does_not(tmp_path: Path) -> None:
    scan = roll().bare(0).scan
    dark = why_not_bare(seen(tmp_path, scan // 50))
    assert dark is not None
    assert dark.startswith("too dark for a light table without film (1.8 D)")
    light = why_not_bare(seen(tmp_path, np.minimum(scan * 1.2, 65535).astype(np.uint16)))
    assert light is not None
    assert light.startswith("over-exposed")
    hot = scan.copy()
    hot[::40, ::40] = 65535
    assert why_not_bare(seen(tmp_path, hot)) is None


def test_two_scans_share_their_dirt_unless_they_are_of_two_glasses(tmp_path: Path) -> None:
    one, other = roll(seed=1), roll(seed=2)
    prints = [seen(tmp_path, made.bare(index).scan).fingerprint for made, index in ((one, 0), (one, 1), (other, 0))]
    assert same_dirt(prints[0], prints[1], MatchParams())
    assert not same_dirt(prints[0], prints[2], MatchParams())
    assert same_dirt(prints[0], replace(prints[2], dark=prints[2].dark[:10]), MatchParams())  # who can tell


def test_the_dirt_is_that_of_the_glass(tmp_path: Path) -> None:
    made = roll(seed=3).bare(0)
    found = dirt_seen(seen(tmp_path, made.scan).codes, ResidualParams(), EvidenceParams())
    _, count = ndimage.label(made.glass > 0.02, np.ones((3, 3)))
    assert found.particles == pytest.approx(count, rel=0.15)
    assert found.share == pytest.approx((made.glass > 0.02).mean(), rel=0.25)
    assert 0.05 < found.median_d < 0.6
    assert found.picture.shape == made.glass.shape
    assert (found.picture[made.glass > 0.2] < 200).mean() > 0.95
    assert (found.picture[made.glass < 0.001] == 255).mean() > 0.99


def test_clean_glass_has_none(tmp_path: Path) -> None:
    found = dirt_seen(seen(tmp_path, roll(particles=0).bare(0).scan).codes, ResidualParams(), EvidenceParams())
    assert (found.particles, found.share, found.median_d) == (0, 0.0, 0.0)
    assert (found.picture == 255).all()


def test_a_particle_on_a_seam_is_one_and_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    scan = np.full((1100, 2100), 60000, np.uint16)
    scan += np.random.default_rng(0).integers(-200, 200, scan.shape).astype(np.uint16)
    scan[505:520, 500:515] = 30000
    found = dirt_seen(seen(tmp_path, scan).codes, ResidualParams(), EvidenceParams())
    assert found.particles == 1
    assert found.picture.shape == (550, 1050)
    assert (found.picture[253:259, 251:257] < 140).all()
    assert found.picture[:240].min() == 255


@pytest.mark.parametrize("shape", [(40, 256_001), (256_001, 40)])
def test_the_dirt_in_a_very_long_scan_is_found(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A pixel of the picture is 129 of the scan: one begins where a block does only every 516 px, beyond a tile."""
    values = np.random.default_rng(0).integers(-3, 4, shape).astype(np.int8)
    values[10:25, 10:25] = 90
    codes = PlaneFile(tmp_path / "codes", *shape, values.dtype)
    codes.create()
    codes.write(0, 0, values)
    found = dirt_seen(codes, ResidualParams(), EvidenceParams())
    assert found.particles == 1
    assert found.picture.size == 1985
    assert np.flatnonzero(found.picture < 140).tolist() == [0]
