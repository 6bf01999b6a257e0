"""The only writer of settings: takes results and wishes, decides, carries out, and keeps account of the light."""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from smartscope.command import (
    Applied,
    Command,
    EndRun,
    MoveFocus,
    MoveStage,
    Request,
    RunPlan,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from smartscope.config import ExperimentConfig, LimitsConfig
from smartscope.decider import Decider, Ruling
from smartscope.decision import Decision
from smartscope.diary import Diary
from smartscope.errors import DeviceTimeout, Refused, SmartscopeError, StageFailed
from smartscope.frame import Frame, Roi, Settings
from smartscope.grabber import Grabber
from smartscope.moment import Moment
from smartscope.pipeline import FallBack, Pipeline
from smartscope.ports import Clock, Delay, DoseState, Microscope
from smartscope.recorder.rows import command_to_row
from smartscope.result import Result
from smartscope.safety.gate import SafetyGate
from smartscope.safety.watchdog import Lapse

HANG_DEADLINES = 10
"""A stage that has not answered after so many of its deadlines (at least a second) hangs."""
REPORT_NS = 100_000_000
EFFECTS_AWAITED = 1000
"""Changes that wait for their first frame; a camera that stands still must not make them pile up."""
Send = Callable[[Command], Future[Applied]]


@dataclass(frozen=True, slots=True)
class Effect:
    """A change that was carried out and waits for the first frame that shows it."""

    setting: str
    t_exposure_mid_ns: int
    t_effect_ns: int


@dataclass(frozen=True, slots=True)
class Errand:
    """A granted command on its way to the hardware, with what the diary needs when it is done."""

    ruling: Ruling
    moment: Moment
    result: Result | None
    future: Future[Applied]


class Loop:
    """One thread lives here; others only leave wishes (``ask``) or faults (``fail``)."""

    def __init__(
        self,
        config: ExperimentConfig,
        microscope: Microscope,
        grabber: Grabber,
        pipeline: Pipeline,
        decider: Decider,
        gate: SafetyGate,
        clock: Clock,
        diary: Diary,
        send: Send,
        *,
        release_lights: Callable[[], None] = lambda: None,
        signalled: Callable[[], str] = lambda: "",
    ) -> None:
        self._config, self._microscope, self._grabber, self._pipeline = config, microscope, grabber, pipeline
        self._decider, self._gate, self._ledger, self._clock, self._diary = decider, gate, gate.ledger, clock, diary
        self._send, self._release_lights, self._signalled = send, release_lights, signalled
        self._on_their_way: dict[str, Errand] = {}
        self._began_ns = clock.now_ns()
        self._delays_ms: deque[float] = deque(maxlen=200)
        self._effects: deque[Effect] = deque(maxlen=EFFECTS_AWAITED)
        self._wishes: queue.SimpleQueue[tuple[str, Mapping[str, Any]]] = queue.SimpleQueue()
        self._steps = itertools.count()
        self._fault_lock = threading.Lock()
        self._lit_before: Mapping[str, float] = {}
        self.fault: BaseException | None = None
        self.stop_asked = ""
        """Why the run should end in order; empty while it should not."""
        self.aim_reached = False
        """Whether it was a policy that asked for the end."""
        self.state = "starting"
        self.decided = self.skipped_mixed = 0
        self.latest: Result | None = None
        self.dose = DoseState()
        """As of the last moment; for onlookers on other threads."""
        self.report: Callable[[], None] = lambda: None
        """Called about ten times a second, for running figures."""
        self._reported_ns = 0

    # ---------------------------------------------------------------- from other threads

    def ask(self, wish: str, **details: Any) -> None:
        """Leave a wish for the next tick: pause, resume, stop, laser_off, relight or set_limits."""
        self._wishes.put((wish, details))

    def fail(self, error: BaseException) -> None:
        """Light off at once, on the thread that found the fault; the loop ends the run."""
        try:
            self._microscope.dark()
        finally:
            with self._fault_lock:
                self.fault = self.fault or error

    def note_lapse(self, lapse: Lapse) -> None:
        """The lights went dark because a thread was silent: say so, and stamp the frames since as dark."""
        lit = {light: mw for light, mw in self._microscope.settings().lights_mw.items() if mw > 0}
        self._lit_before = lit or self._lit_before
        self._microscope.dark(lapse.began_ns)
        self._diary.event("alarm", lapse.began_ns, what=f"light lapsed: {lapse.why}")

    def note_fallback(self, fallback: FallBack) -> None:
        """A model failed and its fall-back goes on in its place."""
        what, then = f"model {fallback.stage}: {fallback.why}", f"{fallback.to} has taken over"
        self._diary.event("alarm", fallback.t_ns, what=what, then=then)

    def see_frame(self, frame: Frame) -> None:
        """A sink of the grabber: notes the first frame that shows each change."""
        while self._effects and frame.t_start_ns >= self._effects[0].t_effect_ns:
            effect = self._effects.popleft()
            self._diary.event(
                "effect",
                setting=effect.setting,
                frame=frame.index,
                effect_to_frame_ms=(frame.t_end_ns - effect.t_effect_ns) / 1e6,
                exposure_to_frame_ms=(frame.t_end_ns - effect.t_exposure_mid_ns) / 1e6,
            )

    # ---------------------------------------------------------------- begin and end

    def begin(self) -> None:
        """First settings through the gate, camera on, light last."""
        self._began_ns = self._clock.now_ns()
        start, now = self._config.start, self._microscope.settings()
        self._move_account(now.x_um, now.y_um, self._began_ns)
        first: list[Command] = []
        if start.x_um is not None or start.y_um is not None:
            x_um = now.x_um if start.x_um is None else start.x_um
            first.append(MoveStage(x_um, now.y_um if start.y_um is None else start.y_um))
        if start.z_um is not None:
            first.append(MoveFocus(start.z_um))
        if start.roi is not None:
            first.append(SetRoi(Roi(**start.roi.model_dump())))
        low_ms, high_ms = self._microscope.capabilities().exposure_range_ms
        if low_ms < high_ms:
            first.append(SetExposure(start.exposure_ms))
        for command in first:
            self._demand("start", Request(command, "first setting"), self._at_once)
        self._grabber.open_epoch()
        for light, power_mw in start.lights_mw.items():
            self._demand("start", Request(SetLight(light, power_mw), "first setting"), self._send)
        self._enter("running")

    def end(self) -> None:
        """Light off, and what was still on its way written down; what follows is the app's to close."""
        self._microscope.dark()
        for errand in self._on_their_way.values():
            self._give_up(errand, "on its way when the run ended")
        self._on_their_way.clear()
        t_ns = self._clock.now_ns()
        for light in self._microscope.capabilities().lights:
            self._ledger.set_light(light, 0.0, t_ns)
        self._enter("ended")

    # ---------------------------------------------------------------- one result

    def on_result(self, result: Result) -> None:
        """Decide on one result and carry the granted commands out.

        Raises:
            StageFailed: a policy failed and ``safety.on_fault`` is ``dark``.
            DeviceError: the hardware did not confirm a command.
        """
        self.latest = result
        moment = self._moment()
        rulings: list[Ruling] = []
        decides = self.state == "running"
        self.skipped_mixed += result.frame.mixed
        if decides:
            rulings = self._decide(result, moment)
        step = next(self._steps)
        waiting = deque(rulings)
        try:
            while waiting:
                self._execute(waiting.popleft(), moment, result, self._send)
        finally:  # what was decided is written, also where the hardware failed; writing comes after acting
            self._diary.result(result, {"step": step, **moment.to_row()} if decides else None)
            for ruling in waiting:
                self._write(ruling, moment, result, None)

    def _decide(self, result: Result, moment: Moment) -> list[Ruling]:
        self.decided += not result.frame.mixed
        while True:
            try:
                return self._decider.decide(result, moment)
            except StageFailed as error:
                self.contain(error)

    def contain(self, error: StageFailed) -> None:
        """A model or policy failed: raise again, or take its say away and carry on, as the configuration wants."""
        if self._config.safety.on_fault == "dark":
            raise error
        if error.where.startswith("policy "):
            self._decider.silence(error.where.removeprefix("policy "))
        self._diary.event("alarm", what=error.line(), then="lost its say; settings stay as they are")

    def _demand(self, who: str, request: Request, send: Send, because: str = "") -> None:
        """Judge and carry out what no policy asked for, in shadow too; recorded so that replay can ask it again."""
        moment = self._moment()
        asked = command_to_row(request.command)
        self._note("demand", moment.t_ns, who=who, asked=asked, why=request.why, moment=moment.to_row())
        verdict = self._decider.demand(request, moment)
        verdict = replace(verdict, clipped_by=because or verdict.clipped_by)
        self._execute(Ruling(who, request, verdict), moment, None, send)

    def _execute(self, ruling: Ruling, moment: Moment, result: Result | None, send: Send) -> None:
        """Send what was granted; what is not done at once is an errand, and its setting is busy until it is."""
        granted = ruling.verdict.granted
        if isinstance(granted, EndRun) and not self.stop_asked:
            self.stop_asked, self.aim_reached = ruling.request.why or f"asked for by {ruling.policy}", True
        if granted is None or isinstance(granted, EndRun):
            self._write(ruling, moment, result, None)
            return
        if isinstance(granted, RunPlan):
            self._begin_lights_of(granted)
        errand = Errand(ruling, moment, result, send(granted))
        if errand.future.done():
            self._conclude(errand)
            return
        setting = granted.setting
        self._on_their_way[setting] = errand
        self._decider.begin_errand(setting)
        self._note("under_way", self._clock.now_ns(), setting=setting)

    def _conclude(self, errand: Errand) -> None:
        """Write down what the hardware made of a command; lights that are held dark may still say no."""
        try:
            applied = errand.future.result()
        except Refused as error:
            self._give_up(errand, error.line())
        except SmartscopeError as error:
            self._give_up(errand, error.line())
            raise
        else:
            self._write(errand.ruling, errand.moment, errand.result, applied)

    def _give_up(self, errand: Errand, why: str) -> None:
        """Write down a granted command of which nothing came."""
        verdict = errand.ruling.verdict
        if isinstance(verdict.granted, RunPlan):
            self._end_lights_of(verdict.granted, self._clock.now_ns())
        said = f"{verdict.why}; {why}" if verdict.why else why
        self._write(replace(errand.ruling, verdict=replace(verdict, why=said)), errand.moment, errand.result, None)

    def _at_once(self, command: Command) -> Future[Applied]:
        """Before the camera runs, every command may take its time."""
        future: Future[Applied] = Future()
        future.set_result(self._microscope.apply(command))
        return future

    def _see_errands(self) -> None:
        """Write down the errands that are done; one that takes too long is a stuck device."""
        for setting, errand in list(self._on_their_way.items()):
            if errand.future.done():
                del self._on_their_way[setting]
                self._decider.end_errand(setting)
                self._note("settled", self._clock.now_ns(), setting=setting)
                self._conclude(errand)
            elif setting != "plan":
                self._check_stuck(setting, errand)

    def _check_stuck(self, setting: str, errand: Errand) -> None:
        took_ms = (self._clock.now_ns() - errand.moment.t_ns) / 1e6
        if took_ms > (most_ms := self._config.safety.device_call_ms):
            raise DeviceTimeout(
                f"{setting} has been on its way for {took_ms:.0f} ms",
                where="device",
                allowed=f"{most_ms:g} ms (safety.device_call_ms)",
                remedy="check the device; raise the limit for a slow one",
            )

    def _write(self, ruling: Ruling, moment: Moment, result: Result | None, applied: Applied | None) -> None:
        """Account for a ruling: ledger, delay, diary."""
        frame = result.frame if result else None
        if applied is not None:
            self._account(applied)
            if frame is not None:
                self._delays_ms.append((applied.t_effect_ns - frame.t_mid_ns) / 1e6)
                self._effects.append(Effect(applied.asked.setting, frame.t_mid_ns, applied.t_effect_ns))
        self._diary.decision(
            Decision(
                frame=frame.index if frame else -1,
                t_ns=moment.t_ns,
                policy=ruling.policy,
                asked=ruling.request.command,
                granted=ruling.verdict.would_grant,
                clipped_by=ruling.verdict.clipped_by,
                why=_why(ruling),
                t_exposure_mid_ns=frame.t_mid_ns if frame else 0,
                t_received_ns=frame.t_received_ns if frame else 0,
                t_result_ns=result.ready_ns if result else 0,
                t_applied_ns=applied.t_effect_ns if applied else 0,
                shadow=ruling.verdict.shadow and frame is not None,
            )
        )

    def _account(self, applied: Applied) -> None:
        """Tell the ledger, erring to the sample's side: light counts from the call on, and until off is confirmed."""
        command = applied.made_true
        if isinstance(command, SetLight):
            rises = command.power_mw > self._ledger.power_mw(command.light)
            t_ns = applied.t_called_ns if rises else applied.t_effect_ns
            self._light_account(command.light, command.power_mw, t_ns)
        elif isinstance(command, RunPlan):
            self._end_lights_of(command, applied.t_effect_ns)
        elif isinstance(command, SetExposure | SetInterval):
            self._duty_account_now(applied)
        elif isinstance(command, MoveStage):
            self._move_account(command.x_um, command.y_um, applied.t_effect_ns)

    def _begin_lights_of(self, plan: RunPlan) -> None:
        """A plan's lights count from before it begins; one that it lowers counts as it is until its end."""
        t_ns = self._clock.now_ns()
        if exposures := [event.exposure for event in plan.events if event.exposure is not None]:
            self._duty_account(max(exposures), t_ns)
        for light, power_mw in plan.lights_mw.items():
            if power_mw > self._ledger.power_mw(light):
                self._light_account(light, power_mw, t_ns)

    def _end_lights_of(self, plan: RunPlan, t_ns: int) -> None:
        """After a plan its lights are as the microscope left them."""
        settings = self._microscope.settings()
        for light in plan.lights_mw:
            self._light_account(light, settings.lights_mw[light], t_ns)
        self._duty_account(settings.exposure_ms, t_ns, settings.interval_ms)

    def _duty_account_now(self, applied: Applied) -> None:
        """From the call on; a longer interval counts once it is in effect."""
        settings, rests = self._microscope.settings(), isinstance(applied.made_true, SetInterval)
        t_ns = applied.t_effect_ns if rests else applied.t_called_ns
        self._duty_account(settings.exposure_ms, t_ns, settings.interval_ms)

    def _duty_account(self, exposure_ms: float, t_ns: int, interval_ms: float = 0.0) -> None:
        """Lights that the camera gates are on during exposures alone."""
        duty = exposure_ms / self._period_ms(exposure_ms, interval_ms)
        self._ledger.set_exposure_duty(duty, t_ns)
        self._note("duty", t_ns, fraction=duty)

    def _light_account(self, light: str, power_mw: float, t_ns: int) -> None:
        self._ledger.set_light(light, power_mw, t_ns)
        self._note("light", t_ns, light=light, power_mw=power_mw)

    def _move_account(self, x_um: float, y_um: float, t_ns: int) -> None:
        self._ledger.move(x_um, y_um, t_ns)
        self._note("stage", t_ns, x_um=x_um, y_um=y_um)

    def _note(self, kind: str, t_ns: int, **data: Any) -> None:
        """An event that later decisions depend on: numbered, so that replay takes them in the same order."""
        self._diary.event(kind, t_ns, step=next(self._steps), **data)

    # ---------------------------------------------------------------- the rest of the time

    def tick(self) -> None:
        """Wishes, faults, hangs and overdue lights; called at least every few milliseconds.

        Raises:
            BaseException: whatever another thread left with ``fail``.
            StageFailed: a stage hangs.
            RecorderError: the record can no longer be kept.
        """
        while not self._wishes.empty():
            wish, details = self._wishes.get()
            self._serve(wish, details)
        self._see_errands()
        if self.fault is not None:
            raise self.fault
        if fault := self._diary.fault:
            raise fault
        self._check_hang()
        self._lower_overdue()
        self._check_end()
        if (now_ns := self._clock.now_ns()) - self._reported_ns >= REPORT_NS:
            self._reported_ns = now_ns
            self.dose = self._ledger.state(now_ns)
            self.report()

    def _serve(self, wish: str, details: Mapping[str, Any]) -> None:
        why = str(details.get("why", f"{wish} by the operator"))
        if wish == "stop":
            self.stop_asked = why
        elif wish == "pause" and self.state == "running":
            self.darken(why)
            self._enter("paused")
        elif wish == "laser_off":
            self.darken(why)
            self._enter("dark")
        elif wish == "resume" and self.state in ("paused", "dark"):
            self._release_lights()
            self._gate.release()
            self._note("release", self._clock.now_ns())
            self._enter("running")
            self._relight("operator", why)
        elif wish == "relight" and self.state == "running":
            self._relight("safety", why)
        elif wish == "set_limits":
            self._tighten(details["limits"])

    def _tighten(self, limits: LimitsConfig) -> None:
        try:
            self._gate.tighten(limits)
        except Refused as error:
            self._diary.event("alarm", what=error.line())
        else:
            self._note("limits", self._clock.now_ns(), limits=limits.model_dump(mode="json"))

    def darken(self, why: str) -> None:
        """All lights off, and the gate grants none until it is released."""
        called_ns = self._clock.now_ns()
        lit = {light: mw for light, mw in self._microscope.settings().lights_mw.items() if mw > 0}
        self._gate.hold_dark(why)
        self._note("hold_dark", called_ns, why=why)
        self._microscope.dark()
        self._lit_before = lit or self._lit_before
        for light in lit:
            self._demand("safety", Request(SetLight(light, 0.0), why), self._send)

    def _relight(self, who: str, why: str) -> None:
        for light, power_mw in self._lit_before.items():
            self._demand(who, Request(SetLight(light, power_mw), why), self._send)

    def _check_hang(self) -> None:
        stage, since_ns = self._pipeline.busy_with, self._pipeline.busy_since_ns
        if stage is None or since_ns == 0 or stage.silenced or self._clock.virtual:
            return
        busy_ms = (self._clock.now_ns() - since_ns) / 1e6
        if busy_ms > max(HANG_DEADLINES * stage.deadline_ms, 1000.0):
            why = f"has not answered for {busy_ms:.0f} ms"
            if self._pipeline.abandon(stage, since_ns, why):
                return
            stage.silenced = why
            allowed, remedy = f"deadline {stage.deadline_ms:g} ms", "use a faster model or a longer deadline_ms"
            self.contain(StageFailed(stage.silenced, where=f"model {stage.name}", allowed=allowed, remedy=remedy))

    def _lower_overdue(self) -> None:
        """Lower what dose, duty or tightened limits no longer allow, early enough for the slowest way to switch off."""
        safety = self._config.safety
        lead_ns = round((safety.lease_ms + safety.heartbeat_ms) * 1e6)
        for verdict in self._gate.overdue(self._clock.now_ns(), lead_ns):
            command = verdict.would_grant
            if isinstance(command, SetLight):
                self._demand("safety", Request(command, verdict.why), self._send, verdict.clipped_by)
                self._diary.event("alarm", what=f"{command.light} to {command.power_mw:g} mW: {verdict.why}")

    def _check_end(self) -> None:
        if why := self._signalled():
            self.stop_asked = self.stop_asked or why
        duration_s = self._config.duration_s
        if duration_s is not None and self.elapsed_s >= duration_s:
            self.stop_asked = self.stop_asked or f"{duration_s:g} s"

    # ---------------------------------------------------------------- what is true

    @property
    def elapsed_s(self) -> float:
        """Since the run began."""
        return (self._clock.now_ns() - self._began_ns) / 1e9

    def delay(self) -> Delay:
        """Exposure mid-point → effect, over the last 200 carried-out decisions."""
        low, median, high = self._delay_quantiles(0.16, 0.5, 0.84)
        return Delay(median, (high - low) / 2)

    def latency_ms(self) -> tuple[float, float]:
        """(p50, p95) from exposure mid-point to effect, over the last 200 carried-out decisions; 0 before the first."""
        p50, p95 = self._delay_quantiles(0.5, 0.95)
        return p50, p95

    def _delay_quantiles(self, *fractions: float) -> list[float]:
        """Nearest ranks; sorting 200 numbers is ten times quicker than asking numpy, and this runs for each result."""
        ordered = sorted(self._delays_ms)
        return [ordered[round(fraction * (len(ordered) - 1))] if ordered else 0.0 for fraction in fractions]

    def _moment(self) -> Moment:
        t_ns = self._clock.now_ns()
        elapsed_s, settings = (t_ns - self._began_ns) / 1e9, self._microscope.settings()
        return Moment(
            t_ns=t_ns,
            elapsed_s=elapsed_s,
            remaining_s=self._remaining_s(elapsed_s, settings),
            settings=settings,
            delay=self.delay(),
            dose=self._ledger.state(t_ns),
        )

    def _remaining_s(self, elapsed_s: float, settings: Settings) -> float | None:
        """Until the planned end; where that is a number of frames, at the present frame period."""
        ends = []
        if self._config.duration_s is not None:
            ends.append(self._config.duration_s - elapsed_s)
        if self._config.frames is not None:
            period_ms = self._period_ms(settings.exposure_ms, settings.interval_ms)
            ends.append((self._config.frames - self._grabber.statistics().received) * period_ms / 1e3)
        return max(0.0, min(ends)) if ends else None

    def _period_ms(self, exposure_ms: float, interval_ms: float) -> float:
        """From the start of one exposure to the next."""
        return max(interval_ms, exposure_ms + self._microscope.capabilities().frame_period_overhead_ms)

    def _enter(self, state: str) -> None:
        self.state = state
        self._diary.event("state", state=state, elapsed_s=round(self.elapsed_s, 3))


def _why(ruling: Ruling) -> str:
    why, said = ruling.request.why, ruling.verdict.why
    return f"{why} [{said}]" if said and said != why else why
