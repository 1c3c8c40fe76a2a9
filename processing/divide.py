"""Undo the dirt's density: the film beneath, with its own detail and grain, by division."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .density import Tone, density_table


def divided(
    values: npt.NDArray[np.integer], dirt: npt.NDArray[np.float32], tone: Tone, maximum: int
) -> npt.NDArray[np.float32]:
    """Density of the film in D under `dirt` (pixels), in D, where the scan shows `values` (pixels, channels).

    Dirt is taken to be neutral: it has the same density in every channel. See Gu, Ramamoorthi, Belhumeur and Nayar,
    *Removing image artifacts due to dirty camera lenses and thin occluders*, SIGGRAPH Asia 2009, section 4.
    """
    return density_table(tone, maximum)[values] - dirt[:, None]


def division_noise(values: npt.NDArray[np.integer], tone: Tone, maximum: int, noise: float) -> npt.NDArray[np.float32]:
    """Standard deviation in D, (pixels), that the scanner's noise and rounding leave in a density, mean over channels.

    `noise` is that of full light, as a share of it; it falls with the root of the light, as photon noise does. What was
    full light before a positive was inverted is not known: its darkest hundredth is taken for it.
    """
    return np.asarray(_noise_table(tone, maximum, noise)[values].mean(axis=1), np.float32)


@lru_cache(maxsize=8)
def _noise_table(tone: Tone, maximum: int, noise: float) -> npt.NDArray[np.float32]:
    """The same for every stored value 0..`maximum`."""
    table = density_table(tone, maximum)
    slope = np.abs(np.gradient(table))  # D per step: what rounding costs
    full = 0.0 if tone.dirt == "darkens" else 2.0  # how much the scanner saw falls with the density, from here
    light = np.minimum(np.power(np.float32(10), -table - np.float32(full)), 1)
    photon = noise / np.log(10) / np.sqrt(np.maximum(light, 1e-6))
    return np.sqrt(photon**2 + slope**2 / 12).astype(np.float32)
