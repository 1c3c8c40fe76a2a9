"""Names for the arrays that travel through the package, and the checks at its doors.

Axis order is always (row, column) or (row, column, channel); row 0 is the top. A density is ``-log10`` of the
transmittance, so 0.3 D halves the light; a map of the glass and a frame share one pixel grid up to an offset.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Scan: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(rows, columns, channels) stored sample values."""

Plane: TypeAlias = npt.NDArray[np.float32]
"""(rows, columns), a density in D unless the name says otherwise."""

Planes: TypeAlias = npt.NDArray[np.float32]
"""(rows, columns, channels), linear light 0..1 unless the name says otherwise."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""(rows, columns), True where something holds."""


def require_scan(scan: Scan) -> None:
    """Raise ValueError unless `scan` is (rows, columns, channels) of uint8 or uint16."""
    if scan.ndim != 3 or scan.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected (rows, columns, channels) of uint8 or uint16, got {scan.shape} of {scan.dtype}")


def require_plane(plane: Plane, name: str) -> None:
    """Raise ValueError unless `plane` is (rows, columns) of float32; `name` says which argument it is."""
    if plane.ndim != 2 or plane.dtype != np.float32:
        raise ValueError(f"{name}: expected (rows, columns) of float32, got {plane.shape} of {plane.dtype}")
