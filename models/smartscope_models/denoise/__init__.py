"""Denoisers behind the ``Model`` port."""

from smartscope_models.denoise.denoiser import VarianceStabilisedDenoiser

__all__ = ["VarianceStabilisedDenoiser"]
