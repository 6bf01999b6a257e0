"""A run folder is made once, in a place that can hold it, and its run.json is always whole."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from smartscope.errors import InputError, RecorderError
from smartscope.recorder import folder as module
from smartscope.recorder.folder import RunFolder, write_atomically

AT = datetime(2026, 1, 2, 3, 4, 5)


def test_folder_is_named_after_run_and_time_and_says_what_made_it(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "deep" / "runs", "beads", AT, min_free_gb=0)
    assert folder.path == tmp_path / "deep" / "runs" / "beads-20260102-030405"
    run = json.loads((folder.path / "run.json").read_text())
    assert run["state"] == "running"
    assert run["error"] is run["ended_at"] is None
    assert datetime.fromisoformat(run["started_at"]) == AT.astimezone()
    assert {"smartscope", "python", "numpy", "tensorstore", "pymmcore-plus"} <= run["versions"].keys()
    assert run["machine"]["cores"] >= 1


def test_update_keeps_what_was_there(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "beads", AT, min_free_gb=0)
    folder.update(seeds={"world": 1}, budget=float("inf"))
    folder.update(state="done")
    run = json.loads((folder.path / "run.json").read_text())
    assert (run["name"], run["seeds"], run["budget"], run["state"]) == ("beads", {"world": 1}, "Infinity", "done")
    assert not list(folder.path.glob("*.part"))


def test_runs_of_the_same_second_are_numbered_and_a_named_folder_must_be_new(tmp_path: Path) -> None:
    folders = [RunFolder.create(tmp_path, "beads", AT, min_free_gb=0) for _ in range(3)]
    assert [folder.path.name for folder in folders] == [f"beads-20260102-030405{n}" for n in ("", "-2", "-3")]
    with pytest.raises(InputError, match=r"beads-20260102-030405: there is something of that name already.*remedy"):
        RunFolder.create_at(folders[0].path, "beads", AT, min_free_gb=0)


def test_a_file_where_the_output_folder_should_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt: there is something of that name already"):
        RunFolder.create(file, "beads", AT, min_free_gb=0)
    with pytest.raises(InputError, match=r"remedy: (choose an output folder|name another output)"):
        RunFolder.create(file / "runs", "beads", AT, min_free_gb=0)
    assert file.read_text() == "mine"


def test_a_full_disk_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match=r"only .* GB left.*>= 1e\+09 GB.*make room"):
        RunFolder.create(tmp_path, "beads", AT, min_free_gb=1e9)
    assert not list(tmp_path.iterdir())


def test_replacing_waits_for_a_virus_scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([True, True, False])
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if next(refusals):
            raise PermissionError(13, "in use")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(module, "_REPLACE_PAUSE_S", 0.0)
    write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"


def test_replacing_gives_up_at_last_and_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Path, target: Path) -> Path:
        raise PermissionError(13, "in use")

    (tmp_path / "a.json").write_text("old")
    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(module, "_REPLACE_PAUSE_S", 0.0)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
