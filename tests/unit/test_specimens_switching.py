"""Switching: stays are exponential, rates follow the light, occupancy the master equation, cuts change nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from smartscope.specimens.photophysics import FAR_RED_DYE
from smartscope.specimens.switching import BLEACHED, BLINK, OFF, ON, Rates, Switching, SwitchingOptions
from smartscope.specimens.waiting import drop_first, push

RED, VIOLET = 650.0, 405.0
PLAIN = SwitchingOptions(blink_share=0, bleach_share=0, spontaneous_per_s=0, brightness_spread=0)


def full(molecules: np.ndarray) -> np.ndarray:
    return np.ones(len(molecules))


def all_on(count: int, options: SwitchingOptions, seed: int = 1) -> Switching:
    """Switched on by a flood of violet light; without red light they stay on."""
    made = Switching(count, options, seed)
    made.live(1.0, {VIOLET: 1e5}, full)
    assert (made.states == ON).all()
    made.begin_exposure()
    return made


def on_times_ms(red_w_per_cm2: float, options: SwitchingOptions = PLAIN, count: int = 20_000) -> np.ndarray:
    """One stay of each molecule, from the light that it emitted."""
    one = all_on(count, options)
    one.live(20.0, {RED: red_w_per_cm2}, full)
    assert (one.states == OFF).all()
    rates = Rates.of(options, {RED: red_w_per_cm2})
    photons = one.glowing()[1]
    assert len(photons) == count
    return 1e3 * photons * (1 + rates.saturation) / rates.emission


# ---------------------------------------------------------------- rates


def test_on_times_are_exponential_with_the_mean_asked_for() -> None:
    times = on_times_ms(1000.0)
    assert stats.kstest(times, stats.expon(scale=30.0).cdf).pvalue > 0.01
    assert times.mean() == pytest.approx(30.0, rel=0.03)


@pytest.mark.parametrize("red_w_per_cm2", [250.0, 500.0, 4000.0])
def test_leaving_the_on_state_is_proportional_to_the_excitation(red_w_per_cm2: float) -> None:
    assert on_times_ms(red_w_per_cm2).mean() == pytest.approx(30.0 * 1000.0 / red_w_per_cm2, rel=0.03)


@pytest.mark.parametrize("violet_w_per_cm2", [0.0, 20.0, 40.0, 160.0])
def test_activation_is_linear_in_violet_light_beside_a_spontaneous_rate(violet_w_per_cm2: float) -> None:
    count, rate = 200_000, 4e-3 + 1e-3 * violet_w_per_cm2
    one = Switching(count, SwitchingOptions(spontaneous_per_s=4e-3, activation_cm2_per_j=1e-3), 5)
    one.live(2.0, {VIOLET: violet_w_per_cm2} if violet_w_per_cm2 else {}, full)
    share = 1 - np.exp(-2.0 * rate)
    assert abs((one.states == ON).sum() - count * share) < 5 * np.sqrt(count * share)


def test_photons_grow_with_excitation_up_to_saturation() -> None:
    lasting = PLAIN.model_copy(update={"on_time_ms": 1e9})

    def photons_per_s(red_w_per_cm2: float) -> float:
        one = all_on(10, lasting)
        one.live(0.5, {RED: red_w_per_cm2}, full)
        return float(one.glowing()[1].mean() / 0.5)

    assert photons_per_s(1.0) == pytest.approx(FAR_RED_DYE.emitted(1.0, RED), rel=2e-3)
    assert photons_per_s(1000.0) == pytest.approx(FAR_RED_DYE.emitted(1000.0, RED) / 2, rel=1e-6)
    assert photons_per_s(1e6) == pytest.approx(FAR_RED_DYE.emitted(1000.0, RED), rel=2e-3)


def test_other_colours_do_what_their_spectrum_says() -> None:
    off_peak = Rates.of(PLAIN, {640.0: 1000.0, 488.0: 1000.0})
    assert 0.85 < off_peak.leaving / Rates.of(PLAIN, {RED: 1000.0}).leaving < 0.95
    assert off_peak.activated < 1e-2 * Rates.of(PLAIN, {VIOLET: 1000.0}).activated
    assert Rates.of(PLAIN, {VIOLET: 1000.0}).emission < 1e-9 * off_peak.emission


def test_brightness_varies_from_molecule_to_molecule_about_one() -> None:
    spread = PLAIN.model_copy(update={"on_time_ms": 1e9, "brightness_spread": 0.3})
    one = all_on(50_000, spread)
    one.live(0.02, {RED: 1000.0}, full)
    relative = one.glowing()[1] / (0.02 * FAR_RED_DYE.emitted(1000.0, RED) / 2)
    assert relative.mean() == pytest.approx(1, rel=0.01)
    assert np.log(relative).std() == pytest.approx(0.3, rel=0.02)


# ---------------------------------------------------------------- occupancy


def generator(options: SwitchingOptions, irradiance: dict[float, float], light: float = 1.0) -> np.ndarray:
    """The master equation's matrix, d/dt occupancy = occupancy @ matrix, written down state by state."""
    rates = Rates.of(options, irradiance)
    leaving, blinks = rates.leaving * light, rates.blinks_below - rates.bleached_below
    matrix = np.zeros((4, 4))
    matrix[OFF, ON] = rates.spontaneous + rates.activated * light
    matrix[BLINK, ON] = rates.recovering + rates.recovered * light
    matrix[ON, BLEACHED] = leaving * rates.bleached_below
    matrix[ON, BLINK] = leaving * blinks
    matrix[ON, OFF] = leaving * (1 - rates.blinks_below)
    return matrix - np.diag(matrix.sum(axis=1))


def assert_occupied(states: np.ndarray, expected: np.ndarray) -> None:
    """Within five standard errors in every state."""
    seen = np.bincount(states, minlength=4)
    error = np.sqrt(len(states) * expected * (1 - expected))
    assert (np.abs(seen - len(states) * expected) < 5 * error + 1).all()


def test_occupancy_follows_the_master_equation_through_changing_light() -> None:
    options = SwitchingOptions(blink_share=0.4, bleach_share=0.1, spontaneous_per_s=0.5, activation_cm2_per_j=0.02)
    one = Switching(100_000, options, 2)
    expected = np.array([1.0, 0, 0, 0])
    for red, violet, seconds in [(1000.0, 0.0, 0.1), (1000.0, 400.0, 0.03), (200.0, 100.0, 0.05), (0.0, 0.0, 0.02)]:
        light = {RED: red, VIOLET: violet}
        one.live(seconds, light, full)
        expected = expected @ linalg.expm(generator(options, light) * seconds)
        assert_occupied(one.states, expected)


def test_where_light_is_weaker_the_same_equation_holds_with_less_light() -> None:
    options = SwitchingOptions(spontaneous_per_s=0.5, activation_cm2_per_j=0.02, blink_share=0.3)
    one, light = Switching(100_000, options, 2), {RED: 800.0, VIOLET: 300.0}
    relative = np.repeat([0.0, 0.2, 1.0, 0.7], 25_000)
    for _ in range(10):
        one.live(0.02, light, lambda molecules: relative[molecules])
    for level in (0.0, 0.2, 1.0, 0.7):
        expected = np.array([1.0, 0, 0, 0]) @ linalg.expm(generator(options, light, level) * 0.2)
        assert_occupied(one.states[relative == level], expected)


def test_without_bleaching_a_steady_state_is_reached() -> None:
    options = SwitchingOptions(bleach_share=0, blink_share=0.3, spontaneous_per_s=0.2)
    one, light = Switching(100_000, options, 3), {RED: 1000.0, VIOLET: 1000.0}
    one.live(20.0, light, full)
    kept = [OFF, ON, BLINK]
    steady = np.zeros(4)
    steady[kept] = np.abs(linalg.null_space(generator(options, light)[np.ix_(kept, kept)].T)[:, 0])
    assert_occupied(one.states, steady / steady.sum())


def test_bleaching_empties_the_pool_for_good() -> None:
    one = Switching(5000, SwitchingOptions(bleach_share=0.5), 1)
    left = []
    for _ in range(40):
        one.live(1.0, {RED: 1000.0, VIOLET: 2000.0}, full)
        left.append((one.states != BLEACHED).sum())
    assert left[0] > left[3] > left[-1] == 0
    one.begin_exposure()
    one.live(1.0, {RED: 1000.0, VIOLET: 1e5}, full)
    assert len(one.glowing()[0]) == 0


# ---------------------------------------------------------------- exposures, cuts and seeds


def lived(edges_s: list[float], seed: int = 1, count: int = 2000) -> tuple[np.ndarray, ...]:
    """States, and who glowed how much between 0.2 s and 0.5 s, when time is cut at these places besides."""
    one = Switching(count, SwitchingOptions(activation_cm2_per_j=0.01), seed)
    times = sorted({0.0, 0.1, 0.2, 0.5, *edges_s})
    for before, after in pairwise(times):
        if before == 0.2:
            one.begin_exposure()
        one.live(after - before, {RED: 900.0, VIOLET: 100.0 if before < 0.1 else 30.0}, full)
    return one.states, *one.glowing()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.001, 0.499), max_size=60))
def test_a_life_does_not_depend_on_how_time_is_cut(edges_s: list[float]) -> None:
    states, molecules, photons = lived(edges_s)
    whole = lived([])
    np.testing.assert_array_equal(states, whole[0])
    np.testing.assert_array_equal(molecules, whole[1])
    np.testing.assert_allclose(photons, whole[2], rtol=1e-9, atol=1e-6)


def test_exposures_share_the_photons_of_all_among_them() -> None:
    parts, whole = (all_on(500, SwitchingOptions(spontaneous_per_s=1.0)) for _ in range(2))
    summed = np.zeros(500)
    for _ in range(25):
        parts.begin_exposure()
        parts.live(0.02, {RED: 1000.0}, full)
        molecules, photons = parts.glowing()
        assert (photons > 0).all()
        summed[molecules] += photons
    whole.live(0.5, {RED: 1000.0}, full)
    molecules, photons = whole.glowing()
    np.testing.assert_allclose(summed[molecules], photons, rtol=1e-9)
    assert summed.sum() == pytest.approx(photons.sum())


def test_a_stay_begins_and_ends_within_exposures() -> None:
    one = Switching(200_000, SwitchingOptions(brightness_spread=0, blink_share=0, bleach_share=0.5), 4)
    light = {RED: 1000.0, VIOLET: 20.0}
    one.live(0.5, light, full)
    one.begin_exposure()
    one.live(0.02, light, full)
    rates = Rates.of(SwitchingOptions(), light)
    share = one.glowing()[1] * (1 + rates.saturation) / rates.emission / 0.02
    # on throughout: on at its begin (30 of 30 + 20 ms), and not gone before its end
    assert (share > 1 - 1e-9).mean() == pytest.approx(0.6 * np.exp(-2 / 3), abs=0.06)
    assert share.max() <= 1 + 1e-9
    assert 0.1 < ((share > 0.05) & (share < 0.5)).mean() < 0.6


def test_the_seed_decides() -> None:
    one, again, other = lived([]), lived([]), lived([], seed=2)
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[2], again[2])
    assert (one[0] != other[0]).any()


def test_two_molecules_of_one_seed_live_apart() -> None:
    one = all_on(20_000, PLAIN)
    one.live(5.0, {RED: 1000.0}, full)
    photons = one.glowing()[1]
    assert abs(np.corrcoef(photons[:-1], photons[1:])[0, 1]) < 0.03


# ---------------------------------------------------------------- the queue


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_whoever_is_due_first_comes_first(due: list[float]) -> None:
    left, heap, size = np.array(due), np.zeros(len(due), np.int64), 0
    for number in range(len(due)):
        size = push(heap, size, number, left)
    came = []
    while size:
        came.append(left[heap[0]])
        size = drop_first(heap, size, left)
    assert came == sorted(due)
