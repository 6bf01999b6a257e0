"""Real three-beam stacks of microtubules in normal and low light, against the reconstruction that came with them.

    python -m judging.dlsim FOLDER      (tests/benchmarks on the path; FOLDER holds HE_X2, LE_X2 and HER.tif)

The raw frames were enlarged twofold: half their spectrum is empty and is cut off. Of the lens nothing is told but the
frequency where its spectrum ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
import torch

from smartscope.optics.pattern_layout import Layout
from smartscope_models.resolution import ring_resolution
from smartscope_models.structured_illumination.low_light import LowLight
from smartscope_models.structured_illumination.stack import StackReconstructor
from smartscope_models.structured_illumination.transfer import Optics

Image = npt.NDArray[np.float64]

FRAMES, SIZE = 15, 128
REFERENCE = "HER.tif"
LAYOUT = Layout(3, 5, 3)
OPTICS = Optics(numerical_aperture=1.25, emission_nm=500.0, pixel_size_nm=50.0)
"""Stands for a cut-off of a quarter of a cycle per pixel; lengths in nm mean nothing here."""
SECTIONING = 0.9
BORDER = 16
REACH_PX = 2.0


def stack(folder: Path, name: str) -> npt.NDArray[np.float32]:
    """(15, 128, 128) counts above the darkest percent."""
    raw = [tifffile.imread(folder / f"{name}_X2" / f"{name}_{k:02d}.tif").astype(float) for k in range(FRAMES)]
    small = np.stack([halved(frame) for frame in raw])
    return np.asarray(small - np.percentile(small, 1), np.float32)


def halved(frame: Image) -> Image:
    """(2N, 2N) → (N, N): the inner quarter of the spectrum, over the same field."""
    count = len(frame) // 2
    kept = np.fft.fftfreq(count, 1 / count).astype(int)
    centred = np.exp(0.5j * np.pi * kept / count)  # a coarse pixel's centre lies a quarter of it further in
    spectrum = np.fft.fft2(frame)[np.ix_(kept, kept)] * centred[:, None] * centred
    return np.asarray(np.fft.ifft2(spectrum).real / 4)


def registered(image: Image, target: Image) -> Image:
    """``image`` moved to where it fits best, to a tenth of a pixel: the two were made with origins of their own."""
    f = np.fft.fftfreq(len(image))
    spectrum = np.fft.fft2(image - image.mean())
    product = np.fft.fft2(target - target.mean()) * spectrum.conj()
    steps = np.arange(-REACH_PX, REACH_PX + 0.05, 0.1)
    waves = np.exp(2j * np.pi * steps[:, None] * f)
    row, column = np.unravel_index(np.argmax((waves @ product @ waves.T).real), (len(steps),) * 2)
    turn = np.exp(-2j * np.pi * (steps[row] * f[:, None] + steps[column] * f))
    return np.asarray(np.fft.ifft2(spectrum * turn).real)


def judged(image: Image, target: Image) -> dict[str, float]:
    """Correlation inside the border, and the ring, in cycles per field, where the ring correlation falls to 1/7."""
    moved = registered(image.astype(float), target)
    inner = slice(BORDER, -BORDER)
    likeness = np.corrcoef(moved[inner, inner].ravel(), target[inner, inner].ravel())[0, 1]
    return {"correlation": float(likeness), "cutoff_ring": len(target) / ring_resolution(moved, target, len(target))}


def measure(folder: Path) -> dict[str, dict[str, object]]:
    """Widefield, ours and ours with the shipped network for both stacks."""
    target = tifffile.imread(folder / REFERENCE).astype(float)
    network = LowLight(engine="onnxruntime")
    found: dict[str, dict[str, object]] = {}
    for name in ("HE", "LE"):
        frames = stack(folder, name)
        for share in (0.0, SECTIONING):
            made = StackReconstructor(LAYOUT, SIZE, OPTICS, sectioning=share).run(torch.from_numpy(frames))
            found[f"{name} sectioning {share}"] = {"verdict": made.verdict.state, **judged(made.image, target)}
            network.expect(SIZE, OPTICS.cutoff_per_px * SIZE, made.estimate.parameters, made.estimate.power)
            quiet = network.apply(torch.from_numpy(made.image))
            found[f"{name} sectioning {share}, network"] = dict(judged(quiet, target))
        found[f"{name} widefield"] = dict(judged(np.kron(frames.mean(0), np.ones((2, 2))), target))
    return found


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1])), indent=2))
