"""Progress is shown on request, and its thread ends with it."""

import threading

from smartscope.progress import counting, polling, working


def test_quiet_elsewhere() -> None:
    with counting("x", shown=False) as advance:
        advance(1, 2)
    with polling("x", lambda: (1.0, None, ""), shown=False), working("x", shown=False):
        pass


def test_shown_on_a_terminal() -> None:
    with counting("x", shown=True) as advance:
        advance(1, 2)
    with working("x", shown=True):
        pass


def test_polling_looks_until_the_work_is_done() -> None:
    looked = threading.Event()

    def look() -> tuple[float, float | None, str]:
        looked.set()
        return 1.0, 2.0, "words"

    with polling("x", look, shown=True):
        assert looked.wait(10)
    assert not any(thread.name == "progress" for thread in threading.enumerate())
