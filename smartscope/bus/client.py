"""The client's side of the bus; needs Python, numpy and pyzmq only, so this one file can be copied anywhere.

Ask for the newest picture and tell the controller what to do::

    with Client("tcp://127.0.0.1:5603") as scope:
        print(scope.hello()["session"], scope.status())
        header, arrays = scope.latest("denoised", max_size=512, window=(100, 1000))
        scope.laser_off()

Listen to what happens, for as long as the loop runs (plain pyzmq does the same in six lines, see ``subscribe``)::

    with Client("tcp://127.0.0.1:5603") as scope:
        for topic, header, arrays in scope.subscribe("state", "tracks"):
            print(topic, header["seq"], {name: array.shape for name, array in arrays.items()})

A viewer asks for ``latest`` each time it is ready to draw: however slow it is, it always gets the newest picture. A
subscriber that is slower than the stream loses messages and sees old ones. Pictures: ``image`` (H, W); tables, as
detections, tracks and events: columns of length N. A client belongs to one thread.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zmq

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5603"
EVENTS = ("session", "state", "config", "decision", "alarm", "heartbeat", "metrics")
MAJOR_VERSION = "1"
_WAITING_MESSAGES = 8
"""Few, because frames are large; events that do not fit wait at the controller."""
_SLICE_MS = 200
"""On Windows Ctrl-C is not heard while ZeroMQ waits, so it never waits longer."""

Arrays = dict[str, npt.NDArray[Any]]


class ClientError(Exception):
    """Anything that went wrong between this client and the controller."""


class NoAnswer(ClientError, TimeoutError):
    """Nothing came back in time."""


class Rejected(ClientError):
    """The controller understood and said no; ``code`` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Message(NamedTuple):
    """One message of a subscription."""

    topic: str
    header: dict[str, Any]
    arrays: Arrays


class Client:
    """One connection to a controller; survives the controller's going and coming back."""

    def __init__(
        self, control: str = DEFAULT_ENDPOINT, *, timeout_s: float = 2.0, key_file: str | Path | None = None
    ) -> None:
        """``control`` is the control endpoint, ``key_file`` the ``operator.json`` or ``read_only.json`` handed over.

        Raises:
            ClientError: the endpoint or the key file makes no sense.
        """
        self.control, self.timeout_s = control, timeout_s
        host, _, port = control.rpartition(":")
        if not host.startswith("tcp://") or not port.isdecimal() or not 0 < int(port) < 65535:
            raise ClientError(f"{control!r} is no endpoint; write it like {DEFAULT_ENDPOINT}")
        self._host = host
        self._laser_off = f"{host}:{int(port) + 1}"
        self._keys = _read_keys(key_file) if key_file else None
        self._ids = itertools.count(1)
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; what was asked and not yet sent is forgotten."""
        self._context.destroy(linger=0)

    def hello(self) -> dict[str, Any]:
        """Version, session, role, capabilities and endpoints of the controller."""
        return self.call("hello")

    def status(self) -> dict[str, Any]:
        """What the controller says of itself."""
        return self.call("status")

    def pause(self) -> dict[str, Any]:
        """Pause the experiment."""
        return self.call("pause")

    def resume(self) -> dict[str, Any]:
        """Go on after ``pause``."""
        return self.call("resume")

    def stop(self) -> dict[str, Any]:
        """End the experiment in order."""
        return self.call("stop")

    def set_limits(self, **limits: Any) -> dict[str, Any]:
        """Tighten limits; they cannot be loosened."""
        return self.call("set_limits", **limits)

    def laser_off(self) -> dict[str, Any]:
        """Every light off, now: asked at its own endpoint and at the control endpoint, whichever answers first.

        Returns the power read back, by light. This is software, not an interlock.
        """
        reply, _ = self._ask([self._laser_off, self.control], "laser_off", {})
        return dict(reply["result"])

    def latest(
        self, stream: str = "raw", *, max_size: int | None = None, window: tuple[float, float] | None = None
    ) -> tuple[dict[str, Any], Arrays] | None:
        """The newest item of a stream, as ``raw``, ``denoised``, ``tracks`` or ``events``; None before the first.

        Pictures: ``max_size`` limits their longest side (block means; ``header["shrunk_by"]`` says how much),
        ``window`` = (low, high) makes them uint8.
        """
        asked = {"stream": stream, "max_size": max_size, "window": window}
        reply, buffers = self._ask(
            [self.control], "latest", {key: value for key, value in asked.items() if value is not None}
        )
        if reply["result"] is None:
            return None
        return _checked(reply["result"]), _read_arrays(reply["arrays"], buffers)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Any method of the control endpoint.

        Raises:
            NoAnswer: nothing came back within ``timeout_s``; a request that found no connection is forgotten.
            Rejected: the controller said no.
        """
        reply, _ = self._ask([self.control], method, params)
        return dict(reply["result"] or {})

    def subscribe(self, *topics: str, timeout_s: float | None = None) -> Iterator[Message]:
        """Messages as they come, of topics that begin so; none named: every event, no data.

        Topics: ``session``, ``state``, ``config`` (their last values come first), ``decision``, ``alarm``,
        ``heartbeat``, ``metrics``; as data ``frame.raw``, ``frame.denoised``, ``frame.super_resolved``, ``detections``,
        ``localizations``, ``tracks``, ``settled`` (tracks of an earlier frame, for good), ``revisions`` (identities
        taken back) and ``events`` (in the specimen). The same in plain pyzmq (5601 for events, 5602 for data)::

            sub = zmq.Context().socket(zmq.SUB)
            sub.connect("tcp://127.0.0.1:5602")
            sub.subscribe(b"frame.raw")
            topic, header, *parts = sub.recv_multipart()
            h = json.loads(header)
            out = {a["name"]: np.frombuffer(p, a["dtype"]).reshape(a["shape"]) for a, p in zip(h["arrays"], parts)}

        Raises:
            NoAnswer: the controller cannot be reached at first, or no message came for ``timeout_s``.
            ClientError: the controller speaks another major version.
        """
        endpoints = self.hello()["endpoints"]
        socket = self._socket(zmq.SUB)
        socket.rcvhwm = _WAITING_MESSAGES
        for topic in topics or EVENTS:
            socket.subscribe(topic)
        for name in ("events", "data"):
            socket.connect(f"{self._host}:{endpoints[name].rpartition(':')[2]}")
        return self._messages(socket, timeout_s)

    def _messages(self, socket: zmq.Socket[bytes], timeout_s: float | None) -> Iterator[Message]:
        with socket:
            seen: dict[str, tuple[str, int]] = {}
            deadline = time.monotonic() + (timeout_s or 0)
            while timeout_s is None or time.monotonic() < deadline:
                if not socket.poll(_SLICE_MS):
                    continue
                topic, header, *buffers = socket.recv_multipart()
                message = Message(topic.decode(), fields := _checked(json.loads(header)), {})
                if seen.get(message.topic) == (identity := (fields["session"], fields["seq"])):
                    continue  # a last value, replayed for somebody who has just joined
                seen[message.topic] = identity
                yield message._replace(arrays=_read_arrays(fields.get("arrays", []), buffers))
                deadline = time.monotonic() + (timeout_s or 0)
        raise NoAnswer(f"no message from {self._host} for {timeout_s} s")

    def _ask(self, endpoints: Sequence[str], method: str, params: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Send a request to each endpoint as soon as it is connected; the first good reply counts."""
        number = next(self._ids)
        request = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
        dealers = {endpoint: self._dealer(endpoint) for endpoint in endpoints}
        poller = zmq.Poller()
        for dealer in dealers.values():
            poller.register(dealer, zmq.POLLOUT)
        deadline = time.monotonic() + self.timeout_s
        refusals: list[Rejected] = []
        while len(refusals) < len(dealers) and (left_s := deadline - time.monotonic()) > 0:
            for dealer, ready in poller.poll(round(left_s * 1000)):
                if ready & zmq.POLLOUT:
                    dealer.send(request)
                    poller.register(dealer, zmq.POLLIN)
                    continue
                text, *buffers = dealer.recv_multipart()
                reply = json.loads(text)
                if reply["id"] == number and "result" in reply:
                    return reply, buffers
                if reply["id"] in (number, None):  # a reply to an earlier request is passed over
                    refusals.append(Rejected(**reply["error"]))
        for endpoint in endpoints:
            self._dealers.pop(endpoint).close()  # what waits in it must not be carried out later
        if refusals:
            raise refusals[0]
        hint = "is the key file right?" if self._keys else "is smartscope running there, and its bus enabled?"
        raise NoAnswer(f"{method}: no answer from {self.control} within {self.timeout_s:g} s; {hint}")

    def _dealer(self, endpoint: str) -> zmq.Socket[bytes]:
        if endpoint not in self._dealers:
            dealer = self._socket(zmq.DEALER)
            dealer.immediate = True  # a request waits for a connection here, where it can be withdrawn
            dealer.connect(endpoint)
            self._dealers[endpoint] = dealer
        return self._dealers[endpoint]

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.ipv6 = "[" in self._host
        socket.reconnect_ivl, socket.reconnect_ivl_max = 50, 1000
        socket.heartbeat_ivl, socket.heartbeat_timeout = 1000, 5000
        if self._keys:
            socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self._keys
        return socket


def _checked(header: dict[str, Any]) -> dict[str, Any]:
    if header["v"].partition(".")[0] != MAJOR_VERSION:
        raise ClientError(f"wire version {header['v']}, this client reads {MAJOR_VERSION}.x; update it")
    return header


def _read_arrays(infos: Sequence[dict[str, Any]], buffers: Sequence[bytes]) -> Arrays:
    if [info["codec"] for info in infos] != ["raw"] * len(buffers):
        raise ClientError("arrays and buffers do not match, or a codec that this client cannot read")
    return {
        info["name"]: np.frombuffer(buffer, info["dtype"]).reshape(info["shape"])
        for info, buffer in zip(infos, buffers, strict=True)
    }


def _read_keys(key_file: str | Path) -> tuple[bytes, bytes, bytes]:
    try:
        keys = json.loads(Path(key_file).read_text(encoding="utf-8"))
        return keys["public"].encode(), keys["secret"].encode(), keys["server"].encode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(f"{key_file} is no client key file (operator.json or read_only.json): {error}") from error
