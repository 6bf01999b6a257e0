"""Which frames are looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recording import a_frame, recording, run_path
from tuning_helpers import write_movie

from smartscope.config import MicroscopeConfig
from smartscope.errors import InputError
from smartscope.frame import Certainty
from smartscope_models.tuning.clips import instrument_of_run, is_run, read_clips


def test_clips_of_a_movie_are_spread_over_it_newest_first(tmp_path: Path) -> None:
    frames = np.arange(20, dtype=np.uint16)[:, None, None] * np.ones((1, 8, 8), np.uint16)
    movie = write_movie(tmp_path / "movie.tif", frames)
    clips = read_clips(movie, 6, 3)
    assert [clip.first for clip in clips] == [14, 7, 0]
    assert [clip.pixels[:, 0, 0].tolist() for clip in clips] == [list(range(k, k + 6)) for k in (14, 7, 0)]
    assert len(read_clips(movie, 20, 3)) == 1
    assert read_clips(movie, 21, 3) == []


def test_a_clip_of_a_run_has_one_setting_and_no_gap(tmp_path: Path) -> None:
    steady = replace(a_frame(0).settings, lights_mw={"laser": 1.0})
    frames = [replace(a_frame(k), settings=steady) for k in range(40)]
    frames[8] = replace(frames[8], settings=replace(steady, exposure_ms=5.0))
    frames[16] = replace(frames[16], certainty={"xy": Certainty.MIXED})
    frames[24] = replace(frames[24], lost_before=2)
    frames[32:] = [replace(frame, epoch=2) for frame in frames[32:]]
    with recording(tmp_path) as recorder:
        for frame in frames:
            recorder.put_frame(frame)
    folder = run_path(tmp_path)
    clips = read_clips(folder, 4, 99)
    # a gap or a new epoch is no harm before the first frame
    good = [k for k in range(37) if not {8, 16} & set(range(k, k + 4)) and not {24, 32} & set(range(k + 1, k + 4))]
    assert [clip.first for clip in clips] == good[::-1]
    np.testing.assert_array_equal(clips[0].pixels[-1], frames[39].pixels)
    assert clips[0].roi == steady.roi


def test_camera_and_optics_come_from_the_run(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    own = MicroscopeConfig.model_validate({"camera": {"read_noise_e": 2.5}, "optics": {"numerical_aperture": 0.8}})
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"config": {"microscope": own.model_dump(mode="json")}}))
    assert is_run(tmp_path)
    instrument = instrument_of_run(tmp_path)
    assert (instrument.camera, instrument.optics) == (own.camera, own.optics)
    for broken in ({}, {"config": None}, {"config": {"microscope": {"camera": {"read_noise_e": "x"}}}}):
        run.write_text(json.dumps(broken))
        with pytest.raises(InputError, match="no camera"):
            instrument_of_run(tmp_path)


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with recording(tmp_path):
        pass
    with pytest.raises(InputError, match="holds no frames"):
        read_clips(run_path(tmp_path), 4, 9)
    with pytest.raises(InputError, match="no TIFF"):
        read_clips(tmp_path / "absent.tif", 4, 9)
