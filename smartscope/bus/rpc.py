"""JSON-RPC 2.0 over one ROUTER socket that has a thread and a ZeroMQ context to itself.

Whatever arrives, the thread lives on: what is malformed, unknown or not permitted is answered with an error and
changes nothing; what is oversized ends the sender's connection. A request is one part; an empty delimiter, as REQ
clients send, is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any

import zmq
from pydantic import ValidationError
from pydantic_core import from_json

from smartscope.bus.keys import Role, ServerKeys
from smartscope.bus.messages import Request
from smartscope.bus.sockets import Endpoints
from smartscope.bus.wire import Arrays, Parts, describe, dump
from smartscope.errors import SmartscopeError
from smartscope.plugins import problems_of

MAX_REQUEST_BYTES = 2**16

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
REFUSED = -32000
"""Understood and not carried out: not permitted with this key, or the controller said no."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method gives back: JSON, and arrays that follow it as buffers (None: this method sends none)."""

    result: Mapping[str, Any] | None
    arrays: Arrays | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """Something clients may call, and who may."""

    run: Callable[[Mapping[str, Any], Role], Answer]
    read_only: bool
    """Whether clients with a read-only key may call it."""

    def open_to(self, role: Role) -> bool:
        """Whether a client in this role may call it."""
        return self.read_only or role is Role.OPERATOR


class RpcServer:
    """Bind, add to ``methods`` what may be called, ``start``, ``close``."""

    def __init__(
        self, name: str, methods: Mapping[str, Method], host: str, keys: ServerKeys | None, limit: int
    ) -> None:
        """``limit``: replies that may wait for one client."""
        self._name, self._methods, self._keys = name, methods, keys
        self._ends = Endpoints(host, keys)
        self._socket = self._ends.socket(zmq.ROUTER, send_limit=limit, receive_bytes=MAX_REQUEST_BYTES)
        self._thread = Thread(target=self._serve, name=f"bus-{name}", daemon=True)

    def bind(self, port: int, key: str) -> str:
        """Bind and return the endpoint.

        Raises:
            BusError: the port is in use or the host is not this machine's.
        """
        return self._ends.bind(self._socket, port, key)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and let go of the port."""
        if self._thread.ident is None:
            self._socket.close()
            self._ends.close()
        else:
            self._ends.close(self._thread)

    def _serve(self) -> None:
        try:
            while True:
                envelope, request, role = self._receive()
                if reply := self.answer(request, role):
                    self._socket.send_multipart([*envelope, *reply], copy=True)
        except zmq.ContextTerminated:
            self._socket.close()

    def _receive(self) -> tuple[list[bytes], bytes, Role]:
        """Envelope, request and the sender's role; of a message with too many parts, an empty request."""
        part = self._socket.recv(copy=False)
        parts = [part.bytes]
        role = Role(str(part.get("User-Id"))) if self._keys else Role.OPERATOR
        while part.more:
            part = self._socket.recv(copy=False)
            if len(parts) < 4:
                parts.append(part.bytes)
        envelope = parts[:2] if parts[1:2] == [b""] and len(parts) > 2 else parts[:1]
        body = parts[len(envelope) :]
        return envelope, body[0] if len(body) == 1 else b"", role

    def answer(self, request: bytes, role: Role) -> Parts | None:
        """Carry out one request and encode the reply; None for a request that wants none. Never raises."""
        try:
            content = from_json(request)
        except ValueError as error:
            return _failure(None, PARSE_ERROR, f"not JSON: {error}")
        try:
            call = Request.model_validate(content)
        except ValidationError as error:
            return _failure(None, INVALID_REQUEST, _reasons(error))
        reply = self._call(call, role)
        return reply if "id" in content else None

    def _call(self, call: Request, role: Role) -> Parts:
        method = self._methods.get(call.method)
        if method is None:
            return _failure(
                call.id, UNKNOWN_METHOD, f"no method {call.method!r}; there are: {', '.join(self._methods)}"
            )
        if not method.open_to(role):
            return _failure(call.id, REFUSED, f"{call.method} needs an operator's key")
        try:
            return _success(call.id, method.run(call.params, role))
        except ValidationError as error:
            return _failure(call.id, INVALID_PARAMS, _reasons(error))
        except SmartscopeError as error:
            return _failure(call.id, REFUSED, error.line())
        except Exception as error:  # a handler's fault must not silence the endpoint
            return _failure(call.id, INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _success(id: Any, answer: Answer) -> Parts:
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "result": answer.result}
    if answer.arrays is None:
        return [dump(reply)]
    reply["arrays"], buffers = describe(answer.arrays)
    return [dump(reply), *buffers]


def _failure(id: Any, code: int, message: str) -> Parts:
    readable = message.encode(errors="replace").decode()  # a file name in a message may hold what is not Unicode
    return [dump({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": readable}})]


def _reasons(error: ValidationError) -> str:
    return " | ".join(problem.line() for problem in problems_of(error))
