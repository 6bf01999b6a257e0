"""A truth is trusted, whatever the camera; what was deleted, invented, blurred or moved is not, and is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Roi
from smartscope.ports import Instrument
from smartscope.result import Floats, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.calibration import PixelCalibration, SensorCalibration
from smartscope_models.denoise import VarianceStabilisedDenoiser
from smartscope_models.denoise.residuals import REACH, Residuals, smoothing
from smartscope_models.denoise.trust import FALSE_ALARMS, Moments, TrustMeter, Verdict

SCMOS = CameraCalibration()
EMCCD = CameraCalibration(em_gain=200, electrons_per_adu=5, read_noise_e=50, offset_adu=200)
EIGHT_BIT = CameraCalibration(bit_depth=8, electrons_per_adu=1.5, read_noise_e=1.0, offset_adu=4)
SHAPE = (192, 160)


def exposed(light_e: np.ndarray, camera: CameraCalibration, rng: np.random.Generator, read_e: object = None) -> Floats:
    """Counts (H, W) uint16 of an expected photo-electron image."""
    electrons = rng.poisson(light_e).astype(float)
    if camera.em_gain > 1:
        electrons = np.where(electrons > 0, rng.gamma(np.maximum(electrons, 1e-9), camera.em_gain), 0.0)
    electrons += rng.normal(0, 1, light_e.shape) * (camera.read_noise_e if read_e is None else read_e)
    counts = np.rint(electrons / camera.electrons_per_adu + camera.offset_adu)
    return np.clip(counts, 0, 2**camera.bit_depth - 1).astype(np.uint16)


def expected(light_e: np.ndarray, camera: CameraCalibration) -> Floats:
    """Counts without noise, at the nominal gain and offset."""
    return (light_e * camera.em_gain / camera.electrons_per_adu + camera.offset_adu).astype(np.float32)


def region(camera: CameraCalibration, shape: tuple[int, int]) -> PixelCalibration:
    return SensorCalibration(camera).region(Roi(0, 0, shape[1], shape[0]), shape)


class Judge:
    """A meter and a camera."""

    def __init__(self, camera: CameraCalibration, shape: tuple[int, int] = SHAPE) -> None:
        self.camera, self.known = camera, region(camera, shape)
        self.meter = TrustMeter(Instrument(camera, OpticsConfig()))
        self.rng = np.random.default_rng(1)

    def of(self, light_e: np.ndarray, image_e: np.ndarray) -> Verdict:
        """The verdict on ``image_e`` for one exposure of ``light_e``."""
        return self.meter.compare(exposed(light_e, self.camera, self.rng), expected(image_e, self.camera), self.known)


def flat(light_e: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.full(shape, float(light_e))


def spot(x: float, y: float, photons: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A Gaussian of the default optics' width with this sum."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return photons / (2 * np.pi * 0.79**2) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.79**2))


def a_specimen(peak_e: float, seed: int = 3, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Textured cells and spots, as sharp as the optics allow."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    light = flat(0.1 * peak_e, shape)
    for _ in range(3):
        y, x, radius = rng.uniform(20, 140), rng.uniform(20, 140), rng.uniform(12, 25)
        body = np.hypot(rows - y, columns - x) < radius
        light += 0.5 * peak_e * ndimage.gaussian_filter(body * (1 + 0.5 * np.sin(columns / 1.5)), 0.9)
    for _ in range(12):
        light += spot(*rng.uniform(10, 150, 2), 4 * peak_e * rng.uniform(0.3, 1), shape)
    return light


def hits(found: Verdict, x: float, y: float) -> bool:
    """Whether the place and the maps point at (x, y)."""
    row, column = np.unravel_index(int(found.maps[1].argmax()), found.maps[1].shape)
    near = abs(found.x_px - x) <= 12 and abs(found.y_px - y) <= 12
    return near and abs(column * 16 + 7.5 - x) <= 16 and abs(row * 16 + 7.5 - y) <= 16


# ---------------------------------------------------------------- the truth


@pytest.mark.parametrize("camera", [SCMOS, EMCCD, EIGHT_BIT], ids=["scmos", "emccd", "8 bit"])
@pytest.mark.parametrize("light_e", [2, 5, 20, 200])
def test_the_truth_is_trusted_and_leaves_one(camera: CameraCalibration, light_e: float) -> None:
    judge, light = Judge(camera), flat(light_e)
    found = [judge.of(light, light) for _ in range(20)]
    assert min(verdict.gate for verdict in found) > 0.5
    assert np.mean([verdict.gate for verdict in found]) > 0.99
    plain, smooth = np.mean([verdict.maps for verdict in found], axis=(0, 2, 3))
    assert plain == pytest.approx(1, abs=0.03)
    assert smooth[None] == pytest.approx(1, abs=0.08)  # beyond the frame there is no noise


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
def test_false_alarms_are_as_rare_as_stated(camera: CameraCalibration) -> None:
    judge, light, frames = Judge(camera, (128, 128)), flat(3, (128, 128)), 400
    alarms = sum(judge.of(light, light).gate < 1 for _ in range(frames))
    assert alarms <= 2.5 * FALSE_ALARMS * frames  # 10 where 4 are expected


@pytest.mark.parametrize("peak_e", [3, 30, 300, 3000])
def test_a_specimen_is_as_good_as_an_empty_field(peak_e: float) -> None:
    light = a_specimen(peak_e)
    judge = Judge(SCMOS)
    assert np.mean([judge.of(light, light).gate for _ in range(10)]) > 0.95


def test_pixels_of_their_own_gain_offset_and_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    offset, gain = 100 + rng.normal(0, 6, SHAPE), 0.46 * (1 + 0.02 * rng.normal(0, 1, SHAPE))
    read_e = 1.6 * np.exp(0.3 * rng.normal(0, 1, SHAPE))
    read_e[::17, ::13] = 25.0
    for name, values in (("offset", offset), ("gain", gain), ("read", read_e)):
        np.save(tmp_path / f"{name}.npy", values)
    maps = {f"{name}_map": str(tmp_path / f"{name.partition('_')[0]}.npy") for name in ("offset", "gain", "read_noise")}
    mapped = SCMOS.model_copy(update=maps)
    light = a_specimen(40)
    counts = np.rint((rng.poisson(light) + rng.normal(0, 1, SHAPE) * read_e) / gain + offset).astype(np.uint16)
    image = expected(light, SCMOS)
    meter = TrustMeter(Instrument(mapped, OpticsConfig()), SensorCalibration(mapped))
    assert meter.compare(counts, image, region(mapped, SHAPE)).gate > 0.9
    assert meter.compare(counts, image, region(SCMOS, SHAPE)).gate < 0.01


def test_hot_pixels_that_no_map_tells_of_are_no_structure() -> None:
    judge, light = Judge(SCMOS), flat(5)
    read_e = np.full(SHAPE, 1.6)
    read_e[::31, ::29] = 40.0
    pixels = exposed(light, SCMOS, judge.rng, read_e)
    assert judge.meter.compare(pixels, expected(light, SCMOS), judge.known).gate > 0.9


def test_saturated_pixels_say_nothing() -> None:
    judge, light = Judge(EIGHT_BIT), a_specimen(600)
    assert (exposed(light, EIGHT_BIT, judge.rng) == 255).mean() > 0.02
    assert judge.of(light, light).gate > 0.9


@pytest.mark.parametrize("camera", [SCMOS, EMCCD, EIGHT_BIT], ids=["scmos", "emccd", "8 bit"])
@pytest.mark.parametrize("peak_e", [3, 30, 100])
def test_a_good_denoiser_is_not_punished_for_the_noise_it_keeps(camera: CameraCalibration, peak_e: float) -> None:
    model, rng = VarianceStabilisedDenoiser(Instrument(camera, OpticsConfig())), np.random.default_rng(2)
    model.warm_up(SHAPE)
    for _ in range(5):
        frame = a_frame(exposed(a_specimen(peak_e), camera, rng))
        result = model.step([frame], Result(frame))
        assert result.image_trust == 1
        assert not result.why_trust
        assert 0.7 < result.quality["residual_chi2"] < 1


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
@pytest.mark.parametrize("background_e", [2, 20])
@pytest.mark.parametrize("invented", [False, True], ids=["deleted", "invented"])
def test_a_spot_deleted_or_invented(camera: CameraCalibration, background_e: float, invented: bool) -> None:
    """Its photons alone would be found with a signal-to-noise ratio of 10, that of the matched filter."""
    judge, x, y = Judge(camera), 83.3, 100.6
    shape = spot(x, y, 1.0)
    excess = 2.0 if camera.em_gain > 1 else 1.0
    read_e2 = (camera.read_noise_e / camera.em_gain) ** 2
    photons = 1.0
    while (((photons * shape) ** 2) / (excess * (background_e + photons * shape) + read_e2)).sum() < 100:
        photons *= 1.05
    empty, seen = flat(background_e), background_e + photons * shape
    for _ in range(5):
        found = judge.of(empty, seen) if invented else judge.of(seen, empty)
        assert found.gate < 0.5
        assert hits(found, x, y)


def test_a_faint_cell_deleted() -> None:
    judge, (rows, columns) = Judge(SCMOS), np.mgrid[: SHAPE[0], : SHAPE[1]]
    seen = 5 + 2.0 * (np.hypot(rows - 90, columns - 70) < 14)  # far below the noise of a pixel, 2.7 e
    for _ in range(5):
        found = judge.of(seen, flat(5))
        assert found.gate < 0.1
        assert np.hypot(found.x_px - 70, found.y_px - 90) < 20
        assert found.maps[1].max() > 2


@pytest.mark.parametrize("fault", ["blurred", "shifted", "electrons", "half as bright", "flat"])
def test_a_faulty_image_is_not_trusted(fault: str) -> None:
    judge, light = Judge(SCMOS), a_specimen(60)
    wrong = {
        "blurred": expected(ndimage.gaussian_filter(light, 1.5), SCMOS),
        "shifted": expected(np.roll(light, 1, axis=1), SCMOS),
        "electrons": light.astype(np.float32),
        "half as bright": expected(light / 2, SCMOS),
        "flat": expected(flat(light.mean()), SCMOS),
    }[fault]
    pixels = exposed(light, SCMOS, judge.rng)
    assert judge.meter.compare(pixels, wrong, judge.known).gate < 0.1
    assert judge.meter.compare(pixels, expected(light, SCMOS), judge.known).gate > 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_trusted(value: float) -> None:
    judge, light = Judge(SCMOS), flat(10)
    image = expected(light, SCMOS)
    image[50:54, 40:44] = value
    found = judge.meter.compare(exposed(light, SCMOS, judge.rng), image, judge.known)
    assert found.gate < 0.1
    assert np.isfinite(found.maps).all()
    assert hits(found, 41.5, 51.5)


# ---------------------------------------------------------------- what a result says


def test_a_judged_result_says_how_far_and_why() -> None:
    light = 5 + spot(60, 70, 400)
    meter = TrustMeter(Instrument(SCMOS, OpticsConfig()))
    meter.warm_up(SHAPE)
    frame = a_frame(exposed(light, SCMOS, np.random.default_rng(1)))
    before = Result(frame, quality={"signal_e": 3.0}, trust=0.3, why_trust="nothing in view")
    good, bad = (meter.judge(frame, expected(image, SCMOS), before) for image in (light, flat(5)))
    assert (good.image_trust, good.trust, good.why_trust) == (1.0, 0.3, "nothing in view")
    assert good.residual_map is not None
    assert good.residual_map.shape == (2, 12, 10)
    assert good.quality["signal_e"] == 3.0
    assert good.quality["residual_chi2"] == pytest.approx(1, abs=0.05)
    assert bad.image_trust is not None
    assert bad.image_trust < 0.01
    assert bad.quality["residual_structure"] > 3
    assert bad.why_trust.startswith("nothing in view; the denoised image leaves more than noise, most at x ")
    assert meter.judge(frame, expected(flat(5), SCMOS), Result(frame)).why_trust.startswith("the denoised image")


def test_a_region_of_the_sensor_is_judged_by_its_own_pixels(tmp_path: Path) -> None:
    offset = np.full((100, 120), 100.0)
    offset[:, 60:] = 140.0
    np.save(tmp_path / "offset.npy", offset)
    camera = SCMOS.model_copy(update={"offset_map": str(tmp_path / "offset.npy")})
    meter, light = TrustMeter(Instrument(camera, OpticsConfig())), flat(10, (48, 48))
    pixels = exposed(light, SCMOS.model_copy(update={"offset_adu": 140.0}), np.random.default_rng(1))
    image = expected(light, SCMOS)
    for x, trusted in ((64, True), (8, False), (64, True)):
        frame = a_frame(pixels, roi=(x, 20))
        assert (meter.judge(frame, image, Result(frame)).image_trust == 1) is trusted


# ---------------------------------------------------------------- the pass and its statistics


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), sigma=st.floats(0.8, 1.5), seed=st.integers(0, 99))
def test_the_pass_is_what_it_says(height: int, width: int, sigma: float, seed: int) -> None:
    rng, shape = np.random.default_rng(seed), (height, width)
    known, taps = region(SCMOS, shape), smoothing(sigma)
    light = rng.uniform(0, 50, shape)
    pixels, image = exposed(light, SCMOS, rng), expected(light * rng.uniform(0.8, 1.2, shape), SCMOS)
    cells = Residuals(known, taps).survey(pixels, image)
    image_e = (image.astype(float) - 100) * 0.46
    variance = 1.6**2 + 0.46**2 / 12 + 0.05 + np.maximum(image_e, 0) + (0.01 * image_e) ** 2
    z = np.clip(((pixels - 100.0) * 0.46 - image_e) / np.sqrt(variance), -5, 5)
    kernel = np.concatenate([taps[:0:-1], taps])
    smooth = ndimage.convolve1d(ndimage.convolve1d(z, kernel, 0, mode="constant"), kernel, 1, mode="constant")
    wanted = (z**2, smooth**2, image_e / variance**2)
    rows, columns = np.arange(0, height, 4), np.arange(0, width, 4)
    for found, values in zip(cells, wanted, strict=True):
        sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
        np.testing.assert_allclose(found, sums, rtol=2e-3, atol=2e-3)


def test_smoothing_keeps_the_variance_of_white_noise() -> None:
    taps = smoothing(1.2)
    assert len(taps) == REACH + 1
    assert taps[0] ** 2 + 2 * (taps[1:] ** 2).sum() == pytest.approx(1)


def test_moments_are_those_of_smoothed_noise() -> None:
    taps, rng = smoothing(0.8), np.random.default_rng(1)
    kernel = np.concatenate([taps[:0:-1], taps])
    noise = rng.normal(0, 1, (3000, 30, 30))
    smooth = ndimage.convolve1d(ndimage.convolve1d(noise, kernel, 1), kernel, 2)[:, 11:19, 11:19]
    means = (smooth**2).mean(axis=(1, 2))
    moments = Moments.of(taps, 8)
    assert means.var() == pytest.approx(2 * moments.a / 64, rel=0.1)
    assert ((means - 1) ** 3).mean() == pytest.approx(8 * moments.b / 64**2, rel=0.35)
    assert Moments.of(np.ones(1, np.float32), 16) == pytest.approx((1, 1, 22))


def test_only_an_excess_counts() -> None:
    calm = np.full((2, 3), 0.2)
    assert Moments(1, 1, 22).highest(calm, calm * 0 + 256, calm * 0) == (0.0, (0, 0))
    calm[1, 2] = 1.6
    score, place = Moments(1, 1, 22).highest(calm, calm * 0 + 256, calm * 0)
    assert place == (1, 2)
    assert score == pytest.approx(5.7, abs=0.2)  # chi-square of 410 with 256 degrees of freedom: p = 4e-9
