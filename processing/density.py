"""Scan values to density and back, for every encoding and film sense.

Dirt multiplies the light, so in density it adds: ``scan = film + glass``. For a scan whose dirt darkens, the density
is ``-log10`` of the linear value; for an inverted positive, whose dirt brightens, it is ``+log10``, so that dirt is
positive in both. See Gu, Ramamoorthi, Belhumeur and Nayar, *Removing image artifacts due to dirty camera lenses and
thin occluders*, SIGGRAPH Asia 2009, for dividing attenuation out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from .kernel import kernel


@dataclass(frozen=True, slots=True)
class Tone:
    """What a stored sample value means.

    `encoding`: ``linear`` in light, ``gamma`` (value = light ** (1 / `gamma`)) or ``srgb`` (IEC 61966-2-1).
    `dirt`: whether dirt on the glass ``darkens`` the picture as stored (a negative or a slide as scanned) or
    ``brightens`` it (inverted to a positive). `black` is the share of full scale that an opaque object still shows.
    """

    encoding: Literal["linear", "gamma", "srgb"] = "linear"
    gamma: Annotated[float, Interval(ge=1.0, le=4.0)] = 2.2
    dirt: Literal["darkens", "brightens"] = "darkens"
    black: Annotated[float, Interval(ge=0.0, le=0.2)] = 0.0

    @property
    def sign(self) -> float:
        """+1 where dirt darkens, -1 where it brightens: density = -sign * log10(light)."""
        return 1.0 if self.dirt == "darkens" else -1.0


def light(values: npt.NDArray[np.float64], tone: Tone) -> npt.NDArray[np.float64]:
    """Share of full scale (any shape, 0..1) as stored -> linear light, black level taken off, not below 0."""
    if tone.encoding == "linear":
        linear = values
    elif tone.encoding == "gamma":
        linear = values**tone.gamma
    else:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.maximum(linear - tone.black, 0.0) / (1.0 - tone.black)


def stored(linear: npt.NDArray[np.float64], tone: Tone) -> npt.NDArray[np.float64]:
    """Linear light (any shape, 0..1) -> share of full scale as stored. The inverse of `light` on [0, 1]."""
    linear = np.clip(linear, 0.0, 1.0) * (1.0 - tone.black) + tone.black
    if tone.encoding == "linear":
        return linear
    if tone.encoding == "gamma":
        return linear ** (1.0 / tone.gamma)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1.0 / 2.4) - 0.055)


@lru_cache(maxsize=8)
def density_table(tone: Tone, maximum: int) -> npt.NDArray[np.float32]:
    """Density in D of every stored value 0..`maximum`, shape (maximum + 1,), read-only.

    Values less than half a step above the black level take the density there, so every entry is finite.
    """
    values = np.arange(maximum + 1, dtype=np.float64)
    linear = light(values / maximum, tone)
    floor = light(stored(np.zeros(1), tone) + 0.5 / maximum, tone)
    table = (-tone.sign * np.log10(np.maximum(linear, floor))).astype(np.float32)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=8)
def value_edges(tone: Tone, maximum: int) -> npt.NDArray[np.float64]:
    """Common logarithm of the light where two stored values meet, for the values below `maximum`, read-only.

    A density is stored as the number of edges that its light lies above.
    """
    between = light((np.arange(maximum) + 0.5) / maximum, tone)
    edges = np.log10(np.maximum(between, np.finfo(np.float64).tiny))
    edges.setflags(write=False)
    return edges


MARKS_PER_D, LEAST_LIGHT = 1024, -6
"""How many marks the edges have for each power of ten of light, and from which on."""


@lru_cache(maxsize=8)
def value_marks(tone: Tone, maximum: int) -> npt.NDArray[np.int64]:
    """How many of `value_edges` lie below each mark, read-only: where `value_at` has to search."""
    marks = np.arange(LEAST_LIGHT * MARKS_PER_D, 2) / MARKS_PER_D
    below = np.searchsorted(value_edges(tone, maximum), marks, side="right")
    below.setflags(write=False)
    return below


@kernel
def value_at(light: float, edges: npt.NDArray[np.float64], marks: npt.NDArray[np.int64]) -> int:
    """The value stored for a common logarithm of light: how many edges lie at or below it."""
    place = min(max((light - LEAST_LIGHT) * MARKS_PER_D, 0.0), len(marks) - 2.0)
    mark = int(place)
    # Edges hardly bend between two marks, so a guess is off by one at most, but for the darkest values.
    value = marks[mark] + int((place - mark) * (marks[mark + 1] - marks[mark]))
    while value < len(edges) and edges[value] <= light:
        value += 1
    while value > 0 and edges[value - 1] > light:
        value -= 1
    return value


def to_values(density: npt.NDArray[np.float32], tone: Tone, maximum: int) -> npt.NDArray[np.intp]:
    """Density (any shape, in D) -> stored values 0..`maximum`, the nearest, clipped."""
    return np.searchsorted(value_edges(tone, maximum), -tone.sign * density.astype(np.float64), side="right")
