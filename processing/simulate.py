"""Forward model of a roll on a dirty scanner: film, dirt on the film and on the glass, the scan, and the truth.

The steps of `Roll.frame` follow the light, in physical order. Everything is drawn from one seed, frame by frame, so a
roll of any length costs the memory of one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .arrays import Mask, Plane, Planes, Scan
from .density import Tone, stored
from .placement import turned_back

Scene = Callable[[int, int, int], Planes]
"""(scene number, rows, columns) -> the picture as linear light, (rows, columns, 3) of float32 in 0..1."""

Fixture = Literal["holder edge", "rebate text"]
"""What stays in the picture from frame to frame and is no dirt."""


FILM_BASE_D = (0.10, 0.22, 0.32)
"""Density of the unexposed film, base and mask, in red, green and blue."""

FILM_GAMMA = 0.62
"""Density that a tenfold exposure adds."""

EXPOSURES = (0.85, 1.15)
"""From how scarce to how ample frames are exposed."""

_LAMP = np.float32(0.9)
"""What the lamp gives without film, in the middle, as a share of full scale."""

_VEIL_PX = 4.0
_UNSHARP_PX = 1.0


@dataclass(frozen=True, slots=True)
class RollParams:
    """What happens to a roll. Densities in D, lengths in pixels, rates per frame.

    `wipes` are the frames before which the glass is wiped (a share `left_behind` of the particles survives);
    `turnover` is the share of particles that are born, and that vanish, at each frame. `slots` patches of glass take
    the frames in turn. `scene_repeats` frames in a row show the same picture; `fixtures` stay in every frame. Software
    cuts up to `crop_px` off each edge of each frame, and leaves it in one of `orientations` (1 to 8, as in EXIF). While
    the carriage travels down the rows, the offset swings by up to `wobble_px` along them and half as much across.

    `scatter` is how much of the light that dirt on the glass would take from the lamp comes back as a veil over it and
    around it, as a share; `sharpen` the strength of an unsharp mask that the scanner applies to the light.
    """

    frames: int = 24
    height: int = 1200
    width: int = 1800
    particles: int = 260
    wipes: tuple[int, ...] = ()
    left_behind: float = 0.08
    turnover: float = 0.004
    slots: int = 1
    jitter_px: float = 0.5
    wobble_px: float = 0.0
    specks: int = 12
    scale: float = 1.0
    grain_d: float = 0.012
    noise: float = 0.0075
    scatter: float = 0.0
    sharpen: float = 0.0
    scene_repeats: int = 1
    fixtures: tuple[Fixture, ...] = ()
    crop_px: int = 0
    orientations: tuple[int, ...] = (1,)
    tone: Tone = field(default_factory=Tone)
    maximum: Literal[255, 65535] = 65535
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Particle:
    """A piece of dirt: its top-left corner (row, column) on the glass and its density, (rows, columns) in D."""

    corner: tuple[int, int]
    density: Plane


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """One scan and the truth about it.

    `scan` (rows, columns, 3) stored values; `film` the same picture, sharpened like it, without any dirt and without
    sensor noise, as linear transmittance 0..1; `glass` and `specks` (rows, columns) the densities of the dirt on the
    glass and on the film, before light is scattered and the scan sharpened; `glass_id` tells patches and wipes of the
    glass apart. Once turned as `orientation` says, the frame shows the glass at its true `offset_px` (rows, columns);
    where the carriage wobbles, that is the mean.
    """

    scan: Scan
    film: Planes
    glass: Plane
    specks: Plane
    offset_px: tuple[float, float]
    glass_id: int
    orientation: int = 1


class Roll:
    """A simulated roll; `frame(i)` for i = 0, 1, ... in any order gives always the same frames."""

    def __init__(self, params: RollParams, scene: Scene, outlines: Sequence[Mask] = ()) -> None:
        """`outlines`: shapes of real dirt to draw from; without any, shapes are invented."""
        self.params = params
        self._scene = scene
        self._outlines = outlines
        self._lives = [self._glass_history(slot) for slot in range(params.slots)]

    def __len__(self) -> int:
        return self.params.frames

    def frame(self, index: int) -> SimulatedFrame:
        """The frame at `index`, 0 <= index < len(self)."""
        p = self.params
        rng = np.random.default_rng((p.seed, 1, index))
        scene = self._scene(index // p.scene_repeats, p.height, p.width)
        film = negative(scene, rng.uniform(*EXPOSURES), p.grain_d, rng)
        for fixture in p.fixtures:
            film = _FIXTURES[fixture](film)
        specks = _splat(_draw_dirt(rng, p.specks, p, self._outlines), (0.0, 0.0), film.shape[:2])
        return self._scanned(film, specks, index, rng)

    def bare(self, index: int) -> SimulatedFrame:
        """The glass as it is at frame `index`, scanned without film: its `film` is the light of the lamp."""
        p = self.params
        rng = np.random.default_rng((p.seed, 5, index))
        down, right = (np.linspace(-1, 1, length, dtype=np.float32) for length in (p.height, p.width))
        light = _LAMP * (1 - np.float32(0.1) * (down[:, None] ** 2 + right**2))
        lamp = np.repeat(light[..., None], 3, axis=2)
        if "holder edge" in p.fixtures:
            lamp = _with_holder_edge(lamp)
        return self._scanned(lamp, np.zeros(light.shape, np.float32), index, rng)

    def _scanned(self, film: Planes, specks: Plane, index: int, rng: np.random.Generator) -> SimulatedFrame:
        """What the scanner makes of a film with specks on it."""
        p = self.params
        offset = (float(rng.normal(0, p.jitter_px)), float(rng.normal(0, p.jitter_px)))
        glass = _splat(self._particles(index), offset, film.shape[:2])
        if p.wobble_px:
            glass = _wobbling(glass, p.wobble_px, np.random.default_rng((p.seed, 6, index)))
        seen = film * np.power(10.0, -(glass + specks), dtype=np.float32)[..., None]
        if p.scatter:
            seen += _veil(glass, p)[..., None]
        if "holder edge" in p.fixtures:
            seen[-_HOLDER_PX:] = 1e-4
        noisy = sensed(seen, p.noise, rng)
        if p.sharpen:
            noisy, film = (_sharpened(light, p.sharpen) for light in (noisy, film))
        values = np.rint(stored(as_seen(noisy, p.tone), p.tone) * p.maximum)
        scan: Scan = values.astype(np.uint8) if p.maximum == 255 else values.astype(np.uint16)
        return _as_saved(SimulatedFrame(scan, film, glass, specks, offset, self._glass_id(index)), index, p)

    def _glass_id(self, index: int) -> int:
        """Wipes clean every slot; a new id for each slot after each wipe."""
        return sum(index >= wipe for wipe in self.params.wipes) * self.params.slots + index % self.params.slots

    def _particles(self, index: int) -> list[Particle]:
        lives = self._lives[index % self.params.slots]
        return [particle for particle, born, gone in lives if born <= index < gone]

    def _glass_history(self, slot: int) -> list[tuple[Particle, int, int]]:
        """Every particle with the frame at which it falls and the frame from which it is gone."""
        p = self.params
        rng = np.random.default_rng((p.seed, 2, slot))
        alive = [(particle, 0) for particle in _draw_dirt(rng, p.particles, p, self._outlines)]
        history: list[tuple[Particle, int, int]] = []
        for index in range(1, p.frames):
            wiped = index in p.wipes
            gone = rng.random(len(alive)) < ((1 - p.left_behind) if wiped else p.turnover)
            history += [(*entry, index) for entry, out in zip(alive, gone, strict=True) if out]
            alive = [entry for entry, out in zip(alive, gone, strict=True) if not out]
            births = p.particles - len(alive) if wiped else int(rng.poisson(p.turnover * p.particles))
            alive += [(particle, index) for particle in _draw_dirt(rng, births, p, self._outlines)]
        return history + [(*entry, p.frames) for entry in alive]


def negative(scene: Planes, exposure: float, grain_d: float, rng: np.random.Generator) -> Planes:
    """Linear transmittance of a colour negative of `scene`: base plus mask, a straight curve, and grain.

    `exposure` is a factor to the scene's light, one of `EXPOSURES`; `grain_d` the standard deviation of the grain.
    """
    base = np.array(FILM_BASE_D, np.float32)
    density = base + np.float32(FILM_GAMMA) * np.log10(np.maximum(scene * exposure, 0.004) / np.float32(0.004))
    grain = ndimage.gaussian_filter(rng.standard_normal(scene.shape, dtype=np.float32), (0.6, 0.6, 0))
    grain *= grain_d / grain.std()
    return np.power(10.0, -np.maximum(density + grain, 0.02), dtype=np.float32)


def sensed(light: Planes, noise: float, rng: np.random.Generator) -> Planes:
    """`light` as a sensor counts it, whose noise at full scale has the standard deviation `noise`."""
    return np.asarray(light + rng.standard_normal(light.shape, dtype=np.float32) * noise * np.sqrt(light), np.float32)


def _veil(glass: Plane, p: RollParams) -> Plane:
    """The light of the lamp that the dirt scatters into its own place and around it, as a share of full scale."""
    taken = 1 - np.power(10.0, -glass, dtype=np.float32)
    return np.asarray(_LAMP * np.float32(p.scatter) * ndimage.gaussian_filter(taken, _VEIL_PX * p.scale), np.float32)


def _sharpened(light: Planes, strength: float) -> Planes:
    """An unsharp mask, as it is in the firmware of scanners; light does not become negative by it."""
    blurred = ndimage.gaussian_filter(light, (_UNSHARP_PX, _UNSHARP_PX, 0))
    return np.maximum(light + np.float32(strength) * (light - blurred), np.float32(1e-4))


def as_seen(transmittance: Planes, tone: Tone) -> npt.NDArray[np.float64]:
    """Linear light as the file holds it: the negative itself, or a positive inverted from it by density."""
    light = np.clip(transmittance, 1e-4, 1.0).astype(np.float64)
    if tone.dirt == "darkens":
        return light
    return 0.004 / light


def _as_saved(frame: SimulatedFrame, index: int, p: RollParams) -> SimulatedFrame:
    """The frame as software has cropped and turned it."""
    rng = np.random.default_rng((p.seed, 4, index))
    top, left, bottom, right = (int(cut) for cut in rng.integers(0, p.crop_px + 1, 4))
    orientation = int(rng.choice(p.orientations))
    kept = slice(top, p.height - bottom), slice(left, p.width - right)
    scan, film, glass, specks = (
        np.ascontiguousarray(turned_back(plane[kept], orientation))
        for plane in (frame.scan, frame.film, frame.glass, frame.specks)
    )
    offset = frame.offset_px[0] - top, frame.offset_px[1] - left
    return SimulatedFrame(scan, film, glass, specks, offset, frame.glass_id, orientation)


def _draw_dirt(rng: np.random.Generator, count: int, p: RollParams, outlines: Sequence[Mask]) -> list[Particle]:
    """`count` particles anywhere on the glass: 55 % faint (.05-.25 D), the rest up to 1.3 D; blur sigma .6-2 px."""
    particles = []
    for _ in range(count):
        density = draw_particle(rng, p.scale, outlines)
        corner = rng.integers((p.height, p.width)) - np.array(density.shape) // 2
        particles.append(Particle((int(corner[0]), int(corner[1])), density))
    return particles


def draw_particle(rng: np.random.Generator, scale: float, outlines: Sequence[Mask] = ()) -> Plane:
    """A piece of dirt of one of the `outlines`, or of an invented one `scale` times as large as in a frame of 1800 px.

    It is surrounded by so many pixels that it has faded away there.
    """
    shape = outlines[int(rng.integers(len(outlines)))] if outlines else _invented_outline(rng, scale)
    sigma = rng.uniform(0.6, 2.0) * scale
    margin = int(np.ceil(4 * sigma)) + 2
    soft = ndimage.gaussian_filter(np.pad(shape, margin).astype(np.float32), sigma)
    peak = rng.uniform(0.05, 0.25) if rng.random() < 0.55 else rng.uniform(0.25, 1.3)
    return np.asarray(soft * np.float32(peak / soft.max()), np.float32)


def _invented_outline(rng: np.random.Generator, scale: float) -> Mask:
    """The outline of a speck, a flake or a hair, like those that dirt leaves."""
    kind = rng.random()
    if kind < 0.25:
        steps = int(rng.uniform(20, 90) * scale)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.09 / np.sqrt(scale), steps))
        track = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
        track -= track.min(0)
        canvas = np.zeros(tuple((track.max(0) + 4 * scale + 3).astype(int)), bool)
        rows, columns = (track + 1.5 * scale + 1).astype(int).T
        canvas[rows, columns] = True
        return ndimage.distance_transform_edt(~canvas) < rng.uniform(0.8, 1.6) * scale
    radius = rng.uniform(1.2, 4.0) * scale if kind < 0.85 else rng.uniform(5.0, 12.0) * scale
    size = int(np.ceil(radius * 1.8))
    y, x = np.mgrid[-size : size + 1, -size : size + 1]
    angle = np.arctan2(y, x)
    wobble = sum(rng.normal(0, 0.28 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    stretch = rng.uniform(0.7, 1.4)
    return np.hypot(y * stretch, x / stretch) < np.maximum(radius * (1 + wobble), 0.9)


def _splat(particles: Sequence[Particle], offset: tuple[float, float], shape: tuple[int, ...]) -> Plane:
    """Add the particles, moved by `offset` (rows, columns, in pixels), into an empty plane of `shape`."""
    plane = np.zeros(shape, np.float32)
    whole = np.floor(offset).astype(int)
    for particle in particles:
        padded = np.pad(particle.density, ((0, 1), (0, 1)))
        moved = np.maximum(ndimage.shift(padded, np.asarray(offset) - whole, order=5), 0)
        top, left = np.array(particle.corner) + whole
        rows = slice(max(top, 0), max(min(top + moved.shape[0], shape[0]), 0))
        columns = slice(max(left, 0), max(min(left + moved.shape[1], shape[1]), 0))
        plane[rows, columns] += moved[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return plane


def _wobbling(plane: Plane, wobble_px: float, rng: np.random.Generator) -> Plane:
    """`plane` as it looks if it drifts by a sine of one to three periods along its rows, and by half as much across."""
    travel = np.linspace(0, 2 * np.pi, plane.shape[0])
    places: list[npt.NDArray[np.float64]] = list(np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float64))
    for place, amplitude in zip(places, (wobble_px, wobble_px / 2), strict=True):
        drift = amplitude * np.sin(rng.uniform(1, 3) * travel + rng.uniform(0, 2 * np.pi))
        place -= (drift - drift.mean())[:, None]
    return np.maximum(ndimage.map_coordinates(plane, places, order=5), 0, dtype=np.float32)


_HOLDER_PX = 40
_REBATE_PX = 90


def _with_holder_edge(film: Planes) -> Planes:
    """An opaque holder covers the lowest rows, with a soft and slightly ragged edge."""
    rows, columns = film.shape[:2]
    edge = rows - _HOLDER_PX - 2 + 2 * np.sin(np.arange(columns) / 37)
    cover = np.clip((np.arange(rows)[:, None] - edge) / 3, 0, 1).astype(np.float32)
    return film * (1 - cover[..., None] * np.float32(0.999))


def _with_rebate_text(film: Planes) -> Planes:
    """Clear film base along the top with the stock's name and marks exposed into it, the same in every frame."""
    out = film.copy()
    strip = out[:_REBATE_PX]
    strip[:] = np.array([0.78, 0.60, 0.47], np.float32)
    rng = np.random.default_rng(5)
    for left in range(60, film.shape[1] - 60, 34):
        if (left // 34) % 9 > 5:
            continue
        glyph = np.kron(rng.random((7, 5)) < 0.5, np.ones((5, 5), bool))
        soft = ndimage.gaussian_filter(glyph.astype(np.float32), 0.8)
        strip[28 : 28 + 35, left : left + 25] *= np.power(10.0, -0.9 * soft, dtype=np.float32)[..., None]
    return out


_FIXTURES: dict[Fixture, Callable[[Planes], Planes]] = {
    "holder edge": _with_holder_edge,
    "rebate text": _with_rebate_text,
}
