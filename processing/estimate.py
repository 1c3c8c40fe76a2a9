"""The density of suspected dirt and its lives, from what each frame misses against the film that is guessed there.

How dense a particle is and in which frames it lies on the glass depend on each other, so they are found in turns. The
mean over frames is robust: it is weighted by the inverse of each frame's own disagreement with the others, place by
place, so frames whose film is smooth at a place decide there (iteratively re-weighted least squares with Cauchy-like
weights; Holland and Welsch, *Robust regression using iteratively reweighted least-squares*, 1977).

Where frames disagree by more than their fills are wrong by, what is missing goes with the film: dirt scatters light,
scanners sharpen. No density holds for all frames there, however many there are, and the doubt says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .particles import FILL_ERROR, LifeParams, Samples, accepted, amplitude, lives, odds
from .smooth import smooth
from .spots import TOUCHING, peaks

if TYPE_CHECKING:
    from .arrays import Mask, Plane

_ROUNDS = 2
_REWEIGHTINGS = 6
_PLACE_PX = 16
_BLIND_D = 10.0
_LEAST_D = 2e-4
_CORE = 4.0
"""How many times its doubt the density of a particle must be somewhere."""

_RIM = 4.0
_FAINT_D = 0.03
"""What is fainter than this must be `_RIM` times its doubt, lest noise widen a particle; else once is enough."""

_NOISE_PX = 1.0
_USUAL = 2.0
"""Fills may be wrong by this many times what is expected of them, in the mean square."""

Number = TypeVar("Number", bound=np.generic)

Values = npt.NDArray[np.float32]
"""(pixels): values at the pixels of a mask, row after row."""


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What the frames show where dirt is suspected: where `parts` (rows, columns) is not 0.

    Its numbers tell apart what may lie side by side without being one particle. The others are of those pixels:
    `missing` (frames, pixels) is the density in D that stands out over the film guessed there, `deviation` the error of
    that guess, `seen` where the frame shows anything at all; `scenes` (frames) numbers the scenes, and
    `bare` (frames) says which frames show no film.
    """

    parts: npt.NDArray[np.uint8]
    missing: Samples
    deviation: Samples
    seen: Mask
    scenes: npt.NDArray[np.int64]
    bare: npt.NDArray[np.bool_] | None = None

    @property
    def mask(self) -> Mask:
        """Where dirt is suspected, (rows, columns)."""
        return self.parts > 0

    @property
    def particles(self) -> tuple[npt.NDArray[np.intp], int]:
        """The connected places of each part: the number of each pixel's place, (pixels), and how many there are."""
        labels, count = np.zeros(self.parts.shape, np.intp), 0
        for part in np.unique(self.parts[self.mask]):
            own, more = ndimage.label(self.parts == part, TOUCHING)
            labels[own > 0] = own[own > 0] + count
            count += more
        return labels[self.mask] - 1, count

    @property
    def error(self) -> Samples:
        """`deviation`, but so large where nothing is seen that what is missing there says nothing."""
        return np.where(self.seen, self.deviation, np.float32(_BLIND_D))


@dataclass(frozen=True, slots=True)
class Dirt:
    """Density and doubt in D, and lives as a bit a frame, each (rows, columns); 0 where there is no dirt."""

    density: Plane
    doubt: Plane
    lives: npt.NDArray[np.uint32]


def estimate(look: SecondLook, guess: Values, params: LifeParams) -> Dirt | None:
    """The dirt under the mask, None if there is none after all. `guess` (pixels): its density in D at first sight."""
    label, count = look.particles
    places = _places(label, look.mask)
    deviation = look.error
    shape = np.maximum(guess, np.float32(1e-4))
    density = (amplitude(look.missing, shape, deviation, label, count)[label] * shape).astype(np.float32)
    for _ in range(_ROUNDS):
        there = lives(odds(look.missing, density, deviation, label, count), params)
        density, doubt = _robust_mean(look.missing, deviation, there[:, label] & look.seen, places)
    ratios = odds(look.missing, density, deviation, label, count)
    there = lives(ratios, params)
    there &= accepted(ratios, there, look.scenes, params, look.bare)
    dirty = there[:, label] & _standing_out(density, doubt, look.mask)
    if not dirty.any():
        return None
    doubt = np.hypot(doubt, _disagreement(look.missing - density, deviation, there[:, label] & look.seen, look.mask))
    # What is not well known is worth less: the estimate that has the least expected error.
    density *= density**2 / (density**2 + 2 * doubt**2)
    bits = (dirty.astype(np.uint32) << np.arange(len(dirty), dtype=np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    ever = bits > 0
    return Dirt(_scatter(density * ever, look.mask), _scatter(doubt * ever, look.mask), _scatter(bits, look.mask))


def _places(label: npt.NDArray[np.intp], mask: Mask) -> npt.NDArray[np.intp]:
    """Number the places of the mask's pixels, (pixels): squares of a particle, so that each is of one piece of dirt."""
    rows, columns = (axis // _PLACE_PX for axis in np.nonzero(mask))
    squares = (label * mask.shape[0] + rows) * mask.shape[1] + columns
    return np.unique(squares, return_inverse=True)[1].reshape(-1)


def _robust_mean(
    missing: Samples, deviation: Samples, usable: Mask, places: npt.NDArray[np.intp]
) -> tuple[Values, Values]:
    """Mean of `missing` over the frames that are `usable`, (frames, pixels) both, and its deviation.

    Re-weighted from the median: a frame that disagrees with the others over a whole place, because an edge of its film
    passes there, hardly counts there. Where no frame is usable, all are.
    """
    usable = np.where(usable.any(axis=0), usable, True)
    mean: Values = np.nanmedian(np.where(usable, missing, np.float32(np.nan)), axis=0)
    area = np.bincount(places)
    for _ in range(_REWEIGHTINGS):
        error = (missing - mean) ** 2
        around = np.stack([(np.bincount(places, one) / area)[places] for one in error])
        weight = usable / (around + np.float32(0.02) * deviation**2 + np.float32(2e-5))
        total = weight.sum(axis=0)
        mean = (weight * missing).sum(axis=0) / total
    return mean.astype(np.float32), (1 / np.sqrt(total)).astype(np.float32)


def _disagreement(off: Samples, deviation: Samples, usable: Mask, mask: Mask) -> Values:
    """By how much frames disagree about the density beyond what their fills explain: a standard deviation, (pixels).

    `off` is what is missing in the frames that are `usable` less the density, all three (frames, pixels). The noise of
    single pixels is no matter, and the frame that disagrees most is left out: an edge of its film may pass there.
    """
    explained = np.float32(FILL_ERROR) * deviation**2
    ratio = np.stack([_smoothed(one, mask) for one in off * usable]) ** 2 / explained
    others = np.maximum(usable.sum(axis=0) - 1, 1)
    surplus = np.maximum((ratio.sum(axis=0) - ratio.max(axis=0)) / others - _USUAL, 0)
    # The mean of what is explained, in which frames weigh as in that of the ratios.
    typical = usable.sum(axis=0) / np.maximum((usable / explained).sum(axis=0), np.float32(1e-6))
    return np.sqrt(_smoothed((surplus * typical).astype(np.float32), mask))


def _smoothed(values: Values, mask: Mask) -> Values:
    plane: Values = smooth(_scatter(values, mask), _NOISE_PX)[mask]
    return plane


def _standing_out(density: Values, doubt: Values, mask: Mask) -> Mask:
    """Which pixels of the mask, (pixels), are dirt and not the noise around it.

    They darken, and hang together with a core.
    """
    level, spread = (smooth(_scatter(values, mask), _NOISE_PX) for values in (density, doubt))
    rim = mask & (_scatter(density, mask) > _LEAST_D) & (level > np.clip(_FAINT_D, spread, _RIM * spread))
    labels, count = ndimage.label(rim)
    cores = np.zeros(count + 1, np.bool_)
    contrast = np.asarray(level / np.maximum(spread, np.float32(1e-6)), np.float32)
    cores[1:] = peaks(contrast, labels, count) > _CORE
    return np.asarray(cores[labels][mask])


def _scatter(values: npt.NDArray[Number], mask: Mask) -> npt.NDArray[Number]:
    """Values at the pixels of a mask as a plane, 0 elsewhere."""
    plane = np.zeros(mask.shape, values.dtype)
    plane[mask] = values
    return plane
