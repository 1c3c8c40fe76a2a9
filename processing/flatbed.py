"""What a flatbed makes of film on its dirty glass, with the truth: any window, at any resolution, band by band.

A picture lies on its frame of film as large as it is looked at in full; what is scanned is resampled from it. So a
preview and the scan after it show the same, and no scan is too large for the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from PIL import Image

from .platen import PX_PER_MM, Area, Dirt, Grid, densities, scattered
from .scenes import landscape
from .simulate import EXPOSURES, RollParams, negative, sensed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from .arrays import Plane, Planes

Samples = Literal["grey", "colour", "infrared", "colour and infrared"]

CHANNELS: dict[Samples, int] = {"grey": 1, "colour": 3, "infrared": 1, "colour and infrared": 4}
"""Samples a pixel."""

_Picture: TypeAlias = "tuple[Image.Image, ...]"

_ROLL = RollParams()
_GREY = np.array([[0.30], [0.59], [0.11]], np.float32)
_HOLDER = np.float32(1e-4)
"""What light passes the holder around the film."""

_SPECKS_PER_FILM = 4
_PICTURE_PX = 1800 * 1200
"""Pictures have no more pixels; they are rendered as a whole."""

_BAND_PX = 1 << 18
"""Bands have about so many pixels."""


@dataclass(frozen=True, slots=True)
class Film:
    """A frame of film: where it lies, and which picture of the roll `seed` it shows."""

    area: Area
    seed: int
    number: int


@dataclass(frozen=True, slots=True)
class View:
    """A scan: its pixels on the bed, what lies there, and how it is looked at.

    The carriage stops so that the dirt is seen moved by `offset_px` (rows, columns). `noise` tells scans apart that
    are otherwise the same. Light that is `reflected` passes film and dirt twice; the other passes once.
    """

    grid: Grid
    films: tuple[Film, ...]
    dirt: tuple[Dirt, ...]
    offset_px: tuple[float, float]
    noise: tuple[int, ...]
    samples: Samples
    reflected: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a scan and the truth about them, as in `simulate.SimulatedFrame`.

    `scan` (rows, columns, samples) linear stored values; `film` the same without dirt or noise, 0..1; `glass` and
    `specks` (rows, columns) the densities of the dirt on the glass and on the film.
    """

    scan: npt.NDArray[np.uint16]
    film: Planes
    glass: Plane
    specks: Plane


def exposed(view: View) -> Iterator[Band]:
    """All rows of a scan, from top to bottom; the same view gives always the same ones."""
    grid = view.grid
    height = max(1, _BAND_PX // grid.columns)
    bands = [(first, min(first + height, grid.rows)) for first in range(0, grid.rows, height)]
    passes = 2 if view.reflected else 1
    glasses = densities(view.dirt, grid, view.offset_px, bands)
    # A row of slots may show more pictures than are worth being kept for the next scan.
    held: dict[Film, _Picture] = {}
    on_film = densities([speck for film in view.films for speck in _specks(film)], grid, (0.0, 0.0), bands)
    for number, ((first, end), glass, specks) in enumerate(zip(bands, glasses, on_film, strict=True)):
        film = _selected(_through_film(view, (first, end), number, held) ** passes, view.samples)
        seen = film * np.power(10.0, -passes * (glass + specks), dtype=np.float32)[..., None]
        scan = np.rint(np.clip(_sensed(seen, view, number), 1e-4, 1.0) * 65535).astype(np.uint16)
        yield Band(scan, film, glass * np.float32(passes), specks * np.float32(passes))


def _through_film(view: View, rows: tuple[int, int], band: int, held: dict[Film, _Picture]) -> Planes:
    """Light behind the clean film and the holder in some rows: red, green, blue, infrared.

    Into `held` go the pictures of the film that lies there, and no others stay.
    """
    grid, (first, end) = view.grid, rows
    light = np.full((end - first, grid.columns, 4), _HOLDER, np.float32)
    for film in view.films:
        top, bottom = _inside(film.area.y - grid.top_mm, film.area.height, grid.px_per_mm, first, end)
        left, right = _inside(film.area.x - grid.left_mm, film.area.width, grid.px_per_mm, 0, grid.columns)
        if top < bottom and left < right:
            rng = np.random.default_rng((film.seed, 33, film.number, band))
            picture = held[film] = held.get(film) or _picture(film.seed, film.number, *_picture_shape(film.area))
            scene = _scene(picture, film.area, grid, (top, bottom), (left, right))
            colours = negative(scene, _exposure(film), _ROLL.grain_d, rng)
            # Dyes let infrared through, but for a trace.
            infrared = np.float32(0.85) * colours[..., :1] ** np.float32(0.05)
            light[top - first : bottom - first, left:right] = np.concatenate([colours, infrared], axis=-1)
        else:
            held.pop(film, None)
    return light


def _inside(start_mm: float, length_mm: float, px_per_mm: float, first: int, end: int) -> tuple[int, int]:
    """Which of the pixels `first` to `end` have their middle within a length."""
    begin = int(np.ceil(start_mm * px_per_mm - 0.5))
    stop = int(np.ceil((start_mm + length_mm) * px_per_mm - 0.5))
    return max(begin, first), min(stop, end)


def _scene(picture: _Picture, area: Area, grid: Grid, rows: tuple[int, int], columns: tuple[int, int]) -> Planes:
    """Light of the scene that fell on these pixels of a film, whose picture fills `area`."""
    wide, high = picture[0].size
    across = (np.array(columns) / grid.px_per_mm + grid.left_mm - area.x) * (wide / area.width)
    down = (np.array(rows) / grid.px_per_mm + grid.top_mm - area.y) * (high / area.height)
    left, right = np.clip(across, 0, wide)
    top, bottom = np.clip(down, 0, high)
    size = (columns[1] - columns[0], rows[1] - rows[0])
    resampled = [one.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom)) for one in picture]
    return np.clip(np.stack([np.asarray(one) for one in resampled], axis=-1), 0, 1)


def _picture_shape(area: Area) -> tuple[int, int]:
    """Rows and columns: as fine as the simulator's frames, unless that is too large."""
    px_per_mm = min(PX_PER_MM, float(np.sqrt(_PICTURE_PX / (area.width * area.height))))
    return max(round(area.height * px_per_mm), 32), max(round(area.width * px_per_mm), 32)


@lru_cache(maxsize=2)
def _picture(seed: int, number: int, rows: int, columns: int) -> _Picture:
    """Red, green and blue of a picture."""
    scene = landscape(seed)(number, rows, columns)
    return tuple(Image.fromarray(np.ascontiguousarray(scene[..., channel])) for channel in range(3))


def _exposure(film: Film) -> float:
    return float(np.random.default_rng((film.seed, 34, film.number)).uniform(*EXPOSURES))


def _specks(film: Film) -> tuple[Dirt, ...]:
    """The dirt on a film, which goes with it."""
    return scattered(film.area, _SPECKS_PER_FILM, np.random.default_rng((film.seed, 35, film.number)))


def _sensed(light: Planes, view: View, band: int) -> Planes:
    """`light` as the sensor counts it: colours and infrared each as they would be counted without the other."""
    colours = CHANNELS[view.samples] - ("infrared" in view.samples)
    parts = np.split(light, [colours], axis=-1)
    rngs = (np.random.default_rng((*view.noise, band, infrared)) for infrared in (0, 1))
    return np.concatenate([sensed(part, _ROLL.noise, rng) for part, rng in zip(parts, rngs, strict=True)], axis=-1)


def _selected(light: Planes, samples: Samples) -> Planes:
    if samples == "grey":
        return np.asarray(light[..., :3] @ _GREY, np.float32)
    if samples == "colour":
        return light[..., :3]
    if samples == "infrared":
        return light[..., 3:]
    return light
