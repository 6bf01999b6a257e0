"""Events: F1 within 2 frames on simulated specimens, false alarms set and measured, CPU time. Prints JSON.

``OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PYTHONPATH=tests python tests/benchmarks/bench_events.py``

Vesicles (arrest, flash) at 20 frames/s, mitochondria (fission, fusion) at 0.2, 1 and 3.8 frames/s, tracks that change
their ways (abnormal). ``true``: tracks of a perfect tracker with 0.17 px of error; ``chain``: detector and tracker as
users run them. ``onset``: the first frame as told against the true one; ``change``: the frame of the confirmation
against the split or merger. Events nearer than 8 px to the edge are not scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # track_helpers, which the tests share

from judging.bench import rounded, say  # noqa: E402
from judging.events.false_alarms import changes_of_motion, from_movies, from_tracks, seeds_of  # noqa: E402
from judging.events.specimens import mitochondria, vesicles  # noqa: E402

from smartscope.doctor import machine  # noqa: E402

SECTIONS = ("vesicles", "mitochondria", "abnormal", "alarms_tracks", "alarms_movies")
FIRST_SEED = 100


def section(name: str, given: argparse.Namespace) -> Any:
    """Figures of one section."""
    seeds = seeds_of(given.first_seed, given.seeds)
    if name == "vesicles":
        return vesicles(seeds, 60.0 * given.minutes, given.per_hour)
    if name == "mitochondria":
        return mitochondria(seeds, round(5 * given.minutes), given.per_hour, given.rates)
    if name == "abnormal":
        return changes_of_motion(seeds, round(1200 * given.minutes), given.per_hour)
    if name == "alarms_tracks":
        return from_tracks(seeds, given.hours, (100.0, 300.0, 1000.0))
    settings = {"flash": (100.0, 300.0), "fission": (15.0, 40.0), "fusion": (15.0, 40.0)}
    return from_movies(seeds, given.hours, settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each movie of vesicles; others in proportion")
    parser.add_argument("--hours", type=float, default=0.25, help="of each quiet run")
    parser.add_argument("--per-hour", type=float, default=1.0, help="false alarms that are set where F1 is measured")
    parser.add_argument("--rates", nargs="*", type=float, default=[0.2, 1.0, 3.8], help="mitochondria, frames/s")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    figures: dict[str, Any] = {"benchmark": "events", "machine": machine(), "first_seed": given.first_seed}
    figures |= {"seeds": given.seeds, "sections": {}}
    for name in given.sections:
        began = time.process_time()
        figures["sections"][name] = rounded(section(name, given))
        say(f"--- {name}: {time.process_time() - began:.0f} s")
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
