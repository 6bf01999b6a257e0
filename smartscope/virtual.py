"""Virtual time: one participant at a time, moved on by a heap of events; one seed, one run, bit for bit."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Literal

from smartscope.clock import VirtualClock
from smartscope.command import Applied, Command
from smartscope.decider import Decider
from smartscope.dispatch import Kind, carry_out, kind_of
from smartscope.errors import SmartscopeError, StageFailed
from smartscope.grabber import Grabber, Window
from smartscope.guests import Guest
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Pipeline
from smartscope.ports import Microscope
from smartscope.result import Result

CAMERA, DEVICE, PIPELINE, DECISION, TICK = range(5)
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
        self.displaced_results = 0
        """None: whoever runs, runs alone."""

    def send(self, command: Command) -> Future[Applied]:
        """Begin a command: what acts at once is done at once, what takes time lets the others go on meanwhile."""
        kind = kind_of(command, self._capabilities)
        if kind is Kind.CAMERA:
            return self._done(lambda: self._restart_for(command))
        if kind is Kind.QUICK:
            return self._done(lambda: self._microscope.apply(command))
        guest = Guest(self._clock, lambda: self._microscope.apply(command))
        self._resume(guest)
        return guest.future

    def _done(self, call: Callable[[], Applied]) -> Future[Applied]:
        future: Future[Applied] = Future()
        try:
            future.set_result(call())
        except SmartscopeError as error:
            future.set_exception(error)
        return future

    def _restart_for(self, command: Command) -> Applied:
        applied: Applied = self._grabber.restart_around(lambda: carry_out(self._microscope, self._grabber, command))
        self._expect_frame()
        return applied

    def _resume(self, guest: Guest[Applied]) -> None:
        wake_ns = guest.resume()
        if wake_ns is not None:
            self._at(wake_ns, DEVICE, lambda: self._resume(guest))

    def run(self, loop: Loop) -> None:
        """Until the loop is asked to stop or the movie has ended; raises what any participant raised, light off."""
        self._loop = loop
        try:
            loop.begin()
            self._expect_frame()
            self._at(self._clock.now_ns(), TICK, lambda: self._tick(loop))
            while self._heap and not loop.stop_asked:
                self._next_event()
        finally:
            loop.end()
            self._let_guests_finish()

    def _next_event(self) -> None:
        t_ns, _, _, event = heapq.heappop(self._heap)
        self._clock.advance_to(t_ns)
        event()

    def _let_guests_finish(self) -> None:
        """Device calls under way end in their own time, so that no thread is left; everything else is over."""
        self._heap = [item for item in self._heap if item[1] == DEVICE]
        heapq.heapify(self._heap)
        while self._heap:
            self._next_event()

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
        if not self._grabber.finished:
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
        if only_ticks_left and (why := self._grabber.finished):
            loop.ask("stop", why=why)
            loop.tick()
            return
        self._at(self._clock.now_ns() + TICK_NS, TICK, lambda: self._tick(loop))
