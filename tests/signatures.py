"""Fingerprints of imagined frames: dirt at known places, and points of the film that belong to nobody else."""

import numpy as np
import numpy.typing as npt

from dustwatch.processing.cells import CELL_PX, Cells
from dustwatch.processing.fingerprint import Fingerprint, Points

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

    A share is `shown` of what stands at least 2 textures high, to a tenth of a pixel; `busy` may differ by cells.
    """
    film = a_film(rng) if film is None else film
    texture = Cells((np.broadcast_to(busy, film.shape) * TEXTURE_D).astype(np.float32))
    seen = dirt[rng.random(len(dirt)) < shown]
    seen[:, 2] *= TEXTURE_D / texture.at(seen)
    seen = seen[seen[:, 2] >= 2] + np.array([*offset, 0])
    seen[:, :2] += rng.normal(0, 0.1, (len(seen), 2))
    dark = ordered(np.concatenate([seen, scattered(rng, clutter)]))
    return Fingerprint(HEIGHT, WIDTH, dark, scattered(rng, clutter), texture, Cells(film))
