"""The network that localises in crowds: a stem for each frame, whose answers are kept, and a body over three of them.

It works on 2 x 2 pixels at a time; each pixel has a probability that a molecule lies in it, where, how bright, and how
sure that is. Probability and mixture of Gaussians after Speiser et al., Nat Methods 18:1082 (2021). No operator gathers
or scatters, so that every engine runs it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope_models.localization.sight import CONDITIONS

FLAT_HEADS = ("probability", "x", "y", "photons", "x_error", "y_error", "photons_error", "background")
DEEP_HEADS = (*FLAT_HEADS, "z", "z_error")
LEAST_ERROR = 0.005
"""Pixels, and units of the logarithm of photons."""
REACH_PX = 1.5
"""A pixel may answer for a molecule so far from its centre, along each axis."""


@dataclass(frozen=True, slots=True)
class LocalizerSizes:
    """Sizes of the network."""

    stem: int = 32
    """Channels of a frame's answer, at half resolution."""
    body: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 1)
    """Of the first convolution of each block."""
    deep: bool = False
    """Whether heights are told."""

    @property
    def heads(self) -> tuple[str, ...]:
        """What is said of each pixel, in the order of the channels."""
        return DEEP_HEADS if self.deep else FLAT_HEADS


class DilatedBlock(nn.Module):
    """h + conv(silu(conv(silu(h))))."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(self.second.weight, std=0.1 * math.sqrt(2 / (9 * channels)))

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, h, w) → the same."""
        out: Tensor = h + self.second(functional.silu(self.first(functional.silu(h))))
        return out


class Stem(nn.Module):
    """One frame (B, 1, H, W) → (B, stem, H/2, W/2)."""

    def __init__(self, sizes: LocalizerSizes) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, sizes.stem, 3, padding=1, bias=False)
        self.second = nn.Conv2d(sizes.stem, sizes.stem, 3, padding=1, bias=False)

    def forward(self, frame: Tensor) -> Tensor:
        """H and W are even."""
        return self.of_cells(functional.pixel_unshuffle(frame, 2))

    def of_cells(self, cells: Tensor) -> Tensor:
        """The same from (B, 4, H/2, W/2)."""
        out: Tensor = self.second(functional.silu(self.first(cells)))
        return out


class Localizer(nn.Module):
    """What is exported: the newest frame and the stems of the two before → maps, and the newest's stem."""

    def __init__(self, sizes: LocalizerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.stem = Stem(sizes)
        self.begin = nn.Conv2d(3 * sizes.stem, sizes.body, 3, padding=1, bias=False)
        self.told = nn.Linear(CONDITIONS, sizes.body)
        self.blocks = nn.Sequential(*[DilatedBlock(sizes.body, dilation) for dilation in sizes.dilations])
        self.end = nn.Conv2d(sizes.body, sizes.body, 3, padding=1, bias=False)
        self.head = nn.Conv2d(sizes.body, 4 * len(sizes.heads), 1)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)
        nn.init.normal_(self.head.weight, std=0.02)
        assert self.head.bias is not None
        with torch.no_grad():
            first = dict(zip(sizes.heads, torch.zeros(len(sizes.heads)).tolist(), strict=True))
            first |= {"probability": -5.0, "photons": 6.5, "x_error": 2.5, "y_error": 2.5, "photons_error": 2.0}
            self.head.bias.copy_(torch.tensor([first[name] for name in sizes.heads]).repeat_interleave(4))

    def features(self, stems: Tensor, conditions: Tensor) -> Tensor:
        """(B, 3 stem, h, w) oldest first, (B, CONDITIONS) → (B, 4 heads, h, w), raw."""
        return self._features(stems, self.told(conditions)[:, :, None, None])

    def _features(self, stems: Tensor, told: Tensor) -> Tensor:
        h = self.begin(stems) + told
        out: Tensor = self.head(functional.silu(self.end(functional.silu(self.blocks(h)))))
        return out

    def forward(self, cells: Tensor, earlier: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Newest frame as cells of 2 x 2 pixels (B, 4, h, w), stems of the two before (B, 2 stem, h, w), oldest first.

        Maps (B, 4 heads, h, w), the four pixels of a cell under each other, and the newest frame's stem.
        """
        stem = self.stem.of_cells(cells.to(self.head.weight.dtype))
        # as a convolution: TensorRT for RTX has no float32 product of matrices on Turing
        asked = conditions.to(stem.dtype)[:, :, None, None]
        told = functional.conv2d(asked, self.told.weight[:, :, None, None], self.told.bias)
        raw = self._features(torch.cat([earlier.to(stem.dtype), stem], dim=1), told)
        return answers_of(raw.to(torch.float32), self.sizes.deep), stem.to(torch.float32)


def heads_of(raw: Tensor, deep: bool) -> Tensor:
    """Raw (B, 4 heads, h, w) → maps (B, heads, 2h, 2w) in the order of ``LocalizerSizes.heads``."""
    return functional.pixel_shuffle(answers_of(raw, deep), 2)


def answers_of(raw: Tensor, deep: bool) -> Tensor:
    """Raw (B, 4 heads, h, w) → the same in units.

    Probability 0 to 1; x, y from the pixel's centre in pixels; photons and its error as a logarithm; background as
    shown, less the level; z in ``Z_UNIT_NM``; errors are one standard deviation.
    """
    parts = [
        torch.sigmoid(raw[:, :4]),
        REACH_PX * torch.tanh(raw[:, 4:12]),
        raw[:, 12:16],
        LEAST_ERROR + functional.softplus(raw[:, 16:28] - 2.0),
        raw[:, 28:32],
    ]
    if deep:
        parts += [raw[:, 32:36], LEAST_ERROR + functional.softplus(raw[:, 36:40] - 1.0)]
    return torch.cat(parts, dim=1)
