"""Calibrations at the microscope go through the gate and end in the dark; those from files need no microscope."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from simulated_sensor import EMCCD, SCMOS, Sensor
from system_helpers import LIGHT, experiment
from typer.testing import CliRunner

from smartscope import calibrating
from smartscope.calibrating import (
    AttendedMicroscope,
    attended,
    calibrate_camera,
    calibrate_camera_from_files,
    calibrate_stage,
)
from smartscope.calibration_files import read_instrument
from smartscope.camera_calibration.series import Wanted
from smartscope.cli import app
from smartscope.command import SetLight
from smartscope.config import ExperimentConfig
from smartscope.errors import DeviceError, InputError, Interrupted, Refused
from smartscope.safety.watchdog import Lapse
from smartscope_drivers.movies import open_movie

UNSEEN: dict[str, Any] = {"clock": "virtual", "recorder__enabled": False}
FEW = Wanted(dark_frames=200, frames=60, levels=5)
SLIDE = {
    "specimen": "beads",
    "specimen_options": {"beads": 0, "background_per_um2": 20_000, "bleaching": False},
    "readout_ms": 0,
}
"""An even layer of dye: 15 % of what a pixel can hold in 20 ms of 2 mW."""


def configured(**changes: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(experiment(**{**UNSEEN, **changes}))


def slide(**changes: Any) -> ExperimentConfig:
    return configured(microscope__options=SLIDE, limits__exposure_ms={"low": 0.1, "high": 500}, **changes)


# ---------------------------------------------------------------- stage

BRIGHT: dict[str, Any] = {"microscope__sensor": [128, 128], "start": {"exposure_ms": 20, "lights_mw": {LIGHT: 20}}}


def test_the_stage_is_calibrated_through_the_gate() -> None:
    turned = {"specimen": "beads", "camera_rotation_deg": 90.0}
    found = calibrate_stage(configured(**BRIGHT, microscope__options=turned), step_um=2.0)
    np.testing.assert_allclose(np.abs(found.affine_um_per_px), [[0, 0.1], [0.1, 0]], atol=0.001)
    assert found.residual_px < 0.1


def test_a_step_beyond_the_limits_is_refused() -> None:
    with pytest.raises(Refused, match="max_stage_step_um"):
        calibrate_stage(configured(**BRIGHT, limits__max_stage_step_um=1), step_um=2.0)


# ---------------------------------------------------------------- camera, at the microscope


def test_the_maps_of_the_simulated_camera_are_found_again(tmp_path: Path) -> None:
    sensor = Sensor(tmp_path, gain_spread=0.1)
    camera = sensor.camera.model_dump(mode="json")
    config = slide(microscope__sensor=[64, 96], microscope__camera=camera)
    outcome = calibrate_camera(config, tmp_path / "made", FEW)
    assert outcome.camera.offset_map == str(tmp_path / "made" / "offset_map.npy")
    assert outcome.found.chi2 == pytest.approx(1, abs=0.05)
    read = read_instrument(tmp_path / "made" / "camera.json", None).camera
    assert read.electrons_per_adu == pytest.approx(SCMOS.electrons_per_adu, rel=0.03)
    assert read.gain_map is not None
    assert np.corrcoef(np.load(read.gain_map).ravel(), sensor.electrons_per_adu.ravel())[0, 1] > 0.7
    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert report["response_nonlinearity"] < 0.02
    assert report["dose_j_per_cm2"] > 0
    assert report["lights_mw"] == {LIGHT: 2.0}


def test_live_with_the_supervisor_and_its_lease(tmp_path: Path) -> None:
    outcome = calibrate_camera(slide(clock="live"), tmp_path / "made", Wanted(20, 10, 2))
    assert outcome.found.electrons_per_adu == pytest.approx(0.46, rel=0.1)


def test_an_emccd_by_its_gain(tmp_path: Path) -> None:
    camera = EMCCD.model_dump(mode="json", include={"offset_adu", "electrons_per_adu", "read_noise_e", "full_well_e"})
    config = slide(microscope__camera={**camera, "em_gain": 200.0}, start={"exposure_ms": 1, "lights_mw": {LIGHT: 1}})
    found = calibrate_camera(config, tmp_path / "made", FEW).found
    assert found.em_gain == 200
    assert found.electrons_per_adu == pytest.approx(5, rel=0.03)
    told = calibrate_camera(config, tmp_path / "told", FEW, em_gain=100.0).found
    assert told.electrons_per_adu == pytest.approx(2.5, rel=0.03)


def test_what_is_refused_before_any_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "attended", pytest.fail)
    with pytest.raises(InputError, match="exists already"):
        calibrate_camera(slide(), tmp_path, FEW)
    with pytest.raises(InputError, match="no light is switched on"):
        calibrate_camera(slide(start={"exposure_ms": 5, "lights_mw": {}}), tmp_path / "made", FEW)


def test_a_spent_dose_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the light must go off: the dose budget of this field is spent"):
        calibrate_camera(slide(dose__budget_j_per_cm2=0.05), tmp_path / "made", FEW)
    assert not (tmp_path / "made").exists()


def test_light_above_its_limit_is_refused(tmp_path: Path) -> None:
    limits = {LIGHT: {"max_power_mw": 20, "max_step_mw": 1}}
    with pytest.raises(Refused, match="max_step_mw"):
        calibrate_camera(slide(limits__lights=limits), tmp_path / "made", FEW)


def test_a_signal_ends_it_in_order(tmp_path: Path) -> None:
    with attended(slide()) as microscope:
        microscope.apply(SetLight(LIGHT, 2.0))
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGINT; nothing was written"):
            microscope.next_frame(0.0)


@pytest.mark.parametrize("how", ["lapse", "fault"])
def test_lights_that_go_dark_by_themselves_end_it(how: str) -> None:
    with attended(slide()) as microscope:
        microscope.apply(SetLight(LIGHT, 2.0))
        if how == "lapse":
            microscope.note_lapse(Lapse(0, "the lease was not renewed"))
        microscope.fail(DeviceError("the supervisor has ended", where="lights"))
        assert microscope.settings().lights_mw == {LIGHT: 0.0}
        what = "went dark by themselves: the lease" if how == "lapse" else "the supervisor has ended"
        with pytest.raises(DeviceError, match=what):  # the first to be told
            microscope.next_frame(0.0)


def test_dose_is_counted_while_the_light_is_on_and_no_longer() -> None:
    with attended(slide()) as microscope:
        assert isinstance(microscope, AttendedMicroscope)
        microscope.apply(SetLight(LIGHT, 2.0))
        microscope.clock.sleep(0.1)
        given = microscope.dose_j_per_cm2()
        assert given > 0
        microscope.dark()
        microscope.clock.sleep(10)
        assert microscope.dose_j_per_cm2() == given


# ---------------------------------------------------------------- camera, from files


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movies")
    sensor = Sensor(folder, gain_spread=0.1)
    for name, light_e, number in (("dark", 0, 60), ("more", 0, 60), ("dim", 200, 40), ("lit", 2000, 40)):
        tifffile.imwrite(folder / f"{name}.tif", np.stack(list(sensor.frames(light_e, number))))
    return folder


def test_from_tiff_stacks(movies: Path, tmp_path: Path) -> None:
    dark, light = [movies / "dark.tif", movies / "more.tif"], [movies / "dim.tif", movies / "lit.tif"]
    outcome = calibrate_camera_from_files(dark, light, tmp_path / "made")
    assert outcome.found.dark.frames == 120
    assert [level.frames for level in outcome.found.levels] == [40, 40]
    assert outcome.found.electrons_per_adu == pytest.approx(SCMOS.electrons_per_adu, rel=0.03)
    assert any(line.startswith("2 light levels used") for line in outcome.warnings)
    stack = np.concatenate([tifffile.imread(path).astype(float) for path in dark])
    np.testing.assert_allclose(outcome.found.dark.mean_adu, stack.mean(0), atol=0.1)


def test_configuration_tells_the_rest(movies: Path, tmp_path: Path) -> None:
    config = configured(microscope__camera={"pixel_size_nm": 65, "em_gain": 50})
    dark, light = [movies / "dark.tif"], [movies / "lit.tif"]
    outcome = calibrate_camera_from_files(dark, light, tmp_path / "made", config=config)
    assert (outcome.camera.pixel_size_nm, outcome.camera.em_gain) == (65, 50)
    outcome = calibrate_camera_from_files(dark, light, tmp_path / "other", config=config, em_gain=1.0)
    assert outcome.camera.em_gain == 1


def test_files_that_are_no_calibration(movies: Path, tmp_path: Path) -> None:
    dark, lit = movies / "dark.tif", movies / "lit.tif"
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((5, 16, 16), np.uint16))
    tifffile.imwrite(tmp_path / "wide.tif", np.tile(tifffile.imread(lit), 2))
    (tmp_path / "text.tif").write_text("no movie")
    for darks, lights, what in (
        ([], [lit], "no dark frames"),
        ([dark], [], r"dark.tif: no light level"),
        ([dark], [tmp_path / "none.tif"], "none.tif: no such movie"),
        ([dark], [tmp_path / "text.tif"], "text.tif: is no movie"),
        ([tmp_path / "small.tif"], [lit], "small.tif: 5 frames; allowed: >= 20"),
        ([dark, tmp_path / "small.tif"], [lit], "frame 60 is 16 x 16, those before 64 x 96"),
        ([dark], [tmp_path / "wide.tif"], "wide.tif: 64 x 192 pixels, the dark frames 64 x 96"),
        ([lit], [dark], "dark.tif: mean .* no brighter than the dark frames"),
    ):
        with pytest.raises(InputError, match=what):
            calibrate_camera_from_files(darks, lights, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_movie_is_closed_when_it_is_read(movies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("smartscope_drivers.replay.open_movie", lambda *a: opened.append(open_movie(*a)) or opened[-1])
    calibrate_camera_from_files([movies / "dark.tif"], [movies / "lit.tif"], tmp_path / "made")
    assert [movie._file.filehandle.closed for movie in opened] == [True, True]


# ---------------------------------------------------------------- command line


def test_the_command_prints_what_goes_into_the_yaml(
    movies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(experiment(**UNSEEN, microscope__options=SLIDE)))
    arguments = ["--dark", str(movies / "dark.tif"), "--light", str(movies / "dim.tif"), "--light"]
    ended = CliRunner().invoke(
        app, ["calibrate", "camera", "a.yaml", *arguments, str(movies / "lit.tif"), "--output", "made"]
    )
    assert ended.exit_code == 0, ended.output
    lines, _, last = ended.stdout.strip().rpartition("\n")
    camera = yaml.safe_load(lines)["camera"]
    assert Path(camera["offset_map"]) == Path("made/offset_map.npy")
    assert "note: 2 light levels used" in ended.stderr
    assert last.startswith("made: camera.json, maps and report.json")
    measured = CliRunner().invoke(
        app, ["calibrate", "camera", "a.yaml", "--output", "live", "--dark-frames", "20", "--frames", "10"]
    )
    assert measured.exit_code == 0, measured.output
    assert (tmp_path / "live" / "report.json").is_file()


def test_the_command_needs_something_to_measure(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["calibrate", "camera", "--output", str(tmp_path / "made")])
    assert ended.exit_code == 2
    assert "give CONFIG, or movies with --dark and --light" in ended.output
