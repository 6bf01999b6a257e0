"""`process` reads its calibration files, refuses wrong ones before anything is written, and reports."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from smartscope import plugins
from smartscope.errors import ConfigurationError, InputError
from smartscope.ports import TaskInputs
from smartscope.processing import process_file

SEEN: list[TaskInputs] = []


class Echo:
    """A task that says what it was given."""

    def run(self, inputs: TaskInputs, report: Callable[[int, int], None]) -> Mapping[str, Any]:
        SEEN.append(inputs)
        report(1, 1)
        return {"frames": 1, "median_ms": 2.5, "engine": "none", "warnings": ["resampled images?"]}


@pytest.fixture(autouse=True)
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    SEEN.clear()
    monkeypatch.setattr(plugins, "find", lambda group, name: Echo)


def process(tmp_path: Path, **changes: Any) -> str:
    source = tmp_path / "movie.tif"
    source.write_bytes(b"")
    values: dict[str, Any] = {
        "source": source, "output": tmp_path / "out.tif", "camera": None, "optics": None, "options": (), "report": None,
    }  # fmt: skip
    return process_file("echo", **{**values, **changes})


def test_calibration_options_and_report_reach_their_places(tmp_path: Path) -> None:
    camera, report = tmp_path / "camera.json", tmp_path / "report.json"
    camera.write_text(json.dumps({"offset_adu": 7, "psf": {"sigma_nm": 120}, "clock_induced_charge_e": 0.1}))
    line = process(tmp_path, camera=camera, options=["polarity=dark", "sigma_px=2"], report=report, progress=False)
    assert SEEN[0].instrument.camera.offset_adu == 7
    assert SEEN[0].options == {"polarity": "dark", "sigma_px": 2, "camera_given": True}
    assert "median_ms 2.5" in line
    assert line.endswith("\nnote: resampled images?")
    assert json.loads(report.read_text())["engine"] == "none"


def test_without_camera_json_the_task_is_told(tmp_path: Path) -> None:
    process(tmp_path, progress=True)
    assert SEEN[0].options == {"camera_given": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": Path("nowhere.tif")}, "no such file"),
        ({"output": Path("nowhere/out.tif")}, "make the folder first"),
        ({"camera": Path("nowhere.json")}, "cannot be read"),
    ],
)
def test_paths_that_lead_nowhere(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        process(tmp_path, **changes)


def test_wrong_keys_are_named(tmp_path: Path) -> None:
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"ofset_adu": 7, "read_noise_e": -1}))
    with pytest.raises(ConfigurationError) as caught:
        process(tmp_path, camera=camera)
    assert {problem.key for problem in caught.value.problems} == {"ofset_adu", "read_noise_e"}
    with pytest.raises(ConfigurationError, match="KEY=VALUE"):
        process(tmp_path, options=["polarity"])
    assert SEEN == []
