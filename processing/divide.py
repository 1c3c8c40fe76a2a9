"""The film under dirt: by division, with its own detail and grain, and by the fill where that tells too little.

Each pixel is estimated twice: by division, whose error is the map's doubt and the scanner's noise, which the dirt has
amplified; and by the fill, whose error is as large as the film is busy. What comes out is their mean, weighted by
inverse variance: division nearly everywhere, the fill in opaque cores, and no seam between them.

Dirt is taken to be neutral: it has the same density in every channel. See Gu, Ramamoorthi, Belhumeur and Nayar,
*Removing image artifacts due to dirty camera lenses and thin occluders*, SIGGRAPH Asia 2009, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .density import Tone, density_table, value_at, value_edges, value_marks
from .kernel import kernel
from .particles import FILL_ERROR

Values = npt.NDArray[np.float32]
"""(pixels), in D."""


@dataclass(frozen=True, slots=True)
class Mended:
    """Pixels without their dirt: `values` (pixels, colours) as a file has them, and the fill's `share` in each.

    `changed` (pixels) says where any value is another than it was.
    """

    values: npt.NDArray[np.integer]
    share: npt.NDArray[np.float32]
    changed: npt.NDArray[np.bool_]


def mend(
    values: npt.NDArray[np.integer],
    dirt: Values,
    doubt: Values,
    busy: Values,
    spanned: Values,
    tone: Tone,
    noise: float,
) -> Mended:
    """Take `dirt` off pixels that the scan shows as `values` (pixels, colours).

    `doubt` is that of the dirt's density, `busy` the texture of the film around each pixel, and `spanned` (colours,
    pixels) the density that the fill guesses. `noise` is the scanner's standard deviation at full light, as a share of
    it. Of clipped values only the fill tells.
    """
    maximum = int(np.iinfo(values.dtype).max)
    count = len(values)
    mended = Mended(np.empty_like(values), np.empty(count, np.float32), np.empty(count, np.bool_))
    densities, noises = density_table(tone, maximum), noise_table(tone, maximum, noise)
    edges, marks = value_edges(tone, maximum), value_marks(tone, maximum)
    out = mended.values, mended.share, mended.changed
    _mend(values, dirt, doubt, busy, spanned, densities, noises, edges, marks, tone.sign, *out)
    return mended


@lru_cache(maxsize=8)
def noise_table(tone: Tone, maximum: int, noise: float) -> npt.NDArray[np.float32]:
    """Standard deviation in D that noise and rounding leave in the density of every stored value 0..`maximum`.

    Read-only. `noise` is that of full light, as a share of it; it falls with the root of the light, as photon noise
    does. What was full light before a positive was inverted is not known: its darkest hundredth is taken for it.
    """
    table = density_table(tone, maximum)
    slope = np.abs(np.gradient(table))  # D per step: what rounding costs
    full = 0.0 if tone.dirt == "darkens" else 2.0  # how much the scanner saw falls with the density, from here
    light = np.minimum(np.power(np.float32(10), -table - np.float32(full)), 1)
    photon = noise / np.log(10) / np.sqrt(np.maximum(light, 1e-6))
    deviation = np.sqrt(photon**2 + slope**2 / 12).astype(np.float32)
    deviation.setflags(write=False)
    return deviation


@kernel
def _mend(
    values: npt.NDArray[np.integer],
    dirt: Values,
    doubt: Values,
    busy: Values,
    spanned: Values,
    densities: npt.NDArray[np.float32],
    noises: npt.NDArray[np.float32],
    edges: npt.NDArray[np.float64],
    marks: npt.NDArray[np.int64],
    sign: float,
    mended: npt.NDArray[np.integer],
    share: npt.NDArray[np.float32],
    changed: npt.NDArray[np.bool_],
) -> None:
    colours, top = values.shape[1], len(densities) - 1
    for i in range(len(values)):
        noise, clipped = 0.0, False
        for c in range(colours):
            value = values[i, c]
            noise += noises[value] / colours
            clipped |= value == 0 or value == top
        # Of the noise only what the dirt has added counts: what clean film would have shown is left as it is.
        added = 1 - 10.0 ** -max(dirt[i], np.float32(0))
        division = doubt[i] ** 2 + added * noise**2
        fills = 1.0 if clipped else division / (division + FILL_ERROR * busy[i] ** 2)
        changed[i] = False
        for c in range(colours):
            density = (densities[values[i, c]] - dirt[i]) * (1 - fills) + spanned[c, i] * fills
            mended[i, c] = value_at(-sign * density, edges, marks)
            changed[i] |= mended[i, c] != values[i, c]
        share[i] = fills
