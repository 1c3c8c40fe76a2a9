"""Fingerprints of imagined frames: dirt at known places, and points of the film that belong to nobody else."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dustwatch.processing.cells import CELL_PX, Cells
from dustwatch.processing.fingerprint import Fingerprint, Points
from dustwatch.processing.relief import Relief

HEIGHT, WIDTH = 800, 1200
TEXTURE_D = 0.02

Rng = np.random.Generator


def ordered(points: npt.NDArray[np.floating]) -> Points:
    return points[np.lexsort((points[:, 1], points[:, 0]))].astype(np.float32)


def scattered(rng: Rng, count: int) -> Points:
    """Points anywhere in the frame, 2 to 8 textures high."""
    return ordered(rng.uniform((0, 0, 2), (HEIGHT, WIDTH, 8), (count, 3)))


def a_film(rng: Rng) -> npt.NDArray[np.float32]:
    cells = rng.uniform(0.2, 1.5, (-(-HEIGHT // CELL_PX), -(-WIDTH // CELL_PX)))
    return cells.astype(np.float32)


def signature(
    rng: Rng,
    dirt: Points,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    shown: float = 0.8,
    clutter: int = 200,
    film: npt.NDArray[np.float32] | None = None,
    busy: npt.ArrayLike = 1.0,
) -> Fingerprint:
    """A frame of a film of its own over `dirt`, whose heights are those on film that is `busy` 1.

    A share is `shown`, and of what stands at least 2 textures high there are points, to a tenth of a pixel. `busy` may
    differ by cells.
    """
    film = a_film(rng) if film is None else film
    texture = Cells((np.broadcast_to(busy, film.shape) * TEXTURE_D).astype(np.float32))
    there = dirt[rng.random(len(dirt)) < shown] + np.array([*offset, 0], np.float32)
    there[:, 2] *= TEXTURE_D / texture.at(there)
    seen = there[there[:, 2] >= 2]
    seen[:, :2] += rng.normal(0, 0.1, (len(seen), 2))
    noted, light = scattered(rng, clutter), scattered(rng, clutter)
    relief = a_relief(rng, [there, noted, light * np.array([1, 1, -1], np.float32)])
    return Fingerprint(HEIGHT, WIDTH, ordered(np.concatenate([seen, noted])), light, texture, Cells(film), relief)


def a_relief(rng: Rng, points: Sequence[Points]) -> Relief:
    """What a frame with these points shows: of each a small hill, half as high, among the film's own."""
    height = np.pad(rng.normal(0, 0.3, (HEIGHT // 2, WIDTH // 2)).astype(np.float32), 40)
    everything = np.concatenate(points)
    row, column, contrast = everything.T[:, :, None, None]
    place, reach = ((row - 0.5) / 2, (column - 0.5) / 2), np.arange(-3, 4)
    down, right = np.rint(place[0]) + reach[:, None], np.rint(place[1]) + reach
    hills = 0.5 * contrast * np.exp(-((down - place[0]) ** 2 + (right - place[1]) ** 2) / 2)
    np.add.at(height, ((down + 40).astype(np.intp), (right + 40).astype(np.intp)), hills)
    return Relief(np.rint(np.clip(height[40:-40, 40:-40] / 1.5, -1, 1) * 127).astype(np.int8), 2)
