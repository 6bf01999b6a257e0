"""A movie as a camera: its pace, its end, the digital region of interest, and the settings that a run recorded."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import MoveStage, RunAutofocus, SetExposure, SetLight, SetRoi
from smartscope.config import LightConfig, MicroscopeConfig, RecorderConfig
from smartscope.errors import DeviceError, InputError
from smartscope.frame import Frame, Roi, Settings
from smartscope.ports import MicroscopeSetup
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope_drivers.movies.run import RunMovie
from smartscope_drivers.replay import DEFAULT_INTERVAL_MS, ReplayMicroscope

FRAMES = np.arange(6 * 40 * 50, dtype=np.uint16).reshape(6, 40, 50)
CONFIG = MicroscopeConfig(lights=(LightConfig(name="laser"),))


@pytest.fixture
def movie(tmp_path: Path) -> str:
    tifffile.imwrite(tmp_path / "movie.tif", FRAMES)
    return str(tmp_path / "movie.tif")


def replay(
    clock: VirtualClock, movie: str, *, interval_ms: float | None = 10.0, loop: bool = False
) -> ReplayMicroscope:
    return ReplayMicroscope(MicroscopeSetup(CONFIG, clock, None), movie=movie, interval_ms=interval_ms, loop=loop)


def take(microscope: ReplayMicroscope, clock: VirtualClock) -> Frame:
    clock.advance_to(microscope.frame_due_ns())
    frame = microscope.next_frame(0.0)
    assert frame is not None
    return frame


def test_comes_at_its_pace_and_ends(movie: str) -> None:
    clock = VirtualClock()
    microscope = replay(clock, movie)
    microscope.start(0)
    assert microscope.next_frame(1.0) is None, "not due yet"
    frames = [take(microscope, clock) for _ in range(6)]
    assert [frame.t_end_ns for frame in frames] == [10_000_000 * (i + 1) for i in range(6)]
    np.testing.assert_array_equal([frame.pixels for frame in frames], FRAMES)
    assert microscope.exhausted()
    assert microscope.next_frame(0.0) is None
    microscope.close()


def test_frames_wait_for_whoever_is_late(movie: str) -> None:
    clock = VirtualClock()
    microscope = replay(clock, movie)
    microscope.start(0)
    clock.sleep(1.0)
    assert [microscope.next_frame(0.0) is not None for _ in range(7)] == [True] * 6 + [False]
    microscope.close()


def test_loop_and_default_interval(movie: str) -> None:
    clock = VirtualClock()
    microscope = replay(clock, movie, interval_ms=None, loop=True)
    microscope.start(0)
    frames = [take(microscope, clock) for _ in range(8)]
    np.testing.assert_array_equal(frames[7].pixels, FRAMES[1])
    assert [frame.number for frame in frames] == list(range(8))
    assert frames[0].settings.exposure_ms == DEFAULT_INTERVAL_MS
    assert not microscope.exhausted()
    microscope.close()


def test_live_pace(movie: str) -> None:
    setup = MicroscopeSetup(CONFIG, LiveClock(), None)
    microscope = ReplayMicroscope(setup, movie=movie, interval_ms=20)
    microscope.start(0)
    assert microscope.next_frame(0.001) is None
    frame = microscope.next_frame(5.0)
    assert frame is not None
    assert frame.t_received_ns >= frame.t_end_ns
    microscope.close()


def test_region_of_interest_goes_on_in_the_movie(movie: str) -> None:
    clock = VirtualClock()
    microscope = replay(clock, movie)
    microscope.start(0)
    take(microscope, clock)
    microscope.apply(SetRoi(Roi(8, 4, 16, 12)))
    frame = take(microscope, clock)
    assert (frame.epoch, frame.number) == (1, 0)
    np.testing.assert_array_equal(frame.pixels, FRAMES[1, 4:16, 8:24])
    assert frame.pixels.flags.c_contiguous
    with pytest.raises(DeviceError, match="outside the movie; allowed: within 50 x 40 pixels"):
        microscope.apply(SetRoi(Roi(40, 0, 16, 16)))
    microscope.close()


def test_what_was_recorded_stays(movie: str) -> None:
    microscope = replay(VirtualClock(), movie)
    assert microscope.apply(SetExposure(1.0)).made_true == SetExposure(10.0)
    assert microscope.apply(SetLight("laser", 5.0)).made_true == SetLight("laser", 0.0)
    for command in (MoveStage(1.0, 1.0), RunAutofocus(), SetLight("lamp", 1.0)):
        with pytest.raises(DeviceError, match="a recorded movie cannot carry out"):
            microscope.apply(command)
    with pytest.raises(DeviceError, match="takes no new images"):
        microscope.run_plan([])
    microscope.dark()
    microscope.close()


# -------------------------------------------------------------------- runs


def recorded(folder: Path, shapes: list[tuple[int, int]]) -> Path:
    """A run with a frame of each shape, 5 ms apart, exposed longer and longer."""
    run = RunFolder.create(folder, "run", datetime(2026, 1, 2), min_free_gb=0)
    recorder = Recorder(run, RecorderConfig(min_free_gb=0), 0.1, LiveClock())
    for i, (height, width) in enumerate(shapes):
        settings = Settings(1.0 + i, Roi(10, 20, width, height), {"laser": 2.0}, x_um=float(i))
        pixels = np.full((height, width), 7 * i, np.uint16)
        end_ns = 5_000_000 * (i + 1)
        recorder.put_frame(Frame(pixels, 0, i, i, settings, {}, end_ns - 1_000_000, end_ns, end_ns))
    recorder.finish("done")
    return run.path


def test_a_run_comes_with_its_settings(tmp_path: Path) -> None:
    run = recorded(tmp_path, [(32, 48)] * 4)
    clock = VirtualClock()
    for path in (run, run / "frames.ome.zarr"):
        microscope = replay(clock, str(path), interval_ms=None)
        assert microscope.capabilities().exposure_range_ms == (1.0, 1.0)
        microscope.apply(SetRoi(Roi(4, 2, 16, 16)))
        microscope.start(0)
        frames = [take(microscope, clock) for _ in range(4)]
        assert [frame.settings.exposure_ms for frame in frames] == [1.0, 2.0, 3.0, 4.0]
        assert [frame.settings.x_um for frame in frames] == [0.0, 1.0, 2.0, 3.0]
        assert frames[0].settings.lights_mw == {"laser": 2.0}
        assert frames[0].settings.roi == Roi(14, 22, 16, 16), "on the sensor it was recorded with"
        assert [int(frame.pixels[0, 0]) for frame in frames] == [0, 7, 14, 21]
        assert frames[1].t_end_ns - frames[0].t_end_ns == 5_000_000
        microscope.close()


def test_a_run_of_many_regions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"changed its region of interest \(2 stacks\)"):
        RunMovie(recorded(tmp_path, [(32, 48), (32, 32)]))
