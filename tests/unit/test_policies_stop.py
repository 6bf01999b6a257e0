"""The stopping policy: each of its ends is reached once, for the right reason, and not by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smartscope.command import EndRun
from smartscope.errors import PluginError
from smartscope.policies.stop import StopPolicy
from smartscope.testing.policy_contract import context

FRAME_S = 0.1


def ends(policy: StopPolicy, figures: Sequence[dict[str, float]], **changes: Any) -> list[tuple[int, str]]:
    """(result, reason) of each wish to end the run."""
    asked, state = [], None
    for k, quality in enumerate(figures):
        choice = policy.decide(context(1 + k * FRAME_S, quality=quality, state=state, **changes))
        state = choice.state
        for request in choice.requests:
            assert request.command == EndRun()
            asked.append((k, request.why))
    return asked


def test_enough_localisations() -> None:
    figures = [{"localizations": 400.0 * k} for k in range(10)]
    assert ends(StopPolicy(localizations=1000), figures) == [(3, "1200 localisations of 1000")]


def test_a_resolution_must_hold_for_some_estimates_however_often_each_is_told() -> None:
    estimates = [50, 29, 31, 29, 28, 28, 28, 27, 26]
    figures = [{"ring_resolution_nm": float(nm)} for nm in estimates for _ in range(4)]
    assert ends(StopPolicy(resolution_nm=30, estimates=3), figures) == [(28, "ring resolution 27 nm, target 30 nm")]
    assert ends(StopPolicy(resolution_nm=30, estimates=5), figures) == []
    assert ends(StopPolicy(resolution_nm=30, estimates=1), [{}, {"ring_resolution_nm": 0.0}]) == []


def test_few_molecules_are_told_by_means_and_by_what_can_be_believed() -> None:
    rng = np.random.default_rng(1)
    few = [{"emitters": float(n)} for n in rng.poisson(3, 400)]
    assert max(row["emitters"] for row in few) > 5
    policy = StopPolicy(fewer_emitters=5, for_s=20)
    ((k, why),) = ends(policy, few)
    assert k * FRAME_S == pytest.approx(20, abs=1.5)
    assert why.startswith("fewer than 5 emitters for 2")
    assert ends(policy, few, trust=0.1) == []
    assert ends(policy, [{**row, "recall_health": 0.2} for row in few]) == []
    crowded = [{"emitters": float(n)} for n in rng.poisson(8, 20)]
    assert ends(policy, [*few[:150], *crowded, *few[:150]]) == []


def test_what_is_not_asked_for_ends_nothing() -> None:
    figures = [{"localizations": 1e9, "emitters": 0.0, "ring_resolution_nm": 1.0}] * 1000
    assert ends(StopPolicy(resolution_nm=0.5), figures) == []


def test_it_needs_something_to_stop_for() -> None:
    with pytest.raises(PluginError, match="nothing to stop for; allowed: resolution_nm, localizations, fewer_emitters"):
        StopPolicy()
