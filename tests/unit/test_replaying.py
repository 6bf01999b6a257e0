"""Deciding again: nothing is taken for a difference that is none, and what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from system_helpers import LIGHT, experiment

from smartscope.app import run_experiment
from smartscope.config import ExperimentConfig
from smartscope.errors import InputError
from smartscope.recorder.folder import FRAMES
from smartscope.recorder.reader import RunReader
from smartscope.replaying import replay_recorded


def recorded(folder: Path, **changes: Any) -> Path:
    """A short virtual run in ``folder/run``."""
    config = ExperimentConfig.model_validate(experiment(clock="virtual", **changes))
    run_experiment(config, output=folder / "run")
    return folder / "run"


def test_a_command_that_was_written_down_late_is_no_difference(tmp_path: Path) -> None:
    blink = {"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT}}
    policies = [{"policy": "misbehaving:MovingPolicy"}, blink]
    slow = {"specimen": "beads", "stage_um_per_s": 100.0}
    # a frame that was exposed before the stage moves is understood while it moves
    late = [{"model": "quality", "virtual_ms": 15}]
    folder = recorded(tmp_path, policies=policies, pipeline=late, microscope__options=slow)
    frames = [row["frame"] for row in RunReader(folder).decisions if row["frame"] >= 0]
    assert frames != sorted(frames)
    again = replay_recorded(folder, None)
    assert again.compared == len(frames)
    assert again.differing == 0


def test_a_run_without_results(tmp_path: Path) -> None:
    folder = recorded(tmp_path, frames=2)
    (folder / "results" / "results.jsonl").write_text("")
    with pytest.raises(InputError, match="no results to decide on"):
        replay_recorded(folder, None)


def test_a_result_whose_frame_is_not_listed(tmp_path: Path) -> None:
    folder = recorded(tmp_path, frames=3)
    listed = (folder / FRAMES).read_text().splitlines(keepends=True)
    (folder / FRAMES).write_text("".join(listed[:1]))
    with pytest.raises(InputError, match="frame 1 has a result but is not listed"):
        replay_recorded(folder, None)


def test_changes_need_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set needs a CONFIG"):
        replay_recorded(recorded(tmp_path, frames=2), None, ["start.exposure_ms=3"])
