"""Planes become whole chunks, their rows follow the pixels, and OME-Zarr readers agree with what is on disk."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
from hypothesis import given
from hypothesis import strategies as st
from recording import SHAPE, StubDisk, a_frame, config, noise

from smartscope.errors import InputError
from smartscope.recorder import image_stack
from smartscope.recorder.chunks import IN_FLIGHT, planes_per_chunk
from smartscope.recorder.image_stack import ImageStack, read_planes
from smartscope.recorder.jsonl import JsonLines, JsonLinesWriter
from smartscope.recorder.stack_log import StackLog


@contextmanager
def a_log(folder: Path, open_stack: Any = ImageStack, **changes: Any) -> Iterator[StackLog]:
    rows = JsonLinesWriter(folder / "frames.jsonl")
    try:
        yield StackLog(folder, "frames", np.uint16, rows, config(**changes), 0.25, open_stack)
    finally:
        rows.close()


def add(log: StackLog, *indices: int, shape: tuple[int, int] = SHAPE) -> None:
    for index in indices:
        frame = a_frame(index, shape)
        log.add(frame.pixels, frame, {"index": index})


def listed(folder: Path) -> list[tuple[int, str, int]]:
    return [(row["index"], row["store"], row["plane"]) for row in JsonLines(folder / "frames.jsonl")]


def planes(folder: Path, store: str = "frames.ome.zarr") -> Any:
    return read_planes(folder / store).read().result()


@given(st.integers(1, 10**9), st.floats(0.1, 100))
def test_chunks_are_whole_frames_near_the_size_asked_for(plane_bytes: int, chunk_mb: float) -> None:
    count = planes_per_chunk(plane_bytes, chunk_mb)
    assert count == 1 or abs(count * plane_bytes - chunk_mb * 1e6) <= plane_bytes


def test_ten_hours_at_100_frames_a_second_make_at_most_300_000_files() -> None:
    frames = 10 * 3600 * 100
    chunks = math.ceil(frames / planes_per_chunk(512 * 512 * 2, config(chunk_mb=8.0).chunk_mb))
    assert chunks + 20 <= 300_000  # 20: what else a run folder holds


def test_a_chunk_is_one_file_and_nothing_else_grows_with_the_run(tmp_path: Path) -> None:
    with a_log(tmp_path) as log:
        add(log, *range(10))
        log.close()
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    chunks = [name for name in files if Path(name).name.startswith("c.")]
    assert len(chunks) == math.ceil(10 / 4)
    assert len(files) == len(chunks) + 5  # frames.jsonl, the image, its zarr.json, the array, its zarr.json


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_any_number_of_frames_comes_back_from_a_valid_image(tmp_path: Path, compression: str, count: int) -> None:
    with a_log(tmp_path, compression=compression) as log:
        add(log, *range(count))
        log.close()
    assert listed(tmp_path) == [(k, "frames.ome.zarr", k) for k in range(count)]
    expected = np.stack([noise(k) for k in range(count)])
    np.testing.assert_array_equal(planes(tmp_path), expected)
    yaozarrs.validate_zarr_store(str(tmp_path / "frames.ome.zarr"))


READ_AS_OTHERS_DO = """
import json, sys
import numpy as np
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
node = next(iter(Reader(parse_url(sys.argv[1]))()))
np.save(sys.argv[2], np.asarray(node.data[0]))
print(json.dumps(node.metadata))
"""


@pytest.mark.parametrize(("compression", "count", "seconds"), [("none", 9, 0.01), ("lz4", 1, 0.009)])
def test_ome_zarr_py_reads_the_same(tmp_path: Path, compression: str, count: int, seconds: float) -> None:
    """In a process of its own, for zarr-python leaves threads behind. One frame alone: its exposure is the interval."""
    with a_log(tmp_path, compression=compression) as log:
        add(log, *range(count))
        log.close()
    store, copy = str(tmp_path / "frames.ome.zarr"), str(tmp_path / "copy.npy")
    command = [sys.executable, "-c", READ_AS_OTHERS_DO, store, copy]
    metadata = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    np.testing.assert_array_equal(np.load(copy), np.stack([noise(k) for k in range(count)]))
    assert [axis["name"] for axis in metadata["axes"]] == ["t", "y", "x"]
    assert [axis["unit"] for axis in metadata["axes"]] == ["second", "micrometer", "micrometer"]
    assert metadata["coordinateTransformations"][0][0]["scale"] == pytest.approx([seconds, 0.25, 0.25])


def test_large_frames_are_chunks_by_themselves(tmp_path: Path) -> None:
    with a_log(tmp_path, chunk_mb=1e-6) as log:
        add(log, *range(7))
        log.close()
    assert len(list((tmp_path / "frames.ome.zarr" / "0").glob("c.*"))) == 7
    np.testing.assert_array_equal(planes(tmp_path), np.stack([noise(k) for k in range(7)]))


def test_the_image_grows_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_stack, "_GROW_BY_CHUNKS", 2)
    with a_log(tmp_path) as log:
        add(log, *range(8))
        log.flush()
        assert len(planes(tmp_path)) == 8
        add(log, *range(8, 21))
        log.close()
    np.testing.assert_array_equal(planes(tmp_path), np.stack([noise(k) for k in range(21)]))


def test_a_flushed_part_of_a_chunk_is_readable_and_completed_later(tmp_path: Path) -> None:
    with a_log(tmp_path) as log:
        add(log, 0, 1, 2, 3, 4)
        log.flush()
        assert len(listed(tmp_path)) == 5
        on_disk = planes(tmp_path)
        np.testing.assert_array_equal(on_disk[:5], np.stack([noise(k) for k in range(5)]))
        assert not on_disk[5:].any()
        add(log, 5)
        log.flush()
        log.flush()
        assert len(listed(tmp_path)) == 6
        add(log, 6, 7, 8)
        log.close()
    assert [row[0] for row in listed(tmp_path)] == list(range(9))
    np.testing.assert_array_equal(planes(tmp_path), np.stack([noise(k) for k in range(9)]))


def test_another_shape_opens_another_image(tmp_path: Path) -> None:
    with a_log(tmp_path) as log:
        add(log, 0, 1)
        add(log, 2, 3, 4, shape=(16, 16))
        add(log, 5)
        log.close()
        assert log.tally.listed_bytes == 3 * 24 * 32 * 2 + 3 * 16 * 16 * 2
    names = ["frames.ome.zarr"] * 2 + ["frames_1.ome.zarr"] * 3 + ["frames_2.ome.zarr"]
    assert listed(tmp_path) == [(k, names[k], plane) for k, plane in enumerate([0, 1, 0, 1, 2, 0])]
    np.testing.assert_array_equal(
        planes(tmp_path, "frames_1.ome.zarr"), np.stack([noise(k, (16, 16)) for k in (2, 3, 4)])
    )


def test_rows_wait_for_their_pixels(tmp_path: Path) -> None:
    disk = StubDisk(held=True)
    with a_log(tmp_path, disk) as log:
        add(log, *range(8))
        log.settle()
        assert log.busy
        assert listed(tmp_path) == []
        disk.may_end.set()
        log.settle(wait=True)
        assert not log.busy
        assert [row[0] for row in listed(tmp_path)] == list(range(8))
        log.close()
    assert disk.stacks[0].finished == (8, pytest.approx(0.01))


def test_few_chunks_are_under_way_at_once(tmp_path: Path) -> None:
    disk = StubDisk(held=True)
    with a_log(tmp_path, disk) as log:
        add(log, *range(4 * IN_FLIGHT))
        assert log.tally.listed == 0
        disk.may_end.set()
        add(log, *range(4 * IN_FLIGHT, 4 * IN_FLIGHT + 4))
        assert log.tally.listed == 4
        log.close()


def test_after_an_error_the_image_ends_before_the_failed_chunk(tmp_path: Path) -> None:
    disk = StubDisk(fails_at=1)
    with a_log(tmp_path, disk) as log:
        add(log, *range(15))
        with pytest.raises(OSError, match="No space left"):
            log.settle()
        log.abandon()
        log.close()
    assert [row[0] for row in listed(tmp_path)] == [0, 1, 2, 3]
    assert (log.tally.taken, log.tally.listed) == (15, 4)
    assert disk.stacks[0].finished is not None
    assert disk.stacks[0].finished[0] == 4


def test_abandoning_nothing_is_harmless(tmp_path: Path) -> None:
    with a_log(tmp_path) as log:
        log.settle()
        log.flush()
        log.abandon()
        log.close()
    assert not list(tmp_path.glob("*.ome.zarr"))


def test_pixels_are_handed_to_the_disk_bit_packed_with_names_of_axes(tmp_path: Path) -> None:
    with a_log(tmp_path) as log:
        add(log, 0)
        log.close()
    array = json.loads((tmp_path / "frames.ome.zarr" / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["t", "y", "x"]
    assert array["shape"] == [1, *SHAPE]
    assert array["codecs"][1]["configuration"]["shuffle"] == "bitshuffle"


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frames\.ome\.zarr: cannot open the image.*remedy"):
        read_planes(tmp_path / "frames.ome.zarr")
