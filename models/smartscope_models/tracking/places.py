"""Detections as the linkers take them: where objects are in the specimen, whatever stage and camera do.

In sensor pixels, place = ROI offset + ROI pixel + A⁻¹ · stage, with A the stage–camera affine: moving the stage or
changing the ROI leaves places alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Detections
from smartscope_models.detection.objects import DescribedDetections
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.sightings import Flags

FARTHEST_PX = 1e6
"""From the frame's origin; a detection farther away is none."""


@dataclass(frozen=True, slots=True)
class Seen:
    """N detections."""

    good: Flags
    """(N,) the place is a number."""
    places: Doubles
    """(N, 2) px."""
    size: Doubles
    intensity: Doubles
    back: Doubles
    """(N, 2) px, where the detector says that each was in the frame before; NaN where it says nothing."""


class SpecimenPlaces:
    """One instrument's geometry; without an affine, the pixel size along both axes stands in for it."""

    def __init__(self, setup: Instrument) -> None:
        pixel_um = setup.camera.pixel_size_nm / 1000
        self._px_of_um = np.linalg.inv(np.array(setup.stage_affine or ((pixel_um, 0.0), (0.0, pixel_um))))

    def origin(self, frame: Frame) -> Doubles:
        """(2,) px of the frame's top-left pixel."""
        settings = frame.settings
        stage: Doubles = self._px_of_um @ np.array([settings.x_um, settings.y_um])
        origin: Doubles = stage + np.array([settings.roi.x, settings.roi.y])
        return origin

    def seen(self, frame: Frame, detections: Detections, before: Frame | None) -> Seen:
        """before: the frame that was linked last; only if it is the one just before do backward vectors count."""
        pixels = np.column_stack([detections.x_px, detections.y_px]).astype(np.float64)
        good = np.isfinite(pixels).all(1) & (np.abs(pixels) < FARTHEST_PX).all(1)
        back = np.full(pixels.shape, np.nan)
        if isinstance(detections, DescribedDetections) and before is not None and before.index == frame.index - 1:
            vectors = np.column_stack([detections.back_x_px, detections.back_y_px])
            back = pixels + np.where(np.isfinite(vectors), vectors, np.nan) + self.origin(before)
        size, intensity = (
            np.nan_to_num(column.astype(float), posinf=1e30, neginf=0)
            for column in (detections.size_px, detections.intensity)
        )
        return Seen(good, pixels + self.origin(frame), size, intensity, back)
