"""The model of events keeps the contract of models, with tracks of every kind before it."""

from __future__ import annotations

import numpy as np
from track_helpers import table

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame
from smartscope.ports import Instrument, Model
from smartscope.result import Detections, Result, Tracks
from smartscope.testing.model_contract import ModelContract
from smartscope_models.events import EventDetector

INSTRUMENT = Instrument(CameraCalibration(), OpticsConfig())
ALL = ("fission", "fusion", "flash", "arrest", "abnormal")


def some_tracks(frame: Frame) -> Tracks:
    """Ten objects anywhere, seeded by the frame; one not seen, one at no place."""
    rng = np.random.default_rng(frame.index)
    height, width = frame.pixels.shape
    x, y = rng.uniform(0, width, 10), rng.uniform(0, height, 10)
    missed = (np.arange(10) == 3).astype(int)
    return table(
        Tracks, 10, track_id=np.arange(10) + frame.index // 4, parent_id=-1, x_px=x, y_px=y, sigma_px=0.2,
        missed_frames=missed, size_px=1.0, intensity=500.0,
    )  # fmt: skip


class TestEvents(ModelContract):
    def make(self) -> Model:
        return EventDetector(INSTRUMENT, kinds=ALL, false_alarms_per_hour=1e6)

    def so_far(self, frame: Frame) -> Result:
        tracks = some_tracks(frame)
        whole = np.zeros(len(tracks), np.int32)
        return Result(
            frame, tracks=tracks, detections=Detections(tracks.x_px, tracks.y_px, tracks.size_px, tracks.size_px, whole)
        )


class TestEventsWithoutTracks(ModelContract):
    def make(self) -> Model:
        return EventDetector(INSTRUMENT, kinds=ALL, false_alarms_per_hour={"flash": 100.0, "fission": 3.0})
