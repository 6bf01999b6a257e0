"""``watch`` and ``laser-off`` against a running bus."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest
from fakes import a_frame
from rich.console import Console
from track_helpers import told

from smartscope.bus import watch as watch_module
from smartscope.bus.bench import bench
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.bus.watch import laser_off, watch
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.errors import BusError
from smartscope.result import Result

FREE = BusConfig(events_port=0, data_port=0, control_port=0)


class Bus:
    def __init__(self) -> None:
        self.power_mw = {"laser": 0.0}
        self.publisher = Publisher(FREE, "S1", LiveClock())
        self.control = Control(
            FREE, self.publisher, ControlHandlers(dict, dict, dict, dict, lambda: self.power_mw, dict)
        )
        self.endpoint = self.control.endpoints["control"]


@pytest.fixture
def bus() -> Iterator[Bus]:
    bus = Bus()
    yield bus
    bus.control.close()
    bus.publisher.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_watch_shows_the_session_until_it_ends(bus: Bus, terminal: bool) -> None:
    written = io.StringIO()
    console = Console(file=written, width=200, force_terminal=terminal)
    bus.publisher.event("state", {"state": "running"})
    codes: list[int] = []
    watching = threading.Thread(target=lambda: codes.append(watch(bus.endpoint, console=console)))
    watching.start()
    while watching.is_alive():
        bus.publisher.event("metrics", {"frame": 3, "signal_to_noise": 9.5})
        bus.publisher.event("decision", {"frame": 3, "policy": "exposure", "asked": "20 ms", "why": "dim"})
        bus.publisher.event("alarm", {"what": "stage timed out [x]"})
        bus.publisher.offer_result(told(Result(a_frame(5))))
        if "stopping" in written.getvalue():
            bus.publisher.event("session.end", {"outcome": "done"})
        elif "running" in written.getvalue():
            bus.publisher.event("state", {"state": "stopping"})
        watching.join(0.1)
    assert codes == [0]
    for part in (
        "running",
        "stage timed out [x]",
        "3 exposure: 20 ms, refused: dim",
        "9.5",
        "5 division provisional 0.62",
    ):
        assert part in written.getvalue()


def test_watching_nothing_is_an_error_that_names_the_endpoint() -> None:
    with pytest.raises(BusError, match="no endpoint"):
        watch("nowhere")


def test_control_c_ends_the_watch(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch_module, "_follow", interrupt)
    assert watch(bus.endpoint, console=Console(file=io.StringIO())) == 0


def test_laser_off_says_what_the_hardware_confirms(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    assert laser_off(bus.endpoint) == 0
    assert capsys.readouterr().out == "lasers off: laser reads 0 mW\n"
    bus.power_mw = {"laser": 2.5}
    assert laser_off(bus.endpoint) == 1
    assert capsys.readouterr().err == "lasers NOT off: laser 2.5 mW\n"
    bus.power_mw = {}
    assert laser_off(bus.endpoint) == 0
    assert laser_off("nowhere") == 1
    assert "lasers NOT confirmed off: 'nowhere' is no endpoint" in capsys.readouterr().err


def test_the_benchmark_measures_every_figure_it_promises() -> None:
    figures = bench(0.3)
    assert {"p50", "p99", "max"} <= figures["laser_off_idle_ms"].keys() & figures["laser_off_beside_stream_ms"].keys()
    assert figures["slow_viewer_age_ms"]["n"] > 0
    assert figures["subscriber"]["frames_received"] > 0
    assert all(times["n"] > 0 for times in figures["offer_us"].values())
    assert figures["machine"]["cores"] > 0
