"""Virtual time: one participant at a time, moved on by a heap of events; one seed, one run, bit for bit."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from smartscope.clock import VirtualClock
from smartscope.command import Applied, Command
from smartscope.decider import Decider
from smartscope.errors import StageFailed
from smartscope.grabber import Grabber, Window
from smartscope.live import needs_restart
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Pipeline
from smartscope.ports import Microscope
from smartscope.result import Result

CAMERA, PIPELINE, DECISION, TICK = range(4)
"""Priority of events that fall on the same nanosecond; then the order in which they were made."""
TICK_NS = 5_000_000
Schedule = Literal["live", "every"]


class VirtualRun:
    """The event heap of one run. ``every`` processes each frame; ``live`` lets newer frames displace waiting ones."""

    def __init__(
        self,
        clock: VirtualClock,
        microscope: Microscope,
        grabber: Grabber,
        pipeline: Pipeline,
        decider: Decider,
        mailbox: NewestWins[Window],
        schedule: Schedule = "live",
    ) -> None:
        self._clock, self._microscope, self._grabber = clock, microscope, grabber
        self._pipeline, self._decider, self._mailbox, self._schedule = pipeline, decider, mailbox, schedule
        self._capabilities = microscope.capabilities()
        self._loop: Loop
        self._heap: list[tuple[int, int, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._busy = False
        self._epoch_of_camera_event = 0

    def carry_out(self, command: Command) -> Applied:
        """Apply a command; a restart of the camera replaces its coming frame."""
        if not needs_restart(command, self._capabilities):
            return self._microscope.apply(command)
        applied: Applied = self._grabber.restart_around(lambda: self._microscope.apply(command))
        self._expect_frame()
        return applied

    def run(self, loop: Loop) -> None:
        """Until the loop is asked to stop or the movie has ended; raises what any participant raised, light off."""
        self._loop = loop
        try:
            loop.begin()
            self._expect_frame()
            self._at(self._clock.now_ns(), TICK, lambda: self._tick(loop))
            while self._heap and not loop.stop_asked:
                t_ns, _, _, event = heapq.heappop(self._heap)
                self._clock.advance_to(t_ns)
                event()
        finally:
            loop.end()

    def _at(self, t_ns: int, priority: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (t_ns, priority, next(self._sequence), event))

    def _expect_frame(self) -> None:
        self._epoch_of_camera_event += 1
        expected = self._epoch_of_camera_event
        due_ns, now_ns = self._microscope.frame_due_ns(), self._clock.now_ns()
        self._at(due_ns if due_ns > now_ns else now_ns + TICK_NS, CAMERA, lambda: self._camera(expected))

    def _camera(self, expected: int) -> None:
        if expected != self._epoch_of_camera_event:
            return  # the camera was restarted after this frame was announced
        if self._grabber.step(0.0) is not None:
            self._start_pipeline()
        if not self._microscope.exhausted():
            self._expect_frame()

    def _start_pipeline(self) -> None:
        if self._busy and self._schedule == "live":
            return
        window = self._mailbox.take()
        if window is None:
            return
        self._busy = True
        try:
            result = self._pipeline.process(window)
        except StageFailed as error:
            self._busy = False
            self._loop.contain(error)
            return
        ready_ns = self._clock.now_ns() + self._pipeline.virtual_ns
        self._at(ready_ns, PIPELINE, lambda: self._ready(result))

    def _ready(self, result: Result) -> None:
        self._busy = False
        result = replace(result, ready_ns=self._clock.now_ns())
        self._at(self._clock.now_ns() + self._decider.virtual_ns, DECISION, lambda: self._loop.on_result(result))
        self._start_pipeline()

    def _tick(self, loop: Loop) -> None:
        loop.tick()
        only_ticks_left = not self._heap
        if only_ticks_left and self._microscope.exhausted():
            loop.ask("stop", why="the movie has ended")
            loop.tick()
            return
        self._at(self._clock.now_ns() + TICK_NS, TICK, lambda: self._tick(loop))
