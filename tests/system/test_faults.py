"""Whatever fails, the light goes off, one line says why, and what was recorded can be read."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import misbehaving
import psutil
import pytest
from recording import StubDisk
from system_helpers import (
    LIGHT,
    POWER_MW,
    Ended,
    Workplace,
    alarms,
    check_failed_run,
    check_frames,
    check_lights_of_frames,
    experiment,
    smartscope,
    wait_for,
)

from smartscope import app
from smartscope.app import Rig, run_experiment
from smartscope.errors import StageFailed
from smartscope.frame import Frame
from smartscope.loading import validate
from smartscope.recorder.reader import RunReader
from smartscope.recorder.recorder import Recorder
from smartscope.recorder.rows import frame_from_row, result_from_row
from smartscope_drivers.simulated.microscope import SimulatedMicroscope

ENDLESS: dict[str, Any] = {"frames": 10**6}
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signal")
WINDOWS = pytest.mark.skipif(sys.platform != "win32", reason="only Windows knows this signal")


def model(name: str, **changes: Any) -> dict[str, Any]:
    """A pipeline of one misbehaving model."""
    return {"pipeline": [{"model": f"misbehaving:{name}", "deadline_ms": 1000, **changes}]}


def policy(name: str, **options: Any) -> dict[str, Any]:
    """One misbehaving policy."""
    return {"policies": [{"policy": f"misbehaving:{name}", "options": options}]}


def faults(**changes: Any) -> dict[str, Any]:
    """Simulated devices told to misbehave."""
    return {"microscope__options__faults": changes}


def check_darkened_and_relit(place: Workplace) -> None:
    """The light went off in the middle of the run, came on again by itself, and the alarm is on record."""
    (powers,) = place.lamps.powers_mw()
    assert powers[:4] == [0.0, POWER_MW, 0.0, POWER_MW]
    assert powers[-1] == 0.0
    run = place.the_run
    assert run.run["state"] == "done"
    assert any("light lapsed" in alarm for alarm in alarms(run))
    check_frames(run)
    check_lights_of_frames(place)


# ---------------------------------------------------------------- models and policies


@pytest.mark.parametrize(
    ("plug_in", "clock", "words"),
    [
        (model("RaisingModel"), "live", ("misbehaving:RaisingModel", "ValueError: no cells, no science")),
        (policy("RaisingPolicy"), "live", ("misbehaving:RaisingPolicy", "KeyError")),
        (model("RaisingModel"), "virtual", ("misbehaving:RaisingModel", "ValueError: no cells, no science")),
        (policy("RaisingPolicy"), "virtual", ("misbehaving:RaisingPolicy", "KeyError")),
        (model("NonsenseModel"), "virtual", ("misbehaving:NonsenseModel", "not finite")),
        (policy("NonsensePolicy"), "virtual", ("misbehaving:NonsensePolicy", "instead of a Choice")),
    ],
)
def test_a_plug_in_that_fails_ends_the_run_in_the_dark(
    place: Workplace, plug_in: dict[str, Any], clock: str, words: tuple[str, ...]
) -> None:
    check_failed_run(place, place.run(clock=clock, **ENDLESS, **plug_in), *words, "remedy: ")
    assert place.lamps.ever_on


@pytest.mark.parametrize(
    ("plug_in", "clock", "words"),
    [
        (model("RaisingModel"), "live", "ValueError: no cells, no science"),
        (model("NonsenseModel"), "virtual", "not finite"),
        (policy("RaisingPolicy"), "virtual", "KeyError"),
    ],
)
def test_with_on_fault_plan_a_plug_in_that_fails_loses_its_say_and_the_run_goes_on(
    place: Workplace, plug_in: dict[str, Any], clock: str, words: str
) -> None:
    ended = place.run(clock=clock, safety__on_fault="plan", **plug_in)
    assert "done" in ended.said
    run = place.the_run
    assert run.run["state"] == "done"
    (alarm,) = (alarm for alarm in alarms(run) if "lapsed" not in alarm)
    assert words in alarm
    check_frames(run)
    assert len(run.frame_rows) >= 30
    assert run.frame_rows[-1]["lights_mw"][LIGHT] == POWER_MW
    assert not place.lamps.on


def test_a_model_that_is_late_again_and_again_ends_the_run(place: Workplace) -> None:
    ended = place.run(**ENDLESS, **model("LateModel", deadline_ms=1))
    run = check_failed_run(place, ended, "misbehaving:LateModel", "late 20 times in a row", "deadline 1 ms")
    late = [result_from_row(row, frame_from_row(run.frame_rows[row["frame"]])) for row in run.results]
    late = [result for result in late if result.timings[0].outcome == "late"]
    assert len(late) >= 19  # the twentieth in a row ends the run
    assert all(result.trust == 0 for result in late)


def test_a_model_that_hangs_is_left_behind_in_the_dark(place: Workplace) -> None:
    """The light is seen off while the model still hangs."""
    misbehaving.LET_GO.clear()
    config = validate(experiment(**ENDLESS, **model("HangingModel", deadline_ms=50)), "here")
    off: list[bool] = []

    def let_go(rig: Rig) -> None:
        wait_for(lambda: rig.loop.state == "ended", "the end of the run")
        off.append(place.lamps.ever_on and not place.lamps.on)
        misbehaving.LET_GO.set()

    def onlooker(rig: Rig) -> None:
        threading.Thread(target=let_go, args=(rig,)).start()

    with pytest.raises(StageFailed, match="misbehaving:HangingModel: has not answered for"):
        run_experiment(config, output=place.folder / "runs" / "hanging", on_rig=onlooker)
    assert off == [True]
    assert place.the_run.run["state"] == "failed"
    assert (place.the_run.path / "report.html").is_file()
    check_frames(place.the_run)


def test_a_model_that_cannot_warm_up_is_named_before_there_is_light(place: Workplace) -> None:
    assert "misbehaving:ColdModel: warm-up raised RuntimeError: weights are missing" in (
        place.run(clock="virtual", **model("ColdModel")).complaint
    )
    assert not place.lamps.ever_on
    assert not place.folders


def test_a_model_that_cannot_be_built_is_named_before_there_is_light(place: Workplace) -> None:
    complaint = place.run(clock="virtual", **model("BrokenModel")).complaint
    assert "misbehaving:BrokenModel" in complaint
    assert "FileNotFoundError: weights.bin" in complaint
    assert not place.folders


def test_a_model_that_holds_the_interpreter_lock_darkens_the_sample_for_a_while(place: Workplace) -> None:
    """The lease lapses although no Python of the controller runs; afterwards the light comes back by itself."""
    assert "done" in place.run(frames=150, **model("SelfishModel")).said
    check_darkened_and_relit(place)


# ---------------------------------------------------------------- devices


def test_a_camera_that_raises_ends_the_run(place: Workplace) -> None:
    ended = place.run(**ENDLESS, **faults(raise_at_frame=15))
    run = check_failed_run(place, ended, "told to fail at frame 15")
    assert len(run.frame_rows) <= 15
    assert place.lamps.ever_on


def test_a_driver_that_raises_what_it_should_not_ends_the_run(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the grabber that is none of ours: still one line, with its kind."""
    calls = itertools.count()
    next_frame = SimulatedMicroscope.next_frame

    def raising(self: SimulatedMicroscope, timeout_s: float) -> Frame | None:
        if next(calls) == 40:
            raise ZeroDivisionError("the driver divides by zero")
        return next_frame(self, timeout_s)

    monkeypatch.setattr(SimulatedMicroscope, "next_frame", raising)
    check_failed_run(place, place.run(**ENDLESS), "ZeroDivisionError", "the driver divides by zero")


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_camera_sequence_that_dies_ends_the_run(place: Workplace, clock: str) -> None:
    run = check_failed_run(place, place.run(clock=clock, **ENDLESS, **faults(stop_after_frame=15)), "amera", "remedy: ")
    assert len(run.frame_rows) == 16


def test_a_camera_that_falls_silent_ends_the_run(place: Workplace) -> None:
    changes = {"frame_timeout_s": 0.3, **faults(lose_frames=list(range(10, 5000)))}
    run = check_failed_run(place, place.run(**ENDLESS, **changes), "no frame for", "frame_timeout_s")
    assert len(run.frame_rows) == 10


def test_lost_frames_are_counted_and_no_fault(place: Workplace) -> None:
    assert "done" in place.run(clock="virtual", **faults(lose_every=5)).said
    run = place.the_run
    assert sum(row["lost_before"] for row in run.frame_rows) in (6, 7)
    check_frames(run)


def test_a_stage_that_never_arrives_ends_the_run(place: Workplace) -> None:
    patience = {"safety__device_call_ms": 100, "microscope__options__move_timeout_s": 1.0}
    ended = place.run(**ENDLESS, **policy("MovingPolicy"), **patience, **faults(stall_stage_at_call=3))
    check_failed_run(place, ended, "remedy: ")
    assert "xy" in ended.complaint or "stage" in ended.complaint.lower()
    said = smartscope("replay", str(place.folders[0]), "--schedule", "recorded").said
    assert re.search(r"[1-9]\d* decisions made again, 0 differ", said), said


def test_a_stage_call_that_blocks_for_a_while_does_not_hold_the_loop_up(place: Workplace) -> None:
    block = {"device": "stage", "for_ms": 700, "after_frame": 10}
    assert "done" in place.run(frames=40, **policy("MovingPolicy"), **faults(block=[block])).said
    run = place.the_run
    check_frames(run)
    assert sum(row["lost_before"] for row in run.frame_rows) == 0
    moves = [row for row in run.decisions if row["policy"] == "misbehaving:MovingPolicy"]
    assert moves[-1]["granted"]
    assert moves[-1]["t_applied_ns"] == 0  # still on its way when the run ended
    assert "0 differ" in smartscope("replay", str(run.path), "--schedule", "recorded").said


def test_a_device_call_that_blocks_the_grabber_darkens_the_sample_for_a_while(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    next_frame = SimulatedMicroscope.next_frame

    def blocking(self: SimulatedMicroscope, timeout_s: float) -> Frame | None:
        if next(calls) == 40:
            threading.Event().wait(0.7)
        return next_frame(self, timeout_s)

    monkeypatch.setattr(SimulatedMicroscope, "next_frame", blocking)
    assert "done" in place.run(frames=150).said
    check_darkened_and_relit(place)


def test_a_light_that_does_not_answer_ends_the_run_in_the_dark(place: Workplace) -> None:
    block = {"device": "light", "for_ms": 20_000, "at_call": 3}
    changes = {**policy("BlinkingPolicy", light=LIGHT), **faults(block=[block])}
    check_failed_run(place, place.run(**ENDLESS, **changes), "did not confirm", "remedy: ")


# ---------------------------------------------------------------- the record


def fail_the_disk(monkeypatch: pytest.MonkeyPatch, disk: StubDisk) -> None:
    monkeypatch.setattr(app, "Recorder", partial(Recorder, open_stack=disk, drain_s=0.5))


def test_a_full_disk_ends_the_run(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_the_disk(monkeypatch, StubDisk(fails_at=2))
    ended = place.run(clock="virtual", **ENDLESS, recorder__chunk_mb=0.05)
    assert "No space left on device" in ended.complaint
    assert place.lamps.ever_on
    assert not place.lamps.on
    run = place.the_run
    assert run.run["state"] == "failed"
    assert "No space left on device" in run.run["error"]
    assert 0 < len(run.frame_rows) < 20


def test_a_disk_that_is_too_slow_ends_the_run(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = StubDisk(held=True)
    fail_the_disk(monkeypatch, disk)
    try:
        ended = place.run(**ENDLESS, recorder__queue_mb=0.1, recorder__chunk_mb=0.01)
    finally:
        disk.may_end.set()
    assert "frames come faster than the disk takes them" in ended.complaint
    assert "recorder.queue_mb" in ended.complaint
    assert not place.lamps.on
    assert place.the_run.run["state"] == "failed"


@UNIX
def test_a_real_disk_limit_ends_the_run_and_listed_frames_are_readable(place: Workplace) -> None:
    """The operating system refuses any file beyond 300 kB, as a full disk would."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "from smartscope.cli import main; main()"
    )
    path = place.write(**ENDLESS, recorder__compression="none", recorder__chunk_mb=0.05)
    ran = subprocess.run([sys.executable, "-c", program, "run", path], capture_output=True, text=True, cwd=place.folder)
    ended = Ended(ran.returncode, ran.stdout, ran.stderr)
    assert "File too large" in ended.complaint
    assert not place.lamps.on
    assert place.the_run.run["state"] == "failed"
    assert len(place.the_run.frame_rows) > 0
    check_frames(place.the_run)


# ---------------------------------------------------------------- the process itself


@pytest.mark.parametrize(
    "name", ["SIGINT", pytest.param("SIGTERM", marks=UNIX), pytest.param("SIGBREAK", marks=WINDOWS)]
)
def test_a_signal_ends_the_run_in_order(place: Workplace, name: str) -> None:
    with place.started(**ENDLESS) as process:
        place.lamps.wait(on=True, process=process)
        number = getattr(signal, "CTRL_C_EVENT" if name == "SIGINT" and sys.platform == "win32" else name)
        process.send_signal(signal.CTRL_BREAK_EVENT if name == "SIGBREAK" else number)
        out, err = process.communicate(timeout=60)
    assert not place.lamps.on
    run = place.the_run
    assert run.run["state"] == "stopped"
    assert (run.path / "report.html").is_file()
    check_frames(run)
    assert name in Ended(process.returncode, out, err).complaint


@pytest.mark.parametrize("owner", ["supervisor", "controller"])
def test_a_killed_controller_leaves_the_light_off_and_its_frames_readable(place: Workplace, owner: str) -> None:
    lights = [{"name": LIGHT, "owner": owner}]
    with place.started(**ENDLESS, microscope__lights=lights, recorder__chunk_mb=0.05) as process:
        place.lamps.wait(on=True, process=process)
        wait_for(lambda: place.folders and len(RunReader(place.folders[0]).frame_rows) > 20, "frames on disk", process)
        helpers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        place.lamps.wait(on=False)
        process.wait(timeout=10)
    _, alive = psutil.wait_procs(helpers, timeout=10.0)
    assert not alive
    run = place.the_run
    assert run.interrupted
    assert len(run.frame_rows) > 20
    check_frames(run)
    assert not place.lamps.on


# ---------------------------------------------------------------- lights of the controller


def test_lights_of_the_controller_go_dark_when_a_model_fails(place: Workplace) -> None:
    lights = [{"name": LIGHT, "owner": "controller"}]
    check_failed_run(place, place.run(**ENDLESS, microscope__lights=lights, **model("RaisingModel")), "no science")
    assert place.lamps.ever_on
