"""What is asked of one tuning, as it travels to the process that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument

REQUEST = "request.json"


class Request(BaseModel):
    """Package, frames, instrument and bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    """A name, a package folder, or an ONNX file with a manifest."""
    frames: Path
    """A run folder, or a TIFF movie of raw counts."""
    camera: CameraCalibration
    optics: OpticsConfig = OpticsConfig()
    seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Wall clock; what is not done by then is given up."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1

    @property
    def instrument(self) -> Instrument:
        """Camera and optics."""
        return Instrument(self.camera, self.optics)

    @property
    def psf_sigma_px(self) -> float:
        """Width of a Gaussian like the PSF: 0.21 λ / NA (Zhang, Zerubia, Olivo-Marin, Appl. Opt. 46:1819, 2007)."""
        return 0.21 * self.optics.emission_nm / self.optics.numerical_aperture / self.camera.pixel_size_nm
