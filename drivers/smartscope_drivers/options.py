"""What can be said about how a driver handles its core, with defaults that suit most cameras and stages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Memory, capabilities, delays and tolerances."""

    ring_mb: float = 256.0
    """Memory for frames that wait to be taken."""
    live_exposure: bool | None = None
    """Whether the exposure may change while the camera streams; None: tried out at opening, in the dark."""
    calibrated: frozenset[str] = frozenset()
    """Setting keys whose delay was measured (``smartscope calibrate delay``); the others are ``assumed``."""
    readout_ms: float = 0.0
    """End of exposure to frame in the core, for cameras that do not report when they exposed."""
    move_timeout_s: float = 10.0
    stage_tolerance_um: float = 1.0
    focus_tolerance_um: float = 0.5
