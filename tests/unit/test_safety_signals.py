"""Every way out of ``light_guard`` darkens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from smartscope.safety.signals import light_guard


def test_the_ordinary_way_out_darkens() -> None:
    done: list[str] = []
    with light_guard(lambda: done.append("first"), lambda: done.append("second")) as stop:
        assert not stop
        assert done == []
    assert sorted(done) == ["first", "second"]


def test_an_exception_darkens_and_goes_on() -> None:
    done: list[str] = []
    with pytest.raises(ZeroDivisionError), light_guard(lambda: done.append("dark")):
        raise ZeroDivisionError
    assert done == ["dark"]


def test_all_are_darkened_though_one_fails() -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError("no answer")

    with pytest.raises(OSError, match="no answer"), light_guard(fail, lambda: done.append("dark"), fail):
        pass
    assert done == ["dark"]


def test_a_signal_asks_for_an_orderly_end_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with light_guard() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.why == "SIGINT"
        stop.set("another reason")
        assert stop.why == "SIGINT"
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_the_way_out_counts() -> None:
    done: list[str] = []

    def work() -> None:
        with light_guard(lambda: done.append("dark")):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["dark"]


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, with ``dark`` that says so."""
    head = """
        import os, signal, sys
        from smartscope.safety.signals import light_guard
        def dark(): os.write(1, b"dark ")
        def broken(): raise OSError
    """
    text = textwrap.dedent(head) + textwrap.dedent(program)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=os.environ)


def test_the_second_signal_darkens_at_once_and_ends_the_process() -> None:
    done = run("""
        with light_guard(broken, dark):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            os.write(1, b"still here")
    """)
    assert (done.stdout, done.returncode) == ("dark ", 128 + signal.SIGTERM)


def test_leaving_without_leaving_the_block_darkens() -> None:
    done = run("""
        guard = light_guard(dark)
        guard.__enter__()
        sys.exit(3)
    """)
    assert done.returncode == 3
    assert "dark" in done.stdout
