"""``smartscope models tune``: where camera and versions come from, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smartscope import plugins
from smartscope.cli import app
from smartscope.config import MicroscopeConfig, OpticsConfig
from smartscope.errors import ConfigurationError, InputError
from smartscope_models.tuning import tools
from smartscope_models.tuning.process import Version
from smartscope_models.tuning.request import Request
from smartscope_models.tuning.tools import TuningTools

KEPT = {"kept": True, "objections": [], "steps": 40, "before": {"loss": 0.62}, "after": {"loss": 0.6}}
asked = list[tuple[Request, Path]]()


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def aside(request: Request, output: Path) -> Version:
        asked.append((request, output))
        return Version(output / "small-tuned-1", dict(KEPT))

    asked.clear()
    monkeypatch.setattr(tools, "tune_aside", aside)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as far as this is concerned."""
    own = MicroscopeConfig.model_validate({"camera": {"read_noise_e": 2.5}, "optics": {"numerical_aperture": 0.8}})
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"config": {"microscope": own.model_dump(mode="json")}}))
    return folder


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({"read_noise_e": 1.1, "numerical_aperture": 1.2}))
    return file


def test_a_run_brings_its_camera_and_keeps_its_versions(run: Path, camera: Path, tmp_path: Path) -> None:
    found = TuningTools().tune("small", run, seconds=30.0, seed=5)
    assert found == {"path": str(run / "models" / "small-tuned-1"), **KEPT}
    (request, output), *_ = asked
    assert (request.camera.read_noise_e, request.optics.numerical_aperture) == (2.5, 0.8)
    assert (request.frames, request.seconds, request.seed, output) == (run, 30.0, 5, run / "models")
    assert request.psf_sigma_px == pytest.approx(0.21 * 525 / 0.8 / 100)

    (tmp_path / "optics.json").write_text(json.dumps({"numerical_aperture": 1.4}))
    TuningTools().tune("small", run, optics=tmp_path / "optics.json", output=tmp_path / "kept")
    assert (asked[1][0].camera.read_noise_e, asked[1][0].optics.numerical_aperture) == (2.5, 1.4)
    assert asked[1][1] == tmp_path / "kept"
    TuningTools().tune("small", run, camera=camera)
    assert (asked[2][0].camera.read_noise_e, asked[2][0].optics.numerical_aperture) == (1.1, 1.2)


def test_a_movie_needs_a_camera_and_a_place(tmp_path: Path, camera: Path) -> None:
    movie = tmp_path / "movie.tif"
    with pytest.raises(InputError, match=r"name camera\.json"):
        TuningTools().tune("small", movie, output=tmp_path)
    with pytest.raises(InputError, match="no place for versions"):
        TuningTools().tune("small", movie, camera=camera)
    TuningTools().tune("small", movie, camera=camera, output=tmp_path)
    assert asked[0][0].optics == OpticsConfig(numerical_aperture=1.2)


def test_bounds_out_of_range(run: Path) -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        TuningTools().tune("small", run, seconds=-1.0)
    assert not asked


def command(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["models", "tune", *map(str, words)])


def test_the_command_says_what_was_kept(run: Path) -> None:
    found = command("small", "--frames", run, "--seconds", "20", "--threads", "2")
    assert found.exit_code == 0
    assert "kept: held-out loss 0.6200 → 0.6000 after 40 steps" in found.output
    assert "small-tuned-1" in found.output.replace("\n", "")
    assert (asked[0][0].seconds, asked[0][0].threads) == (20.0, 2)
    assert json.loads(command("small", "--frames", run, "--json").output)["kept"] is True


def test_the_command_says_why_not(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"kept": False, "objections": ["too few frames", "and dark"]}
    monkeypatch.setattr(tools, "tune_aside", lambda request, output: Version(output / "small-tuned-1", record))
    found = command("small", "--frames", run)
    assert found.exit_code == 1
    assert found.output.startswith("not kept: too few frames; and dark (record in ")


def test_the_tools_are_an_entry_point() -> None:
    assert plugins.find("model_tools", "tuning") is TuningTools
