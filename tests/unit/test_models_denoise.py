"""Noise becomes uniform and goes, light stays: the transform, the filter, and the camera's maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dctn

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.ports import Instrument
from smartscope.result import Floats, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import SensorCalibration
from smartscope_models.denoise import VarianceStabilisedDenoiser
from smartscope_models.denoise.wiener import normalise, penalties, split, wiener, workspace

SCMOS = CameraCalibration()
EMCCD = CameraCalibration(em_gain=200, electrons_per_adu=5, read_noise_e=50, offset_adu=200)


def exposed(light_e: np.ndarray, camera: CameraCalibration, seed: int = 1) -> np.ndarray:
    """Counts (H, W) uint16 of an expected photo-electron image."""
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(light_e).astype(float)
    if camera.em_gain > 1:
        electrons = np.where(electrons > 0, rng.gamma(np.maximum(electrons, 1e-9), camera.em_gain), 0.0)
    electrons += rng.normal(0, camera.read_noise_e, light_e.shape)
    return np.clip(np.rint(electrons / camera.electrons_per_adu + camera.offset_adu), 0, 65535).astype(np.uint16)


def expected(light_e: np.ndarray, camera: CameraCalibration) -> np.ndarray:
    """Counts without noise."""
    return light_e * camera.em_gain / camera.electrons_per_adu + camera.offset_adu


def denoised(pixels: np.ndarray, camera: CameraCalibration) -> Floats:
    model = VarianceStabilisedDenoiser(Instrument(camera, OpticsConfig()))
    model.warm_up((pixels.shape[0], pixels.shape[1]))
    frame = a_frame(pixels)
    image = model.step([frame], Result(frame)).image
    assert image is not None
    return image


@pytest.mark.parametrize("camera", [SCMOS, EMCCD])
@pytest.mark.parametrize("light_e", [10, 50, 400])
def test_noise_has_variance_one_at_every_brightness(camera: CameraCalibration, light_e: float) -> None:
    shape = (200, 200)
    transform = Anscombe(SensorCalibration(camera).region(Roi(0, 0, 200, 200), shape))
    stable = np.empty(shape, np.float32)
    transform.forward(exposed(np.full(shape, light_e), camera), stable)
    assert stable.var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("light_e", [0.5, 2, 5, 20, 200])
def test_the_mean_comes_back_unbiased(light_e: float) -> None:
    image = denoised(exposed(np.full((128, 128), light_e), SCMOS), SCMOS)
    electrons = (image.mean() - SCMOS.offset_adu) * SCMOS.electrons_per_adu
    assert electrons == pytest.approx(light_e, rel=0.02, abs=0.05)


@pytest.mark.parametrize("camera", [SCMOS, EMCCD])
def test_structure_stays_and_noise_goes(camera: CameraCalibration) -> None:
    y, x = np.mgrid[:128, :128]
    light = 20 + 60 * np.exp(-0.5 * (np.abs(x - 64 - 20 * np.sin(y / 20)) / 1.5) ** 2)  # a winding filament
    pixels, truth = exposed(light, camera), expected(light, camera)
    before = np.mean((pixels - truth) ** 2)
    after = np.mean((denoised(pixels, camera) - truth) ** 2)
    assert after < before / 6


def test_an_empty_field_stays_empty() -> None:
    light = np.full((256, 256), 3.0)
    image = denoised(exposed(light, SCMOS), SCMOS)
    noise = np.sqrt(3 + SCMOS.read_noise_e**2) / SCMOS.electrons_per_adu
    assert np.abs(image - np.median(image)).max() < 3 * noise
    assert image.std() < 0.25 * noise


def test_a_dim_spot_keeps_its_light() -> None:
    y, x = np.mgrid[:64, :64]
    light = 5 + 40 * np.exp(-0.5 * ((x - 30) ** 2 + (y - 33) ** 2) / 1.2**2)
    images = [denoised(exposed(light, SCMOS, seed), SCMOS) for seed in range(20)]
    near = np.hypot(x - 30, y - 33) < 5
    found = (np.mean(images, axis=0) - expected(np.full((64, 64), 5.0), SCMOS))[near].sum() * SCMOS.electrons_per_adu
    assert found == pytest.approx((light - 5)[near].sum(), rel=0.07)


def test_blocks_are_orthonormal_cosine_transforms_that_sum_to_the_frame() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(10, 1, (40, 36)).astype(np.float32)
    even, odd, *sums = (np.zeros((40, 18), np.float32) for _ in range(4))
    cover, out = np.zeros((20, 18), np.float32), np.empty((24, 20), np.float32)
    split(image, even, odd)
    work = workspace(18)
    wiener(even, odd, even, odd, np.full(64, 1e-9, np.float32), work, *sums, cover)
    normalise(*sums, cover, 8, out)
    assert np.allclose(out, image[8:32, 8:28], atol=1e-4)
    strip = work[3]  # the pilot's coefficients of the last strip of blocks
    truth = dctn(image[32:40, 2:10], norm="ortho")
    assert np.allclose(strip[:, 1].reshape(8, 8), truth, atol=1e-3)


def test_what_the_optics_cannot_pass_is_believed_least() -> None:
    table = penalties(0.3).reshape(8, 8)
    assert table[7, 7] == pytest.approx(50)
    assert table[0, 1] < 1
    assert (np.diff(table[0, 1:]) >= 0).all()


def test_maps_take_out_a_fixed_pattern(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shape = (96, 96)
    offset = 100 + rng.normal(0, 6, shape)
    read = np.full(shape, 1.6)
    read[::17, ::13] = 25.0
    np.save(tmp_path / "offset.npy", offset)
    np.save(tmp_path / "read.npy", read)
    mapped = SCMOS.model_copy(
        update={"offset_map": str(tmp_path / "offset.npy"), "read_noise_map": str(tmp_path / "read.npy")}
    )
    electrons = rng.poisson(10, shape) + rng.normal(0, 1, shape) * read
    pixels = np.clip(np.rint(electrons / 0.46 + offset), 0, 65535).astype(np.uint16)
    truth = 10 / 0.46 + 100
    with_maps, without = (np.mean((denoised(pixels, camera) - truth) ** 2) for camera in (mapped, SCMOS))
    assert with_maps < without / 4


def test_a_region_takes_its_part_of_a_map(tmp_path: Path) -> None:
    offset = np.arange(64 * 80, dtype=float).reshape(64, 80)
    np.save(tmp_path / "offset.npy", offset)
    sensor = SensorCalibration(SCMOS.model_copy(update={"offset_map": str(tmp_path / "offset.npy")}))
    frame = a_frame(np.zeros((16, 20), np.uint16), roi=(8, 4))
    assert np.array_equal(sensor.of(frame).offset_adu, offset[4:20, 8:28].astype(np.float32))
    with pytest.raises(InputError, match="outside the camera's offset map"):
        sensor.of(a_frame(np.zeros((16, 20), np.uint16), roi=(70, 4)))


def test_unusable_maps_are_refused(tmp_path: Path) -> None:
    text, line, small, large = (tmp_path / name for name in ("text.npy", "line.npy", "small.npy", "large.npy"))
    text.write_text("no numbers")
    np.save(line, np.zeros(5))
    np.save(small, np.zeros((8, 8)))
    np.save(large, np.zeros((9, 9)))
    for path in (tmp_path / "absent.npy", text):
        with pytest.raises(InputError, match="cannot read the camera map"):
            SensorCalibration(SCMOS.model_copy(update={"gain_map": str(path)}))
    with pytest.raises(InputError, match="no finite"):
        SensorCalibration(SCMOS.model_copy(update={"gain_map": str(line)}))
    with pytest.raises(InputError, match="differ in shape"):
        SensorCalibration(SCMOS.model_copy(update={"gain_map": str(small), "offset_map": str(large)}))
