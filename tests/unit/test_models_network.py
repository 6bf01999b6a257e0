"""The arrays around a denoising network: margins, calibration, history, package and engine, with a box mean inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packages_helpers import box_mean_counts, write_tiny_denoiser, write_zoo_package, zoo_tree_05

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.calibration import SensorCalibration
from smartscope_models.denoise.network import NetworkDenoiser, network_calibration, nominal_values

pytest.importorskip("onnxruntime", reason="the extra 'onnxruntime' is not installed")

SCMOS = CameraCalibration(electrons_per_adu=0.46, offset_adu=100, read_noise_e=1.6)
EMCCD = CameraCalibration(electrons_per_adu=5, offset_adu=200, read_noise_e=50, em_gain=200)


def instrument(camera: CameraCalibration = SCMOS) -> Instrument:
    return Instrument(camera, OpticsConfig())


def movie(count: int, shape: tuple[int, int]) -> list[Frame]:
    rng = np.random.default_rng(3)
    return [a_frame(rng.poisson(300, shape).astype(np.uint16), k) for k in range(count)]


def wanted(frames: list[Frame], camera: CameraCalibration) -> np.ndarray:
    """What the box mean says, with margins mirrored by other means than the denoiser's."""
    shape = frames[-1].pixels.shape
    height, width = (max(32, -(-n // 8) * 8) for n in shape)
    margin = ((0, height - shape[0]), (0, width - shape[1]))
    stack = np.stack([np.pad(frame.pixels, margin, mode="symmetric") for frame in frames])[None]
    calibration = SensorCalibration(camera).of(frames[-1])
    maps = np.stack([np.pad(m, margin, mode="symmetric") for m in network_calibration(calibration)])[None]
    return box_mean_counts(stack, maps, nominal_values(calibration))[0, 0, : shape[0], : shape[1]]


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
@pytest.mark.parametrize("shape", [(64, 80), (61, 75)])
def test_counts_go_in_and_come_out(tmp_path: Path, shape: tuple[int, int], camera: CameraCalibration) -> None:
    write_tiny_denoiser(tmp_path / "tiny")
    model = NetworkDenoiser(instrument(camera), package=str(tmp_path / "tiny"))
    model.warm_up(shape)
    frames = movie(1, shape)
    result = model.step(frames, Result(frames[-1]))
    assert result.image is not None
    assert result.image.shape == shape
    assert result.image == pytest.approx(wanted(frames, camera), rel=1e-4)


def test_earlier_frames_are_handed_over_in_order(tmp_path: Path) -> None:
    write_tiny_denoiser(tmp_path / "tiny", 2)
    model = NetworkDenoiser(instrument(), package=str(tmp_path / "tiny"))
    assert model.history == 2
    frames = movie(3, (64, 64))
    image = model.step(frames, Result(frames[-1])).image
    assert image == pytest.approx(wanted(frames, SCMOS), rel=1e-4)


def test_frames_of_another_setting_are_not_mixed_in(tmp_path: Path) -> None:
    """The oldest comparable frame stands in for those that were exposed otherwise, or are not there yet."""
    write_tiny_denoiser(tmp_path / "tiny", 2)
    model = NetworkDenoiser(instrument(), package=str(tmp_path / "tiny"))
    one, two, three = movie(3, (64, 64))
    dim = replace(one, settings=replace(one.settings, exposure_ms=one.settings.exposure_ms * 2))
    image = model.step([dim, two, three], Result(three)).image
    assert image == pytest.approx(wanted([two, two, three], SCMOS), rel=1e-4)
    alone = model.step([three], Result(three)).image
    assert alone == pytest.approx(wanted([three, three, three], SCMOS), rel=1e-4)


def test_each_region_has_its_own_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "offset.npy", rng.normal(100, 5, (128, 128)))
    camera = SCMOS.model_copy(update={"offset_map": str(tmp_path / "offset.npy")})
    write_tiny_denoiser(tmp_path / "tiny")
    model = NetworkDenoiser(instrument(camera), package=str(tmp_path / "tiny"))
    frame = movie(1, (64, 64))[0]
    for corner in (0, 40):
        roi = replace(frame.settings.roi, x=corner, y=corner)
        there = replace(frame, settings=replace(frame.settings, roi=roi))
        assert model.step([there], Result(there)).image == pytest.approx(wanted([there], camera), rel=1e-4)


def test_an_image_that_is_kept_is_not_written_again(tmp_path: Path) -> None:
    write_tiny_denoiser(tmp_path / "tiny")
    model = NetworkDenoiser(instrument(), package=str(tmp_path / "tiny"))
    kept = []
    for frame in movie(6, (64, 64)):
        image = model.step([frame], Result(frame)).image
        assert image is not None
        kept.append((image, image.copy()))
    assert all(np.array_equal(image, copy) for image, copy in kept)


def test_every_image_is_judged(tmp_path: Path) -> None:
    write_tiny_denoiser(tmp_path / "tiny")
    model = NetworkDenoiser(instrument(), package=str(tmp_path / "tiny"))
    frame = movie(1, (64, 64))[0]
    result = model.step([frame], Result(frame))
    assert "residual_chi2" in result.quality


def test_a_package_for_something_else_is_refused(tmp_path: Path) -> None:
    write_zoo_package(tmp_path / "zoo", zoo_tree_05())
    with pytest.raises(UnsupportedModel, match="its task is image_to_image"):
        NetworkDenoiser(instrument(), package=str(tmp_path / "zoo"))
