"""A camera frame: its pixels, when it was exposed, and the settings under which it truly was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint16]


class Certainty(StrEnum):
    """How well a frame's setting is known."""

    EXACT = "exact"
    """The setting held during the whole exposure, and the delay to reach it was calibrated or read back."""
    ASSUMED = "assumed"
    """The setting should have held, but this device's delay has not been calibrated."""
    MIXED = "mixed"
    """The setting changed during the exposure; the frame drives no policy."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A rectangle of the sensor, in unbinned sensor pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def centre_px(self) -> tuple[float, float]:
        """(x, y) of the centre on the sensor; the centre of the top-left pixel is (0, 0)."""
        return self.x + (self.width - 1) / 2, self.y + (self.height - 1) / 2


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything adjustable, at one moment or during one exposure."""

    exposure_ms: float
    roi: Roi
    lights_mw: Mapping[str, float] = field(default_factory=dict)
    """Power set for each light, at the light's own reference plane; 0 is off."""
    x_um: float = 0.0
    y_um: float = 0.0
    z_um: float = 0.0
    pattern: int | None = None
    """Step of the structured illumination, from 0; None where the light is even."""
    interval_ms: float = 0.0
    """From the start of one exposure to the next; 0: back to back."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image and what is known about it. Pixels are shared by reference and never written again."""

    pixels: Pixels
    """(H, W) uint16, analogue-to-digital units."""
    epoch: int
    """Counts the starts of the camera; ``number`` restarts with each."""
    number: int
    """ImageNumber of the camera within the epoch, from 0; gaps are lost frames."""
    index: int
    """Running number of the frames received in this run, from 0, without gaps."""
    settings: Settings
    certainty: Mapping[str, Certainty]
    """By setting key (``exposure_ms``, ``light:NAME``, ``xy``, ``z``); a missing key means exact."""
    t_start_ns: int
    """Start of the exposure, on the run's clock."""
    t_end_ns: int
    """End of the exposure, on the run's clock."""
    t_received_ns: int
    """When the frame was in our hands, on the run's clock."""
    lost_before: int = 0
    """Frames missing between this one and the one before."""

    @property
    def t_mid_ns(self) -> int:
        """Middle of the exposure."""
        return (self.t_start_ns + self.t_end_ns) // 2

    @property
    def mixed(self) -> bool:
        """Whether any setting changed during the exposure."""
        return Certainty.MIXED in self.certainty.values()
