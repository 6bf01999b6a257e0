"""Train a network of the peers' kinds on this project's lessons, as ours is trained; for ``bench_localization.py``.

``python tests/benchmarks/train_localization_peers.py decode_class --device cuda --seconds 3000 --out FOLDER``

Goes on from its last checkpoint in FOLDER. The facts beside the weights hold the loss on lessons never learned from:
training is long enough where it no longer falls.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from judging.bench import say
from judging.localization.peer_networks import PEER_NETWORKS
from judging.localization.peer_training import PeerState, Plan, drawn_lessons, train

from smartscope_models.training.learn_localizer import LOCALIZER_RECIPES

TIMED, WARM = 20, 5
"""Steps from which the number that fits into the given time is told, after these."""


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=PEER_NETWORKS)
    parser.add_argument("--out", type=Path, required=True, help="folder of weights and checkpoints")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--steps", type=int, help="as ours by default")
    parser.add_argument("--seconds", type=float, help="as many steps as fit into this time; the schedule ends with it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, help="as ours by default")
    parser.add_argument("--crops", type=int, help="lessons of a step, as ours by default")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the processor")
    parser.add_argument("--drawers", type=int, default=1, help="threads that draw lessons")
    parser.add_argument("--judge-every", type=int, default=500, help="steps")
    return parser.parse_args()


def planned(given: argparse.Namespace) -> Plan:
    """Our recipe under the peer's name, with what was asked for."""
    ours = LOCALIZER_RECIPES["localize_flat"]
    told = {"steps": given.steps, "learning_rate": given.learning_rate, "crops": given.crops}
    changed = {name: value for name, value in told.items() if value is not None}
    recipe = replace(ours, name=given.network, seed=given.seed, **changed)
    plan = Plan(given.network, recipe, given.device, given.drawers, given.judge_every)
    return replace(plan, recipe=replace(recipe, steps=fitting(plan, given))) if given.seconds else plan


def fitting(plan: Plan, given: argparse.Namespace) -> int:
    """Steps for the given time, by the clock; those of an earlier call where it was cut off."""
    kept = given.out / f"{plan.network}_{plan.recipe.seed}.steps.json"
    if kept.exists():
        return int(json.loads(kept.read_text()))
    state = PeerState(plan)
    for step, lessons in enumerate(drawn_lessons(replace(plan, recipe=replace(plan.recipe, steps=TIMED + WARM)), 0)):
        if step == WARM:
            began = time.monotonic()
        float(state.learn(lessons, step).total)
    steps = max(1, round(given.seconds * TIMED / (time.monotonic() - began)))
    given.out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(steps))
    return steps


def main() -> None:
    """Train and say where the weights are."""
    given = arguments()
    torch.set_num_threads(given.threads)
    if given.device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    print(train(planned(given), given.out, say))


if __name__ == "__main__":
    main()
