"""What the film would show under a hole, from its edges: the membrane that spans it (Laplace's equation).

A membrane is the best guess where the film's power falls as 1 / frequency squared, as that of pictures does on the
whole. It is solved by successive over-relaxation, forwards and backwards in turn, from a blurred first guess;
where the blur sees no edge, from the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .kernel import kernel
from .spots import TOUCHING

if TYPE_CHECKING:
    from .arrays import Mask

_SWEEPS = 60
_OVER_RELAXATION = 1.7
_GUESS_PX = 5.0
_SEEN_PX = 15
"""How far the blur sees."""


def fill(planes: npt.NDArray[np.float32], hole: Mask) -> npt.NDArray[np.float32]:
    """Span `hole` (rows, columns) in each of `planes` (planes, rows, columns); a new array, unchanged elsewhere.

    At the border of the array the film is taken to go on as its last pixel. A hole without any edge becomes 0.
    """
    if not hole.any():
        return planes.copy()
    if hole.all():
        return np.zeros_like(planes)
    guessed = planes.copy()
    labels, _ = ndimage.label(hole, TOUCHING)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        window = tuple(slice(max(side.start - _SEEN_PX, 0), side.stop + _SEEN_PX) for side in box)
        here = labels[window] == number
        guessed[:, *window][:, here] = _guess(planes[:, *window], hole[window])[:, here]
    stack = np.moveaxis(guessed, 0, -1).copy()
    rows, columns = np.nonzero(hole)
    _relax(stack, rows, columns)
    return np.ascontiguousarray(np.moveaxis(stack, -1, 0))


def _guess(planes: npt.NDArray[np.float32], hole: Mask) -> npt.NDArray[np.float32]:
    """The blurred surroundings of a hole in its place, (planes, rows, columns)."""
    edge = (~hole).astype(np.float32)
    near = ndimage.gaussian_filter(edge, _GUESS_PX, radius=_SEEN_PX)
    around = ndimage.gaussian_filter(planes * edge, _GUESS_PX, radius=_SEEN_PX, axes=(1, 2))
    guess = np.asarray(around / np.maximum(near, np.float32(1e-30)), np.float32)
    unreached = near <= 0
    if unreached.any():
        nearest = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
        guess[:, unreached] = planes[:, nearest[0][unreached], nearest[1][unreached]]
    return guess


@kernel
def _relax(stack: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> None:
    height, width, planes = stack.shape
    count = len(rows)
    for sweep in range(_SWEEPS):
        for step in range(count):
            i = step if sweep % 2 == 0 else count - 1 - step
            y, x = rows[i], columns[i]
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            for k in range(planes):
                mean = np.float32(0.25) * (stack[up, x, k] + stack[down, x, k] + stack[y, left, k] + stack[y, right, k])
                stack[y, x, k] += np.float32(_OVER_RELAXATION) * (mean - stack[y, x, k])
