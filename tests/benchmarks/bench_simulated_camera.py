"""How long the simulated camera takes to draw a frame, on one core: prints JSON.

python tests/benchmarks/bench_simulated_camera.py [--frames N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from typing import Any

import numpy as np

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig
from smartscope.ports import LightsSetup, whole_sensor
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.world import World

PERIOD_MS, EXPOSURE_MS, POWER_MW = 10.0, 5.0, 2.0
WARM_UP = 20
SEEDS = (1, 2, 3)


def frame_times(edge_px: int, em_gain: float, seed: int, frames: int) -> tuple[list[float], list[float]]:
    """Wall and processor time (ms) of each frame of crawling cells under the demonstration's light."""
    camera = CameraCalibration(em_gain=em_gain, electrons_per_adu=0.46 * em_gain)
    config = MicroscopeConfig(sensor=(edge_px, edge_px), camera=camera, lights=(LightConfig(name="laser"),))
    clock = VirtualClock()
    world = World(config, clock, seed)
    lights = SimulatedLights.in_process(LightsSetup(config.lights, config, world.token), clock, world.faults)
    out, roi = np.zeros(config.sensor, np.uint16), whole_sensor(config.sensor)
    wall, processor = [], []
    try:
        lights.set_power("laser", POWER_MW)
        for number in range(WARM_UP + frames):
            start_ns = round(number * PERIOD_MS * 1e6)
            end_ns = start_ns + round(EXPOSURE_MS * 1e6)
            clock.advance_to(end_ns)
            wall_ns, processor_ns = time.perf_counter_ns(), time.thread_time_ns()
            world.render(out, roi, start_ns, end_ns, number)
            wall.append((time.perf_counter_ns() - wall_ns) / 1e6)
            processor.append((time.thread_time_ns() - processor_ns) / 1e6)
    finally:
        lights.close()
        world.close()
    return wall[WARM_UP:], processor[WARM_UP:]


def summary(edge_px: int, em_gain: float, frames: int) -> dict[str, Any]:
    """Median and 99th percentile over all seeds."""
    runs = [frame_times(edge_px, em_gain, seed, frames) for seed in SEEDS]
    wall, processor = (np.concatenate([run[part] for run in runs]) for part in (0, 1))
    return {
        "edge_px": edge_px,
        "camera": "EMCCD" if em_gain > 1 else "sCMOS",
        "frames": int(wall.size),
        "median_ms": round(float(np.median(wall)), 2),
        "p99_ms": round(float(np.percentile(wall, 99)), 2),
        "cpu_median_ms": round(float(np.median(processor)), 2),
        "frames_per_s_on_one_core": round(1e3 / float(processor.mean()), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300, help="frames of 512 x 512 per seed; larger ones get a tenth")
    frames = parser.parse_args().frames
    few = max(10, frames // 10)
    results = [summary(512, 1.0, frames), summary(512, 300.0, few), summary(2048, 1.0, few)]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_1min": load}
    print(
        json.dumps({"benchmark": "simulated_camera", "seeds": SEEDS, "machine": machine, "results": results}, indent=2)
    )


if __name__ == "__main__":
    main()
