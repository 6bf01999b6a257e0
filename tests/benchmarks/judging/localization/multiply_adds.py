"""Multiply-adds of a network, counted while it runs: convolutions and matrix products, without biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def multiply_adds(network: nn.Module, run: Callable[[], object]) -> dict[str, int]:
    """Name of each layer → multiply-adds of all its calls while ``run()`` runs ``network``."""
    counts: dict[str, int] = {}
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            hooks.append(layer.register_forward_hook(_counting(name, counts)))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def parameters(network: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(value.numel() for value in network.parameters())


def _counting(name: str, counts: dict[str, int]) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    def hook(layer: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        counts[name] = counts.get(name, 0) + _of(layer, given[0], made)

    return hook


def _of(layer: nn.Module, given: Tensor, made: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return made.numel() * layer.in_features
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    height, width = layer.kernel_size
    if isinstance(layer, nn.ConvTranspose2d):  # each input number is spread over a kernel
        return given.numel() * layer.out_channels // layer.groups * height * width
    return made.numel() * layer.in_channels // layer.groups * height * width
