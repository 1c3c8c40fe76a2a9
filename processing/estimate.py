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
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from .kernel import kernel
from .particles import FILL_ERROR, LifeParams, Samples, accepted, amplitude, lives, odds
from .smooth import smooth
from .spots import connected, peaks, pixels_of

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
        return connected(pixels_of(self.mask), self.parts[self.mask])

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
    mask = look.mask
    rows, columns = pixels_of(mask)
    places = _places(label, rows, columns, mask.shape)
    deviation = look.error
    shape = np.maximum(guess, np.float32(1e-4))
    density = (amplitude(look.missing, shape, deviation, label, count)[label] * shape).astype(np.float32)
    for _ in range(_ROUNDS):
        there = lives(odds(look.missing, density, deviation, label, count), params)
        density, doubt = _robust_mean(look.missing, deviation, there[:, label] & look.seen, places)
    ratios = odds(look.missing, density, deviation, label, count)
    there = lives(ratios, params)
    there &= accepted(ratios, there, look.scenes, params, look.bare)
    dirty = there[:, label] & _standing_out(density, doubt, mask)
    if not dirty.any():
        return None
    doubt = np.hypot(doubt, _disagreement(look.missing - density, deviation, there[:, label] & look.seen, mask))
    # What is not well known is worth less: the estimate that has the least expected error.
    density *= density**2 / (density**2 + 2 * doubt**2)
    bits = (dirty.astype(np.uint32) << np.arange(len(dirty), dtype=np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    ever = bits > 0
    return Dirt(_scatter(density * ever, mask), _scatter(doubt * ever, mask), _scatter(bits, mask))


@kernel
def _places(
    label: npt.NDArray[np.intp], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> npt.NDArray[np.intp]:
    """Number the places of pixels: squares of a particle, so that each is of one piece of dirt."""
    # In a square several particles may have a place: each leads to the next.
    latest = np.full((shape[0] // _PLACE_PX + 1, shape[1] // _PLACE_PX + 1), -1)
    before, owner, places = np.empty_like(label), np.empty_like(label), np.empty_like(label)
    count = 0
    for i in range(len(label)):
        square = rows[i] // _PLACE_PX, columns[i] // _PLACE_PX
        place = latest[square]
        while place >= 0 and owner[place] != label[i]:
            place = before[place]
        if place < 0:
            place = count
            before[place], owner[place] = latest[square], label[i]
            latest[square] = place
            count += 1
        places[i] = place
    return places


def _robust_mean(
    missing: Samples, deviation: Samples, usable: Mask, places: npt.NDArray[np.intp]
) -> tuple[Values, Values]:
    """Mean of `missing` over the frames that are `usable`, (frames, pixels) both, and its deviation.

    Re-weighted from the median: a frame that disagrees with the others over a whole place, because an edge of its film
    passes there, hardly counts there. Where no frame is usable, all are.
    """
    mean, doubt = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    _mean_by_place(missing, deviation, usable | ~usable.any(axis=0), places, np.bincount(places), mean, doubt)
    return mean, doubt


@kernel
def _mean_by_place(
    missing: Samples,
    deviation: Samples,
    usable: Mask,
    places: npt.NDArray[np.intp],
    area: npt.NDArray[np.intp],
    mean: Values,
    doubt: Values,
) -> None:
    """Place by place, so that all that is asked for again and again stays in the processor's cache."""
    stops = np.cumsum(area)
    following, pixels = stops - area, np.empty_like(places)
    for i in range(len(places)):
        pixels[following[places[i]]] = i
        following[places[i]] += 1
    frames, most = len(missing), area.max()
    shown, least = np.empty((frames, most), np.float32), np.empty((frames, most), np.float32)
    level, said, total = np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.float32)
    for place in range(len(area)):
        own = pixels[stops[place] - area[place] : stops[place]]
        count = len(own)
        for k in range(frames):
            for i in range(count):
                shown[k, i] = missing[k, own[i]]
                spread = deviation[k, own[i]]
                least[k, i] = np.float32(0.02) * spread * spread + np.float32(2e-5)
                if not usable[k, own[i]]:
                    least[k, i] = np.inf
        _medians(shown, least, level[:count])
        for _ in range(_REWEIGHTINGS):
            said[:count] = total[:count] = 0
            for k in range(frames):
                error, seen = np.float32(0), 0
                for i in range(count):
                    if least[k, i] < np.inf:
                        off = shown[k, i] - level[i]
                        error += off * off
                        seen += 1
                error /= np.float32(max(seen, 1))
                for i in range(count):
                    weight = np.float32(1) / (error + least[k, i])
                    total[i] += weight
                    said[i] += weight * shown[k, i]
            for i in range(count):
                level[i] = said[i] / total[i]
        for i in range(count):
            mean[own[i]], doubt[own[i]] = level[i], 1 / np.sqrt(total[i])


@kernel
def _medians(shown: Samples, least: Samples, medians: Values) -> None:
    """The median at each pixel of those frames, (frames, pixels), whose `least` error is not infinite."""
    ordered = np.empty(len(shown), np.float32)
    for i in range(len(medians)):
        found = 0
        for k in range(len(shown)):
            if least[k, i] < np.inf:
                at = found
                while at > 0 and ordered[at - 1] > shown[k, i]:
                    ordered[at] = ordered[at - 1]
                    at -= 1
                ordered[at] = shown[k, i]
                found += 1
        medians[i] = (ordered[(found - 1) // 2] + ordered[found // 2]) / 2


def _disagreement(off: Samples, deviation: Samples, usable: Mask, mask: Mask) -> Values:
    """By how much frames disagree about the density beyond what their fills explain: a standard deviation, (pixels).

    `off` is what is missing in the frames that are `usable` less the density, all three (frames, pixels). The noise of
    single pixels is no matter, and the frame that disagrees most is left out: an edge of its film may pass there.
    """
    explained = np.float32(FILL_ERROR) * deviation**2
    ratio = _smoothed(off * usable, mask) ** 2 / explained
    others = np.maximum(usable.sum(axis=0) - 1, 1)
    surplus = np.maximum((ratio.sum(axis=0) - ratio.max(axis=0)) / others - _USUAL, 0)
    # The mean of what is explained, in which frames weigh as in that of the ratios.
    typical = usable.sum(axis=0) / np.maximum((usable / explained).sum(axis=0), np.float32(1e-6))
    return np.sqrt(_smoothed((surplus * typical)[None], mask)[0])


def _standing_out(density: Values, doubt: Values, mask: Mask) -> Mask:
    """Which pixels of the mask, (pixels), are dirt and not the noise around it.

    They darken, and hang together with a core.
    """
    level, spread = _smoothed(np.stack([density, doubt]), mask)
    standing: Mask = (density > _LEAST_D) & (level > np.clip(_FAINT_D, spread, _RIM * spread))
    labels, count = connected(pixels_of(mask)[:, standing], corners=False)
    contrast = level[standing] / np.maximum(spread[standing], np.float32(1e-6))
    standing[standing] = (peaks(contrast, labels + 1, count) > _CORE)[labels]
    return standing


def _smoothed(values: Samples, mask: Mask) -> Samples:
    """Values at the pixels of a mask, (planes, pixels), smoothed by a Gaussian as `smooth` does it with 0 elsewhere."""
    rows, columns = pixels_of(mask)
    runs = np.flatnonzero(np.diff(rows * (mask.shape[1] + 1) + columns, prepend=-2, append=-2) != 1)
    smoothed = np.empty(values.shape, np.float32)
    _smooth(values.astype(np.float32, copy=False), rows, columns, runs, mask.shape, _taps(), smoothed)
    return smoothed


@lru_cache(maxsize=1)
def _taps() -> Values:
    """The Gaussian from its middle on."""
    impulse = np.zeros((1, 64), np.float32)
    impulse[0, 32] = 1
    return np.trim_zeros(smooth(impulse, _NOISE_PX)[0, 32:], "b")


@kernel
def _smooth(
    values: Samples,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    runs: npt.NDArray[np.intp],
    shape: tuple[int, int],
    taps: Values,
    smoothed: Samples,
) -> None:
    """Strew each run of pixels along its row, and gather at its place what lies along the columns."""
    height, width = shape
    reach = len(taps) - 1
    plane = np.zeros((height, width), np.float32)
    for k in range(len(values)):
        for run in range(len(runs) - 1):
            own = values[k, runs[run] : runs[run + 1]]
            y, left = rows[runs[run]], columns[runs[run]]
            for step in range(-reach, reach + 1):
                start, stop = left + step, left + step + len(own)
                if start >= 0 and stop <= width:
                    line = plane[y, start:stop]
                    for i in range(len(own)):
                        line[i] += taps[abs(step)] * own[i]
                else:
                    for i in range(len(own)):
                        plane[y, _mirrored(start + i, width)] += taps[abs(step)] * own[i]
        for run in range(len(runs) - 1):
            out = smoothed[k, runs[run] : runs[run + 1]]
            out[:] = 0
            y, left = rows[runs[run]], columns[runs[run]]
            for step in range(-reach, reach + 1):
                line = plane[_mirrored(y + step, height), left : left + len(out)]
                for i in range(len(out)):
                    out[i] += taps[abs(step)] * line[i]
        for run in range(len(runs) - 1):
            y, left, length = rows[runs[run]], columns[runs[run]], runs[run + 1] - runs[run]
            plane[y, max(left - reach, 0) : left + length + reach] = 0


@kernel
def _mirrored(place: int, length: int) -> int:
    place %= 2 * length
    return place if place < length else 2 * length - 1 - place


def _scatter(values: npt.NDArray[Number], mask: Mask) -> npt.NDArray[Number]:
    """Values at the pixels of a mask as a plane, 0 elsewhere."""
    plane = np.zeros(mask.shape, values.dtype)
    plane[mask] = values
    return plane
