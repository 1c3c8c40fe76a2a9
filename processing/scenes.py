"""Pictures to put on a simulated roll: landscapes, and busy subjects that an eager detector takes for dirt.

Every maker returns a `Scene` for `simulate.Roll`; the same seed, number and size give the same picture, and
each number a different one. In the landscapes lengths are metres and colours linear light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import fft, ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrays import Plane, Planes
    from .simulate import Scene

_Colour: TypeAlias = tuple[float, float, float]
_Lengths: TypeAlias = "npt.NDArray[np.floating[Any]]"


@dataclass(frozen=True, slots=True)
class _Mood:
    """An hour, a season and a country. Sun angles in degrees (azimuth from the line of sight, clockwise)."""

    sun_elevation: float
    sun_azimuth: float
    sun: _Colour
    zenith: _Colour
    horizon: _Colour
    cloud_cover: float
    haze_m: float
    relief_m: float
    water: bool
    snow_line_m: float
    forest: float
    ground: _Colour
    rock: _Colour = (0.20, 0.18, 0.16)


_BLUE, _PALE = (0.10, 0.24, 0.58), (0.55, 0.70, 0.88)
_WHITE, _GOLD, _EMBER = (1.0, 0.95, 0.86), (1.0, 0.72, 0.40), (1.0, 0.45, 0.18)
_GRASS, _HAY, _SAND, _MOSS = (0.11, 0.16, 0.045), (0.30, 0.22, 0.08), (0.42, 0.27, 0.15), (0.07, 0.10, 0.04)

_MOODS = (
    # A mountain lake at noon, a golden valley, a sunset over water, winter, misty woods, dunes, the sea,
    # heath, the blue hour.
    _Mood(42, 60, _WHITE, _BLUE, _PALE, 0.40, 28e3, 1700, True, 750, 0.8, _GRASS),
    _Mood(14, -70, _GOLD, (0.13, 0.24, 0.50), (0.85, 0.66, 0.46), 0.30, 13e3, 900, False, 9e3, 0.35, _HAY),
    _Mood(4, 8, _EMBER, (0.10, 0.13, 0.32), (1.0, 0.48, 0.20), 0.50, 9e3, 700, True, 9e3, 0.7, _MOSS),
    _Mood(24, -55, _WHITE, (0.08, 0.20, 0.55), (0.62, 0.74, 0.90), 0.25, 30e3, 1500, False, -500, 0.55, _GRASS),
    _Mood(
        20,
        -30,
        (0.75, 0.76, 0.78),
        (0.50, 0.54, 0.58),
        (0.66, 0.69, 0.71),
        0.85,
        1.5e3,
        800,
        False,
        9e3,
        1.0,
        _MOSS,
    ),
    _Mood(18, 75, _GOLD, (0.12, 0.26, 0.55), (0.80, 0.72, 0.60), 0.12, 24e3, 330, False, 9e3, 0.0, _SAND, _SAND),
    _Mood(30, -20, _WHITE, (0.12, 0.27, 0.55), (0.66, 0.76, 0.86), 0.55, 18e3, 330, True, 9e3, 0.15, _GRASS),
    _Mood(30, 95, _WHITE, _BLUE, _PALE, 0.65, 22e3, 1100, False, 9e3, 0.2, (0.13, 0.08, 0.055)),
    _Mood(
        1.5,
        -25,
        (0.75, 0.50, 0.42),
        (0.03, 0.06, 0.17),
        (0.46, 0.34, 0.36),
        0.30,
        11e3,
        1500,
        True,
        800,
        0.9,
        _MOSS,
    ),
)

_DEPTH_M = np.concatenate([np.geomspace(6, 600, 115, endpoint=False), np.geomspace(600, 32e3, 325)], dtype=np.float32)
"""Where the land is looked at: close enough together that a step is hardly seen, near and far."""


def landscape(seed: int) -> Scene:
    """Landscapes with skies, ridges, water, woods and snow, at different hours; float32 linear light 0..1."""
    order = np.random.default_rng((seed, 11)).permutation(len(_MOODS))

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 12, number))
        return _render(rng, _MOODS[order[number % len(_MOODS)]], rows, columns)

    return scene


def _render(rng: np.random.Generator, mood: _Mood, rows: int, columns: int) -> Planes:
    """March over a height field, away from the camera; shade what is seen; add the sky and the water."""
    focal = columns * rng.uniform(0.95, 1.5)
    horizon = rows * rng.uniform(0.52, 0.68)
    tile = _spectrum_noise(rng, (1024, 1024), 2.05)
    sun = _direction(mood.sun_elevation, mood.sun_azimuth + rng.uniform(-6, 6))

    depth = _DEPTH_M[:, None]
    across = ((np.arange(columns, dtype=np.float32) - columns / 2) / np.float32(focal))[None] * depth
    height, colour, wet, wood, eye = _terrain(rng, mood, tile, across, depth, sun)

    # The row that each step reaches in each column; a step is seen where it rises above all nearer ones.
    reach = np.float32(horizon) + (np.float32(eye) - height) * (np.float32(focal) / depth)
    top = np.minimum.accumulate(reach, axis=0)
    sky = _sky(rng, mood, sun, rows, columns, focal, horizon)
    step, between = _visible_step(top, rows)
    land = step < len(_DEPTH_M) - 1
    picture = sky
    flat = step * columns + np.arange(columns, dtype=np.int32)
    seen = flat[land]
    # A tree's colour begins at its foot; ground, and woods far off, run over into what lies behind.
    near_tree = (wood & (depth < 2500)).ravel()[seen + columns]
    part = np.where(near_tree, np.float32(1), between[land])[:, None]
    texture = _spectrum_noise(rng, (rows, columns), 0.75)
    table = colour.reshape(-1, 3)
    shade = table[seen] * (1 - part) + table[seen + columns] * part
    rough = (0.07 + 0.10 * np.exp(-depth[:, 0] / 400)) * np.exp(-depth[:, 0] / np.float32(mood.haze_m))
    wet_here = wet.ravel()[seen]
    leafy = 1 + 2.2 * wood.ravel()[seen + columns].astype(np.float32)
    grain = texture[land] * np.where(wet_here, np.float32(0), rough[step[land]] * leafy)
    shade *= np.maximum(1 + grain, 0.25)[:, None]
    picture[land] = shade
    if mood.water:
        water = np.zeros((rows, columns), bool)
        water[land] = wet_here
        _reflect(picture, sky_rows=horizon, water=water, depth=depth[step, 0], tile=tile, focal=focal, mood=mood)
    return _expose(picture)


def _direction(elevation: float, azimuth: float) -> npt.NDArray[np.float32]:
    """Point at the sun: a unit vector (right, up, forward)."""
    up, turn = np.radians(elevation), np.radians(azimuth)
    return np.array([np.sin(turn) * np.cos(up), np.sin(up), np.cos(turn) * np.cos(up)], np.float32)


def _spectrum_noise(rng: np.random.Generator, shape: tuple[int, int], slope: float) -> Plane:
    """Draw periodic Gaussian noise of amplitude 1 / frequency ** slope; mean 0, standard deviation 1."""
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    rows = fft.fftfreq(shape[0]).astype(np.float32)[:, None] * shape[0]
    columns = fft.rfftfreq(shape[1]).astype(np.float32)[None] * shape[1]
    squared = rows**2 + columns**2
    squared[0, 0] = np.inf
    noise = fft.irfft2(white * squared ** np.float32(-slope / 2), s=shape)
    return np.asarray(noise / noise.std(), np.float32)


def _sample(tile: Plane, across: _Lengths, ahead: _Lengths, size_m: float) -> Plane:
    """`tile`, repeated every `size_m`, at the given places, bilinear."""
    unit = np.float32(tile.shape[0] / size_m)
    places = np.stack(np.broadcast_arrays(ahead * unit, across * unit))
    return np.asarray(ndimage.map_coordinates(tile, places, order=1, mode="grid-wrap"), np.float32)


def _sample_smooth(tile: Plane, across: Plane, ahead: Plane, size_m: float) -> Plane:
    """As `_sample`, by cubic splines, for slopes without facets; linear between every eighth column."""
    columns = across.shape[1]
    coarse = np.unique(np.append(np.arange(0, columns, 8), columns - 1))
    unit = np.float32(tile.shape[0] / size_m)
    places = np.stack(np.broadcast_arrays(ahead * unit, across[:, coarse] * unit))
    values = np.asarray(ndimage.map_coordinates(tile, places, order=3, mode="grid-wrap"), np.float32)
    right = np.clip(np.searchsorted(coarse, np.arange(columns)), 1, len(coarse) - 1)
    part = (np.arange(columns) - coarse[right - 1]) / (coarse[right] - coarse[right - 1])
    part = part.astype(np.float32)
    return np.asarray(values[:, right - 1] * (1 - part) + values[:, right] * part, np.float32)


def _terrain(
    rng: np.random.Generator,
    mood: _Mood,
    tile: Plane,
    across: Plane,
    depth: Plane,
    sun: npt.NDArray[np.float32],
) -> tuple[Plane, Planes, npt.NDArray[np.bool_], npt.NDArray[np.bool_], float]:
    """Build the land as the camera's rays meet it, all (steps, columns), and the eye's height in metres.

    Height in metres; colour through the haze; where water lies; where trees stand.
    """
    u, v = across + np.float32(rng.uniform(0, 4e4)), depth + np.float32(rng.uniform(0, 4e4))
    broad = _sample_smooth(tile, u, v, 31e3)
    middle = _sample(tile, v, u, 5.3e3)
    fine = _sample(tile, u + v / 3, v - u / 3, 610.0) * np.exp(-depth / 5e3)
    turf = _sample(tile, v - u / 2, u + v / 2, 75.0) * np.exp(-depth / 500)
    # Ridges: folded noise is sharp above and round below, as weather leaves it. They rise with the distance.
    ridge = 1.25 - np.abs(broad + 0.12 * middle) * np.float32(1.3)
    rise = np.clip(np.log(depth / 500) / np.log(9e3 / 500), 0, 1) ** np.float32(1.7)
    height = rise * mood.relief_m * (0.7 * ridge + 0.10 * middle + 0.006 * fine)
    near = np.exp(-((np.log(depth / 60)) ** 2) / 4)
    if mood.water:
        height += np.float32(-12) + 10 * middle * (1 - rise) - 26 * near * np.clip((depth - 15) / 60, 0, 1)
    else:
        height += near * (7 * middle + 3 * fine) + 0.5 * turf
    wet = (height < 0) if mood.water else np.zeros(height.shape, bool)
    ground = np.maximum(height, 0) if mood.water else height

    slope_v = np.gradient(ground, axis=0) / np.gradient(depth, axis=0)
    slope_u = np.gradient(ground, axis=1) / np.maximum(np.gradient(across, axis=1), 1e-3)
    steep = np.sqrt(1 + slope_u**2 + slope_v**2)
    lit = np.clip((sun[1] - sun[0] * slope_u - sun[2] * slope_v) / steep, 0, None)
    # The shadows of clouds wander over the land.
    lit *= np.clip(0.75 + 0.45 * _sample(tile, u, v, 9e3), 0.35, 1)

    steepness = ndimage.uniform_filter(steep, (5, 15))
    wood = _wood(mood, depth, ground, middle + 0.6 * fine, steepness) & ~wet
    trunk, crown = _trees(rng, u, v)
    tall = np.where(wood, crown * np.float32(15) * np.exp(-depth / 8e3), 0)
    ground = ground + tall

    snowy = np.clip((ground - mood.snow_line_m + 160 * middle) / 120, 0, 1) * np.clip(3.2 - steepness, 0, 1)
    bare = np.clip((steepness - 1.22 - 0.1 * fine) * 5, 0, 1)[..., None]
    patch = (1 + 0.25 * np.tanh(middle + fine) + 0.34 * np.tanh(2 * turf))[..., None]
    colour = np.asarray(mood.ground, np.float32) * patch * (1 - bare) + np.asarray(mood.rock, np.float32) * bare
    colour = colour * (1 - snowy[..., None]) + np.float32(0.85) * snowy[..., None]
    leaf = np.array([0.030, 0.046, 0.018], np.float32) * (0.5 + 0.9 * trunk[..., None]) * (0.35 + crown[..., None])
    frost = 0.25 * np.clip((ground - mood.snow_line_m) / 200, 0, 1)[..., None]
    leaf = leaf * (1 - frost) + frost * 0.6
    colour = np.where(wood[..., None], leaf, colour)

    ambient = np.asarray(mood.zenith, np.float32) * 0.55 + np.asarray(mood.horizon, np.float32) * 0.2
    strength = np.float32(1.9 * min(1.0, 0.25 + mood.sun_elevation / 25))
    colour = colour * (ambient + strength * lit[..., None] * np.asarray(mood.sun, np.float32)) * np.float32(1.25)

    clear = np.exp(-depth / np.float32(mood.haze_m))[..., None]
    towards = np.clip((across / depth * sun[0] + sun[2]), 0, 1)[..., None] ** 6
    haze = np.asarray(mood.horizon, np.float32) * (0.72 + 0.3 * towards * np.asarray(mood.sun, np.float32))
    colour = colour * clear + haze * (1 - clear)
    eye = float(np.median(ground[0])) + rng.uniform(2.5, 9.0)
    return ground, colour.astype(np.float32), wet, wood, max(eye, 3.0)


def _wood(
    mood: _Mood,
    depth: Plane,
    ground: Plane,
    patches: Plane,
    steep: Plane,
) -> npt.NDArray[np.bool_]:
    """Where trees stand: in patches, not on cliffs, nor far above the snow line, nor at our feet."""
    limit = np.float32(1.6 - 3.0 * mood.forest)
    return (
        (patches > limit)
        & (steep < 1.5)
        & (ground < mood.snow_line_m + 600)
        & (depth > np.clip(150 - 70 * patches, 110, 300))
        & (mood.forest > 0)
    )


def _trees(rng: np.random.Generator, u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """One conifer to a cell of 4.6 m: (its own tint 0..1, its height above the ground 0..1) at each place."""
    cell = np.float32(4.6)
    iu, iv = np.floor(u / cell).astype(np.int32), np.floor(v / cell).astype(np.int32)
    table = rng.random((3, 4096), dtype=np.float32)
    key = (iu * 73 + iv * 1999) & 4095
    away_u = u / cell - iu - (0.3 + 0.4 * table[0][key])
    away_v = v / cell - iv - np.float32(0.5)
    tint, size = table[1][key], np.where(table[2][key] < 0.3, 0, 0.3 + 0.7 * table[2][key])
    jag = 0.8 + 0.45 * table[0][(np.floor(u * 9).astype(np.int32) * 31 + key) & 4095]
    crown = np.clip(size * (1 - 1.9 * jag * np.hypot(away_u, 0.7 * away_v)), 0, None)
    return tint, crown


def _visible_step(top: Plane, rows: int) -> tuple[npt.NDArray[np.int32], Plane]:
    """For each pixel the last step below it, and how far (0..1) towards the next; the last is the sky."""
    steps, columns = top.shape
    row = np.clip(np.ceil(top), 0, rows).astype(np.int32)
    count = np.bincount((row * columns + np.arange(columns, dtype=np.int32)).ravel(), minlength=(rows + 1) * columns)
    # A pixel's step is the number of steps whose top lies below it, that is, at a larger row.
    below = steps - np.cumsum(count.reshape(rows + 1, columns), axis=0, dtype=np.int32)[:rows]
    step = np.clip(below - 1, 0, steps - 1)
    flat = step * columns + np.arange(columns, dtype=np.int32)
    low = top.ravel()[flat]
    high = top.ravel()[np.minimum(flat + columns, steps * columns - 1)]
    line = np.arange(rows, dtype=np.float32)[:, None]
    between = np.clip((low - line) / np.maximum(low - high, 1e-3), 0, 1)
    return step, between


def _sky(
    rng: np.random.Generator,
    mood: _Mood,
    sun: npt.NDArray[np.float32],
    rows: int,
    columns: int,
    focal: float,
    horizon: float,
) -> Planes:
    """Gradient, glow, sun and clouds; drawn small, for it is smooth, and enlarged."""
    small = (-(-rows // 3), -(-columns // 3))
    up = (np.float32(horizon) - 3 * np.arange(small[0], dtype=np.float32)[:, None]) / np.float32(focal)
    right = (3 * np.arange(small[1], dtype=np.float32)[None] - columns / 2) / np.float32(focal)
    norm = np.sqrt(1 + up**2 + right**2)
    cosine = (right * sun[0] + up * sun[1] + sun[2]) / norm
    high = 1 - np.exp(-np.clip(up, 0, None) * 5.0)[..., None]
    blue = np.asarray(mood.horizon, np.float32) * (1 - high) + np.asarray(mood.zenith, np.float32) * high
    glow = np.exp((cosine - 1) * 14)[..., None] * 0.5 + np.exp((cosine - 1) * 240)[..., None] * 0.9
    tint = np.asarray(mood.sun, np.float32)
    low_sun = np.float32(np.clip(1.2 - mood.sun_elevation / 40, 0.25, 1))
    picture = np.broadcast_to(blue, (*small, 3)) + glow * tint * low_sun
    disc = np.clip((cosine - np.cos(0.011)) / 2e-5, 0, 1)[..., None] * (mood.cloud_cover < 0.8)
    picture = picture + disc * tint * 3

    # Clouds lie on a plane overhead, so they crowd towards the horizon.
    tile = _spectrum_noise(rng, (512, 512), 1.6)
    ahead = 1.0 / np.clip(up + 0.055, 0.03, None)
    u = right * ahead * 900 + np.float32(rng.uniform(0, 1e4))
    v = ahead * 900 + np.float32(rng.uniform(0, 1e4)) + 0 * right
    heap = 0.85 * _sample(tile, u, v, 2.2e4) + 0.75 * _sample(tile, v, u, 7.0e3) + 0.3 * _sample(tile, u, v, 1.7e3)
    sunward = 0.85 * _sample(tile, u + 160 * sun[0], v + 160 * sun[2], 2.2e4) + 0.75 * _sample(
        tile, v + 160 * sun[2], u + 160 * sun[0], 7.0e3
    )
    threshold = np.float32(1.5 - 2.9 * mood.cloud_cover)
    body = np.clip((heap - threshold) / 1.1, 0, 1)
    cover = (body * body * (3 - 2 * body) * np.clip((up + 0.02) * 9, 0, 1) * 0.93)[..., None]
    relief = np.clip(0.95 - 0.45 * (sunward + 0.1 - heap) - 0.30 * body, 0.45, 1.2)[..., None]
    white = tint * (0.45 + 0.55 * relief) + 0.25 * np.asarray(mood.horizon, np.float32)
    bright = white * relief * (0.95 + 0.8 * np.exp((cosine - 1) * 10)[..., None] * low_sun)
    picture = picture * (1 - cover) + bright * cover
    return np.stack([_enlarged(np.ascontiguousarray(picture[..., c], np.float32), rows, columns) for c in range(3)], -1)


def _enlarged(plane: Plane, rows: int, columns: int) -> Plane:
    """`plane` at three times its size, bicubic, cut to (rows, columns)."""
    size = (plane.shape[1] * 3, plane.shape[0] * 3)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))[:rows, :columns]


def _reflect(
    picture: Planes,
    *,
    sky_rows: float,
    water: npt.NDArray[np.bool_],
    depth: Plane,
    tile: Plane,
    focal: float,
    mood: _Mood,
) -> None:
    """Paint `water` in place: the picture mirrored, broken by ripples, and the colour of the deep."""
    row, column = np.nonzero(water)
    away = depth[row, column]
    across = (column.astype(np.float32) - water.shape[1] / 2) / np.float32(focal) * away
    ripple = _sample(tile, across, away * 2.0, 45.0) + 0.6 * _sample(tile, across + away, away * 3, 9.0)
    calm = np.float32(0.35 if mood.relief_m > 1000 else 1.0)
    swing = np.float32(0.018 * water.shape[0]) * np.clip(30 / away + 0.015, 0, 1) * calm
    mirror = np.abs(2 * sky_rows - row - np.abs(ripple * swing) * 1.5)
    mirror = np.minimum(mirror, sky_rows - 1).astype(np.int32)
    glancing = np.clip((row - sky_rows) / focal, 0.002, None)
    fresnel = np.clip(1.02 - 1.15 * glancing**0.6, 0.22, 0.95) * (1 + 0.10 * calm * ripple)
    deep = np.asarray(mood.zenith, np.float32) * np.array([0.10, 0.22, 0.24], np.float32)
    picture[row, column] = picture[mirror, column] * fresnel[:, None] + deep * (1 - np.clip(fresnel, 0, 1))[:, None]


def _expose(picture: Planes) -> Planes:
    """Expose for the brightest part and roll the highlights off, as film would."""
    white = np.percentile(picture[::16, ::16].max(-1), 97)
    scaled = picture * np.float32(1.35 / max(float(white), 1e-3))
    return np.asarray(np.clip(1 - np.exp(-scaled), 0, 1), np.float32)


def foliage(seed: int) -> Scene:
    """Leaves over leaves, some lit, some in shade, with dark gaps between."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 21, number))
        image, draw = _canvas(rows, columns, (14, 22, 10))
        hue = rng.uniform(0.6, 1.5)
        for depth in np.linspace(0.15, 1, 5):
            count = int(columns * rows / (rows * 0.03) ** 2 * 0.9)
            for _ in range(count):
                length = rows * rng.uniform(0.012, 0.055)
                place, turn = rng.uniform((0, 0), (columns, rows)), rng.uniform(0, 2 * np.pi)
                bright = depth * rng.uniform(0.35, 1.0) ** 1.5 * 235
                half = np.array([[-1, 0], [-0.4, 0.3], [0.3, 0.28], [1, 0]]) * length
                for side, light in ((1, 1.0), (-1, 0.72)):
                    points = _turned(half * (1, side * rng.uniform(0.6, 1.1)), turn) + place
                    green = bright * light
                    draw.polygon(_flat(points), fill=_rgb(green * 0.62 * hue, green, green * 0.3))
        return _developed(image)

    return scene


def grass(seed: int) -> Scene:
    """Look into a meadow from low down: blades crossing each other, with seed heads and small flowers."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 22, number))
        image, draw = _canvas(rows, columns, (24, 30, 12))
        dry = rng.uniform(0.7, 1.5)
        for line in np.linspace(0, 1, 26):
            foot, size = rows * (0.05 + 1.25 * line), rows * (0.06 + 0.30 * line)
            width = rows * (0.0012 + 0.0035 * line)
            for x in rng.uniform(-20, columns + 20, int(260 - 120 * line)):
                lean = rng.normal(0, 0.45)
                tall = size * rng.uniform(0.5, 1.1)
                t = np.linspace(0, 1, 6)[:, None]
                spine = np.concatenate([x + lean * tall * t**2, foot - tall * t * (1 - 0.15 * abs(lean) * t)], axis=1)
                edge = np.concatenate([width * (1 - t), 0 * t], axis=1)
                green = rng.uniform(40, 225) * (0.45 + 0.55 * line)
                points = np.concatenate([spine - edge, (spine + edge)[::-1]])
                draw.polygon(_flat(points), fill=_rgb(green * 0.75 * dry, green, green * 0.38))
                if rng.random() < 0.05:
                    _dot(draw, spine[-1], width * rng.uniform(1.5, 3.5), _rgb(*rng.uniform(120, 255, 3)))
        return _developed(image)

    return scene


def roofs(seed: int) -> Scene:
    """Tiled roofs of an old town, one before the other, walls with windows, chimneys, aerials."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 23, number))
        image, draw = _canvas(rows, columns, (150, 165, 185))
        for line in np.linspace(0, 1, 9):
            x = -columns * 0.1
            while x < columns:
                width = columns * rng.uniform(0.10, 0.22) * (0.55 + 0.6 * line)
                top = rows * (0.02 + 0.88 * line + rng.normal(0, 0.02))
                _house(rng, draw, x, top, width, width * rng.uniform(0.3, 0.5), rows)
                x += width * rng.uniform(0.75, 0.98)
        return _developed(image)

    return scene


def text(seed: int) -> Scene:
    """Pages printed in columns, with headings and rules, never twice the same."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 24, number))
        paper = _rgb(*(np.array([236, 230, 214]) * rng.uniform(0.8, 1)))
        image, draw = _canvas(rows, columns, paper)
        letters = np.array(list("eeeettaaooinnsshrrdlucmfwypvbgk"))
        left, gap = columns * rng.uniform(0.01, 0.06), columns * 0.02
        while left < columns:
            width = columns * rng.uniform(0.16, 0.3)
            y = -rows * rng.uniform(0, 0.05)
            while y < rows:
                heading = rng.random() < 0.07
                size = rows * (rng.uniform(0.03, 0.05) if heading else 0.0165)
                font = ImageFont.load_default(size)
                words, line = [], ""
                while font.getlength(line) < width:
                    words.append("".join(rng.choice(letters, rng.integers(1, 11))))
                    line = " ".join(words)
                draw.text((left, y), " ".join(words[:-1]), fill=_rgb(*rng.uniform(15, 50, 3)), font=font)
                y += size * 1.25
                if rng.random() < 0.03:
                    draw.line((left, y, left + width, y), fill=(40, 40, 40), width=max(1, rows // 600))
                    y += size
            left += width + gap
        return _developed(image)

    return scene


def stars(seed: int) -> Scene:
    """Night sky: thousands of points, few of them bright, before a band of haze."""

    def scene(number: int, rows: int, columns: int) -> Planes:
        rng = np.random.default_rng((seed, 25, number))
        cloud = _spectrum_noise(rng, (rows, columns), 1.7)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / np.float32(rows)
        tilt = rng.uniform(-0.8, 0.8)
        band = np.exp(-(((y - 0.5 - tilt * (x - 0.75)) / 0.22) ** 2))
        haze = 0.012 + 0.10 * band * np.clip(0.6 + 0.35 * cloud, 0, 2)
        picture = haze[..., None] * np.array([0.85, 0.9, 1.1], np.float32)
        count = rows * columns // 450
        place = (rng.integers(0, rows, count), rng.integers(0, columns, count))
        light = np.zeros((rows, columns, 3), np.float32)
        bright = (0.5 * (1 - rng.random(count)) ** -0.75).astype(np.float32)
        light[place] = np.minimum(bright, 60)[:, None] * rng.uniform(0.6, 1.0, (count, 3)).astype(np.float32)
        sharp = rows / 1500
        points = ndimage.gaussian_filter(light, (0.75 * sharp, 0.75 * sharp, 0))
        glow = ndimage.gaussian_filter(light, (2.5 * sharp, 2.5 * sharp, 0))
        return np.asarray(np.clip(picture + points + 0.5 * glow, 0, 1), np.float32)

    return scene


def busy(seed: int) -> Scene:
    """All busy subjects in turn: foliage, grass, roofs, text, stars."""
    kinds = [kind(seed) for kind in BUSY.values()]

    def scene(number: int, rows: int, columns: int) -> Planes:
        return kinds[number % len(kinds)](number, rows, columns)

    return scene


BUSY: dict[str, Callable[[int], Scene]] = {
    "foliage": foliage,
    "grass": grass,
    "roofs": roofs,
    "text": text,
    "stars": stars,
}
"""The makers of busy scenes by name."""


def _canvas(rows: int, columns: int, fill: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (columns, rows), fill)
    return image, ImageDraw.Draw(image)


def _developed(image: Image.Image) -> Planes:
    """Soften the edges of a drawing to about a pixel, as a lens does; linear light."""
    linear = (np.asarray(image, np.float32) / 255) ** np.float32(2.2)
    return np.asarray(ndimage.gaussian_filter(linear, (0.7, 0.7, 0)), np.float32)


def _rgb(red: float, green: float, blue: float) -> tuple[int, int, int]:
    return min(int(red), 255), min(int(green), 255), min(int(blue), 255)


def _turned(points: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn, np.float64)


def _flat(points: npt.NDArray[np.float64]) -> list[float]:
    return [float(value) for value in points.ravel()]


def _dot(draw: ImageDraw.ImageDraw, place: npt.NDArray[np.float64], radius: float, fill: tuple[int, int, int]) -> None:
    x, y = float(place[0]), float(place[1])
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _house(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    left: float,
    top: float,
    width: float,
    height: float,
    rows: int,
) -> None:
    """Draw a house: a wall with windows, a roof of overlapping tiles, perhaps a chimney and an aerial."""
    wall = rng.uniform(90, 225) * np.array([1, rng.uniform(0.85, 1), rng.uniform(0.65, 0.95)])
    draw.rectangle((left, top + height, left + width, top + height + rows), fill=_rgb(*wall))
    pane = rows * 0.016
    for y in np.arange(top + height * 1.15, min(top + height * 3, rows), pane * 2.6):
        for x in np.arange(left + pane * 0.7, left + width - pane, pane * 2.1):
            draw.rectangle((x - 2, y - 2, x + pane + 2, y + pane * 1.5 + 2), fill=_rgb(*(wall * 1.2)))
            draw.rectangle((x, y, x + pane, y + pane * 1.5), fill=_rgb(*rng.uniform(15, 90, 3)))
    slant = height * rng.uniform(0.1, 0.5)
    tile = rows * rng.uniform(0.006, 0.010)
    red = rng.uniform(110, 200) * np.array([1, rng.uniform(0.5, 0.75), rng.uniform(0.35, 0.6)])
    lines = max(int(height / tile), 2)
    for k in range(lines):
        y = top + height * k / lines
        indent = slant * (1 - k / lines)
        for x in np.arange(left + indent, left + width - indent, tile * 1.1):
            clay = red * rng.uniform(0.55, 1.2)
            draw.rectangle((x, y, x + tile, y + tile * 1.1), fill=_rgb(*clay))
            draw.arc((x, y, x + tile, y + tile * 1.2), 0, 180, fill=_rgb(*(clay * 0.4)))
    if rng.random() < 0.7:
        x = left + width * rng.uniform(0.25, 0.7)
        draw.rectangle((x, top - tile * 3, x + tile * 2.5, top + tile * 3), fill=_rgb(*(wall * 0.6)))
    if rng.random() < 0.5:
        x = left + width * rng.uniform(0.2, 0.8)
        draw.line((x, top - tile * 8, x, top), fill=(40, 40, 40), width=max(1, rows // 900))
        for k in range(3, 8):
            draw.line((x - tile * 2, top - tile * k, x + tile * 2, top - tile * k), fill=(40, 40, 40))
