"""What a network is shown of a reconstruction: noise of one kind everywhere, whatever the light, lens and camera.

Noise of a linear reconstruction differs by frequency (each band has its own) and by place (shot noise). The first is
undone by a filter that follows from the weights of the bands, the second by the image itself, which is the light.
What the network answers counts only as far as the data bear it out: detail that no data speak of, however likely,
would repeat from stack to stack without being there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.transfer import frequencies, lens, transfer
from smartscope_models.structured_illumination.weights import Band

CHANNELS = 3
FAINT = 0.02
"""Signal over noise at which the second view begins to fade: where there is nothing but noise it need not be shown."""
THIN = 0.02
"""Of the lens; what the reconstruction damped further is not brought back."""
BORNE_OUT = 0.08
"""Signal over noise at which the linear image takes over from the network. On simulated filaments, tubules and puncta
in 20 to 1000 electrons the resolution against the truth is then within 4 % of that between two stacks (8 % at 0.05);
without a limit networks show finer detail, but the same wrong one twice."""
STEEPNESS = 4
RINGS = 15
"""Over which the power of the data is averaged to tell it from the noise."""
LEFT_OUT_PX, SOFT_EDGE_PX = 10, 10
"""Raw pixels at the field's edge that do not count for that."""
SOFT_PX = 1.5
"""Standard deviation, raw pixels, over which light is averaged to tell its noise."""
QUIETEST = 0.2
"""Least error expected, over the noise of the mean raw frame; an empty field would promise none."""
DARKEST = 0.2
"""Least variance of the noise over its mean in the field."""


@dataclass(frozen=True, slots=True)
class Information:
    """What data say of each frequency of the fine image, as a half-spectrum (2P, P + 1) float64."""

    padding: Padding
    radius: Tensor
    """Cycles per raw field."""
    total: Tensor
    """Σ transfer² / noise of all bands, 1 / electrons²."""
    specimen: Tensor
    """Power per raw pixel, electrons²."""
    passed: Tensor
    """The lens of twice the aperture through which the image is shown."""
    noise: float
    """Variance of a raw frame's noise, mean over the field."""

    @classmethod
    def of(cls, bands: list[Band], padding: Padding, cutoff: float, power: Power, variance_zero: float) -> Information:
        """Of bands after separation; ``variance_zero``: of band 0, over that of a raw frame."""
        per_field = padding.size / padding.whole
        fx = frequencies(2 * padding.whole, per_field)[: padding.whole + 1].abs()
        fy = frequencies(2 * padding.whole, per_field)
        radius = torch.hypot(fx[None, :], fy[:, None])
        total = transfer(fx, fy, cutoff, padding.size).square() / variance_zero
        for band in bands:
            for way in (1, -1):
                there = fx - way * band.whole[0], fy - way * band.whole[1]
                total += (band.modulation * transfer(*there, cutoff, padding.size)).square() / band.variance
        reach = cutoff + max(float(torch.hypot(*torch.tensor(band.whole))) for band in bands)
        return cls(padding, radius, total / power.noise, power.specimen(radius), lens(radius, reach), power.noise)

    @property
    def snr(self) -> Tensor:
        """Power of the specimen over that of the noise, both as seen by the best linear filter."""
        return self.specimen * self.total

    def mean_over_frequencies(self, density: Tensor) -> float:
        """Variance of an image of that spectral density per raw pixel."""
        twice = torch.full((density.shape[1],), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        return float((density * twice).sum()) / self.padding.whole**2


class Views:
    """From images of one size under fixed fringes to what the network is shown, and back."""

    def __init__(self, known: Information, device: str = "cpu") -> None:
        self._known, self._fine = known, 2 * known.padding.size
        snr, total = known.snr, known.total
        white = torch.sqrt(total) * (snr + 1) / ((snr + FAINT) * torch.clamp(known.passed, min=THIN))
        self._white = torch.where(known.passed > 0, white, torch.zeros_like(white)).to(device, torch.float32)
        soft = torch.exp(-2 * (torch.pi * SOFT_PX / known.padding.size * known.radius) ** 2)
        self._soft = soft.to(device, torch.float32)
        self._widefield_deviation = float(known.total.max()) ** -0.5
        expected = known.mean_over_frequencies(known.passed.square() * known.specimen / (1 + snr)) ** 0.5
        self._snr = torch.clamp(snr, min=1e-9).to(device, torch.float32)
        fade = torch.where(known.passed > 0, snr / (snr + FAINT) * torch.clamp(known.passed / THIN, max=1.0), 0.0)
        self._fade = fade.square().to(device, torch.float32)
        self._ring = torch.round(known.radius).to(device, torch.int64)
        self.error_e = max(expected, QUIETEST * self._widefield_deviation)
        """Expected root mean square error of the image, electrons per raw pixel and frame."""
        self._columns = _wide(known.padding).sources().to(device)
        self._window = _window(known.padding).to(device)
        self._inside = slice(2 * known.padding.before, 2 * known.padding.before + self._fine)

    def of(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(2N, 2N) image → (1, 3, 2N, 2N) views; (2N, 2N) electrons of a unit in the first; () the level taken out.

        The views: the image over its expected error; the data with white noise of density 1 per raw pixel; the square
        root of the local ratio of light to noise. In the first two the noise is divided by what shot noise makes of it
        from place to place.
        """
        level = image.mean()
        spectrum = self._spectrum(image - level)
        light, white = (self._back(spectrum * weight) for weight in (self._soft, self._white))
        spread = torch.sqrt(self._variance(light, level))
        unit = self.error_e * spread
        strength = torch.clamp(light + level, min=0.0) / (self._widefield_deviation * spread)
        return torch.stack([(image - level) / unit, white / spread, torch.sqrt(strength)])[None], unit, level

    def joined(self, image: Tensor, answer: Tensor) -> Tensor:
        """The linear image and what a network made of it, (2N, 2N) electrons; the latter where data bear it out.

        Elsewhere the linear image stays, filtered anew where its data hold less than was expected.
        """
        level = image.mean()
        linear, quiet = self._spectrum(image - level), self._spectrum(answer - level)
        found = self._found_over_expected(linear)
        snr = self._snr * found
        linear *= found * (1 + self._snr) / (1 + snr)
        borne_out = 1 / (1 + (BORNE_OUT / snr) ** STEEPNESS)
        return self._back(torch.lerp(linear, quiet, borne_out.to(linear.dtype))) + level

    def _found_over_expected(self, spectrum: Tensor) -> Tensor:
        """(2P, P + 1) at most 1, alike in each ring: power of the data beside their noise over what was expected of it.

        Specimens whose power falls faster than their power law are thus not believed to hold what they do not.
        """
        inner = torch.zeros_like(self._window)
        inner[self._inside, self._inside] = self._back(spectrum * self._white)
        power = torch.fft.rfft2(inner * self._window).abs().square() / (4 * self._window.square().sum())
        noise, expected = self._in_rings(self._fade), self._in_rings(self._fade * self._snr)
        doubt = noise / torch.sqrt(self._in_rings(torch.ones_like(power)) * RINGS)
        found = torch.clamp(self._in_rings(power) - noise + doubt, min=0.0) / torch.clamp(expected, min=1e-30)
        return torch.clamp(found, 1e-6, 1.0)[self._ring]

    def _in_rings(self, values: Tensor) -> Tensor:
        """Sums over rings of one cycle per field, each with its neighbours."""
        sums = torch.bincount(self._ring.flatten(), values.flatten().to(torch.float64))
        around = torch.nn.functional.avg_pool1d(sums[None, None], RINGS, 1, RINGS // 2, count_include_pad=False)[0, 0]
        return around.to(torch.float32)

    def _spectrum(self, image: Tensor) -> Tensor:
        """Half-spectrum (2P, P + 1) of the mirrored image."""
        found: Tensor = torch.fft.rfft2(image[self._columns][:, self._columns])
        return found

    def _variance(self, light: Tensor, level: Tensor) -> Tensor:
        """(2N, 2N) of the noise over its mean: what is not read noise goes with the light."""
        shot = 1 / torch.clamp(level, min=self._known.noise)
        return torch.clamp(1 + light * shot, min=DARKEST)

    def _back(self, spectrum: Tensor) -> Tensor:
        size = spectrum.shape[0]
        found: Tensor = torch.fft.irfft2(spectrum, s=(size, size))[self._inside, self._inside]
        return found


def _window(padding: Padding) -> Tensor:
    """(2P, 2P) float32: 1 inside, 0 as far from the field's edge as a filter carries what is beyond it."""
    place = torch.arange(2 * padding.whole) + 0.5 - 2 * padding.before
    from_edge = torch.minimum(place, 2 * padding.size - place) / 2
    line = torch.sin(torch.pi / 2 * torch.clamp((from_edge - LEFT_OUT_PX) / SOFT_EDGE_PX, 0.0, 1.0)) ** 2
    return line[:, None] * line[None, :]


def _wide(padding: Padding) -> Padding:
    return Padding(2 * padding.size, 2 * padding.before, 2 * padding.after)
