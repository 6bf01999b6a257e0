"""The mean time on of blinking molecules is told whatever is missed, dropped or found late."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from molecule_helpers import blinking, even, without_any

from smartscope_models.localization.molecules import Molecules
from smartscope_models.localization.on_time import MeanOnTime, OnTime


def measured(frames: Iterable[Molecules], exposure_ms: float = 20.0) -> MeanOnTime | None:
    on_time = OnTime()
    for found in frames:
        on_time.take(found, exposure_ms)
    return on_time.mean


@pytest.mark.parametrize("seen_from", [0.02, 0.4])
@pytest.mark.parametrize("missed", [0.0, 0.2])
@pytest.mark.parametrize("on_time_ms", [12.0, 30.0, 100.0])
def test_the_time_on_is_told_whatever_is_missed(on_time_ms: float, missed: float, seen_from: float) -> None:
    found = measured(blinking(1, even(800), on_time_ms=on_time_ms, missed=missed, seen_from=seen_from))
    assert found is not None
    assert found.error_ms < 0.1 * on_time_ms
    assert abs(found.on_time_ms - on_time_ms) < 3.5 * found.error_ms


def test_the_stated_error_is_the_scatter() -> None:
    found = [measured(blinking(seed, even(300), missed=0.1)) for seed in range(30)]
    assert all(found)
    scatter = np.std([one.on_time_ms for one in found if one])
    assert scatter == pytest.approx(np.mean([one.error_ms for one in found if one]), rel=0.45)


def test_frames_that_were_dropped_make_intervals_longer() -> None:
    starts = even(1200)[np.random.default_rng(2).random(1200) > 0.3]
    found = measured(blinking(2, starts))
    assert found is not None
    assert found.on_time_ms == pytest.approx(30.0, rel=0.1)


def test_every_second_frame_will_do() -> None:
    found = measured(blinking(3, even(800, 40.0), on_time_ms=60.0))
    assert found is not None
    assert abs(found.on_time_ms - 60.0) < 3.5 * found.error_ms


def test_neighbours_that_come_by_chance_are_taken_out() -> None:
    """Three molecules a square micrometre: one in forty finds another in its place in the next frame."""
    found = measured(blinking(4, even(500), per_second=4000.0))
    assert found is not None
    assert found.on_time_ms == pytest.approx(30.0, rel=0.06)


def test_beads_are_no_molecules_that_stay_on() -> None:
    rng = np.random.default_rng(5)
    beads = rng.uniform(0, 6400, (3, 2))

    def with_beads(found: Molecules) -> Molecules:
        x, y = (
            np.append(column, beads[:, k] + rng.normal(0, 2, 3)) for k, column in enumerate((found.x_nm, found.y_nm))
        )
        return Molecules(found.t_s, x, y, np.append(found.error_nm, [2.0] * 3))

    found = measured(with_beads(one) for one in blinking(5, even(1500)))
    assert found is not None
    assert found.on_time_ms == pytest.approx(30.0, rel=0.08)


def test_errors_that_are_not_known_are_taken_to_be_usual() -> None:
    found = measured(replace(one, error_nm=np.zeros(len(one))) for one in blinking(6, even(600)))
    assert found is not None
    assert found.on_time_ms == pytest.approx(30.0, rel=0.1)


def test_too_few_molecules_tell_nothing() -> None:
    assert OnTime().mean is None
    assert measured(blinking(7, even(50), per_second=20.0)) is None
    assert measured(blinking(7, even(500), on_time_ms=2.0)) is None  # hardly any is seen twice


def test_molecules_that_never_go_off_have_no_time_on() -> None:
    places = np.arange(10) * 600.0
    error = np.full(10, 10.0)
    assert measured(Molecules(k * 0.02, places, places, error) for k in range(90)) is None


def test_sites_that_flicker_at_random_have_no_time_on() -> None:
    """What returns in the next frame no more often than five frames later is not the same molecule still on."""
    rng = np.random.default_rng(8)
    sites = rng.uniform(0, 6400, (100, 2))
    frames = [sites[rng.random(100) < 0.3] for _ in range(200)]
    found = measured(Molecules(k * 0.02, *place.T, np.full(len(place), 10.0)) for k, place in enumerate(frames))
    assert found is None or found.on_time_ms < 10.0


def test_another_exposure_begins_anew_and_a_pause_forgets_who_was_on() -> None:
    on_time, frames = OnTime(), list(blinking(9, even(400)))
    for found in frames:
        on_time.take(found, 20.0)
    before = on_time.mean
    assert before is not None
    on_time.take(replace(frames[-1], t_s=1e4), 20.0)  # all that was on is seen again, hours later
    assert on_time.mean == before
    on_time.take(replace(frames[-1], t_s=1e4 + 0.02), 50.0)
    assert on_time.mean is None


def test_a_time_that_comes_twice_does_no_harm() -> None:
    frames = list(blinking(10, even(300)))
    found = measured(one for pair in zip(frames, frames, strict=True) for one in pair)
    assert found is None or found.on_time_ms > 0


def test_minutes_of_nothing_are_taken() -> None:
    frames = list(blinking(11, even(300)))
    on_time = OnTime()
    for found in frames:
        on_time.take(found, 20.0)
    before = on_time.mean
    for k in range(200):
        on_time.take(replace(without_any(frames[-1]), t_s=frames[-1].t_s + 0.02 * (k + 1)), 20.0)
    assert before is not None
    assert on_time.mean is not None
    assert on_time.mean.on_time_ms == pytest.approx(before.on_time_ms, rel=0.05)  # the last ones' ends are counted


def test_what_is_remembered_is_bounded_and_follows() -> None:
    """A laser that is turned up shortens the time on, and the figure with it."""
    on_time = OnTime()
    starts = even(800)
    for found in blinking(12, starts, on_time_ms=60.0, per_second=1500.0):
        on_time.take(found, 20.0)
    long = on_time.mean
    for found in blinking(13, starts, on_time_ms=30.0, per_second=3000.0):
        on_time.take(replace(found, t_s=found.t_s + 16.0), 20.0)
    assert long is not None
    assert on_time.mean is not None
    assert on_time.mean.on_time_ms < 0.7 * long.on_time_ms


FEW = list(blinking(14, even(250)))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 20.0), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_slower_molecules_under_a_slower_camera_are_the_same(slower: float, x_nm: float, y_nm: float) -> None:
    plain = measured(FEW)
    changed = measured(
        (Molecules(one.t_s * slower, one.x_nm + x_nm, one.y_nm + y_nm, one.error_nm) for one in FEW), 20.0 * slower
    )
    assert plain is not None
    assert changed is not None
    assert changed.on_time_ms == pytest.approx(slower * plain.on_time_ms, rel=0.03)
    assert changed.error_ms == pytest.approx(slower * plain.error_ms, rel=0.05)


@pytest.mark.data
def test_binding_times_of_a_simulated_paint_movie(data: Path) -> None:
    """Picasso's test movie: mean binding time 500 ms at 300 ms a frame, as its parameters say."""
    path = data / "picasso" / "testdata_locs.hdf5"
    if not path.exists():
        pytest.skip(f"no {path}; set SMARTSCOPE_DATA")
    if importlib.util.find_spec("h5py") is None:
        pytest.skip("reading Picasso's localisations needs h5py")
    import h5py

    with h5py.File(path) as file:
        locs = file["locs"][:]
    frames = [locs[locs["frame"] == k] for k in range(locs["frame"].max() + 1)]
    on_time = OnTime()
    for k, rows in enumerate(frames):
        error = 160.0 * np.hypot(rows["lpx"], rows["lpy"]) / np.sqrt(2)
        on_time.take(Molecules(0.3 * k, 160.0 * rows["x"], 160.0 * rows["y"], error.astype(float)), 300.0)
    assert on_time.mean is not None
    assert on_time.mean.on_time_ms == pytest.approx(500.0, abs=4 * on_time.mean.error_ms)
