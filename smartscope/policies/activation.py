"""Activation: how strong the light that switches molecules on may be so that as many glow as can be told apart.

The law is ``log_power``'s, what counts as an estimate ``emitters``', how a failing one is caught ``runaway``'s; this
file brings them together over the life of a run: windows, dead-man, latch, and the end of the pool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from smartscope.command import Command, EndRun, Request, SetLight
from smartscope.errors import PluginError
from smartscope.frame import Settings
from smartscope.policies.emitters import Look, Window
from smartscope.policies.log_power import Cap, LogPower, same
from smartscope.policies.runaway import off_target, unanswered, unexplained, vanished, worked
from smartscope.ports import Choice, Context

FEWEST_FRAMES = 5
"""In a window, however slow the camera."""
LOWERED = 0.5
"""Without an estimate, each window lowers the power by this factor."""
SLACK, LATCHED_SLACK = 1 / 4, 1 / 16
"""Molecules over target that may be missing before the counter is taken to fail; once it was caught, fewer."""
OWN_ROUNDING = 0.1
"""A device that rounds is taken to have done what was granted within this fraction."""
RECOVERED = 0.5
"""Of the count at which it last worked: a counter that finds less at the end of a latch stays latched."""
SCENE_CHANGE = 0.1
"""Relative change of exposure, or of another light, from which counts and light must be learned anew."""
FIELD_UM = 1.0
"""A stage that moved by more is at another field."""
MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Latch:
    """After a counter was caught failing: no more power than when it last worked."""

    ceiling_mw: float
    until_s: float
    why: str


@dataclass(frozen=True, slots=True)
class ActivationState:
    """What the policy remembers between results; times since the run began."""

    scene: Settings
    """Under which counts and light were learned."""
    window: Window
    asked_s: float
    """When it was last asked and heard."""
    believed_s: float
    """When a count was last believed."""
    worked: Look | None = None
    """Newest look at which the counter is known to work."""
    last: Look | None = None
    """Newest look that was believed."""
    latch: Latch | None = None
    trips: int = 0
    """How often the counter was caught in this field."""
    dark_until_s: float = 0.0
    """Once off, the light rests: whoever failed may need a moment."""
    starved_s: float | None = None
    """Since when the power has been as high as it may be, and the count far too low."""
    exhausted: bool = False
    """The end of the pool was told."""


class ActivationPolicy:
    """Holds the number of glowing molecules with the activating light; a counter that fails never raises it.

    Reads ``emitters``, ``recall_health``, ``spot_photons``, ``on_time_ms``, ``saturated_fraction``, and as raw light
    ``light_e`` of the ``quality`` model, else ``spot_background``. Without a count to be believed the power holds for
    ``hold_s``, is then lowered with each window, and is off after ``off_s``. Where the count contradicts the raw light,
    or does not answer so much more power, the power steps down to where the counter last worked and stays below that
    for ``latch_s``, twice as long each time, and for good where no raw light is measured. Where no result was fresh
    enough to drive anything for ``off_s``, the next one, fresh or not, switches the light off; where no result ever
    comes, that is the watchdog's to see.

    Options:
        light: that activates.
        target_emitters, target_density_per_um2: to be held in each frame; name one.
        ki, kp: gains per update, on the logarithm of the power.
        window_s: of results that are averaged for one update.
        floor_mw: lowest power above off, at which it starts; the device must be able to give it. None: a thousandth of
            the light's limit.
        dose_share: of what is left of the dose budget, evenly spent, that this light may use.
        horizon_s: how long the budget must last in a run without a planned end.
        min_trust: of a result; a quarter, since a field with nothing in view, as at first, has 0.3.
        exhausted_s, exhausted_fraction: the pool is exhausted when power has been as high as it may be for so long
            while the count stayed below this fraction of the target.
        when_exhausted: end the run, go on, or switch this light off.
    """

    reads = frozenset({"quality"})

    def __init__(
        self,
        light: str,
        target_emitters: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        target_density_per_um2: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        ki: Annotated[float, Field(gt=0, le=1)] = 0.3,
        kp: Annotated[float, Field(ge=0, le=1)] = 0.0,
        window_s: Annotated[float, Field(gt=0, le=60)] = 1.0,
        floor_mw: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        dose_share: Annotated[float, Field(gt=0, le=1)] = 0.5,
        horizon_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0,
        hold_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0,
        off_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0,
        latch_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.25,
        exhausted_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0,
        exhausted_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        when_exhausted: Literal["end", "hold", "off"] = "hold",
    ) -> None:
        """Raises:
        PluginError: not exactly one target, or times that do not follow each other.
        """
        if (target_emitters is None) == (target_density_per_um2 is None):
            allowed = "target_emitters or target_density_per_um2"
            raise PluginError("needs one target", where="activation", allowed=allowed, remedy="name one of them")
        if not window_s <= hold_s < off_s:
            what = f"hold_s {hold_s:g} is not between window_s {window_s:g} and off_s {off_s:g}"
            raise PluginError(what, where="activation", remedy="hold for a window at least, and wait longer to go off")
        self.light = light
        self.target_emitters, self.target_density_per_um2 = target_emitters, target_density_per_um2
        self.law = LogPower(ki, kp)
        self.window_s, self.hold_s, self.off_s, self.latch_s = window_s, hold_s, off_s, latch_s
        self.floor_mw, self.dose_share, self.horizon_s, self.min_trust = floor_mw, dose_share, horizon_s, min_trust
        self.exhausted_s, self.exhausted_fraction = exhausted_s, exhausted_fraction
        self.when_exhausted = when_exhausted

    def decide(self, context: Context) -> Choice:
        """Count this result in; at the end of a window, ask for the power that brings the count nearer its target."""
        if self.light not in context.limits.lights:
            return Choice(state=context.state)
        state, now_s = self._recalled(context), context.elapsed_s
        now_mw, used_mw = self._power_mw(context.settings), self._power_mw(context.result.frame.settings)
        if (silent_s := now_s - state.asked_s) > self.off_s:
            return self._go_off(context, state, f"no fresh result for {silent_s:.3g} s")
        state = replace(state, asked_s=now_s)
        if same(used_mw, now_mw):  # else exposed before the last change
            state = replace(state, window=state.window.plus(context, self.min_trust))
        if (doubted_s := now_s - state.believed_s) > self.off_s and now_mw > 0 and (why := _why_not(state)):
            return self._go_off(context, state, f"no estimate for {doubted_s:.3g} s ({why})")
        return self._update(context, state) if self._complete(context, state) else Choice(state=state)

    # ---------------------------------------------------------------- when

    def _recalled(self, context: Context) -> ActivationState:
        """The state; a new one in a new field, and what was learned forgotten where the light is another."""
        state: ActivationState | None = context.state
        scene, now_s = context.result.frame.settings, context.elapsed_s
        if state is None or _elsewhere(state.scene, scene):
            return ActivationState(scene, Window(now_s), asked_s=now_s, believed_s=now_s)
        if self._lit_alike(state.scene, scene):
            return state
        return replace(state, scene=scene, window=Window(now_s), worked=None, last=None)

    def _lit_alike(self, then: Settings, now: Settings) -> bool:
        lights = (then.lights_mw.keys() | now.lights_mw.keys()) - {self.light}
        pairs = [(then.lights_mw.get(name, 0.0), now.lights_mw.get(name, 0.0)) for name in lights]
        return all(same(a, b, SCENE_CHANGE) for a, b in [(then.exposure_ms, now.exposure_ms), *pairs])

    def _complete(self, context: Context, state: ActivationState) -> bool:
        """Whether it is time for an update: after a quarter of a window if blinking does not explain the error.

        A counter that was caught gets no such haste.
        """
        window, lasted_s = state.window, context.elapsed_s - state.window.began_s
        if window.newest_doubt and not window.doubt:  # nothing is done on a result that is not believed itself
            return False
        if window.seen < FEWEST_FRAMES or lasted_s < self.window_s / 4 or lasted_s >= self.window_s:
            return window.seen >= FEWEST_FRAMES and lasted_s >= self.window_s
        look = window.look(0.0, 0.0)
        return state.latch is None and not window.doubt and abs(off_target(look, self._target(context))) > look.noise

    # ---------------------------------------------------------------- what

    def _update(self, context: Context, state: ActivationState) -> Choice:
        """At the end of a window: believe it, doubt it, or find that the counter fails."""
        if state.window.doubt:
            return self._hold_or_lower(context, state)
        look, target = state.window.look(context.elapsed_s, self._power_mw(context.settings)), self._target(context)
        if state.worked is None or state.last is None:
            return self._regulate(context, replace(state, worked=look), look, target)
        then, last, floor_mw = state.worked, state.last, self._floor_mw(context)
        # a counter that was caught is measured by what worked, not by what it said since
        since, slack = (last, SLACK * target) if state.latch is None else (then, LATCHED_SLACK * target)
        caught = unexplained(then, look, target, slack) or vanished(since, look, target, slack)
        if caught := caught or unanswered(then, look, target, floor_mw):
            return self._step_down(context, state, then.power_mw, caught)
        if state.latch is not None and context.elapsed_s > state.latch.until_s and look.light_e is not None:
            state = _released(state, state.latch, then, look, self.latch_s)
        elif state.latch is None and worked(then, look):
            state = replace(state, worked=look)
        return self._regulate(context, state, look, target)

    def _hold_or_lower(self, context: Context, state: ActivationState) -> Choice:
        """Nothing to believe in this window."""
        doubted_s, why = context.elapsed_s - state.believed_s, state.window.doubt
        state = replace(state, window=Window(context.elapsed_s), starved_s=None)
        if doubted_s < self.hold_s:
            return Choice(state=state)
        return self._ask(context, state, self._lowered_mw(context), f"no estimate for {doubted_s:.3g} s ({why})")

    def _step_down(self, context: Context, state: ActivationState, worked_mw: float, why: str) -> Choice:
        """The counter was caught: back to the power at which it worked; where it is caught there too, further down."""
        trips = state.trips + (state.latch is None)
        ceiling_mw = worked_mw if state.latch is None else min(worked_mw, state.latch.ceiling_mw)
        latch_s = self.latch_s * 2.0 ** min(trips - 1, MOST_DOUBLINGS)
        now_mw = self._power_mw(context.settings)
        lower_mw = worked_mw if worked_mw < (1 - OWN_ROUNDING) * now_mw else self._lowered_mw(context)
        latch = Latch(ceiling_mw, context.elapsed_s + latch_s, why)
        state = replace(state, latch=latch, trips=trips, window=Window(context.elapsed_s), starved_s=None)
        return self._ask(context, state, lower_mw, f"{why}; at most {ceiling_mw:.3g} mW for {latch_s:.3g} s")

    def _regulate(self, context: Context, state: ActivationState, look: Look, target: float) -> Choice:
        """One update of the law, its integral being what is truly in effect."""
        now_s, now_mw, cap = context.elapsed_s, self._in_effect_mw(context), self._cap(context, state)
        before = off_target(state.last, target) if state.last is not None else None
        starved = now_mw >= 0.99 * cap.power_mw and look.emitters < self.exhausted_fraction * target
        since_s = (now_s if state.starved_s is None else state.starved_s) if starved else None
        state = replace(state, window=Window(now_s), believed_s=now_s, last=look, starved_s=since_s)
        said = f"{look.emitters:.3g} emitters, target {target:.3g}"
        if since_s is not None and now_s - since_s >= self.exhausted_s and not state.exhausted:
            return self._tell_exhausted(context, state, f"{said} for {now_s - since_s:.3g} s at the {cap.by}")
        error = off_target(look, target)
        wanted_mw = self.law.wanted_mw(now_mw, self._floor_mw(context), error, before, look.noise)
        if wanted_mw > cap.power_mw:
            wanted_mw, said = cap.power_mw, f"{said}, held by the {cap.by}"
        return self._ask(context, state, wanted_mw, said)

    def _tell_exhausted(self, context: Context, state: ActivationState, said: str) -> Choice:
        """Once: the end of the run, of the light, or a note alone, which asks for what is."""
        now_mw = self._in_effect_mw(context)
        commands: dict[str, Command] = {
            "end": EndRun(),
            "hold": SetLight(self.light, now_mw),
            "off": SetLight(self.light, 0.0),
        }
        why = f"the target is out of reach, the pool exhausted: {said}"
        return Choice([Request(commands[self.when_exhausted], why)], replace(state, exhausted=True))

    def _go_off(self, context: Context, state: ActivationState, why: str) -> Choice:
        """Dark until a count is believed again, and then from the floor, learning anew."""
        state = replace(state, asked_s=context.elapsed_s, window=Window(context.elapsed_s), starved_s=None)
        return self._ask(context, state, 0.0, why)

    def _ask(self, context: Context, state: ActivationState, wanted_mw: float, why: str) -> Choice:
        """A request, where it changes anything; the gate's largest step is kept here already."""
        now_mw, step_mw = self._power_mw(context.settings), context.limits.lights[self.light].max_step_mw
        if step_mw is not None:
            wanted_mw = min(wanted_mw, now_mw + step_mw)
        if wanted_mw <= 0 < now_mw:
            state = replace(state, worked=None, last=None, dark_until_s=context.elapsed_s + self.hold_s)
        if wanted_mw == self._in_effect_mw(context) or (now_mw <= 0 and context.elapsed_s < state.dark_until_s):
            return Choice(state=state)
        said = f"{why}: {self.light} {now_mw:.3g} -> {wanted_mw:.3g} mW"
        return Choice([Request(SetLight(self.light, wanted_mw), said)], state)

    # ---------------------------------------------------------------- how much

    def _power_mw(self, settings: Settings) -> float:
        return settings.lights_mw.get(self.light, 0.0)

    def _in_effect_mw(self, context: Context) -> float:
        """What was granted last if the device did about that, else what the device does."""
        now_mw, granted = self._power_mw(context.settings), context.granted.get(f"light:{self.light}")
        if isinstance(granted, SetLight) and same(granted.power_mw, now_mw, OWN_ROUNDING):
            return granted.power_mw
        return now_mw

    def _lowered_mw(self, context: Context) -> float:
        lower_mw = LOWERED * self._power_mw(context.settings)
        return lower_mw if lower_mw >= self._floor_mw(context) else 0.0

    def _floor_mw(self, context: Context) -> float:
        return 1e-3 * context.limits.lights[self.light].max_power_mw if self.floor_mw is None else self.floor_mw

    def _target(self, context: Context) -> float:
        """Emitters in a frame."""
        if self.target_density_per_um2 is None:
            return self.target_emitters or 0.0
        roi, pixel_um = context.result.frame.settings.roi, context.instrument.camera.pixel_size_nm / 1e3
        return self.target_density_per_um2 * roi.width * roi.height * pixel_um**2

    def _cap(self, context: Context, state: ActivationState) -> Cap:
        """The lowest of the light's limit, what the dose budget bears to the end of the run, and the latch."""
        caps, dose = [Cap(context.limits.lights[self.light].max_power_mw, "light's limit")], context.dose
        per_mw = dose.per_mw_j_per_cm2_s.get(self.light, 0.0)
        if per_mw > 0 and not math.isinf(dose.budget_j_per_cm2):
            left_s = self.horizon_s - context.elapsed_s if context.remaining_s is None else context.remaining_s
            affordable_mw = self.dose_share * dose.remaining_j_per_cm2 / max(left_s, self.window_s) / per_mw
            caps.append(Cap(affordable_mw, "dose budget"))
        if state.latch is not None:
            caps.append(Cap(state.latch.ceiling_mw, f"latch ({state.latch.why})"))
        if state.exhausted and self.when_exhausted == "off":
            caps.append(Cap(0.0, "end of the pool"))
        return min(caps)


def _released(state: ActivationState, latch: Latch, then: Look, look: Look, latch_s: float) -> ActivationState:
    """At the end of a latch: let go of it where the counter finds again about what it found when it worked.

    The light is measured anew from here, for haze may have faded since.
    """
    if look.emitters < RECOVERED * then.emitters:
        return replace(state, latch=replace(latch, until_s=look.at_s + latch_s))
    return replace(state, latch=None, worked=look)


def _why_not(state: ActivationState) -> str:
    """Why there is no estimate; empty while the counter is believed."""
    if not state.window.seen:
        return "no frame under the present power"
    return state.window.doubt or (state.latch.why if state.latch is not None else "")


def _elsewhere(then: Settings, now: Settings) -> bool:
    """Whether the frame shows another field."""
    return then.roi != now.roi or math.hypot(now.x_um - then.x_um, now.y_um - then.y_um) > FIELD_UM
