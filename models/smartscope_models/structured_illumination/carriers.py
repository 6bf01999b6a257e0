"""Where the fringes' frequency lies, to a fraction of a frequency step, from nothing.

Band 0 and a side band, each passed through the lens once more, are alike but for the wave between them: the transform
of their product has its peak at the carrier. Band 0 is made half as white as it could be: a specimen has most of its
power in coarse detail, which is alike by chance at many distances.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.power import Power

MIDDLE_PX = 256
"""Side of the middle of a larger field in which carriers are looked for first, or half the field where that is more."""
SURE_PEAK = 13.0
"""Height of a peak in the middle from which the whole field is not needed: more than twice what is taken for clear."""


class CarrierSearch:
    """For pictures of one size."""

    def __init__(self, field: Field) -> None:
        self.size, middle = field.size, max(field.size // 4 * 2, min(field.size, MIDDLE_PX))
        self._whole = _Part(field)
        cutoff = field.cutoff * middle / field.size
        self._middle = _Part(Field(middle, cutoff, field.device)) if middle < field.size else self._whole

    def find(
        self, frames: Tensor, row: Tensor, nearest: float, furthest: float, power: Power, noise_mean: float
    ) -> tuple[Doubles, float]:
        """Carrier (x, y) and how far its peak stands out of the median of where it was looked for.

        frames (phases + 1, N, N): those of one angle and the mean of all, of noise ``noise_mean``; row (2, phases):
        what the frames are multiplied by to give the real and the imaginary part of the side band; nearest, furthest:
        shares of the cut-off.
        """
        first = (self.size - self._middle.size) // 2
        inner = slice(first, first + self._middle.size)
        larger = self.size / self._middle.size
        even = self._middle.whitening(power, noise_mean, larger)
        carrier, peak = self._middle.find(frames[:, inner, inner], row, nearest, furthest, even)
        if self._middle is self._whole or peak > SURE_PEAK:
            return carrier * larger, peak
        return self._whole.find(frames, row, nearest, furthest, self._whole.whitening(power, noise_mean, 1.0))


class _Part:
    def __init__(self, field: Field) -> None:
        self._field, self.size = field, field.size
        overlap = torch.fft.ifft2(torch.fft.fft2(field.passed.square()).abs().square()).real
        self._fair = torch.sqrt(torch.clamp(overlap, min=1e-3 * float(overlap.max())))
        """What two unlike pictures would correlate at every distance."""

    def whitening(self, power: Power, noise: float, larger: float) -> Tensor:
        """(N, N / 2 + 1) filter of band 0; ``larger``: the field of ``power`` over this one."""
        passed, radius = self._field.half_passed, self._field.half_radius
        return passed / torch.sqrt(passed.square() * power.specimen(radius * larger) + noise)

    def find(self, frames: Tensor, row: Tensor, nearest: float, furthest: float, even: Tensor) -> tuple[Doubles, float]:
        field = self._field
        faded = frames * field.fade
        band = torch.complex(*(row @ faded[:-1].flatten(1)).reshape(2, self.size, self.size))
        one = torch.fft.irfft2(torch.fft.rfft2(faded[-1]) * even, s=faded.shape[1:])
        two = torch.fft.ifft2(torch.fft.fft2(band) * field.passed)
        strength = torch.fft.fft2(one * two).abs() / self._fair
        looked = (field.radius > nearest * field.cutoff) & (field.radius < furthest * field.cutoff)
        heights = torch.where(looked, strength, 0.0).flatten()
        at = int(torch.argmax(heights))
        row_at, column = divmod(at, self.size)
        near = [(row_at + d) % self.size for d in (-1, 0, 1)], [(column + d) % self.size for d in (-1, 0, 1)]
        down, right = strength[near[0], column].tolist(), strength[row_at, near[1]].tolist()
        place = np.array([float(field.f[column]) + vertex(right), float(field.f[row_at]) + vertex(down)])
        return place, float(heights[at] / strength[looked].median())


def vertex(three: list[float]) -> float:
    """Where between -1 and 1 a parabola through three neighbours is highest."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -1, 1)) if bend < 0 else 0.0
