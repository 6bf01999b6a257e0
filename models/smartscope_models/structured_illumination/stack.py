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
from smartscope_models.structured_illumination.motion import largest_px, motion, stilled
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.sectioning import sectioned
from smartscope_models.structured_illumination.transfer import Optics
from smartscope_models.structured_illumination.verdict import STILLED_PX, Verdict, convincing, judge

Counts = npt.NDArray[np.uint16] | npt.NDArray[np.float32]
SATURATED_SHARE = 1e-3
"""Of pixels at the camera's end, from which brightness is no longer linear in light."""

BORDER_STEPS = 2
"""Of continuing the field beyond its border: what further ones change cannot be seen."""
SEEN_PX = 0.15
"""Motion between directions that is more than the noise of its measurement, and worth taking back."""


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
    frames: Tensor
    """(frames, N, N) what the image is made of: the raw frames, or others where motion or blur was taken out."""


class StackReconstructor:
    """Measures the fringes of every stack anew."""

    def __init__(self, layout: Layout, size: int, optics: Optics, device: str = "cpu", sectioning: float = 0.0) -> None:
        """sectioning: share of the out-of-focus light that is taken out of the image, 0 to 1 (see ``sectioning``).

        Raises:
            InputError: pixels too large for the lens, a frame too small to hold fringes, or an impossible share.
        """
        if not 0 <= sectioning <= 1:
            raise InputError(f"sectioning {sectioning}", where="structured illumination", allowed="0 to 1")
        if size < 64 or size % 2:
            raise InputError(f"frames of {size} pixels", where="raw stack", allowed="even sizes from 64 on")
        self.layout, self._size, self._optics, self._device = layout, size, optics, device
        self.cutoff = optics.cutoff_per_px * size
        self._estimator = Estimator(layout, size, self.cutoff, device)
        self._sectioning = sectioning
        self._order_seen = False

    def run(self, frames: Tensor, known: Parameters | None = None) -> Reconstructed:
        """(frames, N, N) float32 electrons; ``known``: of a brighter stack, whose carriers need not be searched for.

        Raises:
            InputError: values that are no numbers, a pattern that stands still, or frames in another order.
        """
        prepared = self.prepare(frames, known)
        made, verdict = prepared.reconstruction, prepared.verdict
        image = made.continued(prepared.frames, BORDER_STEPS) if verdict.state != "fail" else made.widefield(frames)
        return Reconstructed(image.cpu().numpy().copy(), prepared.estimate, verdict)

    def prepare(self, frames: Tensor, known: Parameters | None = None) -> Prepared:
        """Everything but the image; arguments and errors as of ``run``."""
        frames, moved = self._stilled(frames)
        estimate = self._estimated(frames, known)
        made = Reconstruction(self.layout, self._size, self.cutoff, estimate.parameters, estimate.power, self._device)
        pixel_nm = self._optics.pixel_size_nm
        finest = np.hypot(*estimate.parameters.carriers.reshape(-1, 2).T).max()
        limit_nm = self._size * pixel_nm / (self.cutoff + float(finest))
        verdict = judge(self.layout, estimate, made.weights, moved, pixel_nm, limit_nm)
        expected_nm = max(made.weights.resolution_px * pixel_nm, limit_nm)
        return Prepared(estimate, made, verdict, expected_nm, self._sharp(frames))

    def _sharp(self, frames: Tensor) -> Tensor:
        return sectioned(frames, self.cutoff, self._sectioning) if self._sectioning else frames

    def _stilled(self, frames: Tensor) -> tuple[Tensor, float]:
        """Frames with the specimen where it is on average, and by how much it had moved."""
        field = self._estimator.field
        pictures = frames.reshape(self.layout.angles, self.layout.phases, *frames.shape[1:]).mean(1)
        moved = motion(field, torch.fft.rfft2(pictures))
        largest = largest_px(moved)
        return (stilled(frames, moved) if SEEN_PX < largest <= 2 * STILLED_PX else frames), largest

    def _estimated(self, frames: Tensor, known: Parameters | None) -> Estimate:
        """What no fringes are found in may have come in another order: tried until a stack is convincing."""
        try:
            estimate = self._estimator.run(frames, known)
        except InputError:
            self._check_order(frames)
            raise
        if convincing(estimate):
            self._order_seen = True
        else:
            self._check_order(frames)
        return estimate

    def _check_order(self, frames: Tensor) -> None:
        layout = self.layout
        if self._order_seen or layout.angles == 1 or not bool(torch.isfinite(frames).all()):
            return
        turned = frames.reshape(layout.phases, layout.angles, *frames.shape[1:]).transpose(0, 1)
        try:
            other = self._estimator.run(turned.reshape(frames.shape))
        except InputError:
            return
        if convincing(other):
            raise InputError(
                "frames look ordered angle inside phase",
                where="raw stack",
                allowed="phase by phase inside angle by angle",
                remedy="reorder the frames, or let the pattern step its phase first",
            )


def checked(raw: Counts, layout: Layout, saturation_adu: float) -> Counts:
    """The stack, if it can be worked with.

    Raises:
        InputError: wrong number or shape of frames, frames with NaN, without any structure, or saturated.
    """
    layout.split(raw)
    for number, frame in enumerate(raw):
        where = f"frame {number} of the raw stack"
        if not np.isfinite(frame).all():
            raise InputError(
                "holds values that are no numbers",
                where=where,
                allowed="finite counts",
                remedy="save the camera's counts",
            )
        if frame.min() == frame.max():
            raise InputError("all pixels are alike", where=where, remedy="check light and shutter")
        if np.mean(frame >= saturation_adu) > SATURATED_SHARE:
            raise InputError(
                "is saturated", where=where, allowed=f"below {saturation_adu:.0f} counts", remedy="less light"
            )
    return raw
