"""What the live model asks of whoever finds molecules, fits or a network: a table, a count, and how far both hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from smartscope.frame import Frame
from smartscope.result import Localizations
from smartscope_models.calibration import PixelCalibration

FITS, NETWORK = 0, 1
"""Values of the quality figure ``localizer``."""


@dataclass(frozen=True, slots=True)
class Found:
    """The molecules of one frame."""

    localizations: Localizations
    emitters: float
    """Expected number that glow in the frame, those missed or merged allowed for."""
    emitters_error: float
    kind: int
    """``FITS`` or ``NETWORK``."""
    agreement: float
    """0 to 1: how far the molecules found, on their background, explain the frame."""
    recall_health: float
    """The same, times the share of the molecules counted that were found."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Further figures for ``Result.quality``."""
    doubts: tuple[tuple[float, str], ...] = ()
    """Factors on the trust in the frame, each with its reason."""


@runtime_checkable
class Finder(Protocol):
    """Finds the molecules of one frame after the other; may learn from them."""

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W); what was learned stays."""

    def find(self, frame: Frame, calibration: PixelCalibration) -> Found:
        """The molecules of the frame, whose pixels have this calibration."""
