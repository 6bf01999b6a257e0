"""Version folders ``NAME-tuned-1``, ``-2`` …: one for each tuning, its record and, where it was kept, a package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from smartscope.errors import InputError, UnsupportedModel
from smartscope_models.engines.engine import Network, Precision
from smartscope_models.packages import CardFacts, Examples, ModelPackage, write_package
from smartscope_models.packages.manifest import Metric, Tuned
from smartscope_models.training.network import Denoiser
from smartscope_models.training.weights import disagreement, trial_inputs, with_weights
from smartscope_models.tuning.outcome import Outcome
from smartscope_models.tuning.request import Request

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference of a written network from the tuned one, over the standard deviation of its answer."""


def write_tuned(folder: Path, base: ModelPackage, network: Denoiser, outcome: Outcome, request: Request) -> None:
    """The package of a tuned network: ``base`` with other weights in all of its files.

    Raises:
        UnsupportedModel: a file does not give the answers of the tuned network.
    """
    files: dict[Precision, bytes] = {}
    for precision, file in base.networks.items():
        files[precision] = with_weights(file, network)
        difference = disagreement(Network.of(f"{base.manifest.name}, tuned, {precision}", files[precision]), network)
        if not difference <= TOLERANCE[precision]:
            raise UnsupportedModel(
                f"the tuned weights give other answers in its {precision} file ({difference:.2g})",
                where=base.manifest.name,
                allowed=f"<= {TOLERANCE[precision]:g}",
                remedy="report this; the untuned network goes on",
            )
    assert outcome.before is not None
    assert outcome.after is not None
    loss = outcome.after.loss, outcome.before.loss
    data = f"held-out places of {request.frames.name}"
    tuned = Tuned(base_sha256=base.sha256, frames=request.frames.name, seed=request.seed, steps=outcome.steps)
    figures = (Metric(name="held-out loss", value=loss[0], baseline=loss[1], baseline_name="before tuning", data=data),)
    manifest = base.manifest.model_copy(update={"tuned": tuned, "metrics": figures})
    write_package(folder, manifest, files, _examples(network), _facts(request))


def _examples(network: Denoiser) -> Examples:
    inputs = trial_inputs(network.sizes.frames)
    frames, calibration, nominal = (torch.from_numpy(inputs[key]) for key in ("frames", "calibration", "nominal"))
    with torch.no_grad():
        image = network(frames.to(torch.int32), calibration, nominal).numpy()
    return Examples(inputs, {"image": np.ascontiguousarray(image)})


def _facts(request: Request) -> CardFacts:
    return CardFacts(
        summary="Tuned at the microscope to the sample that was on it, and kept because it was better there.",
        data=f"Raw frames of {request.frames.name}: each learnt from those just before and after it. Only the last"
        " layers were changed; `tuning.json` has every figure before and after.",
        failure_modes=(
            "It knows one sample, its light and its optics: for another one take the package that it was made of.",
            "Whatever the package that it was made of is not to be believed in.",
        ),
    )


def next_version(output: Path, name: str) -> int:
    """One more than the highest that is there."""
    pattern = re.compile(re.escape(name) + r"-tuned-(\d+)")
    found = [int(match[1]) for path in output.iterdir() if (match := pattern.fullmatch(path.name))]
    return 1 + max(found, default=0)


def put_in_place(draft: Path, output: Path, name: str) -> Path:
    """The finished draft under the next free number.

    Raises:
        InputError: the folder cannot be written.
    """
    for _ in range(100):  # another tuning may take the same number at the same moment
        target = output / f"{name}-tuned-{next_version(output, name)}"
        try:
            draft.rename(target)
            return target
        except OSError as error:
            if not target.exists():
                raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from error
    raise InputError("no number is free", where=str(output), remedy="name another folder")
