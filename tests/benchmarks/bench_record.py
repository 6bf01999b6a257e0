"""Recording beside the raw disk, as JSON: ``python tests/benchmarks/bench_record.py [FOLDER]``, or through pytest."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

from smartscope.recorder.bench import measure


@pytest.mark.benchmark
def test_recording_keeps_up_with_the_disk(tmp_path: Path) -> None:
    figures = measure(tmp_path)
    print(json.dumps(figures, indent=1))
    large = figures["large_2048"]
    for compression, target in large["target_ratio"].items():
        assert large["ratio_to_raw"][compression]["median"] >= target
    assert large["frames_lost"] == figures["small_512"]["max_rate"]["frames_lost"] == 0
    assert figures["small_512"]["paced"]["frames_lost"] == 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        print(json.dumps(measure(Path(folder)), indent=1))
