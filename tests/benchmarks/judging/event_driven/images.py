"""The policy on images: simulated mitochondria, camera, the model `events` and the whole run, in virtual time.

What is true is asked of the specimen; which frames were taken, of the run. The rules that see nothing, and the one
that knows everything, are counted on the same events. The published rule is the policy without average and budget.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from judging.bench import rounded, say
from smartscope.app import run_experiment
from smartscope.frame import Frame
from smartscope.loading import load

from .days import EVENT_S, Day
from .figures import Figures, Times, figures, most_inside
from .rules import FAST_S, SLOW_S, Rule, fixed, oracle, random_times, taken

CONFIG = Path(__file__).parents[4] / "configs" / "event_driven.yaml"
PRESENT = 0.15
SEEN_S = 4.0
"""After its onset a constriction has taken a tenth of the tube: less is within what healthy tubes do."""
PER_MIN = 0.3
"""Of all events, if they did not have to wait: so few that ``PRESENT`` seldom binds, and onsets keep no beat."""
ALWAYS = 1e9
"""A budget that never binds, J/cm2; s."""
PUBLISHED: dict[str, Any] = {
    "kinds": [],
    "figure": "event_probability",
    "fast_at": 0.7,
    "slow_below": 0.4,
    "smoothing_frames": 1,
    "min_fast_s": 10 * FAST_S,
    "max_fast_s": ALWAYS,
}


def one(seed: int, minutes: float, kinds: Sequence[str]) -> dict[str, Figures]:
    """All rules on one specimen; *ours*, the example's options, and *published* are runs of their own."""
    found: dict[str, Figures] = {}
    for name, options in {"ours": {}, "published": PUBLISHED}.items():
        day, times = watched(seed, 60 * minutes, kinds, options)
        found[name] = figures(day, times, most_inside(day))
    found |= {
        name: figures(day, taken(day, rule), most_inside(day)) for name, rule in blind(day, found["ours"]).items()
    }
    told = rounded({name: found[name] for name in ("ours", "published")})
    say(f"images, seed {seed}, {len(day.onsets)} events: {told}")
    return found


def blind(day: Day, ours: Figures) -> dict[str, Rule]:
    """Rules that look at no image: those that know all, and those that know nothing, some at the dose of ``ours``."""
    dose = ours["dose_share"]
    fast = max((dose - FAST_S / SLOW_S) / (1 - FAST_S / SLOW_S), 0.0)
    return {
        "oracle": oracle(day),
        "oracle_once_seen": knowing(day, SEEN_S),
        "fixed_slow": fixed(SLOW_S),
        "fixed_fast": fixed(FAST_S),
        "fixed_equal": fixed(FAST_S / dose),
        "random_equal": random_times(day, fast),
    }


def knowing(day: Day, after_s: float) -> Rule:
    """Never wrong, but sees nothing of an event until so long after its onset, and does not know what comes."""
    return lambda t_s, signal: FAST_S if day.happens(t_s) and day.happens(t_s - after_s) else SLOW_S


def watched(seed: int, seconds: float, kinds: Sequence[str], options: Mapping[str, Any]) -> tuple[Day, Times]:
    """What went on in one run, and when (N,) its frames were taken, s."""
    began: list[int] = []
    onsets: list[float] = []
    times: list[float] = []

    def look(rig: Any) -> None:
        world, see = rig.microscope.world, rig.loop.see_frame
        began.append(world.t0_ns)
        true = world.events(world.t0_ns, world.t0_ns + round(1e9 * seconds))
        onsets.extend((np.sort(true.onset_ns) - world.t0_ns) / 1e9)

        def seen(frame: Frame) -> None:
            times.append((frame.t_mid_ns - world.t0_ns) / 1e9)
            see(frame)

        rig.loop.see_frame = seen

    run_experiment(load(CONFIG, changes(seed, seconds, kinds, options)), on_rig=look)
    return Day(seconds, tuple(onsets), (), 0.0, seed), np.array(times)


def changes(seed: int, seconds: float, kinds: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """What differs from the example."""
    config = load(CONFIG)
    (policy,) = (entry.model_dump(mode="json") for entry in config.policies)
    policy["options"] |= {"kinds": list(kinds), **options}
    (stage,) = (entry.model_dump(mode="json") for entry in config.pipeline)
    stage["options"] |= {"kinds": list(kinds)}
    specimen = {"max_present": PRESENT, "event_s": EVENT_S, "bleaching": False}
    specimen |= {f"{kind}s_per_min": PER_MIN / len(kinds) * (kind in kinds) for kind in ("fission", "fusion")}
    microscope = config.microscope.model_dump(mode="json")["options"] | {"specimen_options": specimen}
    return [
        f"seed={seed}",
        f"duration_s={seconds}",
        "clock=virtual",
        "bus.enabled=false",
        "recorder.enabled=false",
        f"dose.budget_j_per_cm2={ALWAYS}",
        f"microscope.options={json.dumps(microscope)}",
        f"pipeline={json.dumps([stage])}",
        f"policies={json.dumps([policy])}",
    ]
