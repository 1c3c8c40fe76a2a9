"""The contact sheet of a demonstration: how a frame ripened; before, after and what was taken off; as positives.

A negative says little to the eye, so the pictures are inverted, with the base and curve of the simulator's
film and one exposure to a frame; before and after in exactly the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from .simulate import FILM_BASE_D, FILM_GAMMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .arrays import Plane, Planes, Scan

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(rows, columns, 3) sRGB-like, to look at."""

_FULL_HEAT_D = 0.6

TILE = (320, 480)
"""Rows and columns of every picture on the sheet."""

_MARGIN, _CAPTION, _TITLE, _HEADING = 24, 34, 140, 32
_WIDTH = 4 * TILE[1] + 5 * _MARGIN
_BACKGROUND, _INK, _FAINT, _ACCENT = (17, 18, 20), (236, 236, 232), (146, 150, 156), (255, 176, 64)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What the sheet shows of one frame, as stored linear values of a negative that dirt darkens.

    `overview` (rows, columns, 3) is the scan made small, as shares of full scale. `before` and `after` are the same
    window of `TILE` size: its top-left corner is at `window` (row, column), and it takes up `extent` (rows,
    columns), both as shares of the frame.
    """

    overview: Planes
    window: tuple[float, float]
    extent: tuple[float, float]
    before: Scan
    after: Scan
    caption: str


def most_telling_window(film: Planes, glass: Plane, specks: Plane) -> tuple[int, int]:
    """Top-left corner (row, column) of the `TILE` that shows best what dirt on the glass does.

    Dirt shows where the film lets light through, and is hard to take off where the picture has structure;
    dirt on the film is avoided. A frame smaller than the tile gives (0, 0).
    """
    step = 4
    light = film[::step, ::step].mean(-1, dtype=np.float64)
    dirt = np.minimum(glass, 0.3)[::step, ::step] - 3 * np.minimum(specks, 0.3)[::step, ::step]
    tone = -np.log10(np.maximum(light, 1e-4))
    spread = np.sqrt(np.maximum(_box_mean(tone**2, step) - _box_mean(tone, step) ** 2, 0))
    telling = _box_mean(dirt * np.sqrt(light), step) * (0.06 + spread)
    row, column = np.unravel_index(int(telling.argmax()), telling.shape)
    last = [max(have - side, 0) for side, have in zip(TILE, glass.shape, strict=True)]
    return min(int(row) * step, last[0]), min(int(column) * step, last[1])


def _box_mean(plane: npt.NDArray[np.float64], step: int) -> npt.NDArray[np.float64]:
    """Mean over every `TILE` that lies within `plane`, which holds one pixel in `step`."""
    rows, columns = (min(side // step, have) for side, have in zip(TILE, plane.shape, strict=True))
    total = np.pad(plane.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    box = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    return np.asarray(box / (rows * columns), np.float64)


def small(scan: Scan) -> Planes:
    """`scan` averaged down to about the width of a tile, as shares of full scale."""
    step = max(scan.shape[1] // TILE[1], 1)
    rows, columns = scan.shape[0] // step, scan.shape[1] // step
    blocks = scan[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
    return np.asarray(blocks.mean((1, 3)) / np.iinfo(scan.dtype).max, np.float32)


def draw_sheet(
    exhibits: Sequence[Exhibit], revisions: Sequence[tuple[str, Scan]], title: str, subtitle: str
) -> Image.Image:
    """A strip of the `revisions` of the first exhibit, then one row to an exhibit.

    Revisions are captions and windows like the exhibit's `after`, in the order of time. At least one of each kind.
    """
    rows_at = _TITLE + 2 * _HEADING + TILE[0] + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (_WIDTH, rows_at + len(exhibits) * (TILE[0] + _CAPTION + _MARGIN)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 22), title, fill=_INK, font=ImageFont.load_default(38))
    draw.text((_MARGIN, 72), subtitle, fill=_FAINT, font=ImageFont.load_default(19))
    heading = "how the first frame ripens, 100 %: frames that tell of its glass, signal to noise inside the dirt"
    draw.text((_MARGIN, _TITLE), heading, fill=_ACCENT, font=ImageFont.load_default(19))
    _draw_strip(sheet, _TITLE + _HEADING, revisions, _exposure(exhibits[0].overview))
    for column, head in enumerate(("the frame", "before, 100 %", "after, 100 %", "what was taken off")):
        left = _MARGIN + column * (TILE[1] + _MARGIN)
        draw.text((left, rows_at - _HEADING), head, fill=_ACCENT, font=ImageFont.load_default(19))
    _draw_scale(draw, 4 * (TILE[1] + _MARGIN) - 200, rows_at - _HEADING + 4)
    for number, exhibit in enumerate(exhibits):
        _draw_row(sheet, rows_at + number * (TILE[0] + _CAPTION + _MARGIN), exhibit)
    return sheet


def _draw_strip(sheet: Image.Image, top: int, revisions: Sequence[tuple[str, Scan]], exposure: float) -> None:
    """Fill the width with as many columns as there are revisions, each of which shows where most has gone."""
    columns = min((_WIDTH - _MARGIN) // len(revisions) - _MARGIN, TILE[1])
    gone = np.abs(_taken_off(revisions[0][1], revisions[-1][1])).sum(0)
    start = int(np.convolve(gone, np.ones(columns), "valid").argmax())
    for number, (caption, crop) in enumerate(revisions):
        left = _MARGIN + number * (columns + _MARGIN)
        sheet.paste(Image.fromarray(_positive(_light(crop[:, start : start + columns]), exposure)), (left, top))
        _draw_caption(sheet, left, top, caption)


def _draw_row(sheet: Image.Image, top: int, exhibit: Exhibit) -> None:
    """Overview with the window marked, before, after, what was taken off."""
    exposure = _exposure(exhibit.overview)
    tiles = (
        _with_window(Image.fromarray(_positive(exhibit.overview, exposure)), exhibit),
        *(Image.fromarray(_positive(_light(crop), exposure)) for crop in (exhibit.before, exhibit.after)),
        Image.fromarray(_heat(_taken_off(exhibit.before, exhibit.after))),
    )
    for column, tile in enumerate(tiles):
        sheet.paste(tile, (_MARGIN + column * (TILE[1] + _MARGIN), top))
    _draw_caption(sheet, _MARGIN, top, exhibit.caption)


def _draw_caption(sheet: Image.Image, left: int, top: int, caption: str) -> None:
    """Write below the tile whose top-left corner this is."""
    ImageDraw.Draw(sheet).text((left, top + TILE[0] + 6), caption, fill=_FAINT, font=ImageFont.load_default(17))


def _light(crop: Scan) -> Planes:
    """Stored values as shares of full scale."""
    return np.asarray(crop / np.iinfo(crop.dtype).max, np.float32)


def _exposure(overview: Planes) -> float:
    """Factor that brings a frame's bright parts just below white."""
    return 0.88 / float(np.percentile(_inverted(overview), 98))


def _inverted(light: Planes) -> Planes:
    """Turn a negative's linear light into that of the scene, up to a factor."""
    density = -np.log10(np.maximum(light, 1e-4))
    base = np.array(FILM_BASE_D, np.float32)
    return np.asarray(np.power(10.0, (density - base) / FILM_GAMMA), np.float32)


def _positive(light: Planes, exposure: float) -> Picture:
    """Invert, expose, and round the highlights off a little."""
    scene = _inverted(light) * np.float32(exposure)
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
    """Say what the colours of the last column mean."""
    ramp = _heat(np.linspace(0, _FULL_HEAT_D, 120, dtype=np.float32)[None])[0]
    for x, colour in enumerate(ramp):
        draw.line((left + 40 + x, top, left + 40 + x, top + 14), fill=tuple(int(value) for value in colour))
    small_font = ImageFont.load_default(15)
    draw.text((left + 26, top - 2), "0", fill=_FAINT, font=small_font)
    draw.text((left + 166, top - 2), f"{_FULL_HEAT_D} D", fill=_FAINT, font=small_font)
