"""Rows come back as they went in, also from a file that a crash has cut anywhere."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smartscope.errors import InputError
from smartscope.recorder import jsonl
from smartscope.recorder.jsonl import JsonLines, JsonLinesWriter, to_line


@pytest.fixture
def written(tmp_path: Path) -> Callable[[int], Path]:
    def write(count: int) -> Path:
        path = tmp_path / "rows.jsonl"
        writer = JsonLinesWriter(path)
        writer.append(*[{"n": n, "why": "µm\n" * (n % 3)} for n in range(count)])
        writer.close()
        return path

    return write


def test_rows_by_number_by_slice_and_in_order(written: Callable[[int], Path]) -> None:
    rows = JsonLines(written(5))
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[1]["why"] == "µm\n"
    assert rows[-1]["n"] == 4
    assert [row["n"] for row in rows[1:4:2]] == [1, 3]
    with pytest.raises(IndexError):
        rows[5]


def test_each_append_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    writer = JsonLinesWriter(path)
    writer.append({"n": 1})
    assert len(JsonLines(path)) == 1
    writer.close()
    again = JsonLinesWriter(path)
    again.append({"n": 2})
    again.close()
    assert [row["n"] for row in JsonLines(path)] == [1, 2]


def test_a_file_cut_at_any_byte_gives_its_whole_lines(written: Callable[[int], Path]) -> None:
    path = written(4)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        assert [row["n"] for row in JsonLines(path)] == list(range(data[:size].count(b"\n")))


def test_a_last_line_of_zeros_is_left_out(written: Callable[[int], Path]) -> None:
    path = written(2)
    path.write_bytes(path.read_bytes() + b"\0" * 40 + b"\n")
    assert len(JsonLines(path)) == 2


def test_a_damaged_line_in_the_middle_is_named(written: Callable[[int], Path]) -> None:
    path = written(3)
    path.write_bytes(path.read_bytes().replace(b'{"n":1', b"[[[[[["))
    with pytest.raises(InputError, match=r"rows\.jsonl: line 2 is no JSON object.*remedy"):
        list(JsonLines(path))


def test_long_files_are_scanned_in_blocks(written: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_SCAN_BYTES", 7)
    assert [row["n"] for row in JsonLines(written(40))] == list(range(40))


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert list(JsonLines(tmp_path / "absent.jsonl")) == []


def test_lines_are_strict_json_whatever_they_hold(tmp_path: Path) -> None:
    line = to_line(
        {
            "list": [np.float32(np.nan), float("-inf"), (1, True, None)],
            "array": np.array([[1.5, np.inf]]),
            "count": np.int64(3),
            "where": tmp_path,
            "nested": {"x": float("inf")},
        }
    )
    assert "NaN," not in line.replace('"NaN",', "")
    assert json.loads(line) == {
        "list": ["NaN", "-Infinity", [1, True, None]],
        "array": [[1.5, "Infinity"]],
        "count": 3,
        "where": str(tmp_path),
        "nested": {"x": "Infinity"},
    }
    assert json.loads(to_line({"text": "\ud800 µm", "x": float("nan")})) == {"text": "\ud800 µm", "x": "NaN"}
    assert to_line({"where": tmp_path, "power_mw": np.float32(0.5)}) == json.dumps(
        {"where": str(tmp_path), "power_mw": 0.5}, separators=(",", ":")
    )
