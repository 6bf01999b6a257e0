"""What a user can rely on: the same seed gives the same run, a replay decides the same, arming means what it says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from system_helpers import (
    LIGHT,
    POWER_MW,
    REPOSITORY,
    Workplace,
    check_frames,
    check_lights_of_frames,
    rows,
    set_all,
    smartscope,
)

from smartscope.recorder.reader import RunReader

DEMO = str(REPOSITORY / "configs" / "demo.yaml")
SMALL = ("microscope.sensor=[96, 96]", "recorder.min_free_gb=0", "bus.enabled=false", "duration_s=1")
VIRTUAL = {"clock": "virtual"}
BLINK = {"policies": [{"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT}}]}


def demo(output: str, *settings: str) -> RunReader:
    """The demo on a small sensor, for a second."""
    arguments = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    assert output in smartscope("run", DEMO, "--output", output, *arguments).said
    return RunReader(Path(output))


def pixels_hash(run: RunReader) -> str:
    """Of all frames, in order."""
    digest = hashlib.sha256()
    for frame in run.frames:
        digest.update(frame.pixels.tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------- virtual time


def test_the_same_seed_gives_the_same_run_and_another_seed_another(place: Workplace) -> None:
    first, again, other = (demo(name, "clock=virtual", f"seed={seed}") for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert len(first.decisions) > 5
    assert pixels_hash(first) == pixels_hash(again) != pixels_hash(other)
    for log in ("frame_rows", "decisions", "results", "events"):
        assert rows(first, log) == rows(again, log)
    assert rows(first, "decisions") != rows(other, "decisions")
    assert rows(first, "results") != rows(other, "results")


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_run_of_so_many_frames_has_so_many(place: Workplace, clock: str) -> None:
    fast = {"start__exposure_ms": 1, "microscope__options__readout_ms": 0.1}
    path = place.write(clock=clock, frames=..., duration_s=60, **fast)
    assert "done" in smartscope("run", path, "--frames", "17").said
    run = place.the_run
    assert len(run.frame_rows) == 17
    check_frames(run)
    assert run.run["config"]["frames"] == 17
    assert run.run["config"]["duration_s"] is None


def test_a_run_of_so_many_seconds(place: Workplace) -> None:
    assert "done" in smartscope("run", place.write(**VIRTUAL), "--duration", "0.5").said
    frames = place.the_run.frame_rows
    assert 50 <= len(frames) <= 53  # 9.5 ms each
    assert frames[-1]["t_end_ns"] - frames[0]["t_start_ns"] < 0.51e9


def test_runs_of_the_same_second_have_folders_of_their_own(place: Workplace) -> None:
    path = place.write(clock="virtual", frames=2, pipeline=[])
    for _ in range(6):
        assert "done" in smartscope("run", path).said
    assert len(place.folders) == 6


# ---------------------------------------------------------------- the live run


def test_a_live_run_keeps_all_that_it_promises(place: Workplace) -> None:
    said = place.run(frames=60, **BLINK).said
    run = place.the_run
    report = run.path / "report.html"
    assert str(report) in said.replace("runs/", f"{run.path.parent}/") or report.name in said
    assert len(said.splitlines()) == 1
    text = report.read_text(encoding="utf-8")
    assert text.count("<svg") + text.count("data:image/png;base64,") >= 2
    assert not re.search(r"""(src|href)=["']https?:""", text)
    assert run.run["state"] == "done"
    assert run.run["error"] is None
    assert run.run["config"]["name"] == "trial"
    assert {"smartscope", "numpy", "pymmcore-plus"} <= set(run.run["versions"])
    check_frames(run)
    check_lights_of_frames(place)
    for row in run.decisions:
        assert row["why"]
        if row["policy"].startswith("misbehaving") and row["t_applied_ns"]:
            assert row["t_exposure_mid_ns"] < row["t_received_ns"] < row["t_result_ns"] < row["t_applied_ns"]
    assert not place.lamps.on


def test_the_report_can_be_written_again(place: Workplace) -> None:
    assert place.run(**VIRTUAL).said
    report = place.the_run.path / "report.html"
    report.unlink()
    assert smartscope("report", str(place.the_run.path)).said == str(report)
    assert report.is_file()
    assert "no run folder" in smartscope("report", "nowhere").complaint


# ---------------------------------------------------------------- replay


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_replay_as_recorded_decides_the_same(place: Workplace, clock: str) -> None:
    run = demo("run", f"clock={clock}")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    made = sum(row["policy"] not in ("start", "operator", "safety") for row in run.decisions)
    assert made > 5
    again = smartscope("replay", "run", "--schedule", "recorded").said
    assert again == f"{made} decisions made again, 0 differ"
    recomputed = smartscope("replay", "run", "--schedule", "recorded", "--recompute").said
    assert recomputed == f"{made} decisions made again, 0 differ"
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_policy_reads_out_less_and_has_a_plan_carried_out(place: Workplace, clock: str) -> None:
    limits = {"limits__z_um": {"low": -10, "high": 10}, "limits__min_roi_px": 16}
    policies = [{"policy": "misbehaving:CameraPolicy"}]
    assert place.run(clock=clock, frames=60, policies=policies, **limits).said
    run = place.the_run
    check_frames(run)
    shapes = [frame.pixels.shape for frame in run.frames]
    assert shapes == sorted(shapes, reverse=True)
    assert set(shapes) == {(64, 64), (32, 32)}
    planned = [frame for frame in run.frames if frame.settings.exposure_ms == 3]
    assert np.diff([frame.settings.z_um for frame in planned]).tolist() == [1, 1]
    assert len({frame.epoch for frame in run.frames}) == 4
    decided = [row for row in run.decisions if row["policy"] == "misbehaving:CameraPolicy"]
    assert [row["granted"]["type"] for row in decided] == ["SetRoi", "RunPlan"]
    assert all(row["t_applied_ns"] > row["t_result_ns"] for row in decided)
    again = smartscope("replay", str(run.path), "--schedule", "recorded").said
    assert again == "2 decisions made again, 0 differ"


def test_a_replay_with_another_configuration_says_what_would_have_been(place: Workplace) -> None:
    demo("run", "clock=virtual")
    changed = (*SMALL, "clock=virtual", "policies.0.options.target_signal_to_noise=3")
    said = smartscope("replay", "run", DEMO, "--schedule", "recorded", *set_all(*changed)).said
    found = re.match(r"(\d+) decisions made again, (\d+) differ; first: frame \d+, \w+: recorded .*, now .*", said)
    assert found
    assert int(found[2]) > 0


def test_a_replay_of_tampered_results_differs(place: Workplace) -> None:
    demo("run", "clock=virtual")
    results = Path("run/results/results.jsonl")
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["quality"]["signal_to_noise"] *= 1.5
    results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = smartscope("replay", "run", "--schedule", "recorded")
    assert ended.code == 1
    assert re.search(r"[1-9]\d* differ; first: frame", ended.out)
    ended = smartscope("replay", "run", "--schedule", "recorded", "--recompute")
    assert ended.code == 1
    assert "leave the tolerance" in ended.out


def test_every_frame_of_a_run_can_be_replayed_as_a_movie(place: Workplace) -> None:
    run = demo("run", "clock=virtual")
    assert "done" in smartscope("replay", "run", "--output", "again").said
    again = RunReader(Path("again"))
    assert pixels_hash(again) == pixels_hash(run)
    assert len(again.results) == len(run.frame_rows)
    assert all(row["shadow"] for row in again.decisions if row["policy"] not in ("start", "operator", "safety"))


def test_a_replay_without_config_of_a_movie_asks_for_one(place: Workplace) -> None:
    tifffile.imwrite("movie.tif", np.full((3, 32, 32), 100, np.uint16), photometric="minisblack")
    assert "movie.tif: a movie needs a configuration" in smartscope("replay", "movie.tif").complaint


# ---------------------------------------------------------------- arming


def granted_mw(run: RunReader) -> set[float]:
    """Powers that were granted to the blinking policy."""
    rows = [row for row in run.decisions if row["policy"] == "misbehaving:BlinkingPolicy" and row["granted"]]
    return {row["granted"]["power_mw"] for row in rows if row["clipped_by"] != "lights"}


def test_in_shadow_nothing_is_done(place: Workplace) -> None:
    assert smartscope("run", place.write(**VIRTUAL, **BLINK), "--arm", "shadow").said
    run = place.the_run
    asked = [row for row in run.decisions if row["policy"] == "misbehaving:BlinkingPolicy"]
    assert len(asked) > 3
    assert all(row["shadow"] and row["t_applied_ns"] == 0 and row["granted"] for row in asked)
    assert set(place.lamps.powers_mw()[0]) == {0.0, POWER_MW}


def test_clamped_keeps_to_a_fraction_of_the_limits(place: Workplace) -> None:
    """A quarter of 4 mW is 1 mW, for the first setting too."""
    policy = {"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT, "low_mw": 0.5}}
    changes: dict[str, Any] = {"limits__lights": {LIGHT: {"max_power_mw": 4}}, "policies": [policy]}
    assert smartscope("run", place.write(**VIRTUAL, **changes), "--arm", "clamped").said
    run = place.the_run
    assert granted_mw(run) == {0.5, 1.0}
    clipped = [row for row in run.decisions if row["asked"].get("power_mw") == 3.0]
    assert clipped
    assert all(row["clipped_by"] for row in clipped)
    assert set(place.lamps.powers_mw()[0]) == {0.0, 0.5, 1.0}


def test_armed_does_what_is_asked(place: Workplace) -> None:
    assert place.run(**VIRTUAL, **BLINK).said
    assert {1.0, 3.0} <= granted_mw(place.the_run)
    assert set(place.lamps.powers_mw()[0]) == {0.0, 1.0, POWER_MW, 3.0}
