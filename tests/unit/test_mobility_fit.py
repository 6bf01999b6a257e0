"""Known motion is found again: diffusion in each class, whatever noise and blur, with errors that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mobility_tracks import Motion, Sight, Table, fractional, simulated

from smartscope_models.mobility.table import CLASSES, Mobility
from smartscope_models.mobility.whole import Conditions, guess_noise, whole_tracks

STEP = float(np.sqrt(4 * 0.1 * 0.05))
"""Root mean square displacement per frame, um."""
MOTIONS = {
    "brownian": Motion(0.1),
    "confined": Motion(0.1, radius=2 * STEP),
    "directed": Motion(0.1, speed=0.6 * STEP / 0.05),
}


def conditions(sight: Sight) -> Conditions:
    """As the sight is."""
    return Conditions(sight.interval_s, sight.exposure * sight.interval_s, sight.noise_um)


def judged(table: Table, sight: Sight, told: Conditions | None = None) -> Mobility:
    """All tracks of a table."""
    return whole_tracks(table.track_id, table.times_s(sight), table.x_um, table.y_um, told or conditions(sight))


def told_apart(found: Mobility, kind: str) -> float:
    """Share of the tracks in this class."""
    return float(np.mean(found.kind == CLASSES.index(kind)))


@pytest.mark.parametrize("kind", MOTIONS)
def test_diffusion_class_and_errors(kind: str) -> None:
    """100 frames, blur, noise and missing points: no bias beyond its own error, and errors that mean what they say."""
    found = judged(simulated(MOTIONS[kind], 60, 100, Sight(), 1), Sight())
    ratio = np.log(found.diffusion_um2_s / 0.1)
    assert abs(np.median(ratio)) < 0.08
    assert np.quantile(np.abs(ratio), 0.68) < np.log(1.3)
    assert told_apart(found, kind) > 0.85
    within = np.abs(found.diffusion_um2_s - 0.1) < 2 * found.diffusion_error_um2_s
    assert within.mean() > 0.85
    chances = found.p_confined + found.p_brownian + found.p_directed
    assert np.allclose(chances, 1)
    assert np.allclose(found.confidence, np.maximum.reduce([found.p_confined, found.p_brownian, found.p_directed]))


def test_speed_and_radius() -> None:
    """Where they mean something, with errors; nothing elsewhere."""
    fast = judged(simulated(MOTIONS["directed"], 30, 100, Sight(), 2), Sight())
    here = fast.kind == 2
    assert np.median(fast.speed_um_s[here]) == pytest.approx(0.6 * STEP / 0.05, rel=0.08)
    off = np.abs(fast.speed_um_s[here] - 0.6 * STEP / 0.05) / fast.speed_error_um_s[here]
    assert 0.5 < np.mean(off < 1) < 0.9
    held = judged(simulated(MOTIONS["confined"], 30, 100, Sight(), 2), Sight())
    here = held.kind == 0
    assert np.median(held.radius_um[here]) == pytest.approx(2 * STEP, rel=0.08)
    assert (np.abs(held.radius_um - 2 * STEP) < 3 * held.radius_error_um)[here].mean() > 0.9
    assert np.isnan(held.speed_um_s[here]).all()
    assert np.isnan(fast.radius_um[fast.kind == 2]).all()


@pytest.mark.parametrize("noise_um", [0.005, 0.03, 0.08])
@pytest.mark.parametrize("exposure", [0.0, 1.0])
def test_noise_and_blur_leave_diffusion_alone(noise_um: float, exposure: float) -> None:
    """From a tenth of the step to more than half of it."""
    sight = Sight(exposure=exposure, noise_um=noise_um)
    found = judged(simulated(MOTIONS["brownian"], 60, 100, sight, 3), sight)
    assert np.exp(np.mean(np.log(found.diffusion_um2_s / 0.1))) == pytest.approx(1, abs=0.09)


def test_blur_that_is_not_told_is_seen_in_the_answer() -> None:
    """The correction is no decoration: without it the same tracks give less diffusion."""
    sight = Sight(exposure=1.0, noise_um=0.01)
    table = simulated(MOTIONS["brownian"], 60, 100, sight, 4)
    sharp = judged(table, sight, Conditions(sight.interval_s, 0.0, 0.01))
    told = judged(table, sight)
    assert np.median(sharp.diffusion_um2_s) < 0.93 * np.median(told.diffusion_um2_s)


def test_noise_that_nobody_told_is_found() -> None:
    """All tracks together say how well they are localised."""
    sight = Sight(noise_um=0.04)
    table = simulated(MOTIONS["brownian"], 60, 100, sight, 5)
    columns = table.track_id, table.times_s(sight), table.x_um, table.y_um
    assert guess_noise(*columns, 0.05, 0.04).noise_um == pytest.approx(0.04, rel=0.15)


@pytest.mark.parametrize("alpha", [0.5, 0.8, 1.4])
def test_measured_exponent_needs_no_class(alpha: float) -> None:
    """Fractional Brownian motion is none of the three; its exponent is measured all the same."""
    sight = Sight(exposure=0.0)
    found = judged(fractional(alpha, 60, 200, sight, 3), sight)
    assert np.median(found.alpha_measured) == pytest.approx(alpha, abs=0.06)
    assert np.median(found.mss_slope_measured) == pytest.approx(alpha / 2, abs=0.05)


def test_longer_tracks_say_more() -> None:
    """Errors fall, and the last points count where the window is full."""
    sight = Sight()
    table = simulated(MOTIONS["brownian"], 20, 300, sight, 6)
    columns = table.track_id, table.times_s(sight), table.x_um, table.y_um
    short, whole = (whole_tracks(*columns, conditions(sight), window) for window in (64, 1024))
    assert np.median(whole.diffusion_error_um2_s) < 0.7 * np.median(short.diffusion_error_um2_s)
    last = np.concatenate([np.flatnonzero(table.track_id == k)[-64:] for k in range(20)])
    only = whole_tracks(*(column[last] for column in columns), conditions(sight))
    assert np.allclose(only.diffusion_um2_s, short.diffusion_um2_s, rtol=1e-3)


def test_short_still_and_broken_tracks() -> None:
    """Too short, one place only, not finite: no verdict, no exception, neighbours untouched."""
    sight = Sight()
    good = simulated(MOTIONS["brownian"], 1, 50, sight, 7)
    still = np.full(20, 5.0)
    ids = np.concatenate([good.track_id, np.full(20, 1), np.full(5, 2), np.full(9, 3)])
    time = np.concatenate([good.times_s(sight), np.arange(20) * 0.05, np.arange(5) * 0.05, np.arange(9) * 0.05])
    x = np.concatenate([good.x_um, still, np.arange(5.0), np.full(9, np.nan)])
    found = whole_tracks(ids, time, x, x, conditions(sight))
    assert found.track_id.tolist() == [0, 1, 2]
    assert np.isfinite(found.diffusion_um2_s).tolist() == [True, False, False]
    assert found.kind[1:].tolist() == [-1, -1]
    assert np.isnan(found.confidence[1:]).all()
    assert len(whole_tracks(ids[:0], time[:0], x[:0], x[:0], conditions(sight))) == 0
    assert guess_noise(ids[:1], time[:1], x[:1], x[:1], 0.05, 0.0).noise_um > 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.floats(-5, 5, width=32),
            st.sampled_from([0.0, 1.0, -3.5, 1e6, float("nan"), float("inf")]) | st.floats(-50, 50),
        ),
        min_size=1,
        max_size=80,
    ),
    st.floats(0, 1),
    st.floats(1e-4, 10),
)
def test_whatever_comes(rows: list[tuple[int, float, float]], exposure: float, noise_um: float) -> None:
    """Any times, any places: figures are finite and possible, or absent."""
    ids, time, x = (np.array(column) for column in zip(*rows, strict=True))
    found = whole_tracks(ids, time.astype(float), x, -x, Conditions(0.1, 0.1 * exposure, noise_um))
    known = np.isfinite(found.diffusion_um2_s)
    assert (found.diffusion_um2_s[known] > 0).all()
    assert np.isfinite(found.diffusion_error_um2_s[known]).all()
    assert np.isfinite(found.alpha[known]).all()
    assert ((found.kind >= 0) == known).all()
