"""The figures that policies steer by are the true ones, steady, and deaf to hot pixels."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Certainty
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.quality import QualityMeter

CAMERA = CameraCalibration()


def picture(signal_e: float, background_e: float, share: float = 0.1, seed: int = 0, gain: float = 1.0) -> np.ndarray:
    """A disc that fills ``share`` of 256 x 256 pixels, as counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    light = np.where(np.hypot(x - 128, y - 128) < 256 * np.sqrt(share / np.pi), signal_e, 0.0) + background_e
    electrons = rng.poisson(light).astype(float)
    if gain > 1:
        electrons = np.where(electrons > 0, rng.gamma(np.maximum(electrons, 1e-9), gain), 0.0)
    counts = (electrons + rng.normal(0, 1.6, light.shape)) / CAMERA.electrons_per_adu + CAMERA.offset_adu
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def measured(pixels: np.ndarray, camera: CameraCalibration = CAMERA, **changes: object) -> Result:
    frame = a_frame(pixels, **changes)
    return QualityMeter(Instrument(camera, OpticsConfig())).step([frame], Result(frame))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
@pytest.mark.parametrize(("signal_e", "background_e"), [(10, 3), (60, 5), (800, 50)])
def test_signal_and_background_are_those_of_the_scene(signal_e: float, background_e: float, share: float) -> None:
    quality = measured(picture(signal_e, background_e, share)).quality
    block_noise = np.sqrt(signal_e + background_e + 2.6) / 4
    assert quality["background_e"] == pytest.approx(background_e, abs=0.15 * np.sqrt(background_e + 2.6))
    assert quality["signal_e"] == pytest.approx(signal_e, abs=3 * block_noise)
    noise = np.sqrt(quality["signal_e"] + quality["background_e"] + 1.6**2)
    assert quality["signal_to_noise"] == pytest.approx(quality["signal_e"] / noise)


def test_the_figures_are_steady_from_frame_to_frame() -> None:
    figures = [measured(picture(40, 5, seed=k)).quality["signal_to_noise"] for k in range(10)]
    assert np.std(figures) < 0.02 * np.mean(figures)


def test_hot_pixels_count_little() -> None:
    pixels = picture(40, 5)
    clean = measured(pixels).quality
    hot = pixels.copy()
    hot.ravel()[:: 256 * 256 // 65] = 3000  # one in a thousand
    dirty = measured(hot).quality
    assert dirty["signal_e"] == pytest.approx(clean["signal_e"], rel=0.15)
    assert dirty["background_e"] == pytest.approx(clean["background_e"], rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_all_light_counts_wherever_it_is(share: float) -> None:
    quality = measured(picture(60, 5, share)).quality
    assert quality["light_e"] == pytest.approx(5 + 60 * share, rel=0.05)
    hot = picture(60, 5, share)
    hot.ravel()[:: 256 * 256 // 65] = 3000
    assert measured(hot).quality["light_e"] == pytest.approx(quality["light_e"], rel=0.01)


def test_electron_multiplication_adds_its_noise() -> None:
    camera = CAMERA.model_copy(update={"em_gain": 100.0, "read_noise_e": 1.6})
    quality = measured(picture(40, 5, gain=100), camera).quality
    assert quality["signal_e"] == pytest.approx(40, rel=0.15)
    expected = quality["signal_e"] / np.sqrt(2 * (quality["signal_e"] + quality["background_e"]))
    assert quality["signal_to_noise"] == pytest.approx(expected, rel=0.01)


def test_saturation_is_seen_and_distrusted() -> None:
    pixels = picture(40, 5)
    assert measured(pixels).trust == 1
    assert measured(pixels).quality["saturation_headroom"] > 0.99
    pixels[100:140, 100:140] = 65535
    result = measured(pixels)
    assert result.quality["saturated_fraction"] == pytest.approx(1600 / 256**2)
    assert result.quality["saturation_headroom"] == pytest.approx(0, abs=0.02)
    assert result.trust == pytest.approx(0.4)
    assert "saturated" in result.why_trust


def test_the_full_well_saturates_too() -> None:
    camera = CAMERA.model_copy(update={"full_well_e": 1000.0})
    pixels = picture(40, 5)
    pixels[100:140, 100:140] = np.uint16(100 + 1000 / 0.46 + 1)
    assert measured(pixels, camera).quality["saturated_fraction"] > 0.02


def test_nothing_in_view_and_mixed_settings_are_distrusted() -> None:
    empty = measured(picture(0, 5))
    assert (empty.trust, empty.why_trust) == (0.3, "nothing in view")
    mixed = measured(picture(40, 5), certainty={"light:laser": Certainty.MIXED, "xy": Certainty.EXACT})
    assert mixed.trust == 0
    assert mixed.why_trust == "light:laser changed during the exposure"


def test_what_earlier_models_said_is_kept() -> None:
    frame = a_frame(picture(0, 5))
    before = Result(frame, quality={"drift_um": 1.0}, trust=0.5, why_trust="drifting")
    result = QualityMeter(Instrument(CAMERA, OpticsConfig())).step([frame], before)
    assert result.quality["drift_um"] == 1
    assert result.trust == pytest.approx(0.15)
    assert result.why_trust == "drifting; nothing in view"
