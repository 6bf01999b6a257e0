"""The arrays around a denoising network: margin, camera calibration and history in, a quiet frame in counts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.errors import UnsupportedModel
from smartscope.frame import Frame, Pixels
from smartscope.ports import Instrument, whole_sensor
from smartscope.result import Result
from smartscope_models.calibration import Floats, PixelCalibration, SensorCalibration
from smartscope_models.denoise.trust import TrustMeter
from smartscope_models.engines import EngineName, open_engine
from smartscope_models.engines.engine import Engine, Precision, Shape
from smartscope_models.packages import ModelPackage, open_package

TASK = "denoise"


class NetworkDenoiser:
    """A denoising network of a model package, run by any engine.

    Options:
        package: a shipped name, a package folder, or an ONNX file with a manifest.
        engine, precision: ``auto`` takes the fastest that is there.
        threads: of the processor; one core stays with the camera.
    """

    def __init__(
        self,
        setup: Instrument,
        *,
        package: str = "denoise_frame",
        engine: EngineName = "auto",
        precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto",
        threads: Annotated[int, Field(ge=1, le=64)] = 1,
    ) -> None:
        """Open package and engine.

        Raises:
            UnsupportedModel: the package cannot be used, or is no denoiser.
            EngineError: no engine can run it.
            InputError: a camera map cannot be used.
        """
        self.package = _denoiser(open_package(package))
        wanted: Precision | None = None if precision == "auto" else precision
        self.engine: Engine = open_engine(self.package.networks, engine=engine, precision=wanted, threads=threads)
        self.history = self.package.manifest.history
        self._calibration = SensorCalibration(setup.camera)
        self._trust = TrustMeter(setup, self._calibration)
        self._known: PixelCalibration | None = None
        self._input = np.zeros((1, self.history + 1, 0, 0), np.uint16)
        self._shape = (0, 0)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Build and allocate for frames of this (H, W), and run once in the dark."""
        self._shape = shape
        height, width = self.package.manifest.fit(*shape)
        self._input = np.zeros((1, self.history + 1, height, width), np.uint16)
        shapes: dict[str, Shape] = {
            "frames": self._input.shape,
            "calibration": (1, 3, height, width),
            "nominal": (3,),
        }
        self.engine.warm_up(shapes)
        self._known = None
        self._calibrate(self._calibration.region(whole_sensor(shape), shape))
        self.engine.run({"frames": self._input})
        self._trust.warm_up(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``image``, (H, W) float32 counts, and how far it can be trusted."""
        frame = frames[-1]
        if frame.pixels.shape != self._shape:
            self.warm_up((frame.pixels.shape[0], frame.pixels.shape[1]))
        self._calibrate(self._calibration.of(frame))
        for k, pixels in enumerate(_comparable(frames, self.history + 1)):
            _place(pixels, self._input[0, k])
        image = self.engine.run({"frames": self._input})["image"][0, 0]
        height, width = self._shape
        return self._trust.judge(frame, np.ascontiguousarray(image[:height, :width]), so_far)

    def facts(self) -> dict[str, str]:
        """Package, hash and engine, for the record of a run."""
        return {
            "package": self.package.manifest.name,
            "package_sha256": self.package.sha256,
            "engine": self.engine.name,
            "engine_device": self.engine.device,
            "precision": self.engine.precision,
            "engine_why": self.engine.why,
        }

    def _calibrate(self, calibration: PixelCalibration) -> None:
        """Hand the calibration of this region to the engine, once."""
        if calibration is self._known:
            return
        maps = np.stack(network_calibration(calibration))
        height, width = self._input.shape[2:]
        margin = ((0, 0), (0, height - maps.shape[1]), (0, width - maps.shape[2]))
        self.engine.hold("calibration", np.ascontiguousarray(np.pad(maps, margin, mode="symmetric")[None]))
        self.engine.hold("nominal", nominal_values(calibration))
        self._known = calibration


def network_calibration(calibration: PixelCalibration) -> tuple[Floats, Floats, Floats]:
    """Offset, electrons per count / F², and variance e² / F⁴ beside the shot noise (rounding included); all (H, W)."""
    gain = calibration.electrons_per_adu / np.float32(calibration.excess)
    variance = calibration.read_variance_e2 / np.float32(calibration.excess**2) + gain**2 / np.float32(12)
    return calibration.offset_adu, gain, variance


def nominal_values(calibration: PixelCalibration) -> npt.NDArray[np.float32]:
    """(3,): offset_adu, counts per electron · F², variance e² / F⁴ of the sensor as a whole."""
    gain = calibration.nominal_electrons_per_adu / calibration.excess
    variance = calibration.nominal_read_variance_e2 / calibration.excess**2 + gain**2 / 12
    return np.array([calibration.nominal_offset_adu, 1 / gain, variance], np.float32)


def _denoiser(package: ModelPackage) -> ModelPackage:
    if package.manifest.task != TASK:
        raise UnsupportedModel(
            f"its task is {package.manifest.task}",
            where=f"model package {package.manifest.name}",
            allowed=TASK,
            remedy="smartscope models list shows the denoisers",
        )
    return package


def _comparable(frames: Sequence[Frame], count: int) -> list[Pixels]:
    """Pixels of the last ``count`` frames; where there are too few, the oldest is repeated.

    A frame that was exposed under other settings would look like a change in the specimen.
    """
    newest = frames[-1]
    taken = [newest.pixels]
    for frame in reversed(frames[:-1]):
        alike = frame.settings == newest.settings and frame.pixels.shape == newest.pixels.shape
        if len(taken) == count or not alike:
            break
        taken.append(frame.pixels)
    taken += [taken[-1]] * (count - len(taken))
    return taken[::-1]


def _place(pixels: Pixels, out: Pixels) -> None:
    """Copy (H, W) into the larger ``out`` and mirror its lower and right margin."""
    height, width = pixels.shape
    out[:height, :width] = pixels
    if out.shape != pixels.shape:
        out[height:, :width] = pixels[_mirrored(height, out.shape[0])]
        out[:, width:] = out[:, _mirrored(width, out.shape[1])]


def _mirrored(length: int, longer: int) -> npt.NDArray[np.int64]:
    """(longer - length,) which pixels the margin repeats."""
    return np.pad(np.arange(length), (0, longer - length), mode="symmetric")[length:]
