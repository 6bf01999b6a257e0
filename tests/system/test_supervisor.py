"""Light off, seen from outside, whatever happens to the controller or to the supervisor; bounds here are generous.

The exact figures are measured by ``tests/benchmarks/bench_light_off.py``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smartscope.config import LightConfig, LightLimits, LimitsConfig, MicroscopeConfig, SafetyConfig
from smartscope.errors import DeviceError, DeviceTimeout, Refused
from smartscope.ports import Lights, LightsSetup
from smartscope.safety import lease, lights, link
from smartscope.safety.hand_over import perform_hand_over
from smartscope.safety.lights import GuardedLights, open_lights

SYSTEM_TESTS = str(Path(__file__).parent)
BOUND_MS = 2000.0
NEEDS_SIGKILL = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


@pytest.fixture(autouse=True)
def _plug_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SYSTEM_TESTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([SYSTEM_TESTS, os.environ.get("PYTHONPATH", "")]))


def eventually(true: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


class Bench:
    """Lights under test, with their state seen from outside."""

    def __init__(self, folder: Path) -> None:
        from file_lights import OutsideState

        self.folder, self.state, self.faults = folder, OutsideState(folder), list[str]()
        self.lights: GuardedLights | None = None

    def setup(self, *owners: str, driver: str = "file_lights:FileLights") -> LightsSetup:
        made = tuple(LightConfig(name=f"l{i}", owner=owner) for i, owner in enumerate(owners))
        return LightsSetup(made, MicroscopeConfig(driver=driver), token=str(self.folder))

    def open(self, *owners: str, **options: Any) -> GuardedLights:
        limits = LimitsConfig(lights={f"l{i}": LightLimits(max_power_mw=10) for i in range(len(owners))})
        safety = SafetyConfig(lease_ms=options.pop("lease_ms", 1000))
        self.lights = open_lights(self.setup(*owners), safety, limits, on_fault=self.faults.append, **options)
        return self.lights

    def powers(self, count: int = 2) -> list[float]:
        return [self.state.get(slot) for slot in range(count)]

    def told(self, what: str) -> Path:
        path = self.folder / what
        path.touch()
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for path in tmp_path.iterdir():
        if path.name != "powers":
            path.unlink()
    if made.lights is not None:
        made.lights.close()
    made.state.close()


def supervisor_of(lights: GuardedLights) -> int:
    assert lights.leased is not None
    return lights.leased.supervisor_pid


# ---------------------------------------------------------------- faults of a whole controller process

FAULTS = [
    *[pytest.param(fault, "supervisor", marks=NEEDS_SIGKILL) for fault in ("killed", "sigterm", "supervisor_killed")],
    *[(fault, "supervisor") for fault in ("interpreter_lock_held", "blocked_call", "lease_not_renewed", "exception")],
    pytest.param("killed", "controller", marks=NEEDS_SIGKILL),
    ("interpreter_lock_held", "controller"),
    ("blocked_call", "controller"),
]


@pytest.mark.parametrize(("fault", "owner"), FAULTS)
def test_the_light_goes_off(fault: str, owner: str, bench: Bench) -> None:
    from light_off_trial import run_trial

    driver, token = "file_lights:FileLights", str(bench.folder)
    trial = run_trial(fault, owner, bench.folder, lambda: bench.state.get(0), driver=driver, token=token)
    assert trial.off_ms < BOUND_MS
    assert trial.lapse_off_ms is not None
    assert (trial.take_over_ms is not None) == (owner == "controller")
    if fault in ("exception", "sigterm"):
        assert trial.exit_code == (1 if fault == "exception" else 0)


@NEEDS_SIGKILL
def test_the_simulated_laser_goes_off(bench: Bench) -> None:
    from light_off_trial import run_trial

    from smartscope_drivers.simulated.bench import LightBench

    token = f"test-{os.getpid()}"
    outside = LightBench(token, ["laser_0"])
    try:
        trial = run_trial(
            "killed", "supervisor", bench.folder, lambda: outside.power_mw("laser_0"), driver="simulated", token=token
        )
        assert trial.off_ms < BOUND_MS
    finally:
        outside.close()
        outside.path.unlink()


# ---------------------------------------------------------------- lights through the supervisor


def test_set_read_dark_close(bench: Bench) -> None:
    opened = bench.open("supervisor", "supervisor")
    assert isinstance(opened, Lights)
    assert not opened.lit
    assert opened.set_power("l1", 3.0) == 3.0
    assert opened.lit
    assert opened.read_back() == {"l0": 0.0, "l1": 3.0}
    opened.dark()
    assert not opened.lit
    assert bench.powers() == [0, 0]
    opened.set_power("l0", 2.0)
    opened.close()
    bench.lights = None
    assert bench.powers() == [0, 0]
    assert bench.faults == []


def test_what_the_supervisor_refuses_is_refused_here(bench: Bench) -> None:
    opened = bench.open("supervisor")
    with pytest.raises(Refused, match="allowed: 10 mW"):
        opened.set_power("l0", 11.0)
    bench.told("broken")
    with pytest.raises(DeviceError, match="does not answer"):
        opened.set_power("l0", 1.0)


def test_latched_lights_stay_dark_until_released(bench: Bench) -> None:
    opened = bench.open("supervisor", "controller")
    opened.set_power("l0", 1.0)
    opened.latch("an operator said so")
    assert bench.powers() == [0, 0]
    for light in ("l0", "l1"):
        with pytest.raises(Refused, match="held dark: an operator said so"):
            opened.set_power(light, 1.0)
    opened.set_power("l0", 0.0)
    opened.release()
    assert opened.set_power("l0", 1.0) == 1.0


def test_a_lapse_is_reported_once_and_a_set_point_relights(bench: Bench) -> None:
    opened = bench.open("supervisor", lease_ms=100)
    opened.set_power("l0", 5.0)
    eventually(lambda: bench.powers() == [0, 0])
    reports = []
    eventually(lambda: reports.append(opened.darkened()) or reports[-1])
    assert reports[-1].why == "the lease was not renewed"
    assert opened.darkened() is None
    opened.renew()
    assert bench.powers() == [0, 0]
    assert opened.set_power("l0", 5.0) == 5.0


def test_lights_that_do_not_go_dark_are_a_fault(bench: Bench) -> None:
    opened = bench.open("supervisor")
    opened.set_power("l0", 5.0)
    broken = bench.told("broken")
    opened.dark()
    assert any("did not confirm that they are off" in why for why in bench.faults)
    broken.unlink()
    eventually(lambda: bench.powers() == [0, 0])


def test_a_call_that_blocks_is_a_timeout_and_a_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "ANSWER_PATIENCE_S", 0.2)
    opened = bench.open("supervisor")
    bench.told("block_l0")
    with pytest.raises(DeviceTimeout, match="did not confirm 5 mW"):
        opened.set_power("l0", 5.0)
    assert bench.faults == ["the supervisor did not confirm l0 = 5 mW"]
    opened.dark()
    eventually(lambda: bench.powers() == [0, 0])


def test_dark_comes_back_in_a_moment_though_the_device_blocks(bench: Bench) -> None:
    opened = bench.open("supervisor")
    opened.set_power("l0", 5.0)
    bench.told("block_dark_l0")
    began = time.monotonic()
    opened.dark()
    assert time.monotonic() - began < 1
    eventually(lambda: bench.powers() == [0, 0])


@NEEDS_SIGKILL
def test_a_killed_supervisor_is_a_fault_and_its_understudy_darkens(bench: Bench) -> None:
    opened = bench.open("supervisor")
    opened.set_power("l0", 5.0)
    os.kill(supervisor_of(opened), signal.SIGKILL)
    eventually(lambda: bench.powers() == [0, 0])
    assert bench.faults == ["the supervisor process died"]
    with pytest.raises(DeviceError, match="is dead"):
        opened.set_power("l0", 1.0)
    opened.dark()
    opened.renew()


@NEEDS_SIGKILL
def test_without_an_understudy_a_fresh_process_darkens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "UNDERSTUDY_PATIENCE_S", 0.0)
    opened = bench.open("supervisor")
    assert opened.leased is not None
    assert opened.leased._understudy is not None
    opened.leased._understudy.kill()
    opened.set_power("l0", 5.0)
    os.kill(supervisor_of(opened), signal.SIGKILL)
    eventually(lambda: bench.powers() == [0, 0])


@NEEDS_SIGKILL
def test_lights_that_cannot_be_made_safe_are_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "UNDERSTUDY_PATIENCE_S", 0.0)
    opened = bench.open("supervisor")
    bench.told("cannot_open")
    os.kill(supervisor_of(opened), signal.SIGKILL)
    eventually(lambda: len(bench.faults) > 1)
    assert bench.faults[1] == "the lights may still be on: supervisor: file_lights: port is busy"


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be suspended by a signal on Windows")
def test_a_supervisor_that_is_suspended_is_replaced(bench: Bench) -> None:
    opened = bench.open("supervisor")
    opened.set_power("l0", 5.0)
    os.kill(supervisor_of(opened), signal.SIGSTOP)
    for _ in range(lease.SILENT_RENEWALS + 50):  # reports may still be on their way
        opened.renew()
    eventually(lambda: bench.powers() == [0, 0])
    assert "the supervisor process does not answer" in bench.faults


def test_a_supervisor_that_cannot_end_is_killed_and_the_light_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CLOSE_PATIENCE_S", 0.2)
    opened = bench.open("supervisor")
    opened.set_power("l0", 5.0)
    blocked = bench.told("block_dark_l0")
    threading.Timer(0.4, blocked.unlink).start()
    opened.close()
    bench.lights = None
    assert bench.powers() == [0, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_supervisor_darkens_on_sigterm_and_passes_over_ctrl_c(bench: Bench, number: signal.Signals) -> None:
    opened = bench.open("supervisor", lease_ms=1000)
    opened.set_power("l0", 5.0)
    os.kill(supervisor_of(opened), number)
    if number is signal.SIGTERM:
        eventually(lambda: bench.powers() == [0, 0])
        eventually(lambda: bench.faults)
    else:
        assert opened.set_power("l0", 4.0) == 4.0


# ---------------------------------------------------------------- opening


def test_a_plug_in_that_does_not_exist_is_named(bench: Bench) -> None:
    with pytest.raises(DeviceError, match="no plug-in named 'nowhere'"):
        open_lights(
            bench.setup("supervisor", driver="nowhere"), SafetyConfig(), LimitsConfig(), on_fault=bench.faults.append
        )
    assert bench.faults == []


@pytest.mark.parametrize("owner", ["supervisor", "controller"])
def test_lights_that_cannot_be_opened_are_an_error(bench: Bench, owner: str) -> None:
    bench.told("cannot_open")
    with pytest.raises(DeviceError, match="port is busy"):
        bench.open(owner)


def test_a_supervisor_that_says_nothing_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "START_PATIENCE_S", 0.0)
    with pytest.raises(DeviceTimeout, match="no sign of life"):
        bench.open("supervisor")


def test_no_lights_need_no_process(bench: Bench) -> None:
    opened = bench.open()
    assert opened.leased is None
    assert perform_hand_over(opened).lapse_off_ms is None
    opened.dark()
    assert opened.read_back() == {}


# ---------------------------------------------------------------- lights of the controller


def test_mixed_owners_are_one_set_of_lights(bench: Bench) -> None:
    opened = bench.open("supervisor", "controller")
    opened.set_power("l0", 1.0)
    opened.set_power("l1", 2.0)
    assert opened.read_back() == {"l0": 1.0, "l1": 2.0}
    opened.set_power("l1", 0.0)
    assert opened.lit
    opened.dark()
    assert bench.powers() == [0, 0]


def test_lights_that_the_driver_opens_are_adopted(bench: Bench) -> None:
    from file_lights import FileLights

    opened = bench.open("supervisor", "controller", driver_opens_its_own=True)
    with pytest.raises(DeviceError, match="not opened here"):
        opened.set_power("l1", 1.0)
    own = FileLights(bench.setup("supervisor", "controller"))
    opened.adopt(own)
    opened.set_power("l1", 1.0)
    opened.dark()
    assert bench.powers() == [0, 0]
    assert perform_hand_over(opened).take_over_ms is None
    opened.close()
    bench.lights = None
    own.close()


@pytest.mark.parametrize("owner", ["supervisor", "controller"])
def test_a_set_point_that_dark_overtakes_is_refused(bench: Bench, owner: str) -> None:
    opened = bench.open(owner, lease_ms=1000)
    blocked = bench.told("block_l0")
    errors: list[Exception] = []

    def set_power() -> None:
        try:
            opened.set_power("l0", 5.0)
        except Refused as error:
            errors.append(error)

    loop = threading.Thread(target=set_power)
    loop.start()
    eventually(lambda: bench.powers()[0] == 5)
    opened.dark()
    blocked.unlink()
    loop.join(10)
    assert "darkened while this set-point was on its way" in str(errors[0])
    assert bench.powers() == [0, 0]


@pytest.mark.parametrize("failing", ["broken", "block_dark_l0"])
def test_a_controller_that_cannot_darken_asks_to_be_ended(
    bench: Bench, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lights, "TAKE_OVER_AFTER_S", 0.05)
    opened = bench.open("controller")
    asked: list[str] = []
    assert opened.leased is not None
    monkeypatch.setattr(opened.leased, "take_over", asked.append)
    opened.set_power("l0", 5.0)
    path = bench.told(failing)
    opened.dark()
    opened.dark()
    eventually(lambda: asked)
    path.unlink()
    opened.dark()
    eventually(lambda: bench.powers() == [0, 0])


def test_errors_of_the_controllers_own_lights_reach_it(bench: Bench) -> None:
    opened = bench.open("controller")
    broken = bench.told("broken")
    with pytest.raises(DeviceError, match="does not answer"):
        opened.set_power("l0", 5.0)
    broken.unlink()


# ---------------------------------------------------------------- hand-over


def test_the_hand_over_is_timed_at_zero_power(bench: Bench) -> None:
    opened = bench.open("supervisor", "controller", lease_ms=500)
    done = perform_hand_over(opened)
    assert done.lapse_off_ms is not None
    assert 500 <= done.lapse_off_ms < BOUND_MS
    assert done.take_over_ms is not None
    assert done.take_over_ms < BOUND_MS
    assert done.read_back_mw == {"l0": 0.0, "l1": 0.0}
    assert opened.darkened() is None
    assert [opened.set_power(light, 1.0) for light in ("l0", "l1")] == [1.0, 1.0]


def test_a_hand_over_that_does_not_happen_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "REHEARSAL_PATIENCE_S", 0.3)
    opened = bench.open("supervisor")
    bench.told("broken")
    with pytest.raises(DeviceTimeout, match="did not perform the hand-over of light"):
        perform_hand_over(opened)
