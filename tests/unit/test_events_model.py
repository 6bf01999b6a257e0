"""The model of events keeps the contract of models, with tracks of every kind before it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from track_helpers import table

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame
from smartscope.ports import Instrument, Model
from smartscope.result import Detections, Events, Result, Tracks
from smartscope.soundness import check_answer
from smartscope.testing.model_contract import ModelContract, a_frame, a_scene
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


EARLIER = table(Events, 1, event_id=7, status=1, onset_frame=0, probability=0.9, track_id=1, other_id=2)


def test_what_the_tracker_told_stays() -> None:
    model = EventDetector(INSTRUMENT, kinds=("arrest",))
    frame = a_frame(a_scene(), 3)
    assert model.step([frame], Result(frame, events=EARLIER)).events is EARLIER


def test_numbers_never_meet_those_of_the_tracker() -> None:
    model, told = EventDetector(INSTRUMENT, kinds=("flash",), false_alarms_per_hour=1e6), []
    for k in range(20):
        pixels = a_scene(seed=k)
        frame = a_frame(pixels, k)
        events = model.step([frame], Result(frame, events=EARLIER)).events
        assert events is not None
        told += events.event_id[1:].tolist()
    assert told
    assert min(told) > 1_000_000


@pytest.mark.parametrize("options", [{"kinds": []}, {"kinds": ["division"]}, {"false_alarms_per_hour": 0},
                                     {"false_alarms_per_hour": {"birth": 1}}])  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    assert plugins.check_options(EventDetector, options, "options")


def test_options_may_be_given_kind_by_kind() -> None:
    assert not plugins.check_options(EventDetector, {"false_alarms_per_hour": {"flash": 2.5}}, "options")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_tracks_are_borne(data: st.DataObject) -> None:
    """Tracks at no place, of no size, with the same name twice, at times that jump: no exception, sound answers."""
    model = EventDetector(INSTRUMENT, kinds=ALL, false_alarms_per_hour=1e5)
    numbers = st.floats(width=32) | st.floats(-50, 50, width=32)
    for _ in range(data.draw(st.integers(1, 6))):
        count = data.draw(st.integers(0, 6))
        index = data.draw(st.integers(0, 50))
        shape = data.draw(st.sampled_from([(16, 16), (40, 24), (1, 1), (3, 90)]))
        frame = a_frame(np.full(shape, data.draw(st.sampled_from([0, 100, 65535])), np.uint16), index)
        x, y, sigma = (data.draw(st.lists(numbers, min_size=count, max_size=count)) for _ in range(3))
        ids = data.draw(st.lists(st.integers(-3, 5), min_size=count, max_size=count))
        tracks = table(Tracks, count, track_id=ids, parent_id=-1, x_px=x, y_px=y, sigma_px=sigma)
        so_far = Result(frame, tracks=tracks)
        check_answer(model.step([frame], so_far), so_far)


def test_a_flood_of_tracks_is_borne_in_bounded_time() -> None:
    model, rng = EventDetector(INSTRUMENT, kinds=("arrest", "abnormal")), np.random.default_rng(0)
    model.warm_up((16, 16))
    for k in range(3):
        frame = a_frame(np.zeros((16, 16), np.uint16), k)
        places = rng.uniform(0, 2048, (2, 100_000))
        tracks = table(Tracks, 100_000, track_id=np.arange(100_000), x_px=places[0], y_px=places[1], sigma_px=0.2)
        began = time.process_time()
        model.step([frame], Result(frame, tracks=tracks))
        assert time.process_time() - began < 2.0
