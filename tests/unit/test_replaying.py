"""Deciding again: nothing is taken for a difference that is none, and what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from system_helpers import LIGHT, experiment

from smartscope.app import run_experiment
from smartscope.config import ExperimentConfig
from smartscope.errors import InputError
from smartscope.recorder.folder import FRAMES, LOCALIZATIONS
from smartscope.recorder.reader import RunReader
from smartscope.replaying import replay_recorded

STACKS = "smartscope.policies.structured_illumination:StructuredIlluminationPolicy"


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


def test_bursts_with_their_light_are_decided_again(tmp_path: Path) -> None:
    fringes = {"pupil_fraction": 0.85, "slm": {"shape": [512, 512], "pixel_size_nm": 90}}
    options = {"light": LIGHT, "every_s": 0.1, "exposure_ms": 4.0, "power_mw": 6.0}
    folder = recorded(
        tmp_path,
        frames=60,
        policies=[{"policy": STACKS, "options": options}],
        microscope__optics={"structured_illumination": fringes},
    )
    run = RunReader(folder)
    planned = [row for row in run.frame_rows if "pattern" in row]
    assert [row["pattern"] for row in planned[:9]] == [*range(9)]
    assert {(row["lights_mw"][LIGHT], row["exposure_ms"]) for row in planned} == {(6.0, 4.0)}
    assert {row["lights_mw"][LIGHT] for row in run.frame_rows if "pattern" not in row} >= {2.0}
    asked = [row for row in run.decisions if row["granted"] and row["granted"]["type"] == "RunPlan"]
    assert asked
    assert asked[0]["granted"]["lights_mw"] == {LIGHT: 6.0}
    assert asked[0]["granted"]["events"][8]["slm_image"]["data"].startswith("512x512 uint8 ")
    assert (folder / "decisions.jsonl").stat().st_size < 40_000
    again = replay_recorded(folder, None)
    assert again.compared == len([row for row in run.decisions if row["frame"] >= 0])
    assert again.differing == 0


def test_decisions_on_molecules_are_made_again_to_the_last_bit(tmp_path: Path) -> None:
    pipeline = [{"model": "localizing:MadeUpLocalizer", "deadline_ms": 1000, "virtual_ms": 1}]
    run = recorded(tmp_path, pipeline=pipeline, policies=[{"policy": "localizing:BrightnessPolicy"}])
    again = replay_recorded(run, None)
    assert again.compared > 5
    assert again.identical, again.line
    (run / LOCALIZATIONS).unlink()
    with pytest.raises(InputError, match=r"localizations\.npy: cannot be read"):
        replay_recorded(run, None)


def test_decisions_on_events_and_settled_tracks_are_made_again_to_the_last_bit(tmp_path: Path) -> None:
    pipeline = [{"model": "track_helpers:MadeUpTracker", "deadline_ms": 1000, "virtual_ms": 1}]
    run = recorded(tmp_path, pipeline=pipeline, policies=[{"policy": "track_helpers:EventPolicy"}])
    asked = {row["asked"]["power_mw"] for row in RunReader(run).decisions if row["frame"] >= 0}
    assert len(asked) > 4  # what was settled, revised and told made a difference
    again = replay_recorded(run, None)
    assert again.compared > 5
    assert again.identical, again.line


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


ENDING = {"policy": "misbehaving:EndingPolicy", "options": {"after_s": 0.1}}


def test_a_policy_ends_the_run_for_the_record_and_in_replay(tmp_path: Path) -> None:
    folder = recorded(tmp_path, frames=200, policies=[ENDING])
    run = RunReader(folder)
    assert run.run["state"] == "done"
    assert run.run["ended_because"] == "0.1 s are enough, says the policy"
    assert len(run.frame_rows) < 20
    (asked,) = [row for row in run.decisions if row["frame"] >= 0]
    assert asked["granted"] == asked["asked"] == {"type": "EndRun"}
    assert not asked["shadow"]
    assert replay_recorded(folder, None).differing == 0
    html = (folder / "report.html").read_text()
    assert "0.1 s are enough, says the policy" in html
    assert "EndRun" in html


def test_in_shadow_the_run_goes_on_to_its_planned_end(tmp_path: Path) -> None:
    run = RunReader(recorded(tmp_path, frames=30, policies=[ENDING], arm="shadow"))
    assert len(run.frame_rows) == 30
    assert run.run["ended_because"] == "30 frames"
    assert all(row["shadow"] and row["granted"] == {"type": "EndRun"} for row in run.decisions if row["frame"] >= 0)
