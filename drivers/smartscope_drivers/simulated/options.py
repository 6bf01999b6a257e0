"""Only this file knows what can be chosen about the simulated microscope beyond what is true of any microscope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope_drivers.simulated.faults import FaultOptions

SpecimenName = Literal[
    "cells",
    "beads",
    "filaments",
    "blinking",
    "dividing_nuclei",
    "mitochondria",
    "vesicles",
    "migrating_cells",
]
Contrast = Annotated[float, Field(ge=0, le=1)]


class WorldOptions(Section):
    """The simulated hardware and what lies under it."""

    specimen: SpecimenName = "cells"
    specimen_options: dict[str, Any] = Field(default_factory=dict)
    """Of ``CellsOptions``, ``BeadsOptions`` and so on; see docs/specimens.md."""
    readout_ms: NotNegative = 4.5
    """Between two exposures."""
    stage_um_per_s: Positive = 2000.0
    stage_settling_ms: NotNegative = 5.0
    focus_um_per_s: Positive = 500.0
    focus_settling_ms: NotNegative = 5.0
    focal_plane_um: float = 0.0
    """Focus position at which the specimen is sharp when the run begins."""
    focus_drift_um_per_min: float = 0.0
    drift_um_per_s: tuple[float, float] = (0.0, 0.0)
    """How the specimen creeps along x and y."""
    slm: Literal["auto", "intensity", "interference"] = "auto"
    """What the SLM does: multiply the light by its grey values, or send orders through a mask (a phase SLM; needs
    ``optics.structured_illumination.slm``). auto: interference where that is configured."""
    fringe_contrast: Contrast | tuple[Contrast, ...] = 0.9
    """Modulation over that of perfect interference; one for all, or one for each direction."""
    phase_error_deg: NotNegative = 0.0
    """Standard deviation of the finest fringes' phase about the step asked for; each pattern has its own error."""
    camera_rotation_deg: float = 0.0
    """How the camera is turned against the stage."""
    camera_mirrored: bool = False
    """Whether the image is mirrored left to right."""
    laser_max_mw: Positive = 100.0
    transmission: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of all optics between the specimen and the camera, without the emission filter."""
    filters: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=lambda: {"Emission": 1.0, "ND10": 0.1, "Closed": 0.0}
    )
    """Positions of the emission filter wheel and what they let through."""
    faults: FaultOptions = FaultOptions()

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> Self:
        """The options that are the world's, out of all options of a driver."""
        return cls.model_validate({key: value for key, value in options.items() if key in cls.model_fields})
