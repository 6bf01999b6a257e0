"""A run's molecules as files of other programs: from a run as it was recorded, killed or going on, drift taken off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from localization_helpers import molecules
from recording import SHAPE, a_frame, recording, run_path
from typer.testing import CliRunner

from smartscope import exporting
from smartscope.cli import app
from smartscope.errors import InputError
from smartscope.exporting import MOLECULE_FORMATS, export_run
from smartscope.localization_files.picasso import read_picasso
from smartscope.localization_files.thunderstorm import read_thunderstorm
from smartscope.recorder.recorder import Recorder
from smartscope.result import Result

PIXEL_NM = 100.0
COUNTS = [3, 0, 4, 5, 2, 6]


def put_results(recorder: Recorder, *, drift: bool = True) -> None:
    """Frames 0, 1, … with molecules; a new drift is told with every second one, and repeated."""
    for index, count in enumerate(COUNTS):
        recorder.put_frame(a_frame(index))
        told = {"drift_x_nm": 50.0 * (index // 2), "drift_y_nm": -20.0 * (index // 2)} if drift and index else {}
        recorder.put_result(Result(a_frame(index), quality=told, localizations=molecules(count, index)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with recording(tmp_path) as recorder:
        recorder._folder.update(config={"microscope": {"camera": {"pixel_size_nm": PIXEL_NM}}})
        put_results(recorder)
    return run_path(tmp_path)


def places() -> tuple[np.ndarray, np.ndarray]:
    """x of all molecules, px, and their frames."""
    x_px = np.concatenate([molecules(count, index).x_px for index, count in enumerate(COUNTS)])
    return x_px, np.repeat(np.arange(len(COUNTS)), COUNTS)


def test_thunderstorm_is_what_was_written_live(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "BLOCK", 7)
    done = export_run(run, "thunderstorm")
    assert done.path == run / "exports" / "localizations.csv"
    assert done.line == f"{done.path}: 20 molecules"
    assert done.path.read_bytes() == (run / "results" / "localizations.csv").read_bytes()
    assert [item.name for item in done.path.parent.iterdir()] == ["localizations.csv"]


def test_picasso_holds_the_same_molecules(run: Path) -> None:
    pytest.importorskip("h5py")
    done = export_run(run, "picasso")
    table, facts = read_picasso(done.path)
    x_px, frame = places()
    np.testing.assert_array_equal(table.found.x_px, x_px)
    np.testing.assert_array_equal(table.frame, frame)
    h, w = SHAPE
    assert (facts["Frames"], facts["Pixelsize"], facts["Drift corrected"]) == (len(COUNTS), PIXEL_NM, False)
    assert (facts["Width"], facts["Height"]) == (max(w, int(x_px.max()) + 1), 48)
    assert h < 48  # the molecules are made up, and lie beyond the frame


def test_drift_is_taken_off_on_straight_lines_between_estimates(run: Path, tmp_path: Path) -> None:
    done = export_run(run, "thunderstorm", tmp_path / "out.csv", drift_corrected=True)
    table = read_thunderstorm(done.path, PIXEL_NM)
    x_px, frame = places()
    drift_nm = np.interp(frame, [1, 2, 4], [0, 50, 100])
    np.testing.assert_allclose(table.found.x_px, x_px - drift_nm / PIXEL_NM, atol=2e-5)
    assert export_run(run, "thunderstorm", drift_corrected=True).path.name == "localizations_drift_corrected.csv"


def test_a_run_that_goes_on_is_exported_as_far_as_it_came(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder._folder.update(config={"microscope": {"camera": {"pixel_size_nm": PIXEL_NM}}})
        put_results(recorder, drift=False)
        recorder.put_event("state", 0)
        while not (run_path(tmp_path) / "events.jsonl").read_text():
            pass
        assert export_run(run_path(tmp_path), "thunderstorm").molecules == sum(COUNTS)
        with pytest.raises(InputError, match=r"no result of this run tells a drift.*without --drift-corrected"):
            export_run(run_path(tmp_path), "thunderstorm", drift_corrected=True)


def test_molecules_left_out_are_told(tmp_path: Path) -> None:
    found = molecules(3)
    found.x_px[0] = np.nan
    with recording(tmp_path) as recorder:
        recorder._folder.update(config={"microscope": {"camera": {"pixel_size_nm": PIXEL_NM}}})
        recorder.put_result(Result(a_frame(0), localizations=found))
    pytest.importorskip("h5py")
    for form in MOLECULE_FORMATS:
        assert export_run(run_path(tmp_path), form).line.endswith(
            "2 molecules, 1 left out because a number is not finite"
        )


def test_what_cannot_be_exported_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output and input are the same file"):
        export_run(run, "thunderstorm", run / "results" / "localizations.npy")
    with pytest.raises(InputError, match="cannot be written"):
        export_run(run, "thunderstorm", tmp_path / "none" / "out.csv")
    (run / "results" / "localizations.npy").unlink()
    with pytest.raises(InputError, match=r"localizations\.npy: cannot be read"):
        export_run(run, "thunderstorm")
    assert not (run / "exports").exists()
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "config": {}}))
    with pytest.raises(InputError, match=r"tells no pixel size: it has no microscope"):
        export_run(run, "thunderstorm")


def test_on_the_command_line(run: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["export", str(run), "--format", "thunderstorm", "--drift-corrected"])
    assert done.exit_code == 0, done.output
    assert "localizations_drift_corrected.csv: 20 molecules" in done.output.replace("\n", "")
    wrong = runner.invoke(app, ["export", str(run), "--format", "excel"])
    assert wrong.exit_code == 2
    words = wrong.output.replace("│", " ").split()
    assert words[words.index("allowed:") + 1 :][:5] == ["thunderstorm,", "picasso,", "trackmate,", "geff,", "ctc"]
