"""One run put together: what it says of itself, what clients may ask of it, and the stage calibration."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from system_helpers import LIGHT, experiment

from smartscope.app import Rig, _handlers, _look, drops, run_experiment, status
from smartscope.assembly import RunOutcome
from smartscope.bus.control import ControlHandlers
from smartscope.bus.messages import Metrics
from smartscope.config import ExperimentConfig
from smartscope.drops import DROPS
from smartscope.errors import ConfigurationError, Interrupted, Refused
from smartscope.loading import load

UNSEEN: dict[str, Any] = {"clock": "virtual", "recorder__enabled": False}

ROOT = Path(__file__).parents[2]


def configured(**changes: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(experiment(**{**UNSEEN, **changes}))


def run(on_rig: Callable[[Rig], None] = lambda rig: None, **changes: Any) -> tuple[RunOutcome, Rig]:
    """A virtual run that is neither recorded nor published, and its objects."""
    rigs: list[Rig] = []
    return run_experiment(configured(**changes), on_rig=lambda rig: (rigs.append(rig), on_rig(rig))[1]), rigs[0]


def test_a_run_that_is_not_recorded_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome, _ = run(dose__budget_j_per_cm2=1e6)
    assert (outcome.state, outcome.folder) == ("done", None)
    assert outcome.line.startswith("done: 30 frames, 0 lost, signal-to-noise ")
    assert outcome.line.endswith(" of 1000000 J/cm2; nothing was recorded")
    assert outcome.summary["frame"] == 29
    assert not list(tmp_path.glob("runs/*"))


def test_status_tells_of_single_molecules() -> None:
    _, rig = run(pipeline=[{"model": "localizing:MadeUpLocalizer", "deadline_ms": 1000, "virtual_ms": 1}])
    figures = status(rig)
    assert (figures["emitters"], figures["localizations"]) == (9.5, 2900.0)
    assert "2,900 molecules" in _look(rig)[2]


def test_status_counts_events() -> None:
    _, rig = run(pipeline=[{"model": "track_helpers:MadeUpTracker", "deadline_ms": 1000, "virtual_ms": 1}])
    assert status(rig)["events"] == {"division": 3}  # 30 frames: two rounds, and the third has come to its division
    assert ", 3 events" in _look(rig)[2]
    _, rig = run()
    assert "events" not in status(rig)


def test_status_tells_the_run() -> None:
    seen: list[dict[str, Any]] = []

    def listen(rig: Rig) -> None:
        rig.loop.report = lambda: seen.append(status(rig))

    _, rig = run(listen, frames=None, duration_s=0.4)
    assert len(seen) == 4
    assert [figures["state"] for figures in seen] == ["running"] * 4
    assert seen[0]["elapsed_s"] < seen[-1]["elapsed_s"] <= 0.4
    assert seen[-1]["lights_mw"] == {LIGHT: 2.0}
    assert seen[-1]["exposure_ms"] == 5
    assert seen[-1]["dose_j_per_cm2"] > 0
    assert seen[-1]["budget_j_per_cm2"] is None
    assert seen[-1]["recorder_fullness"] == 0.0
    assert {name: seen[-1][name] for name in DROPS} == drops(rig)
    assert drops(rig) == {**dict.fromkeys(DROPS, 0), "mixed_frames": 1}  # the light went on during the first
    last = status(rig)
    assert (last["state"], last["lights_mw"]) == ("ended", {LIGHT: 0.0})


def test_what_is_passed_over_is_on_the_bus_under_its_name() -> None:
    assert set(DROPS) <= set(Metrics.model_fields)


def asked(ask: Callable[[ControlHandlers], object], **changes: Any) -> tuple[RunOutcome, Rig]:
    """A run of which a client asks something before its first frame."""
    return run(lambda rig: ask(_handlers(rig)), **changes)


def test_a_client_tightens_limits() -> None:
    answers: list[Any] = []
    wish = {"exposure_ms": {"low": 1, "high": 20}}
    _, rig = asked(lambda client: answers.append(client.set_limits(wish)))
    assert rig.gate.limits.exposure_ms.high == 20
    assert answers == [rig.gate.limits.model_dump(mode="json")]


def test_tightening_in_a_clamped_run_clamps_once() -> None:
    _, rig = asked(lambda client: client.set_limits({"max_focus_step_um": 4}), arm="clamped")
    assert rig.gate.limits.max_focus_step_um == 1
    assert rig.gate.limits.lights[LIGHT].max_power_mw == 5


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"exposure_ms": {"low": 9, "high": 1}}, ConfigurationError, "low 9.0 is above high 1.0"),
        ({"exposure": 5}, ConfigurationError, "no such key"),
        ({"exposure_ms": {"low": 1, "high": 60}}, Refused, "loosened: exposure_ms"),
        ({"lights": {LIGHT: {"max_power_mw": 21}}}, Refused, f"loosened: lights.{LIGHT}.max_power_mw"),
    ],
)
def test_limits_that_make_no_sense_or_are_looser_are_answered_with_no(
    wish: dict[str, Any], error: type[Exception], words: str
) -> None:
    def ask(client: ControlHandlers) -> None:
        with pytest.raises(error, match=words):
            client.set_limits(wish)

    _, rig = asked(ask, frames=2)
    assert rig.gate.limits == rig.config.limits


def test_laser_off_darkens_and_the_run_goes_on() -> None:
    lit, dark = run()[1], asked(lambda client: client.laser_off())
    assert dark[0].state == "done"
    assert dark[1].loop.dose.spent_j_per_cm2 < lit.loop.dose.spent_j_per_cm2 / 50


def test_a_client_ends_the_run() -> None:
    outcome, rig = asked(lambda client: client.stop())
    assert outcome.state == "stopped"
    assert rig.loop.stop_asked == "stop by a client"


def test_a_signal_ends_the_run_with_an_error_of_its_own() -> None:
    with pytest.raises(Interrupted, match="stopped by SIGINT: stopped: "):
        run(lambda rig: signal.raise_signal(signal.SIGINT))


def test_lights_that_the_driver_has_closed_are_no_longer_ours_to_darken(tmp_path: Path) -> None:
    """The DemoCamera's core is gone when the lights close; a dark() on it would end this very process."""
    pytest.importorskip("mm_test_adapters", reason="needs the adapters of smartscope[demo]")
    config = load(
        ROOT / "configs" / "demo_camera.yaml",
        [
            f"microscope.options.cfg={(ROOT / 'configs' / 'demo_camera.cfg').as_posix()}",
            "microscope.lights.0.owner=controller",
            "pipeline=[]",
            "policies=[]",
            "frames=5",
            "duration_s=null",
            "bus.enabled=false",
            "recorder.enabled=false",
        ],
    )
    assert run_experiment(config).state == "done"
