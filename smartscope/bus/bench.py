"""What the bus costs and how quick it is, measured on this machine with clients in processes of their own."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from threading import Event, Thread
from typing import Any

import numpy as np
import zmq

from smartscope.bus.client import Client, NoAnswer
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.clock import LiveClock
from smartscope.config import BusConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.result import Detections, Result

_CLOCK = LiveClock()
_RATE_HZ = 100.0
_SIZE = 1024
"""1024² uint16 at 100 frames/s is 210 MB/s."""
_OBJECTS = 200
_VIEWER_S = 0.1
"""A slow viewer draws for so long."""


def bench(seconds: float = 3.0) -> dict[str, Any]:
    """Cost of each offer, throughput, age of a slow viewer's frames, ``laser_off`` round trips: median, p99, maximum.

    ``seconds`` is how long each of the timed parts runs.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as clients:
        return {
            "machine": {
                "cpu": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "system": platform.platform(terse=True),
                "python": platform.python_version(),
                "pyzmq": zmq.__version__,
                "libzmq": zmq.zmq_version(),
            },
            "stream": {"shape": [_SIZE, _SIZE], "dtype": "<u2", "rate_hz": _RATE_HZ},
            "laser_off_idle_ms": _beside(clients, _time_laser_off, seconds, streaming=False)[0],
            **_offers_and_throughput(clients, seconds),
            "laser_off_beside_stream_ms": _beside(clients, _time_laser_off, seconds, streaming=True)[0],
            "slow_viewer_age_ms": _beside(clients, _time_slow_viewer, seconds, streaming=True)[0],
        }


def _offers_and_throughput(clients: ProcessPoolExecutor, seconds: float) -> dict[str, Any]:
    """Offers timed while a subscriber in another process takes all it can."""
    received, offer_us, sent = _beside(clients, _count_frames, seconds, streaming=True)
    frames = sent.get("raw", 0)
    return {
        "offer_us": {name: _figures(times) for name, times in offer_us.items()},
        "subscriber": {
            "frames_sent": frames,
            "frames_received": received["frames"],
            "received_hz": received["hz"],
            "received_mb_per_s": received["hz"] * _SIZE * _SIZE * 2 / 1e6,
            "age_ms": received["age_ms"],
        },
    }


def _beside(
    clients: ProcessPoolExecutor, client: Callable[[str, float], Any], seconds: float, *, streaming: bool
) -> tuple[Any, dict[str, list[float]], dict[str, int]]:
    """What ``client`` measures in its process, the times of the offers meanwhile, and what was sent."""
    config = BusConfig(events_port=0, data_port=0, control_port=0, preview_hz=0)
    publisher = Publisher(config, "bench", _CLOCK, frame_bytes=_SIZE * _SIZE * 2)
    handlers = ControlHandlers(dict, dict, dict, dict, lambda: {"laser": 0.0}, dict)
    control = Control(config, publisher, handlers)
    times: dict[str, list[float]] = {"frame": [], "result": [], "event": []}
    try:
        with _producing(publisher, times if streaming else None):
            measured = clients.submit(client, control.endpoints["control"], seconds).result()
        return measured, times, dict(publisher.statistics().sent)
    finally:
        control.close()
        publisher.close()


@contextmanager
def _producing(publisher: Publisher, times: dict[str, list[float]] | None) -> Iterator[None]:
    """A camera and a pipeline of 100 frames/s on a thread, their offers timed in µs; None: nothing is produced."""
    done = Event()
    producer = Thread(target=_produce, args=(publisher, times, done), name="bench-producer")
    if times is not None:
        producer.start()
    try:
        yield
    finally:
        done.set()
        if times is not None:
            producer.join()


def _produce(publisher: Publisher, times: dict[str, list[float]], done: Event) -> None:
    pixels = np.random.default_rng(1).poisson(100, (_SIZE, _SIZE)).astype(np.uint16)
    column = np.zeros(_OBJECTS, np.float32)
    objects = Detections(column, column, column, column, np.zeros(_OBJECTS, np.int32))
    settings = Settings(10.0, Roi(0, 0, _SIZE, _SIZE), {"laser": 1.0})
    start_ns, index = _CLOCK.now_ns(), 0
    while not done.wait(max(0.0, index / _RATE_HZ - (_CLOCK.now_ns() - start_ns) / 1e9)):
        now_ns = _CLOCK.now_ns()
        frame = Frame(pixels, 0, index, index, settings, {}, now_ns, now_ns, now_ns)
        result = Result(frame, detections=objects, ready_ns=now_ns)
        _timed(times["frame"], partial(publisher.offer_frame, frame))
        _timed(times["result"], partial(publisher.offer_result, result))
        _timed(times["event"], partial(publisher.event, "metrics", {"frame": index, "exposure_ms": 10.0}))
        index += 1


def _timed(times_us: list[float], offer: Callable[[], None]) -> None:
    start_ns = _CLOCK.now_ns()
    offer()
    times_us.append((_CLOCK.now_ns() - start_ns) / 1e3)


def _time_laser_off(control: str, seconds: float) -> dict[str, float]:
    end_ns, times_ms = _CLOCK.now_ns() + seconds * 1e9, []
    with Client(control) as client:
        client.laser_off()
        while _CLOCK.now_ns() < end_ns:
            start_ns = _CLOCK.now_ns()
            client.laser_off()
            times_ms.append((_CLOCK.now_ns() - start_ns) / 1e6)
            _CLOCK.sleep(0.002)
    return _figures(times_ms)


def _time_slow_viewer(control: str, seconds: float) -> dict[str, float]:
    end_ns, ages_ms = _CLOCK.now_ns() + seconds * 1e9, []
    with Client(control) as client:
        while _CLOCK.now_ns() < end_ns:
            if newest := client.latest("raw"):
                ages_ms.append((_CLOCK.now_ns() - newest[0]["t_received_ns"]) / 1e6)
            _CLOCK.sleep(_VIEWER_S)
    return _figures(ages_ms)


def _count_frames(control: str, seconds: float) -> dict[str, Any]:
    times_ns, ages_ms = [], []
    with Client(control) as client:
        try:
            for message in client.subscribe("frame.raw", timeout_s=seconds):
                times_ns.append(_CLOCK.now_ns())
                ages_ms.append((times_ns[-1] - message.header["t_received_ns"]) / 1e6)
                if times_ns[-1] - times_ns[0] > seconds * 1e9:
                    break
        except NoAnswer:
            pass
    hz = (len(times_ns) - 1) / ((times_ns[-1] - times_ns[0]) / 1e9) if len(times_ns) > 1 else 0.0
    return {"frames": len(times_ns), "hz": hz, "age_ms": _figures(ages_ms)}


def _figures(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    p50, p99, most = np.percentile(values, [50, 99, 100])
    return {"n": len(values), "p50": float(p50), "p99": float(p99), "max": float(most)}
