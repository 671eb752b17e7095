"""Frames in the patient's space: their order, their spacing, their affine.

Axes of an array are slices, rows, columns (KRC). LPS is DICOM's space, RAS is MONAI's.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Geometry:
    """Parallel frames (PS3.3 C.7.6.2.1.1), mm, LPS, in the order they were decoded."""

    origins_mm: tuple[tuple[float, float, float], ...]
    orientation: tuple[float, float, float, float, float, float]
    """Cosines of a row (along which the column index grows), then of a column."""
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""
    thickness_mm: float
    """Between slices, for a single one."""

    def positions_mm(self) -> Matrix:
        """Give each frame's place along the slice normal, one a frame."""
        along: Matrix = np.asarray(self.origins_mm) @ self._normal()
        return along

    def affine(self) -> Matrix:
        """Give the RAS affine of frames sorted by position: index (k, r, c, 1) to mm, 4 x 4."""
        positions_mm = self.positions_mm()
        count = len(positions_mm)
        gap_mm = np.ptp(positions_mm) / (count - 1) if count > 1 else self.thickness_mm
        matrix = np.eye(4)
        matrix[:3, 0] = self._normal() * (gap_mm or self.thickness_mm)
        matrix[:3, 1] = np.asarray(self.orientation[3:]) * self.spacing_mm[0]
        matrix[:3, 2] = np.asarray(self.orientation[:3]) * self.spacing_mm[1]
        matrix[:3, 3] = self.origins_mm[int(np.argmin(positions_mm))]
        ras: Matrix = LPS_TO_RAS @ matrix
        return ras

    def _normal(self) -> Matrix:
        normal: Matrix = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)
