"""The molecules of one frame in nanometres of the field, and whether the camera still looks at that field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.frame import Certainty, Frame, Roi
from smartscope.result import Localizations

Doubles = npt.NDArray[np.float64]

SAME_PLACE_PX = 0.5
"""Stage movements below this keep a field what it is: what they leave is measured as drift."""


@dataclass(frozen=True, slots=True)
class Molecules:
    """Those of one frame; columns of length N. Origin: outer corner of the frame's top-left pixel."""

    t_s: float
    """Middle of the exposure, on the run's clock."""
    x_nm: Doubles
    y_nm: Doubles
    error_nm: Doubles
    """Standard error of the position, root mean square of x and y; 0 where it is not known."""

    def __len__(self) -> int:
        return len(self.x_nm)


def molecules(frame: Frame, table: Localizations, pixel_size_nm: float) -> Molecules:
    """Those of the table whose numbers are finite."""
    x_error, y_error = table.x_error_px.astype(np.float64), table.y_error_px.astype(np.float64)
    columns = table.x_px + 0.5, table.y_px + 0.5, np.sqrt((x_error * x_error + y_error * y_error) / 2)
    sound = np.isfinite(columns[0]) & np.isfinite(columns[1]) & np.isfinite(columns[2])
    if not sound.all():
        columns = columns[0][sound], columns[1][sound], columns[2][sound]
    x_nm, y_nm, error_nm = (np.multiply(column, pixel_size_nm, dtype=np.float64) for column in columns)
    return Molecules(frame.t_mid_ns / 1e9, x_nm, y_nm, error_nm)


def moving(frame: Frame) -> bool:
    """Whether stage or focus moved during the exposure: its molecules are nowhere."""
    return any(frame.certainty.get(key) == Certainty.MIXED for key in ("xy", "z"))


@dataclass(frozen=True, slots=True)
class Field:
    """What one picture is of: a rectangle of the sensor over one place of the sample."""

    roi: Roi
    shape: tuple[int, int]
    x_um: float
    y_um: float

    @classmethod
    def of(cls, frame: Frame) -> Field:
        """The field that a frame shows."""
        settings = frame.settings
        return cls(settings.roi, (frame.pixels.shape[0], frame.pixels.shape[1]), settings.x_um, settings.y_um)

    def shows(self, frame: Frame, pixel_size_nm: float) -> bool:
        """Whether ``frame`` is of this field."""
        near_um = SAME_PLACE_PX * pixel_size_nm / 1e3
        settings = frame.settings
        return (
            settings.roi == self.roi
            and frame.pixels.shape == self.shape
            and abs(settings.x_um - self.x_um) <= near_um
            and abs(settings.y_um - self.y_um) <= near_um
        )
