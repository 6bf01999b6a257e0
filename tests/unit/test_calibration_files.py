"""camera.json of other programs is understood; what looks like a misspelling of our keys is not passed over."""

import json
from pathlib import Path
from typing import Any

import pytest

from smartscope.calibration_files import read_instrument
from smartscope.errors import ConfigurationError, InputError


def camera_file(folder: Path, **values: Any) -> Path:
    path = folder / "camera.json"
    path.write_text(json.dumps(values))
    return path


def test_foreign_keys_optics_and_maps(tmp_path: Path) -> None:
    (tmp_path / "offset_adu.npy").write_bytes(b"")
    optics = {"numerical_aperture": 1.2, "wavelength_nm": 600}
    path = camera_file(tmp_path, offset_adu=7, scene="mixed", seed=3, maps=["offset_adu.npy"], **optics)
    instrument = read_instrument(path, None)
    assert instrument.camera.offset_adu == 7
    assert instrument.camera.offset_map == str(tmp_path / "offset_adu.npy")
    assert instrument.optics.numerical_aperture == 1.2
    assert instrument.optics.emission_nm == 600


def test_optics_json_wins(tmp_path: Path) -> None:
    optics = tmp_path / "optics.json"
    optics.write_text(json.dumps({"numerical_aperture": 0.8}))
    path = camera_file(tmp_path, numerical_aperture=1.2)
    assert read_instrument(path, optics).optics.numerical_aperture == 0.8
    assert read_instrument(None, None).optics.numerical_aperture == 1.4


@pytest.mark.parametrize("text", ["no json", "[1, 2]"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no JSON"):
        read_instrument(path, None)


def test_misspelt_and_out_of_range_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_instrument(camera_file(tmp_path, ofset_adu=7, read_noise_e=-1), None)
    assert {problem.key for problem in caught.value.problems} == {"ofset_adu", "read_noise_e"}
    assert "did you mean offset_adu" in str(caught.value)


def test_maps_that_are_missing_or_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_instrument(camera_file(tmp_path, maps=["read_noise_e.npy"]), None)
    with pytest.raises(ConfigurationError, match="list"):
        read_instrument(camera_file(tmp_path, maps="read_noise_e.npy"), None)


def test_maps_under_our_own_keys_lie_beside_camera_json(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "gain.npy").write_bytes(b"")
    path = camera_file(tmp_path, gain_map="maps/gain.npy", offset_map=None)
    camera = read_instrument(path, None).camera
    assert (camera.gain_map, camera.offset_map) == (str(tmp_path / "maps" / "gain.npy"), None)
    absolute = camera_file(tmp_path, gain_map=str(tmp_path / "maps" / "gain.npy"))
    assert read_instrument(absolute, None).camera == camera
    with pytest.raises(InputError, match="read_noise_map is named by"):
        read_instrument(camera_file(tmp_path, read_noise_map="none.npy"), None)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_instrument(tmp_path / "nowhere.json", None)
