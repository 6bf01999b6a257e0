"""Nuclei and cells that divide: lineages, the light and size of mothers and daughters, rates, room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from living_specimens import made, picture, view, view_of
from pydantic import ValidationError

from smartscope.specimens.dividing_nuclei import DividingNuclei
from smartscope.specimens.migrating_cells import MigratingCells
from smartscope.specimens.placing import apart

BOTH = pytest.mark.parametrize("name", ["dividing_nuclei", "migrating_cells"])


@BOTH
def test_daughters_share_place_light_and_area_of_their_mother(name: str) -> None:
    told = made(name)
    told.advance(20.0)
    events = told.events(0, 20)
    checked = 0
    for change_s, (mother, left, right) in zip(events.change_s, events.ids, strict=True):
        if change_s >= 20:
            continue
        one = made(name)
        one.advance(change_s - 1e-6)
        before = one.objects()
        one.advance(change_s + 1e-6)
        after = one.objects()
        was, now = before.object_id == mother, np.isin(after.object_id, (left, right))
        assert was.sum() == 1
        assert now.sum() == 2
        assert (after.object_id != mother).all()
        assert (after.mother_id[now] == mother).all()
        assert after.molecules[now].sum() == pytest.approx(before.molecules[was][0], rel=1e-9)
        np.testing.assert_allclose(after.x_um[now], before.x_um[was][0], atol=1e-3)
        assert after.molecules[now].min() / after.molecules[now].sum() > 0.3
        checked += 1
    assert checked >= 3


@BOTH
def test_a_division_passes_through_its_phases_and_ends_with_two_that_lie_apart(name: str) -> None:
    told, one = made(name), made(name)
    told.advance(20.0)
    events = told.events(0, 20)
    first = int(np.flatnonzero((events.end_s < 20) & (events.onset_s > 0.2))[0])
    mother, left, right = events.ids[first]
    onset_s, change_s, end_s = events.onset_s[first], events.change_s[first], events.end_s[first]
    phases = []
    for t_s in (onset_s - 0.05, onset_s + 0.05, change_s - 0.05, change_s + 0.05, end_s - 0.05, end_s + 0.1):
        one.advance(t_s)
        objects = one.objects()
        phases.append(int(objects.phase[np.isin(objects.object_id, (mother, left, right))][0]))
    assert phases == [0, 1, 2, 3, 4, 0]
    pair = np.isin(objects.object_id, (left, right))
    gap_um = np.hypot(np.ptp(objects.x_um[pair]), np.ptp(objects.y_um[pair]))
    assert gap_um > 0.8 * objects.radius_um[pair].sum()


@BOTH
def test_a_plate_is_much_brighter_than_what_it_came_from(name: str) -> None:
    told, one, seen = made(name), made(name), view_of(name)
    told.advance(20.0)
    events = told.events(0, 20)
    first = int(np.flatnonzero((events.change_s < 20) & (events.onset_s > 0.2))[0])
    brightest = []
    for t_s in (events.onset_s[first], events.change_s[first] - 0.05):
        one.advance(t_s)
        covered = one.masks(seen) == events.ids[first, 0]
        brightest.append(np.median(picture(one, seen)[covered]))
    assert brightest[1] > 1.8 * brightest[0]


@pytest.mark.parametrize("cycle_h", [2.0, 6.0])
def test_divisions_come_as_often_as_the_cycle_says(cycle_h: float) -> None:
    """A crowd that doubles every cycle: N0 (2^(t / T) - 1) divisions within t."""
    hours = 2.0
    found = 0
    for seed in range(3):
        one = DividingNuclei(seed, nuclei=100, area_um=600.0, cycle_h=cycle_h, time_lapse=3600.0, mitosis_min=20.0)
        one.advance(hours)
        found += int((one.events(0, hours).onset_s > 0).sum())
    assert found == pytest.approx(300 * (2 ** (hours / cycle_h) - 1), rel=0.25)


def test_no_more_divide_than_there_is_room_for() -> None:
    one = DividingNuclei(1, nuclei=20, most=24, cycle_h=1.0, time_lapse=3600.0, mitosis_min=10.0)
    for t_s in np.arange(0.5, 6.0, 0.5):
        one.advance(t_s)
        objects = one.objects()
        assert len(objects) <= 24
        assert (objects.molecules > 40_000).all()
    assert len(objects) == 24
    before = objects.molecules
    one.advance(5.6)
    grown = one.objects().molecules / before
    assert (grown[np.isin(one.objects().object_id, objects.object_id)] > 0.999).all()


@BOTH
def test_neighbours_collide_without_merging(name: str) -> None:
    crowd = {"dividing_nuclei": {"nuclei": 40}, "migrating_cells": {"cells": 30}}[name]
    one = made(name, cycle_h=40.0, **crowd)
    one.advance(30.0)
    objects, covered = one.objects(), one.masks(view_of(name))
    places = np.stack([objects.x_um, objects.y_um], axis=1)
    gap = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(places))
    assert (gap.min(axis=1) > 0.7 * (objects.radius_um + objects.radius_um[gap.argmin(axis=1)])).all()
    assert set(objects.object_id) <= set(np.unique(covered))


def test_nuclei_wander_as_fast_and_as_long_as_they_are_told() -> None:
    """Persistent random walk (Fuerth): <r^2> = 2 v^2 P (t - P (1 - exp(-t / P)))."""
    one = DividingNuclei(1, nuclei=150, area_um=3000.0, cycle_h=400.0, time_lapse=3600.0, speed_um_h=30.0)
    places = []
    for hours in (0.0, 0.1, 2.0):
        one.advance(hours)
        objects = one.objects()
        places.append(dict(zip(objects.object_id, np.stack([objects.x_um, objects.y_um], axis=1), strict=True)))
    for hours, place in zip((0.1, 2.0), places[1:], strict=True):
        expected = 2 * 30.0**2 / 3 * (hours - (1 - np.exp(-3 * hours)) / 3)
        gone = [place[number] - places[0][number] for number in place.keys() & places[0].keys()]
        assert len(gone) > 140
        assert np.square(gone).sum(axis=1).mean() == pytest.approx(expected, rel=0.25)


def test_cells_travel_far_and_stay_within_their_square() -> None:
    one = MigratingCells(2, cells=20, area_um=200.0, time_lapse=600.0, cycle_h=400.0)
    first = one.objects()
    one.advance(60.0)
    objects = one.objects()
    assert np.abs(objects.x_um).max() < 100
    assert np.abs(objects.y_um).max() < 100
    _, before, after = np.intersect1d(first.object_id, objects.object_id, return_indices=True)
    gone = np.hypot(objects.x_um[after] - first.x_um[before], objects.y_um[after] - first.y_um[before])
    assert len(gone) > 17
    assert np.median(gone) > 25


def test_what_is_dark_is_not_painted() -> None:
    one = made("dividing_nuclei")
    lit = view(0.4)
    spot = replace(lit, lit_radius_um=10.0)
    assert 0 < picture(one, spot).sum() < 0.7 * picture(one, lit).sum()


@pytest.mark.parametrize("options", [{"size_split": 0.5}, {"cycle_spread": 1.0}, {"most": 0}, {"nuclei": -1}])
def test_senseless_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DividingNuclei(1, **options)


def test_things_are_spread_apart() -> None:
    places = apart(50, 10.0, np.random.default_rng(1))
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + 100 * np.eye(50)
    assert gaps.min() > 1.2
    assert np.abs(places).max() <= 10
