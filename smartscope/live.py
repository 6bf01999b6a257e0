"""Real time: which thread does what. Grabber and pipeline have one each; the loop has the caller's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout

from smartscope.command import Applied, Command
from smartscope.errors import DeviceTimeout, StageFailed
from smartscope.grabber import Grabber, Window
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Pipeline
from smartscope.ports import Capabilities, Microscope
from smartscope.result import Result

SLICE_S = 0.005
"""How long a thread waits at most before it shows that it is alive."""
SWITCH_INTERVAL_S = 0.0005
"""Threads that compute in Python give way so often (the default, 5 ms, is half a frame)."""
RESTART_TIMEOUT_S = 10.0
Beat = Callable[[str], None]


def needs_restart(command: Command, capabilities: Capabilities) -> bool:
    """Whether the camera must stop for this command."""
    return command.setting in ("roi", "exposure_ms") and command.setting not in capabilities.live_settings


class LiveRun:
    """The threads of one run in real time."""

    def __init__(
        self,
        microscope: Microscope,
        grabber: Grabber,
        pipeline: Pipeline,
        mailbox: NewestWins[Window],
        beat: Beat,
    ) -> None:
        self._microscope, self._grabber, self._pipeline, self._mailbox = microscope, grabber, pipeline, mailbox
        self._beat = beat
        self._capabilities = microscope.capabilities()
        self._results: NewestWins[Result] = NewestWins()
        self._stop = threading.Event()

    def carry_out(self, command: Command) -> Applied:
        """Apply a command from the loop's thread; the camera's own go through the grabber, who owns it.

        Raises:
            DeviceError: the hardware did not confirm it.
        """
        if not needs_restart(command, self._capabilities):
            return self._microscope.apply(command)
        future = self._grabber.borrow(lambda: self._microscope.apply(command))
        for _ in range(round(RESTART_TIMEOUT_S / SLICE_S)):
            self._beat("loop")
            try:
                applied: Applied = future.result(SLICE_S)
            except FutureTimeout:
                continue
            return applied
        raise DeviceTimeout(
            f"the camera did not restart within {RESTART_TIMEOUT_S:g} s for {command.setting}",
            where="camera",
            remedy="shorten the exposure, or check the camera",
        )

    def run(self, loop: Loop) -> None:
        """Until the loop is asked to stop; raises what any thread raised, with the light already off."""
        threads = [
            threading.Thread(target=self._guarded, args=(loop, body), name=name, daemon=True)
            for name, body in (("grabber", self._grab), ("pipeline", self._understand))
        ]
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            self._beat("grabber")
            self._beat("loop")
            loop.begin()
            for thread in threads:
                thread.start()
            self._decide(loop)
        finally:
            self._stop.set()
            self._mailbox.close()
            loop.end()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(timeout=2.0)
            sys.setswitchinterval(interval_s)

    def _decide(self, loop: Loop) -> None:
        while not loop.stop_asked:
            self._beat("loop")
            if (result := self._results.take(SLICE_S)) is not None:
                loop.on_result(result)
            loop.tick()
            if self._microscope.exhausted() and self._idle():
                loop.ask("stop", why="the movie has ended")

    def _idle(self) -> bool:
        waiting = self._mailbox.statistics().waiting or self._results.statistics().waiting
        return not waiting and self._pipeline.busy_since_ns == 0

    def _guarded(self, loop: Loop, body: Callable[[Loop], None]) -> None:
        try:
            while not self._stop.is_set():
                body(loop)
        except BaseException as error:
            loop.fail(error)

    def _grab(self, loop: Loop) -> None:
        self._beat("grabber")
        if self._microscope.exhausted():
            self._stop.wait(SLICE_S)
            return
        self._grabber.step(SLICE_S)

    def _understand(self, loop: Loop) -> None:
        window = self._mailbox.take(0.05)
        if window is None:
            return
        try:
            result = self._pipeline.process(window)
        except StageFailed as error:
            loop.contain(error)
            return
        self._results.put(result)
