"""Whoever listens or meddles: no frame is lost to a client, its wishes are obeyed, and the record tells of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import zmq
from system_helpers import (
    LIGHT,
    Workplace,
    check_frames,
    check_lights_of_frames,
    control_endpoint,
    experiment,
    smartscope,
    wait_for,
)

from smartscope.app import Rig, run_experiment
from smartscope.bus.client import Client, Rejected
from smartscope.loading import validate

BLINK = {"policies": [{"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT}}]}


def test_a_client_that_stops_reading_costs_no_frame(place: Workplace) -> None:
    rigs: list[Rig] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as lazy:
        lazy.linger, lazy.rcvhwm = 0, 1

        def subscribe(rig: Rig) -> None:
            rigs.append(rig)
            assert rig.diary.publisher is not None
            lazy.subscribe(b"")
            for name in ("events", "data"):
                lazy.connect(rig.diary.publisher.endpoints[name])

        config = validate(experiment(frames=150, bus__enabled=True, bus__preview_hz=0), "here")
        outcome = run_experiment(config, on_rig=subscribe)
        assert lazy.poll(1000)
    assert outcome.state == "done"
    run = place.the_run
    assert len(run.frame_rows) == rigs[0].grabber.statistics().received >= 150
    assert sum(row["lost_before"] for row in run.frame_rows) == 0
    assert run.run["recorder"]["frames_lost"] == 0
    check_frames(run)


def test_a_viewer_that_looks_once_a_second_sees_the_newest_frame(place: Workplace) -> None:
    seen: list[tuple[int, int]] = []

    def look(rig: Rig) -> None:
        with Client(control_endpoint(rig), timeout_s=10.0) as viewer:
            for glance in range(2):
                wait_for(lambda glance=glance: rig.grabber.statistics().received > 1 + 100 * glance, "frames")
                before = rig.grabber.statistics().received
                header, arrays = viewer.latest("raw") or ({}, {})
                assert arrays["image"].shape == (64, 64)
                seen.append((before, header["frame"]))
            viewer.stop()

    viewers: list[threading.Thread] = []

    def onlooker(rig: Rig) -> None:
        viewers.append(threading.Thread(target=look, args=(rig,)))
        viewers[0].start()

    outcome = run_experiment(validate(experiment(frames=2000, bus__enabled=True), "here"), on_rig=onlooker)
    viewers[0].join()
    assert outcome.state == "stopped"
    assert len(seen) == 2
    for received_before, frame in seen:
        assert frame >= received_before - 2


def with_client(place: Workplace, deeds: Callable[[Client, Rig], None], **changes: Any) -> str:
    """A live run during which a client does its deeds and then ends it; how it ended."""
    failures: list[BaseException] = []

    def act(rig: Rig) -> None:
        try:
            with Client(control_endpoint(rig), timeout_s=10.0) as client:
                wait_for(lambda: rig.grabber.statistics().received > 10, "frames")
                deeds(client, rig)
                client.stop()
        except BaseException as error:
            failures.append(error)
            rig.loop.ask("stop", why="the client failed")

    clients: list[threading.Thread] = []

    def onlooker(rig: Rig) -> None:
        clients.append(threading.Thread(target=act, args=(rig,)))
        clients[0].start()

    config = validate(experiment(frames=10**5, bus__enabled=True, **changes), "here")
    outcome = run_experiment(config, on_rig=onlooker)
    clients[0].join()
    assert not failures, failures
    return outcome.state


def test_a_client_switches_the_light_off_and_it_stays_off_until_resume(place: Workplace) -> None:
    def deeds(client: Client, rig: Rig) -> None:
        place.lamps.wait(on=True)
        assert client.laser_off() == {LIGHT: 0.0}
        assert not place.lamps.on
        wait_for(lambda: client.status()["state"] == "dark", "dark")
        seen = rig.grabber.statistics().received
        wait_for(lambda: rig.grabber.statistics().received > seen + 20, "frames in the dark")
        assert not place.lamps.on
        client.resume()
        place.lamps.wait(on=True)

    assert with_client(place, deeds, **BLINK) == "stopped"
    assert not place.lamps.on
    check_lights_of_frames(place)


def test_a_run_that_clients_meddled_with_is_decided_again_all_the_same(place: Workplace) -> None:
    def deeds(client: Client, rig: Rig) -> None:
        client.pause()
        wait_for(lambda: client.status()["state"] == "paused", "pause")
        client.resume()
        wait_for(lambda: client.status()["state"] == "running", "resume")
        client.set_limits(lights={LIGHT: {"max_power_mw": 1.5}})
        wait_for(lambda: 1.5 in place.lamps.powers_mw()[0], "the tighter limit")
        with pytest.raises(Rejected, match="max_power_mw"):
            client.set_limits(lights={LIGHT: {"max_power_mw": -1}})
        seen = rig.grabber.statistics().received
        wait_for(lambda: rig.grabber.statistics().received > seen + 10, "more frames")

    assert with_client(place, deeds, **BLINK) == "stopped"
    run = place.the_run
    assert run.run["state"] == "stopped"
    again = smartscope("replay", str(run.path), "--schedule", "recorded").said
    assert re.fullmatch(r"[1-9]\d+ decisions made again, 0 differ", again)
