"""A grid of fields whose events come at rates that differ and change, and what a rule catches of them.

One field in eight is lively, 20 times the others' rate; a lively field falls quiet after an exponential time, and a
quiet one becomes lively so that the share stays. Events are seen while the camera exposes, back to back, and nothing
during a journey; a frame is a dose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from smartscope.command import MoveStage, Request
from smartscope.policies.overview import OverviewPolicy
from smartscope.ports import Choice, Context, DoseState
from smartscope.testing.policy_contract import LIMITS, SETTINGS, context

LIVELY_SHARE, QUIET_RATE, LIVELY_RATE = 0.125, 0.05, 1.0
"""Rates: events per second of exposure."""
EXPOSURE_S = 0.05
STAGE_UM_S, SETTLE_S = 1000.0, 0.1
Decide = Callable[[Context], Choice]


@dataclass
class Fields:
    """Which fields are lively when, from a seed; the same for every rule."""

    count: int
    seconds: float
    lively_s: float
    """Mean time for which a field stays lively."""
    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng((self.seed, 1))
        steps = math.ceil(self.seconds)
        fall = 1 / self.lively_s
        rise = fall * LIVELY_SHARE / (1 - LIVELY_SHARE)
        lively = rng.random(self.count) < LIVELY_SHARE
        self.lively = np.empty((steps, self.count), bool)
        for row in self.lively:
            row[:] = lively
            lively = np.where(lively, rng.random(self.count) >= fall, rng.random(self.count) < rise)

    def rate(self, field: int, t_s: float) -> float:
        """Events per second now."""
        return LIVELY_RATE if self.lively[min(int(t_s), len(self.lively) - 1), field] else QUIET_RATE


def watched(fields: Fields, policy: OverviewPolicy, decide: Decide) -> dict[str, float]:
    """Run a rule over the fields: events caught, frames (doses), and the share of time spent on lively fields."""
    rng = np.random.default_rng((fields.seed, 2))
    told = context(limits=LIMITS.model_copy(update={"max_stage_step_um": 1e6}), dose=DoseState())
    settings = replace(SETTINGS, exposure_ms=1e3 * EXPOSURE_S, x_um=policy.places[0][0], y_um=policy.places[0][1])
    t_s, state, caught, frames, lively = 0.0, None, 0, 0, 0
    while t_s < fields.seconds:
        t_s += EXPOSURE_S
        here = policy.places.index((settings.x_um, settings.y_um))
        rate = fields.rate(here, t_s)
        seen = int(rng.poisson(rate * EXPOSURE_S))
        caught, frames, lively = caught + seen, frames + 1, lively + (rate == LIVELY_RATE)
        result = replace(
            told.result, frame=replace(told.result.frame, settings=settings), quality={"count": float(seen)}
        )
        choice = decide(
            replace(told, result=result, elapsed_s=t_s, t_ns=round(t_s * 1e9), settings=settings, state=state)
        )
        state = choice.state
        for request in choice.requests:
            assert isinstance(request.command, MoveStage)
            to = request.command.x_um, request.command.y_um
            t_s += SETTLE_S + math.dist(to, (settings.x_um, settings.y_um)) / STAGE_UM_S
            settings = replace(settings, x_um=to[0], y_um=to[1])
    return {
        "events": float(caught),
        "events_per_1000_frames": 1e3 * caught / frames,
        "events_per_min": 60 * caught / t_s,
        "lively_share": lively / frames,
    }


def visiting(policy: OverviewPolicy, order: Callable[[int, float], int]) -> Decide:
    """A rule that dwells like the policy and goes where ``order`` of (visits so far, time) says."""

    def decide(given: Context) -> Choice:
        visits, frames = given.state or (0, 0)
        if frames + 1 < policy.dwell_frames:
            return Choice(state=(visits, frames + 1))
        to = policy.places[order(visits + 1, given.elapsed_s)]
        here = given.settings.x_um, given.settings.y_um
        moves = [] if to == here else [Request(MoveStage(*to), "next")]
        return Choice(moves, (visits + 1, 0))

    return decide
