"""Real time: which thread does what. Grabber and pipeline have one each; the loop has the caller's."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from smartscope.command import Applied, Command
from smartscope.dispatch import Kind, carry_out, kind_of
from smartscope.errors import DeviceError, SmartscopeError, StageFailed
from smartscope.grabber import Grabber, Window
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Abandoned, Pipeline
from smartscope.ports import Microscope
from smartscope.result import Result
from smartscope.safety.watchdog import Watchdog

SLICE_S = 0.005
"""How long a thread waits at most before it shows that it is alive."""
RESULT_WAIT_S = 0.25
"""A result waits so long for the loop to take the one before: what was understood is not lost to a busy moment."""
LOAN_MS = 5000.0
"""A loan of the camera (restart, planned part) may keep the grabber silent for so long; its dose was reserved."""
SWITCH_INTERVAL_S = 0.0005
"""Threads that compute in Python give way so often (the default, 5 ms, is half a frame)."""


class LiveRun:
    """The threads of one run in real time."""

    def __init__(
        self,
        microscope: Microscope,
        grabber: Grabber,
        pipeline: Pipeline,
        mailbox: NewestWins[Window],
        watchdog: Watchdog,
    ) -> None:
        self._microscope, self._grabber, self._pipeline, self._mailbox = microscope, grabber, pipeline, mailbox
        self._watchdog = watchdog
        self._capabilities = microscope.capabilities()
        self._results: NewestWins[Result] = NewestWins()
        self._understood = self._replaced = 0
        self._movers = ThreadPoolExecutor(1, "mover")
        self._stop = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    @property
    def displaced_results(self) -> int:
        """Results that newer ones displaced before the loop could take them."""
        return self._results.statistics().displaced

    def send(self, command: Command) -> Future[Applied]:
        """Begin a command from the loop's thread, which never waits for a moving device or a restarting camera."""
        kind = kind_of(command, self._capabilities)
        if kind is Kind.CAMERA:
            return self._grabber.borrow(lambda: carry_out(self._microscope, self._grabber, command))
        if kind is Kind.MOVING:
            return self._movers.submit(self._microscope.apply, command)
        future: Future[Applied] = Future()
        try:
            future.set_result(self._microscope.apply(command))
        except SmartscopeError as error:
            future.set_exception(error)
        return future

    def run(self, loop: Loop) -> None:
        """Until the loop is asked to stop; raises what any thread raised, with the light already off."""
        interval_s, excepthook = sys.getswitchinterval(), threading.excepthook
        threading.excepthook = lambda raised: loop.fail(_foreign(raised.exc_value, "a device's own thread"))
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()  # later collections look at what is new only, and hold the interpreter for less than a frame
        try:
            loop.begin()
            self._start(loop, "grabber", self._grab)
            self._start(loop, "pipeline", self._understand)
            self._decide(loop)
        finally:
            self._watchdog.forget("loop")
            self._watchdog.forget("grabber")
            self._stop.set()
            self._mailbox.close()
            self._results.close()
            loop.end()
            for thread in self._threads.values():
                thread.join(timeout=2.0)
            self._movers.shutdown(wait=False, cancel_futures=True)
            sys.setswitchinterval(interval_s)
            threading.excepthook = excepthook
            gc.unfreeze()

    def _start(self, loop: Loop, name: str, body: Callable[[Loop], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(loop, body), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _replace_hanging(self, loop: Loop) -> None:
        """Go on without the thread of a pass that was abandoned; it ends itself, should it ever come back."""
        while self._replaced < self._pipeline.abandoned:
            self._replaced += 1
            self._understood += 1
            self._start(loop, "pipeline", self._understand)

    def _decide(self, loop: Loop) -> None:
        while not loop.stop_asked:
            self._watchdog.beat("loop")
            if (result := self._results.take(SLICE_S)) is not None:
                loop.on_result(result)
            if (lapse := self._watchdog.recovered()) is not None:
                loop.ask("relight", why=f"all threads answer again after {lapse.why}")
            loop.tick()
            self._replace_hanging(loop)
            if (why := self._grabber.finished) and self._idle():
                loop.ask("stop", why=why)

    def _idle(self) -> bool:
        """Whether every frame that was handed over has been understood and decided on."""
        box = self._mailbox.statistics()
        return not box.waiting and box.taken == self._understood and not self._results.statistics().waiting

    def _guarded(self, loop: Loop, body: Callable[[Loop], None]) -> None:
        try:
            while not self._stop.is_set():
                body(loop)
        except Abandoned:
            return
        except SmartscopeError as error:
            loop.fail(error)
        except BaseException as error:
            loop.fail(_foreign(error, threading.current_thread().name))

    def _grab(self, loop: Loop) -> None:
        self._watchdog.beat("grabber", LOAN_MS if self._grabber.lending else 0.0)
        if self._grabber.step(SLICE_S) is None and self._grabber.finished:
            self._stop.wait(SLICE_S)

    def _understand(self, loop: Loop) -> None:
        window = self._mailbox.take(0.05)
        if window is None:
            return
        try:
            result = self._pipeline.process(window)
            self._results.wait_until_taken(RESULT_WAIT_S)
            self._results.put(result)
        except StageFailed as error:
            loop.contain(error)
        self._understood += 1


def _foreign(error: BaseException | None, where: str) -> DeviceError:
    """An error that is none of ours, in our form."""
    remedy = "a driver or plug-in failed in a way it should not; tell its author"
    found = DeviceError(f"{type(error).__name__}: {error}", where=where, remedy=remedy)
    found.__cause__ = error
    return found
