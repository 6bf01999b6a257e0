"""How events and data leave: one thread owns both sockets, producers only hand over, and the slow lose messages.

The events endpoint replays the last session, state and configuration to whoever subscribes. The data endpoint is an
XPUB used as a PUB: knowing what is subscribed, nothing is copied or sent that nobody listens to. Pixels are copied
once, into ZeroMQ's own buffer, before a frame is let go, so no buffer is read after its owner may write it again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from smartscope.bus.messages import EVENT_TYPES, VERSION
from smartscope.bus.sockets import Endpoints, Socket, high_water_mark, keys_for
from smartscope.bus.streams import NOTICES, TOPICS, Content, content_of
from smartscope.bus.wire import Arrays, Parts, encode
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.errors import BusError
from smartscope.frame import Frame
from smartscope.mailbox import BoundedQueue, NewestWins
from smartscope.ports import Clock
from smartscope.result import Result

EVENTS_WAITING = 10_000
"""Events that may wait for one slow client, and for the publisher's thread."""
MAX_SUBSCRIPTION_BYTES = 1024
FAREWELL_MS = 200
"""How long closing may wait until the last events are with the clients."""
_SUBSCRIBERS_S = 0.01
"""How often new subscriptions are looked for."""
_HEARTBEAT_NS = 1_000_000_000
_REMEMBERED = ("session", "state", "config")


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """What went through the publisher so far, by stream and event type."""

    offered: Mapping[str, int]
    sent: Mapping[str, int]
    """Copied to the socket; a data stream without subscribers sends nothing."""
    dropped: int
    """Events refused because too many waited, and items displaced by newer ones before their turn."""
    rejected: int
    """Messages that broke the wire format."""
    why_rejected: str
    """Reason of the last of them."""


class Publisher:
    """Broadcasts a session: ``offer_frame``, ``offer_result`` and ``event`` return at once, however slow the clients.

    Frames are offered by one thread, results by one thread, events by any. The newest frame and result are kept by
    reference for ``latest``.
    """

    def __init__(self, config: BusConfig, session: str, clock: Clock, *, frame_bytes: int = 2**23) -> None:
        """Bind both endpoints and start; ``frame_bytes`` is the size of the camera's largest frame.

        Raises:
            BusError: a port is in use, the host is not loopback and there are no keys, or the keys cannot be read.
        """
        self.session, self.clock, self.frame_bytes = session, clock, frame_bytes
        self._wall = LiveClock()
        """Viewers, and so the preview rate and the heartbeat, live on machine time even when the run is virtual."""
        self._interval_ns = round(1e9 / config.preview_hz) if config.preview_hz else 0
        self._frames: NewestWins[Frame] = NewestWins()
        self._results: NewestWins[Result] = NewestWins()
        self._images: NewestWins[Result] = NewestWins()
        self._fine: NewestWins[Result] = NewestWins()
        self._paced: Mapping[str, NewestWins[Any]] = {
            "raw": self._frames,
            "denoised": self._images,
            "super_resolved": self._fine,
        }
        self._queue: BoundedQueue[tuple[str, dict[str, Any], int]] = BoundedQueue(EVENTS_WAITING)
        self._notices: BoundedQueue[Content] = BoundedQueue(EVENTS_WAITING)
        self._newest: dict[str, tuple[int, Frame | Result]] = {}
        self._offered: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._rejected, self._why_rejected = 0, ""
        self._due_ns: Counter[str] = Counter()
        self._subscribed: set[bytes] = set()
        self._remembered: dict[str, Parts] = {}
        self._closing = False
        self._bell = threading.Event()
        self._ends = Endpoints(config.host, keys_for(config))
        self._events = self._ends.socket(zmq.XPUB, send_limit=EVENTS_WAITING, receive_bytes=MAX_SUBSCRIPTION_BYTES)
        self._events.xpub_verbose = True
        self._events.linger = FAREWELL_MS
        limit = high_water_mark(frame_bytes)
        self._data = self._ends.socket(zmq.XPUB, send_limit=limit, receive_bytes=MAX_SUBSCRIPTION_BYTES)
        self.endpoints: Mapping[str, str] = {
            "events": self._ends.bind(self._events, config.events_port, "bus.events_port"),
            "data": self._ends.bind(self._data, config.data_port, "bus.data_port"),
        }
        """Where clients connect, with the ports truly taken."""
        self._thread = threading.Thread(target=self._run, name="bus-publisher", daemon=True)
        self._thread.start()

    def offer_frame(self, frame: Frame) -> None:
        """Show a frame; a newer one displaces it if its turn has not come."""
        self._note("raw", frame)
        if self._frames.put(frame) is None:
            self._bell.set()

    def offer_result(self, result: Result) -> None:
        """Show what models said: images, detections, molecules, tracks and events, those that are there."""
        parts = {
            "denoised": result.image,
            "super_resolved": result.super_resolved,
            "detections": result.detections,
            "localizations": result.localizations,
            "tracks": result.tracks,
            "settled": result.settled,
        }
        for stream, part in parts.items():
            if part is not None:
                self._note(stream, result)
        for stream in NOTICES:
            if (content := content_of(stream, result)) is not None:
                self._note(stream, result)
                self._notices.offer(content)
        if self._results.put(result) is None:
            self._bell.set()

    def event(self, type: str, payload: Mapping[str, Any]) -> None:
        """Announce something small. ``payload`` may set ``t_ns``; its values must not change afterwards.

        Raises:
            BusError: no event type of this name.
        """
        if type not in EVENT_TYPES:
            raise BusError(f"no event type {type!r}", allowed=", ".join(EVENT_TYPES))
        self._queue.offer((type, dict(payload), self.clock.now_ns()))
        self._bell.set()

    def latest(self, stream: str) -> tuple[dict[str, Any], Arrays] | None:
        """Header and arrays of the newest item of a stream, None before the first; ``seq`` counts items offered."""
        if (newest := self._newest.get(stream)) is None:
            return None
        seq, item = newest
        if (content := content_of(stream, item)) is None:
            return None
        return content.header(self.session, seq, self.clock.now_ns()), content.arrays

    def statistics(self) -> PublisherStatistics:
        """Counts so far."""
        boxes = (self._frames, self._results, self._images, self._fine, self._queue, self._notices)
        dropped = sum(box.statistics().displaced for box in boxes)
        return PublisherStatistics(self._offered.copy(), self._sent.copy(), dropped, self._rejected, self._why_rejected)

    def close(self) -> None:
        """Send the events that still wait, then end the thread and the sockets; harmless when closed."""
        if self._closing:
            return
        self._closing = True
        self._bell.set()
        self._thread.join()
        self._ends.close()

    def _note(self, stream: str, item: Frame | Result) -> None:
        self._newest[stream] = (self._offered[stream], item)
        self._offered[stream] += 1

    def _run(self) -> None:
        try:
            while not self._closing:
                self._bell.wait(self._wait_s())
                self._bell.clear()
                self._answer_subscribers()
                self._send_events()
                self._send_data()
                self._beat()
            self._send_events()
        finally:
            self._events.close()
            self._data.close()

    def _wait_s(self) -> float:
        """Until something is due: not woken through a socket, since that would hand the producer's time slice over."""
        due = [self._due_ns[stream] for stream, box in self._paced.items() if box.statistics().waiting]
        return min([_SUBSCRIBERS_S, *(max(0.0, (due_ns - self._wall.now_ns()) / 1e9) for due_ns in due)])

    def _turn_of(self, what: str, interval_ns: int) -> bool:
        """Whether ``what`` may go now; if so, its next turn is ``interval_ns`` away."""
        now_ns = self._wall.now_ns()
        if now_ns < self._due_ns[what]:
            return False
        self._due_ns[what] = now_ns + interval_ns
        return True

    def _answer_subscribers(self) -> None:
        for joins, prefix in _subscriptions(self._events):
            for parts in [self._remembered[kind] for kind in _REMEMBERED if kind in self._remembered]:
                if joins and bytes(parts[0]).startswith(prefix):
                    self._events.send_multipart(parts)
        for joins, prefix in _subscriptions(self._data):
            (self._subscribed.add if joins else self._subscribed.discard)(prefix)

    def _send_events(self) -> None:
        while item := self._queue.take():
            self._send_event(*item)

    def _send_event(self, type: str, payload: Mapping[str, Any], t_ns: int) -> None:
        stamps = {"t_ns": payload.get("t_ns", t_ns), "t_published_ns": self.clock.now_ns()}
        header = {"v": VERSION, "type": type, "session": self.session, "seq": self._sent[type], **stamps}
        parts = self._encoded({**header, **payload, **header}, None)  # no payload can pass for a header
        if parts is None:
            return
        self._events.send_multipart(parts)
        self._sent[type] += 1
        if (kind := type.partition(".")[0]) in _REMEMBERED:
            self._remembered[kind] = parts

    def _send_data(self) -> None:
        while notice := self._notices.take():  # before the tracks that follow from them
            if self._wanted(notice.stream):
                self._send_content(notice)
        if result := self._results.take():
            for stream in ("detections", "localizations", "tracks", "settled"):
                self._send_item(stream, result)
            if result.image is not None:
                self._images.put(result)
            if result.super_resolved is not None:
                self._fine.put(result)
        for stream, box in self._paced.items():
            if box.statistics().waiting and self._turn_of(stream, self._interval_ns):
                self._send_item(stream, box.take())

    def _wanted(self, stream: str) -> bool:
        return any(TOPICS[stream].encode().startswith(prefix) for prefix in self._subscribed)

    def _send_item(self, stream: str, item: Frame | Result | None) -> None:
        if item and self._wanted(stream) and (content := content_of(stream, item)):
            self._send_content(content)

    def _send_content(self, content: Content) -> None:
        header = content.header(self.session, self._sent[content.stream], self.clock.now_ns())
        if parts := self._encoded(header, content.arrays):
            self._data.send_multipart(parts, copy=True)
            self._sent[content.stream] += 1

    def _encoded(self, header: Mapping[str, Any], arrays: Arrays | None) -> Parts | None:
        try:
            return encode(header, arrays)
        except BusError as error:
            self._rejected += 1
            self._why_rejected = error.line()
            return None

    def _beat(self) -> None:
        if not self._turn_of("heartbeat", _HEARTBEAT_NS):
            return
        counts, now_ns = self.statistics(), self.clock.now_ns()
        payload = {"sent": sum(counts.sent.values()), "dropped": counts.dropped, "rejected": counts.rejected}
        if newest := self.latest("raw"):
            header = newest[0]
            payload |= {"frame": header["frame"], "frame_age_ms": (now_ns - header["t_received_ns"]) / 1e6}
        self._send_event("heartbeat", payload, now_ns)


def _subscriptions(socket: Socket) -> Iterator[tuple[bool, bytes]]:
    """What has come in on an XPUB: subscribes or not, and the topic's beginning; anything else is passed over."""
    while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
        request = socket.recv()
        if request[:1] in (b"\x00", b"\x01"):
            yield request[:1] == b"\x01", request[1:]
