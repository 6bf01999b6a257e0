"""Arithmetic that a BioImage Model Zoo package wants done around its network, on the host, in float32.

Formulas: bioimage.io model description 0.5, ``PreprocessingDescr`` and ``PostprocessingDescr``. Every figure is taken
over the whole image, since images here have one channel and one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope_models.calibration import Floats

Figures = Mapping[str, float]
Line = tuple[float, float]
"""Gain and offset of image · gain + offset."""
Image = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One named step and its figures."""

    name: str
    """``clip``, or a key of ``LINEAR``."""
    figures: Figures


@dataclass(frozen=True, slots=True)
class HostSteps:
    """What is done before and after the network; empty where the network does everything itself."""

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    @property
    def rescales_after(self) -> bool:
        """Whether a later step sets the scale of the output; clipping does not."""
        return any(step.name != "clip" for step in self.after)


def prepare(steps: Sequence[Step], image: Image) -> tuple[Floats, Line]:
    """``image`` after the steps, float32, and the line from the image to it (clipping left out)."""
    return _run(steps, image, image)


def finish(steps: Sequence[Step], output: Image, image: Image) -> Floats:
    """``output`` of the network after the steps; ``image`` is what went into the steps before the network."""
    return _run(steps, output, image)[0]


def undo(output: Floats, line: Line) -> Floats:
    """``output`` brought back to the scale before ``line``."""
    gain, offset = line
    return (output - np.float32(offset)) / np.float32(gain)


def _run(steps: Sequence[Step], image: Image, reference: Image) -> tuple[Floats, Line]:
    values: Floats = np.array(image, np.float32)
    gain, offset = 1.0, 0.0
    for step in steps:
        if step.name == "clip":
            values = np.clip(values, step.figures["min"], step.figures["max"])
            continue
        a, b = LINEAR[step.name](values, step.figures, reference)
        # in this order, an image without contrast stays exact: what is subtracted is then its only value
        values = (values - np.float32(-b / a)) * np.float32(a)
        gain, offset = gain * a, offset * a + b
    return values, (gain, offset)


def _fixed(values: Image, figures: Figures, reference: Image) -> Line:
    scale = figures["std"] + figures.get("eps", 0.0)
    return 1 / scale, -figures["mean"] / scale


def _normalise(values: Image, figures: Figures, reference: Image) -> Line:
    mean, std = _moments(values)
    return 1 / (std + figures["eps"]), -mean / (std + figures["eps"])


def _match(values: Image, figures: Figures, reference: Image) -> Line:
    (mean, std), (wanted_mean, wanted_std) = _moments(values), _moments(reference)
    gain = (wanted_std + figures["eps"]) / (std + figures["eps"])
    return gain, wanted_mean - mean * gain


def _range(values: Image, figures: Figures, reference: Image) -> Line:
    low, high = np.percentile(values, (figures["min_percentile"], figures["max_percentile"]))
    scale = float(high - low) + figures["eps"]
    return 1 / scale, -float(low) / scale


def _moments(values: Image) -> Line:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


LINEAR: Mapping[str, Callable[[Image, Figures, Image], Line]] = {
    "scale_linear": lambda values, figures, reference: (figures["gain"], figures["offset"]),
    "fixed_zero_mean_unit_variance": _fixed,
    "zero_mean_unit_variance": _normalise,
    "scale_range": _range,
    "scale_mean_variance": _match,
}
"""(image, figures, image before the network) → the line to apply."""
