"""A calibration says what it is worth: nothing where all is well, one line for each thing that is not good enough."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_sensor import SCMOS_LEVELS_E, Sensor

from smartscope.camera_calibration import PhotonTransfer, photon_transfer
from smartscope.camera_calibration.shrinkage import Shrunk
from smartscope.camera_calibration.verdict import (
    gain_nonlinearity,
    report,
    response_nonlinearity,
    warnings,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> PhotonTransfer:
    sensor = Sensor(tmp_path_factory.mktemp("sensor"), gain_spread=0.08)
    dark = sensor.dark()
    return photon_transfer(dark, sensor.lights(SCMOS_LEVELS_E, 100, dark))


def said(found: PhotonTransfer, **changes: Any) -> list[str]:
    return list(warnings(replace(found, **changes)))


def exposed(found: PhotonTransfer, bend: float) -> PhotonTransfer:
    """Exposures as a camera would have them whose signal bends by so much towards the top."""
    top = max(level.signal_adu for level in found.levels)
    levels = [
        replace(level, exposure_ms=level.signal_adu * (1 + bend * level.signal_adu / top)) for level in found.levels
    ]
    return replace(found, levels=tuple(levels))


def test_a_good_calibration_has_nothing_to_say(good: PhotonTransfer) -> None:
    assert said(good) == []
    assert said(exposed(good, 0.0)) == []


def test_the_report_is_json_with_errors_beside_values(good: PhotonTransfer) -> None:
    figures = json.loads(json.dumps(report(good), allow_nan=False))
    assert figures["electrons_per_adu"]["value"] == good.electrons_per_adu
    assert 0 < figures["electrons_per_adu"]["standard_error"] < 0.001
    assert figures["maps"]["gain"]["used"] is True
    assert figures["maps"]["gain"]["error_of_a_pixel"] == pytest.approx(4.6, abs=0.3)  # √(2 / 1000 frames), %
    assert figures["maps"]["read noise"]["spread_of_pixels"] == pytest.approx(25, abs=3)
    assert figures["maps"]["offset"]["spread_of_pixels"] == pytest.approx(2, abs=0.1)
    assert figures["dark_frames"] == 400
    assert [level["signal_e"] for level in figures["levels"]] == pytest.approx([0.9 * e for e in SCMOS_LEVELS_E], 0.02)
    assert figures["response_nonlinearity"] is None
    column, row = figures["hot_pixels"]["xy_px"][0]
    assert good.hot[row, column]
    assert figures["hot_pixels"]["number"] == good.hot.sum()


def test_a_map_that_is_not_good_enough(good: PhotonTransfer) -> None:
    vague = Shrunk(good.slope.values, 0.01 * 2.17, 0.018 * 2.17)
    (line,) = said(good, slope=vague)
    assert line.startswith("gain map: 1.8 % error of a pixel, spread of the sensor about 1 %: using the sensor's gain")
    (line,) = said(good, offset=Shrunk(good.offset.values, 0.1, 0.4))
    assert line.startswith("offset map: 0.4 ADU error of a pixel, spread of the sensor about 0.1 ADU")
    (line,) = said(good, read_variance=Shrunk(good.read_variance.values, 0.1, 0.2))
    assert line.startswith("read noise map: 10 % error of a pixel, spread of the sensor about 5 %")


def test_levels_that_are_not_good_enough(good: PhotonTransfer) -> None:
    first, *rest = good.levels
    (line,) = said(good, levels=(replace(first, steadiness=0.9), *rest))
    assert line.startswith("the scene changed during 20 e")
    (line,) = said(good, levels=(replace(first, drift=0.25), *rest))
    assert line == "the light drifted by 25% during 20 e (compensated)"
    left_out, few = said(good, levels=(replace(first, slope_adu=float("nan"), usable=0.2), *rest))
    assert left_out == "20 e left out: 80% of its pixels are near saturation or dead"
    assert few.startswith("9 light levels used")
    (line,) = said(good, saturation_adu=5e5)
    assert line == "the brightest level is at 8% of saturation: nothing is known above it"


def test_a_camera_that_is_not_linear(good: PhotonTransfer) -> None:
    *rest, last = good.levels
    (line,) = said(good, levels=(*rest, replace(last, slope_adu=last.slope_adu * 0.9)))
    assert line.startswith("the gain changes by 9% between levels")
    (line,) = said(exposed(good, 0.2))
    assert line.startswith("brightness leaves a straight line over exposure by ")
    assert response_nonlinearity(exposed(good, 0.0)) < 1e-6
    assert np.isnan(gain_nonlinearity(replace(good, levels=good.levels[:1])))


def test_a_scene_that_flickered_or_a_fit_that_cannot_be(good: PhotonTransfer) -> None:
    (line,) = said(good, chi2=1.7)
    assert line.startswith("levels scatter around the fit 1.70 times as much as counting explains")


def test_dark_frames_that_are_cut_or_too_quiet(good: PhotonTransfer) -> None:
    histogram = good.dark.histogram.copy()
    histogram[0] = histogram.sum() // 50
    (line,) = said(good, dark=replace(good.dark, histogram=histogram))
    assert line.startswith("2.0% of the dark counts are 0: the offset is set too low")
    (line,) = said(good, read_noise_e=0.1)
    assert line.startswith("the dark noise, 0.22 ADU, is lost in the rounding")


def test_too_many_bad_pixels(good: PhotonTransfer) -> None:
    many = np.zeros_like(good.hot)
    many[:4] = True
    assert said(good, hot=many) == ["6.2% of the pixels are hot"]
    assert said(good, odd=many) == ["6.2% of the pixels are without a gain of their own"]


def test_hot_pixels_are_listed_as_x_and_y(tmp_path: Path, good: PhotonTransfer) -> None:
    one = np.zeros_like(good.hot)
    one[3, 7] = True
    assert report(replace(good, hot=one))["hot_pixels"] == {"number": 1, "xy_px": [[7, 3]]}
