"""How good a cleaned frame is against the simulator's truth; the demo and the benchmark quote these figures.

All are taken at gamma 2.2 on the scan's own values (share of full scale), before any JPEG encoding:

- *inside the dirt*: density of the glass above .04 D, no film dirt there; PSNR against the film without dirt.
- *treated*: share of the pixels inside whose error is at most half of the scan's.
- *harm*: share of clean pixels (less than .005 D of either kind of dirt) changed by more than 1/255.
- *halo harm*: share of the pixels between .005 and .04 D whose error against the film grew by over 1/255.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .arrays import Mask, Scan, require_scan

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .simulate import SimulatedFrame

INSIDE_D, CLEAN_D = 0.04, 0.005
_VISIBLE = 1 / 255


@dataclass(frozen=True, slots=True)
class Figures:
    """PSNR inside the dirt in dB, of the scan and of its cleaned copy; the others are shares 0..1.

    A figure without a pixel to take it from is nan.
    """

    psnr_scan_db: float
    psnr_db: float
    treated: float
    harm: float
    halo_harm: float


def figures(cleaned: Scan, frame: SimulatedFrame) -> Figures:
    """Compare `cleaned`, (rows, columns, 3) stored values like `frame.scan`, with the film.

    The roll is linear and dirt darkens it. Raises ValueError when `cleaned` has another shape or type than
    the scan.
    """
    require_scan(cleaned)
    if cleaned.shape != frame.scan.shape or cleaned.dtype != frame.scan.dtype:
        have, want = (f"{image.shape} of {image.dtype}" for image in (cleaned, frame.scan))
        raise ValueError(f"cleaned is {have}, its scan {want}")
    spotless = frame.specks < CLEAN_D
    inside = (frame.glass > INSIDE_D) & spotless
    halo = (frame.glass >= CLEAN_D) & (frame.glass <= INSIDE_D) & spotless
    clean = (frame.glass < CLEAN_D) & spotless
    before, after = _error(frame.scan, frame, inside), _error(cleaned, frame, inside)
    halo_before, halo_after = _error(frame.scan, frame, halo), _error(cleaned, frame, halo)
    changed = (cleaned != frame.scan).any(axis=-1) & clean
    visible = np.abs(_at_gamma(cleaned, changed) - _at_gamma(frame.scan, changed)).max(axis=-1) > _VISIBLE
    return Figures(
        psnr_scan_db=_psnr(before),
        psnr_db=_psnr(after),
        treated=_share(after <= before / 2, before.size),
        harm=_share(visible, int(clean.sum())),
        halo_harm=_share(halo_after - halo_before > _VISIBLE, halo_before.size),
    )


def mean_figures(of: Sequence[Figures]) -> Figures:
    """Each figure's mean over the frames that have it; nan where none has."""
    columns = {field.name: np.array([getattr(one, field.name) for one in of]) for field in fields(Figures)}
    known = {name: column[~np.isnan(column)] for name, column in columns.items()}
    return Figures(**{name: float(column.mean()) if column.size else np.nan for name, column in known.items()})


def same_groups(found: Sequence[Hashable], true: Sequence[Hashable]) -> bool:
    """Whether two labellings of the same frames put the same frames together, whatever the labels are."""
    pairs = set(zip(found, true, strict=True))
    return len(pairs) == len(set(found)) == len(set(true))


def _at_gamma(values: Scan, where: Mask) -> npt.NDArray[np.float64]:
    """Values at `where`, (pixels, channels), at gamma 2.2."""
    return np.asarray((values[where] / np.iinfo(values.dtype).max) ** (1 / 2.2), np.float64)


def _error(values: Scan, frame: SimulatedFrame, where: Mask) -> npt.NDArray[np.float64]:
    """Root mean square over the channels of the difference to the film at `where`, (pixels,)."""
    film = np.clip(frame.film[where].astype(np.float64), 0, 1) ** (1 / 2.2)
    return np.asarray(np.sqrt(((_at_gamma(values, where) - film) ** 2).mean(axis=-1)), np.float64)


def _psnr(error: npt.NDArray[np.float64]) -> float:
    return float(-10 * np.log10((error**2).mean())) if error.size else np.nan


def _share(hits: npt.NDArray[np.bool_], total: int) -> float:
    return float(hits.sum() / total) if total else np.nan
