"""A run opens again whole, lazily and with a clear word when it is no run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from recording import a_frame, noise, recording, run_path

from smartscope.errors import InputError
from smartscope.recorder.reader import RunReader


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with recording(tmp_path) as recorder:
        for index in range(6):
            recorder.put_frame(a_frame(index))
    return run_path(tmp_path)


def test_frames_by_number_by_slice_and_in_order(run: Path) -> None:
    frames = RunReader(run).frames
    assert len(frames) == 6
    np.testing.assert_array_equal(frames[-1].pixels, noise(5))
    assert [frame.index for frame in frames[1:3]] == [1, 2]
    assert [frame.index for frame in frames] == list(range(6))
    assert frames[2].certainty == a_frame(2).certainty


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"this is no run folder: it has no readable run\.json.*remedy"):
        RunReader(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_run_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: run\.json is damaged"):
        RunReader(tmp_path)


def test_a_missing_image_is_named_when_a_frame_is_asked_for(run: Path) -> None:
    shutil.rmtree(run / "frames.ome.zarr")
    reader = RunReader(run)
    with pytest.raises(InputError, match="cannot open the image"):
        reader.frames[0]
