"""Denoisers judged by the files they write: ours beside identity, Gaussian, NLM and BM3D. Prints JSON.

``python tests/benchmarks/bench_denoise.py --models denoise net@denoise_network:package=NAME,engine=onnxruntime``

The judge is the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR), called on files alone; what it does not
measure (displacement, tests of the residual that are unbiased) is in ``judging/``. Real pairs: SMARTSCOPE_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judging.bench import Bench, rounded, say
from judging.candidates import PEERS, Ours, Peer
from judging.cases import SCENES
from judging.ceiling import ceiling
from judging.controls import controls
from judging.evaluator import Evaluator
from judging.pairs import pairs
from judging.residual import residual
from judging.sections import displaced, emccd, empty, linearity, maps, moving, scenes
from judging.speed import speed
from judging.tables import markdown

from smartscope.doctor import machine

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "pairs": pairs,
    "scenes": scenes,
    "maps": maps,
    "emccd": emccd,
    "linearity": linearity,
    "residual": residual,
    "empty": empty,
    "moving": moving,
    "displaced": displaced,
    "controls": controls,
    "ceiling": ceiling,
    "speed": speed,
}
ELECTRONS = (4.0, 5.0, 8.0, 10.0, 20.0, 50.0, 100.0, 200.0)
SPELLING = "[LABEL@]MODEL[:KEY=VALUE,...]; models labelled NAME#1, NAME#2 ... differ in the seed of their training"
FIRST_SEED = 701
"""No model is tuned on the seeds from here on."""
DATA = Path(os.environ.get("SMARTSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "n2f"


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["denoise"], help=SPELLING)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=list(SCENES))
    parser.add_argument("--electrons", nargs="*", type=float, default=list(ELECTRONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real pairs")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "smartscope-bench-peers")
    parser.add_argument("--json", type=Path, help="write the figures here after each section")
    parser.add_argument("--markdown", action="store_true", help="print tables instead of JSON")
    parser.add_argument("--from-json", type=Path, help="tables of figures written before; measures nothing")
    return parser.parse_args()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All figures; written after every section, so that a long run can be watched."""
    evaluator = Evaluator.at(given.evaluator)
    peers, absent = Peer.installed(given.peers, evaluator, given.cache)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    ours = [Ours.parse(text) for text in given.models]
    bench = Bench(evaluator, ours, peers, seeds, given.electrons, given.scenes, given.size, given.data)
    figures: dict[str, Any] = {
        "benchmark": "denoise",
        "machine": {**machine(), "load_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None},
        "seeds": list(seeds),
        "size": given.size,
        "models": {model.label: {"model": model.model, **model.options} for model in ours},
        "peers_absent": absent,
        "sections": {},
        "took_s": {},
    }
    for name in given.sections:
        say(f"--- {name}")
        began = time.perf_counter()
        figures["sections"][name] = rounded(SECTIONS[name](bench))
        figures["took_s"][name] = round(time.perf_counter() - began, 1)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1))
    return figures


def main() -> None:
    """Measure, or read, and print."""
    given = arguments()
    figures = json.loads(given.from_json.read_text()) if given.from_json else measure(given)
    print(markdown(figures) if given.markdown else json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
