"""A model that fails, and an image that nobody can trust, cost what they must and no more; run and report say so."""

from __future__ import annotations

import json
import threading
from typing import Any

import misbehaving
import pytest
from system_helpers import Workplace, alarms, check_frames, check_lights_of_frames, experiment, smartscope, wait_for

from smartscope.app import Rig, run_experiment
from smartscope.drops import DROPS
from smartscope.loading import validate
from smartscope.recorder.reader import RunReader


def handing_over(name: str, to: str = "GoodModel", **changes: Any) -> dict[str, Any]:
    """A pipeline of quality figures, and of one misbehaving model with a fall-back."""
    stage = {"model": f"misbehaving:{name}", "fallback": f"misbehaving:{to}", "deadline_ms": 1000, **changes}
    return {"pipeline": [{"model": "quality", "deadline_ms": 1000}, stage]}


@pytest.mark.parametrize("clock", ["live", "virtual"])
@pytest.mark.parametrize(
    ("name", "why"), [("RaisingModel", "raised ValueError: no cells"), ("NonsenseModel", "not finite")]
)
def test_a_model_that_fails_hands_over_and_the_run_goes_on(place: Workplace, clock: str, name: str, why: str) -> None:
    said = place.run(clock=clock, **handing_over(name)).said
    run = place.the_run
    (fallback,) = run.run["fallbacks"]
    assert (fallback["stage"], fallback["to"]) == (f"misbehaving:{name}", "misbehaving:GoodModel (fall-back)")
    assert why in fallback["why"]
    assert [alarm for alarm in alarms(run) if why in alarm]
    assert run.run["state"] == "done"
    assert len(run.frame_rows) == 30
    names = [row["timings"][1][0] for row in run.results]
    first = names.index("misbehaving:GoodModel (fall-back)")
    assert first == sum(row["frame"] < 10 for row in run.results)
    assert len(set(names[first:])) == 1
    assert run.run["drops"]["fallback_results"] == len(names) - first
    assert f"{len(names) - first} results by fall-back" in said
    assert "has taken over" in (run.path / "report.html").read_text(encoding="utf-8")
    recomputed = smartscope("replay", str(run.path), "--schedule", "recorded", "--recompute").said
    assert recomputed.endswith(" 0 differ")


def test_a_model_that_is_always_late_hands_over(place: Workplace) -> None:
    assert place.run(frames=60, **handing_over("LateModel", deadline_ms=1)).said
    run = place.the_run
    assert "late 20 times in a row" in run.run["fallbacks"][0]["why"]
    assert run.run["drops"]["late_answers"] >= 20
    assert [row["timings"][1][3] for row in run.results][-1] == "ok"


def test_a_model_that_hangs_is_left_behind_and_the_run_goes_on(place: Workplace) -> None:
    """The light stays on: there is somebody who understands the frames."""
    misbehaving.LET_GO.clear()
    config = validate(experiment(frames=10**6, **handing_over("HangingModel", deadline_ms=50)), "here")
    threads: list[int] = []

    def end_it(rig: Rig) -> None:
        wait_for(lambda: rig.pipeline.fell_back > 20, "results of the fall-back")
        threads.append(sum(thread.name == "pipeline" for thread in threading.enumerate()))
        rig.loop.ask("stop", why="seen enough")
        wait_for(lambda: rig.loop.state == "ended", "the end of the run")
        misbehaving.LET_GO.set()

    def onlooker(rig: Rig) -> None:
        threading.Thread(target=end_it, args=(rig,)).start()

    run_experiment(config, output=place.folder / "runs" / "hanging", on_rig=onlooker)
    run = place.the_run
    assert threads == [2]  # the one that hangs, and the one that took its place
    assert run.run["state"] == "stopped"
    assert "has not answered for" in run.run["fallbacks"][0]["why"]
    check_frames(run)
    check_lights_of_frames(place)
    wait_for(lambda: not any(thread.name == "pipeline" for thread in threading.enumerate()), "the end of the thread")


def test_a_fallback_is_warmed_up_before_there_is_light(place: Workplace) -> None:
    complaint = place.run(clock="virtual", **handing_over("GoodModel", "ColdModel")).complaint
    assert "warm-up raised RuntimeError: weights are missing" in complaint
    assert not place.lamps.ever_on


def test_a_fallback_is_checked_before_there_is_light(place: Workplace) -> None:
    assert (
        "pipeline.1.fallback_options.z" in place.run(**handing_over("GoodModel", fallback_options={"z": 1})).complaint
    )
    assert "nobody_has_this" in place.run(**handing_over("GoodModel", fallback="nobody_has_this")).complaint
    assert not place.lamps.ever_on


def test_an_invented_structure_moves_nothing(place: Workplace) -> None:
    stages = [
        {"model": "quality"},
        {"model": "misbehaving:InventingDenoiser", "options": {"at_frame": 15}},
        {"model": "detect_cells", "options": {"min_radius_um": 0.3, "max_radius_um": 3}},
        {"model": "track"},
    ]
    moving, exposure = "misbehaving:MovingPolicy", {"policy": "exposure", "options": {"target_signal_to_noise": 50}}
    policies = [{"policy": moving}, exposure]  # the first does not say what it reads, the second reads raw figures
    bright = {"start__lights_mw": {"laser": 10}, "recorder__processed_every": 5}
    said = place.run(clock="virtual", frames=40, pipeline=stages, policies=policies, **bright).said
    run = place.the_run
    trusted = {row["frame"]: row["image_trust"] for row in run.results}
    assert all(trust > 0.5 for frame, trust in trusted.items() if frame < 15)
    assert all(trust < 0.01 for frame, trust in trusted.items() if frame >= 15)
    assert all("tracks" in row["from_image"] for row in run.results)
    late = [row for row in run.decisions if row["frame"] >= 15]
    moves = [row for row in late if row["policy"] == moving]
    assert len(moves) > 10
    assert all(row["clipped_by"] == "image_trust" and row["granted"] is None for row in moves)
    assert all("the denoised image leaves more than noise, most at x " in row["why"] for row in moves)
    assert any(row["policy"] == "exposure" and row["t_applied_ns"] for row in late)
    mixed = {frame.index for frame in run.frames if frame.mixed}  # these drive nothing anyway
    _check_the_story(run, said, sum(trust < 0.5 for frame, trust in trusted.items() if frame not in mixed))


def _check_the_story(run: RunReader, said: str, untrusted: int) -> None:
    """Figures, record and report say what was not acted on, and show why."""
    assert list(run.run["drops"]) == list(DROPS)
    assert run.run["drops"]["untrusted_results"] == untrusted
    assert run.run["summary"]["drops"] == run.run["drops"]
    assert f"{untrusted} results not trusted" in said
    first, last = (run.residual_map(row) for row in (run.processed_rows[0], run.processed_rows[-1]))
    assert first is not None
    assert last is not None
    assert first.shape == last.shape == (2, 4, 4)
    assert first.max() < 3 < last[1].max()
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Left by the denoiser" in text
    assert all(what in text for what in DROPS.values())
    assert smartscope("replay", str(run.path), "--schedule", "recorded").said.endswith(" 0 differ")
    assert smartscope("replay", str(run.path), "--schedule", "recorded", "--recompute").said.endswith(" 0 differ")
    assert json.loads((run.path / "run.json").read_text())["fallbacks"] == []
