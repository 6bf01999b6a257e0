"""Mitochondria: nothing is lost when they split or fuse, and events are as long and as frequent as they are told."""

from __future__ import annotations

import numpy as np
import pytest
from living_specimens import made, picture, view_of
from pydantic import ValidationError

from smartscope.result import EVENT_KINDS
from smartscope.specimens.mitochondria import Mitochondria
from smartscope.specimens.worm_motion import PITCH_UM

FISSION, FUSION = EVENT_KINDS.index("fission"), EVENT_KINDS.index("fusion")
SEEN = view_of("mitochondria")


def present(one: Mitochondria, until_s: float) -> float:
    """Part of the time with an event in it."""
    events, t_s = one.events(0, until_s), np.arange(0, until_s, 0.1)
    held = (t_s >= events.onset_s[:, None]) & (t_s < events.end_s[:, None])
    return float(held.any(axis=0).mean())


def test_who_splits_and_who_fuses_keeps_all_molecules() -> None:
    told = made("mitochondria", seed=5)
    told.advance(30.0)
    events = told.events(0, 30)
    kinds = []
    for kind, change_s, (a, b, c) in zip(events.kind, events.change_s, events.ids, strict=True):
        if change_s >= 30:
            continue
        one = made("mitochondria", seed=5)
        one.advance(change_s - 1e-6)
        before = one.objects()
        one.advance(change_s + 1e-6)
        after = one.objects()
        gone, come = ([a], [b, c]) if kind == FISSION else ([a, b], [c])
        was, now = np.isin(before.object_id, gone), np.isin(after.object_id, come)
        assert was.sum() == len(gone)
        assert now.sum() == len(come)
        assert not np.isin(after.object_id, gone).any()
        assert np.isin(after.mother_id[now], gone).all()
        assert after.molecules[now].sum() == pytest.approx(before.molecules[was].sum(), rel=1e-6)
        kinds.append(kind)
    assert {FISSION, FUSION} == set(kinds)


def test_the_place_of_an_event_is_where_it_begins() -> None:
    one = made("mitochondria", seed=5)
    one.advance(30.0)
    again = made("mitochondria", seed=5)
    events = one.events(0, 30)
    for kind, onset_s, x_um, y_um, ids in zip(
        events.kind, events.onset_s, events.x_um, events.y_um, events.ids, strict=True
    ):
        again.advance(onset_s + 1e-6)
        covered = again.masks(SEEN)
        x_px, y_px = SEEN.to_pixels(np.array([[x_um, y_um]]))[0]
        rows, lines = np.nonzero(np.isin(covered, ids))
        nearest_um = np.hypot(rows - y_px, lines - x_px).min() * SEEN.pixel_um
        assert nearest_um < (0.3 if kind == FISSION else 1.6)


def test_a_constriction_dims_before_two_part() -> None:
    options = {"mitochondria": 6, "length_um": (4.0, 5.0), "fissions_per_min": 60.0, "fusions_per_min": 0.0,
               "event_s": 12.0, "carried_um_s": 0.0, "diffusion_um2_s": 0.0, "background_per_um2": 0.0}  # fmt: skip
    one, again = Mitochondria(2, **options), Mitochondria(2, **options)
    one.advance(10.0)
    event = one.events(0, 10)
    onset_s, change_s, end_s = event.onset_s[0], event.change_s[0], event.end_s[0]
    assert (change_s - onset_s, end_s - onset_s) == pytest.approx((8.0, 12.0))
    x_px, y_px = SEEN.to_pixels(np.array([[event.x_um[0], event.y_um[0]]]))[0].round().astype(int)
    there = []
    for t_s in (onset_s, (onset_s + change_s) / 2, change_s, end_s):
        again.advance(t_s)
        image = picture(again, SEEN)
        there.append(image[y_px - 1 : y_px + 2, x_px - 1 : x_px + 2].mean() / image.max())
    assert there[0] > 1.3 * there[1] > 1.3 * there[2] > there[3]


def test_events_are_as_frequent_as_told() -> None:
    found = {FISSION: 0, FUSION: 0}
    for seed in range(4):
        one = Mitochondria(seed, mitochondria=40, area_um=35.0, fissions_per_min=4.0, fusions_per_min=3.0, event_s=10.0)
        one.advance(300.0)
        for kind in found:
            found[kind] += int((one.events(0, 300).kind == kind).sum())
    assert found[FISSION] == pytest.approx(80, abs=27)  # three standard deviations of a Poisson law
    assert found[FUSION] == pytest.approx(60, abs=24)


@pytest.mark.parametrize("seed", range(3))
def test_events_are_never_present_for_longer_than_told(seed: int) -> None:
    one = Mitochondria(seed, max_present=0.15, fissions_per_min=2.0, fusions_per_min=2.0, event_s=30.0)
    one.advance(1200.0)
    events = one.events(0, 1200)
    assert (events.onset_s[1:] >= events.end_s[:-1]).all()
    assert 0.10 < present(one, 1200.0) <= 0.15
    for until_s in (250.0, 600.0):
        assert present(one, until_s) <= 0.15


def test_the_usual_rate_leaves_most_of_the_time_quiet() -> None:
    shares = []
    for seed in range(5):
        one = Mitochondria(seed)
        one.advance(600.0)
        shares.append(present(one, 600.0))
    assert 0.04 < np.mean(shares) < 0.22


def test_tubes_keep_their_length_and_do_not_tear() -> None:
    one = made("mitochondria")
    for t_s in (0.0, 7.0, 20.0):
        one.advance(t_s)
        worms = one._worms
        for worm in worms:
            steps = np.linalg.norm(np.diff(worm["xy_um"][: worm["count"]], axis=0), axis=1)
            assert steps.max() < 1.6 * PITCH_UM
            assert steps.mean() == pytest.approx(PITCH_UM, rel=0.2)
    assert np.abs(worms["xy_um"][np.arange(48) < worms["count"][:, None]]).max() < 10.2


def test_without_long_ones_or_neighbours_nothing_happens() -> None:
    short = Mitochondria(1, length_um=(0.8, 0.8), fissions_per_min=60.0, fusions_per_min=0.0)
    alone = Mitochondria(1, mitochondria=1, length_um=(1.0, 1.0), fissions_per_min=60.0, fusions_per_min=60.0)
    for one in (short, alone):
        one.advance(20.0)
        assert len(one.events(0, 20)) == 0


def test_carried_ones_go_along_themselves() -> None:
    still = Mitochondria(4, fissions_per_min=0, fusions_per_min=0, carried_um_s=0.0, diffusion_um2_s=0.0)
    moving = Mitochondria(4, fissions_per_min=0, fusions_per_min=0, carried_um_s=0.5, diffusion_um2_s=0.0)
    gone = []
    for one in (still, moving):
        before = one.objects()
        one.advance(20.0)
        after = one.objects()
        gone.append(np.hypot(after.x_um - before.x_um, after.y_um - before.y_um).mean())
    assert gone[1] > 4 * gone[0]


@pytest.mark.parametrize(
    "options", [{"length_um": (0.1, 2.0)}, {"length_um": (1.0, 20.0)}, {"width_um": 3.0}, {"max_present": 0.0}]
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Mitochondria(1, **options)
