"""A detector's word on where objects were helps where it is right, and does no harm where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Roi
from smartscope.ports import Instrument
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection.objects import DescribedDetections, detections_of
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.backward import ENOUGH, Backward, retraced
from smartscope_models.tracking.places import SpecimenPlaces

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
FIELD = np.zeros((160, 160), np.uint16)


def described(places: np.ndarray, back: np.ndarray) -> DescribedDetections:
    """All look alike."""
    plain = detections_of(*places.T, np.full(len(places), 2.0), np.full(len(places), 50.0), 0)
    vectors, none = back.astype(np.float32).T, np.zeros(len(places), np.float32)
    columns = (plain.x_px, plain.y_px, plain.size_px, plain.intensity, plain.label)
    return DescribedDetections(*columns, none + 1, vectors[0].copy(), vectors[1].copy(), none, none, none)


def switches(word: str) -> tuple[int, int]:
    """Of live and of settled names, in a crowd that moves by a good part of its spacing."""
    rng, tracker = np.random.default_rng(8), KalmanTracker(INSTRUMENT)
    home, live, final = rng.uniform(0, 160, (250, 2)), {}, {}
    for t in range(30):
        before, home = home, home + rng.normal(0, 3.0, home.shape)
        truth = before - home + rng.normal(0, 0.4, home.shape)
        back = {"right": truth, "none": np.full(home.shape, np.nan), "here": 0 * home}[word]
        named, done = tracker.follow(a_frame(FIELD, t), described(home, back))
        live[t] = named.track_id
        if done is not None:
            final[done.index] = done.named.track_id
    return tuple(sum(int((some[t] != some[t - 1]).sum()) for t in range(8, 27)) for some in (live, final))


def test_backward_vectors_settle_who_is_who_in_a_crowd() -> None:
    right, none, here = (switches(word) for word in ("right", "none", "here"))
    assert right[0] < 0.25 * none[0]
    assert right[1] < 0.25 * none[1]
    assert here == none, "a word that only repeats the place counts for nothing"


def test_a_word_counts_once_it_proved_better_than_the_motion() -> None:
    rng, learned = np.random.default_rng(0), Backward()
    was, told = np.zeros((200, 2)), rng.normal(0, 0.5, (200, 2))
    is_now = rng.normal(0, 3, (200, 2))
    learned.learn(told[:40], was[:40], is_now[:40])
    assert learned.links < ENOUGH
    assert learned.packed(8.0)[0] == 0
    learned.learn(told, was, is_now)
    assert learned.packed(8.0)[0] == pytest.approx(0.25, rel=0.2)
    for _ in range(40):
        learned.learn(is_now, was, is_now)
    assert learned.packed(8.0)[0] == 0
    learned.learn(np.full((5, 2), np.nan), was[:5], is_now[:5])
    assert np.isfinite(learned.error)


def test_how_much_a_word_is_worth() -> None:
    backward = np.array([0.25, 1 / 200])
    right, near, wrong = (retraced(np.array([x, 0.0]), np.zeros(2), backward) for x in (0.0, 1.0, 8.0))
    assert right > near > 1 > wrong > 0
    assert retraced(np.full(2, np.nan), np.zeros(2), backward) == 1
    assert retraced(np.zeros(2), np.full(2, np.nan), backward) == 1


def test_the_word_is_about_the_frame_before_wherever_its_window_was() -> None:
    places = SpecimenPlaces(INSTRUMENT)
    frame, found = a_frame(FIELD, 5), described(np.array([[30.0, 40.0]]), np.array([[-2.0, 1.0]]))
    window = replace(a_frame(FIELD, 4).settings, roi=Roi(16, 8, 160, 160))
    before = replace(a_frame(FIELD, 4), settings=window)
    assert places.seen(frame, found, before).back == pytest.approx(np.array([[44.0, 49.0]]))
    assert np.isnan(places.seen(frame, found, a_frame(FIELD, 3)).back).all()
    assert np.isnan(places.seen(frame, found, None).back).all()
