"""How good a cleaned frame is against the simulator's truth; the demo and the benchmark quote these figures.

All are taken on the scan's own values (share of full scale), those of a linear scan at gamma 2.2, before any JPEG
encoding:

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
from .density import Tone, stored
from .simulate import as_seen

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .simulate import SimulatedFrame

INSIDE_D, CLEAN_D = 0.04, 0.005
# One step of 8 bit is not over it, whatever its two values are rounded to.
_VISIBLE = 1 / 255 + 1e-9
_LINEAR = Tone()


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


def figures(cleaned: Scan, frame: SimulatedFrame, tone: Tone = _LINEAR) -> Figures:
    """Compare `cleaned`, (rows, columns, 3) stored values like `frame.scan`, with the film.

    `tone` is the roll's. Raises ValueError when `cleaned` has another shape or type than the scan.
    """
    require_scan(cleaned)
    if cleaned.shape != frame.scan.shape or cleaned.dtype != frame.scan.dtype:
        have, want = (f"{image.shape} of {image.dtype}" for image in (cleaned, frame.scan))
        raise ValueError(f"cleaned is {have}, its scan {want}")
    spotless = frame.specks < CLEAN_D
    inside = (frame.glass > INSIDE_D) & spotless
    halo = (frame.glass >= CLEAN_D) & (frame.glass <= INSIDE_D) & spotless
    clean = (frame.glass < CLEAN_D) & spotless
    before, after = (_error(image, frame, inside, tone) for image in (frame.scan, cleaned))
    halo_before, halo_after = (_error(image, frame, halo, tone) for image in (frame.scan, cleaned))
    changed = (cleaned != frame.scan).any(axis=-1) & clean
    shift = _shown(_shares(cleaned, changed), tone) - _shown(_shares(frame.scan, changed), tone)
    visible = np.abs(shift).max(axis=-1) > _VISIBLE
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


def _shares(values: Scan, where: Mask) -> npt.NDArray[np.float64]:
    """Stored values at `where`, (pixels, channels), as share of full scale."""
    return np.asarray(values[where] / np.iinfo(values.dtype).max, np.float64)


def _shown(shares: npt.NDArray[np.float64], tone: Tone) -> npt.NDArray[np.float64]:
    """Stored shares as a screen is given them: linear ones at gamma 2.2, others as they are."""
    return np.asarray(shares ** (1 / 2.2), np.float64) if tone.encoding == "linear" else shares


def _error(values: Scan, frame: SimulatedFrame, where: Mask, tone: Tone) -> npt.NDArray[np.float64]:
    """Root mean square over the channels of the difference to the film at `where`, (pixels,)."""
    film = stored(as_seen(frame.film[where], tone), tone)
    difference = _shown(_shares(values, where), tone) - _shown(film, tone)
    return np.asarray(np.sqrt((difference**2).mean(axis=-1)), np.float64)


def _psnr(error: npt.NDArray[np.float64]) -> float:
    return float(-10 * np.log10((error**2).mean())) if error.size else np.nan


def _share(hits: npt.NDArray[np.bool_], total: int) -> float:
    return float(hits.sum() / total) if total else np.nan
