"""Figures of the bus as JSON: ``python tests/benchmarks/bench_bus.py [SECONDS]``, like ``smartscope bench bus``."""

from __future__ import annotations

import json
import sys

from smartscope.bus.bench import bench

if __name__ == "__main__":
    print(json.dumps(bench(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0), indent=2))
