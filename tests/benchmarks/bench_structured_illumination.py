"""Reconstruction of structured illumination: its cost, its images, its verdicts, beside other tools. Prints JSON.

``OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_structured_illumination.py --peer-path DIR``

The judge is the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR), called on files alone. The peer is
napari-sim-processor in a folder of its own (``judging/structured_illumination/peer.py`` says how); else it is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judging.bench import rounded, say
from judging.candidates import THREADS
from judging.evaluator import Evaluator
from judging.structured_illumination.bench import Bench
from judging.structured_illumination.peer import Napari
from judging.structured_illumination.quality import quality
from judging.structured_illumination.real import dlsim
from judging.structured_illumination.speed import speed
from judging.structured_illumination.spoilt import controls
from judging.structured_illumination.tables import markdown
from judging.structured_illumination.verdicts import verdicts

from smartscope.doctor import machine

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "speed": speed,
    "quality": quality,
    "controls": controls,
    "verdict": verdicts,
    "dlsim": dlsim,
}
ELECTRONS = (2000.0, 500.0, 150.0, 50.0)
SIZES = (256, 512)
GROWTH = (128, 256, 512, 1280)
FIRST_SEED = 801
"""Nothing is tuned on the seeds from here on."""
DATA = Path(os.environ.get("SMARTSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dlsim"


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), help="raw pixels; the verdict: the first")
    parser.add_argument("--electrons", nargs="*", type=float, default=list(ELECTRONS), help="peak, over all raw frames")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--verdicts", type=int, default=60, help="stacks of that section, from 5 to 2000 electrons")
    parser.add_argument("--growth", nargs="*", type=int, default=list(GROWTH), help="sizes for the growth of cost")
    parser.add_argument("--turns", type=int, default=5, help="of the clock, three runs each")
    parser.add_argument("--quick", action="store_true", help="one small stack for each section")
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--peer-path", type=Path, help="folder that napari-sim-processor was installed into")
    parser.add_argument("--data", default=str(DATA), help="folder of the real pair")
    parser.add_argument("--json", type=Path, help="write the figures here after each section")
    parser.add_argument("--markdown", action="store_true", help="print tables instead of JSON")
    parser.add_argument("--from-json", type=Path, help="tables of figures written before; measures nothing")
    return parser.parse_args()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All figures; written after every section, so that a long run can be watched."""
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    peer = Napari(given.peer_path) if given.peer_path else None
    bench = Bench(
        evaluator=Evaluator.at(given.evaluator),
        peer=peer,
        seeds=seeds,
        sizes=given.sizes,
        electrons=given.electrons,
        verdicts=given.verdicts,
        growth=given.growth,
        turns=given.turns,
        data=given.data,
    )
    bench = bench.quick() if given.quick else bench
    figures: dict[str, Any] = {
        "benchmark": "structured_illumination",
        "machine": {**machine(), "load_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None},
        "threads": {name: os.environ.get(name) for name in THREADS},
        "seeds": list(bench.seeds),
        "peer": peer.versions() if peer else None,
        "sections": {},
        "took_s": {},
    }
    for name in given.sections:
        say(f"--- {name}")
        began = time.perf_counter()
        figures["sections"][name] = rounded(SECTIONS[name](bench), 5)
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
