"""Prediction on Brownian, directed and switching motion: never worse than the last place, better where it can be."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.policies.motion import Motion, Sighting

FRAME_NS = 20_000_000
NOISE = 0.5
WALK = 1.0 / 0.02
"""Variance per second of random steps of 1 a frame."""


def _path(kind: str, chance: random.Random, length: int = 200) -> Iterator[tuple[float, float]]:
    """Motions of the tracking literature, pixels per frame: random steps of 1, or 3 straight on, or both in turn."""
    x = y = 0.0
    heading, directed = chance.uniform(0, 6.28), kind == "directed"
    for _ in range(length):
        yield x, y
        heading += chance.gauss(0, 0.08)
        if kind == "switching" and chance.random() < 0.03:
            directed = chance.random() < 0.5
        step = (3 * math.cos(heading), 3 * math.sin(heading), 0.3) if directed else (0.0, 0.0, 1.0)
        x, y = x + step[0] + chance.gauss(0, step[2]), y + step[1] + chance.gauss(0, step[2])


def _sighting(t: int, x: float, y: float, walk: float = WALK) -> Sighting:
    return Sighting(t * FRAME_NS, x, y, NOISE, walk)


def _errors(kind: str, delay_frames: int, walk: float = WALK) -> tuple[float, float, float]:
    """Root-mean-square error of the prediction, of the last place; share of errors within two sigma of the forecast."""
    chance, predicted2, held2, within, count = random.Random(5), 0.0, 0.0, 0, 0
    for _ in range(20):
        path, motion = list(_path(kind, chance)), None
        for t in range(len(path) - delay_frames):
            seen = _sighting(t, path[t][0] + chance.gauss(0, NOISE), path[t][1] + chance.gauss(0, NOISE), walk)
            motion = Motion.begun(seen) if motion is None else motion.seen(seen)
            if t < 10:
                continue
            target, forecast = path[t + delay_frames], motion.forecast((t + delay_frames) * FRAME_NS)
            predicted2 += math.dist(forecast.place_um, target) ** 2
            held2 += math.dist((seen.x_um, seen.y_um), target) ** 2
            within += abs(forecast.x_um - target[0]) < 2 * forecast.sigma_x_um
            count += 1
    return math.sqrt(predicted2 / count), math.sqrt(held2 / count), within / count


@pytest.mark.parametrize("delay_frames", [1, 3, 8])
def test_never_worse_than_the_last_place_on_brownian_motion(delay_frames: int) -> None:
    predicted, held, _ = _errors("brownian", delay_frames)
    assert predicted < 1.02 * held


@pytest.mark.parametrize(("kind", "gain"), [("directed", 4.9), ("switching", 2.2)])
def test_leads_a_target_that_goes_somewhere(kind: str, gain: float) -> None:
    predicted, held, _ = _errors(kind, 4)
    assert gain * predicted < held


@pytest.mark.parametrize("kind", ["brownian", "directed", "switching"])
def test_says_how_sure_it_is(kind: str) -> None:
    """Two sigma hold about 95 % of a Gaussian; more is caution, less would lose targets."""
    *_, within = _errors(kind, 4)
    assert within > 0.9


def test_learns_the_noise_it_was_told_wrongly() -> None:
    """A tracker that thinks the motion ten times wilder costs little."""
    assert _errors("switching", 4, 10 * WALK)[0] < 1.15 * _errors("switching", 4)[0]


def test_believes_the_tracker_at_first() -> None:
    """A target chosen this moment is led by what its track says, as far as that is sure of itself."""
    sure = Sighting(0, 0.0, 0.0, 0.1, 1.0, 5.0, 0.0, 0.1, 0.99)
    assert Motion.begun(sure).forecast(100_000_000).x_um == pytest.approx(0.5, abs=0.05)
    unsure = Sighting(0, 0.0, 0.0, 0.1, 1.0, 5.0, 0.0, 0.1, 0.1)
    assert Motion.begun(unsure).forecast(100_000_000).x_um < 0.02


def test_a_target_at_rest_stays() -> None:
    motion = Motion.begun(_sighting(0, 1.0, 2.0))
    for i in range(1, 60):
        motion = motion.seen(_sighting(i, 1.0, 2.0))
    assert motion.forecast(10**10).place_um == pytest.approx((1.0, 2.0), abs=1e-3)


def test_a_course_may_end_and_turn() -> None:
    """So its end is unsure along and across; a walk of the same noise is surer of its place."""
    motion = Motion.begun(_sighting(0, 0.0, 0.0, 1.0))
    for i in range(1, 40):
        motion = motion.seen(_sighting(i, 3.0 * i, 0.0))
    near, far = (motion.forecast(motion.t_ns + frames * FRAME_NS) for frames in (1, 20))
    assert near.x_um == pytest.approx(3.0 * 40, abs=0.5)
    walked = math.sqrt(motion.walk_um2_s * 0.4)
    assert min(far.sigma_x_um, far.sigma_y_um) > 3 * max(near.sigma_um, walked)


def test_sets_out_again_as_it_went_last() -> None:
    """After a course and a rest the first steps of the next course lead farther than those of a target never seen to
    go."""
    chance = random.Random(3)

    def after(frames: int) -> Motion:
        motion = Motion.begun(_sighting(0, 0.0, 0.0))
        for i in range(1, frames + 60):
            x = 3.0 * min(i, frames)
            motion = motion.seen(_sighting(i, x + chance.gauss(0, 1), chance.gauss(0, 1)))
        for i in (1, 2, 3):
            motion = motion.seen(_sighting(frames + 59 + i, 3.0 * frames + 3.0 * i, 0.0))
        return motion

    assert after(60).memory.heading.argmax() == 0
    ahead = [after(frames).forecast((frames + 66) * FRAME_NS).x_um - 3.0 * (frames + 3) for frames in (60, 0)]
    assert ahead[0] > ahead[1] + 0.3


def test_a_tracker_without_knowledge_of_motion_is_waited_for() -> None:
    """Its first frame tells no diffusion; the second begins."""
    first = Motion.begun(_sighting(0, 0.0, 0.0, 0.0))
    assert first.forecast(10**9).place_um == pytest.approx((0.0, 0.0), abs=1e-6)
    second = _sighting(1, 1.0, 0.0)
    assert first.seen(second) == Motion.begun(second)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=60))
def test_any_sightings_give_a_finite_prediction(rows: list[tuple[int, float, float]]) -> None:
    """Also unordered and repeated ones; a prediction for the past is that of the last sighting's time."""
    motion = Motion.begun(Sighting(*rows[0], 0.5, 1.0))
    for row in rows[1:]:
        motion = motion.seen(Sighting(*row, 0.5, 1.0))
    later = motion.forecast(motion.t_ns + 10**8)
    assert all(math.isfinite(v) for v in (*later.place_um, later.sigma_x_um, later.sigma_y_um))
    assert motion.forecast(0) == motion.forecast(motion.t_ns)
