"""The part of a network that is tuned, its last block and tail; what goes before them runs once per image."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope_models.training.network import Body, Denoiser


class LastLayers(nn.Module):
    """Features → noise. No layer has a bias, nor gets one, so that the network stays homogeneous."""

    def __init__(self, body: Body) -> None:
        """Copies of the layers of ``body``, which stays as it is."""
        super().__init__()
        self.block = copy.deepcopy(body.fine_out[-1:])
        self.tail = copy.deepcopy(body.tail)
        self.scale = nn.Parameter(torch.ones(()))
        """Of all noise that is taken out; goes into the tail in the end."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) → the noise, (B, 1, 2h, 2w)."""
        return self.scale * functional.pixel_shuffle(self.tail(self.block(features)), 2)

    def into(self, network: Denoiser) -> Denoiser:
        """A copy of ``network`` with these layers in it."""
        tuned = copy.deepcopy(network)
        with torch.no_grad():
            tuned.body.fine_out[-1:].load_state_dict(self.block.state_dict())
            tuned.body.tail.weight.copy_(self.scale * self.tail.weight)
        return tuned


def features(body: Body, contrast: Tensor) -> Tensor:
    """What the last layers see, (B, C, H/2, W/2), of stabilised frames (B, T, H, W) without their level."""
    with torch.no_grad():
        fine: Tensor = body.fine_in(body.head(functional.pixel_unshuffle(contrast, 2)))
        coarse = body.coarse(body.down(fine))
        seen: Tensor = body.fine_out[:-1](fine + functional.pixel_shuffle(body.up(coarse), 2))
    return seen
