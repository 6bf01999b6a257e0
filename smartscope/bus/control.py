"""What clients may ask of a running controller, and which code answers each request.

Two endpoints. ``control`` answers everything. ``laser_off`` listens on the next port (control port + 1) and answers
that one method, with a thread and a ZeroMQ context of its own: neither a handler that hangs nor a reply of many
megabytes stands in its way, and whoever knows the control endpoint can find it without asking. Clients send
``laser_off`` to both and take the first answer, so its handler must be harmless when called twice, from any thread. It
darkens what software can darken: it is no interlock.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smartscope import __version__
from smartscope.bus.keys import Role
from smartscope.bus.messages import VERSION, schema
from smartscope.bus.preview import shrink, to_uint8
from smartscope.bus.publisher import Publisher
from smartscope.bus.rpc import Answer, Method, RpcServer
from smartscope.bus.sockets import high_water_mark, keys_for, port_of
from smartscope.bus.streams import TOPICS
from smartscope.bus.wire import dump
from smartscope.config import BusConfig
from smartscope.errors import BusError

Handler = Callable[[], Mapping[str, Any] | None]
_ATTEMPTS = 50
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class ControlHandlers:
    """The controller's side. Each returns quickly what the client shall see; a ``SmartscopeError`` is the answer no."""

    status: Handler
    pause: Handler
    resume: Handler
    stop: Handler
    laser_off: Callable[[], Mapping[str, float]]
    """Any thread, any number of times at once; returns the power read back in mW, by light."""
    set_limits: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
    """Keys of ``limits`` with tighter values in, all limits out, as they are before ``--arm clamped`` reduces them."""


Stream = Literal[
    "raw", "denoised", "super_resolved", "detections", "localizations", "tracks", "settled", "revisions", "events"
]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class LatestParams(BaseModel):
    """What a viewer asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stream: Stream = "raw"
    max_size: Annotated[int, Field(ge=1)] | None = None
    """Longest side of the picture, pixels; None: as it is."""
    window: tuple[Finite, Finite] | None = None
    """Values that become 0 and 255; None: the dtype stays."""

    @model_validator(mode="after")
    def _window_opens(self) -> Self:
        if self.window and self.window[0] >= self.window[1]:
            raise ValueError("window must be [low, high] with low < high")
        return self


class Control:
    """Answers clients from construction until ``close``."""

    def __init__(self, config: BusConfig, publisher: Publisher, handlers: ControlHandlers) -> None:
        """Bind both endpoints and start.

        Raises:
            BusError: a port is in use, the host is not loopback and there are no keys, or the keys cannot be read.
        """
        self._config, self._publisher, self._handlers = config, publisher, handlers
        self._control, self._laser_off, own = self._bind_pair()
        self.endpoints: Mapping[str, str] = {**publisher.endpoints, **own}
        """All four endpoints, with the ports truly taken; a client elsewhere puts its own name for the host."""
        self._schema_id = f"smartscope-wire-{VERSION}-{hashlib.sha256(dump(schema())).hexdigest()[:12]}"
        self._control.start()
        self._laser_off.start()

    def close(self) -> None:
        """Stop answering; ``laser_off`` last."""
        self._control.close()
        self._laser_off.close()

    def _bind_pair(self) -> tuple[RpcServer, RpcServer, dict[str, str]]:
        """Both servers on neighbouring ports; free ones are sought where the configured port is 0."""
        port = self._config.control_port
        if port == _HIGHEST_PORT:
            raise BusError(f"port {port}", where="bus.control_port", allowed=f"< {port}, laser_off takes the next port")
        attempts = 1 if port else _ATTEMPTS
        for attempt in range(attempts):
            control = self._server("control", self._methods())
            here = control.bind(port, "bus.control_port")
            laser_off = self._server("laser-off", {"laser_off": self._methods()["laser_off"]})
            try:
                there = laser_off.bind(port_of(here) + 1, "bus.control_port + 1 (laser_off)")
            except BusError:
                control.close()
                if attempt == attempts - 1:
                    raise
            else:
                break
        return control, laser_off, {"control": here, "laser_off": there}

    def _server(self, name: str, methods: Mapping[str, Method]) -> RpcServer:
        limit = high_water_mark(self._publisher.frame_bytes)
        return RpcServer(name, methods, self._config.host, keys_for(self._config), limit)

    def _methods(self) -> dict[str, Method]:
        handlers = self._handlers
        return {
            "hello": Method(self._hello, read_only=True),
            "status": Method(_plain(handlers.status), read_only=True),
            "latest": Method(self._latest, read_only=True),
            "laser_off": Method(_plain(handlers.laser_off), read_only=True),
            "pause": Method(_plain(handlers.pause), read_only=False),
            "resume": Method(_plain(handlers.resume), read_only=False),
            "stop": Method(_plain(handlers.stop), read_only=False),
            "set_limits": Method(lambda params, _: Answer(handlers.set_limits(params)), read_only=False),
        }

    def _hello(self, _params: Mapping[str, Any], role: Role) -> Answer:
        methods = self._methods()
        return Answer(
            {
                "name": "smartscope",
                "version": __version__,
                "wire": VERSION,
                "schema": self._schema_id,
                "session": self._publisher.session,
                "t_ns": self._publisher.clock.now_ns(),
                "unix_ns": time.time_ns(),
                "role": role,
                "capabilities": [name for name, method in methods.items() if method.open_to(role)],
                "streams": list(TOPICS),
                "endpoints": self.endpoints,
            }
        )

    def _latest(self, params: Mapping[str, Any], _role: Role) -> Answer:
        """The newest item of a stream; a picture is made smaller first and 8-bit after. Null before the first item."""
        asked = LatestParams.model_validate(params)
        if (newest := self._publisher.latest(asked.stream)) is None:
            return Answer(None, {})
        header, arrays = newest
        if "image" not in arrays:
            return Answer(header, arrays)
        image, units = arrays["image"]
        if asked.max_size:
            image, header["shrunk_by"] = shrink(image, asked.max_size)
        if asked.window:
            image, units = to_uint8(image, *asked.window), ""
            header["window"] = asked.window
        return Answer(header, {**arrays, "image": (image, units)})


def _plain(handler: Handler) -> Callable[[Mapping[str, Any], Role], Answer]:
    return lambda _params, _role: Answer(handler() or {})
