"""How a server socket of the bus comes to be and goes: where it may bind, with which keys, and how its threads end."""

from __future__ import annotations

import errno
import ipaddress
import time
from threading import Thread

import zmq

from smartscope.bus.keys import AllowList, ServerKeys, load
from smartscope.config import BusConfig
from smartscope.errors import BusError

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

BYTES_WAITING = 64_000_000
"""What may wait for one slow client on the data and control endpoints."""


def high_water_mark(frame_bytes: int) -> int:
    """Messages that may wait for one client: 64 MB worth of frames, at least 2."""
    return max(2, BYTES_WAITING // max(1, frame_bytes))


def keys_for(config: BusConfig) -> ServerKeys | None:
    """The CURVE keys the configuration names.

    Raises:
        BusError: the host can be reached from other machines and no keys are named, or they cannot be read.
    """
    if config.curve_keys is not None:
        return load(config.curve_keys)
    if not _is_loopback(config.host):
        raise BusError(
            f"{config.host} can be reached from other machines",
            where="bus.host",
            allowed="127.0.0.1 without keys",
            remedy="make keys (smartscope keys new) and name their folder in bus.curve_keys",
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Endpoints:
    """One ZeroMQ context with its server sockets, and the allow-list thread if there are keys."""

    def __init__(self, host: str, keys: ServerKeys | None) -> None:
        self._host = "127.0.0.1" if host == "localhost" else host
        self._keys = keys
        self._context: Context = zmq.Context()
        self._threads = [AllowList(self._context, keys).thread] if keys else []
        self._sockets: list[Socket] = []

    def socket(self, kind: int, *, send_limit: int, receive_bytes: int) -> Socket:
        """A socket not yet bound; whoever sends it a message of more than ``receive_bytes`` is disconnected."""
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.linger = 0
        socket.sndhwm = send_limit
        socket.maxmsgsize = receive_bytes
        socket.ipv6 = ":" in self._host
        if self._keys:
            socket.curve_server = True
            socket.curve_secretkey = self._keys.secret.encode()
            socket.zap_domain = b"smartscope"
        return socket

    def bind(self, socket: Socket, port: int, key: str) -> str:
        """Bind and return the endpoint; ``key`` is the configuration's name for the port. Failing, close everything.

        Raises:
            BusError: the port is taken, or the host is not this machine's.
        """
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            for opened in self._sockets:
                opened.close()
            self.close()
            if error.errno == errno.EADDRINUSE:
                raise BusError(
                    f"port {port} is in use, perhaps by another session",
                    where=key,
                    remedy="end the other session, or set another port (0 takes a free one)",
                ) from error
            raise BusError(f"cannot listen on {host}:{port}: {error.strerror}", where=key) from error
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self, *threads: Thread, timeout_s: float = 2.0) -> None:
        """End the context and the threads that live on it; one that is stuck in a handler is left behind."""
        ender = Thread(target=self._context.term, name="bus-end", daemon=True)
        ender.start()
        deadline = time.monotonic() + timeout_s
        for thread in (*threads, *self._threads, ender):
            thread.join(max(0.0, deadline - time.monotonic()))


def port_of(endpoint: str) -> int:
    """The port in ``tcp://host:port``."""
    return int(endpoint.rpartition(":")[2])
