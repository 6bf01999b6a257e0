"""From a result to rulings: asks the policies by rank, one owner per setting, and takes requests to the gate.

No clock, no hardware: the same moments in the same order give the same rulings, which is what replay rests on.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smartscope.admission import Admission, Refusal, rests_on_image
from smartscope.command import Command, Request, RunPlan, switches_off
from smartscope.errors import Refused, StageFailed
from smartscope.moment import Moment
from smartscope.ports import Choice, Context, Instrument, Policy
from smartscope.result import Events, Result, events_joined
from smartscope.safety.gate import SafetyGate, Verdict
from smartscope.safety.plan_gate import PlanGate

EVENTS_KEPT = 100
"""Results whose events wait for one that may drive policies."""


@dataclass(frozen=True, slots=True)
class RankedPolicy:
    """A policy with its name and rank."""

    name: str
    policy: Policy
    priority: int = 0
    virtual_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """One request of one policy and what the gate made of it."""

    policy: str
    request: Request
    verdict: Verdict


class Decider:
    """Holds the policies, what each wants to remember, and what was granted last."""

    def __init__(
        self,
        policies: Sequence[RankedPolicy],
        gate: SafetyGate,
        plan_gate: PlanGate,
        instrument: Instrument,
        sensor_shape: tuple[int, int],
        stage_affine: tuple[tuple[float, float], tuple[float, float]] | None,
        admission: Admission,
    ) -> None:
        self.policies = tuple(sorted(policies, key=lambda ranked: -ranked.priority))
        self._gate, self._plan_gate, self._instrument = gate, plan_gate, instrument
        self._sensor_shape, self._stage_affine, self._admission = sensor_shape, stage_affine, admission
        self._states: dict[str, Any] = {}
        self._silenced: set[str] = set()
        self.granted: dict[str, Command] = {}
        """By setting key, the command last granted."""
        self._busy: set[str] = set()
        self._missed: defaultdict[str, deque[Events]] = defaultdict(lambda: deque(maxlen=EVENTS_KEPT))
        """By policy, what results told on which it could not act."""
        self.stale = self.untrusted = 0
        """Results that were too old to drive anything; whose image could not be trusted."""

    @property
    def virtual_ns(self) -> int:
        """How long one round takes in virtual time."""
        return round(sum(ranked.virtual_ms for ranked in self.policies) * 1e6)

    def begin_errand(self, setting: str) -> None:
        """The last command for this setting is on its way; others wait. A plan on its way stops all live commands."""
        self._busy.add(setting)
        if setting == "plan":
            self._gate.begin_plan("plan")

    def end_errand(self, setting: str) -> None:
        """The command has arrived."""
        self._busy.discard(setting)
        if setting == "plan":
            self._gate.end_plan()

    def silence(self, name: str) -> None:
        """Take a policy's say away."""
        self._silenced.add(name)

    def decide(self, result: Result, moment: Moment) -> list[Ruling]:
        """All rulings on one result, highest rank first; a mixed frame drives no policy, but its events are kept.

        What is too old, or rests on an image that cannot be trusted, is refused: policies are asked all the same, so
        that the diary says what was missed, but they do not remember the result. Switching a light off is not refused.

        Raises:
            StageFailed: a policy raised or returned nonsense; rulings before it are lost, nothing was carried out.
        """
        old, doubt = self._admission.too_old(result, moment.t_ns), self._admission.untrusted(result)
        self._keep_events((result.raw() if doubt else result).events)
        if result.frame.mixed:
            return []
        rulings: list[Ruling] = []
        owners: dict[str, str] = {}
        for ranked in self.policies:
            if ranked.name in self._silenced:
                continue
            refusal = old or (doubt if rests_on_image(ranked.policy, result) else None)
            shown = result.raw() if doubt and not refusal else result
            for request in self._ask(ranked, shown, moment, refusal):
                if refusal and not switches_off(request.command):
                    rulings.append(Ruling(ranked.name, request, Verdict(None, *refusal)))
                    continue
                setting = request.command.setting
                owner = owners.setdefault(setting, ranked.name)
                if owner != ranked.name:
                    verdict = Verdict(None, "priority", f"{setting} belongs to {owner} (higher priority)")
                elif setting in self._busy:
                    verdict = Verdict(None, "busy", f"the last command for {setting} is still on its way")
                else:
                    verdict = self._remember(self._judge(request, moment))
                rulings.append(Ruling(ranked.name, request, verdict))
        self.stale += old is not None
        self.untrusted += doubt is not None
        return rulings

    def _keep_events(self, events: Events | None) -> None:
        """Until each policy has been asked about a result on which it may act; the same result may come twice."""
        if events is None or not len(events):
            return
        for ranked in self.policies:
            missed = self._missed[ranked.name]
            if not missed or missed[-1] is not events:
                missed.append(events)

    def demand(self, request: Request, moment: Moment) -> Verdict:
        """Rule on what no policy asked for (start, operator, safety): in shadow too it is carried out."""
        verdict = self._judge(request, moment)
        return self._remember(replace(verdict, granted=verdict.would_grant))

    def _judge(self, request: Request, moment: Moment) -> Verdict:
        """Live commands go to the gate, planned parts whole to the plan gate."""
        if not isinstance(request.command, RunPlan):
            return self._gate.judge(request, moment.settings, moment.t_ns)
        if self._busy:
            return Verdict(None, "busy", f"still on its way: {', '.join(sorted(self._busy))}")
        try:
            plan = request.command
            events = self._plan_gate.check(plan.events, moment.settings, moment.t_ns, plan.lights_mw)
        except Refused as error:
            return Verdict(None, "plan", error.line())
        granted = RunPlan(plan.name, tuple(events), plan.lights_mw)
        return Verdict(granted, would_grant=granted)

    def _remember(self, verdict: Verdict) -> Verdict:
        if verdict.granted is not None:
            self.granted[verdict.granted.setting] = verdict.granted
        return verdict

    def _ask(self, ranked: RankedPolicy, result: Result, moment: Moment, refusal: Refusal | None) -> Sequence[Request]:
        try:
            choice = ranked.policy.decide(self._context(ranked.name, result, moment))
        except Exception as error:
            raise _failed(ranked.name, f"raised {type(error).__name__}: {error}") from error
        if not isinstance(choice, Choice) or not all(isinstance(request, Request) for request in choice.requests):
            raise _failed(ranked.name, f"returned {choice!r:.80} instead of a Choice of Requests")
        if not refusal:
            self._states[ranked.name] = choice.state
            self._missed[ranked.name].clear()
        return choice.requests

    def _context(self, name: str, result: Result, moment: Moment) -> Context:
        granted: Mapping[str, Command] = dict(self.granted)
        return Context(
            result=result,
            t_ns=moment.t_ns,
            elapsed_s=moment.elapsed_s,
            remaining_s=moment.remaining_s,
            settings=moment.settings,
            granted=granted,
            delay=moment.delay,
            dose=moment.dose,
            limits=self._gate.limits,
            instrument=self._instrument,
            sensor_shape=self._sensor_shape,
            stage_affine=self._stage_affine,
            state=self._states.get(name),
            events=events_joined(self._missed[name]) or result.events,
        )


def _failed(name: str, what: str) -> StageFailed:
    return StageFailed(what, where=f"policy {name}", remedy="mend the policy, or set enabled: false")
