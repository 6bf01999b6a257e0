"""``python -m smartscope_models.training RECIPE``: from a seed to a package with one command."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from smartscope.errors import SmartscopeError


def main(arguments: list[str] | None = None) -> int:
    """Train, export, write the package; 0 if it is there."""
    try:
        from smartscope_models.training.recipe import RECIPES, recipe
        from smartscope_models.training.shipping import ship
        from smartscope_models.training.train import scene_bank, train
    except ImportError as error:
        print(f"{error.name} is missing; remedy: pip install smartscope[training]", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog="python -m smartscope_models.training", description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the package")
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, for a trial")
    parser.add_argument("--scenes", type=int, help="fewer than the recipe's, for a trial")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where scenes and the state of a training cut off are kept"
    )
    given = parser.parse_args(arguments)
    changes = {key: getattr(given, key) for key in ("steps", "scenes") if getattr(given, key) is not None}
    chosen = recipe(given.recipe, seed=given.seed, **changes)
    try:
        trained = train(chosen, scene_bank(chosen, given.keep, _say), _say, given.threads, given.keep)
        package = ship(trained, chosen, given.output)
    except SmartscopeError as error:
        print(error.line(), file=sys.stderr)
        return 1
    _say(f"{package.path}: {trained.decibels:.2f} dB, {trained.duration_s:.0f} s, sha256 {package.sha256[:12]}")
    return 0


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
