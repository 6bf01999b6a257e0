"""The picture holds every molecule once, as wide as its error, where its drift says; and is given out as a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from molecule_helpers import PIXEL_NM, blinking, even, result, without_any

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import InputError
from smartscope.frame import Certainty
from smartscope.ports import Instrument
from smartscope.result import Result, SuperResolved
from smartscope_models.localization import canvas, render
from smartscope_models.localization.canvas import Canvas, Copying
from smartscope_models.localization.molecules import Molecules
from smartscope_models.localization.render import Render

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=PIXEL_NM), OpticsConfig())
KNOWN = {"drift_x_nm": 0.0, "drift_y_nm": 0.0, "drift_error_nm": 0.5, "drift_age_s": 0.0, "ring_resolution_nm": 40.0}


def at(x_nm: Any, y_nm: Any, error_nm: float = 10.0, t_s: float = 0.0) -> Molecules:
    x, y = (np.atleast_1d(np.asarray(value, float)) for value in (x_nm, y_nm))
    return Molecules(t_s, x, y, np.full(len(x), error_nm))


def shown(*results: Result, **options: Any) -> SuperResolved:
    """The last picture after these; one each frame."""
    model = Render(INSTRUMENT, **{"every": 1, **options})
    pictures = [model.step([one.frame], one).super_resolved for one in results]
    last = pictures[-1]
    assert last is not None
    return last


def centre_nm(image: np.ndarray, zoom: int) -> tuple[float, float]:
    rows, columns = np.indices(image.shape)
    scale = PIXEL_NM / zoom
    return tuple(float((image * (index + 0.5)).sum() / image.sum() * scale) for index in (columns, rows))  # type: ignore[return-value]


@pytest.mark.parametrize("style", ["gaussian", "histogram"])
def test_a_picture_holds_every_molecule_once(style: str) -> None:
    frames = list(blinking(1, even(40), field_nm=5000.0))
    fine = shown(
        *(result(k, replace(f, x_nm=f.x_nm + 700, y_nm=f.y_nm + 700)) for k, f in enumerate(frames)), style=style
    )
    sure = sum(int((one.error_nm <= 50).sum()) for one in frames)
    assert fine.image.sum() == pytest.approx(sure, rel=1e-4)
    assert fine.image.dtype == np.float32
    assert fine.image.min() >= 0
    assert (fine.scale, fine.image.shape) == (8, (512, 512))
    assert fine.raw_frames == (0, 39)


@settings(max_examples=30, deadline=None)
@given(st.floats(1000, 5000), st.floats(1000, 5000), st.floats(0.8, 3), st.sampled_from([4, 8, 16]))
def test_a_molecule_lies_where_it_lies_and_is_as_wide_as_its_error(x: float, y: float, wide: float, zoom: int) -> None:
    error = wide * PIXEL_NM / zoom
    drawn = Canvas((64, 64), PIXEL_NM, zoom, "gaussian")
    drawn.add(np.array([x]), np.array([y]), np.array([error]))
    image = drawn.image.astype(float)
    assert centre_nm(image, zoom) == pytest.approx((x, y), abs=0.1)
    columns = (np.arange(image.shape[1]) + 0.5) * PIXEL_NM / zoom
    variance = (image.sum(0) * (columns - x) ** 2).sum()
    assert variance == pytest.approx(error**2 + (PIXEL_NM / zoom) ** 2 / 12, rel=0.02)  # integrated over pixels


@settings(max_examples=25, deadline=None)
@given(st.integers(-40, 40), st.integers(-40, 40), st.sampled_from(["gaussian", "histogram"]))
def test_molecules_moved_by_whole_pixels_move_the_picture(dx: int, dy: int, style: Any) -> None:
    rng = np.random.default_rng(2)
    x, y, error = rng.uniform(2000, 4000, 50) + 0.01, rng.uniform(2000, 4000, 50) + 0.01, rng.uniform(5, 30, 50)
    still, moved = (Canvas((64, 64), PIXEL_NM, 8, style) for _ in range(2))
    still.add(x, y, error)
    moved.add(x + dx * 12.5, y + dy * 12.5, error)
    np.testing.assert_allclose(moved.image, np.roll(still.image, (dy, dx), (0, 1)), atol=1e-4)


def test_a_histogram_counts() -> None:
    fine = shown(result(0, at([1003.0, 1008.0, 2001.0], [505.0, 509.0, 3001.0])), style="histogram", zooms=(4,))
    assert fine.image[20, 40] == pytest.approx(2)
    assert fine.image[120, 80] == pytest.approx(1)
    assert np.count_nonzero(fine.image > 1e-6) == 2


def test_coarser_zooms_are_given_out_in_turn_and_show_the_same() -> None:
    model = Render(INSTRUMENT, zooms=(4, 8, 16), every=1)
    found = list(blinking(3, even(6)))
    pictures = [model.step([one.frame], one).super_resolved for one in (result(k, f) for k, f in enumerate(found))]
    assert [fine.scale for fine in pictures if fine] == [4, 8, 16, 4, 8, 16]
    coarse, fine = Canvas((64, 64), PIXEL_NM, 4, "gaussian"), Canvas((64, 64), PIXEL_NM, 16, "gaussian")
    for picture in (coarse, fine):
        picture.add(found[0].x_nm, found[0].y_nm, found[0].error_nm)
    copying = Copying(fine, 4)
    while not copying.go_on():
        pass
    np.testing.assert_allclose(copying.image, coarse.image, atol=1e-5)


def test_large_pictures_are_copied_over_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "COPIED_AT_ONCE", 512 * 128)
    model = Render(INSTRUMENT, every=10)
    frames = [result(k, one) for k, one in enumerate(blinking(4, even(25)))]
    given_out = [k for k, one in enumerate(frames) if model.step([one.frame], one).super_resolved is not None]
    assert given_out == [12, 22]


def test_what_was_given_out_is_never_written_again() -> None:
    model = Render(INSTRUMENT, every=1)
    frames = [result(k, one) for k, one in enumerate(blinking(5, even(10)))]
    first = model.step([frames[0].frame], frames[0]).super_resolved
    assert first is not None
    kept = first.image.copy()
    for one in frames[1:]:
        model.step([one.frame], one)
    np.testing.assert_array_equal(first.image, kept)


def test_a_picture_is_given_out_every_nth_frame_and_only_if_it_changed() -> None:
    model = Render(INSTRUMENT, every=5)
    found = [one if k < 12 else without_any(one) for k, one in enumerate(blinking(6, even(40)))]
    given_out = [k for k, one in enumerate(found) if model.step([result(k, one).frame], result(k, one)).super_resolved]
    assert given_out == [4, 9, 14]


def test_molecules_that_are_not_sure_are_left_out_and_unknown_errors_are_small() -> None:
    fine = shown(result(0, replace(at([1000.0, 2000.0, 3000.0], [1000.0] * 3), error_nm=np.array([10.0, 80.0, 0.0]))))
    assert fine.image.sum() == pytest.approx(2, rel=1e-3)
    assert fine.image[:, 150:170].sum() == 0
    assert fine.image[78:82, 238:242].sum() > 0.99


def test_numbers_that_are_none_are_passed_over() -> None:
    one = result(0, at([1000.0, 2000.0], [1000.0, 1000.0]))
    assert one.localizations is not None
    broken = replace(one.localizations, x_error_px=np.array([np.nan, 0.1], np.float32))
    assert shown(replace(one, localizations=broken)).image.sum() == pytest.approx(1, rel=1e-3)


# ---------------------------------------------------------------- drift


def test_molecules_are_moved_when_their_drift_is_known() -> None:
    """Drawn as if nothing drifted; told after five seconds that all lay 40 nm to the right by then."""
    model = Render(INSTRUMENT, every=1)
    times = np.arange(0, 10, 0.5)
    for k, t_s in enumerate(times):
        age = {"drift_age_s": t_s - (0.0 if t_s < 5 else 5.0)}
        known = {**KNOWN, **age, "drift_x_nm": 0.0 if t_s < 5 else 40.0, "drift_error_nm": 0.01}
        one = result(k, at(3000.0 + 8.0 * t_s, 3000.0, t_s=t_s), **known)
        fine = model.step([one.frame], one).super_resolved
    assert fine is not None
    assert fine.image.sum() == pytest.approx(len(times), rel=1e-3)
    assert centre_nm(fine.image, 8) == pytest.approx((3000, 3000), abs=0.5)
    columns = (np.arange(512) + 0.5) * 12.5
    spread = np.sqrt((fine.image.sum(0) * (columns - 3000) ** 2).sum() / fine.image.sum())
    assert spread < 11.5  # 10 nm of error, and the pixel


def test_molecules_whose_drift_was_nearly_right_stay() -> None:
    model = Render(INSTRUMENT, every=1, moved_nm=3.0)
    for k, t_s in enumerate(np.arange(0, 10, 1.0)):
        known = {**KNOWN, "drift_age_s": t_s % 5, "drift_x_nm": 0.0 if t_s < 5 else 2.0}
        one = result(k, at(3000.0, 3000.0, t_s=t_s), **known)
        fine = model.step([one.frame], one).super_resolved
    assert fine is not None
    assert 2998 < centre_nm(fine.image, 8)[0] < 3000


def test_moving_is_spread_over_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MOVED_AT_ONCE", 10)
    crowd = np.full(100, 3000.0)
    model = Render(INSTRUMENT, every=1)
    found = []
    for k, t_s in enumerate(np.arange(0, 4, 0.1)):
        quality = {**KNOWN, "drift_age_s": t_s} if t_s < 2 else {**KNOWN, "drift_x_nm": 50.0, "drift_age_s": t_s - 2}
        one = result(k, at(crowd, crowd, t_s=t_s) if t_s < 1 else at([], [], t_s=t_s), **quality)
        fine = model.step([one.frame], one).super_resolved
        if t_s >= 1 and fine is not None:
            found.append(fine)
    assert not found  # nothing new, nothing given out
    left = [np.abs(one.found.x_nm[0] - 3000) for one in model._picture._waiting if len(one.found)]
    assert 0 < len(left) < 10


def test_memory_of_what_may_still_be_moved_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MOST_WAITING", 50)
    model = Render(INSTRUMENT, every=1)
    for k in range(20):
        one = result(k, at(np.full(10, 3000.0), np.full(10, 3000.0), t_s=0.1 * k))
        fine = model.step([one.frame], one).super_resolved
        assert model._picture._in_line <= 50
    assert fine is not None
    assert fine.image.sum() == pytest.approx(200, rel=1e-3)


# ---------------------------------------------------------------- fields, verdicts, bad input


def test_another_place_or_region_begins_a_new_picture() -> None:
    model = Render(INSTRUMENT, every=1)
    steps = [result(0, at(3000.0, 3000.0)), result(1, at(1000.0, 1000.0, t_s=0.1), x_um=0.03)]
    steps += [result(2, at(2000.0, 2000.0, t_s=0.2), x_um=7.0), result(3, at(500.0, 900.0, t_s=0.3), edge_px=48)]
    pictures = [model.step([one.frame], one).super_resolved for one in steps]
    totals = [round(float(fine.image.sum()), 2) for fine in pictures if fine]
    assert totals == [1, 2, 1, 1]  # 30 nm are no other place
    assert pictures[2] is not None
    assert pictures[2].raw_frames == (2, 2)
    assert pictures[3] is not None
    assert pictures[3].image.shape == (384, 384)


def test_frames_in_which_the_stage_moved_are_passed_over() -> None:
    model = Render(INSTRUMENT, every=1)
    one, other = result(0, at(3000.0, 3000.0)), result(1, at(1000.0, 1000.0, t_s=0.1))
    moving = replace(other.frame, certainty={"xy": Certainty.MIXED})
    dimmed = replace(other.frame, certainty={"light:laser": Certainty.MIXED})
    model.step([one.frame], one)
    assert model.step([moving], replace(other, frame=moving)).super_resolved is None
    fine = model.step([dimmed], replace(other, frame=dimmed)).super_resolved
    assert fine is not None
    assert fine.image.sum() == pytest.approx(2, rel=1e-3)


def test_without_localizations_there_is_no_picture() -> None:
    model = Render(INSTRUMENT, every=1)
    one = result(0, at(3000.0, 3000.0))
    assert model.step([one.frame], Result(one.frame)).super_resolved is None


def crowd(**quality: float) -> SuperResolved:
    place = np.linspace(1000, 5000, 200)
    return shown(result(0, at(place, place), **quality))


def test_the_verdict_says_what_is_wrong() -> None:
    assert crowd(**KNOWN).verdict == "ok"
    assert crowd(**KNOWN).resolution_nm == 40.0
    assert shown(result(0, at(1000.0, 1000.0), **KNOWN)).verdict == "fail"
    unknown = crowd()
    assert unknown.verdict == "weak"
    assert any("halves" in why for why in unknown.why)
    assert any("drift" in why for why in unknown.why)
    assert unknown.resolution_nm == pytest.approx(525 / 2.8)
    assert "no finer" in crowd(**{**KNOWN, "ring_resolution_nm": 300.0}).why[0]
    assert "missed" in crowd(**KNOWN, recall_health=0.3).why[0]
    assert crowd(**{**KNOWN, "ring_resolution_nm": 15.0}).resolution_nm == 25.0  # two pixels


@pytest.mark.parametrize("zooms", [(), (3, 8), (4, 6)])
def test_zooms_must_divide_the_largest(zooms: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="divides the largest"):
        Render(INSTRUMENT, zooms=zooms)


def test_a_picture_too_large_is_refused_before_the_light_goes_on() -> None:
    model = Render(INSTRUMENT, zooms=(16,))
    with pytest.raises(InputError, match=r"32768 x 32768 pixels.*most_mb.*smaller zoom"):
        model.warm_up((2048, 2048))
    small = Render(INSTRUMENT, most_mb=1.0)
    one = result(0, at(1.0, 1.0))
    with pytest.raises(InputError, match="MB"):
        small.step([one.frame], one)
