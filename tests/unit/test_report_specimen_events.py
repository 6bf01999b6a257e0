"""The report of a run in which something happened: each event once, at its onset, and how lineages grew."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording import a_frame
from track_helpers import FRAMES, table, told

from smartscope.clock import VirtualClock
from smartscope.config import ExperimentConfig
from smartscope.recorder.folder import SPECIMEN_EVENTS, RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope.report import summarise, write_report
from smartscope.report.happened import _generations, events_of, lineages
from smartscope.report.record import read
from smartscope.report.specimen_events import MOST_LISTED
from smartscope.result import Events, Result


def record(base: Path, results: list[Result]) -> Path:
    experiment = ExperimentConfig.model_validate({"name": "events", "recorder": {"min_free_gb": 0}})
    folder = RunFolder.create(base, "events", datetime(2026, 3, 1), min_free_gb=0)
    folder.update(config=experiment.model_dump(mode="json"))
    recorder = Recorder(folder, experiment.recorder, 0.1, VirtualClock())
    for result in results:
        recorder.put_frame(result.frame)
        recorder.put_result(result)
    recorder.finish("done")
    assert recorder.fault is None
    return folder.path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return record(tmp_path, [told(Result(a_frame(index))) for index in range(FRAMES)])


def test_each_event_is_told_once_as_it_stood_at_last(run: Path) -> None:
    arrest, division = events_of(read(run))
    assert (division.kind, division.status, division.told_frame, division.onset_frame) == (
        "division",
        "confirmed",
        5,
        5,
    )
    assert (division.track_id, division.other_id) == (1, 2)
    assert division.probability == pytest.approx(0.97)
    assert (arrest.kind, arrest.status, arrest.told_frame, arrest.onset_frame) == ("arrest", "withdrawn", 6, 3)
    assert summarise(run)["events"] == {"division": 1}
    assert "events: 1 division, 12 frames" in summarise(run)["line"]


def test_the_page_shows_events_on_the_time_axis_and_in_a_table(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    assert "<h2>What happened in the specimen</h2>" in html
    assert "<p>Tracks: 4; daughters: 2; mothers: 1; generations: 2; identities taken back: 1.</p>" in html
    assert "<h3>Events at their onset" in html
    assert '<span class="key c0">division (1)</span>' in html
    assert "arrest (" not in html  # withdrawn: in the table alone
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", html)]
    assert ["division", "1", "0", "0", "0"] in rows
    assert ["arrest", "0", "0", "1", "3"] in rows
    assert ["5", "division", "confirmed", "0.97", "0"] in [row[:5] for row in rows]
    for name in ("tracks", "settled_tracks", "events"):
        assert f'href="results/{name}.csv"' in html


def test_where_nothing_was_followed_nothing_is_said(tmp_path: Path) -> None:
    run = record(tmp_path, [Result(a_frame(0))])
    assert lineages(read(run)) is None
    assert summarise(run)["events"] is None
    assert "What happened in the specimen" not in write_report(run).read_text(encoding="utf-8")


def test_long_lists_are_cut_and_damaged_lines_left_out(tmp_path: Path) -> None:
    many: dict[str, Any] = {"event_id": np.arange(MOST_LISTED + 3), "status": 1, "track_id": -1, "other_id": -1}
    run = record(tmp_path, [Result(a_frame(0), events=table(Events, MOST_LISTED + 3, **many))])
    with (run / SPECIMEN_EVENTS).open("a") as file:
        file.write("4,99,division,confirmed,soon\n4,100,divi")
    assert len(events_of(read(run))) == MOST_LISTED + 3
    assert "… 3 more in results/events.csv …" in write_report(run).read_text(encoding="utf-8")


def test_generations() -> None:
    assert _generations({}) == 1
    assert _generations({2: 1, 3: 1, 4: 3, 5: 4}) == 4
    assert _generations({1: 2, 2: 1}) == 2  # no sane record has a circle
