"""Other ways to remove dust, with all the help that they can use: TRUE masks, and thresholds that an ORACLE chooses.

All get and give stored values; those that only know 8 bit are shown the scan at gamma 2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from skimage.restoration import inpaint_biharmonic

from dustwatch.processing.density import Tone, density_table
from dustwatch.processing.figures import CLEAN_D

from .masks import best_threshold, f1_curve, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dustwatch.processing.arrays import Mask, Plane, Scan
    from dustwatch.processing.simulate import SimulatedFrame

    from .masks import Curve, Labels

    Peer: TypeAlias = Callable[[SimulatedFrame], Scan]

GAMMA = 2.2

DUSTBUST = "sum, background, ORACLE threshold, 7x7 diffusion (dustbust)"
BIHARMONIC = "scikit-image biharmonic, TRUE mask"
LIMIT = "true density and offset, divided (the limit of division)"

SIGMAS_PX = ((1.0, 4.0), (2.0, 8.0))
"""Differences of Gaussians among which the oracle may choose."""


# What oracles look at


def density(scan: Scan) -> Plane:
    """Mean over the channels of a linear negative's density in D."""
    return np.asarray(density_table(Tone(), np.iinfo(scan.dtype).max)[scan].mean(-1), np.float32)


def above_background(scan: Scan, tone: Tone) -> Plane:
    """How far each pixel is from the local background; dirt is positive.

    In D for a linear negative. In shares of full scale for others, where that finds more.
    """
    if tone.encoding == "linear":
        plane = density(scan)
    else:
        plane = scan.mean(-1, dtype=np.float32) * np.float32(-tone.sign / np.iinfo(scan.dtype).max)
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 12), np.float32)


def band(scan: Scan, sigmas: tuple[float, float]) -> Plane:
    """A difference of Gaussians of a negative's density."""
    plane = density(scan)
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in sigmas)
    return np.asarray(fine - coarse, np.float32)


def sum_mask(total: Plane, truth: Sequence[Labels]) -> Mask:
    """What dustbust finds on one glass: the sum of the residuals of its frames, over the best threshold for them."""
    mean = total / np.float32(len(truth))
    return mean > best_threshold([f1_curve(mean, known) for known in truth])


def band_curves(frame: SimulatedFrame) -> list[Curve]:
    """How good a mask each of SIGMAS_PX makes."""
    truth = labels(frame)
    return [f1_curve(band(frame.scan, sigmas), truth) for sigmas in SIGMAS_PX]


def best_band(curves: Sequence[Sequence[Curve]]) -> tuple[tuple[float, float], float]:
    """The sigmas and the threshold in D that are best for frames that have these curves."""
    means = np.mean(curves, axis=0)
    which = int(means.max(axis=1).argmax())
    return SIGMAS_PX[which], best_threshold([means[which]])


# Filling


def to_8_bit(scan: Scan) -> npt.NDArray[np.uint8]:
    """All that cv2.inpaint takes."""
    return np.asarray((scan / 65535) ** (1 / GAMMA) * 255 + 0.5, np.uint8)


def pasted(scan: Scan, shown: npt.NDArray[np.float64], mask: Mask) -> Scan:
    """`scan` with what is `shown`, 0..1 at gamma 2.2, inside the mask only."""
    out = scan.copy()
    out[mask] = np.rint(np.clip(shown[mask], 0, 1) ** GAMMA * 65535)
    return out


def inpainted(scan: Scan, mask: Mask, method: int) -> Scan:
    """cv2.inpaint, radius 4."""
    return pasted(scan, cv2.inpaint(to_8_bit(scan), mask.astype(np.uint8), 4, method) / 255, mask)


def biharmonic(scan: Scan, mask: Mask) -> Scan:
    """scikit-image's, in floating point."""
    shown = (scan / 65535) ** (1 / GAMMA)
    return pasted(scan, inpaint_biharmonic(shown, mask, split_into_regions=True, channel_axis=-1), mask)


def diffused(scan: Scan, mask: Mask) -> Scan:
    """Fill from the edges inwards with 7x7 means, then let it diffuse."""
    values = np.where(mask[..., None], 0, scan).astype(np.float32)
    known = (~mask).astype(np.float32)
    while (known[mask] == 0).any():
        weight = cv2.blur(known, (7, 7))
        new = (known == 0) & (weight > 1e-6)
        values[new] = cv2.blur(values, (7, 7))[new] / weight[new][:, None]
        known[new] = 1
    for _ in range(20):
        values[mask] = cv2.blur(values, (7, 7))[mask]
    out = scan.copy()
    out[mask] = np.rint(values[mask])
    return out


# Peers


def sobel_telea(scan: Scan) -> Scan:
    """Edges, closed to blobs, the small components of which are inpainted."""
    grey = cv2.cvtColor(to_8_bit(scan), cv2.COLOR_RGB2GRAY).astype(np.float32)
    edge = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    strong = (edge > edge.mean() + 2.5 * edge.std()).astype(np.uint8)
    closed = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, components, stats, _ = cv2.connectedComponentsWithStats(closed)
    blob = (stats[:, cv2.CC_STAT_AREA] >= 8) & (stats[:, cv2.CC_STAT_AREA] <= 2000)
    blob[0] = False
    mask = cv2.dilate(blob[components].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return inpainted(scan, mask, cv2.INPAINT_TELEA)


def band_median(scan: Scan, sigmas: tuple[float, float], threshold_d: float) -> Scan:
    """What a difference of Gaussians finds, replaced by the regional median."""
    return pasted(scan, cv2.medianBlur(to_8_bit(scan), 21) / 255, band(scan, sigmas) > threshold_d)


def divided(frame: SimulatedFrame) -> Scan:
    """Divide by the true transmittance of the glass: what no method that divides can beat."""
    lit = frame.scan * np.power(10.0, frame.glass)[..., None]
    return np.minimum(np.rint(lit), 65535).astype(np.uint16)


def peers(sigmas: tuple[float, float], threshold_d: float, slow: bool) -> dict[str, Peer]:
    """Those who clean linear 16-bit negatives, but for dustbust, by their names; the slow ones, too, if wanted."""

    def true_mask(frame: SimulatedFrame) -> Mask:
        return frame.glass > CLEAN_D

    fast: dict[str, Peer] = {
        "cv2.inpaint Telea, TRUE mask": lambda frame: inpainted(frame.scan, true_mask(frame), cv2.INPAINT_TELEA),
        "cv2.inpaint Navier-Stokes, TRUE mask": lambda frame: inpainted(frame.scan, true_mask(frame), cv2.INPAINT_NS),
        "DoG and threshold, regional median (best of a grid by truth)": lambda frame: band_median(
            frame.scan, sigmas, threshold_d
        ),
        "Sobel, closing, components, Telea": lambda frame: sobel_telea(frame.scan),
        LIMIT: divided,
    }
    return {BIHARMONIC: lambda frame: biharmonic(frame.scan, true_mask(frame)), **fast} if slow else fast
