"""What holds for every living specimen: a life of its own, light that adds up, and a truth that is in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from living_specimens import MAKERS, electrons_per_molecule, everywhere, made, picture, view_of
from pydantic import ValidationError

from smartscope.errors import InputError
from smartscope.result import EVENT_KINDS
from smartscope.specimens.living import Diary, LivingSpecimen, Objects
from smartscope.specimens.protocol import Light

NAMES = pytest.mark.parametrize("name", MAKERS)
BODIES = pytest.mark.parametrize("name", [name for name in MAKERS if name != "vesicles"])


def columns(objects: Objects) -> np.ndarray:
    """All that is told of them."""
    return np.stack([getattr(objects, name) for name in Objects.__slots__])


@NAMES
def test_same_seed_same_life_whenever_it_is_looked_at(name: str) -> None:
    often, seldom = made(name), made(name)
    for t_s in np.arange(0, 12, 0.37):
        often.advance(t_s)
        often.begin_exposure()
        often.look()
        picture(often, view_of(name))
        often.masks(view_of(name))
    for one in (often, seldom):
        one.advance(12.0)
        one.begin_exposure()
    np.testing.assert_array_equal(columns(often.objects()), columns(seldom.objects()))
    np.testing.assert_array_equal(often.events(0, 12).ids, seldom.events(0, 12).ids)
    np.testing.assert_array_equal(picture(often, view_of(name)), picture(seldom, view_of(name)))
    other = made(name, seed=4)
    other.advance(12.0)
    assert np.abs(other.objects().x_um[:5] - seldom.objects().x_um[:5]).max() > 0.5


@NAMES
def test_the_picture_holds_the_light_of_all_objects(name: str) -> None:
    one, seen = made(name), view_of(name)
    for t_s in (0.0, 5.03, 11.7):
        one.advance(t_s)
        shining = one.objects().molecules.sum() * electrons_per_molecule(seen)
        assert picture(one, seen).sum(dtype=float) == pytest.approx(shining, rel=3e-3)


@NAMES
def test_a_picture_is_the_mean_of_the_looks_of_its_exposure(name: str) -> None:
    one, seen = made(name), view_of(name)
    single = []
    for t_s in (3.0, 3.4):
        one.advance(t_s)
        one.begin_exposure()
        one.look()
        single.append(picture(one, seen))
    again = made(name)
    again.begin_exposure()
    for t_s in (3.0, 3.4):
        again.advance(t_s)
        again.look()
    np.testing.assert_allclose(picture(again, seen), (single[0] + single[1]) / 2, rtol=1e-4, atol=1e-3)
    assert np.abs(single[1] - single[0]).max() > 0.01 * single[0].max()


@BODIES
def test_the_picture_does_not_jump_where_one_becomes_two_or_two_become_one(name: str) -> None:
    told, one, seen = made(name), made(name), view_of(name)
    told.advance(20.0)
    events = told.events(0, 20)
    moments = np.unique(events.change_s[(events.change_s > 0.1) & (events.change_s < 20)])
    assert len(moments) >= 3
    for change_s in moments:
        one.advance(change_s - 1e-4)
        before, there = picture(one, seen), len(one.objects())
        one.advance(change_s + 1e-4)
        after = picture(one, seen)
        assert len(one.objects()) != there
        assert np.abs(after - before).max() < 0.01 * before.max()


@BODIES
def test_masks_lie_on_the_light_of_their_objects(name: str) -> None:
    one, seen = made(name), view_of(name)
    one.advance(4.0)
    labels, image, objects = one.masks(seen), picture(one, seen), one.objects()
    places = seen.to_pixels(np.stack([objects.x_um, objects.y_um], axis=1))
    off, area = [], []
    for number, place, radius_um in zip(objects.object_id, places, objects.radius_um, strict=True):
        rows, lines = np.nonzero(labels == number)
        weight = image[rows, lines]
        off.append(
            np.hypot((weight * lines).sum() / weight.sum() - place[0], (weight * rows).sum() / weight.sum() - place[1])
        )
        area.append(len(rows) * seen.pixel_um**2 / (np.pi * radius_um**2))
    assert set(np.unique(labels)) - {0} <= set(objects.object_id)
    assert np.median(off) < 0.8
    assert np.median(area) == pytest.approx(1, abs=0.1)
    assert image[labels > 0].sum() > (0.6 if name == "mitochondria" else 0.9) * image.sum()


@NAMES
def test_light_bleaches_and_only_light_does(name: str) -> None:
    one, still = made(name), made(name, bleaching=False)
    for living in (one, still):
        living.advance(1.0)
        living.expose(488.0, everywhere(300.0))
    assert 0.6 < one.objects().remaining.max() < 0.8
    np.testing.assert_allclose(still.objects().remaining, 1)
    seen = view_of(name)
    share = one.objects().remaining.mean()
    assert picture(one, seen).sum() == pytest.approx(share * picture(still, seen).sum(), rel=1e-3)


@NAMES
def test_signal_follows_dose_and_the_light_at_each_place(name: str) -> None:
    one, seen = made(name, background_per_um2=20.0), view_of(name)
    full = picture(one, seen)
    np.testing.assert_allclose(picture(one, seen, dose=0.4), 4 * full, rtol=1e-4)
    assert (picture(one, seen, dose=0.0) == 0).all()
    half = np.full(full.shape, 0.5, np.float32)
    dim = Light(lambda places: np.full(len(places), 0.5), half, half)
    np.testing.assert_allclose(picture(one, seen, light=dim), 0.5 * full, rtol=1e-4)


@NAMES
def test_a_part_of_the_sensor_shows_what_the_whole_shows_there(name: str) -> None:
    one, seen = made(name), view_of(name)
    part = replace(seen, roi=replace(seen.roi, x=60, y=80, width=120, height=90))
    inside = np.s_[80:170, 60:180]
    np.testing.assert_allclose(picture(one, part), picture(one, seen)[inside], rtol=1e-3, atol=0.05)
    np.testing.assert_array_equal(one.masks(part), one.masks(seen)[inside])


@NAMES
def test_out_of_focus_the_same_light_is_spread_wider(name: str) -> None:
    one, seen = made(name), view_of(name)
    blurred = picture(one, replace(seen, defocus_um=1.0))
    sharp = picture(one, seen)
    assert blurred.max() < sharp.max()
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.02)


@NAMES
def test_numbers_are_new_and_mothers_known(name: str) -> None:
    one = made(name)
    known: set[int] = set()
    for t_s in np.arange(0.5, 20, 0.5):
        one.advance(t_s)
        objects = one.objects()
        numbers = objects.object_id.tolist()
        assert numbers == sorted(set(numbers))
        assert len(objects) == len(numbers)
        born = set(numbers) - known
        mothers = dict(zip(numbers, objects.mother_id.tolist(), strict=True))
        assert all(mothers[number] in known for number in born if mothers[number] > 0)
        known |= born
        assert (objects.phase < len(one.phases)).all()
    assert max(known) > len(made(name).objects())


@NAMES
def test_ground_truth_tells_the_same(name: str) -> None:
    one = made(name)
    one.advance(2.0)
    truth, objects = one.ground_truth(), one.objects()
    places = truth.spots_um if name == "vesicles" else truth.cells_um
    np.testing.assert_array_equal(places, np.stack([objects.x_um, objects.y_um], axis=1))
    assert len(truth.spots_um) + len(truth.cells_um) == len(objects)
    assert isinstance(one, LivingSpecimen)
    assert truth.t_s == 2.0


@NAMES
def test_events_are_told_of_any_span_and_none_of_the_future(name: str) -> None:
    one = made(name)
    one.advance(20.0)
    told = one.events(0, 20)
    assert len(told) >= 3
    assert (np.diff(told.onset_s) >= 0).all()
    assert (told.onset_s <= told.change_s).all()
    assert (told.change_s <= told.end_s).all()
    assert told.onset_s.max() <= 20
    middle = one.events(8, 9)
    overlapping = (told.onset_s <= 9) & (told.end_s > 8)
    np.testing.assert_array_equal(middle.ids, told.ids[overlapping])
    assert len(made(name).events(0, 20)) == 0


@NAMES
def test_time_does_not_go_back(name: str) -> None:
    one = made(name)
    one.advance(0.5)
    with pytest.raises(InputError, match="cannot go back"):
        one.advance(0.4)


@NAMES
@pytest.mark.parametrize("options", [{"speed": 3}, {"area_um": -1}, {"molecules": 0, "molecules_per_um": 0}])
def test_wrong_options_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        made(name, **options)


@NAMES
def test_nobody_is_there_if_none_are_asked_for(name: str) -> None:
    number = {"dividing_nuclei": "nuclei", "migrating_cells": "cells"}.get(name, name)
    one = made(name, **{number: 0})
    one.advance(3.0)
    assert len(one.objects()) == 0
    assert picture(one, view_of(name)).sum() == 0
    assert (one.masks(view_of(name)) == 0).all()


def test_a_diary_tells_events_in_the_order_of_their_onset() -> None:
    diary = Diary()
    diary.note("fusion", (5.0, 7.0, 9.0), (1.0, 2.0), [4, 5, 6])
    diary.note("arrest", (1.0, 1.0, 6.0), (3.0, 4.0), [2])
    told = diary.between(0, 10)
    assert [EVENT_KINDS[kind] for kind in told.kind] == ["arrest", "fusion"]
    np.testing.assert_array_equal(told.ids, [[2, -1, -1], [4, 5, 6]])
    assert len(diary.between(6.0, 10.0)) == 1
    assert len(diary.between(0.0, 4.9)) == 1
