"""Bad input: exit code 1 (2 for wrong usage), one line with key, value and remedy, and nothing left half-done."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from system_helpers import LIGHT, REPOSITORY, Ended, Workplace, smartscope

WHOLE = {"dose__budget_j_per_cm2": 100}


def check_refused(place: Workplace, ended: Ended, *words: str) -> None:
    """One line with these words; no run folder, no light."""
    complaint = ended.complaint
    for word in words:
        assert word in complaint, complaint
    assert not place.folders
    assert not place.lamps.ever_on


# ---------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start__exposure_msec": 5}, ("start.exposure_msec = 5", "no such key", "remedy: check the spelling")),
        ({"strat": {}}, ("strat", "no such key")),
        ({"start__exposure_ms": -5}, ("start.exposure_ms = -5", "allowed: > 0")),
        ({"start__exposure_ms": "5 ms"}, ("start.exposure_ms = '5 ms'", "number")),
        ({"start__exposure_ms": 500}, ("start.exposure_ms = 500", "allowed: 1.0 to 50.0", "remedy: ")),
        ({"start__lights_mw": {LIGHT: 25}}, (f"start.lights_mw.{LIGHT} = 25", "allowed: <= 20.0 mW", "remedy: ")),
        ({"start__lights_mw": {"lasre": 1}}, ("start.lights_mw.lasre", "no such light", f"allowed: {LIGHT}")),
        ({"limits__lights": {}}, (f"start.lights_mw.{LIGHT}", "without limits", f"remedy: add limits.lights.{LIGHT}")),
        ({"start__z_um": 1.0}, ("start.z_um = 1.0", "remedy: give limits.z_um")),
        ({"seed": -1}, ("seed = -1", "allowed: >= 0")),
        ({"clock": "fast"}, ("clock = 'fast'", "'live' or 'virtual'")),
        (
            {"start__roi": {"x": 40, "y": 0, "width": 32, "height": 32}},
            ("start.roi = x 40+32, y 0+32", "outside the sensor", "allowed: within 64 x 64 pixels", "remedy: "),
        ),
        ({"start__roi": {"x": 0, "y": 0, "width": 8, "height": 32}}, ("start.roi.width = 8", "allowed: >= 16")),
        ({"bus__enabled": True, "bus__host": "0.0.0.0"}, ("bus.host = '0.0.0.0'", "allowed: 127.0.0.1", "keys new")),
        ({"bus__enabled": True, "bus__data_port": 70000}, ("bus.data_port = 70000", "allowed: <= 65535")),
        ({"microscope__driver": "simulatd"}, ("microscope.driver = 'simulatd'", "simulated", "remedy: ")),
        (
            {"microscope__options__specimen": "fish"},
            ("microscope.options.specimen = 'fish'", "'cells', 'beads', 'filaments', 'blinking', 'dividing_nuclei', "),
        ),
        ({"microscope__options__redout_ms": 5}, ("microscope.options.redout_ms = 5", "no such key")),
        ({"pipeline": [{"model": "denoize"}]}, ("pipeline.0.model = 'denoize'", "denoise", "remedy: ")),
        ({"pipeline": [{"model": "nowhere:Model"}]}, ("pipeline.0.model = 'nowhere:Model'", "nowhere", "remedy: ")),
        ({"pipeline": [{"model": "track", "options": {"gat": 1}}]}, ("pipeline.0.options.gat = 1", "no such key")),
        ({"policies": [{"policy": "exposur"}]}, ("policies.0.policy = 'exposur'", "exposure", "remedy: ")),
        ({"policies": [{"policy": "exposure"}]}, ("policies.0.options.target_signal_to_noise", "required")),
        (
            {"policies": [{"policy": "laser_power", "options": {"light": "lasre"}}], **WHOLE},
            ("policies.0.options.light = 'lasre'", "no such light", f"allowed: {LIGHT}"),
        ),
        ({"microscope__camera": {"gain_map": "no.npy"}}, ("microscope.camera.gain_map = 'no.npy'", "no such file")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_key_or_value_is_named(place: Workplace, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    check_refused(place, place.run(**changes), "experiment.yaml", *words)


def test_a_misspelt_key_on_the_command_line_is_named(place: Workplace) -> None:
    path = place.write()
    check_refused(place, smartscope("run", path, "--set", "bus.contol_port=7003"), "bus.contol_port = 7003")
    check_refused(place, smartscope("run", path, "--set", "pipeline.7.model=track"), "pipeline.7.model", "0 to 0")
    check_refused(place, smartscope("run", path, "--set", "seed"), "seed", "key.path=value")
    check_refused(place, smartscope("run", path, "--arm", "fully"), "arm = 'fully'", "'shadow', 'clamped' or 'armed'")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "holds no experiment"),
        ("- 1\n- 2\n", "holds no experiment"),
        ("start: {exposure_ms: 5\n", "is not YAML"),
        ("seed: 1\nseed: 2\n", "stands twice"),
        ("\x00\x01", "is not YAML"),
    ],
)
def test_a_file_that_is_no_experiment(place: Workplace, text: str, word: str) -> None:
    Path("odd.yaml").write_text(text, encoding="utf-8")
    check_refused(place, smartscope("run", "odd.yaml"), "odd.yaml", word, "remedy: ")


def test_a_missing_configuration(place: Workplace) -> None:
    check_refused(place, smartscope("run", "nowhere.yaml"), "nowhere.yaml: no such file", "remedy: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["fly"],
        ["run", "experiment.yaml", "--fames", "3"],
        ["run", "experiment.yaml", "--frames", "few"],
        ["replay", "experiment.yaml", "--schedule", "sometimes"],
        ["process", "denoise"],
    ],
)
def test_wrong_usage_exits_with_2(place: Workplace, arguments: list[str]) -> None:
    place.write()
    ended = smartscope(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.err
    assert not place.folders


# ---------------------------------------------------------------- check


def test_check_lists_all_problems_at_once_and_touches_nothing(place: Workplace) -> None:
    path = place.write(
        start__exposure_ms=500,
        start__roi={"x": 60, "y": 0, "width": 32, "height": 32},
        pipeline=[{"model": "denoize"}],
        policies=[{"policy": "exposur"}],
        microscope__options__redout_ms=5,
    )
    ended = smartscope("check", path)
    assert ended.code == 1
    lines = ended.out.splitlines()
    keys = [line.split(" = ")[0].split(":")[0] for line in lines]
    assert sorted(keys) == [
        "microscope.options.redout_ms",
        "pipeline.0.model",
        "policies.0.policy",
        "start.exposure_ms",
        "start.roi",
    ]
    as_json = smartscope("check", path, "--json")
    assert as_json.code == 1
    assert sorted(problem["key"] for problem in json.loads(as_json.out)["problems"]) == sorted(keys)
    assert not place.folders
    assert not place.lamps.powers_mw()


def test_check_lists_misspelt_keys_and_wrong_values_together(place: Workplace) -> None:
    ended = smartscope("check", place.write(seed=-1, start__exposure_msec=5, microscope__optics={"emission_nm": 5}))
    assert ended.code == 1
    assert {line.split(" = ")[0] for line in ended.out.splitlines()} == {
        "seed",
        "start.exposure_msec",
        "microscope.optics.emission_nm",
    }


def test_check_of_a_sound_experiment(place: Workplace) -> None:
    path = place.write()
    assert smartscope("check", path).said == f"{path}: nothing wrong found"
    assert json.loads(smartscope("check", path, "--json").said) == {"config": path, "problems": []}
    assert not place.lamps.powers_mw()
    assert not place.folders


def test_check_of_no_file(place: Workplace) -> None:
    assert "nowhere.yaml: no such file" in smartscope("check", "nowhere.yaml").complaint


# ---------------------------------------------------------------- devices


@pytest.fixture
def demo_camera(monkeypatch: pytest.MonkeyPatch, place: Workplace) -> str:
    """The configuration for Micro-Manager's own devices; skips where they are not installed."""
    pytest.importorskip("mm_test_adapters", reason="needs pip install mm-test-adapters")
    monkeypatch.chdir(REPOSITORY)
    return "configs/demo_camera.yaml"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("microscope.options.cfg=nowhere.cfg", ("microscope.options.cfg = 'nowhere.cfg'", "no such", "remedy: ")),
        ("microscope.options.camera=Camra", ("microscope.options.camera = 'Camra'", "no such device", "Camera")),
        ("microscope.lights.0.device=Lamp", ("microscope.lights.0.device = 'Lamp'", "no such device", "LightPower")),
        ("microscope.lights.0.power_property=Volts", ("Volts", "Voltage")),
        ("microscope.options.xy_stage=Camera", ("xy_stage", "Camera", "XY")),
        ("clock=virtual", ("clock = virtual", "real hardware keeps real time")),
        ("start.roi={x: 500, y: 0, width: 32, height: 32}", ("start.roi = x 500+32", "within 512 x 512 pixels")),
    ],
    ids=lambda value: value.partition("=")[0] if isinstance(value, str) else "",
)
def test_a_device_that_does_not_exist_is_named(
    place: Workplace, demo_camera: str, setting: str, words: tuple[str, ...]
) -> None:
    output = place.folder / "runs" / "one"
    check_refused(place, smartscope("run", demo_camera, "--set", setting, "--output", str(output)), *words)


def test_a_region_outside_the_true_sensor_is_named(place: Workplace, demo_camera: str) -> None:
    """The YAML's sensor is the user's word; the camera has the last one."""
    output = place.folder / "runs" / "one"
    settings = ["microscope.sensor=[2048, 2048]", "start.roi={x: 500, y: 0, width: 32, height: 32}"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    ended = smartscope("run", demo_camera, *arguments, "--output", str(output))
    check_refused(place, ended, "start.roi", "512 x 512 pixels", "remedy: ")


# ---------------------------------------------------------------- movies


def test_movies_that_are_none(place: Workplace) -> None:
    config = place.write(pipeline=[], policies=[])
    Path("text.tif").write_text("I am no movie", encoding="utf-8")
    Path("text.txt").write_text("Neither am I", encoding="utf-8")
    Path("empty.tif").write_bytes(b"")
    tifffile.imwrite("float.tif", np.zeros((2, 32, 32), np.float64))
    Path("folder").mkdir()
    for movie in ("text.tif", "text.txt", "empty.tif", "float.tif", "folder", "nowhere.tif"):
        check_refused(place, smartscope("replay", movie, config), movie, "remedy: ")
    check_refused(place, smartscope("replay", "nowhere.tif"), "nowhere.tif", "remedy: ")


def test_an_empty_movie(place: Workplace) -> None:
    with tifffile.TiffWriter("none.tif"):
        pass
    check_refused(place, smartscope("replay", "none.tif", place.write()), "none.tif", "remedy: ")


def test_a_run_that_is_none_cannot_be_decided_again(place: Workplace) -> None:
    Path("folder").mkdir()
    check_refused(place, smartscope("replay", "folder", "--schedule", "recorded"), "folder", "no run folder", "remedy")


def test_process_with_wrong_input_writes_nothing(place: Workplace) -> None:
    Path("text.tif").write_text("I am no movie", encoding="utf-8")
    tifffile.imwrite("movie.tif", np.full((2, 32, 32), 100, np.uint16))
    Path("camera.json").write_text('{"offset_adus": 3}', encoding="utf-8")
    before = set(Path().iterdir())
    wrong = [
        (("denoise", "text.tif", "out.tif"), "text.tif"),
        (("detect", "nowhere.tif", "out.csv"), "nowhere.tif: no such file"),
        (("track", "movie.tif", "nowhere/out.csv"), "its folder does not exist"),
        (("denoize", "movie.tif", "out.tif"), "'denoize'"),
        (("denoise", "movie.tif", "out.tif", "--camera", "camera.json"), "offset_adus = 3: no such key"),
        (("denoise", "movie.tif", "out.tif", "--camera", "text.tif"), "text.tif: is no JSON"),
        (("denoise", "movie.tif", "out.tif", "--option", "model=track"), "gave no image"),
        (("denoise", "movie.tif", "out.tif", "--option", "strenth=2"), "strenth = 2: no such key"),
        (("detect", "movie.tif", "out.csv", "--option", "sigma"), "KEY=VALUE"),
    ]
    for arguments, word in wrong:
        assert word in smartscope("process", *arguments).complaint
        assert set(Path().iterdir()) == before


# ---------------------------------------------------------------- places and ports


def test_an_output_that_exists_is_left_alone(place: Workplace) -> None:
    Path("mine").mkdir()
    Path("mine/data.txt").write_text("precious", encoding="utf-8")
    check_refused(place, smartscope("run", place.write(), "--output", "mine"), "mine: exists already", "remedy: ")
    assert [file.name for file in Path("mine").iterdir()] == ["data.txt"]


@pytest.mark.parametrize("arguments", [["--set", "output=file/runs"], ["--output", "file/runs/one"]])
def test_an_output_that_cannot_be_written(place: Workplace, arguments: list[str]) -> None:
    Path("file").write_text("I am no folder", encoding="utf-8")
    check_refused(place, smartscope("run", place.write(), *arguments), "file", "remedy: ")
    assert Path("file").is_file()


def test_an_output_whose_disk_is_full_already(place: Workplace) -> None:
    check_refused(place, place.run(recorder__min_free_gb=1e9), "GB left on the disk", "recorder.min_free_gb")


@pytest.mark.parametrize("port", ["events_port", "data_port", "control_port", "laser_off"])
def test_a_port_in_use(place: Workplace, port: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        changes = {f"bus__{port}": number} if port != "laser_off" else {"bus__control_port": number - 1}
        ended = place.run(clock="virtual", bus__enabled=True, **changes)
    check_refused(place, ended, str(number), "bus.", "remedy: ")


def test_bad_input_leaves_no_trace_on_the_terminal_but_its_line(place: Workplace) -> None:
    """As a user types it: a process of its own."""
    with place.started(start__exposure_msec=5) as process:
        out, err = process.communicate(timeout=60)
    assert not out
    assert re.fullmatch(r"smartscope: experiment\.yaml: start\.exposure_msec = 5: no such key; remedy: .*\n", err)
    assert process.returncode == 1


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(__import__("os"), "geteuid"), reason="needs permissions")
def test_an_output_without_permission(place: Workplace) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    Path("locked").mkdir(mode=0o500)
    check_refused(place, smartscope("run", place.write(), "--set", "output=locked/runs"), "locked", "remedy: ")
