"""A division is told at once with its probability; hindsight confirms it or takes it back, once, under its own id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events, Result, empty_events
from smartscope.testing.model_contract import a_frame, check, check_story
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.settling import Correction
from smartscope_models.tracking.sightings import Families, no_families
from smartscope_models.tracking.telling import PATIENCE, DivisionTeller
from smartscope_models.tracking.tracker import LONGEST_COAST

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
FIELD = np.zeros((400, 600), np.uint16)
HERE = np.zeros(2)
NOTHING = Correction(*(np.empty(0, np.int64) for _ in range(3)))
LAG = 3


def family(
    mother: int, one: int, other: int, probability: float = 0.9, place: tuple[float, float] = (5, 6)
) -> Families:
    return Families(np.array([mother]), np.array([[one, other]]), np.array([place], float), np.array([probability]))


def told(events: Events | None) -> list[tuple[int, str, int, int]]:
    """Identity, status, onset and mother of each."""
    events = events or empty_events()
    statuses = [EVENT_STATUS[status] for status in events.status.tolist()]
    return list(
        zip(events.event_id.tolist(), statuses, events.onset_frame.tolist(), events.track_id.tolist(), strict=True)
    )


def settle(teller: DivisionTeller, index: int, families: Families, correction: Correction = NOTHING) -> list[object]:
    teller.settle(index, families, correction)
    teller.give_up(index)
    return [*told(teller.news(HERE))]


def cells(t: int, first: int, apart_px: float = 20.0) -> np.ndarray:
    """(N, 3) x, y, radius: six nuclei; one of them divides at ``first``."""
    jitter = np.random.default_rng(t).normal(0, 1, (8, 2))
    rows = [(100 * n + jitter[n, 0], 300 + jitter[n, 1], 20.0 * np.exp(0.02 * jitter[n, 0])) for n in range(1, 6)]
    if t < first:
        return np.array([(200 + jitter[6, 0], 100 + jitter[6, 1], 20.0), *rows])
    apart = apart_px + 2 * (t - first)
    return np.array([(200 - apart, 100 + jitter[6, 1], 14.0), (200 + apart, 100 + jitter[7, 1], 14.0), *rows])


def run(movie: list[np.ndarray], label: int = 1, **options: float) -> list[Result]:
    """The results of all frames, which were looked at for soundness."""
    tracker = KalmanTracker(INSTRUMENT, **options)  # type: ignore[arg-type]
    results = []
    for t, rows in enumerate(movie):
        x, y, radius = rows.reshape(-1, 3).T
        frame = a_frame(FIELD, t)
        before = Result(frame, detections=detections_of(x, y, radius, radius**2, label))
        results.append(tracker.step([frame], before))
        check(results[-1], before)
    check_story(results)
    return results


def test_a_division_is_told_at_once_and_confirmed_when_settled() -> None:
    results = run([cells(t, 8) for t in range(14)])
    happened = {t: result.events for t, result in enumerate(results) if result.events is not None}
    assert [*happened] == [8, 8 + LAG]
    first, last = happened[8], happened[8 + LAG]
    assert told(first)[0][:3] == (0, "provisional", 8)
    assert told(last)[0][:3] == (0, "confirmed", 8)
    assert EVENT_KINDS[int(first.kind[0])] == "division"
    mother = results[7].tracks
    assert mother is not None
    near = np.hypot(mother.x_px - 200, mother.y_px - 100).argmin()
    assert first.track_id[0] == last.track_id[0] == mother.track_id[near]
    after = results[8].tracks
    assert after is not None
    assert first.other_id[0] in after.track_id[after.parent_id == first.track_id[0]]
    assert (first.x_px[0], first.y_px[0]) == pytest.approx((200, 100), abs=3)
    assert 0.9 < first.probability[0] <= 1


def test_without_hindsight_what_is_told_is_final() -> None:
    results = run([cells(t, 8) for t in range(14)], lag_frames=0)
    assert [(t, told(r.events)[0][1]) for t, r in enumerate(results) if r.events is not None] == [(8, "confirmed")]


def test_a_threshold_keeps_doubtful_divisions_quiet() -> None:
    movie = [cells(t, 8) for t in range(14)]
    sure = next(r.events.probability[0] for r in run(movie) if r.events is not None)
    doubtful = [cells(t, 8, apart_px=42.0) for t in range(14)]
    unsure = next(r.events.probability[0] for r in run(doubtful) if r.events is not None)
    assert 0.5 < unsure < sure
    between = float(0.5 * (unsure + sure)) if sure - unsure > 1e-3 else float(sure)
    assert any(r.events is not None for r in run(movie, division_probability=between - 1e-6))
    assert all(r.events is None for r in run(doubtful, division_probability=between))


def test_organelles_that_split_are_left_to_others() -> None:
    results = run([cells(t, 8) for t in range(14)], label=2, cell_gate_px=40.0)
    assert all(result.events is None for result in results)
    assert results[-1].tracks is not None
    assert (results[-1].tracks.parent_id >= 0).sum() == 2


@pytest.mark.parametrize("divide", [False, True])
def test_spots_have_daughters_where_asked(divide: bool) -> None:
    results = run([cells(t, 8) for t in range(14)], label=0, spot_gate_px=40.0, spots_divide=divide)
    assert any(result.events is not None for result in results) == divide
    assert results[-1].tracks is not None
    assert (results[-1].tracks.parent_id >= 0).sum() == (2 if divide else 0)


def test_what_earlier_models_told_is_kept() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    one = np.array([5], np.int32)
    other = Events(one, one, 0 * one, 0 * one, *(np.ones(1, np.float32),) * 3, one, one)
    for t in range(9):
        x, y, radius = cells(t, 8).T
        frame = a_frame(FIELD, t)
        before = Result(frame, detections=detections_of(x, y, radius, radius**2, 1), events=other if t > 6 else None)
        events = tracker.step([frame], before).events
        assert [kind for kind, *_ in told(events)] == ([] if t < 7 else [5] if t == 7 else [5, 0])


def test_a_division_is_confirmed_under_its_settled_names() -> None:
    teller = DivisionTeller(0.5, settles=True)
    teller.tell(7, family(1, 2, 3))
    assert told(teller.news(HERE)) == [(0, "provisional", 7, 1)]
    assert teller.news(HERE) is None
    renamed = Correction(np.array([1]), np.array([40]), np.array([-1]))
    assert settle(teller, 6, no_families(), renamed) == []
    assert settle(teller, 7, family(40, 50, 60, 0.7)) == [(0, "confirmed", 7, 40)]
    assert settle(teller, 7 + PATIENCE, no_families()) == []


def test_a_division_that_hindsight_moves_by_a_frame_is_the_same() -> None:
    teller = DivisionTeller(0.5, settles=True)
    teller.tell(7, family(1, 2, 3))
    teller.news(HERE)
    assert settle(teller, 7, no_families()) == []
    assert settle(teller, 8, family(9, 3, 12)) == [(0, "confirmed", 8, 9)]


def test_a_division_that_hindsight_denies_is_withdrawn_once() -> None:
    teller = DivisionTeller(0.5, settles=True)
    teller.tell(7, family(1, 2, 3))
    teller.news(HERE)
    assert [settle(teller, 7 + k, no_families()) for k in range(PATIENCE)] == [[]] * PATIENCE
    assert settle(teller, 7 + PATIENCE, no_families()) == [(0, "withdrawn", 7, 1)]
    assert settle(teller, 8 + PATIENCE, no_families()) == []


def test_a_division_found_in_hindsight_alone_is_told_then() -> None:
    teller = DivisionTeller(0.5, settles=True)
    assert settle(teller, 4, family(1, 2, 3)) == [(0, "confirmed", 4, 1)]
    teller.tell(9, family(5, 6, 7))
    assert told(teller.news(HERE)) == [(len(EVENT_KINDS), "provisional", 9, 5)], "ids leave room for other kinds"


def test_a_division_that_becomes_doubtful_is_withdrawn() -> None:
    teller = DivisionTeller(0.8, settles=True)
    teller.tell(7, family(1, 2, 3, 0.79))
    assert teller.news(HERE) is None
    teller.tell(8, family(4, 5, 6, 0.81))
    assert len(told(teller.news(HERE))) == 1
    assert settle(teller, 8, family(4, 5, 6, 0.7)) == []
    assert settle(teller, 8 + PATIENCE, no_families()) == [(0, "withdrawn", 8, 4)]


def test_a_frame_tells_an_event_once() -> None:
    teller = DivisionTeller(0.5, settles=True)
    teller.tell(7, family(1, 2, 3))
    teller.settle(5, family(1, 2, 4), NOTHING)
    assert told(teller.news(HERE)) == [(0, "confirmed", 5, 1)]
    teller.tell(8, family(5, 6, 7))
    teller.give_up(20)
    assert teller.news(HERE) is None


def test_places_are_those_of_the_frame_with_which_it_is_told() -> None:
    teller = DivisionTeller(0.5, settles=True)
    teller.tell(7, family(1, 2, 3, place=(100.0, 50.0)))
    events = teller.news(np.array([90.0, 20.0]))
    assert events is not None
    assert (events.x_px[0], events.y_px[0]) == (10, 30)


def test_open_divisions_stand_when_everything_is_given_up() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    results = []
    for t in range(10 + LONGEST_COAST):
        frame = a_frame(FIELD, t)
        x, y, radius = cells(t, 8).T
        found = detections_of(x, y, radius, radius**2, 1) if t < 9 else None
        results.append(tracker.step([frame], Result(frame, detections=found)))
    check_story(results)
    assert [told(result.events)[0][1] for result in results if result.events is not None] == [
        "provisional",
        "confirmed",
    ]


def test_daughters_carry_on_in_a_frame_of_another_kind_of_object() -> None:
    movie = [cells(t, 8) for t in range(14)]
    tracker = KalmanTracker(INSTRUMENT)
    for t, rows in enumerate(movie):
        x, y, radius = np.vstack([rows, [[rows[0, 0], rows[0, 1], 2.0]]]).T
        label = np.array([*[1] * len(rows), 0])
        frame = replace(a_frame(FIELD, t))
        events = tracker.step([frame], Result(frame, detections=detections_of(x, y, radius, radius**2, label))).events
        assert (events is not None) == (t in (8, 8 + LAG))
