"""Fingerprints come back from the disk as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dustwatch.processing.fingerprint_file import fingerprinted_size, load_fingerprint, save_fingerprint
from tests.signatures import scattered, signature


def test_a_fingerprint_comes_back_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    made = signature(rng, scattered(rng, 50), offset=(0.5, 3))
    made = replace(made, relief=replace(made.relief, step=6))  # as of a large frame
    save_fingerprint(made, tmp_path / "one")
    kept = load_fingerprint(tmp_path / "one")
    assert (kept.height, kept.width) == (made.height, made.width) == fingerprinted_size(tmp_path / "one")
    assert kept.relief.step == made.relief.step == 6
    pairs = [(kept.dark, made.dark), (kept.light, made.light), (kept.relief.values, made.relief.values)]
    pairs += [(kept.texture.values, made.texture.values), (kept.film.values, made.film.values)]
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_fingerprint(tmp_path / "none")
