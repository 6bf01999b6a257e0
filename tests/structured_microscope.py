"""Small simulated microscopes with fringes, for tests of gratings and bursts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.config import (
    CameraCalibration,
    GratingConfig,
    LightConfig,
    MicroscopeConfig,
    OpticsConfig,
    SlmConfig,
    StructuredIlluminationConfig,
)
from smartscope.frame import Frame
from smartscope.ports import Clock, MicroscopeSetup
from smartscope_drivers.simulated.microscope import SimulatedMicroscope

LAYOUTS: Mapping[str, dict[str, Any]] = {
    "two beams": {},
    "three beams": {"phases": 5, "beams": 3},
    "hexagonal": {"angles": 1, "phases": 7, "hexagonal": True},
}
SLM = SlmConfig(shape=(512, 512), pixel_size_nm=90.0)
BLUE = LightConfig(name="blue", device="Blue", power_property="Power_mW")
FILAMENTS = {"area_um": 20.0, "filaments": 30}


def microscope(
    layout: str = "two beams", size: int = 128, slm: SlmConfig | None = SLM, **changes: Any
) -> MicroscopeConfig:
    """With an SLM, or a stepped grating where ``slm`` is None; ``changes`` of the structured illumination."""
    asked = {"pupil_fraction": 0.85, **LAYOUTS[layout], **changes}
    steps = asked.get("angles", 3) * asked.get("phases", 3)
    grating = GratingConfig(device="Grating", property="Step", values=tuple(f"S{step}" for step in range(steps)))
    fringes = StructuredIlluminationConfig(slm=slm, grating=None if slm else grating, **asked)
    return MicroscopeConfig(
        sensor=(size, size),
        camera=CameraCalibration(pixel_size_nm=65.0),
        lights=(BLUE,),
        optics=OpticsConfig(structured_illumination=fringes),
    )


@contextmanager
def opened(config: MicroscopeConfig, clock: Clock, **options: Any) -> Iterator[SimulatedMicroscope]:
    """A simulated microscope that looks at filaments."""
    asked: dict[str, Any] = {"specimen": "filaments", "specimen_options": FILAMENTS, **options}
    scope = SimulatedMicroscope(MicroscopeSetup(config, clock, None, seed=3), **asked)
    try:
        yield scope
    finally:
        scope.close()


def electrons(frames: list[Frame], config: MicroscopeConfig) -> npt.NDArray[np.float32]:
    """(frames, H, W) of a burst."""
    camera = config.camera
    counts = np.stack([frame.pixels for frame in frames]).astype(np.float32)
    return (counts - np.float32(camera.offset_adu)) * np.float32(camera.electrons_per_adu)
