"""The dose ledger against its own formula, and its sums against how they were asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.config import DoseConfig, LightConfig, OpticsConfig
from smartscope.safety.ledger import DoseLedger

SECOND = 1_000_000_000
OPTICS = OpticsConfig(illuminated_diameter_um=80)
BLUE = LightConfig(name="blue", wavelength_nm=488, transmission=0.5)
GATED = LightConfig(name="gated", wavelength_nm=640, transmission=0.4, gated_by_camera=True)


def ledger(**config: float) -> DoseLedger:
    return DoseLedger(DoseConfig(**config), OPTICS, (BLUE, GATED), pixel_size_nm=100)


def test_dose_is_irradiance_times_time() -> None:
    book = ledger()
    book.set_light("blue", 2.0, 0)
    expected = 2e-3 * 0.5 / (math.pi * (40e-4) ** 2) * 3
    assert book.state(3 * SECOND).spent_j_per_cm2 == pytest.approx(expected, rel=1e-12)
    assert book.state(3 * SECOND).rate_j_per_cm2_s == pytest.approx(expected / 3, rel=1e-12)
    assert book.peek().per_mw_j_per_cm2_s["blue"] == pytest.approx(expected / 6, rel=1e-12)


def test_photons_are_counted_per_pixel_area() -> None:
    book = ledger()
    book.set_light("blue", 1.0, 0)
    book.advance(SECOND)
    most = book.by_field()[0]
    joules_on_pixel = most.j_per_cm2 * (100e-7) ** 2
    photon_joule = 6.62607015e-34 * 299_792_458 / 488e-9
    assert most.photons_per_pixel == pytest.approx(joules_on_pixel / photon_joule, rel=1e-9)


def test_gated_light_counts_during_exposures_only() -> None:
    book = ledger()
    book.set_light("gated", 1.0, 0)
    full = book.state(SECOND).spent_j_per_cm2
    book.set_exposure_duty(0.25, SECOND)
    assert book.state(2 * SECOND).spent_j_per_cm2 == pytest.approx(1.25 * full)
    assert book.on_fraction("gated", 2 * SECOND) == pytest.approx(0.125)


def test_a_step_within_the_lit_disc_brings_no_fresh_budget() -> None:
    book = ledger(field_um=25)
    book.set_light("blue", 1.0, 0)
    spent = book.state(SECOND).spent_j_per_cm2
    book.move(30, 0, SECOND)
    assert book.state(SECOND).spent_j_per_cm2 == spent
    book.move(200, 0, SECOND)
    assert book.state(SECOND).spent_j_per_cm2 == 0
    assert not any(abs(field.x_um) > 40 + 25 for field in book.by_field())


def test_exhausted_at_is_the_last_moment_within_the_budget() -> None:
    book = ledger(budget_j_per_cm2=100)
    assert book.exhausted_at_ns(0) is None
    book.set_light("blue", 5.0, 0)
    end_ns = book.exhausted_at_ns(0)
    assert end_ns is not None
    assert book.state(end_ns).spent_j_per_cm2 == pytest.approx(100, rel=1e-8)
    assert book.forecast().has_budget(end_ns - 10)
    assert not book.has_budget(end_ns + 10)
    assert book.exhausted_at_ns(end_ns + 10) == end_ns + 10


def test_without_a_budget_nothing_is_exhausted() -> None:
    book = ledger()
    book.set_light("blue", 5.0, 0)
    assert book.exhausted_at_ns(SECOND) is None
    assert book.state(SECOND).remaining_j_per_cm2 == math.inf


def test_a_photon_budget_is_shown_as_its_worst_case() -> None:
    book = ledger(max_photons_per_pixel=1e12)
    book.set_light("gated", 5.0, 0)  # 640 nm has the most photons per joule
    end_ns = book.exhausted_at_ns(0)
    assert end_ns is not None
    state = book.state(end_ns // 2)
    assert state.remaining_j_per_cm2 == pytest.approx(state.spent_j_per_cm2, rel=1e-6)


def test_a_forecast_leaves_the_accounts_alone() -> None:
    book = ledger()
    book.set_light("blue", 1.0, 0)
    book.forecast().advance(SECOND)
    assert book.peek().spent_j_per_cm2 == 0


def test_on_fraction_forgets_what_is_older_than_ten_seconds() -> None:
    book = ledger()
    book.set_light("blue", 1.0, 0)
    book.set_light("blue", 0.0, 4 * SECOND)
    assert book.on_fraction("blue", 4 * SECOND) == pytest.approx(0.4)
    assert book.on_fraction("blue", 12 * SECOND) == pytest.approx(0.2)
    book.set_light("blue", 1.0, 30 * SECOND)
    assert book.on_fraction("blue", 31 * SECOND) == pytest.approx(0.1)  # looking ahead, as if it stayed on


STEPS = st.lists(
    st.tuples(
        st.integers(0, SECOND),
        st.sampled_from(["blue", "gated", "move", "duty"]),
        st.floats(0, 50, allow_nan=False),
    ),
    max_size=20,
)


def replayed(steps: list[tuple[int, str, float]], looks: int) -> list[object]:
    """Accounts after the steps, with ``looks`` extra calls of ``advance`` between two of them."""
    book, t_ns = ledger(), 0
    for wait_ns, what, value in steps:
        for look in range(1, looks + 1):
            book.advance(t_ns + wait_ns * look // (looks + 1))
        t_ns += wait_ns
        if what == "move":
            book.move(4 * value, -value, t_ns)
        elif what == "duty":
            book.set_exposure_duty(value / 50, t_ns)
        else:
            book.set_light(what, value, t_ns)
    book.advance(t_ns + SECOND)
    return [book.by_field(), book.on_fraction("blue", t_ns), book.on_fraction("gated", t_ns)]


@given(STEPS, st.integers(1, 5))
def test_sums_do_not_depend_on_how_often_the_ledger_is_asked(steps: list[tuple[int, str, float]], looks: int) -> None:
    assert replayed(steps, looks) == replayed(steps, 0)
