"""Reconstructed stacks on disk, as a network is shown them, beside what it should make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.power import Power, measure_power
from smartscope_models.structured_illumination.preview import Preview
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.views import CHANNELS, Information, Views
from smartscope_models.structured_illumination.weights import bands_of, widefield_variance
from smartscope_models.training.fringes import Stack, draw_stack
from smartscope_models.training.stack_recipe import StackRecipe

Halves = npt.NDArray[np.float16]
DRAWS = 2
LARGEST = 3e4
"""What half precision holds."""


def shown(stack: Stack, preview: bool = False) -> npt.NDArray[np.float32]:
    """(DRAWS, CHANNELS + 1, 2N, 2N): the views of each draw, and the truth in the unit of the first view."""
    field = Field(stack.frames.shape[-1], stack.cutoff)
    return np.stack([_one(stack, frames, field, preview).numpy() for frames in stack.frames])


def _one(stack: Stack, frames: Tensor, field: Field, preview: bool) -> Tensor:
    power = power_of(frames, field)
    image, known = (_preview if preview else _whole)(stack, frames, power)
    views, unit, level = Views(known).of(image)
    return torch.cat([views[0], ((stack.truth_e - level) / unit)[None]])


def _whole(stack: Stack, frames: Tensor, power: Power) -> tuple[Tensor, Information]:
    made = Reconstruction(stack.layout, frames.shape[-1], stack.cutoff, stack.known, power)
    bands, variance_zero = bands_of(stack.known, made.padding), widefield_variance(stack.known)
    return made.full(frames), Information.of(bands, made.padding, stack.cutoff, power, variance_zero)


def _preview(stack: Stack, frames: Tensor, power: Power) -> tuple[Tensor, Information]:
    made = Preview(stack.layout, frames.shape[-1], stack.cutoff, stack.known, power)
    return made.image(frames[:: stack.layout.phases]), made.known


def power_of(frames: Tensor, field: Field) -> Power:
    """As ``Estimator`` measures it."""
    pictures = (frames - frames.mean((1, 2), keepdim=True)) * field.fade
    return measure_power(field, torch.fft.rfft2(pictures.mean(0)), len(frames))


@contextmanager
def stack_bank(recipe: StackRecipe, folder: Path | None, say: Callable[[str], None]) -> Iterator[Halves]:
    """(stacks, DRAWS, CHANNELS + 1, H, W) float16 on disk: drawn anew, or what an earlier call left in ``folder``."""
    with tempfile.TemporaryDirectory() as passing:
        place = Path(passing) if folder is None else folder
        path = place / f"stacks_{recipe.name}_{recipe.seed}_{recipe.stacks}_{recipe.raw_px}.npy"
        if not path.exists():
            _fill(path, recipe, say)
        yield np.load(path, mmap_mode="r")


def _fill(path: Path, recipe: StackRecipe, say: Callable[[str], None]) -> None:
    edge = 2 * recipe.raw_px
    shape = (recipe.stacks, DRAWS, CHANNELS + 1, edge, edge)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    bank = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float16, shape=shape)
    for k in range(recipe.stacks):
        stack = draw_stack((recipe.seed, k), recipe.raw_px)
        bank[k] = np.clip(shown(stack, recipe.preview), -LARGEST, LARGEST)
        if k % 200 == 0:
            say(f"stack {k} of {recipe.stacks}")
    bank.flush()
    draft.replace(path)
