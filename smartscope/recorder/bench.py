"""How fast recording is, beside the raw speed of the same disk in the same minutes; ``smartscope bench record``."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartscope.clock import LiveClock
from smartscope.command import SetExposure
from smartscope.config import RecorderConfig
from smartscope.decision import Decision
from smartscope.frame import Certainty, Frame, Pixels, Roi, Settings
from smartscope.localization_files.records import COLUMNS
from smartscope.recorder.folder import RunFolder, provenance
from smartscope.recorder.recorder import Recorder
from smartscope.result import Localizations, Result, Tracks, empty_detections

Compression = Literal["none", "lz4"]
Way = Literal["raw"] | Compression

_WAYS: tuple[Way, ...] = ("raw", "none", "lz4")
_LARGE, _SMALL = (2048, 2048), (512, 512)
_TRACKED_OBJECTS = 100
_MOLECULES = (60, 200, 1000)
"""Localised in a frame: sparse, usual, and as dense as anything can be told apart."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured; the default takes about half a minute."""

    repeats: int = 9
    large_frames: int = 48
    small_frames: int = 4000
    paced_s: float = 10.0
    paced_fps: float = 100.0
    rows: int = 1000
    molecule_frames: int = 500


def measure(base: Path, *, seed: int = 1, effort: Effort | None = None) -> dict[str, Any]:
    """Record made-up camera frames into folders below ``base`` (removed again) and return the figures.

    Raw, uncompressed and lz4 take turns, so that all three meet the same weather. Two ratios are given, the
    median over turns and that of the medians: where they disagree, the disk was too unsteady to tell.
    """
    effort = effort or Effort()
    bench = _Bench(base / f"smartscope-bench-{os.getpid()}", np.random.default_rng(seed))
    bench.folder.mkdir(parents=True)
    try:
        return {
            **provenance(),
            "benchmark": "record",
            "seed": seed,
            "effort": asdict(effort),
            "load_average": _load_average(),
            "large_2048": bench.large(effort),
            "small_512": {"paced": bench.paced(effort), "max_rate": bench.max_rate(effort)},
            "rows": bench.rows(effort),
            "molecules": {
                str(count): {"csv": bench.molecules(count, effort), "no_csv": bench.molecules(count, effort, csv=False)}
                for count in _MOLECULES
            },
        }
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


@dataclass(slots=True)
class _Bench:
    """Where to write, and the noise to write."""

    folder: Path
    random: np.random.Generator
    runs: int = 0

    def frames(self, shape: tuple[int, int], count: int = 8) -> list[Frame]:
        """Different camera images: Poisson noise on a slope from 100 to 300 counts; longer runs repeat them."""
        ramp = np.linspace(100, 300, shape[1])
        images = [self.random.poisson(np.broadcast_to(np.roll(ramp, 50 * i), shape)) for i in range(count)]
        return [_frame(image.astype(np.uint16), index) for index, image in enumerate(images)]

    def record(self, frames: Sequence[Frame], compression: Compression) -> tuple[float, float, Recorder]:
        """Wall and CPU seconds from the first ``put_frame`` to the return of ``finish``, and the finished recorder."""
        queue_mb = sum(frame.pixels.nbytes for frame in frames) / 1e6 + 1
        with_recorder = self.recorder(RecorderConfig(compression=compression, queue_mb=queue_mb, min_free_gb=0))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for frame in frames:
            with_recorder.put_frame(frame)
        with_recorder.finish("done")
        return time.perf_counter() - wall_s, time.process_time() - cpu_s, with_recorder

    def recorder(self, config: RecorderConfig) -> Recorder:
        """A recorder on a folder of its own."""
        self.clear()
        self.runs += 1
        folder = RunFolder.create(self.folder, f"bench{self.runs}", datetime.now(), min_free_gb=config.min_free_gb)
        return Recorder(folder, config, 0.1, LiveClock())

    def clear(self) -> None:
        """Make room, outside the times measured."""
        for item in self.folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()

    def raw(self, frames: Sequence[Frame]) -> float:
        """Seconds to write the same pixels into one plain file and see them on the disk."""
        self.clear()
        began_s = time.perf_counter()
        with (self.folder / "raw.bin").open("wb", buffering=0) as file:
            for frame in frames:
                file.write(frame.pixels.data)
            os.fsync(file.fileno())
        return time.perf_counter() - began_s

    def large(self, effort: Effort) -> dict[str, Any]:
        """2048² frames as fast as they go."""
        images = self.frames(_LARGE)
        frames = _series(images, effort.large_frames)
        megabytes = sum(frame.pixels.nbytes for frame in frames) / 1e6
        speeds: dict[str, list[float]] = {"raw": [], "none": [], "lz4": []}
        cpu_ms: dict[str, list[float]] = {"none": [], "lz4": []}
        lost = 0
        for turn in range(effort.repeats):
            for name in _rotated(_WAYS, turn):  # nobody always follows the same neighbour's files being deleted
                if name == "raw":
                    wall_s = self.raw(frames)
                else:
                    wall_s, cpu_s, recorder = self.record(frames, name)
                    cpu_ms[name].append(cpu_s / len(frames) * 1e3)
                    lost += len(frames) - recorder.statistics().frames_written
                speeds[name].append(megabytes / wall_s)
        return {
            "mb_per_s": {name: _spread(values) for name, values in speeds.items()},
            "ratio_to_raw": {
                name: _spread([a / b for a, b in zip(speeds[name], speeds["raw"], strict=True)])
                for name in ("none", "lz4")
            },
            "ratio_of_medians": {name: median(speeds[name]) / median(speeds["raw"]) for name in ("none", "lz4")},
            "target_ratio": {"none": 0.8, "lz4": 0.6},
            "cpu_ms_per_frame": {name: median(values) for name, values in cpu_ms.items()},
            "frames_lost": lost,
        }

    def paced(self, effort: Effort) -> dict[str, Any]:
        """512² frames at the camera's pace, for a while, as the default configuration records them."""
        recorder = self.recorder(RecorderConfig(min_free_gb=0))
        frames = _series(self.frames(_SMALL), round(effort.paced_s * effort.paced_fps))
        put_us, fullness = [], 0.0
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, began_s + number / effort.paced_fps - time.perf_counter()))
            put_us.append(_time_us(partial(recorder.put_frame, frame)))
            fullness = max(fullness, recorder.statistics().queue_fullness)
        cpu_s = time.process_time() - cpu_s
        recorder.finish("done")
        return {
            "fps": effort.paced_fps,
            "frames": len(frames),
            "frames_lost": len(frames) - recorder.statistics().frames_written,
            "put_frame_us": _percentiles(put_us),
            "queue_fullness_max": fullness,
            "cpu_ms_per_frame": cpu_s / len(frames) * 1e3,
        }

    def max_rate(self, effort: Effort) -> dict[str, Any]:
        """512² frames as fast as the disk takes them."""
        frames = _series(self.frames(_SMALL), effort.small_frames)
        fps: dict[str, float] = {}
        lost = 0
        for compression in ("none", "lz4"):
            wall_s, _, recorder = self.record(frames, compression)
            fps[compression] = len(frames) / wall_s
            lost += len(frames) - recorder.statistics().frames_written
        return {"fps": fps, "frames": len(frames), "frames_lost": lost}

    def rows(self, effort: Effort) -> dict[str, Any]:
        """What a decision and a result with tracks cost the thread that hands them over."""
        recorder = self.recorder(RecorderConfig(min_free_gb=0))
        result, decision = _result(self.frames(_SMALL, 1)[0], self.random), _decision()
        costs = {
            "put_decision_us": _percentiles(_repeat(effort.rows, lambda: recorder.put_decision(decision))),
            "put_result_us": _percentiles(_repeat(effort.rows, lambda: recorder.put_result(result))),
        }
        recorder.finish("done")
        return {**costs, "objects_per_result": _TRACKED_OBJECTS, "rows_lost": recorder.statistics().rows_lost}

    def molecules(self, count: int, effort: Effort, *, csv: bool = True) -> dict[str, float]:
        """What ``count`` single molecules per frame cost processor and disk, rows of results included."""
        recorder = self.recorder(RecorderConfig(min_free_gb=0, queue_mb=1000, localizations_csv=csv))
        frame, found = self.frames(_SMALL, 1)[0], _localizations(count, self.random)
        cpu_s = time.process_time()
        for _ in range(effort.molecule_frames):
            recorder.put_result(Result(frame, localizations=found))
        recorder.finish("done")
        cpu_ms = (time.process_time() - cpu_s) / effort.molecule_frames * 1e3
        written = sum(file.stat().st_size for file in self.folder.rglob("results/*.*") if file.is_file())
        return {
            "cpu_ms_per_frame": cpu_ms,
            "cpu_us_per_molecule": cpu_ms * 1e3 / count,
            "bytes_per_molecule": written / effort.molecule_frames / count,
            "cpu_percent_at_50_fps": cpu_ms * 50 / 10,
            "gb_per_hour_at_50_fps": written / effort.molecule_frames * 50 * 3600 / 1e9,
        }


def _frame(pixels: Pixels, index: int) -> Frame:
    h, w = pixels.shape
    settings = Settings(exposure_ms=9.0, roi=Roi(0, 0, w, h), lights_mw={"laser_488": 2.0})
    start_ns = index * 10_000_000
    certainty = {"exposure_ms": Certainty.EXACT}
    return Frame(pixels, 0, index, index, settings, certainty, start_ns, start_ns + 9_000_000, start_ns + 10_000_000)


def _series(frames: Sequence[Frame], count: int) -> list[Frame]:
    return [_frame(frames[index % len(frames)].pixels, index) for index in range(count)]


def _result(frame: Frame, random: np.random.Generator) -> Result:
    def column() -> npt.NDArray[np.float32]:
        return random.normal(100, 30, _TRACKED_OBJECTS).astype(np.float32)

    whole = np.arange(_TRACKED_OBJECTS, dtype=np.int32)
    f, none = [column() for _ in range(10)], whole * 0
    tracks = Tracks(whole, whole, f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], whole, none, f[8], f[9], none)
    return Result(frame, detections=empty_detections(), tracks=tracks, quality={"signal_to_noise": 10.0})


def _localizations(count: int, random: np.random.Generator) -> Localizations:
    """With heights: the longer lines."""
    columns = {name: random.uniform(0, 500, count).astype(np.float32) for name in COLUMNS}
    return Localizations(**columns)


def _decision() -> Decision:
    asked = SetExposure(12.0)
    return Decision(1, 5, "exposure", asked, asked, "", "signal to noise 8 below its target 10", t_received_ns=1)


def _rotated(ways: tuple[Way, ...], turn: int) -> tuple[Way, ...]:
    start = turn % len(ways)
    return ways[start:] + ways[:start]


def _time_us(action: Callable[[], object]) -> float:
    began_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - began_ns) / 1e3


def _repeat(count: int, action: Callable[[], object]) -> list[float]:
    return [_time_us(action) for _ in range(count)]


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _load_average() -> list[float] | None:
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None
