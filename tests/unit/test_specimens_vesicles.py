"""Vesicles: each mode moves as physics says, modes switch as told, and flashes rise, spread and decay."""

from __future__ import annotations

import numpy as np
import pytest
from living_specimens import electrons_per_molecule, picture, view

from smartscope.result import EVENT_KINDS
from smartscope.specimens.vesicle_motion import BROWNIAN, CONFINED, DIRECTED, DOCKED, FUSING
from smartscope.specimens.vesicles import Vesicles

ARREST, FLASH = EVENT_KINDS.index("arrest"), EVENT_KINDS.index("flash")
FOREVER = {"mode_s": 1e9, "dockings_per_min": 0.0, "area_um": 400.0, "background_per_um2": 0.0}


def paths(one: Vesicles, until_s: float, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Places (T, N, 2) and phases (N,) of vesicles that never change."""
    places = []
    for t_s in np.arange(0, until_s, step_s):
        one.advance(t_s)
        objects = one.objects()
        places.append(np.stack([objects.x_um, objects.y_um], axis=1))
    return np.array(places), objects.phase


def test_each_mode_moves_as_it_should() -> None:
    places, phase = paths(Vesicles(1, vesicles=600, **FOREVER), 5.0, 0.05)

    def spread_um2(lag: int, mode: int) -> float:
        steps = places[lag:, phase == mode] - places[:-lag, phase == mode]
        return float((steps**2).sum(axis=2).mean())

    assert spread_um2(2, BROWNIAN) == pytest.approx(4 * 0.05 * 0.1, rel=0.05)
    assert spread_um2(40, BROWNIAN) == pytest.approx(4 * 0.05 * 2.0, rel=0.12)
    assert spread_um2(20, DIRECTED) == pytest.approx(0.8**2, rel=0.05)
    assert spread_um2(1, CONFINED) == pytest.approx(4 * 0.12**2 * (1 - np.exp(-0.05 / 0.12**2 * 0.05)), rel=0.05)
    assert spread_um2(60, CONFINED) == pytest.approx(4 * 0.12**2, rel=0.1)


def test_modes_switch_as_often_as_told_and_are_equally_frequent() -> None:
    one = Vesicles(2, vesicles=200, mode_s=2.0, dockings_per_min=0.0)
    one.advance(0.5)
    changed, frequency = [], np.zeros(3)
    before = one.objects().phase
    for t_s in np.arange(1.0, 20.0, 0.5):
        one.advance(t_s)
        phase = one.objects().phase
        changed.append((phase != before).mean())
        frequency += np.bincount(phase, minlength=3)
        before = phase
    left = np.exp(-0.5 * 1.5 / 2.0)  # three states, each left at 1/2 per second for either of the others
    assert np.mean(changed) == pytest.approx(2 / 3 * (1 - left), rel=0.1)
    np.testing.assert_allclose(frequency / frequency.sum(), 1 / 3, atol=0.04)


def test_they_dock_wait_and_fuse_as_often_as_told() -> None:
    found = {ARREST: 0, FLASH: 0}
    waited = []
    for seed in range(3):
        one = Vesicles(seed, vesicles=80, dockings_per_min=40.0, docked_s=3.0)
        one.advance(120.0)
        events = one.events(0, 120)
        for kind in found:
            found[kind] += int((events.kind == kind).sum())
        arrests = events.kind == ARREST
        waited += (events.end_s - events.onset_s)[arrests].tolist()
    assert found[ARREST] == pytest.approx(240, abs=47)
    assert found[FLASH] == pytest.approx(0.7 * found[ARREST], abs=25)
    assert np.mean(waited) == pytest.approx(3.0, rel=0.15)


def test_who_is_docked_stands_still_and_who_has_fused_is_gone() -> None:
    one = Vesicles(3, vesicles=30, dockings_per_min=60.0, docked_s=2.0, fusing_share=1.0)
    one.advance(60.0)
    events = one.events(0, 60)
    again = Vesicles(3, vesicles=30, dockings_per_min=60.0, docked_s=2.0, fusing_share=1.0)
    flash = int(np.flatnonzero(events.kind == FLASH)[0])
    number = events.ids[flash, 0]
    arrest = int(np.flatnonzero((events.kind == ARREST) & (events.ids[:, 0] == number))[0])
    assert events.end_s[arrest] == pytest.approx(events.onset_s[flash], abs=0.011)
    phases, places = [], []
    for t_s in (events.onset_s[arrest] + 0.02, events.end_s[arrest] - 0.02, events.onset_s[flash] + 0.02):
        again.advance(t_s)
        objects = again.objects()
        own = objects.object_id == number
        phases.append(int(objects.phase[own][0]))
        places.append((objects.x_um[own][0], objects.y_um[own][0]))
    assert phases == [DOCKED, DOCKED, FUSING]
    assert places[0] == places[1] == places[2] == (events.x_um[flash], events.y_um[flash])
    again.advance(events.end_s[flash] + 0.02)
    assert number not in again.objects().object_id
    assert len(again.objects()) == 30


def test_a_flash_rises_at_once_spreads_and_decays() -> None:
    options = {"vesicles": 1, "dockings_per_min": 60.0, "docked_s": 1.0, "fusing_share": 1.0, "background_per_um2": 0.0,
               "area_um": 10.0, "bleaching": False}  # fmt: skip
    one = Vesicles(4, **options)
    one.advance(30.0)
    events = one.events(0, 30)
    flash_s = events.onset_s[events.kind == FLASH][0]
    again, seen = Vesicles(4, **options), view(0.1)
    light, width_um2 = [], []
    rows, lines = np.indices((320, 320))
    for t_s in (flash_s - 0.1, flash_s + 0.05, flash_s + 0.5, flash_s + 1.05):
        again.advance(t_s)
        image = picture(again, seen)
        light.append(image.sum())
        x, y = (image * lines).sum() / image.sum(), (image * rows).sum() / image.sum()
        width_um2.append((image * ((lines - x) ** 2 + (rows - y) ** 2)).sum() / image.sum() / 2 * 0.01)
    assert light[1] / light[0] == pytest.approx(3 * np.exp(-0.05), rel=0.01)
    assert light[3] / light[1] == pytest.approx(np.exp(-1.0), rel=0.01)
    assert width_um2[2] - width_um2[1] == pytest.approx(2 * 0.2 * 0.45, rel=0.05)


def test_one_that_moves_within_the_exposure_is_smeared() -> None:
    one = Vesicles(1, vesicles=30, **{**FOREVER, "area_um": 20.0})
    sharp, seen = Vesicles(1, vesicles=30, **{**FOREVER, "area_um": 20.0}), view(0.1)
    for t_s in np.linspace(0.0, 0.5, 16):
        one.advance(t_s)
        one.look()
    sharp.advance(0.25)
    smeared, still = picture(one, seen), picture(sharp, seen)
    assert smeared.sum() == pytest.approx(still.sum(), rel=0.02)
    assert np.median(np.sort(smeared.ravel())[-30:]) < 0.95 * np.median(np.sort(still.ravel())[-30:])
    assert one.look_every_s == pytest.approx(0.01)


def test_a_new_one_comes_up_slowly() -> None:
    one = Vesicles(5, vesicles=10, dockings_per_min=120.0, docked_s=0.5, fusing_share=1.0, flash_s=0.2)
    one.advance(20.0)
    flash = one.events(0, 20)
    end_s = flash.end_s[flash.kind == FLASH][0]
    again, light = Vesicles(5, vesicles=10, dockings_per_min=120.0, docked_s=0.5, fusing_share=1.0, flash_s=0.2), []
    again.advance(end_s + 0.02)
    newest = again.objects().object_id.max()
    for t_s in (0.02, 0.5, 1.0):
        again.advance(end_s + t_s)
        objects = again.objects()
        light.append(objects.molecules[objects.object_id == newest][0])
    assert 0 <= light[0] < 0.1 * light[2]
    assert light[0] < light[1] < light[2]


def test_a_spot_is_where_the_truth_says() -> None:
    one, seen = Vesicles(6, vesicles=1, area_um=20.0, background_per_um2=0.0), view(0.1)
    one.advance(3.003)
    image, objects = picture(one, seen), one.objects()
    rows, lines = np.indices(image.shape)
    found = (image * lines).sum() / image.sum(), (image * rows).sum() / image.sum()
    expected = seen.to_pixels(np.stack([objects.x_um, objects.y_um], axis=1))[0]
    assert found == pytest.approx(tuple(expected), abs=0.01)
    assert image.sum() == pytest.approx(objects.molecules[0] * electrons_per_molecule(seen), rel=1e-3)


def test_the_edge_of_the_cell_reflects() -> None:
    one = Vesicles(7, vesicles=50, area_um=5.0, directed_um_s=3.0)
    for t_s in np.arange(0, 20, 0.5):
        one.advance(t_s)
        objects = one.objects()
        assert max(np.abs(objects.x_um).max(), np.abs(objects.y_um).max()) <= 2.5
