"""What a calibration leaves can be used as it lies, from a YAML file or from camera.json, or is not there at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from simulated_sensor import SCMOS, SHAPE, Sensor

from smartscope.calibration_files import read_instrument
from smartscope.camera_calibration import PhotonTransfer, photon_transfer
from smartscope.camera_calibration.folder import refuse_existing, write_calibration, yaml_lines
from smartscope.config import CameraCalibration
from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.loading import load
from smartscope_models.calibration import SensorCalibration

KNOWN = CameraCalibration(pixel_size_nm=65, quantum_efficiency=0.7, bit_depth=12, full_well_e=1000, gain_map="old.npy")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> PhotonTransfer:
    sensor = Sensor(tmp_path_factory.mktemp("sensor"), gain_spread=0.1)
    dark = sensor.dark()
    return photon_transfer(dark, sensor.lights((100.0, 1000.0, 10_000.0), 100, dark))


def test_camera_json_and_its_maps_are_read_by_what_uses_them(found: PhotonTransfer, tmp_path: Path) -> None:
    write_calibration(tmp_path / "made", found, KNOWN, {"dark_exposure_ms": 5.0})
    (tmp_path / "made").rename(tmp_path / "moved")  # paths are relative to camera.json
    camera = read_instrument(tmp_path / "moved" / "camera.json", None).camera
    assert (camera.pixel_size_nm, camera.quantum_efficiency) == (65, 0.7)
    assert camera.electrons_per_adu == pytest.approx(SCMOS.electrons_per_adu, rel=0.02)
    # what was seen is more than what was known
    assert camera.full_well_e == pytest.approx((found.highest_adu - 100) * found.electrons_per_adu, rel=0.01)
    assert camera.bit_depth == 16
    region = SensorCalibration(camera).region(Roi(8, 4, 16, 12), (12, 16))
    np.testing.assert_array_equal(region.offset_adu, found.offset_map[4:16, 8:24])
    np.testing.assert_array_equal(region.electrons_per_adu, found.gain_map[4:16, 8:24])
    assert np.load(tmp_path / "moved" / "read_noise_map.npy").dtype == np.float32
    made = json.loads((tmp_path / "moved" / "report.json").read_text())
    assert made["dark_exposure_ms"] == 5
    assert made["made_at"]


def test_lines_for_the_yaml_work_from_anywhere(found: PhotonTransfer, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    inside, outside = tmp_path / "configs" / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        lines = yaml_lines(write_calibration(folder, found, None, {}), tmp_path / "configs")
        tree = yaml.safe_load(lines)
        (tmp_path / "configs" / "a.yaml").write_text(yaml.safe_dump({"microscope": tree}))
        camera = load(tmp_path / "configs" / "a.yaml", environment={}).microscope.camera
        assert camera.gain_map is not None
        assert np.load(camera.gain_map).shape == SHAPE
        assert Path(tree["camera"]["gain_map"]).is_absolute() == (folder == outside)


def test_without_configuration_only_what_was_measured_is_said(found: PhotonTransfer, tmp_path: Path) -> None:
    write_calibration(tmp_path / "made", found, None, {})
    told = json.loads((tmp_path / "made" / "camera.json").read_text())
    assert "pixel_size_nm" not in told
    assert "bit_depth" not in told
    assert CameraCalibration(**told).saturation_adu == pytest.approx(65535, abs=1)


def test_where_the_camera_saturates(found: PhotonTransfer, tmp_path: Path) -> None:
    write_calibration(tmp_path / "made", replace(found, saturation_adu=4095.0), KNOWN, {})
    told = json.loads((tmp_path / "made" / "camera.json").read_text())
    assert told["bit_depth"] == 12
    assert told["full_well_e"] == pytest.approx((4095 - 100) * 0.46, rel=0.02)


def test_a_map_that_says_nothing_is_not_written(found: PhotonTransfer, tmp_path: Path) -> None:
    vague = replace(found, slope=replace(found.slope, error=1.0))
    camera = write_calibration(tmp_path / "made", vague, KNOWN, {})
    assert camera.gain_map is None
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "camera.json",
        "offset_map.npy",
        "read_noise_map.npy",
        "report.json",
    ]


def test_a_folder_that_exists_or_cannot_be(found: PhotonTransfer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        refuse_existing(tmp_path)
    with pytest.raises(InputError, match="its parent folder does not exist"):
        write_calibration(tmp_path / "none" / "made", found, None, {})


def test_a_disk_that_fails_leaves_nothing(
    found: PhotonTransfer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, array: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        write_calibration(tmp_path / "made", found, None, {})
    assert list(tmp_path.iterdir()) == []
