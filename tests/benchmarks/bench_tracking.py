"""How well are objects followed? Simulated particles, real nuclei's masks, speed, causality; with other tools beside.

``python tests/benchmarks/bench_tracking.py --seeds 100 101 102 [--ctc DIR] [--peers-python PYTHON]``

Every tool gets the same files and is scored by the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR).
``--ctc``: a Cell Tracking Challenge data set with ``01`` and ``01_GT``; ``--peers-python``: an interpreter that has
trackpy, laptrack, btrack, py-ctcmetrics and imagecodecs; ``--network``: package of a detecting network. Prints JSON;
times are processor time, one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.evaluator import Evaluator
from judging.figures import spread
from judging.tracking.division_events import division_events
from judging.tracking.frame_to_tracks import frame_to_tracks
from judging.tracking.link_step import link_step
from judging.tracking.linkers import Linking, ours, peers

from smartscope.doctor import machine

PARTICLES = ("link_precision", "link_recall", "link_jaccard", "hota", "idf1", "isbi_alpha", "division_f1_0")
NUCLEI = ("TRA", "LNK", "HOTA", "IDF1", "CT", "BC(0)", "BC(1)")
PARTICLE_GATE_PX, NUCLEUS_GATE_PX = 8.0, 40.0
PARTS = ("link_step", "pipeline", "causality", "particles", "nuclei")
CUTS = (8, 15, 24, 33, 41)


def particles(evaluator: Evaluator, tools: Sequence[Linking], seeds: Sequence[int], folder: Path) -> list[Any]:
    """Simulated particles with divisions."""
    rows = []
    for seed in seeds:
        case = folder / f"particles{seed}"
        evaluator.run("tracking", "simulate", "particles", "--seed", seed, "--division-rate", 0.002, "--out", case)
        for tool in tools:
            say(f"particles {seed} {tool.label}")
            times = tool.run(case / "detections.csv", case / "tracks.csv")
            row = {"seed": seed, "tool": tool.label, "times": times}
            if "failed" not in times:
                found = evaluator.run("tracking", "score", case / "truth.csv", case / "tracks.csv")
                row |= {key: found[key] for key in PARTICLES}
            rows.append(row)
    return rows


def nuclei(
    python: str,
    evaluator: Evaluator,
    tools: Sequence[Linking],
    data: Path,
    drops: Sequence[tuple[float, int]],
    folder: Path,
) -> list[Any]:
    """True masks of a challenge sequence, all or with some left out (share, seed); scored by py-ctcmetrics."""
    rows, masks = [], data / "01_GT" / "TRA"
    program = [python, str(evaluator.folder / "tracking.py"), "ctc"]
    for drop, seed in drops:
        case = folder / f"nuclei{drop}-{seed}"
        given = ["--images", str(data / "01"), "--drop", str(drop), "--seed", str(seed), "--out", str(case)]
        subprocess.run([*program, "export", str(masks), *given], check=True, capture_output=True)
        for tool in tools:
            say(f"nuclei {drop} {seed} {tool.label}")
            tracks, score = case / "tracks.csv", case / "score.json"
            times = tool.run(case / "detections.csv", tracks)
            row = {"missing": drop, "seed": seed, "tool": tool.label, "times": times}
            if "failed" not in times:
                ends = ["--out", str(case / "painted"), "--json", str(score)]
                subprocess.run(
                    [*program, "score", str(masks), str(case), str(tracks), *ends], check=True, capture_output=True
                )
                found = json.loads(score.read_text())
                row |= {key: (found["ctc"] or {}).get(key) for key in NUCLEI} | {"division_f1": found["division_f1_0"]}
            rows.append(row)
    return rows


def causality(evaluator: Evaluator, seed: int, folder: Path) -> list[Any]:
    """Another future after each cut: what was told live must be the same, and what was settled."""
    case, rows = folder / "causality", []
    evaluator.run(
        "tracking", "simulate", "particles", "--seed", seed, "--objects", 400, "--spacing-px", 10, "--out", case
    )
    for which, lag in (("now", 0), ("settled", 3)):
        ours(which).run(case / "detections.csv", case / "whole.csv")
        for cut in CUTS:
            other = case / "other.csv"
            evaluator.run("tracking", "future", case / "detections.csv", "--frame", cut, "--out", other)
            ours(which).run(other, case / "cut.csv")
            ends = ("--frame", cut, "--lag", lag)
            found = evaluator.run("tracking", "causality", case / "whole.csv", case / "cut.csv", *ends)
            rows.append({"output": which, "cut": cut, "lag": lag, "causal": found["causal"]})
    return rows


def summary(rows: Sequence[dict[str, Any]], keys: Sequence[str], groups: Sequence[str]) -> list[Any]:
    """Median and bootstrap interval of the mean over seeds, for each tool."""
    named = sorted({tuple(row[group] for group in groups) for row in rows}, key=str)
    answers = []
    for name in named:
        some = [row for row in rows if tuple(row[group] for group in groups) == name and "failed" not in row["times"]]
        values = {key: [row[key] for row in some if row.get(key) is not None] for key in keys}
        figures = {key: {"median": float(np.median(v)), **spread(v)} for key, v in values.items() if v}
        cpu = [row["times"].get("cpu_ms_per_frame", row["times"].get("process_cpu_ms_per_frame")) for row in some]
        answers.append({**dict(zip(groups, name, strict=True)), **figures, "cpu_ms_per_frame": cpu})
    return answers


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--ctc", type=Path)
    parser.add_argument("--peers-python")
    parser.add_argument("--peer-python", action="append", default=[], help="NAME=PYTHON of a peer that has its own")
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--network")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    evaluator = Evaluator.at(given.evaluator)
    mine, seeds, python = [ours("now"), ours("settled")], given.seeds, given.peers_python
    runners = evaluator.folder / "peers"
    pythons = {"": python, **dict(text.split("=", 1) for text in given.peer_python)}

    def all_tools(gate_px: float, **more: float) -> list[Linking]:
        return [*mine, *(peers(pythons, runners, gate_px, more) if python else [])]

    figures: dict[str, Any] = {"benchmark": "tracking", "machine": machine(), "seeds": seeds}
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as name:
        folder = Path(name)
        if "link_step" in given.only:
            figures["link_step"] = link_step(seeds[0])
        if "pipeline" in given.only:
            figures["frame_to_tracks"] = frame_to_tracks(evaluator, seeds[0], given.network, folder)
        if "causality" in given.only:
            figures["causality"] = causality(evaluator, seeds[0], folder)
        if "particles" in given.only:
            rows = particles(evaluator, all_tools(PARTICLE_GATE_PX), seeds, folder)
            figures["particles"] = {"summary": summary(rows, PARTICLES, ("tool",)), "rows": rows}
        if "nuclei" in given.only and given.ctc and python:
            drops = [(0.0, seeds[0]), *((0.05, seed) for seed in seeds)]
            tools = all_tools(NUCLEUS_GATE_PX, **{"step-px": 5.0, "noise-px": 2.0})
            rows = nuclei(python, evaluator, tools, given.ctc, drops, folder)
            figures["nuclei"] = {"summary": summary(rows, (*NUCLEI, "division_f1"), ("missing", "tool")), "rows": rows}
        figures["division_events"] = {
            case.name: division_events(case, label, within)
            for pattern, label, within in (("particles*", 0, PARTICLE_GATE_PX), ("nuclei*", 1, NUCLEUS_GATE_PX))
            for case in sorted(folder.glob(pattern))
        }
    print(json.dumps(rounded(figures), indent=1))


if __name__ == "__main__":
    main()
