"""Movies of simulated specimens with what is true of them: frames, tracks of a perfect tracker, events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from track_helpers import table

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.ports import Instrument, LightsSetup, whole_sensor
from smartscope.result import Detections, Tracks
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.truth import WorldEvents, WorldObjects
from smartscope_drivers.simulated.world import World

LASER = "laser"
FIRST_NS = 50_000_000
"""From the beginning of the world to the first exposure."""


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

    def frame_of(self, t_ns: int) -> int:
        """The first frame whose exposure ends after a moment."""
        first_end_ns = self.world.t0_ns + FIRST_NS + round(self.scene.exposure_ms * 1e6)
        return max(-int((first_end_ns - t_ns) * self.scene.rate_hz // 1e9), 0)

    def shots(self) -> Iterator[tuple[Frame, WorldObjects]]:
        """Each frame, and who was where in the middle of its exposure."""
        scene = self.scene
        roi, exposure_ns = whole_sensor((scene.size_px, scene.size_px)), round(scene.exposure_ms * 1e6)
        for index in range(scene.frames):
            start_ns = self.world.t0_ns + FIRST_NS + round(1e9 * index / scene.rate_hz)
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


def true_tracks(objects: WorldObjects, size_px: int, noise_px: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """``Tracks`` and ``Detections`` of everybody in the field, found with a Gaussian error."""
    here = (objects.x_px > 0) & (objects.x_px < size_px - 1) & (objects.y_px > 0) & (objects.y_px < size_px - 1)
    x, y = (getattr(objects, name)[here] + noise_px * rng.standard_normal(here.sum()) for name in ("x_px", "y_px"))
    looks = {"size_px": np.maximum(objects.size_px[here], 0.8), "intensity": objects.molecules[here]}
    looks |= {"x_px": x, "y_px": y, "label": objects.label[here]}
    motion = {"sigma_px": noise_px, "steady": 0.5, "v_error_px_s": 1.0, "diffusion_px2_s": 1.0, "age_frames": 5}
    ids = {"track_id": objects.object_id[here], "parent_id": objects.mother_id[here]}
    return table(Tracks, len(x), **ids, **looks, **motion), table(Detections, len(x), **looks)
