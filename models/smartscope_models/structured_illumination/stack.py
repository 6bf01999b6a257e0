"""From a raw stack to an image and all that is known of it: the one way, for files and for live frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope.errors import InputError
from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination.estimate import Estimate, Estimator
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.transfer import Optics
from smartscope_models.structured_illumination.verdict import Verdict, judge, motion_px

SATURATED_SHARE = 1e-3
"""Of pixels at the camera's end, from which brightness is no longer linear in light."""


@dataclass(frozen=True, slots=True)
class Reconstructed:
    """One stack."""

    image: npt.NDArray[np.float32]
    """(2N, 2N) electrons per raw pixel and frame; widefield, on the same grid, where the verdict is ``fail``."""
    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was found of a stack's fringes, and how its image is made."""

    estimate: Estimate
    reconstruction: Reconstruction
    verdict: Verdict
    expected_nm: float
    """Resolution of the reconstruction, whatever the verdict."""


class StackReconstructor:
    """Measures the fringes of every stack anew."""

    def __init__(self, layout: Layout, size: int, optics: Optics, device: str = "cpu") -> None:
        """Raises InputError: pixels too large for the lens, or a frame too small to hold fringes."""
        if size < 64 or size % 2:
            raise InputError(f"frames of {size} pixels", where="raw stack", allowed="even sizes from 64 on")
        self._layout, self._size, self._optics, self._device = layout, size, optics, device
        self._cutoff = optics.cutoff_per_px * size
        self._estimator = Estimator(layout, size, self._cutoff, device)

    def run(self, frames: Tensor) -> Reconstructed:
        """(frames, N, N) float32 electrons."""
        prepared = self.prepare(frames)
        made, verdict = prepared.reconstruction, prepared.verdict
        image = made.continued(frames) if verdict.state != "fail" else made.widefield(frames)
        return Reconstructed(image.cpu().numpy().copy(), prepared.estimate, verdict)

    def prepare(self, frames: Tensor, known: Parameters | None = None) -> Prepared:
        """Everything but the image; carriers near those of ``known`` where it is given."""
        estimate = self._estimator.run(frames, known)
        made = Reconstruction(self._layout, self._size, self._cutoff, estimate.parameters, estimate.power, self._device)
        pixel_nm = self._optics.pixel_size_nm
        finest = np.hypot(*estimate.parameters.carriers.reshape(-1, 2).T).max()
        limit_nm = self._size * pixel_nm / (self._cutoff + float(finest))
        light = torch.fft.fft2(frames.reshape(self._layout.angles, self._layout.phases, *frames.shape[1:]).mean(1))
        moved = motion_px(light * (self._estimator.field.radius > 2), self._estimator.field.passed)
        verdict = judge(self._layout, estimate, made.weights, moved, pixel_nm, limit_nm)
        return Prepared(estimate, made, verdict, max(made.weights.resolution_px * pixel_nm, limit_nm))


def checked(raw: npt.NDArray[np.uint16], layout: Layout, saturation_adu: float) -> npt.NDArray[np.uint16]:
    """The stack, if it can be worked with.

    Raises:
        InputError: wrong number or shape of frames, frames without any structure, or saturated ones.
    """
    layout.split(raw)
    for number, frame in enumerate(raw):
        where = f"frame {number} of the raw stack"
        if frame.min() == frame.max():
            raise InputError("all pixels are alike", where=where, remedy="check light and shutter")
        if np.mean(frame >= saturation_adu) > SATURATED_SHARE:
            raise InputError(
                "is saturated", where=where, allowed=f"below {saturation_adu:.0f} counts", remedy="less light"
            )
    return raw
