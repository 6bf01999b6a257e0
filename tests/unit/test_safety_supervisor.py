"""Ear, hand and guard of the supervisor, in this process, over pipes; the process itself is in tests/system."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import DeviceError
from smartscope.ports import LightsSetup
from smartscope.safety.holder import Supervisor
from smartscope.safety.messages import (
    Close,
    Dark,
    Darkened,
    Done,
    Failed,
    Message,
    ReadBack,
    Ready,
    Rehearse,
    Release,
    Renew,
    Report,
    SetPower,
    Start,
    TakenOver,
    TakeOver,
    reports,
)
from smartscope.safety.take_over import safe_off

SYSTEM_TESTS = Path(__file__).parents[1] / "system"
LONG_MS = 60_000.0


class Controller:
    """The other end of a supervisor that runs on a thread."""

    def __init__(self, folder: Path, lease_ms: float, owners: tuple[str, ...]) -> None:
        from file_lights import OutsideState

        self.state, self._folder = OutsideState(folder), folder
        lights = tuple(LightConfig(name=f"l{i}", owner=owner) for i, owner in enumerate(owners))
        setup = LightsSetup(lights, MicroscopeConfig(driver="file_lights:FileLights"), token=str(folder))
        start = Start(setup=setup, max_power_mw={"l0": 10.0}, lease_ms=lease_ms, controller_pid=None)
        orders, self._orders = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
        self._reports, reported = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
        self._streams: list[IO[Any]] = [orders, self._orders, self._reports, reported]
        self.supervisor = Supervisor(Start.model_validate_json(start.line()), orders, reported)
        self._thread = threading.Thread(target=self.supervisor.serve)
        self._thread.start()
        self.expect(Ready)

    def say(self, *messages: Message) -> None:
        self._orders.write(b"".join(message.line() for message in messages))
        self._orders.flush()

    def expect(self, kind: type[Report] | Any) -> Any:
        """The next report of this kind."""
        for line in self._reports:
            if isinstance(report := reports.validate_json(line), kind):
                return report
        raise AssertionError(f"no {kind}")

    def set(self, power_mw: float, light: str = "l0", number: int = 1, age_ms: float = 0.0) -> SetPower:
        t_ns = time.perf_counter_ns() - round(age_ms * 1e6)
        return SetPower(id=number, light=light, power_mw=power_mw, t_ns=t_ns)

    def lit(self) -> Any:
        """Switch l0 on; the report."""
        self.say(self.set(5.0))
        return self.expect(Done | Failed)

    def until(self, power_mw: float, slot: int = 0) -> None:
        """Wait for the light itself."""
        deadline = time.monotonic() + 10
        while self.state.get(slot) != power_mw:
            assert time.monotonic() < deadline, f"the light stays at {self.state.get(slot)} mW"
            time.sleep(0.001)

    def told(self, what: str) -> Path:
        """Make the lights misbehave; unlink the path to end that."""
        path = self._folder / what
        path.touch()
        return path

    def end(self) -> None:
        for path in self._folder.glob("b*"):
            path.unlink()
        self._orders.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        for stream in self._streams:
            stream.close()
        self.state.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(SYSTEM_TESTS)
    made: list[Controller] = []

    def make(lease_ms: float = LONG_MS, owners: tuple[str, ...] = ("supervisor",)) -> Controller:
        made.append(Controller(tmp_path, lease_ms, owners))
        return made[-1]

    yield make
    for controller in made:
        controller.end()


def test_a_set_point_is_carried_out_and_confirmed(start: Any) -> None:
    controller = start()
    assert controller.lit() == Done(id=1, powers_mw={"l0": 5.0})
    controller.say(ReadBack(id=2))
    assert controller.expect(Done).powers_mw == {"l0": 5.0}
    controller.say(controller.set(0.0))
    assert controller.expect(Done).powers_mw == {"l0": 0.0}


def test_a_lease_that_is_not_renewed_darkens(start: Any) -> None:
    controller = start(lease_ms=30)
    controller.lit()
    report = controller.expect(Darkened)
    assert report.powers_mw == {"l0": 0.0}
    assert controller.state.get(0) == 0


def test_a_renewal_extends_the_lease_but_never_lights(start: Any) -> None:
    controller = start()
    controller.lit()
    controller.say(Dark(id=2), Renew(t_ns=time.perf_counter_ns()), ReadBack(id=3))
    assert controller.expect(Done).id == 2
    assert controller.expect(Done).powers_mw == {"l0": 0.0}


def test_old_set_points_and_renewals_are_worth_what_their_time_says(start: Any) -> None:
    controller = start(lease_ms=500)
    controller.say(Renew(t_ns=time.perf_counter_ns() - 10**10), controller.set(5.0, age_ms=1000))
    report = controller.expect(Failed)
    assert report.refused
    assert "later than a lease" in report.what
    assert controller.state.get(0) == 0


def test_the_supervisor_has_hard_limits_of_its_own(start: Any) -> None:
    controller = start(owners=("supervisor", "supervisor"))
    controller.say(controller.set(10.1))
    assert "allowed: 10 mW" in controller.expect(Failed).what
    controller.say(controller.set(0.1, light="l1"))
    assert "allowed: 0 mW" in controller.expect(Failed).what


def test_a_latch_holds_until_released(start: Any) -> None:
    controller = start()
    controller.say(Dark(id=1, latch=True))
    controller.expect(Done)
    assert controller.lit().refused
    controller.say(Release())
    assert controller.lit().kind == "done"


def test_what_is_said_first_is_done_first(start: Any) -> None:
    controller = start()
    for _ in range(20):
        controller.say(
            controller.set(5.0, number=1), Dark(id=2), controller.set(3.0, number=3), Dark(id=4), ReadBack(id=5)
        )
        answers = {}
        while set(answers) != {1, 2, 3, 4, 5}:
            report = controller.expect(Done | Failed)
            answers[report.id] = report
        assert answers[5].powers_mw == {"l0": 0.0}
        assert controller.state.get(0) == 0


def test_a_call_that_blocks_with_the_light_on_does_not_outlive_the_lease(start: Any) -> None:
    controller = start(lease_ms=60)
    blocked = controller.told("block_l0")
    controller.say(controller.set(5.0))
    controller.until(5.0)
    controller.until(0.0)
    blocked.unlink()
    report = controller.expect(Failed)
    assert report.refused
    assert "darkened while this set-point was on its way" in report.what
    assert controller.state.get(0) == 0


def test_a_set_point_that_waits_while_dark_is_told_never_lights(start: Any) -> None:
    controller = start()
    blocked = controller.told("block_l0")
    controller.say(controller.set(5.0, number=1))
    controller.until(5.0)
    controller.say(controller.set(7.0, number=2), Dark(id=3))
    controller.expect(Done)
    blocked.unlink()
    assert [controller.expect(Failed).refused for _ in range(2)] == [True, True]
    assert controller.state.get(7) == 5.0


def test_a_set_point_that_was_overtaken_and_fails_is_refused_too(start: Any) -> None:
    controller = start()
    blocked = controller.told("block_l0")
    controller.say(controller.set(5.0))
    controller.until(5.0)
    controller.say(Dark(id=2))
    controller.expect(Done)
    controller.told("fail_when_unblocked")
    blocked.unlink()
    assert controller.expect(Failed).refused
    assert controller.state.get(0) == 0


def test_errors_of_the_device_are_reported(start: Any) -> None:
    controller = start()
    broken = controller.told("broken")
    report = controller.lit()
    assert (report.refused, report.what) == (False, "l0: does not answer")
    broken.unlink()
    assert controller.lit().kind == "done"


def test_lights_that_do_not_go_dark_are_told_again_and_again(start: Any) -> None:
    controller = start()
    controller.lit()
    broken = controller.told("broken")
    controller.say(Dark(id=2))
    assert controller.expect(Failed).id == 2
    assert controller.expect(Failed).id == 0
    broken.unlink()
    controller.expect(Darkened)
    assert controller.state.get(0) == 0


def test_lights_that_stay_on_are_an_error(start: Any) -> None:
    controller = start()
    controller.lit()
    glued = controller.told("glued")
    controller.say(Dark(id=2))
    assert "still lit after being switched off" in controller.expect(Failed).what
    glued.unlink()
    controller.expect(Darkened)


def test_an_order_that_makes_no_sense_ends_in_the_dark(start: Any) -> None:
    controller = start()
    controller.lit()
    controller.say(Close().model_copy(update={"kind": "nonsense"}))
    assert controller.expect(Darkened).why.startswith("an order that makes no sense")


def test_an_end_asked_for_by_a_signal_darkens(start: Any) -> None:
    controller = start()
    controller.lit()
    controller.supervisor.end("signal 15")
    assert controller.expect(Darkened).why == "signal 15"


def test_close_darkens_without_ado(start: Any) -> None:
    controller = start()
    controller.lit()
    controller.say(Close())
    controller.until(0.0)


def test_a_rehearsal_lapses_at_zero_power(start: Any) -> None:
    controller = start(lease_ms=30)
    controller.say(Rehearse(t_ns=time.perf_counter_ns()))
    assert controller.expect(Darkened).why == "the lease was not renewed"


def test_lights_of_the_controller_are_left_alone_until_taken_over(start: Any) -> None:
    controller = start(owners=("controller",))
    controller.state.set(0, 5.0)
    controller.say(Dark(id=1), ReadBack(id=2))
    assert [controller.expect(Done).powers_mw for _ in range(2)] == [{}, {}]
    assert controller.lit().what == "light 'l0' is not the supervisor's"
    assert controller.state.get(0) == 5.0
    controller.say(TakeOver(why="a test", end_controller=False))
    assert controller.expect(TakenOver).powers_mw == {"l0": 0.0}
    assert controller.state.get(0) == 0


def test_a_port_that_becomes_free_late_is_awaited(start: Any) -> None:
    controller = start(owners=("controller",))
    busy = controller.told("cannot_open")
    controller.state.set(0, 5.0)
    controller.say(TakeOver(why="a test", end_controller=False))
    threading.Timer(0.2, busy.unlink).start()
    assert controller.expect(TakenOver).took_ms >= 150


def test_safe_off_tells_what_it_could_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any) -> None:
    controller = start(owners=("controller",))
    monkeypatch.setattr("smartscope.safety.take_over.PORT_PATIENCE_S", 0.0)
    setup = LightsSetup(
        (LightConfig(name="l0", owner="controller"),),
        MicroscopeConfig(driver="file_lights:FileLights"),
        token=str(tmp_path),
    )
    busy = controller.told("cannot_open")
    with pytest.raises(DeviceError, match="port is busy"):
        safe_off(setup)
    busy.unlink()
    controller.state.set(0, 5.0)
    glued = controller.told("glued")
    with pytest.raises(DeviceError, match="still lit"):
        safe_off(setup)
    glued.unlink()
    assert safe_off(LightsSetup((), MicroscopeConfig())) == {}
