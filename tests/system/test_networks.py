"""A network in the loop: it runs in the pipeline of a whole experiment, its name, hash and engine are in the record."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from system_helpers import smartscope

from smartscope.recorder.reader import RunReader

pytest.importorskip("onnxruntime", reason="the extra 'onnxruntime' is not installed")
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("package", ["denoise_frame", "denoise_causal"])
def test_the_low_light_example_runs_with_the_network(tmp_path: Path, package: str) -> None:
    small = [
        "clock=virtual",
        "bus.enabled=false",
        "microscope.sensor=[128, 128]",
        f"pipeline.1.options.package={package}",
    ]
    settings = [word for change in small for word in ("--set", change)]
    output = tmp_path / "run"
    smartscope("run", str(CONFIGS / "low_light.yaml"), "--frames", "12", "--output", str(output), *settings)
    run = RunReader(output)
    said = run.run["networks"]["denoise_network"]
    assert said["package"] == package
    assert len(said["package_sha256"]) == 64
    assert said["engine"]
    assert not run.run["fallbacks"]
    judged = [row["quality"]["residual_chi2"] for row in run.results]
    assert len(judged) >= 4
    assert all(0.5 < chi2 < 1.2 for chi2 in judged)


def test_the_example_names_what_it_says() -> None:
    tree = yaml.safe_load((CONFIGS / "low_light.yaml").read_text())
    stage = next(stage for stage in tree["pipeline"] if stage["model"] == "denoise_network")
    assert stage["fallback"] == "denoise"
