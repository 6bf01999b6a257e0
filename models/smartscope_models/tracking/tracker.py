"""From frames to identities and back: specimen coordinates, elapsed time, one linker for each kind of object.

Objects are followed where they are in the specimen, in sensor pixels, so that moving the stage or changing the ROI
leaves identities alone: place = ROI offset + ROI pixel + A⁻¹ · stage, with A the stage–camera affine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from smartscope.frame import Certainty, Frame
from smartscope.ports import Instrument
from smartscope.result import Detections, Result, Tracks, empty_tracks
from smartscope_models.tracking.linker import Linker
from smartscope_models.tracking.motion import Doubles

LONGEST_COAST = 25
"""Frames without any detections (stage on its way, detector late) after which all objects are given up."""
WIDEST_GATE = 4.0
"""Times the gate, however long ago the last frame was."""
Gate = Annotated[float, Field(gt=0, le=4096)]


class KalmanTracker:
    """Online tracking with a two-model Kalman filter and optimal assignment; identities are never revised.

    A frame during which the stage moved (``xy`` mixed), and one without ``detections``, only carries the objects on.
    """

    history = 0
    reads = frozenset({"detections"})

    def __init__(
        self,
        setup: Instrument,
        *,
        spot_gate_px: Gate = 8.0,
        cell_gate_px: Gate = 40.0,
        memory_frames: Annotated[int, Field(ge=0, le=1000)] = 2,
    ) -> None:
        """Gates: the farthest an object may be from where it is expected, pixels; memory: misses that it survives.

        Where the stage's affine is not measured, the pixel size along both axes stands in for it.
        """
        pixel_um = setup.camera.pixel_size_nm / 1000
        self._gates = (spot_gate_px, cell_gate_px)
        self._memory = memory_frames
        self._px_of_um = np.linalg.inv(np.array(setup.stage_affine or ((pixel_um, 0.0), (0.0, pixel_um))))
        self._linkers: dict[int, Linker] = {}
        self._next_id = 1
        self._last: Frame | None = None
        self._period_ns = 0.0
        self._coasted = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile; what is being followed is not touched."""
        rehearsal = Linker(8.0, 2)
        places, ones = np.random.default_rng(0).uniform(0, max(shape), (8, 2)), np.ones(8)
        for _ in range(2):
            rehearsal.advance(1.0)
            rehearsal.link(places, ones, ones, float(shape[0] * shape[1]), 0)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``tracks`` for ``frames[-1]``."""
        frame = frames[-1]
        elapsed = self._elapsed(frame)
        for linker in self._linkers.values():
            linker.advance(elapsed)
        moving = frame.certainty.get("xy") is Certainty.MIXED
        if so_far.detections is None or moving:
            self._coast()
        else:
            self._link(frame, so_far.detections, elapsed)
        return replace(so_far, tracks=self._tracks(frame))

    def follow(self, frame: Frame, detections: Detections) -> np.ndarray:
        """As ``step``, but returns the (N,) identities of the detections."""
        elapsed = self._elapsed(frame)
        for linker in self._linkers.values():
            linker.advance(elapsed)
        return self._link(frame, detections, elapsed)

    def _elapsed(self, frame: Frame) -> float:
        """Frame periods since the last frame; the period is that of the first two frames."""
        last, self._last = self._last, frame
        if last is None:
            return 1.0
        elapsed_ns = max(frame.t_mid_ns - last.t_mid_ns, 0)
        if not self._period_ns:
            self._period_ns = float(elapsed_ns) / max(frame.index - last.index, 1)
        return max(elapsed_ns / self._period_ns, 1e-3) if self._period_ns else 1.0

    def _coast(self) -> None:
        self._coasted += 1
        if self._coasted > LONGEST_COAST:
            self._linkers.clear()

    def _link(self, frame: Frame, detections: Detections, elapsed: float) -> np.ndarray:
        self._coasted = 0
        for label in np.unique(detections.label).tolist():
            if label not in self._linkers:
                self._linkers[label] = Linker(self._gates[min(max(label, 0), 1)], self._memory)
        places = np.column_stack([detections.x_px, detections.y_px]).astype(np.float64) + self._origin(frame)
        area = float(frame.pixels.shape[0] * frame.pixels.shape[1])
        widening = math.sqrt(min(max(elapsed, 1.0), WIDEST_GATE**2))
        ids = np.full(len(detections), -1)
        for label, linker in self._linkers.items():
            chosen = np.flatnonzero((detections.label == label) & np.isfinite(places).all(1))
            size, intensity = (column[chosen].astype(float) for column in (detections.size_px, detections.intensity))
            ids[chosen] = linker.link(places[chosen], size, intensity, area, self._next_id, widening)
            self._next_id = max(self._next_id, int(ids.max(initial=-1)) + 1)
        return ids

    def _origin(self, frame: Frame) -> Doubles:
        """(2,) specimen coordinates, in sensor pixels, of the frame's top-left pixel."""
        settings = frame.settings
        stage: Doubles = self._px_of_um @ np.array([settings.x_um, settings.y_um])
        origin: Doubles = stage + np.array([settings.roi.x, settings.roi.y])
        return origin

    def _tracks(self, frame: Frame) -> Tracks:
        """All objects, in ROI pixels of ``frame``."""
        parts = [self._columns(label, linker, frame) for label, linker in self._linkers.items() if len(linker.objects)]
        if not parts:
            return empty_tracks()
        return Tracks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _columns(self, label: int, linker: Linker, frame: Frame) -> tuple[np.ndarray, ...]:
        """The fields of ``Tracks``, in order, for one kind of object."""
        objects, count = linker.objects, len(linker.objects)
        per_second = 1e9 / self._period_ns if self._period_ns else 0.0
        x, y = (objects.position() - self._origin(frame)).astype(np.float32).T
        vx, vy = (objects.v[:, 1] * per_second).astype(np.float32).T
        return (
            objects.track_id.astype(np.int32),
            np.full(count, -1, np.int32),
            x,
            y,
            vx,
            vy,
            objects.sigma().astype(np.float32),
            objects.w[:, 1].astype(np.float32),
            (np.sqrt(objects.p[:, 1, 2]) * per_second).astype(np.float32),
            np.full(count, linker.noise.walk * per_second, np.float32),
            objects.age.astype(np.int32),
            (objects.missed + self._coasted).astype(np.int32),
            objects.size.astype(np.float32),
            objects.intensity.astype(np.float32),
            np.full(count, label, np.int32),
        )
