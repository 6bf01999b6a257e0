"""`check` names everything that can be known to be wrong before any device is touched."""

import json
from pathlib import Path
from typing import Any

import pytest

from smartscope.check import check, check_file, problems
from smartscope.config import ExperimentConfig
from smartscope.errors import ConfigurationError
from smartscope.loading import load

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
FRINGES = "microscope.optics.structured_illumination"
NINE = [str(step) for step in range(9)]


STRUCTURED = DEMO.with_name("structured_illumination.yaml")


def test_stacks_want_square_frames_and_something_that_steps_the_fringes(tmp_path: Path) -> None:
    output = f"output={tmp_path / 'runs'}"
    check(load(STRUCTURED, [output], {}))
    oblong = load(STRUCTURED, [output, "start.roi={x: 0, y: 0, width: 128, height: 64}"], {})
    assert {problem.key for problem in problems(oblong)} == {"pipeline.0"}
    unstepped = load(STRUCTURED, [output, f"{FRINGES}.slm=null"], {})
    assert {problem.key for problem in problems(unstepped)} == {FRINGES}


def keys(overrides: list[str]) -> set[str]:
    return {problem.key for problem in problems(load(DEMO, overrides, {}))}


def test_the_demo_is_sound(tmp_path: Path) -> None:
    check(load(DEMO, [f"output={tmp_path / 'runs'}"], {}))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("microscope.driver=telescope", "microscope.driver"),
        ("microscope.options.specimn=cells", "microscope.options.specimn"),
        ("pipeline.0.model=qualty", "pipeline.0.model"),
        ("pipeline.0.options.nothing=1", "pipeline.0.options.nothing"),
        ("policies.0.policy=my_policy:Missing", "policies.0.policy"),
        ("policies.1.options.light=laser_561", "policies.1.options.light"),
        ("start.lights_mw.laser_561=1", "start.lights_mw.laser_561"),
        ("start.lights_mw.laser_488=100", "start.lights_mw.laser_488"),
        ("limits.lights={}", "start.lights_mw.laser_488"),
        ("limits.lights.laser_561={max_power_mw: 1}", "limits.lights.laser_561"),
        ("start.exposure_ms=500", "start.exposure_ms"),
        ("start.x_um=9999", "start.x_um"),
        ("start.roi={x: 500, y: 0, width: 64, height: 64}", "start.roi"),
        ("pipeline.1.fallback=denois", "pipeline.1.fallback"),
        ("pipeline.1={model: denoise, fallback: denoise, fallback_options: {x: 1}}", "pipeline.1.fallback_options.x"),
        ("safety.max_result_age_ms=25", "safety.max_result_age_ms"),
        (
            f"{FRINGES}={{pupil_fraction: 0.6, slm: {{shape: [512, 512], pixel_size_nm: 250}}}}",
            f"{FRINGES}.slm.pixel_size_nm",
        ),
        (f"{FRINGES}={{beams: 3, slm: {{shape: [512, 512], pixel_size_nm: 90}}}}", FRINGES),
        (
            f"{FRINGES}={{pupil_fraction: 1, grating: {{device: G, property: P, values: {NINE}}}}}",
            f"{FRINGES}.pupil_fraction",
        ),
        ("pipeline.0={model: structured_illumination}", "pipeline.0"),
        ("policies.0={policy: structured_illumination, options: {light: laser_488}}", "policies.0"),
        ("bus.host=0.0.0.0", "bus.host"),
        ("bus.host=somewhere", "bus.host"),
        ("bus.control_port=5601", "bus"),
        ("microscope.camera.gain_map=nowhere.npy", "microscope.camera.gain_map"),
        (f"output={Path(__file__).as_posix()}/runs", "output"),
    ],
)
def test_each_problem_is_named_by_its_key(override: str, key: str) -> None:
    assert key in keys([override])


def test_options_of_a_policy_that_do_not_fit_each_other() -> None:
    one = {"policy": "smartscope.policies.activation:ActivationPolicy", "options": {"light": "laser_488"}}
    (problem,) = problems(load(DEMO, [f"policies=[{json.dumps(one)}]"], {}))
    assert problem.key == "policies.0.options"
    allowed = "target_emitters or target_density_per_um2"
    assert problem.line() == f"policies.0.options: needs one target; allowed: {allowed}; remedy: name one of them"


def test_a_place_without_limits() -> None:
    assert "start.x_um" in keys(["start.x_um=1", "limits.x_um=null"])


def test_virtual_time_needs_no_hardware() -> None:
    assert "clock" in keys(["clock=virtual", "microscope.driver=micromanager", "microscope.options={}"])


def test_a_dose_budget_needs_a_light() -> None:
    tree: dict[str, Any] = {"dose": {"budget_j_per_cm2": 1}}
    assert {problem.key for problem in problems(ExperimentConfig.model_validate(tree))} == {"dose.budget_j_per_cm2"}


def test_loopback_by_name_is_loopback() -> None:
    assert "bus.host" not in keys(["bus.host=localhost"])


def test_check_raises_all_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(load(DEMO, ["start.exposure_ms=500", "start.x_um=9999"], {}))
    assert len(caught.value.problems) == 2


def test_wrong_keys_do_not_hide_what_is_wrong_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "nmae: x\n"
        "start: {exposure_ms: -1, lights_mw: {lamp: 1}}\n"
        "pipeline: [{deadline_ms: 3}, {model: qualty}, {model: quality, deadline_ms: soon}]\n"
        "clock: sundial\n"
        f"output: {tmp_path.as_posix()}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        check_file(path)
    found = {problem.key: problem for problem in caught.value.problems}
    assert set(found) == {
        "nmae",
        "clock",
        "start.exposure_ms",
        "start.lights_mw.lamp",
        "pipeline.0.model",
        "pipeline.1.model",
        "pipeline.2.deadline_ms",
    }
    assert found["pipeline.0.model"].what == "this key is required"
    assert "qualty" in found["pipeline.1.model"].value


def test_what_cannot_be_mended_is_named_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("start: {roi: {x: 0}}\nmicroscope: 3\npipeline: [quality]\n")
    with pytest.raises(ConfigurationError) as caught:
        check_file(path)
    assert {"start.roi.width", "microscope", "pipeline.0"} <= {problem.key for problem in caught.value.problems}


def test_a_sound_file_comes_back_as_its_configuration(tmp_path: Path) -> None:
    assert check_file(DEMO, [f"output={tmp_path.as_posix()}"]).name == "demo"
