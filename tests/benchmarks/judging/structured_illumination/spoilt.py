"""Cheap wins that must not count: each is caught by the figure that is there for it, else that figure says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from scipy.ndimage import fourier_shift, gaussian_filter, zoom

from judging.bench import say
from judging.figures import Row

from .bench import Bench
from .candidates import ORACLE, Ours, Reference
from .stacks import DRAWS, Scene, Singles, Stack, made_folder, simulated, write_image

Image = npt.NDArray[Any]
Spoil = Callable[[Image, Stack, int], Image]
MOVED_PX = 0.3
TEXTURE = 0.5
ITERATIONS = 40
BOUNDS: dict[str, tuple[float, float]] = {
    "shift_px": (0.0, 0.1),
    "brightness": (0.97, 1.03),
    "truth_over_frc": (0.0, 1.1),
    "correlation_minus_oracle": (-0.005, 1.0),
    "gain_by_truth": (1.5, math.inf),
    "energy_beyond_support": (0.0, 1e-3),
    "agree_beyond_support": (0.0, 1.03),
}
"""shift_px: fine pixels; brightness: mean of the image over the raw frames'; truth_over_frc: resolution against
the truth over that between the draws, 1 for an honest image; gain_by_truth: widefield's resolution over the former;
agree_beyond_support: finest period that optics and pattern carry, over that up to which the draws agree."""


@dataclass(frozen=True, slots=True)
class Control:
    """One way to spoil and the figure that must see it."""

    name: str
    spoil: Spoil
    figure: str


def moved(image: Image, stack: Stack, draw: int) -> Image:
    """By a third of a fine pixel, to the right."""
    return np.asarray(np.fft.ifft2(fourier_shift(np.fft.fft2(image), (0.0, MOVED_PX))).real)


def brighter(image: Image, stack: Stack, draw: int) -> Image:
    """By a constant, a tenth of the mean."""
    return np.asarray(image + 0.1 * image.mean())


def blurred(image: Image, stack: Stack, draw: int) -> Image:
    """Gaussian of 1.5 fine pixels: takes noise out, and the correlation between the draws does not see it."""
    return np.asarray(gaussian_filter(image, 1.5))


def textured(image: Image, stack: Stack, draw: int) -> Image:
    """Fine grain inside the optical support, the same in both draws: both agree on what is not there."""
    noise = np.random.default_rng(0).normal(size=image.shape)
    grain = gaussian_filter(noise, 1.0) - gaussian_filter(noise, 1.6)
    return np.asarray(image + TEXTURE * image.std() * grain / grain.std())


def sharpened_widefield(image: Image, stack: Stack, draw: int) -> Image:
    """Widefield after Richardson-Lucy (JOSA 62:55, 1972; AJ 79:745, 1974).

    That light is never negative makes up for what was not seen, and on sparse threads it guesses well: finer than any
    linear method can, which gives it away.
    """
    mean: Singles = stack.electrons(draw).mean(0)
    seen = np.clip(zoom(mean, 2, order=3, mode="reflect", grid_mode=True), 1e-3, None)
    passed = lens(stack, len(seen))

    def through(picture: Image) -> Image:
        return np.fft.irfft2(np.fft.rfft2(picture) * passed, s=picture.shape)

    estimate = np.full_like(seen, seen.mean())
    for _ in range(ITERATIONS):
        estimate = estimate * through(seen / np.clip(through(estimate), 1e-6, None))
    return estimate


def wiener_widefield(image: Image, stack: Stack, draw: int) -> Image:
    """Widefield after a Wiener filter with the lens inverted up to its cut-off."""
    mean: Singles = stack.electrons(draw).mean(0)
    seen = zoom(mean, 2, order=3, mode="reflect", grid_mode=True)
    passed = lens(stack, len(seen))
    return np.fft.irfft2(np.fft.rfft2(seen) * passed / (passed**2 + 1e-3), s=seen.shape)


def lens(stack: Stack, size: int) -> Image:
    """Transfer function (size, size / 2 + 1) of the lens on the fine grid (Goodman, Fourier Optics, section 6.3)."""
    fine_nm = stack.lens["pixel_size_nm"] / 2
    cutoff = 2 * stack.lens["numerical_aperture"] / stack.lens["wavelength_nm"]
    radius = np.hypot(np.fft.rfftfreq(size, fine_nm), np.fft.fftfreq(size, fine_nm)[:, None])
    s = np.minimum(radius / cutoff, 1.0)
    return np.asarray(2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)))


CONTROLS = (
    Control("moved by 0.3 fine px", moved, "shift_px"),
    Control("a tenth brighter by a constant", brighter, "brightness"),
    Control("fixed texture invented", textured, "truth_over_frc"),
    Control("blurred by 1.5 fine px", blurred, "correlation_minus_oracle"),
    Control("widefield, Richardson-Lucy", sharpened_widefield, "agree_beyond_support"),
    Control("widefield, Wiener", wiener_widefield, "gain_by_truth"),
)


def controls(bench: Bench) -> dict[str, Any]:
    """Every control on our image of one stack in bright light, beside that image as it is."""
    scene = Scene(bench.sizes[0], max(bench.electrons), bench.seeds[0])
    with simulated(bench.evaluator, scene) as stack, made_folder() as out:
        Reference(bench.evaluator, ORACLE).reconstruct(stack, out)
        oracle = float(stack.score(out)["correlation"])
        Ours().reconstruct(stack, out)
        images = [tifffile.imread(out / f"recon_{draw}.tif") for draw in DRAWS]
        as_it_is = _figures(stack, images, oracle)
        return {**scene.row(), "rows": [_judged(stack, images, oracle, as_it_is, control) for control in CONTROLS]}


def _judged(stack: Stack, images: list[Image], oracle: float, as_it_is: Row, control: Control) -> Row:
    say(f"control: {control.name}")
    spoilt = _figures(stack, [control.spoil(images[draw], stack, draw) for draw in DRAWS], oracle)
    low, high = BOUNDS[control.figure]
    return {
        "control": control.name,
        "figure": control.figure,
        "asked": [low, None if math.isinf(high) else high],
        "as_it_is": as_it_is[control.figure],
        "spoilt": spoilt[control.figure],
        "caught": control.figure in beyond(spoilt),
        "caught_by": beyond(spoilt),
        "all_figures_spoilt": spoilt,
    }


def beyond(found: Row) -> list[str]:
    """Figures that are out of their bounds."""
    return [figure for figure, (low, high) in BOUNDS.items() if not low <= found[figure] <= high]


def _figures(stack: Stack, images: list[Image], oracle: float) -> Row:
    with made_folder() as out:
        for draw in DRAWS:
            write_image(out, draw, images[draw])
        found = stack.score(out)
    kept = ("gain", "frc_resolution_nm", "truth_resolution_nm", "correlation", "correlation_equalised", "linearity_r2")
    light = [stack.electrons(draw).mean() for draw in DRAWS]
    return {
        "shift_px": math.hypot(found["shift_right_px"], found["shift_down_px"]),
        "brightness": float(np.mean([image.mean() / mean for image, mean in zip(images, light, strict=True)])),
        "truth_over_frc": found["truth_resolution_nm"] / found["frc_resolution_nm"],
        "correlation_minus_oracle": found["correlation"] - oracle,
        "agree_beyond_support": found["support_limit_nm"] / found["frc_uncapped_nm"],
        "gain_by_truth": found["frc_widefield_nm"] / found["truth_resolution_nm"],
        **{figure: found[figure] for figure in (*kept, "energy_beyond_support")},
    }
