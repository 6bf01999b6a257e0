"""What ``smartscope bench`` measures, on this machine and now; every figure comes with machine and seed."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.app import Rig, run_experiment
from smartscope.command import Applied, Command, Request, SetExposure
from smartscope.config import ExperimentConfig
from smartscope.doctor import machine
from smartscope.frame import Frame, Pixels
from smartscope.loading import load
from smartscope.ports import Choice, Context
from smartscope.result import Result

_BESIDE = Path(__file__).parents[1] / "configs"
CONFIGS = _BESIDE if _BESIDE.is_dir() else Path(sys.prefix) / "share" / "smartscope" / "configs"
"""Beside the package in a checkout, under share/ where a wheel was installed."""
DEMO = CONFIGS / "demo.yaml"
SEED = 1
EXPOSURE_MS = 1.0
LONG_MS = 6.0


class Toggle:
    """Changes the exposure after every ``every`` results, between ``low_ms`` and ``high_ms``."""

    def __init__(self, *, low_ms: float = EXPOSURE_MS, high_ms: float = 1.1, every: int = 1) -> None:
        self.low_ms, self.high_ms, self.every = low_ms, high_ms, every

    def decide(self, context: Context) -> Choice:
        """The other exposure, when it is time."""
        count = (context.state or 0) + 1
        if count % self.every:
            return Choice((), count)
        other_ms = self.low_ms if context.settings.exposure_ms > (self.low_ms + self.high_ms) / 2 else self.high_ms
        return Choice([Request(SetExposure(other_ms), "benchmark")], count)


class Ears:
    """Hears what a run does, beside it."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, int, int]] = []
        """(index, start, end, received), ns."""
        self.applied: list[Applied] = []
        self.acted_on: list[Frame] = []
        self.results: list[tuple[int, int, int]] = []
        """(received, ready, index) of each frame analysed."""
        self._rig: Rig

    def __call__(self, rig: Rig) -> None:
        self._rig = rig
        see, apply, result = rig.loop.see_frame, rig.microscope.apply, rig.loop.on_result

        def seen(frame: Frame) -> None:
            self.frames.append((frame.index, frame.t_start_ns, frame.t_end_ns, frame.t_received_ns))
            see(frame)

        def applied(command: Command) -> Applied:
            made = apply(command)
            if rig.loop.latest is not None and isinstance(command, SetExposure):
                self.applied.append(made)
                self.acted_on.append(rig.loop.latest.frame)
            return made

        def on_result(found: Result) -> None:
            self.results.append((found.frame.t_received_ns, found.ready_ns, found.frame.index))
            result(found)

        for owner, name, heard in (
            (rig.loop, "see_frame", seen),
            (rig.microscope, "apply", applied),
            (rig.loop, "on_result", on_result),
        ):
            setattr(owner, name, heard)

    def losses(self) -> dict[str, int]:
        """By the grabber's own count; call after the run."""
        return {"grabber": self._rig.grabber.statistics().lost}


def loop_figures(*, frames: int = 1000) -> dict[str, Any]:
    """Frame in hand → command dispatched, and change → first frame with it; no models, 512 x 512, 1 ms exposure."""
    figures: dict[str, Any] = {"machine": machine(), "seed": SEED, "frames": frames, "exposure_ms": EXPOSURE_MS}
    for name, microscope in _microscopes().items():
        latency, effect = Ears(), Ears()
        run_experiment(_loop_config(microscope, frames, Toggle()), on_rig=latency)
        slow = Toggle(high_ms=LONG_MS, every=12)
        run_experiment(_loop_config(microscope, max(200, frames // 3), slow), on_rig=effect)
        figures[name] = {
            "popped_to_dispatched_ms": percentiles(
                [
                    (made.t_called_ns - frame.t_received_ns) / 1e6
                    for made, frame in zip(latency.applied, latency.acted_on, strict=True)
                ]
            ),
            "frames_with_the_old_setting": _frames_until_effect(effect),
            "lost": latency.losses()["grabber"] + effect.losses()["grabber"],
            "frames_per_s": _rate(latency.frames),
        }
    return figures


def _microscopes() -> dict[str, dict[str, Any]]:
    """The simulated camera, and the C++ DemoCamera where its adapters are installed."""
    found: dict[str, dict[str, Any]] = {"simulated": {"driver": "simulated", "sensor": [512, 512]}}
    if importlib.util.find_spec("mm_test_adapters") is None:
        return found
    found["demo_camera"] = {"driver": "micromanager", "options": demo_camera_options()}
    return found


def demo_camera_options() -> dict[str, Any]:
    """Options for the C++ DemoCamera at 512 x 512."""
    return {"cfg": str(demo_camera_cfg()), "camera": "Camera"}


def demo_camera_cfg() -> Path:
    """The configuration file that goes with ``configs/demo_camera.yaml``."""
    return CONFIGS / "demo_camera.cfg"


def _loop_config(microscope: dict[str, Any], frames: int, toggle: Toggle) -> ExperimentConfig:
    options = {"low_ms": toggle.low_ms, "high_ms": toggle.high_ms, "every": toggle.every}
    return ExperimentConfig.model_validate(
        {
            "name": "bench-loop",
            "frames": frames,
            "seed": SEED,
            "microscope": microscope,
            "start": {"exposure_ms": EXPOSURE_MS},
            "policies": [{"policy": f"{__name__}:Toggle", "options": options}],
            "recorder": {"enabled": False},
            "bus": {"enabled": False},
        }
    )


def _frames_until_effect(ears: Ears) -> dict[str, float]:
    """1: only the frame under way at the command, the next has the new one. Judged by the time between frames' ends."""
    ends = np.array([end for _, _, end, _ in ears.frames])
    intervals_ms = np.diff(ends, prepend=ends[0]) / 1e6
    middle_ms = (EXPOSURE_MS + LONG_MS) / 2
    counts = []
    for made in ears.applied:
        command = made.made_true
        if not isinstance(command, SetExposure):
            continue
        under_way = int(np.searchsorted(ends, made.t_called_ns))
        for later in range(under_way, min(under_way + 10, len(ends))):
            if (intervals_ms[later] > middle_ms) == (command.exposure_ms > middle_ms):
                counts.append(later - under_way)
                break
    return percentiles(counts)


def pipeline_figures(*, frames: int = 2000) -> dict[str, Any]:
    """The whole classical pipeline of the demo at 512 x 512, recorder on, with three cameras.

    The simulated one shares the processor with what it is measured with; its recorded frames shown at 100 frames/s cost
    next to nothing, as a real camera's do; the DemoCamera at 100 frames/s draws waves, but would lose frames as a real
    camera does.
    """
    figures: dict[str, Any] = {"machine": machine(), "seed": SEED, "frames": frames, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        figures["simulated"] = _pipeline_run(["start.exposure_ms=5.5"], frames, folder / "simulated")
        movie = _recorded_demo(folder, frames=300)
        shown = [
            "microscope.driver=replay",
            f"microscope.options={{movie: {movie.as_posix()}, interval_ms: 10, loop: true}}",
            "microscope.lights=[]",
            "start={exposure_ms: 5.5}",
            "limits.lights={}",
            "policies=[]",
        ]
        figures["recorded_frames"] = _pipeline_run(shown, frames, folder / "shown")
        if "demo_camera" in _microscopes():
            options = demo_camera_options()
            waves = ["microscope.driver=micromanager", f"microscope.options={{cfg: {options['cfg']}}}", "policies=[]"]
            waves += ["microscope.lights=[]", "start={exposure_ms: 10}", "limits.lights={}"]
            figures["demo_camera"] = _pipeline_run(waves, frames, folder / "waves")
    return figures


def _pipeline_run(changes: Sequence[str], frames: int, folder: Path) -> dict[str, Any]:
    common = [f"frames={frames}", "duration_s=null", "bus.enabled=false", "dose.budget_j_per_cm2=null"]
    common += ["policies.0.enabled=false", "policies.1.enabled=false"]
    ears = Ears()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    outcome = run_experiment(load(DEMO, [*common, *changes]), output=folder, on_rig=ears)
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return {
        "frames_per_s": _rate(ears.frames),
        "exposed_to_received_ms": percentiles([(received - end) / 1e6 for _, _, end, received in ears.frames]),
        "frame_to_result_ms": percentiles([(ready - received) / 1e6 for received, ready, _ in ears.results]),
        "analysed": len(ears.results),
        "lost_by_grabber": ears.losses()["grabber"],
        "lost_by_recorder": frames - int(outcome.summary["frames"]),
        "cpu_s_per_wall_s": round(cpu_s / wall_s, 2),
    }


def _recorded_demo(folder: Path, frames: int) -> Path:
    """A TIFF of the demo's frames, made in virtual time."""
    import tifffile

    seen: list[Pixels] = []

    def look(rig: Rig) -> None:
        see = rig.loop.see_frame

        def keep(frame: Frame) -> None:
            seen.append(frame.pixels)
            see(frame)

        rig.loop.see_frame = keep  # type: ignore[method-assign]

    changes = [f"frames={frames}", "duration_s=null", "clock=virtual", "bus.enabled=false", "recorder.enabled=false"]
    changes += ["pipeline=[]", "policies=[]", "start={exposure_ms: 10, lights_mw: {laser_488: 4}}"]
    run_experiment(load(DEMO, changes), on_rig=look)
    path = folder / "demo.tif"
    tifffile.imwrite(path, np.stack(seen), photometric="minisblack")
    return path


def record_figures(folder: Path) -> dict[str, Any]:
    """Recording speed against the raw disk, in ``folder``."""
    from smartscope.recorder.bench import measure

    return {"machine": machine(), **measure(folder)}


def bus_figures() -> dict[str, Any]:
    """Cost and speed of publishing."""
    from smartscope.bus.bench import bench

    return {"machine": machine(), **bench()}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """n, p50, p95, p99 and max."""
    if not len(values):
        return {"n": 0}
    p50, p95, p99 = np.percentile(np.asarray(values, float), (50, 95, 99))
    return {
        "n": len(values),
        "p50": round(float(p50), 3),
        "p95": round(float(p95), 3),
        "p99": round(float(p99), 3),
        "max": round(float(np.max(values)), 3),
    }


def _rate(frames: Sequence[tuple[int, int, int, int]]) -> float:
    received = [received for *_, received in frames]
    return round((len(received) - 1) / ((received[-1] - received[0]) / 1e9), 1)
