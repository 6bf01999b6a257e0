"""The report of runs that ended well, failed, were killed, or lost files: it says what is there and what is not."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartscope.clock import VirtualClock
from smartscope.command import Command, MoveStage, RunAutofocus, SetExposure, SetLight, SetRoi
from smartscope.config import ExperimentConfig
from smartscope.decision import Decision
from smartscope.drops import DROPS
from smartscope.errors import InputError
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.moment import Moment
from smartscope.ports import Delay, DoseState
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope.report import record as reading
from smartscope.report import summarise, write_report
from smartscope.report.following import followed
from smartscope.report.page import page
from smartscope.report.record import read
from smartscope.result import Detections, Result, StageTiming
from smartscope.testing.policy_contract import tracks

PERIOD_NS = 50_000_000
FRAMES = 100
CONFIG = {
    "name": "small",
    "description": "A <small> run.",
    "microscope": {"sensor": [48, 48], "stage": {"affine_um_per_px": [[0.1, 0.0], [0.0, 0.1]]}},
    "limits": {"x_um": {"low": -9, "high": 9}, "y_um": {"low": -9, "high": 9}},
    "dose": {"budget_j_per_cm2": 20},
    "recorder": {"processed_every": 10, "min_free_gb": 0, "chunk_mb": 0.05},
    "policies": [
        {"policy": "exposure", "options": {"target_signal_to_noise": 8}},
        {"policy": "nobody_has_this"},
        {"policy": "field_of_view", "options": {"deadband_um": 1.0}},
    ],
}


def _frame(i: int, settings: Settings) -> Frame:
    pixels = np.random.default_rng(i).poisson(100, (48, 48)).astype(np.uint16)
    pixels[20:28, 10 + i // 10 : 18 + i // 10] += 300
    number, start_ns = i + (3 if i >= 50 else 0), i * PERIOD_NS
    certainty = {"xy": Certainty.MIXED} if i == 30 else {}
    lost = 3 if i == 50 else 0
    return Frame(pixels, 0, number, i, settings, certainty, start_ns, start_ns + 5_000_000, start_ns + 6_000_000, lost)


def _result(frame: Frame) -> Result:
    i, ready_ns = frame.index, frame.t_received_ns + 10_000_000
    found = tracks((4, 14.0 + i / 10, 24.0), (5, 40.0, 40.0))
    detections = Detections(found.x_px, found.y_px, found.size_px, found.intensity, found.label)
    return Result(
        frame,
        image=frame.pixels.astype(np.float32),
        detections=detections,
        tracks=found if i % 20 else None,
        quality={"signal_to_noise": 8.3 if i < 90 else 12.0},
        timings=(
            StageTiming("denoise", ready_ns - 4_000_000, ready_ns - 1_000_000),
            StageTiming("track", 0, 0, "skipped", "silenced"),
        ),
        ready_ns=ready_ns,
    )


def _decision(frame: Frame, command: Command, granted: Command | None, by: str = "", **changes: Any) -> Decision:
    t_ns = frame.t_received_ns + 11_000_000
    why = f"because of <frame {frame.index}>"
    return Decision(
        frame.index,
        t_ns,
        "exposure",
        command,
        granted,
        by,
        why,
        frame.t_mid_ns,
        frame.t_received_ns,
        frame.t_received_ns + 10_000_000,
        0 if granted is None else t_ns + 2_000_000,
        **changes,
    )


def _record(base: Path, config: dict[str, Any] = CONFIG, error: str | None = None) -> Path:
    """A run of 100 frames at 20 per second through the real recorder; every fifth frame was displaced."""
    experiment, clock = ExperimentConfig.model_validate(config), VirtualClock()
    folder = RunFolder.create(base, experiment.name, datetime(2026, 3, 1), min_free_gb=0)
    folder.update(config=experiment.model_dump(mode="json"), seed=7)
    recorder = Recorder(folder, experiment.recorder, 0.1, clock)
    settings = Settings(5.0, Roi(0, 0, 48, 48), {"laser_488": 2.0})
    recorder.put_event("state", 0, state="running", elapsed_s=0.0)
    for i in range(FRAMES):
        settings = replace(settings, x_um=i / 100)
        frame = _frame(i, settings)
        recorder.put_frame(frame)
        if i % 5 == 4:
            continue
        dose = DoseState(0.1 * i, experiment.dose.budget_j_per_cm2 or math.inf, 1.0)
        result = _result(frame)
        moment = Moment(result.ready_ns, i / 20, (FRAMES - i) / 20, settings, Delay(30, 4), dose)
        recorder.put_result(result, moment.to_row() if i else None)
        if i % 2 == 0:
            recorder.put_decision(_decision(frame, SetExposure(5 + i / 10), SetExposure(5 + i / 10)))
    recorder.put_decision(_decision(frame, MoveStage(30, 1), MoveStage(9, 1), "limits.x_um"))
    recorder.put_decision(_decision(frame, SetLight("laser_488", 99), None, "dose"))
    recorder.put_decision(_decision(frame, SetRoi(Roi(8, 4, 32, 16)), None, shadow=True))
    recorder.put_decision(_decision(frame, RunAutofocus(), RunAutofocus()))
    recorder.put_event("alarm", 5 * 10**9, what="the <model> was late", moment={"limits": [1.5, 2]})
    recorder.finish("failed" if error else "done", error)
    assert recorder.fault is None
    return folder.path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _record(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, to be maimed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


class _Balanced(HTMLParser):
    """Finds tags that are not closed, and everything that a page would fetch."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("script", "link", "img", "image"):
            self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _checked(html: str) -> _Balanced:
    parser = _Balanced()
    parser.feed(html)
    assert not parser.open
    assert all(address.startswith("data:image/png;base64,") for address in parser.fetched)
    assert "script" not in parser.count
    assert "@import" not in html
    assert "nan" not in re.sub(r"data:[^\"]*", "", html).lower().split()
    return parser


def test_a_good_run(run: Path) -> None:
    path = write_report(run)
    html = path.read_text(encoding="utf-8")
    assert path == run / "report.html"
    parser = _checked(html)
    assert len(html) < 1_000_000
    assert len(parser.fetched) == 4, "raw, denoised, objects, map"
    for title in ("Raw", "Denoised", "Last objects", "Way over the specimen", "Signal-to-noise", "Exposure", "Dose"):
        assert f"<h3>{title}" in html
    for said in ("A &lt;small&gt; run.", "because of &lt;frame 0&gt;", "the &lt;model&gt; was late", "limits.x_um"):
        assert said in html
    for said in ("32 × 16 px at (8, 4)", "RunAutofocus", "shadow", "refused", "as asked", "seed"):
        assert said in html
    assert "class=notes" not in html, "nothing is missing"


def test_summary_counts(run: Path) -> None:
    summary = summarise(run)
    assert summary["state"] == "done"
    assert summary["frames"] == 100
    assert summary["frames_lost"] == 3
    assert summary["frames_analysed"] == 80
    assert summary["target_signal_to_noise"] == 8
    assert summary["signal_to_noise_held"] == pytest.approx((4.5 - 2.0) / (4.85 - 2.0), abs=0.03)
    assert summary["target_in_view"] == 1
    assert summary["targets"] == 1
    assert summary["dose_spent_j_per_cm2"] == pytest.approx(9.8)
    assert summary["dose_budget_j_per_cm2"] == 20
    assert (summary["decisions"], summary["decisions_clipped"], summary["decisions_refused"]) == (44, 1, 2)
    assert summary["frame_to_result_ms"]["p95"] == pytest.approx(10)
    assert summary["exposure_to_effect_ms"]["p50"] == pytest.approx(16.5)
    json.dumps(summary, allow_nan=False)
    assert summary["line"].startswith("small done: signal-to-noise within ±10 % of 8 for 8")
    assert "dose 9.8 of 20 J/cm², 100 frames (3 lost), exposure to effect 16.5 ms" in summary["line"]


def test_the_target_is_in_view_only_while_it_is_seen(copy: Path) -> None:
    path = copy / "results" / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["tracks"] is not None and 40 <= row["frame"] < 48:
            row["tracks"]["missed_frames"][0] = 3
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = summarise(copy)
    assert 0.88 < summary["target_in_view"] < 0.95
    assert _checked(page(read(copy)))


def test_what_the_policy_was_refused_was_not_followed(copy: Path) -> None:
    path = copy / "results" / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["frame"] >= 40:
            row["from_image"], row["image_trust"] = ["image", "tracks"], 0.9 if row["frame"] < 60 else 0.1
        if row["frame"] >= 80 and row.get("context"):  # trusted again, but too late
            row["image_trust"] = 0.9
            row["context"]["t_ns"] += 10**10
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert 50 < max(entry.frame for entry in followed(read(copy))) < 60


def test_what_was_passed_over_is_told(copy: Path) -> None:
    assert "Passed over" not in page(read(copy))
    path = copy / "run.json"
    counts = {**dict.fromkeys(DROPS, 0), "stale_results": 4321, "late_answers": 5}
    path.write_text(json.dumps({**json.loads(path.read_text()), "drops": counts}))
    text = page(read(copy))
    assert _checked(text)
    assert "4,321 results too old to act on" in text
    assert "<th>answers of models after their deadline</th><td>5</td>" in text
    assert summarise(copy)["drops"] == counts


def test_what_the_denoiser_leaves_is_shown(copy: Path) -> None:
    assert "Left by the denoiser" not in page(read(copy))
    path = copy / "results" / "processed.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["residual_map"] = [[[1.0, 1.1], [0.9, 1.0]], [[0.8, 0.5], [4.25, 0.7]]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = page(read(copy))
    assert _checked(text)
    assert "Left by the denoiser" in text
    assert "black 0, white 3; at most 4.2" in text


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    run = _record(tmp_path, error="camera: the sequence ended; remedy: check the <cable>")
    html = write_report(run).read_text(encoding="utf-8")
    assert '<span class="state failed">failed</span>' in html
    assert "check the &lt;cable&gt;" in html


def test_a_run_without_policies_budget_or_stage(tmp_path: Path) -> None:
    plain = {"name": "plain", "microscope": {"sensor": [48, 48]}, "recorder": CONFIG["recorder"]}
    run = _record(tmp_path, plain)
    summary = summarise(run)
    assert summary["signal_to_noise_held"] is None
    assert summary["target_in_view"] is None
    assert summary["dose_budget_j_per_cm2"] is None
    html = page(read(run))
    _checked(html)
    assert "dose, no budget" in html
    assert "µm of the sensor" in html


def test_a_killed_run(copy: Path) -> None:
    """No end in run.json, lines cut in the middle."""
    run = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**run, "state": "running", "ended_at": None}))
    for name in ("frames.jsonl", "results/results.jsonl", "decisions.jsonl"):
        text = (copy / name).read_bytes()
        (copy / name).write_bytes(text[: int(len(text) * 0.7)])
    html = page(read(copy))
    _checked(html)
    assert "it was killed before it could say how it ended" in html
    assert 60 <= summarise(copy)["frames"] <= 75


def _damage(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:20]
    lines[5] = "{}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("maim", "note"),
    [
        (lambda run: (run / "run.json").unlink(), "run.json is missing"),
        (lambda run: (run / "run.json").write_text("{"), "run.json cannot be read"),
        (lambda run: (run / "run.json").write_text("[]"), "holds no facts"),
        (lambda run: (run / "frames.jsonl").unlink(), "frames.jsonl is missing"),
        (lambda run: (run / "frames.jsonl").write_text(""), ""),
        (lambda run: (run / "decisions.jsonl").unlink(), "decisions.jsonl is missing"),
        (lambda run: (run / "events.jsonl").unlink(), "events.jsonl is missing"),
        (lambda run: shutil.rmtree(run / "results"), "results.jsonl is missing"),
        (lambda run: shutil.rmtree(run / "frames.ome.zarr"), ""),
        (lambda run: (run / "frames.ome.zarr" / "0" / "zarr.json").write_text("{"), ""),
        (lambda run: _damage(run / "frames.jsonl"), "frames.jsonl: 2 damaged lines were left out"),
        (lambda run: _damage(run / "results" / "results.jsonl"), "2 damaged lines"),
        (lambda run: _damage(run / "decisions.jsonl"), "2 damaged lines"),
    ],
)
def test_missing_and_damaged_files_are_told(copy: Path, maim: Callable[[Path], object], note: str) -> None:
    maim(copy)
    html = write_report(copy).read_text(encoding="utf-8")
    _checked(html)
    assert note in html
    json.dumps(summarise(copy), allow_nan=False)


def test_a_file_that_cannot_be_opened_is_told(copy: Path) -> None:
    (copy / "events.jsonl").unlink()
    (copy / "events.jsonl").mkdir()
    assert any("events.jsonl cannot be read" in note for note in read(copy).notes)


def test_a_configuration_of_another_version(copy: Path) -> None:
    run = json.loads((copy / "run.json").read_text())
    run["config"]["from_the_future"] = 1
    (copy / "run.json").write_text(json.dumps(run))
    assert summarise(copy)["target_in_view"] is None
    _checked(page(read(copy)))


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path)


def test_a_long_run_is_sampled(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses stay exact, and the page says that it saw a part."""
    monkeypatch.setattr(reading, "MOST_ROWS", 20)
    record = read(run)
    assert len(record.frames) == len(record.results) == 20
    assert record.frames[-1]["index"] == 99
    summary = summarise(run)
    assert (summary["frames"], summary["frames_lost"], summary["frames_analysed"]) == (100, 3, 80)
    html = page(record)
    _checked(html)
    assert "frames.jsonl: 20 of 100 lines were read, evenly spaced" in html
    assert "displaced by newer ones" not in html, "cannot be told from a sample"


def test_many_events_keep_the_alarms(copy: Path) -> None:
    rows = [{"t_ns": i, "kind": "epoch", "epoch": i} for i in range(200)]
    with (copy / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    html = page(read(copy))
    assert "the &lt;model&gt; was late" in html
    assert "more in events.jsonl" in html
