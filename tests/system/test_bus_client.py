"""The client stands alone in one file, says what is wrong, and outlives the controller."""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket as net
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from smartscope.bus import client as client_module
from smartscope.bus.client import Client, ClientError, NoAnswer
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.frame import Frame, Roi, Settings

SOURCE = Path(client_module.__file__)


class Calls(list[str]):
    def handlers(self) -> ControlHandlers:
        def stop() -> dict[str, bool]:
            self.append("stop")
            return {"stopping": True}

        return ControlHandlers(dict, dict, dict, stop, dict, dict)


def free_ports() -> dict[str, int]:
    """Four ports that were free a moment ago, the last two neighbours."""
    with net.socket() as a, net.socket() as b, net.socket() as c:
        for one in (a, b, c):
            one.bind(("127.0.0.1", 0))
        events, data, control = (one.getsockname()[1] for one in (a, b, c))
    return {"events_port": events, "data_port": data, "control_port": control}


@contextmanager
def running(calls: Calls, ports: dict[str, int], session: str = "S") -> Iterator[tuple[Publisher, Control]]:
    config = BusConfig(**ports, preview_hz=0)  # type: ignore[arg-type]
    publisher = Publisher(config, session, LiveClock())
    control = Control(config, publisher, calls.handlers())
    try:
        yield publisher, control
    finally:
        control.close()
        publisher.close()


FREE = {"events_port": 0, "data_port": 0, "control_port": 0}


def test_needs_the_standard_library_numpy_and_pyzmq_only() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy", "zmq"}


def test_a_copy_in_a_bare_folder_works_as_its_docstring_says(tmp_path: Path) -> None:
    shutil.copy(SOURCE, tmp_path / "client.py")
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", client_module.__doc__ or "")
    with running(Calls(), FREE) as (publisher, control):
        publisher.event("session.start", {})
        publisher.event("session.end", {})
        publisher.event("state", {"state": "running"})
        t_ns = LiveClock().now_ns()
        pixels = np.full((600, 600), 3, np.uint16)
        publisher.offer_frame(Frame(pixels, 0, 1, 1, Settings(5.0, Roi(0, 0, 600, 600)), {}, t_ns, t_ns, t_ns))
        first = textwrap.dedent(blocks[0]).replace('"denoised"', '"raw"')
        second = textwrap.dedent(blocks[1]) + "        break\n"
        script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom client import Client\n{first}\n{second}\n"
        script += "print(arrays, sorted(name for name in sys.modules if name.startswith(('smartscope', 'pydantic'))))"
        script = script.replace("tcp://127.0.0.1:5603", control.endpoints["control"])
        done = subprocess.run(
            [sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True
        )
    lines = done.stdout.splitlines()
    assert lines[0] == "S {}"
    assert lines[1].startswith("state 0")
    assert lines[2] == "{} []"


def test_the_six_lines_of_plain_pyzmq_in_the_docstring(tmp_path: Path) -> None:
    match = re.search(r"::\n\n((?: {12}.*\n)+)", Client.subscribe.__doc__ or "")
    assert match
    code = textwrap.dedent(match[1])
    with running(Calls(), FREE) as (publisher, control):
        script = f"import json, zmq, numpy as np\n{code}print(out['image'].sum(), h['seq'])"
        script = script.replace("tcp://127.0.0.1:5602", control.endpoints["data"])
        reader = subprocess.Popen([sys.executable, "-I", "-c", script], stdout=subprocess.PIPE, text=True)
        frame = Frame(np.ones((4, 4), np.uint16), 0, 1, 1, Settings(5.0, Roi(0, 0, 4, 4)), {}, 1, 2, 3)
        while reader.poll() is None:
            publisher.offer_frame(frame)
            try:
                reader.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
        assert reader.stdout is not None
        with reader.stdout as said:
            assert said.read().split()[0] == "16"


def test_nobody_there_is_said_with_the_endpoint_and_a_hint() -> None:
    port = free_ports()["control_port"]
    with Client(f"tcp://127.0.0.1:{port}", timeout_s=0.1) as client:
        for ask in (client.hello, client.laser_off, client.latest):
            with pytest.raises(
                NoAnswer, match=rf"no answer from tcp://127.0.0.1:{port} within 0.1 s; is smartscope running"
            ):
                ask()
        with pytest.raises(NoAnswer):
            client.subscribe("state")


def test_a_request_that_found_nobody_is_not_carried_out_later() -> None:
    calls, ports = Calls(), free_ports()
    with Client(f"tcp://127.0.0.1:{ports['control_port']}", timeout_s=0.1) as client:
        with pytest.raises(NoAnswer):
            client.stop()
        with running(calls, ports):
            client.timeout_s = 10
            assert client.hello()["session"] == "S"
            assert calls == []


def test_the_controller_may_go_and_come_back() -> None:
    ports = free_ports()
    with Client(f"tcp://127.0.0.1:{ports['control_port']}", timeout_s=10) as client:
        with running(Calls(), ports, "one") as (publisher, _):
            publisher.event("state", {"state": "first"})
            messages = client.subscribe("state", timeout_s=20)
            assert next(messages).header["state"] == "first"
            assert client.hello()["session"] == "one"
        with running(Calls(), ports, "two") as (publisher, _):
            assert client.hello()["session"] == "two"
            publisher.event("state", {"state": "second"})
            assert next(messages).header["state"] == "second"
        messages.close()


def test_silence_is_told_after_the_time_given() -> None:
    with running(Calls(), FREE) as (_, control), Client(control.endpoints["control"]) as client:
        silent = client.subscribe("alarm", timeout_s=0.05)
        with pytest.raises(NoAnswer, match=r"no message from .* for 0\.05 s"):
            next(silent)


def test_every_event_comes_when_no_topic_is_named() -> None:
    with running(Calls(), FREE) as (publisher, control), Client(control.endpoints["control"]) as client:
        publisher.event("session.start", {})
        publisher.event("state", {"state": "running"})
        messages = client.subscribe(timeout_s=10)
        assert [next(messages).topic for _ in range(2)] == ["session.start", "state"]
        messages.close()


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:5603", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://127.0.0.1:65535", ""]
)
def test_an_endpoint_that_makes_no_sense_is_refused(endpoint: str) -> None:
    with pytest.raises(ClientError, match="no endpoint; write it like tcp"):
        Client(endpoint)


@pytest.mark.parametrize("content", [None, "no json", "{}", "[]", '{"public": 1}'])
def test_a_wrong_key_file_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "operator.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ClientError, match="no client key file"):
        Client(key_file=path)


def test_another_major_version_and_unknown_codecs_are_refused() -> None:
    with pytest.raises(ClientError, match=r"wire version 2.0, this client reads 1.x"):
        client_module._checked({"v": "2.0"})
    assert client_module._checked({"v": "1.7"})
    info = json.loads('{"name": "image", "dtype": "<u2", "shape": [1], "codec": "jpeg", "units": ""}')
    with pytest.raises(ClientError, match="codec that this client cannot read"):
        client_module._read_arrays([info], [b"12"])
