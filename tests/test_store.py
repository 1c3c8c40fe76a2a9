"""What is kept comes back as it was, is whole or not there, and goes when it is no longer needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dustwatch.daemon.store import Store
from dustwatch.processing.cells import Patch
from dustwatch.processing.drift import Drift, Wobble
from dustwatch.processing.fingerprint_file import save_fingerprint
from dustwatch.processing.glass_map import GlassMap, MapDraft, MapWindow
from dustwatch.processing.observe import Observation
from dustwatch.processing.packed import coarse
from dustwatch.processing.planes import PlaneFile
from tests.signatures import HEIGHT, WIDTH, scattered, signature

RNG = np.random.default_rng(5)
SHA = "a" * 64


def observation(folder: Path, number: int) -> Observation:
    codes = PlaneFile(folder / "residual", HEIGHT, WIDTH, np.dtype(np.int8))
    codes.create()
    codes.write(3, 4, np.full((2, 5), number, np.int8))
    seen = Observation(codes, folder / "fingerprint")
    save_fingerprint(signature(RNG, scattered(RNG, 50), offset=(0.5, number)), seen.fingerprint_file)
    return seen


def a_map(folder: Path) -> GlassMap:
    steps = np.arange(2000).reshape(40, 50)
    with MapDraft(folder / "map", Patch((-3, 2), 40, 50)) as draft:
        draft.add(0, 0, MapWindow(steps.astype(np.int16), steps.astype(np.uint16), steps.astype(np.uint32)))
        return draft.finish()


def test_an_observation_comes_back_as_it_was_also_after_a_restart(tmp_path: Path) -> None:
    seen = observation(tmp_path, 3)
    files = seen.codes.path, seen.fingerprint_file
    before = [file.read_bytes() for file in files]
    Store(tmp_path, 1).keep(3, seen)
    assert not any(file.exists() for file in files)
    back = Store(tmp_path, 1).observation(3)
    assert back is not None
    assert [file.read_bytes() for file in (back.codes.path, back.fingerprint_file)] == before
    assert (back.codes.height, back.codes.width) == (HEIGHT, WIDTH)


def test_a_packed_observation_is_the_rounded_one_in_little_room(tmp_path: Path) -> None:
    store = Store(tmp_path, 2)
    for number in (3, 4):
        store.keep(number, observation(tmp_path, number))
    before = store.observation(3)
    assert before is not None
    shown = coarse(before.codes).read(0, HEIGHT, 0, WIDTH)
    store.compact([3, 9])
    store.compact([3])
    again = Store(tmp_path, 1).observation(3)
    assert again is not None
    np.testing.assert_array_equal(again.codes.read(0, HEIGHT, 0, WIDTH), shown)
    assert again.codes.path.stat().st_size < 0.4 * HEIGHT * WIDTH
    assert sorted(file.name for file in Path(tmp_path, "frames", "3").iterdir()) == [
        "fingerprint.npz",
        "residual.packed",
    ]
    assert sorted(file.name for file in Path(tmp_path, "frames", "4").iterdir()) == ["fingerprint.npz", "residual"]
    store.sweep(fingerprints={3}, residuals=set(), maps=set())
    assert store.observation(3) is None
    assert store.knows(3)


def test_a_number_that_is_given_anew_has_nothing_of_its_earlier_frame(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    store.keep(3, observation(tmp_path, 3))
    store.compact([3])
    store.keep(3, observation(tmp_path, 7))
    again = store.observation(3)
    assert again is not None
    assert again.codes.read(3, 5, 4, 9).tolist() == [[7] * 5] * 2


def test_a_full_disk_leaves_the_residual_as_it_was_and_no_part(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    store.keep(3, observation(tmp_path, 3))
    part = Path(tmp_path, "frames", "3", "residual.packed.part")
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        store.compact([3])
    assert not part.is_symlink()
    again = store.observation(3)
    assert again is not None
    assert again.codes.read(3, 5, 4, 9).tolist() == [[3] * 5] * 2


def test_a_map_that_cannot_be_read_is_learnt_anew(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    made = store.make_map(SHA, a_map)
    made.path.write_bytes(b"\xff" * made.path.stat().st_size)
    assert store.map(SHA) is None
    store.make_map(SHA, a_map)
    assert store.map(SHA) is not None


def test_packing_that_was_broken_off_leaves_the_residual_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    store.keep(3, observation(tmp_path, 3))
    part = Path(tmp_path, "frames", "3", "residual.packed.part")
    part.write_bytes(b"half")
    again = Store(tmp_path, 1).observation(3)
    assert not part.exists()
    assert again is not None
    assert again.codes.read(3, 5, 4, 9).tolist() == [[3] * 5] * 2


def test_what_was_not_kept_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    assert store.observation(4) is None
    assert not store.knows(4)


def test_a_map_comes_back_as_it_was_also_after_a_restart(tmp_path: Path) -> None:
    made = Store(tmp_path, 1).make_map(SHA, a_map)
    assert made.path.exists()
    again = Store(tmp_path, 1).map(SHA)
    assert again is not None
    assert (again.patch, again.dirty_px) == (made.patch, made.dirty_px) == (Patch((-3, 2), 40, 50), 1999)
    for kept in (made, again):
        found = kept.window(0, 0, (40, 50))
        assert found is not None
        np.testing.assert_array_equal(found.lives, np.arange(2000).reshape(40, 50))
    assert Store(tmp_path, 1).map("b" * 64) is None


def test_so_does_how_its_frames_drift(tmp_path: Path) -> None:
    drifts = tuple(Drift(1, -3.0, 47.5, tuple(map(tuple, RNG.normal(0, 1, (15, 2)).tolist()))) for _ in range(2))
    known = Wobble(RNG.normal(0, 1, (7, 3)).astype(np.float32), drifts)
    Store(tmp_path, 1).make_map(SHA, lambda folder: replace(a_map(folder), wobble=known))
    kept = Store(tmp_path, 1).map(SHA)
    assert kept is not None
    assert kept.wobble is not None
    assert kept.wobble.drifts == drifts
    assert kept.wobble.points.dtype == np.float32
    np.testing.assert_array_equal(kept.wobble.points, known.points)


def test_a_map_whose_learning_was_broken_off_is_not_there(tmp_path: Path) -> None:
    def broken_off(folder: Path) -> GlassMap:
        a_map(folder)
        raise KeyboardInterrupt

    store = Store(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        store.make_map(SHA, broken_off)
    assert store.map(SHA) is None
    assert list(Path(tmp_path, "maps").iterdir()) != []
    assert Store(tmp_path, 1).map(SHA) is None
    assert list(Path(tmp_path, "maps").iterdir()) == []


def test_only_what_is_needed_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    for number in range(4):
        store.keep(number, observation(tmp_path, number))
    for sha in (SHA, "b" * 64):
        store.make_map(sha, a_map)
    store.sweep(fingerprints={1, 2}, residuals={2, 3}, maps={SHA})
    assert [store.observation(number) is not None for number in range(4)] == [False, False, True, True]
    assert store.fingerprint(1).height == HEIGHT
    assert sorted(file.name for file in Path(tmp_path, "frames").iterdir()) == ["1", "2", "3"]
    assert store.map(SHA) is not None
    assert store.map("b" * 64) is None
    with pytest.raises(FileNotFoundError):
        store.fingerprint(0)
