"""Prediction on Brownian, directed and switching motion: never worse than the last place, better where it can be."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.policies.motion import LONGEST, Sighting, Trail

FRAME_NS = 20_000_000
NOISE = 0.5


def _path(kind: str, chance: random.Random, length: int = 150) -> Iterator[tuple[float, float]]:
    """Motions of the tracking literature, pixels per frame: random steps of 1, or 3 straight on, or both in turn."""
    x = y = 0.0
    heading, directed = chance.uniform(0, 6.28), kind == "directed" or chance.random() < 0.5
    for _ in range(length):
        yield x, y
        if kind == "switching" and chance.random() < 0.03:
            directed, heading = chance.random() < 0.5, chance.uniform(0, 6.28)
        if kind == "brownian" or not directed:
            x, y = x + chance.gauss(0, 1), y + chance.gauss(0, 1)
        else:
            heading += chance.gauss(0, 0.08)
            x, y = (
                x + 3 * math.cos(heading) + chance.gauss(0, 0.3),
                y + 3 * math.sin(heading) + chance.gauss(0, 0.3),
            )


def _errors(kind: str, delay_frames: int) -> tuple[float, float]:
    """Root-mean-square error of the prediction, and of the last place."""
    chance, predicted2, held2, count = random.Random(5), 0.0, 0.0, 0
    for _ in range(24):
        path = list(_path(kind, chance))
        trail: Trail | None = None
        for t in range(len(path) - delay_frames):
            seen = Sighting(t * FRAME_NS, path[t][0] + chance.gauss(0, NOISE), path[t][1] + chance.gauss(0, NOISE))
            trail = Trail((seen,)) if trail is None else trail.extended(seen)
            if t < 20:
                continue
            target = path[t + delay_frames]
            predicted2 += math.dist(trail.predicted((t + delay_frames) * FRAME_NS), target) ** 2
            held2 += math.dist((seen.x_um, seen.y_um), target) ** 2
            count += 1
    return math.sqrt(predicted2 / count), math.sqrt(held2 / count)


@pytest.mark.parametrize("delay_frames", [1, 3, 8])
def test_never_worse_than_the_last_place_on_brownian_motion(delay_frames: int) -> None:
    predicted, held = _errors("brownian", delay_frames)
    assert predicted < 1.02 * held


@pytest.mark.parametrize(("kind", "gain"), [("directed", 4), ("switching", 1.6)])
def test_leads_a_target_that_goes_somewhere(kind: str, gain: float) -> None:
    predicted, held = _errors(kind, 4)
    assert gain * predicted < held


def test_a_target_at_rest_stays() -> None:
    trail = Trail((Sighting(0, 1.0, 2.0),))
    for i in range(1, 20):
        trail = trail.extended(Sighting(i * FRAME_NS, 1.0, 2.0))
    assert trail.predicted(10**10) == (1.0, 2.0)


def test_frames_of_many_kilohertz_make_no_longer_trail() -> None:
    trail = Trail((Sighting(0, 0.0, 0.0),))
    for i in range(1, 4000):
        trail = trail.extended(Sighting(i * 100_000, i * 1e-3, 0.0))
    assert len(trail.sightings) == LONGEST
    assert trail.predicted(trail.last.t_ns + 10**8)[0] == pytest.approx(trail.last.x_um + 1.0, rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=60))
def test_any_sightings_give_a_finite_prediction(rows: list[tuple[int, float, float]]) -> None:
    """Also unordered and repeated ones; a prediction for the past is the last place."""
    trail = Trail((Sighting(*rows[0]),))
    for row in rows[1:]:
        trail = trail.extended(Sighting(*row))
    assert all(math.isfinite(v) for v in trail.predicted(trail.last.t_ns + 10**8))
    assert trail.predicted(0) == (trail.last.x_um, trail.last.y_um)
