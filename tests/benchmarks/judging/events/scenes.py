"""Movies of simulated specimens with what is true of them: frames, tracks as a perfect tracker would give them, events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.ports import Instrument, LightsSetup, whole_sensor
from smartscope.result import Detections, Result, Tracks
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.truth import WorldEvents, WorldObjects
from smartscope_drivers.simulated.world import World

LASER = "laser"


@dataclass(frozen=True, slots=True)
class Scene:
    """A specimen, and how it is looked at."""

    specimen: str
    seed: int
    seconds: float
    rate_hz: float
    size_px: int = 256
    exposure_ms: float = 40.0
    power_mw: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    pixel_nm: float = 100.0

    @property
    def instrument(self) -> Instrument:
        """What a model may know."""
        return Instrument(CameraCalibration(pixel_size_nm=self.pixel_nm), OpticsConfig())

    @property
    def frames(self) -> int:
        """How many there are."""
        return round(self.seconds * self.rate_hz)


class Movie:
    """One scene as it is filmed; a context manager."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        light = LightConfig(name=LASER, wavelength_nm=488, gated_by_camera=True)
        config = MicroscopeConfig(
            sensor=(scene.size_px, scene.size_px),
            camera=scene.instrument.camera,
            optics=scene.instrument.optics,
            lights=(light,),
        )
        self._clock = VirtualClock(1)
        options = WorldOptions(specimen=scene.specimen, specimen_options=dict(scene.options))
        self.world = World(config, self._clock, scene.seed, options=options)
        setup = LightsSetup(config.lights, config, self.world.token)
        self._lights = SimulatedLights.in_process(setup, self._clock, self.world.faults)
        self._lights.set_power(LASER, scene.power_mw)

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, *_: object) -> None:
        self._lights.close()
        self.world.close()

    def shots(self) -> Iterator[tuple[Frame, WorldObjects]]:
        """Each frame, and who was where in the middle of its exposure."""
        scene = self.scene
        roi, exposure_ns = whole_sensor((scene.size_px, scene.size_px)), round(scene.exposure_ms * 1e6)
        for index in range(scene.frames):
            start_ns = self.world.t0_ns + 50_000_000 + round(1e9 * index / scene.rate_hz)
            self._clock.advance_to(start_ns + exposure_ns)
            pixels = np.zeros((scene.size_px, scene.size_px), np.uint16)
            self.world.render(pixels, roi, start_ns, start_ns + exposure_ns, index)
            frame = self.frame(pixels, index, start_ns, roi)
            yield frame, self.world.objects(frame.t_mid_ns)

    def frame(self, pixels: np.ndarray, index: int, start_ns: int, roi: Roi) -> Frame:
        """As a camera hands it over."""
        settings = Settings(self.scene.exposure_ms, roi, {LASER: self.scene.power_mw})
        end_ns = start_ns + round(self.scene.exposure_ms * 1e6)
        return Frame(pixels, 0, index, index, settings, {}, start_ns, end_ns, end_ns)

    def events(self) -> WorldEvents:
        """All that went on."""
        return self.world.events(self.world.t0_ns, self._clock.now_ns())


def true_tracks(objects: WorldObjects, size_px: int, noise_px: float, rng: np.random.Generator) -> Result | Any:
    """Columns of ``Tracks`` and ``Detections`` of everybody in the field, found with a Gaussian error."""
    inside = np.flatnonzero(
        (np.abs(objects.x_px - size_px / 2) < size_px / 2) & (np.abs(objects.y_px - size_px / 2) < size_px / 2)
    )
    n = len(inside)
    x, y = (getattr(objects, name)[inside] + noise_px * rng.standard_normal(n) for name in ("x_px", "y_px"))
    f = lambda value: np.broadcast_to(np.asarray(value, np.float32), (n,)).copy()  # noqa: E731
    i = lambda value: np.broadcast_to(np.asarray(value, np.int32), (n,)).copy()  # noqa: E731
    size, label = np.maximum(objects.size_px[inside], 0.8), objects.label[inside]
    tracks = Tracks(
        track_id=i(objects.object_id[inside]), parent_id=i(objects.mother_id[inside]), x_px=f(x), y_px=f(y),
        vx_px_s=f(0), vy_px_s=f(0), sigma_px=f(noise_px), steady=f(0.5), v_error_px_s=f(1), diffusion_px2_s=f(1),
        age_frames=i(5), missed_frames=i(0), size_px=f(size), intensity=f(objects.molecules[inside]), label=i(label),
    )  # fmt: skip
    return tracks, Detections(f(x), f(y), f(size), f(objects.molecules[inside]), i(label))
