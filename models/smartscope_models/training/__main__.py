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
        from smartscope_models.training.making import RECIPES, make
    except ImportError as error:
        print(f"{error.name} is missing; remedy: pip install smartscope[training]", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog="python -m smartscope_models.training", description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the package")
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, for a trial")
    parser.add_argument("--scenes", type=int, help="or stacks; fewer than the recipe's, for a trial")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where scenes and the state of a training cut off are kept"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FILE",
        help=".npz of nuclei (images, labels) that detectors learn from too",
    )
    given = parser.parse_args(arguments)
    try:
        package = make(
            given.recipe,
            given.seed,
            given.output,
            _say,
            given.steps,
            given.scenes,
            given.threads,
            given.keep,
            given.images,
        )
    except SmartscopeError as error:
        print(error.line(), file=sys.stderr)
        return 1
    _say(f"{package.path}: sha256 {package.sha256[:12]}")
    return 0


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
