"""Control over real sockets: requests reach their handlers, noise reaches none, lasers go off whatever else hangs."""

from __future__ import annotations

import json
import random
import socket as net
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import psutil
import pytest
import zmq

from smartscope.bus.client import Client, NoAnswer, Rejected
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.errors import BusError, Refused
from smartscope.frame import Frame, Roi, Settings
from smartscope.result import Result, empty_detections

FREE = {"events_port": 0, "data_port": 0, "control_port": 0}


class Controller:
    """Stands where the real one would: notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go_on = threading.Event()

    def note(self, name: str) -> Callable[[], dict[str, Any]]:
        def handler() -> dict[str, Any]:
            self.calls.append(name)
            return {"did": name}

        return handler

    def laser_off(self) -> dict[str, float]:
        self.calls.append("laser_off")
        return {"laser": 0.0}

    def hang(self) -> dict[str, Any]:
        self.go_on.wait(30)
        return {}

    def set_limits(self, limits: Mapping[str, Any]) -> Mapping[str, Any]:
        if limits["max_power_mw"] > 5:
            raise Refused("limits can only be tightened", allowed="<= 5 mW")
        return limits

    def handlers(self, **changed: Any) -> ControlHandlers:
        named = {name: self.note(name) for name in ("status", "pause", "resume", "stop")}
        return ControlHandlers(**{**named, "laser_off": self.laser_off, "set_limits": self.set_limits, **changed})


def frame(index: int, size: int = 64) -> Frame:
    pixels = np.full((size, size), index, np.uint16)
    return Frame(pixels, 0, index, index, Settings(5.0, Roi(0, 0, size, size)), {}, 10, 20, 30)


@contextmanager
def running(handlers: ControlHandlers, **config: Any) -> Iterator[tuple[Publisher, Control]]:
    bus = BusConfig(**{**FREE, "preview_hz": 0, **config})
    publisher = Publisher(bus, "S", LiveClock())
    try:
        control = Control(bus, publisher, handlers)
        try:
            yield publisher, control
        finally:
            control.close()
    finally:
        publisher.close()


@pytest.fixture
def controller() -> Iterator[Controller]:
    controller = Controller()
    yield controller
    controller.go_on.set()


def test_every_request_reaches_its_handler(controller: Controller) -> None:
    with running(controller.handlers()) as (_, control), Client(control.endpoints["control"]) as client:
        assert client.status() == {"did": "status"}
        assert client.pause() == {"did": "pause"}
        assert client.resume() == {"did": "resume"}
        assert client.stop() == {"did": "stop"}
        assert client.set_limits(max_power_mw=3) == {"max_power_mw": 3}
        assert client.laser_off() == {"laser": 0.0}
        assert controller.calls[:4] == ["status", "pause", "resume", "stop"]
        assert set(controller.calls[4:]) == {"laser_off"}


def test_hello_says_who_is_there_and_where(controller: Controller) -> None:
    with running(controller.handlers()) as (publisher, control), Client(control.endpoints["control"]) as client:
        hello = client.hello()
        assert (hello["name"], hello["wire"], hello["session"], hello["role"]) == ("smartscope", "1.0", "S", "operator")
        assert hello["schema"].startswith("smartscope-wire-1.0-")
        assert {"latest", "laser_off", "set_limits"} <= set(hello["capabilities"])
        streams = ["raw", "denoised", "super_resolved", "detections", "localizations", "tracks"]
        streams += ["settled", "revisions", "events"]
        assert hello["streams"] == streams
        assert hello["endpoints"] == {**publisher.endpoints, **control.endpoints}
        ports = {name: int(end.rpartition(":")[2]) for name, end in control.endpoints.items()}
        assert ports["laser_off"] == ports["control"] + 1


def test_no_is_said_with_the_reason(controller: Controller) -> None:
    def crash() -> dict[str, Any]:
        raise OSError("no such device")

    with running(controller.handlers(pause=crash)) as (_, control), Client(control.endpoints["control"]) as client:
        with pytest.raises(Rejected, match="only be tightened; allowed: <= 5 mW") as refused:
            client.set_limits(max_power_mw=9)
        assert refused.value.code == -32000
        with pytest.raises(Rejected, match="OSError: no such device"):
            client.pause()
        with pytest.raises(Rejected, match="no method 'dance'"):
            client.call("dance")
        with pytest.raises(Rejected, match="low < high"):
            client.latest(window=(5, 5))
        with pytest.raises(Rejected, match="no such key"):
            client.call("latest", max_sise=3)
        assert client.status() == {"did": "status"}


def test_latest_is_the_newest_however_slow_the_viewer(controller: Controller) -> None:
    with running(controller.handlers()) as (publisher, control), Client(control.endpoints["control"]) as client:
        assert client.latest() is None
        for index in range(200):
            publisher.offer_frame(frame(index))
            if index % 50 == 49:  # a viewer that sees one frame in fifty
                newest = client.latest()
                assert newest is not None
                header, arrays = newest
                assert (header["frame"], header["seq"], header["t_received_ns"]) == (index, index, 30)
                assert arrays["image"].dtype == np.uint16
                assert (arrays["image"] == index).all()


def test_latest_makes_pictures_small_then_eight_bit(controller: Controller) -> None:
    with running(controller.handlers()) as (publisher, control), Client(control.endpoints["control"]) as client:
        publisher.offer_frame(frame(100))
        left = np.full((2, 4, 4), 1.5, np.float32)
        image = np.full((64, 64), 50, np.float32)
        publisher.offer_result(Result(frame(100), image, empty_detections(), residual_map=left))
        small = client.latest("raw", max_size=20)
        assert small is not None
        assert (small[0]["shrunk_by"], small[1]["image"].shape, small[1]["image"].dtype) == (4, (16, 16), np.uint16)
        eight = client.latest("denoised", max_size=32, window=(0, 100))
        assert eight is not None
        assert (eight[1]["image"].dtype, eight[1]["image"].shape, eight[0]["window"]) == (np.uint8, (32, 32), [0, 100])
        assert (eight[1]["image"] == 128).all()
        assert (eight[1]["residual_map"] == left).all()
        table = client.latest("detections", max_size=32, window=(0, 100))
        assert table is not None
        assert table[1]["x_px"].shape == (0,)


def test_a_viewer_in_plain_pyzmq(controller: Controller) -> None:
    with running(controller.handlers()) as (publisher, control):
        publisher.offer_frame(frame(7))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        for kind in (zmq.DEALER, zmq.REQ):
            socket = context.socket(kind)
            socket.connect(control.endpoints["control"])
            socket.send(b'{"jsonrpc":"2.0","id":1,"method":"latest"}')
            assert socket.poll(10_000)
            header, *buffers = socket.recv_multipart()
            described = json.loads(header)["arrays"]
            [image] = [
                np.frombuffer(b, a["dtype"]).reshape(a["shape"]) for a, b in zip(described, buffers, strict=True)
            ]
            assert (image == 7).all()
            socket.close()
        context.term()


def test_laser_off_answers_while_a_handler_hangs_and_close_does_not_wait_for_it(controller: Controller) -> None:
    with running(controller.handlers(status=controller.hang)) as (_, control):
        asker = Client(control.endpoints["control"], timeout_s=0.2)
        with pytest.raises(NoAnswer, match="status: no answer"):
            asker.status()
        with Client(control.endpoints["control"]) as client:
            assert client.laser_off() == {"laser": 0.0}
        asker.close()
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 20
    controller.go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("bus-"):
            thread.join(10)


def test_laser_off_reaches_the_control_endpoint_when_its_own_is_out_of_reach(controller: Controller) -> None:
    with running(controller.handlers()) as (_, control), Client(control.endpoints["control"]) as client:
        with net.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            client._laser_off = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
            assert client.laser_off() == {"laser": 0.0}
        assert controller.calls == ["laser_off"]


def test_laser_off_from_many_clients_at_once(controller: Controller) -> None:
    def press(endpoint: str) -> None:
        with Client(endpoint, timeout_s=10) as client:
            for _ in range(20):
                assert client.laser_off() == {"laser": 0.0}

    with running(controller.handlers()) as (_, control):
        pressing = [threading.Thread(target=press, args=(control.endpoints["control"],)) for _ in range(4)]
        for thread in pressing:
            thread.start()
        for thread in pressing:
            thread.join()
        assert len(controller.calls) >= 80


def noise(seed: int) -> Iterator[list[bytes]]:
    """Messages that no client should send, some of them nearly right."""
    rng = random.Random(seed)
    right = b'{"jsonrpc":"2.0","id":1,"method":"stop"}'
    for _ in range(60):
        yield [rng.randbytes(rng.randrange(80)) for _ in range(rng.randrange(1, 6))]
        yield [right[: rng.randrange(len(right))]]
        yield [right, right]
        yield [b"", b"", right]
    yield [b"x" * 60_000]
    yield [b"y" * 1_000_000]
    yield [b"z"] * 3000
    yield [b"["] * 3
    yield [b"[" * 60_000]


def test_noise_on_every_socket_changes_nothing(controller: Controller) -> None:
    with running(controller.handlers()) as (publisher, control):
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        for endpoint in control.endpoints.values():
            with net.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as plain:
                plain.sendall(random.Random(1).randbytes(4096))
            for kind in (zmq.DEALER, zmq.XSUB):
                socket = context.socket(kind)
                socket.connect(endpoint)
                for message in noise(2):
                    with suppress(zmq.Again):  # a peer of the wrong kind is not even listened to
                        socket.send_multipart(message, zmq.NOBLOCK)
                socket.close(linger=300)
        with Client(control.endpoints["control"], timeout_s=10) as client:
            assert client.hello()["session"] == "S"
            publisher.event("state", {"state": "running"})
            publisher.offer_frame(frame(3))
            assert client.latest() is not None
            assert next(client.subscribe("state", timeout_s=10)).header["state"] == "running"
            assert controller.calls == []
            assert client.laser_off() == {"laser": 0.0}
        context.destroy(linger=0)


def test_replies_to_a_client_that_does_not_read_are_bounded(controller: Controller) -> None:
    """A thousand requests for a frame of 2 MB, none of the replies read: memory holds a few of them only."""
    with running(controller.handlers()) as (publisher, control):
        publisher.offer_frame(frame(1, size=1024))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        greedy = context.socket(zmq.DEALER)
        greedy.rcvhwm, greedy.rcvbuf = 1, 65536
        greedy.connect(control.endpoints["control"])
        before = psutil.Process().memory_info().rss
        for _ in range(150):
            greedy.send(b'{"jsonrpc":"2.0","id":1,"method":"latest"}')
        with Client(control.endpoints["control"], timeout_s=20) as client:
            assert client.status() == {"did": "status"}
        grown = psutil.Process().memory_info().rss - before
        context.destroy(linger=0)
    assert grown < 120e6, f"{grown / 1e6:.0f} MB"


def test_a_taken_control_port_is_named(controller: Controller) -> None:
    before = set(threading.enumerate())
    with running(controller.handlers()) as (publisher, control):
        port = int(control.endpoints["control"].rpartition(":")[2])
        with pytest.raises(BusError, match=rf"bus\.control_port: port {port} is in use"):
            Control(BusConfig(control_port=port), publisher, controller.handlers())
        with pytest.raises(BusError, match=rf"control_port \+ 1 \(laser_off\): port {port} is in use"):
            Control(BusConfig(control_port=port - 1), publisher, controller.handlers())
        with pytest.raises(BusError, match="laser_off takes the next port"):
            Control(BusConfig(control_port=65535), publisher, controller.handlers())
    assert set(threading.enumerate()) == before
