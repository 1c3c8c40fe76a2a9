"""The list of repairs, from bands of any height."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dustwatch.processing.defects import Defect, DefectList

masks = st.tuples(st.integers(1, 25), st.integers(1, 20)).flatmap(lambda shape: arrays(np.bool_, shape))


def in_bands(changed: np.ndarray, density: np.ndarray, filled: np.ndarray, cuts: list[int]) -> tuple[Defect, ...]:
    defects = DefectList()
    for start, stop in zip([0, *cuts], [*cuts, len(changed)], strict=True):
        here = changed[start:stop]
        pixels = np.array(np.nonzero(here)) + np.array([[start], [0]])
        defects.add(pixels, density[start:stop][here], filled[start:stop][here])
    return defects.finish()


def of_the_whole(changed: np.ndarray, density: np.ndarray, filled: np.ndarray) -> list[Defect]:
    labels, count = ndimage.label(changed, np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels, count), start=1):
        here = labels == number
        fills = filled[here]
        repair = "filled" if fills.all() else "both" if fills.any() else "divided"
        bbox = (rows.start, columns.start, rows.stop, columns.stop)
        found.append(Defect(bbox, int(here.sum()), round(float(density[here].max()), 4), repair))
    return found


def by_all(defect: Defect) -> tuple[object, ...]:
    return defect.bbox, defect.area_px, defect.peak_density, defect.repair


@given(changed=masks, data=st.data())
def test_bands_of_any_height_give_what_the_whole_gives(changed: np.ndarray, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    if data.draw(st.booleans()):  # long and winding, where random pixels join up at once
        changed &= rng.random(changed.shape) < 0.4
    density = rng.random(changed.shape).astype(np.float32)
    filled = changed & (rng.random(changed.shape) < data.draw(st.sampled_from([0.0, 0.3, 1.0])))
    rows = range(1, len(changed))
    cuts = sorted(data.draw(st.sets(st.sampled_from(rows)))) if rows else []
    found = in_bands(changed, density, filled, cuts)
    assert sorted(found, key=by_all) == sorted(of_the_whole(changed, density, filled), key=by_all)
    assert [defect.bbox for defect in found] == sorted(defect.bbox for defect in found)


def test_two_that_meet_far_below_are_one() -> None:
    changed = np.zeros((9, 7), np.bool_)
    changed[:8, 1] = changed[:8, 5] = changed[8, 2:5] = True
    (found,) = in_bands(changed, changed.astype(np.float32), changed, list(range(1, 9)))
    assert (found.bbox, found.area_px, found.repair) == ((0, 1, 9, 6), 19, "filled")


def test_nothing_is_nothing() -> None:
    empty = np.zeros((3, 4), np.bool_)
    assert in_bands(empty, empty.astype(np.float32), empty, [1]) == ()
    assert DefectList().finish() == ()
