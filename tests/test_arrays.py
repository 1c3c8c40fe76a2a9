"""The checks at the doors."""

import numpy as np
import pytest

from dustwatch.processing.arrays import require_plane, require_scan


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_scans_pass(kind: type[np.uint8] | type[np.uint16]) -> None:
    require_scan(np.zeros((2, 3, 1), kind))


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 1), np.float32)])
def test_other_scans_are_refused_with_what_they_are(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"got \(2, 3.*of {wrong.dtype}"):
        require_scan(wrong)


def test_planes_pass() -> None:
    require_plane(np.zeros((2, 3), np.float32), "density")


@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 1), np.float32), np.zeros((2, 3), np.float64)])
def test_other_planes_are_refused_by_name(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"density: expected .* got \(2, 3.*of {wrong.dtype}"):
        require_plane(wrong, "density")
