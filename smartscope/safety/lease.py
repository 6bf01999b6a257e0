"""The controller's side of lights that the supervisor process owns: set-points out, renewals out, faults in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue

from smartscope.config import LimitsConfig, SafetyConfig
from smartscope.errors import DeviceError, DeviceTimeout, SmartscopeError
from smartscope.ports import LightsSetup
from smartscope.safety.link import SupervisorLink
from smartscope.safety.messages import (
    Dark,
    Darkened,
    Failed,
    ReadBack,
    Rehearse,
    Release,
    Renew,
    Report,
    SetPower,
    Start,
    TakenOver,
    TakeOver,
)

ANSWER_PATIENCE_S = 1.0
DARK_PATIENCE_S = 0.05
REHEARSAL_PATIENCE_S = 10.0
UNDERSTUDY_PATIENCE_S = 3.0
SILENT_RENEWALS = 200
"""A living supervisor reports ten times a second; renewals go out a hundred times a second."""


class LeasedLights:
    """Implements the ``Lights`` port through a supervisor process; without ``renew`` it darkens within a lease.

    An understudy, a second process with everything imported and no light opened, darkens if the supervisor dies.

    Callbacks come on the thread that reads reports: ``on_darkened`` when the supervisor darkened of its own accord,
    ``on_fault`` once the lights can no longer be trusted to obey (the run must end).
    """

    def __init__(
        self,
        setup: LightsSetup,
        safety: SafetyConfig,
        limits: LimitsConfig,
        *,
        controller_pid: int,
        on_darkened: Callable[[Darkened], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._on_darkened, self._on_fault = on_darkened, on_fault
        self._start = Start(
            setup=setup,
            max_power_mw={name: light.max_power_mw for name, light in limits.lights.items()},
            lease_ms=safety.lease_ms,
            controller_pid=controller_pid,
        )
        self._made_safe = False
        self._unanswered_renewals = 0
        self._rehearsal: SimpleQueue[Darkened | TakenOver] | None = None
        self._understudy_reports: SimpleQueue[TakenOver] = SimpleQueue()
        self._link = SupervisorLink(self._start, on_report=self._hear, on_gone=self._supervisor_died)
        self._understudy = self._call_understudy()
        try:
            self._link.wait_ready()
            if self._understudy:
                self._understudy.wait_ready()
        except SmartscopeError:
            self._close_links()
            raise

    @property
    def supervisor_pid(self) -> int:
        """Process that holds the lights."""
        return self._link.pid

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the power (mW) that the device confirms.

        Raises:
            Refused: above the hard limit, held dark, or darkened meanwhile.
            DeviceTimeout: no answer within ANSWER_PATIENCE_S; a fault too.
            DeviceError: the device did not confirm.
        """
        order = partial(SetPower, light=light, power_mw=power_mw, t_ns=time.perf_counter_ns())
        try:
            return self._link.request(lambda number: order(id=number), ANSWER_PATIENCE_S)[light]
        except DeviceTimeout as error:
            self._on_fault(f"the supervisor did not confirm {light} = {power_mw:g} mW")
            raise DeviceTimeout(
                f"did not confirm {power_mw:g} mW",
                where=light,
                allowed=f"{ANSWER_PATIENCE_S:g} s",
                remedy="check the light's cable and controller; it is dark as far as it obeys",
            ) from error

    def read_back(self) -> dict[str, float]:
        """Power in mW of each light, as the hardware says; raises as ``set_power``."""
        return self._link.request(lambda number: ReadBack(id=number), ANSWER_PATIENCE_S)

    def dark(self, *, latch: bool = False) -> None:
        """Every light off, confirmed if that takes no more than a moment; with ``latch`` until ``release``."""
        try:
            self._link.request(lambda number: Dark(id=number, latch=latch), DARK_PATIENCE_S)
        except DeviceTimeout:
            return  # on its way; a supervisor that stays silent is noticed by ``renew``
        except DeviceError as error:
            if not self._link.gone:  # that has been told, and is being seen to
                self._on_fault(f"lights did not confirm that they are off: {error}")

    def release(self) -> None:
        """End the latch; switches nothing on."""
        self._link.send(Release())

    def renew(self, *, controller_lit: bool = False) -> None:
        """All is well now. ``controller_lit``: a light that the controller itself owns may be on."""
        self._unanswered_renewals += 1
        if self._unanswered_renewals == SILENT_RENEWALS:
            self._on_fault("the supervisor process does not answer")
            self._link.kill()
        self._link.send(Renew(t_ns=time.perf_counter_ns(), controller_lit=controller_lit))

    def take_over(self, why: str) -> None:
        """Have this very process ended, and the lights that it owns darkened from outside."""
        self._link.send(TakeOver(why=why, end_controller=True))

    def rehearse_lapse(self) -> tuple[Darkened, float]:
        """Let the lease lapse with every light at zero: the supervisor's report, and the off-time in ms.

        Raises:
            DeviceTimeout: the supervisor did not darken.
        """
        began_ns = time.perf_counter_ns()
        report = self._rehearse(Rehearse(t_ns=began_ns))
        assert isinstance(report, Darkened)
        return report, (report.t_ns - began_ns) / 1e6

    def rehearse_take_over(self) -> TakenOver:
        """Let the supervisor open and darken the controller's lights, which the controller has closed.

        Raises:
            DeviceTimeout: it could not.
        """
        report = self._rehearse(TakeOver(why="rehearsal", end_controller=False))
        assert isinstance(report, TakenOver)
        return report

    def close(self) -> None:
        """Dark, then let the supervisor end; if it cannot, others make the lights safe."""
        if not self._link.close() and not self._made_safe:
            self._make_safe()
        self._close_links()

    def _rehearse(self, order: Rehearse | TakeOver) -> Darkened | TakenOver:
        reports: SimpleQueue[Darkened | TakenOver] = SimpleQueue()
        self._rehearsal = reports
        try:
            self._link.send(order)
            return reports.get(timeout=REHEARSAL_PATIENCE_S)
        except Empty:
            raise DeviceTimeout(
                f"did not perform the hand-over of light ({order.kind})",
                where="supervisor",
                allowed=f"{REHEARSAL_PATIENCE_S:g} s",
                remedy="check that its lights can be opened by a second process",
            ) from None
        finally:
            self._rehearsal = None

    def _hear(self, report: Report) -> None:
        self._unanswered_renewals = 0
        if isinstance(report, Darkened | TakenOver) and self._rehearsal is not None:
            self._rehearsal.put(report)
        elif isinstance(report, Darkened):
            self._on_darkened(report)
        elif isinstance(report, Failed) and report.id == 0:
            self._on_fault(f"supervisor: {report.what}")

    def _hear_understudy(self, report: Report) -> None:
        if isinstance(report, TakenOver):
            self._understudy_reports.put(report)

    def _supervisor_died(self) -> None:
        """Called by the reader when the pipe ends unexpectedly; the light may be on."""
        self._on_fault("the supervisor process died")
        self._make_safe()

    def _call_understudy(self) -> SupervisorLink | None:
        """Start it, unless the supervisor has no light that it could leave on."""
        if all(light.owner == "controller" for light in self._start.setup.lights):
            return None
        start = _only_supervised(self._start, by_understudy=True)
        return SupervisorLink(start, on_report=self._hear_understudy, on_gone=_nothing)

    def _close_links(self) -> None:
        self._link.close()
        if self._understudy:
            self._understudy.close()

    def _make_safe(self) -> None:
        """Darken the supervisor's lights without it: by its understudy, else by a process started for that."""
        if self._understudy is None:
            return
        self._understudy.send(TakeOver(why="the supervisor process died", end_controller=False))
        try:
            self._understudy_reports.get(timeout=UNDERSTUDY_PATIENCE_S)
        except Empty:
            self._make_safe_afresh()
        self._made_safe = True

    def _make_safe_afresh(self) -> None:
        link = SupervisorLink(_only_supervised(self._start), on_gone=_nothing)
        try:
            link.wait_ready()  # it opens lights dark
        except SmartscopeError as error:
            self._on_fault(f"the lights may still be on: {error}")
        link.close()


def _only_supervised(start: Start, *, by_understudy: bool = False) -> Start:
    """A start message for the supervisor's lights alone; an understudy opens them when told to, not before."""
    lights = tuple(light for light in start.setup.lights if light.owner == "supervisor")
    if by_understudy:
        lights = tuple(light.model_copy(update={"owner": "controller"}) for light in lights)
    return start.model_copy(update={"setup": replace(start.setup, lights=lights), "controller_pid": None})


def _nothing() -> None:
    """An understudy's death is no fault: a fresh process can do its work."""
