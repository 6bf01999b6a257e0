"""The guard of all tests finds what is left behind, and forgives what ends in time."""

from __future__ import annotations

import threading
import time

import pytest
import zmq

from smartscope.testing.guards import nothing_left_behind


def test_a_thread_left_behind_is_named() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    guard = nothing_left_behind(grace_s=0.0)
    guard.__enter__()
    thread.start()
    with pytest.raises(AssertionError, match="left behind: thread forgotten"):
        guard.__exit__(None, None, None)
    done.set()
    thread.join()


def test_a_thread_that_ends_in_time_is_forgiven() -> None:
    with nothing_left_behind():
        threading.Thread(target=time.sleep, args=(0.05,)).start()


def test_sockets_left_open_are_named() -> None:
    guard = nothing_left_behind(grace_s=0.0)
    guard.__enter__()
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    with pytest.raises(AssertionError, match=r"ZMQ context .*ZMQ socket"):
        guard.__exit__(None, None, None)
    socket.close()
    context.term()


def test_further_kinds_of_things() -> None:
    open_things: set[str] = set()
    guard = nothing_left_behind(lambda: set(open_things), grace_s=0.0)
    guard.__enter__()
    open_things.add("a core")
    with pytest.raises(AssertionError, match="a core"):
        guard.__exit__(None, None, None)


def test_what_was_there_before_is_no_fault() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with nothing_left_behind():
        pass
    done.set()
    thread.join()
