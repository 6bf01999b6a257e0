"""The benchmark measures what it says, loses nothing and cleans up; its figures are read elsewhere."""

import json
from pathlib import Path

from smartscope.recorder.bench import Effort, measure


def test_every_figure_is_measured_and_the_folder_is_clean_again(tmp_path: Path) -> None:
    effort = Effort(repeats=2, large_frames=3, small_frames=40, paced_s=0.05, paced_fps=400, rows=20, molecule_frames=4)
    figures = json.loads(json.dumps(measure(tmp_path, seed=4, effort=effort)))
    assert not list(tmp_path.iterdir())
    assert (figures["benchmark"], figures["seed"], figures["effort"]["large_frames"]) == ("record", 4, 3)
    assert figures["machine"]["cores"] >= 1
    large, small = figures["large_2048"], figures["small_512"]
    for name in ("none", "lz4"):
        speed = large["mb_per_s"][name]
        assert 0 < speed["min"] <= speed["median"] <= speed["max"]
        assert large["ratio_to_raw"][name]["median"] > 0
        assert large["cpu_ms_per_frame"][name] > 0
        assert small["max_rate"]["fps"][name] > 0
    assert small["paced"]["frames"] == 20
    assert 0 < small["paced"]["put_frame_us"]["p50"] <= small["paced"]["put_frame_us"]["p99"]
    assert large["frames_lost"] == small["paced"]["frames_lost"] == small["max_rate"]["frames_lost"] == 0
    assert figures["rows"]["rows_lost"] == 0
    assert figures["rows"]["put_result_us"]["p50"] > 0
    for way in figures["molecules"].values():
        assert 130 < way["csv"]["bytes_per_molecule"] < 200
        assert 60 < way["no_csv"]["bytes_per_molecule"] < 70
        assert way["no_csv"]["cpu_us_per_molecule"] > 0
