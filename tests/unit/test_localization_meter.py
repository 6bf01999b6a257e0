"""The meter's figures on a simulated experiment: right, incremental, kept through whatever an experiment does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from molecule_helpers import PIXEL_NM, blinking, even, moved, result, without_any

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Certainty
from smartscope.optics.psf import add_stamps
from smartscope.ports import Instrument
from smartscope.result import Localizations, Result
from smartscope_models.localization import drift, meter, on_time
from smartscope_models.localization import ring_resolution as halves
from smartscope_models.localization.meter import LocalizationMeter
from smartscope_models.localization.molecules import Molecules, molecules
from smartscope_models.localization.render import Render

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=PIXEL_NM), OpticsConfig())
SITES = np.random.default_rng(1).uniform(400, 6000, (600, 2))


def measured(frames: Iterable[Molecules], model: LocalizationMeter | None = None, **options: Any) -> dict[str, float]:
    model = model or LocalizationMeter(INSTRUMENT, **{"block_s": 2.0, "ring_every_s": 2.0, **options})
    quality: dict[str, float] = {}
    for k, found in enumerate(frames):
        one = result(k, found)
        quality = dict(model.step([one.frame], one).quality)
    return quality


def experiment(seed: int, frames: int = 900, nm_per_s: float = 3.0, **options: Any) -> Iterable[Molecules]:
    found = blinking(seed, even(frames), per_second=1500.0, sites_nm=SITES, **options)
    return (moved(one, nm_per_s * one.t_s, -0.5 * nm_per_s * one.t_s) for one in found)


def test_all_figures_of_an_experiment() -> None:
    quality = measured(experiment(1))
    assert quality["localizations"] > 30_000
    assert quality["on_time_ms"] == pytest.approx(30.0, rel=0.1)  # sites blink so often that some overlap
    assert quality["on_time_error_ms"] < 2
    seen_s = 17.99 - quality["drift_age_s"] - 1.0  # from the middle of the first block
    error_nm = quality["drift_error_nm"]
    assert quality["drift_x_nm"] == pytest.approx(3.0 * seen_s, abs=max(5 * error_nm, 0.5))
    assert quality["drift_y_nm"] == pytest.approx(-1.5 * seen_s, abs=max(5 * error_nm, 0.5))
    assert 15 < quality["ring_resolution_nm"] < 45
    assert all(isinstance(value, float) and math.isfinite(value) for value in quality.values())


def test_drift_is_taken_out_of_the_ring_resolution() -> None:
    still, drifting = (measured(experiment(2, nm_per_s=speed))["ring_resolution_nm"] for speed in (0.0, 6.0))
    assert drifting == pytest.approx(still, rel=0.12)


def test_frames_that_were_never_processed_cost_little() -> None:
    """The newest frame wins: a quarter of them was never seen."""
    whole = list(experiment(3))
    kept = [one for one, keep in zip(whole, np.random.default_rng(3).random(len(whole)) > 0.25, strict=True) if keep]
    quality = measured(kept)
    assert quality["on_time_ms"] == pytest.approx(30.0, rel=0.1)
    assert abs(quality["drift_x_nm"] - 3.0 * (17.99 - quality["drift_age_s"] - 1.0)) < 2


def test_nothing_is_told_of_too_little() -> None:
    assert measured(blinking(4, even(30), per_second=50.0)).keys() == {"localizations"}
    assert measured(map(without_any, blinking(4, even(200)))) == {"localizations": 0.0}


def test_minutes_of_empty_frames_keep_what_was_known() -> None:
    model = LocalizationMeter(INSTRUMENT, block_s=2.0)
    before = measured(experiment(5, 700), model)
    empty = without_any(next(iter(blinking(5, even(1)))))
    soon, after = (measured((replace(empty, t_s=t_s + 0.5 * k) for k in range(400)), model) for t_s in (14.0, 214.0))
    assert after["localizations"] == before["localizations"]
    assert soon["drift_x_nm"] == pytest.approx(3.0 * 12, abs=2)  # the block that was open still ended
    assert after["drift_x_nm"] == soon["drift_x_nm"]
    assert after["drift_age_s"] > 390
    assert after["on_time_ms"] == pytest.approx(before["on_time_ms"], rel=0.02)


def test_another_field_of_view_begins_anew_but_for_the_time_on() -> None:
    model = LocalizationMeter(INSTRUMENT, block_s=2.0)
    before = measured(experiment(6, 600), model)
    one = result(600, next(iter(blinking(6, even(1)))), x_um=20.0)
    after = model.step([one.frame], one).quality
    assert after["localizations"] == len(one.localizations or ())
    assert "drift_x_nm" not in after
    assert after["on_time_ms"] == before["on_time_ms"]


def test_a_frame_without_localizations_or_on_the_move_keeps_the_figures() -> None:
    model = LocalizationMeter(INSTRUMENT, block_s=2.0)
    before = measured(experiment(7, 400), model)
    one = result(400, replace(next(iter(blinking(7, even(1)))), t_s=8.0))
    skipped = model.step([one.frame], Result(one.frame)).quality
    moving = replace(one.frame, certainty={"z": Certainty.MIXED})
    passed = model.step([moving], replace(one, frame=moving)).quality
    assert skipped["localizations"] == passed["localizations"] == before["localizations"]
    assert skipped["on_time_ms"] == before["on_time_ms"]


def test_what_waits_for_its_drift_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_WAITING", 3000)
    model = LocalizationMeter(INSTRUMENT, block_s=60.0)
    for k, found in enumerate(experiment(8, 120)):
        one = result(k, found)
        model.step([one.frame], one)
        assert model._now._in_line <= 3000


def test_frames_that_wait_are_bounded_too_and_empty_ones_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_FRAMES", 7)
    model = LocalizationMeter(INSTRUMENT)
    for k, found in enumerate(blinking(13, even(60), per_second=30.0)):
        one = result(k, found)
        model.step([one.frame], one)
    assert len(model._now._waiting) == 7
    assert all(len(found) for found in model._now._waiting)


def test_settling_is_spread_over_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "SETTLED_AT_ONCE", 50)
    model = LocalizationMeter(INSTRUMENT, block_s=2.0)
    waiting = []
    for k, found in enumerate(experiment(9, 250)):
        one = result(k, found)
        model.step([one.frame], one)
        waiting.append(model._now._in_line)
    drops = -np.diff(waiting)
    assert 0 < drops.max() < 600
    assert (drops > 0).sum() > 10


def test_meter_and_picture_follow_the_same_drift() -> None:
    """A site seen throughout, while everything drifts by 60 nm, stays one spot."""
    model, picture = LocalizationMeter(INSTRUMENT, block_s=2.0), Render(INSTRUMENT, every=50, zooms=(8,))
    site = np.array([[3200.0, 3200.0]])
    fine = None
    for k, (some, here) in enumerate(zip(experiment(10, 1000), blinking(11, even(1000), sites_nm=site), strict=True)):
        drifted = moved(here, 3.0 * here.t_s, -1.5 * here.t_s)
        both = (np.append(getattr(some, name), getattr(drifted, name)) for name in ("x_nm", "y_nm", "error_nm"))
        one = result(k, Molecules(some.t_s, *both))
        so_far = picture.step([one.frame], model.step([one.frame], one))
        fine = so_far.super_resolved or fine
    assert fine is not None
    assert fine.verdict == "ok"
    spot = fine.image[246:270, 246:270].astype(float)
    rows, columns = (np.indices(spot.shape) - 11.5) * 12.5 + 4.5
    widths = [
        math.sqrt((spot * (axis - (spot * axis).sum() / spot.sum()) ** 2).sum() / spot.sum())
        for axis in (rows, columns)
    ]
    assert max(widths) < 25  # errors of 10 to 20 nm drawn as wide; drift that was left would add 17 in x, 9 in y
    assert abs(widths[0] - widths[1]) < 3


def test_molecules_are_counted_from_the_outer_corner_in_nanometres() -> None:
    found = Molecules(0.0, np.array([150.0]), np.array([1230.0]), np.array([12.0]))
    one = result(0, found)
    assert one.localizations is not None
    back = molecules(one.frame, one.localizations, PIXEL_NM)
    assert back.x_nm == pytest.approx(found.x_nm, abs=1e-3)
    assert back.y_nm == pytest.approx(found.y_nm, abs=1e-3)
    assert back.error_nm == pytest.approx(found.error_nm, abs=1e-3)
    broken = replace(one.localizations, y_px=np.array([np.inf], np.float32))
    assert isinstance(broken, Localizations)
    assert len(molecules(one.frame, broken, PIXEL_NM)) == 0


def test_the_meter_warms_up_without_forgetting() -> None:
    model = LocalizationMeter(INSTRUMENT, block_s=2.0)
    before = measured(experiment(12, 300), model)
    model.warm_up((512, 400))
    again = result(300, replace(next(iter(blinking(12, even(1)))), t_s=6.02))
    assert model.step([again.frame], again).quality["localizations"] > before["localizations"]


def test_nothing_compiles_once_the_camera_runs() -> None:
    kernels = (
        on_time._follow,
        drift._lay_over,
        drift._place,
        drift._centred,
        halves._count,
        halves._add_rings,
        add_stamps,
    )
    model, picture = LocalizationMeter(INSTRUMENT, block_s=2.0, ring_every_s=2.0), Render(INSTRUMENT, every=50)
    model.warm_up((64, 64))
    picture.warm_up((64, 64))
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    for k, found in enumerate(experiment(14, 500)):
        one = result(k, found)
        picture.step([one.frame], model.step([one.frame], one))
    assert [list(kernel.signatures) for kernel in kernels] == compiled
