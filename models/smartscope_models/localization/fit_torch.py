"""The fit of round spots of known width as array code, all spots in step: for a GPU, where thousands go at once.

Same model, start and step bounds as :mod:`fit`, in float32; a spot that has converged stands still while others move.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from smartscope_models.localization.fit import (
    CONVERGED_PX,
    ITERATIONS,
    LONGEST_STEP_PX,
    STRAY,
    Doubles,
    Fits,
    window_radius,
)
from smartscope_models.localization.fit_kernels import BELL, FAINTEST, ROOT_2

Tensor = torch.Tensor


def fit_round_torch(
    light: Tensor, read: Tensor, places: Doubles, sigma_px: float, *, radius: int | None = None
) -> Fits:
    """Fit a spot at each of the places (K, 2) of light and read, (H, W) float32 on the device that is to work.

    As :func:`smartscope_models.localization.fit.fit_round` with the width fixed.
    """
    radius = window_radius(sigma_px) if radius is None else radius
    where = torch.as_tensor(places, dtype=torch.float32, device=light.device)
    windows = _Windows(light, read, where, radius)
    f = windows.start(where)
    start = f[:, :2].clone()
    steps = torch.zeros(len(f), dtype=torch.int64, device=f.device)
    moving = torch.ones(len(f), dtype=torch.bool, device=f.device)
    for _ in range(ITERATIONS):
        fisher, score = windows.normal(f, sigma_px)
        step = _bounded(torch.linalg.solve_ex(fisher, score[:, :, None])[0][:, :, 0], f)
        f = f + step * moving[:, None]
        f[:, 2:] = torch.maximum(f[:, 2:], f.new_tensor([1.0, FAINTEST]))
        steps += moving
        moving = moving & (step[:, :2].abs().sum(1) >= CONVERGED_PX)
        if not bool(moving.any()):
            break
    fisher, _ = windows.normal(f, sigma_px)
    errors = torch.linalg.inv_ex(fisher)[0].diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    strayed = ~((f[:, :2] - start).abs().sum(1) < 2 * STRAY * sigma_px)
    return _fits(f, errors, windows.agreement(f, sigma_px), steps, strayed | windows.too_small, sigma_px)


class _Windows:
    """The pixels around each place, (K, n, n); those outside the frame have weight 0."""

    def __init__(self, light: Tensor, read: Tensor, places: Tensor, radius: int) -> None:
        height, width = light.shape
        corner = torch.floor(places + 0.5).long() - radius
        steps = torch.arange(2 * radius + 1, device=light.device)
        columns, rows = corner[:, :1] + steps, corner[:, 1:] + steps
        inside_x, inside_y = (columns >= 0) & (columns < width), (rows >= 0) & (rows < height)
        pick = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
        self.too_small = (inside_x.sum(1) < 3) | (inside_y.sum(1) < 3)
        """(K,): whether too little of a window lies in the frame."""
        self._there = (inside_y[:, :, None] & inside_x[:, None, :]).to(light.dtype)
        self._noise = read[pick]
        self._light = light[pick]
        self._columns, self._rows = columns.to(light.dtype), rows.to(light.dtype)

    def start(self, places: Tensor) -> Tensor:
        """(K, 4): places, with N and b from the window's sum and its rim."""
        rim = self._there.clone()
        rim[:, 1:-1, 1:-1] = 0
        b = ((self._light * rim).sum((1, 2)) / rim.sum((1, 2)).clamp(min=1)).clamp(min=0.1)
        n = ((self._light - b[:, None, None]) * self._there).sum((1, 2)).clamp(min=10.0)
        return torch.cat([places, n[:, None], b[:, None]], 1)

    def _model(self, f: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Derivatives (K, 4, n, n) and the mean (K, n, n)."""
        (ex, dx), (ey, dy) = (_profile(q, f[:, a : a + 1], sigma) for a, q in ((0, self._columns), (1, self._rows)))
        number = f[:, 2, None, None]
        spot = ey[:, :, None] * ex[:, None, :]
        by_x, by_y = number * ey[:, :, None] * dx[:, None, :], number * dy[:, :, None] * ex[:, None, :]
        mean = (number * spot + f[:, 3, None, None] + self._noise).clamp(min=FAINTEST)
        return torch.stack([by_x, by_y, spot, torch.ones_like(spot)], 1), mean

    def normal(self, f: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Fisher information (K, 4, 4) and score (K, 4)."""
        jacobian, mean = self._model(f, sigma)
        weight = self._there / mean
        flat = jacobian.flatten(2)
        fisher = (flat * weight.flatten(1)[:, None]) @ flat.transpose(1, 2)
        residual = (self._light + self._noise - mean) * weight
        return fisher, (flat @ residual.flatten(1)[:, :, None])[:, :, 0]

    def agreement(self, f: Tensor, sigma: float) -> Tensor:
        """(K, 2): deviance, and chi-square over its degrees of freedom."""
        _, mean = self._model(f, sigma)
        data = self._light + self._noise
        chi2 = ((data - mean) ** 2 / mean * self._there).sum((1, 2))
        log = torch.where(data > 0, data * torch.log(data.clamp(min=1e-6) / mean), 0.0)
        deviance = (2 * (mean - data.clamp(min=0) + log) * self._there).sum((1, 2))
        return torch.stack([deviance, chi2 / (self._there.sum((1, 2)) - 4).clamp(min=1)], 1)


def _profile(pixel: Tensor, centre: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Share of a Gaussian in each pixel (K, n), and its derivative by the centre."""
    edges = torch.cat([pixel - 0.5, pixel[:, -1:] + 0.5], 1) - centre
    below = torch.erf(edges / (ROOT_2 * sigma))
    bell = BELL / sigma * torch.exp(-0.5 * (edges / sigma) ** 2)
    return 0.5 * (below[:, 1:] - below[:, :-1]), bell[:, :-1] - bell[:, 1:]


def _bounded(step: Tensor, f: Tensor) -> Tensor:
    """Steps cut to where the quadratic model can be right; no number is no step."""
    n, b = f[:, 2], f[:, 3]
    long = torch.full_like(n, LONGEST_STEP_PX)
    low = torch.stack([-long, -long, -0.7 * n, -0.7 * b - 1], 1)
    high = torch.stack([long, long, 2 * n + 1, 2 * b + 1], 1)
    return torch.minimum(torch.maximum(torch.nan_to_num(step), low), high)


def _fits(f: Tensor, errors: Tensor, agreement: Tensor, steps: Tensor, lost: Tensor, sigma: float) -> Fits:
    table = torch.cat([f, torch.full_like(f[:, :1], sigma), errors, torch.zeros_like(f[:, :1]), agreement], 1)
    table[lost] = math.nan
    columns = table.double().cpu().numpy()
    return Fits(columns[:, :5], columns[:, 5:10], columns[:, 10], columns[:, 11], steps.cpu().numpy().astype(np.int64))
