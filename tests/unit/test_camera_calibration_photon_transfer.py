"""Known pixels are found again, as exactly as the number of frames allows; what cannot be a calibration is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_sensor import EMCCD, EMCCD_LEVELS_E, SCMOS, SCMOS_LEVELS_E, SHAPE, Sensor

from smartscope.camera_calibration import Level, PhotonTransfer, photon_transfer
from smartscope.camera_calibration.saturation import saturation_of
from smartscope.camera_calibration.shrinkage import shrunk
from smartscope.errors import InputError

PIXELS = SHAPE[0] * SHAPE[1]


def mean_square(z: np.ndarray) -> float:
    """Mean of z², 1 if the errors are what they are said to be."""
    return float(np.mean(np.square(z)))


def assert_expected(z: np.ndarray, said: float = 1.0) -> None:
    """χ² within five standard errors."""
    assert mean_square(z) == pytest.approx(said, abs=5 * np.sqrt(2 / z.size) + 0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sensor")


@pytest.fixture(scope="module")
def scmos(folder: Path) -> tuple[Sensor, PhotonTransfer]:
    sensor = Sensor(folder, gain_spread=0.08)
    dark = sensor.dark()
    return sensor, photon_transfer(dark, sensor.lights(SCMOS_LEVELS_E, 100, dark))


def test_offset_of_each_pixel(scmos: tuple[Sensor, PhotonTransfer]) -> None:
    sensor, found = scmos
    error = np.sqrt(sensor.dark_variance_adu2 / found.dark.frames)
    assert_expected((found.offset_map - sensor.offset_adu) / error)
    assert found.offset.good
    assert found.offset.spread == pytest.approx(2, rel=0.05)
    assert found.offset_adu == pytest.approx(SCMOS.offset_adu, abs=0.1)


def test_read_noise_of_each_pixel(scmos: tuple[Sensor, PhotonTransfer]) -> None:
    sensor, found = scmos
    assert_expected((found.read_variance.values - np.log(sensor.dark_variance_adu2)) / found.read_variance.error, 0.99)
    assert found.read_noise_e == pytest.approx(SCMOS.read_noise_e, rel=0.02)
    quiet = ~sensor.hot
    true = np.sqrt(sensor.dark_variance_adu2) * sensor.electrons_per_adu
    assert np.abs(found.read_noise_map / true - 1)[quiet].mean() < 0.05
    assert (found.hot == sensor.hot).mean() > 0.999
    assert found.hot[sensor.hot].all()


def test_gain_of_each_pixel(scmos: tuple[Sensor, PhotonTransfer]) -> None:
    """Half as wrong as its own measurement is, for it knows of the others: τ²σ² / (τ² + σ²)."""
    sensor, found = scmos
    kept, true = found.slope, 1 / sensor.electrons_per_adu
    assert kept.good
    assert kept.spread / true.mean() == pytest.approx(0.08, rel=0.1)
    expected = kept.spread**2 * kept.error**2 / (kept.spread**2 + kept.error**2)
    assert_expected((kept.values - true) / np.sqrt(expected))
    assert np.std(found.gain_map / sensor.electrons_per_adu) < 0.6 * 0.08
    assert not found.odd.any()


def test_gain_of_the_sensor_and_what_is_left(scmos: tuple[Sensor, PhotonTransfer]) -> None:
    sensor, found = scmos
    true = 1 / np.mean(1 / sensor.electrons_per_adu) / (1 + 0.08**2)  # bright pixels have a larger say
    assert found.electrons_per_adu == pytest.approx(true, abs=5 * found.electrons_per_adu_error)
    assert found.electrons_per_adu_error < 0.002 * true
    assert found.chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / PIXELS / 9) + 0.01)
    assert found.saturation_adu is None
    assert [level.usable for level in found.levels] == [1.0] * len(SCMOS_LEVELS_E)


def test_an_emccd_has_twice_the_shot_noise(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path, EMCCD)
    dark = sensor.dark()
    found = photon_transfer(dark, sensor.lights(EMCCD_LEVELS_E, 100, dark), em_gain=EMCCD.em_gain)
    assert found.electrons_per_adu == pytest.approx(EMCCD.electrons_per_adu, rel=0.005)
    assert found.read_noise_e == pytest.approx(EMCCD.read_noise_e, rel=0.03)
    assert found.chi2 == pytest.approx(1, abs=0.05)  # the register's fourth moment is in the weights
    assert not found.slope.good  # 1 % of spread drowns in 5 % of error: the sensor's gain is used
    np.testing.assert_allclose(found.read_noise_map**2, np.exp(found.read_variance.values) * 25, rtol=0.02)


def test_a_camera_too_alike_for_a_gain_map_keeps_its_own_gain(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path, gain_spread=0.005)
    dark = sensor.dark(100)
    found = photon_transfer(dark, sensor.lights((100.0, 1000.0, 10_000.0), 20, dark))
    assert not found.slope.good
    assert np.std(found.gain_map) / found.electrons_per_adu < 0.05  # its own measurement is off by 0.18


def test_drifting_light_leaves_the_gain_alone(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    dark = sensor.dark(200)
    found = photon_transfer(dark, sensor.lights((200.0, 1000.0, 5000.0), 50, dark, fades_to=0.8))
    assert found.electrons_per_adu == pytest.approx(SCMOS.electrons_per_adu, rel=0.01)
    assert found.levels[0].drift == pytest.approx(0.2, abs=0.01)


def test_saturated_levels_and_pixels_are_left_out(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path, bits=12)  # 4095 ADU: 1838 e
    dark = sensor.dark(100)
    found = photon_transfer(dark, sensor.lights((200.0, 800.0, 2200.0, 4000.0), 50, dark))
    assert found.saturation_adu == 4095
    assert found.electrons_per_adu == pytest.approx(SCMOS.electrons_per_adu, rel=0.01)
    whole, also, partly, none = found.levels
    assert (whole.usable, also.usable, none.usable) == (1, 1, 0)
    assert 0 < partly.usable < 0.5
    assert np.isfinite([whole.slope_adu, also.slope_adu]).all()
    assert np.isnan([partly.slope_adu, none.slope_adu]).all()


def test_a_dead_pixel_gets_the_sensors_gain(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    dark = sensor.dark(100)
    lights = sensor.lights((200.0, 2000.0), 50, dark)
    for level in (dark, *lights):
        level.mean_adu[3, 5], level.variance_adu2[3, 5] = 100, 0 if level is not dark else 4
    found = photon_transfer(dark, lights)
    assert np.argwhere(found.odd).tolist() == [[3, 5]]
    assert found.gain_map[3, 5] == pytest.approx(found.electrons_per_adu)


def test_a_known_saturation_counts_where_none_is_seen(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path)
    dark = sensor.dark(30)
    found = photon_transfer(dark, sensor.lights((100.0, 500.0), 20, dark), saturation_adu=700.0)
    assert found.saturation_adu == 700
    assert [np.isfinite(level.slope_adu) for level in found.levels] == [True, False]


# ---------------------------------------------------------------- what is no calibration


@pytest.fixture(scope="module")
def few(folder: Path) -> tuple[Level, Level]:
    sensor = Sensor(folder, seed=3, bits=12)
    dark = sensor.dark(20)
    return dark, sensor.lights((100.0,), 10, dark)[0]


def test_no_light_level(few: tuple[Level, Level]) -> None:
    with pytest.raises(InputError, match=r"0 e: no light level; remedy: give light levels"):
        photon_transfer(few[0], [])


def test_levels_of_another_size(few: tuple[Level, Level]) -> None:
    smaller = replace(few[1], mean_adu=few[1].mean_adu[:-1], variance_adu2=few[1].variance_adu2[:-1])
    with pytest.raises(InputError, match=r"100 e: 63 x 96 pixels, the dark frames 64 x 96"):
        photon_transfer(few[0], [smaller])


def test_constant_images(few: tuple[Level, Level]) -> None:
    for dark, light in ((_constant(few[0]), few[1]), (few[0], _constant(few[1]))):
        with pytest.raises(InputError, match="frames are all alike: no noise"):
            photon_transfer(dark, [light])


def test_only_saturated_levels(few: tuple[Level, Level]) -> None:
    histogram = np.zeros_like(few[1].histogram)
    histogram[4095] = 10 * PIXELS
    full = replace(_constant(few[1]), mean_adu=np.full(SHAPE, 4095, np.float32), histogram=histogram)
    with pytest.raises(InputError, match="every light level is saturated or dark; pixels below saturation: 100 e: 0%"):
        photon_transfer(few[0], [full])


def test_averaged_frames(few: tuple[Level, Level]) -> None:
    averaged = replace(few[1], variance_adu2=few[0].variance_adu2 / 2)
    with pytest.raises(InputError, match="noise does not grow with light"):
        photon_transfer(few[0], [averaged])


def _constant(level: Level) -> Level:
    return replace(level, variance_adu2=np.zeros(SHAPE, np.float32))


# ---------------------------------------------------------------- parts


def test_a_tail_is_no_saturation(few: tuple[Level, Level]) -> None:
    assert saturation_of(few, None) is None
    assert saturation_of(few, 4095.0) == 4095
    ends = replace(few[0], histogram=np.bincount([65535], minlength=65536))
    assert saturation_of([ends], None) == 65535


def test_shrinkage_halves_the_error_where_spread_and_error_are_alike() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(10, 1, 20_000)
    true[:5] = 100  # outliers stand
    kept = shrunk(true + rng.normal(0, 1, true.size), 1.0, 10.0)
    assert kept.spread == pytest.approx(1, abs=0.05)
    assert kept.reliability == pytest.approx(0.5, abs=0.03)
    assert np.abs(kept.values[:5] - 100).max() < 5
    assert np.mean((kept.values - true)[5:] ** 2) == pytest.approx(0.5, abs=0.02)


def test_pixels_that_are_all_alike_and_known_exactly() -> None:
    kept = shrunk(np.full((4, 4), 3.0), 0.0, 3.0)
    assert (kept.reliability, kept.good) == (1.0, True)
    np.testing.assert_array_equal(kept.values, 3.0)
