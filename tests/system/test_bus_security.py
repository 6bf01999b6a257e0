"""With CURVE keys: operators do everything, read-only clients watch and switch lasers off, strangers get nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from system_helpers import smartscope

from smartscope.bus import keys
from smartscope.bus.client import Client, NoAnswer, Rejected
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.errors import BusError
from smartscope.frame import Frame, Roi, Settings

FRAME = Frame(np.ones((4, 4), np.uint16), 0, 1, 1, Settings(5.0, Roi(0, 0, 4, 4)), {}, 1, 2, 3)
HANDLERS = ControlHandlers(dict, lambda: {"paused": True}, dict, dict, lambda: {"laser": 0.0}, lambda limits: limits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keys.new(tmp_path_factory.mktemp("keys"))[0].parent


def config(folder: Path, host: str = "127.0.0.1") -> BusConfig:
    return BusConfig(host=host, events_port=0, data_port=0, control_port=0, curve_keys=str(folder))


@contextmanager
def running(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    publisher = Publisher(config(folder, host), "S", LiveClock())
    control = Control(config(folder, host), publisher, HANDLERS)
    publisher.event("state", {"state": "running"})
    publisher.offer_frame(FRAME)
    try:
        yield control.endpoints["control"].replace("0.0.0.0", "127.0.0.1")
    finally:
        control.close()
        publisher.close()


def test_an_operator_does_everything_and_watches_from_outside(folder: Path) -> None:
    before = set(threading.enumerate())
    with running(folder, "0.0.0.0") as endpoint, Client(endpoint, key_file=folder / "operator.json") as client:
        assert client.hello()["role"] == "operator"
        assert client.pause() == {"paused": True}
        assert client.set_limits(low=1) == {"low": 1}
        assert next(client.subscribe("state", timeout_s=10)).header["state"] == "running"
    assert set(threading.enumerate()) == before


def test_lasers_are_switched_off_from_the_command_line_with_the_key(folder: Path) -> None:
    with running(folder) as endpoint:
        assert smartscope("laser-off", endpoint, "--key", str(folder / "read_only.json")).said == (
            "lasers off: laser reads 0 mW"
        )
    assert "is no client key file" in smartscope("watch", endpoint, "--key", str(folder / "none.json")).complaint
    refused = smartscope("laser-off", endpoint, "--key", str(folder / "none.json"))
    assert refused.code == 1
    assert "NOT confirmed off" in refused.err


def test_a_read_only_client_watches_and_switches_lasers_off(folder: Path) -> None:
    with running(folder) as endpoint, Client(endpoint, key_file=folder / "read_only.json") as client:
        hello = client.hello()
        assert (hello["role"], hello["capabilities"]) == ("read_only", ["hello", "status", "latest", "laser_off"])
        assert client.status() == {}
        assert client.latest() is not None
        assert client.laser_off() == {"laser": 0.0}
        assert next(client.subscribe("state", timeout_s=10)).header["state"] == "running"
        for method in ("pause", "resume", "stop", "set_limits"):
            with pytest.raises(Rejected, match=f"{method} needs an operator's key"):
                client.call(method)


def test_strangers_get_nothing(folder: Path, tmp_path: Path) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    server = json.loads((folder / "operator.json").read_text())["server"]
    stranger = tmp_path / "stranger.json"
    stranger.write_text(json.dumps({"public": public, "secret": secret, "server": server}))
    with running(folder) as endpoint:
        for key_file in (stranger, None):
            with Client(endpoint, key_file=key_file, timeout_s=0.3) as client:
                for ask in (client.hello, client.laser_off):
                    with pytest.raises(NoAnswer):
                        ask()
        with Client(endpoint, key_file=folder / "operator.json") as client:
            events = client.hello()["endpoints"]["events"]
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        eavesdropper = context.socket(zmq.SUB)
        eavesdropper.connect(events)
        eavesdropper.subscribe("")
        assert not eavesdropper.poll(300)
        context.destroy(linger=0)


def test_keys_that_cannot_be_read_and_an_address_that_is_not_ours_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BusError, match="smartscope keys new"):
        Publisher(config(tmp_path), "S", LiveClock())
    with pytest.raises(BusError, match=r"bus\.events_port: cannot listen on 192\.0\.2\.1:0"):
        Publisher(config(folder, "192.0.2.1"), "S", LiveClock())
