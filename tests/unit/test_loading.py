"""YAML, environment and --set become one configuration; what is wrong is named by key, all at once."""

from pathlib import Path

import pytest

from smartscope.errors import ConfigurationError, InputError
from smartscope.loading import load, read_yaml, validate

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def test_demo_loads_and_overrides_apply_in_order() -> None:
    config = load(
        DEMO, ["start.exposure_ms=7", "pipeline.0.deadline_ms=11", "frames=3"], {"SMARTSCOPE__bus__data_port": "0"}
    )
    assert config.start.exposure_ms == 7
    assert config.pipeline[0].deadline_ms == 11
    assert config.bus.data_port == 0
    assert config.frames == 3


def test_set_wins_over_the_environment_and_makes_what_is_missing() -> None:
    config = load(DEMO, ["recorder.queue_mb=7"], {"SMARTSCOPE__recorder__queue_mb": "5", "OTHER": "x"})
    assert config.recorder.queue_mb == 7


def test_every_problem_is_named_at_once_with_its_key() -> None:
    tree = {
        "nmae": "x",
        "start": {"exposure_ms": -1},
        "limits": {"exposure_ms": {"low": 5, "high": 1}},
        "safety": {"lease_ms": 5},
        "clock": "sundial",
        "pipeline": [{"deadline_ms": 3}],
    }
    with pytest.raises(ConfigurationError) as caught:
        validate(tree, "here.yaml")
    problems = {problem.key: problem for problem in caught.value.problems}
    assert set(problems) == {
        "nmae",
        "start.exposure_ms",
        "limits.exposure_ms",
        "safety.lease_ms",
        "clock",
        "pipeline.0.model",
    }
    assert "spelling" in problems["nmae"].remedy
    assert problems["start.exposure_ms"].allowed == "> 0"
    assert problems["safety.lease_ms"].allowed == ">= 20"
    assert "live" in problems["clock"].allowed
    assert "here.yaml" in str(caught.value)


def test_options_of_a_fallback_need_a_fallback() -> None:
    with pytest.raises(ConfigurationError, match=r"pipeline\.0 = .*fallback_options without fallback"):
        validate({"pipeline": [{"model": "quality", "fallback_options": {"a": 1}}]}, "here")


def test_light_names_must_differ() -> None:
    with pytest.raises(ConfigurationError, match="must differ"):
        validate({"microscope": {"lights": [{"name": "a"}, {"name": "a"}]}}, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"a: 1\na: 2", "stands twice"),
        (b"just words", "no mapping"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_experiment(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_missing_file() -> None:
    with pytest.raises(InputError, match="no such file"):
        load("nowhere.yaml")


@pytest.mark.parametrize("override", ["start.exposure_ms", "=5", "pipeline.99.model=x", "pipeline.first.model=x"])
def test_an_override_that_cannot_be(override: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        load(DEMO, [override])


def test_camera_maps_lie_where_the_yaml_lies(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("microscope: {camera: {gain_map: maps/gain.npy, offset_map: null}}")
    camera = load(tmp_path / "a.yaml", environment={}).microscope.camera
    assert (camera.gain_map, camera.offset_map) == (str(tmp_path / "maps" / "gain.npy"), None)
    typed = load(tmp_path / "a.yaml", ["microscope.camera.gain_map=here.npy"], {}).microscope.camera
    assert typed.gain_map == "here.npy"  # as the user's shell sees it
    (tmp_path / "b.yaml").write_text(f"microscope: {{camera: {{gain_map: '{(tmp_path / 'g.npy').as_posix()}'}}}}")
    assert Path(str(load(tmp_path / "b.yaml", environment={}).microscope.camera.gain_map)) == tmp_path / "g.npy"
