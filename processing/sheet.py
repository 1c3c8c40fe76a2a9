"""The contact sheet of a demonstration: before, after and what was taken off, at 100 %, as positives.

A negative says little to the eye, so crops are inverted in density with the film base and the exposure of their roll
and frame; before and after in exactly the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from .arrays import Plane, Planes, Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(rows, columns, 3) sRGB-like, to look at."""

_FILM_GAMMA = 0.62
_FULL_HEAT_D = 0.6

TILE = (320, 480)
"""Rows and columns of every picture on the sheet."""

_MARGIN, _CAPTION, _HEAD = 24, 34, 172
_BACKGROUND, _INK, _FAINT, _ACCENT = (17, 18, 20), (236, 236, 232), (146, 150, 156), (255, 176, 64)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What the sheet shows of one frame, as stored linear values of a negative that dirt darkens.

    `overview` (rows, columns, 3) is the cleaned frame made small, as shares of full scale; `before` and `after` the
    same window of `TILE` size, whose top-left corner is at `window` (row, column), in shares of the frame 0..1, and
    which takes up `extent` (rows, columns) of it.
    """

    overview: Planes
    window: tuple[float, float]
    extent: tuple[float, float]
    before: Scan
    after: Scan
    caption: str


def most_telling_window(film: Planes, glass: Plane, specks: Plane) -> tuple[int, int]:
    """Top-left corner (row, column) of the `TILE` where the dirt on the glass shows most, away from film dirt.

    Dirt shows where the film lets light through, so its density counts by the film's. A frame smaller than the tile
    gives (0, 0).
    """
    step = 4
    light = np.sqrt(film[::step, ::step].mean(-1))
    shows = (
        np.minimum(glass[::step, ::step], 0.3) * light - 3 * np.minimum(specks[::step, ::step], 0.3) * light
    )
    rows, columns = (min(side // step, have) for side, have in zip(TILE, shows.shape, strict=True))
    total = np.pad(shows.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    box = (
        total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    )
    row, column = np.unravel_index(int(box.argmax()), box.shape)
    last = [max(have - side, 0) for side, have in zip(TILE, glass.shape, strict=True)]
    return min(int(row) * step, last[0]), min(int(column) * step, last[1])


def small(scan: Scan) -> Planes:
    """`scan` averaged down to about the width of a tile, as shares of full scale."""
    step = max(scan.shape[1] // TILE[1], 1)
    rows, columns = scan.shape[0] // step, scan.shape[1] // step
    blocks = scan[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
    return np.asarray(blocks.mean((1, 3)) / np.iinfo(scan.dtype).max, np.float32)


def draw_sheet(exhibits: Sequence[Exhibit], title: str, subtitle: str) -> Image.Image:
    """One row to an exhibit: overview with the window marked, before, after, what was taken off."""
    base = _film_base(exhibits)
    width = 4 * TILE[1] + 5 * _MARGIN
    sheet = Image.new("RGB", (width, _HEAD + len(exhibits) * (TILE[0] + _CAPTION + _MARGIN)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 22), title, fill=_INK, font=ImageFont.load_default(38))
    draw.text((_MARGIN, 72), subtitle, fill=_FAINT, font=ImageFont.load_default(19))
    for column, head in enumerate(("the frame", "before, 100 %", "after, 100 %", "what was taken off")):
        left = _MARGIN + column * (TILE[1] + _MARGIN)
        draw.text((left, _HEAD - 32), head, fill=_ACCENT, font=ImageFont.load_default(19))
    _draw_scale(draw, 4 * (TILE[1] + _MARGIN) - 200, _HEAD - 28)
    for number, exhibit in enumerate(exhibits):
        top = _HEAD + number * (TILE[0] + _CAPTION + _MARGIN)
        exposure = _exposure(exhibit.overview, base)
        maximum = np.iinfo(exhibit.before.dtype).max
        tiles = (
            _positive(exhibit.overview, base, exposure),
            _positive(exhibit.before / np.float32(maximum), base, exposure),
            _positive(exhibit.after / np.float32(maximum), base, exposure),
            _heat(_taken_off(exhibit.before, exhibit.after)),
        )
        for column, tile in enumerate(tiles):
            image = Image.fromarray(tile)
            if column == 0:
                image = _with_window(image, exhibit)
            sheet.paste(image, (_MARGIN + column * (TILE[1] + _MARGIN), top))
        draw.text((_MARGIN, top + TILE[0] + 6), exhibit.caption, fill=_FAINT, font=ImageFont.load_default(17))
    return sheet


def _density(light: Planes) -> Planes:
    return np.asarray(-np.log10(np.maximum(light, 1e-4)), np.float32)


def _film_base(exhibits: Sequence[Exhibit]) -> npt.NDArray[np.float32]:
    """Density of the unexposed film in each channel: the thinnest that the roll shows."""
    thinnest = [np.percentile(_density(exhibit.overview), 0.2, axis=(0, 1)) for exhibit in exhibits]
    return np.asarray(np.min(thinnest, axis=0), np.float32)


def _exposure(overview: Planes, base: npt.NDArray[np.float32]) -> float:
    """What brings a frame's bright parts just below white."""
    return 0.92 / float(np.percentile(_inverted(overview, base), 99.5))


def _inverted(light: Planes, base: npt.NDArray[np.float32]) -> Planes:
    """The scene's linear light, up to a factor, from a negative's."""
    return np.asarray(np.power(10.0, (_density(light) - base) / _FILM_GAMMA), np.float32)


def _positive(light: Planes, base: npt.NDArray[np.float32], exposure: float) -> Picture:
    """Invert, expose, and round the highlights off a little."""
    scene = _inverted(light, base) * np.float32(exposure)
    rounded = np.where(scene < 0.7, scene, 0.7 + 0.3 * np.tanh((scene - 0.7) / 0.3))
    return np.asarray(np.clip(rounded, 0, 1) ** (1 / 2.2) * 255 + 0.5, np.uint8)


def _taken_off(before: Scan, after: Scan) -> Plane:
    """Density that went, in D."""
    ratio = np.log10((after.astype(np.float32) + 1) / (before.astype(np.float32) + 1))
    return np.asarray(ratio.mean(-1), np.float32)


def _heat(density: Plane) -> Picture:
    """Black over red and amber to white, with the faint made visible; light that was taken away is blue."""
    share = np.sqrt(np.clip(np.abs(density) / _FULL_HEAT_D, 0, 1))[..., None]
    ramp = np.clip(share * np.array([2.2, 1.35, 1.0]) - np.array([0, 0.30, 0.62]) * (share > 0), 0, 1)
    ramp = np.where(density[..., None] < 0, ramp[..., ::-1], ramp)
    return np.asarray(12 + ramp * 243, np.uint8)


def _with_window(image: Image.Image, exhibit: Exhibit) -> Image.Image:
    """Fit the overview into its tile and mark the window that the crops show."""
    scale = min(TILE[1] / image.width, TILE[0] / image.height)
    fitted = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    top, left = exhibit.window[0] * fitted.height, exhibit.window[1] * fitted.width
    bottom, right = top + exhibit.extent[0] * fitted.height, left + exhibit.extent[1] * fitted.width
    ImageDraw.Draw(fitted).rectangle((left, top, right, bottom), outline=_ACCENT, width=2)
    return fitted


def _draw_scale(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """What the colours of the last column mean."""
    ramp = _heat(np.linspace(0, _FULL_HEAT_D, 120, dtype=np.float32)[None])[0]
    for x, colour in enumerate(ramp):
        draw.line((left + 40 + x, top, left + 40 + x, top + 14), fill=tuple(int(value) for value in colour))
    small_font = ImageFont.load_default(15)
    draw.text((left + 26, top - 2), "0", fill=_FAINT, font=small_font)
    draw.text((left + 166, top - 2), f"{_FULL_HEAT_D} D", fill=_FAINT, font=small_font)
