"""The publisher over real sockets: late joiners, newest first, nothing grows or waits for a slow client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from track_helpers import EVENTS, FRAMES, KNOWN, told

from smartscope.bus.client import Client
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.bus.wire import decode
from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import BusConfig
from smartscope.errors import BusError
from smartscope.frame import Frame, Roi, Settings
from smartscope.result import Result, empty_detections, empty_localizations, empty_tracks

FREE = {"events_port": 0, "data_port": 0, "control_port": 0}
WAIT_MS = 10_000
HANDLERS = ControlHandlers(dict, dict, dict, dict, dict, dict)


def frame(index: int, size: int = 16) -> Frame:
    t_ns = time.perf_counter_ns()
    pixels = np.full((size, size), index, np.uint16)
    return Frame(pixels, 0, index, index, Settings(5.0, Roi(0, 0, size, size)), {}, t_ns, t_ns, t_ns)


@contextmanager
def publishing(**config: Any) -> Iterator[Publisher]:
    publisher = Publisher(BusConfig(**{**FREE, "preview_hz": 0, **config}), "S", LiveClock())
    try:
        yield publisher
    finally:
        publisher.close()


@contextmanager
def subscriber(endpoint: str, *topics: str, **options: int) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.SUB)
    for option, value in options.items():
        setattr(socket, option, value)
    socket.connect(endpoint)
    for topic in topics:
        socket.subscribe(topic)
    try:
        yield socket
    finally:
        context.destroy(linger=0)


def receive(socket: zmq.Socket[bytes]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    assert socket.poll(WAIT_MS), "nothing came"
    topic, header, arrays = decode(socket.recv_multipart())
    return topic, header.model_dump(), arrays


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_MS / 1000
    while not condition():
        assert time.monotonic() < end_s, "did not happen"
        time.sleep(0.001)


def first_image(publisher: Publisher, socket: zmq.Socket[bytes]) -> int:
    """Offer frames until the subscription has taken effect; returns the next index to offer."""
    for index in range(5000):
        publisher.offer_frame(frame(index))
        if socket.poll(5):
            return index + 1
    raise AssertionError("subscription did not take effect")


def test_a_late_joiner_hears_session_state_and_configuration_first() -> None:
    with publishing() as publisher:
        publisher.event("session.start", {"name": "demo"})
        publisher.event("state", {"state": "starting"})
        publisher.event("config", {"seed": 1})
        publisher.event("decision", {"why": "old news"})
        publisher.event("state", {"state": "running"})
        until(lambda: publisher.statistics().sent.get("state") == 2)
        with subscriber(publisher.endpoints["events"], "") as late:
            heard = [receive(late) for _ in range(3)]
            assert [topic for topic, _, _ in heard] == ["session.start", "state", "config"]
            assert (heard[1][1]["state"], heard[1][1]["seq"]) == ("running", 1)
            publisher.event("decision", {"why": "news"})
            fresh = next(header for topic, header, _ in iter(lambda: receive(late), None) if topic == "decision")
            assert (fresh["why"], fresh["seq"]) == ("news", 1)


def test_a_last_value_is_replayed_only_under_its_topic_and_the_end_replaces_the_start() -> None:
    with publishing() as publisher:
        publisher.event("session.start", {})
        publisher.event("session.end", {"outcome": "done"})
        publisher.event("state", {"state": "dark"})
        until(lambda: publisher.statistics().sent.get("state") == 1)
        with subscriber(publisher.endpoints["events"], "session") as late:
            topic, header, _ = receive(late)
            assert (topic, header["outcome"]) == ("session.end", "done")
            assert not late.poll(50)


def test_a_subscriber_is_not_told_twice_when_somebody_else_joins() -> None:
    with publishing() as publisher:
        control = Control(BusConfig(**FREE), publisher, HANDLERS)
        publisher.event("state", {"state": "running"})
        with Client(control.endpoints["control"]) as first, Client(control.endpoints["control"]) as second:
            early = first.subscribe("state", timeout_s=10)
            assert next(early).header["seq"] == 0
            late = second.subscribe("state", timeout_s=10)
            assert next(late).header["seq"] == 0
            publisher.event("state", {"state": "paused"})
            assert next(early).header["seq"] == 1
            early.close()
            late.close()
        control.close()


def test_the_heart_beats_by_itself_and_tells_the_newest_frame() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["events"], "heartbeat") as socket:
        publisher.offer_frame(frame(41))
        topic, header, _ = receive(socket)
        while header["frame"] != 41:
            topic, header, _ = receive(socket)
        assert topic == "heartbeat"
        assert header["frame_age_ms"] >= 0


def test_bad_events_are_refused_or_counted_and_change_nothing() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["events"], "") as socket:
        with pytest.raises(BusError, match="no event type 'wish'"):
            publisher.event("wish", {})
        publisher.event("state", {"colour": "no state in it"})
        publisher.event("metrics", {"thing": object()})
        publisher.event("state", {"state": "running", "seq": 99, "v": "9.9", "session": "forged", "t_ns": 77})
        until(lambda: publisher.statistics().rejected == 2)
        assert "no JSON form" in publisher.statistics().why_rejected
        topic, header, _ = receive(socket)
        while topic != "state":
            topic, header, _ = receive(socket)
        assert (header["seq"], header["v"], header["session"], header["t_ns"]) == (0, "1.0", "S", 77)


def test_all_streams_of_a_result_are_published() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["data"], "") as socket:
        index = first_image(publisher, socket)
        result = Result(frame(index), np.ones((16, 16), np.float32), empty_detections(), empty_tracks())
        publisher.offer_result(replace(result, localizations=empty_localizations()))
        topics = set()
        while not {"frame.raw", "frame.denoised", "detections", "localizations", "tracks"} <= topics:
            topics.add(receive(socket)[0])
        offered = publisher.statistics().offered
        assert (offered["raw"], offered["denoised"], offered["tracks"]) == (index, 1, 1)
        for stream in ("denoised", "detections", "localizations", "tracks"):
            newest = publisher.latest(stream)
            assert newest is not None
            assert newest[0]["frame"] == index


def test_events_and_revisions_are_never_displaced_and_come_before_the_tracks() -> None:
    publisher = Publisher(BusConfig(**FREE, preview_hz=0), "S", LiveClock(), frame_bytes=1000)  # many may wait
    with subscriber(publisher.endpoints["data"], "") as socket:
        start = first_image(publisher, socket)
        start += -start % FRAMES
        for index in range(start, start + 10 * FRAMES):
            publisher.offer_result(told(Result(frame(index))))
        heard: dict[str, list[int]] = {"events": [], "revisions": [], "settled": [], "tracks": []}
        while len(heard["events"]) < 10 * len(EVENTS) or start + 10 * FRAMES - 1 not in heard["settled"]:
            topic, header, _ = receive(socket)
            heard.get(topic, []).append(header["frame"])
            if topic == "revisions":
                assert header["frame"] not in heard["tracks"]
        steps = [*range(start, start + 10 * FRAMES)]
        assert heard["events"] == [index for index in steps if index % FRAMES in EVENTS]
        assert heard["revisions"] == [index for index in steps if index % FRAMES == KNOWN]
        assert heard["tracks"][-1] == steps[-1]
        newest = publisher.latest("events")
        assert newest is not None
        assert newest[0]["frame"] == heard["events"][-1]
    publisher.close()


def test_who_asks_for_tracks_gets_nothing_else() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["data"], "frame", "tracks") as socket:
        index = first_image(publisher, socket)
        index += KNOWN - index % FRAMES + FRAMES
        publisher.offer_result(told(Result(frame(index))))
        publisher.offer_frame(frame(index + 1))
        topics = set()
        while "tracks" not in topics:
            topics.add(receive(socket)[0])
        assert not socket.poll(50) or receive(socket)[0] == "frame.raw"
        assert topics <= {"tracks", "frame.raw"}


def test_nothing_is_copied_for_nobody() -> None:
    with publishing() as publisher:
        for index in range(20):
            publisher.offer_frame(frame(index))
        publisher.event("state", {"state": "running"})
        until(lambda: publisher.statistics().sent.get("state") == 1)
        assert "raw" not in publisher.statistics().sent
        assert publisher.latest("detections") is None


def test_the_preview_rate_thins_and_the_newest_frame_gets_through() -> None:
    with publishing(preview_hz=20) as publisher, subscriber(publisher.endpoints["data"], "frame.raw") as socket:
        start = first_image(publisher, socket)
        for index in range(start, start + 100):
            publisher.offer_frame(frame(index))
        header: dict[str, Any] = {"frame": -1}
        seen = 0
        while header["frame"] != start + 99:
            _, header, _ = receive(socket)
            assert header["seq"] == seen
            seen += 1
        statistics = publisher.statistics()
        assert statistics.offered["raw"] == start + 100
        assert statistics.sent["raw"] + statistics.dropped <= start + 100
        assert statistics.dropped >= 90


def test_pixels_written_after_they_were_sent_do_not_reach_the_client() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["data"], "frame.raw") as socket:
        start = first_image(publisher, socket)
        while receive(socket)[1]["frame"] != start - 1:
            pass  # none is on its way when the next is offered
        for index in range(start, start + 30):
            sent = publisher.statistics().sent["raw"]
            offered = frame(index, size=512)
            publisher.offer_frame(offered)
            until(lambda sent=sent: publisher.statistics().sent["raw"] > sent)  # type: ignore[misc]
            offered.pixels[:] = 0xDEAD
        index = -1
        while index < start + 29:
            _, header, arrays = receive(socket)
            index = header["frame"]
            assert (arrays["image"] == index).all()


def test_a_client_that_stops_reading_costs_neither_memory_nor_time() -> None:
    config = BusConfig(**FREE, preview_hz=0)
    size, frames = 1024, 200
    pixels = frame(0, size).pixels
    publisher = Publisher(config, "S", LiveClock(), frame_bytes=32_000_000)  # 2 messages may wait
    stuck = subscriber(publisher.endpoints["data"], "frame.raw", rcvhwm=1, rcvbuf=65536)
    with stuck as socket:
        first_image(publisher, socket)
        before = psutil.Process().memory_info().rss
        longest_ms = []
        for index in range(frames):
            sent = publisher.statistics().sent["raw"]
            offered = Frame(pixels, 0, index, index, Settings(5.0, Roi(0, 0, size, size)), {}, 0, 0, 0)
            start_ns = time.perf_counter_ns()
            publisher.offer_frame(offered)
            longest_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
            until(lambda sent=sent: publisher.statistics().sent["raw"] > sent)  # type: ignore[misc]
        grown = psutil.Process().memory_info().rss - before
    publisher.close()
    assert grown < 60e6, f"{grown / 1e6:.0f} MB for {frames * pixels.nbytes / 1e6:.0f} MB offered"
    assert np.median(longest_ms) < 5


def test_events_for_a_stuck_client_and_a_stuck_publisher_are_bounded() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["events"], "", rcvhwm=1):
        for index in range(30_000):
            publisher.event("metrics", {"frame": index})
        until(lambda: publisher.statistics().sent["metrics"] + publisher.statistics().dropped == 30_000)


def test_works_on_virtual_time() -> None:
    clock = VirtualClock(1_000)
    publisher = Publisher(BusConfig(**FREE), "S", clock)
    publisher.event("state", {"state": "running"})
    with subscriber(publisher.endpoints["events"], "state") as socket:
        _, header, _ = receive(socket)
        assert (header["t_ns"], header["t_published_ns"]) == (1_000, 1_000)
    publisher.close()


def test_the_last_words_arrive() -> None:
    publisher = Publisher(BusConfig(**FREE), "S", LiveClock())
    with subscriber(publisher.endpoints["events"], "") as socket:
        publisher.event("state", {"state": "running"})
        while receive(socket)[0] != "state":
            pass
        publisher.event("session.end", {"outcome": "done"})
        publisher.close()
        while receive(socket)[0] != "session.end":
            pass


def test_close_leaves_no_thread_and_no_port_and_later_offers_do_no_harm() -> None:
    before = set(threading.enumerate())
    publisher = Publisher(BusConfig(**FREE), "S", LiveClock())
    ports = {f"{name}_port": int(end.rpartition(":")[2]) for name, end in publisher.endpoints.items()}
    publisher.close()
    publisher.close()
    publisher.offer_frame(frame(0))
    publisher.event("state", {"state": "late"})
    assert set(threading.enumerate()) == before
    Publisher(BusConfig(**{**FREE, **ports}), "S", LiveClock()).close()


@pytest.mark.parametrize("taken", ["events", "data"])
def test_a_second_session_on_the_same_port_is_told_which_port_and_what_to_do(taken: str) -> None:
    before = set(threading.enumerate())
    with publishing() as publisher:
        port = int(publisher.endpoints[taken].rpartition(":")[2])
        with pytest.raises(BusError, match=rf"bus\.{taken}_port: port {port} is in use.*remedy: end the other session"):
            Publisher(BusConfig(**{**FREE, f"{taken}_port": port}), "S", LiveClock())
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "*", "microscope-pc"])
def test_other_machines_are_refused_without_keys(host: str) -> None:
    with pytest.raises(BusError, match=r"bus\.host.*other machines.*smartscope keys new"):
        Publisher(BusConfig(**FREE, host=host), "S", LiveClock())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_by_name_or_number(host: str) -> None:
    with publishing(host=host) as publisher:
        assert publisher.endpoints["events"].startswith("tcp://127.0.0.1:")


def test_plain_json_reads_a_header() -> None:
    with publishing() as publisher, subscriber(publisher.endpoints["data"], "frame.raw") as sub:
        first_image(publisher, sub)
        topic, header, *parts = sub.recv_multipart()
        h = json.loads(header)
        out = {a["name"]: np.frombuffer(p, a["dtype"]).reshape(a["shape"]) for a, p in zip(h["arrays"], parts)}  # noqa: B905
        assert topic == b"frame.raw"
        assert out["image"].shape == (16, 16)
