"""The spline point spread function in torch, for training and for CUDA: the same light, differentiable in everything.

A cubic B-spline is B(t) = (max(2 - |t|, 0)^3 - 4 max(1 - |t|, 0)^3) / 6, so that each axis is a small matrix of weights
and a spot a product of three of them: no gather, no scatter, and gradients by themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smartscope.optics.point_spread.spline import SplinePointSpread


class SplineLight(nn.Module):
    """Light of molecules in pixels; see :class:`smartscope.optics.point_spread.spline.SplinePointSpread`."""

    weights: Tensor

    def __init__(self, spline: SplinePointSpread, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(spline.weights, dtype=dtype))
        self._low_nm, self._step_nm, self._oversampling = spline.low_nm, spline.step_nm, spline.oversampling

    def forward(self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        """Molecules (N,) of unit light on grids of ``shape``, (N, H, W); the centre of the top-left pixel is (0, 0).

        A height beyond those of the spline is taken for its end.
        """
        deep, tall, wide = self.weights.shape
        z = ((z_nm - self._low_nm) / self._step_nm).clamp(0, deep - 3)
        planes = torch.tensordot(_reach(z[:, None], deep), self.weights, dims=([2], [0]))[:, 0]
        down = _reach(self._nodes(y_px, shape[0], tall), tall)
        along = _reach(self._nodes(x_px, shape[1], wide), wide)
        light: Tensor = down @ planes @ along.transpose(1, 2)
        return light

    def _nodes(self, place_px: Tensor, pixels: int, count: int) -> Tensor:
        """Where the centres of the pixels lie among the nodes, (N, pixels)."""
        away = torch.arange(pixels, device=place_px.device) - place_px[:, None]
        return self._oversampling * away + (count - 3) / 2


def _reach(places: Tensor, count: int) -> Tensor:
    """Of the B-splines of nodes -1 .. count - 2 at places (N, P): (N, P, count)."""
    away = (places[:, :, None] - torch.arange(-1, count - 1, device=places.device)).abs()
    return ((2 - away).clamp(min=0) ** 3 - 4 * (1 - away).clamp(min=0) ** 3) / 6
