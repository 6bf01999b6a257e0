"""Out-of-focus light taken out of the raw frames: it lies where the lens passes coarse detail alone.

Every band carries it at its own lowest frequencies, which is where it lies in a raw frame; there, and nowhere else, it
is damped. What a band loses there of the specimen is filled by its neighbours (O'Holleran and Shaw, Biomed. Opt.
Express 5:2580 (2014)). Not for measuring brightness: background is what it removes.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 0.125
"""Share of the cut-off at which damping has fallen to 1/√e."""
MARGIN_PX = 16
"""Mirrored beyond each side, so that the far one does not come in."""


def sectioned(frames: Tensor, cutoff: float, strength: float) -> Tensor:
    """(frames, N, N) → the same; cutoff in cycles per field, strength from 0 (nothing) to 1 (all coarse light)."""
    size, whole = frames.shape[-1], frames.shape[-1] + 2 * MARGIN_PX
    wide = torch.nn.functional.pad(frames[None], (MARGIN_PX,) * 4, mode="reflect")[0]
    per_field = size / whole
    rows, columns = (
        axis(whole, 1 / whole, device=frames.device) * per_field for axis in (torch.fft.fftfreq, torch.fft.rfftfreq)
    )
    coarse = torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * (REACH * cutoff) ** 2))
    left: Tensor = torch.fft.irfft2(torch.fft.rfft2(wide) * (1 - strength * coarse), s=(whole, whole))
    inner = slice(MARGIN_PX, MARGIN_PX + size)
    return left[:, inner, inner].contiguous()
