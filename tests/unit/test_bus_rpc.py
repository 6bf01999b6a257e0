"""Requests are answered as JSON-RPC 2.0 says, and no request, however wrong, gets past its role or raises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from smartscope.bus.keys import Role
from smartscope.bus.messages import Reply
from smartscope.bus.rpc import Answer, Method, RpcServer
from smartscope.errors import Refused


class Limits(BaseModel):
    low: float


def refuse(_params: Mapping[str, Any], _role: Role) -> Answer:
    raise Refused("too bright", allowed="<= 5 mW")


def crash(_params: Mapping[str, Any], _role: Role) -> Answer:
    raise RuntimeError("file \udcff is gone")


METHODS = {
    "echo": Method(lambda params, _: Answer(params), read_only=True),
    "nothing": Method(lambda params, _: Answer(None, {}), read_only=True),
    "picture": Method(
        lambda params, _: Answer({"frame": 1}, {"image": (np.arange(3, dtype="<u2"), "adu")}), read_only=True
    ),
    "limits": Method(lambda params, _: Answer(Limits.model_validate(params).model_dump()), read_only=False),
    "refuse": Method(refuse, read_only=False),
    "crash": Method(crash, read_only=False),
    "unspeakable": Method(lambda params, _: Answer({"thing": object()}), read_only=False),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RpcServer]:
    server = RpcServer("test", METHODS, "127.0.0.1", None, 10)
    yield server
    server.close()


def ask(server: RpcServer, text: bytes | dict[str, Any], role: Role = Role.OPERATOR) -> Any:
    parts = server.answer(text if isinstance(text, bytes) else json.dumps(text).encode(), role)
    assert parts is not None
    return json.loads(bytes(parts[0]))


def test_transcripts(server: RpcServer) -> None:
    def exchange(request: bytes) -> list[bytes]:
        return [bytes(part) for part in server.answer(request, Role.OPERATOR) or []]

    assert exchange(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":[1]}}') == [
        b'{"jsonrpc":"2.0","id":1,"result":{"a":[1]}}'
    ]
    assert exchange(b'{"jsonrpc":"2.0","id":"x","method":"picture"}') == [
        b'{"jsonrpc":"2.0","id":"x","result":{"frame":1},"arrays":'
        b'[{"name":"image","dtype":"<u2","shape":[3],"codec":"raw","units":"adu"}]}',
        b"\x00\x00\x01\x00\x02\x00",
    ]
    assert exchange(b'{"jsonrpc":"2.0","id":2,"method":"nothing"}') == [
        b'{"jsonrpc":"2.0","id":2,"result":null,"arrays":[]}'
    ]
    assert exchange(b'{"jsonrpc":"2.0","id":3,"method":"refuse"}') == [
        b'{"jsonrpc":"2.0","id":3,"error":{"code":-32000,"message":"too bright; allowed: <= 5 mW"}}'
    ]
    assert exchange(b'{"jsonrpc":"2.0","method":"echo"}') == []


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (b"", -32700, "not JSON"),
        (b"\xff\x00", -32700, "not JSON"),
        (b"[" * 60_000, -32700, "not JSON"),
        (b"[]", -32600, "valid dictionary"),
        (b"{}", -32600, "required"),
        ({"jsonrpc": "1.0", "id": 1, "method": "echo"}, -32600, "jsonrpc"),
        ({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [1]}, -32600, "params"),
        ({"jsonrpc": "2.0", "id": True, "method": "echo"}, -32600, "id"),
        ({"jsonrpc": "2.0", "id": 1, "method": "x" * 65}, -32600, "method"),
        ({"jsonrpc": "2.0", "id": 1, "method": "dance"}, -32601, "no method 'dance'; there are: echo"),
        ({"jsonrpc": "2.0", "id": 1, "method": "limits", "params": {"low": "x"}}, -32602, "low"),
        ({"jsonrpc": "2.0", "id": 1, "method": "crash"}, -32603, "RuntimeError: file ? is gone"),
        ({"jsonrpc": "2.0", "id": 1, "method": "unspeakable"}, -32000, "no JSON form"),
    ],
)
def test_what_is_wrong_is_said(server: RpcServer, request_: bytes | dict[str, Any], code: int, said: str) -> None:
    error = ask(server, request_)["error"]
    assert error["code"] == code
    assert said in error["message"]


def test_a_read_only_key_reaches_only_what_is_open_to_it(server: RpcServer) -> None:
    assert ask(server, {"jsonrpc": "2.0", "id": 1, "method": "echo"}, Role.READ_ONLY)["result"] == {}
    error = ask(server, {"jsonrpc": "2.0", "id": 1, "method": "refuse"}, Role.READ_ONLY)["error"]
    assert error == {"code": -32000, "message": "refuse needs an operator's key"}


noise = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["2.0", "echo", "crash", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "x"]), inner, max_size=5)
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise, st.sampled_from(Role))
def test_noise_gets_a_well_formed_answer_or_none(server: RpcServer, request_: bytes, role: Role) -> None:
    if parts := server.answer(request_, role):
        reply = Reply.model_validate_json(bytes(parts[0]))
        assert (reply.error is None) != (reply.result is None and "result" not in reply.model_fields_set)
