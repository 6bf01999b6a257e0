"""How long the simulated camera takes to draw a frame, on one core: prints JSON.

python tests/benchmarks/bench_simulated_camera.py [--frames N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig, PointSpreadConfig
from smartscope.ports import LightsSetup, whole_sensor
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.world import World

WARM_UP = 50
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the camera looks at, and in which light."""

    specimen: str
    period_ms: float
    exposure_ms: float
    power_mw: dict[int, float]
    """By wavelength (nm)."""
    options: dict[str, Any]
    optics: OpticsConfig = field(default_factory=OpticsConfig)

    def config(self, edge_px: int, em_gain: float) -> MicroscopeConfig:
        """The instrument."""
        camera = CameraCalibration(em_gain=em_gain, electrons_per_adu=0.46 * em_gain)
        lights = tuple(LightConfig(name=f"laser_{nm}", wavelength_nm=nm) for nm in self.power_mw)
        return MicroscopeConfig(sensor=(edge_px, edge_px), camera=camera, lights=lights, optics=self.optics)


CELLS = Scene("cells", 10.0, 5.0, {488: 2.0}, {})
"""Crawling cells under the demonstration's light."""
MOLECULES = Scene(
    "blinking",
    20.0,
    20.0,
    {640: 32.0, 405: 0.4},
    {"drift_um_per_s": (4e-4, 2e-4), "specimen_options": {"molecules": 400_000, "area_um": 27.0, "filaments": 60}},
    OpticsConfig(
        numerical_aperture=1.45,
        emission_nm=670,
        illuminated_diameter_um=42,
        point_spread=PointSpreadConfig(sigma_px=1.3),
    ),
)
"""Single molecules under the light of configs/storm.yaml, four times its field."""


def frame_times(
    scene: Scene, edge_px: int, em_gain: float, seed: int, frames: int
) -> tuple[list[float], list[float], int]:
    """Wall and processor time (ms) of each frame, and how many molecules glowed in the last."""
    config = scene.config(edge_px, em_gain)
    clock = VirtualClock()
    world = World(config, clock, seed, options=WorldOptions(specimen=scene.specimen, **scene.options))
    lights = SimulatedLights.in_process(LightsSetup(config.lights, config, world.token), clock, world.faults)
    out, roi = np.zeros(config.sensor, np.uint16), whole_sensor(config.sensor)
    wall, processor = [], []
    glowing = 0
    try:
        for nm, power_mw in scene.power_mw.items():
            lights.set_power(f"laser_{nm}", power_mw)
        for number in range(WARM_UP + frames):
            start_ns = round(number * scene.period_ms * 1e6)
            end_ns = start_ns + round(scene.exposure_ms * 1e6)
            clock.advance_to(end_ns)
            wall_ns, processor_ns = time.perf_counter_ns(), time.thread_time_ns()
            world.render(out, roi, start_ns, end_ns, number)
            wall.append((time.perf_counter_ns() - wall_ns) / 1e6)
            processor.append((time.thread_time_ns() - processor_ns) / 1e6)
        if scene.specimen == "blinking":
            seen = world.emitters(start_ns, end_ns)
            glowing = int((np.maximum(abs(seen.x_px - edge_px / 2), abs(seen.y_px - edge_px / 2)) < edge_px / 2).sum())
    finally:
        lights.close()
        world.close()
    return wall[WARM_UP:], processor[WARM_UP:], glowing


def summary(scene: Scene, edge_px: int, em_gain: float, frames: int) -> dict[str, Any]:
    """Median and 99th percentile over all seeds."""
    runs = [frame_times(scene, edge_px, em_gain, seed, frames) for seed in SEEDS]
    wall, processor = (np.concatenate([np.asarray(run[part]) for run in runs]) for part in (0, 1))
    return {
        "specimen": scene.specimen,
        "edge_px": edge_px,
        "camera": "EMCCD" if em_gain > 1 else "sCMOS",
        "molecules_glowing": [run[2] for run in runs],
        "frames": int(wall.size),
        "median_ms": round(float(np.median(wall)), 2),
        "p99_ms": round(float(np.percentile(wall, 99)), 2),
        "cpu_median_ms": round(float(np.median(processor)), 2),
        "frames_per_s_on_one_core": round(1e3 / float(processor.mean()), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300, help="frames per seed; of slow ones a tenth")
    frames = parser.parse_args().frames
    few = max(10, frames // 10)
    results = [summary(CELLS, 512, 1.0, frames), summary(CELLS, 512, 300.0, few), summary(CELLS, 2048, 1.0, few)]
    results += [summary(MOLECULES, 256, em_gain, frames) for em_gain in (1.0, 300.0)]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_1min": load}
    print(
        json.dumps({"benchmark": "simulated_camera", "seeds": SEEDS, "machine": machine, "results": results}, indent=2)
    )


if __name__ == "__main__":
    main()
