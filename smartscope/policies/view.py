"""Where on the sample or the sensor a point of the frame lies, and how far stage and read-out region may follow it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smartscope.config import Range
from smartscope.frame import Roi, Settings
from smartscope.policies.motion import Sighting
from smartscope.policies.targets import Candidate
from smartscope.ports import Context
from smartscope.result import Tracks

LABELS = {"spot": 0, "cell": 1, "organelle": 2}
ROI_STEP_PX = 4
"""Cameras accept offsets of their read-out region in steps; four suits most."""

Micrometres = tuple[float, float]
"""(x, y)."""
Affine = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class View:
    """Places in um of the stage where it follows (``by_stage``, with its measured affine), else of the sensor."""

    context: Context
    by_stage: bool

    @property
    def pixel_um(self) -> float:
        """Edge of a pixel in the sample."""
        return self.context.instrument.camera.pixel_size_nm / 1000

    @property
    def um_per_px(self) -> Affine:
        """Way of a place when its image moves by one (x, y) pixel."""
        affine = self.context.stage_affine if self.by_stage else None
        return affine or ((self.pixel_um, 0.0), (0.0, self.pixel_um))

    def way(self, dx_px: float, dy_px: float) -> Micrometres:
        """Way in um of so many pixels."""
        (a, b), (c, d) = self.um_per_px
        return a * dx_px + b * dy_px, c * dx_px + d * dy_px

    def place(self, x_px: float, y_px: float, settings: Settings) -> Micrometres:
        """Place of the point at ROI pixel (x, y) of a frame with these settings."""
        x_0, y_0 = self._origin(settings)
        x_um, y_um = self.way(settings.roi.x + x_px, settings.roi.y + y_px)
        return x_0 + x_um, y_0 + y_um

    def on_sensor(self, place_um: Micrometres, settings: Settings) -> tuple[float, float]:
        """Sensor pixel (x, y) at which a place appears under these settings."""
        (a, b), (c, d) = self.um_per_px
        (x_0, y_0), size = self._origin(settings), a * d - b * c
        x_um, y_um = place_um[0] - x_0, place_um[1] - y_0
        return (d * x_um - b * y_um) / size, (a * y_um - c * x_um) / size

    def centre(self) -> Micrometres:
        """Place at the centre of the view under the settings true now."""
        roi = self.context.settings.roi
        return self.place((roi.width - 1) / 2, (roi.height - 1) / 2, self.context.settings)

    def candidates(self, tracks: Tracks, label: str) -> list[Candidate]:
        """Tracks of this kind ("any": of all) that were seen in the context's frame, with what they say of motion."""
        wanted = tracks.missed_frames == 0
        if label != "any":
            wanted = wanted & (tracks.label == LABELS[label])
        return [self._candidate(tracks, int(row)) for row in np.flatnonzero(wanted)]

    def _candidate(self, tracks: Tracks, row: int) -> Candidate:
        frame = self.context.result.frame
        place = self.place(float(tracks.x_px[row]), float(tracks.y_px[row]), frame.settings)
        velocity = self.way(float(tracks.vx_px_s[row]), float(tracks.vy_px_s[row]))
        sighting = Sighting(
            frame.t_mid_ns,
            *place,
            error_um=float(tracks.sigma_px[row]) * self.pixel_um,
            walk_um2_s=float(tracks.diffusion_px2_s[row]) * self.pixel_um**2,
            vx_um_s=velocity[0],
            vy_um_s=velocity[1],
            v_error_um_s=float(tracks.v_error_px_s[row]) * self.pixel_um,
            steady=float(tracks.steady[row]),
            period_s=max(frame.settings.exposure_ms, frame.settings.interval_ms) / 1e3,
        )
        age, size, light = tracks.age_frames[row], tracks.size_px[row], tracks.intensity[row]
        return Candidate(int(tracks.track_id[row]), sighting, int(age), float(size), float(light))

    def region(self, centre_px: tuple[float, float], edge_px: int) -> Roi:
        """A square of the sensor around a point of it, at an offset that cameras accept, kept on the sensor."""
        height, width = self.context.sensor_shape
        edge = min(max(edge_px, self.context.limits.min_roi_px), height, width)
        return Roi(_offset(centre_px[0], edge, width), _offset(centre_px[1], edge, height), edge, edge)

    def reachable(self, off_um: Micrometres) -> Micrometres:
        """Where the stage may go on its way by ``off_um``."""
        limits, now = self.context.limits, self.context.settings
        part = min(1.0, limits.max_stage_step_um / max(math.hypot(*off_um), 1e-9))
        return (
            _clipped(now.x_um + part * off_um[0], limits.x_um, now.x_um),
            _clipped(now.y_um + part * off_um[1], limits.y_um, now.y_um),
        )

    def _origin(self, settings: Settings) -> Micrometres:
        """Place of the sensor's first pixel."""
        if not self.by_stage:
            return 0.0, 0.0
        height, width = self.context.sensor_shape
        x_um, y_um = self.way((width - 1) / 2, (height - 1) / 2)
        return settings.x_um - x_um, settings.y_um - y_um


def _offset(centre_px: float, edge: int, sensor: int) -> int:
    wanted = round((centre_px - (edge - 1) / 2) / ROI_STEP_PX) * ROI_STEP_PX
    return min(max(wanted, 0), sensor - edge)


def _clipped(wanted_um: float, limits: Range | None, now_um: float) -> float:
    return now_um if limits is None else min(max(wanted_um, limits.low), limits.high)
