"""What models say about a frame: images, objects, tracks and figures, with how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from smartscope.frame import Frame

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in one frame; columns of length N. Origin: centre of the frame's top-left pixel (ROI pixels)."""

    x_px: Floats
    y_px: Floats
    size_px: Floats
    """Radius of a blob: the Gaussian sigma of a spot, the equivalent-disc radius of a cell."""
    intensity: Floats
    """Background-subtracted sum, in photo-electrons."""
    label: Ints
    """Kind of object: 0 spot, 1 cell."""

    def __len__(self) -> int:
        return len(self.x_px)


@dataclass(frozen=True, slots=True)
class Tracks:
    """Objects with an identity, as they stand after this frame; columns of length N, ROI pixels of this frame."""

    track_id: Ints
    parent_id: Ints
    """-1 where there is no mother."""
    x_px: Floats
    y_px: Floats
    vx_px_s: Floats
    vy_px_s: Floats
    sigma_px: Floats
    """Standard error of the position, per axis."""
    age_frames: Ints
    """Frames since the track began."""
    missed_frames: Ints
    """Frames since it was last seen; 0 = seen in this frame, else the position is predicted."""
    size_px: Floats
    intensity: Floats
    label: Ints

    def __len__(self) -> int:
        return len(self.track_id)


@dataclass(frozen=True, slots=True)
class StageTiming:
    """How long one model took, and whether its answer counts."""

    stage: str
    started_ns: int
    ended_ns: int
    outcome: str = "ok"
    """``ok``, ``late`` (deadline missed, answer discarded), ``failed`` (raised or returned nonsense), ``skipped``."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All that is known after the pipeline, or after some of its stages, about one frame."""

    frame: Frame
    image: Floats | None = None
    """(H, W) float32, denoised, in camera units (ADU, offset included)."""
    detections: Detections | None = None
    tracks: Tracks | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    """Figures by name with their unit: ``signal_to_noise``, ``signal_e``, ``background_e``, ``saturated_fraction`` …"""
    trust: float = 1.0
    """0 (do not act on this) to 1; each model multiplies in its own."""
    why_trust: str = ""
    """Why the trust is not 1."""
    timings: tuple[StageTiming, ...] = ()
    ready_ns: int = 0
    """When the last stage ended, on the run's clock."""


def empty_detections() -> Detections:
    """No objects."""
    none = np.empty(0, np.float32)
    return Detections(none, none, none, none, np.empty(0, np.int32))


def empty_tracks() -> Tracks:
    """No tracks."""
    f, i = np.empty(0, np.float32), np.empty(0, np.int32)
    return Tracks(i, i, f, f, f, f, f, i, i, f, f, i)
