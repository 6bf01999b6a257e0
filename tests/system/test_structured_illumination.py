"""The whole way of a stack, in virtual time: policy, burst, fringes, image, verdict, record, report, replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="structured illumination is reconstructed with torch")

from smartscope.app import run_experiment
from smartscope.bursts import announced_carriers, burst
from smartscope.errors import InputError
from smartscope.loading import load
from smartscope.recorder.reader import RunReader
from smartscope.replaying import replay_recorded

CONFIG = Path(__file__).parents[2] / "configs" / "structured_illumination.yaml"
QUICK = ["clock=virtual", "duration_s=4.5", "bus.enabled=false", "microscope.sensor=[128, 128]"]


def ran(folder: Path, *changes: str) -> RunReader:
    config = load(CONFIG, [*QUICK, *changes], {})
    run_experiment(config, output=folder / "run")
    return RunReader(folder / "run")


def stacks(reader: RunReader) -> list[dict]:
    return [row for row in reader.results if "super_resolved" in row]


def test_stacks_become_images_with_verdicts_and_their_light_falls_to_what_is_needed(tmp_path: Path) -> None:
    reader = ran(tmp_path)
    made = stacks(reader)
    assert len(made) >= 4
    assert {row["super_resolved"]["verdict"] for row in made} == {"ok"}
    light = [row["super_resolved"]["settings"]["exposure_ms"] for row in made]
    assert light == sorted(light, reverse=True)
    assert light[-1] < light[0] / 2
    patterned = [frame for frame in reader.frames if frame.settings.pattern is not None]
    assert [frame.settings.pattern for frame in patterned[:18]] == [*range(9), *range(9)]
    dark = [frame for frame in reader.frames if frame.settings.pattern is None]
    assert all(frame.settings.lights_mw == {"laser_488": 0.0} for frame in dark)

    assert len(reader.super_resolved_rows) == len(made)
    image = reader.processed(reader.super_resolved_rows[0])
    assert image.shape == (256, 256)
    assert np.isfinite(image).all()
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Super-resolved" in report
    assert "Resolution" in report

    again = replay_recorded(tmp_path / "run", None)
    assert (again.differing, again.compared >= len(made)) == (0, True)


def test_previews_and_fewer_directions(tmp_path: Path) -> None:
    fewer = ["policies.0.options.every_s=2", "policies.0.options.preview_s=0.5"]
    made = stacks(ran(tmp_path, *fewer))
    kinds = [row["super_resolved"]["preview"] for row in made]
    assert kinds[0] is False
    assert kinds.count(True) >= 3
    assert kinds.count(False) >= 2
    spans = [row["super_resolved"]["raw_frames"] for row in made]
    assert {last - first + 1 for (first, last), preview in zip(spans, kinds, strict=True) if preview} == {3}


FRINGES = "microscope.optics.structured_illumination"
STEPS = [str(step) for step in range(9)]


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ([f"{FRINGES}.beams=3", f"{FRINGES}.phases=5"], 15),
        ([f"{FRINGES}.hexagonal=true", f"{FRINGES}.angles=1", f"{FRINGES}.phases=7"], 7),
        ([f"{FRINGES}.slm=null", f"{FRINGES}.grating={{device: Grating, property: Step, values: {STEPS}}}"], 9),
    ],
)
def test_other_layouts_and_a_stepped_grating_are_configuration_alone(
    tmp_path: Path, changes: list[str], frames: int
) -> None:
    more_light = ["duration_s=1.4", "policies.0.options.power_mw=0.6"]
    made = stacks(ran(tmp_path, *changes, *more_light))
    assert made
    first, last = made[0]["super_resolved"]["raw_frames"]
    assert last - first + 1 == frames
    assert made[0]["super_resolved"]["verdict"] == "ok"


def test_impossible_bursts() -> None:
    microscope = load(CONFIG, [], {}).microscope
    with pytest.raises(InputError, match="steps from 0 to 8"):
        burst(microscope, 10.0, steps=[0, 9])
    with pytest.raises(InputError, match="at least one stack"):
        burst(microscope, 10.0, stacks=0)
    assert announced_carriers(microscope, 128).shape == (3, 1, 2)
