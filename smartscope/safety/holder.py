"""Ear, hand and guard around the lights that the supervisor process holds.

Three threads, so that no stuck device call keeps the others from their work: the *ear* reads orders and stamps
renewals, the *hand* sets and reads powers, and the *guard* (main thread) darkens: when told to, when the lease has
lapsed, when the orders end (the controller died) and when a signal asks this process to end.

Lights that the controller owns are not touched while it lives. When it dies, asks for it, or is silent for
``TAKE_OVER_LEASES`` leases with light on, the guard ends its process, waits until its ports are free, opens these
lights alone, darkens them and reads back.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import BinaryIO

from pydantic import ValidationError

from smartscope.errors import DeviceError, Refused, SmartscopeError
from smartscope.plugins import find
from smartscope.ports import Lights
from smartscope.safety.messages import (
    Alive,
    Close,
    Dark,
    Darkened,
    Done,
    Failed,
    Message,
    ReadBack,
    Ready,
    Rehearse,
    Release,
    Renew,
    SetPower,
    Start,
    TakenOver,
    TakeOver,
    orders,
)
from smartscope.safety.take_over import PORT_PATIENCE_S, ControllerProcess, open_lights_of, safe_off

TAKE_OVER_LEASES = 10
"""Ending the controller ends the run: a shorter silence is left to the watchdog inside it."""
ALIVE_EVERY_NS = 100_000_000
LOOK_EVERY_S = 0.1
EAR_S = 0.003
RETRY_S = 0.02


class Gone(Message):
    """The guard's own order: nobody is left to give orders."""

    why: str
    controller_died: bool


class Look(Message):
    """The guard's own order: light came on, compute anew when the lease ends."""


GuardOrder = Dark | Rehearse | TakeOver | Close | Gone | Look


class Supervisor:
    """Ear, hand and guard around one lights plug-in."""

    def __init__(self, start: Start, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._start, self._incoming, self._outgoing = start, incoming, outgoing
        self._controller = ControllerProcess(start.controller_pid) if start.controller_pid else None
        self._writing = threading.Lock()
        self._for_guard: SimpleQueue[GuardOrder] = SimpleQueue()
        self._for_hand: SimpleQueue[tuple[SetPower | ReadBack, int] | None] = SimpleQueue()
        """Orders with the number of Dark orders heard before them; None at the end."""
        self._lease_ns = round(start.lease_ms * 1e6)
        self._renewed_ns = 0
        self._alive_ns = 0
        self._lit_ns, self._dark_ns = -1, 0
        """When a light was last asked for, and when the last darkening that succeeded began."""
        self._controller_lit = self._controller_ended = False
        self._latched = self._must_darken = False
        self._darks_heard = self._darks_done = self._lapses = 0
        self._lights: Lights | None = None

    def end(self, why: str) -> None:
        """Darken and end; safe in a signal handler."""
        self._for_guard.put(Gone(why=why, controller_died=False))

    def serve(self) -> None:
        """Open the lights, then guard them until the controller closes or dies, or a signal comes."""
        find("lights", self._start.setup.microscope.driver)  # imported now, so that a take-over is quick
        self._lights = open_lights_of(self._start.setup, "supervisor")
        powers_mw = self._lights_dark()
        gc.collect()
        gc.freeze()  # a full collection over everything imported would last longer than a lease
        self._say(Ready(powers_mw=powers_mw))
        for work in (self._listen, self._act):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()
        going = True
        while going:
            try:
                order = self._for_guard.get(timeout=self._patience_s())
            except Empty:
                self._look()
            else:
                going = self._obey(order)
        self._for_hand.put(None)

    # ---- ear

    def _listen(self) -> None:
        for line in self._incoming:
            try:
                self._hear(line)
            except ValidationError as error:
                self._for_guard.put(Gone(why=f"an order that makes no sense: {error}", controller_died=False))
        self._for_guard.put(Gone(why="the controller is gone", controller_died=True))

    def _hear(self, line: bytes) -> None:
        match orders.validate_json(line):
            case Renew() as order:
                self._controller_lit = order.controller_lit
                self._renew(order.t_ns)
            case SetPower() as order:
                self._renew(order.t_ns)
                self._for_hand.put((order, self._darks_heard))
            case ReadBack() as order:
                self._for_hand.put((order, self._darks_heard))
            case Release():
                self._latched = False
            case Dark() as order:
                self._latched = self._latched or order.latch
                self._darks_heard += 1
                self._for_guard.put(order)
            case order:
                self._for_guard.put(order)

    def _renew(self, t_ns: int) -> None:
        """The sender's time counts: a renewal that lay in the pipe for long is worth little."""
        self._renewed_ns = max(self._renewed_ns, min(t_ns, time.perf_counter_ns()))

    # ---- hand

    def _act(self) -> None:
        while (item := self._for_hand.get()) is not None:
            order, darks_heard = item
            while self._darks_done < darks_heard:  # what was said first is done first
                time.sleep(0.0005)
            try:
                if isinstance(order, SetPower):
                    powers_mw = {order.light: self._set(order, darks_heard)}
                else:
                    powers_mw = dict(self._lights.read_back()) if self._lights else {}
                self._say(Done(id=order.id, powers_mw=powers_mw))
            except Exception as error:  # whatever a plug-in raises goes to the controller
                self._say(Failed(id=order.id, what=text_of(error), refused=isinstance(error, Refused)))

    def _set(self, order: SetPower, darks_heard: int) -> float:
        light, power_mw = order.light, order.power_mw
        if self._lights is None:
            raise DeviceError(f"light {light!r} is not the supervisor's")
        if power_mw == 0:
            return self._lights.set_power(light, 0.0)
        self._refuse_unless_allowed(light, power_mw)
        overtaken = Refused(
            "the lights were darkened while this set-point was on its way", where=f"supervisor, {light}"
        )
        lapses = self._lapses
        if self._darks_heard != darks_heard:
            raise overtaken
        self._lit_ns = time.perf_counter_ns()  # before the call: it may light and then block
        self._for_guard.put(Look())
        try:
            confirmed_mw = self._lights.set_power(light, power_mw)
        except Exception:
            if (self._darks_heard, self._lapses) == (darks_heard, lapses):
                raise
        else:
            if (self._darks_heard, self._lapses) == (darks_heard, lapses):
                return confirmed_mw
        self._lit_ns = time.perf_counter_ns()
        self._lights_dark()
        raise overtaken

    def _refuse_unless_allowed(self, light: str, power_mw: float) -> None:
        where, highest_mw = f"supervisor, {light}", self._start.max_power_mw.get(light, 0.0)
        if power_mw > highest_mw * (1 + 1e-9):
            raise Refused(f"{power_mw:g} mW", where=where, allowed=f"{highest_mw:g} mW")
        if self._latched:
            raise Refused("the lights are held dark", where=where, remedy="release them first")
        if self._lease_lapsed(1):
            raise Refused("the set-point came later than a lease", where=where)

    # ---- guard

    def _patience_s(self) -> float:
        """Until the lease lapses at the earliest."""
        if self._must_darken:
            return RETRY_S
        if not (self._may_be_lit() or self._controller_lit):
            return LOOK_EVERY_S
        left_s = (self._renewed_ns + self._lease_ns - time.perf_counter_ns()) * 1e-9
        return min(LOOK_EVERY_S, max(left_s, 0.0005) if left_s > 0 else RETRY_S)

    def _look(self) -> None:
        now_ns = time.perf_counter_ns()
        if self._may_be_lit() and self._lease_lapsed(1) and self._still_lapsed():
            self._darken("the lease was not renewed")
        elif self._must_darken:
            self._darken("the lights did not go dark when told to")
        if self._controller_lit and self._lease_lapsed(TAKE_OVER_LEASES):
            self._take_over(
                f"the controller was silent for {TAKE_OVER_LEASES} leases with light on", end_controller=True
            )
        if now_ns - self._alive_ns > ALIVE_EVERY_NS:
            self._alive_ns = now_ns
            self._say(Alive())

    def _may_be_lit(self) -> bool:
        """By stamps, not by a flag: a set-point that came while the guard was darkening stays under the lease."""
        return self._lit_ns >= self._dark_ns

    def _still_lapsed(self) -> bool:
        """Look again after a moment: if this process was held up, renewals that were sent in time lie in the pipe."""
        time.sleep(EAR_S)
        return self._lease_lapsed(1)

    def _lease_lapsed(self, leases: int) -> bool:
        return time.perf_counter_ns() > self._renewed_ns + leases * self._lease_ns

    def _obey(self, order: GuardOrder) -> bool:
        """Carry out an order to the guard; whether to go on."""
        match order:
            case Dark():
                with self._reporting(order.id):
                    self._say(Done(id=order.id, powers_mw=self._lights_dark()))
                self._darks_done += 1
            case Rehearse():
                self._renewed_ns, self._lit_ns = order.t_ns, time.perf_counter_ns()
            case TakeOver():
                self._take_over(order.why, end_controller=order.end_controller)
            case Look():
                self._look()
            case Close():
                self._close()
                return False
            case Gone():
                self._darken(order.why)
                if order.controller_died and self._controller:
                    self._take_over(order.why, end_controller=True)
                self._close()
                return False
        return True

    def _darken(self, why: str) -> None:
        """Lights off of our own accord; what fails is tried again at the next look."""
        with self._reporting(0):
            began_ns = time.perf_counter_ns()  # before the count, for whoever sees the count to be stamped later
            self._lapses += 1
            powers_mw = self._lights_dark(began_ns)
            self._say(Darkened(why=why, t_ns=time.perf_counter_ns(), powers_mw=powers_mw))

    def _lights_dark(self, began_ns: int | None = None) -> dict[str, float]:
        """Darken the supervisor's lights; the powers then read back.

        Raises:
            DeviceError: a light still gives power, beside what the plug-in raises.
        """
        self._must_darken, powers_mw = True, {}
        began_ns = began_ns or time.perf_counter_ns()
        if self._lights is not None:
            self._lights.dark()
            powers_mw = dict(self._lights.read_back())
        if any(power_mw > 0 for power_mw in powers_mw.values()):
            raise DeviceError(f"still lit after being switched off: {powers_mw}", where="supervisor")
        self._dark_ns, self._must_darken = began_ns, False
        return powers_mw

    def _take_over(self, why: str, *, end_controller: bool) -> None:
        """Darken the lights that the controller owns, ending it first."""
        self._controller_lit = False
        if self._controller_ended or all(light.owner == "supervisor" for light in self._start.setup.lights):
            return
        began_ns = time.perf_counter_ns()
        if end_controller and self._controller:
            self._controller.end()
            self._controller_ended = self._controller.wait(PORT_PATIENCE_S)
        with self._reporting(0):
            powers_mw = safe_off(self._start.setup)
            took_ms = (time.perf_counter_ns() - began_ns) / 1e6
            self._say(TakenOver(took_ms=took_ms, powers_mw=powers_mw))
            if end_controller:
                _tell(f"{why}: took its lights over in {took_ms:.0f} ms, read back {powers_mw} mW")

    def _close(self) -> None:
        if self._lights is not None:
            with self._reporting(0):
                self._lights_dark()
                self._lights.close()

    @contextlib.contextmanager
    def _reporting(self, order_id: int) -> Iterator[None]:
        """Turn whatever a plug-in raises into a report, so that the guard goes on."""
        try:
            yield
        except Exception as error:
            self._say(Failed(id=order_id, what=text_of(error)))
            _tell(text_of(error))

    def _say(self, report: Message) -> None:
        with self._writing, contextlib.suppress(OSError, ValueError):  # a dead controller does not listen
            self._outgoing.write(report.line())
            self._outgoing.flush()


def text_of(error: Exception) -> str:
    """One line for a report: our own errors say enough, of others the kind helps."""
    return str(error) if isinstance(error, SmartscopeError) else f"{type(error).__name__}: {error}"


def _tell(text: str) -> None:
    """To the user's terminal, if it still exists."""
    with contextlib.suppress(OSError, ValueError):
        print(f"smartscope supervisor: {text}", file=sys.stderr, flush=True)
