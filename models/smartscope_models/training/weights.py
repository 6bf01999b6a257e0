"""A denoising network's weights out of the ONNX file of a package and back; the graph stays as it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.engine import Network
from smartscope_models.engines.graph import load
from smartscope_models.engines.torch_reference import TorchEngine
from smartscope_models.training.network import Architecture, Denoiser

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-3
"""Largest difference between the ONNX file's answer and torch's, over the answer's standard deviation."""
TRIAL = (64, 96)
"""(H, W) on which they are compared."""


def read_network(network: Network) -> Denoiser:
    """The network in torch, shown to give the answers of its ONNX file.

    Raises:
        UnsupportedModel: the file holds another kind of network.
    """
    weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in _weights(load(network)).items()}
    try:
        found = Denoiser(_sizes(weights)).eval()
        found.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise _foreign(network, f"its weights are {', '.join(weights) or 'none'}") from error
    if (difference := disagreement(network, found)) > TOLERANCE:
        raise _foreign(network, f"its graph gives other answers than these weights should ({difference:.2g})")
    return found


def with_weights(network: Network, denoiser: Denoiser) -> bytes:
    """The same ONNX file with the weights of ``denoiser`` in the precision that they had."""
    from onnx import numpy_helper

    model, new = load(network), denoiser.state_dict()
    for tensor in model.graph.initializer:
        if tensor.name in new:
            kind = numpy_helper.to_array(tensor).dtype
            tensor.CopyFrom(numpy_helper.from_array(new[tensor.name].numpy().astype(kind), tensor.name))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def disagreement(network: Network, denoiser: Denoiser) -> float:
    """How far the file's answer is from torch's, on seeded noise: largest difference over the standard deviation."""
    inputs = trial_inputs(denoiser.sizes.frames)
    engine = TorchEngine(network)
    try:
        engine.warm_up({name: array.shape for name, array in inputs.items()})
        answer = engine.run(inputs)["image"]
    finally:
        engine.close()
    frames, calibration, nominal = (torch.from_numpy(array) for array in inputs.values())
    with torch.no_grad():
        own = denoiser(frames.to(torch.int32), calibration, nominal).numpy()
    return float(np.abs(answer - own).max() / max(float(own.std()), 1e-6))


def trial_inputs(frames: int) -> dict[str, Any]:
    """Seeded frames of a smooth scene, and the maps of an even camera; as the network takes them."""
    rng = np.random.default_rng(1)
    light = 20 + 15 * np.sin(np.arange(TRIAL[1]) / 5) * np.cos(np.arange(TRIAL[0]) / 7)[:, None]
    calibration = np.stack([np.full(TRIAL, value, np.float32) for value in (100.0, 0.5, 2.0)])
    return {
        "frames": (rng.poisson(light, (1, frames, *TRIAL)) / 0.5 + 100).astype(np.uint16),
        "calibration": calibration[None],
        "nominal": np.array([100.0, 2.0, 2.0], np.float32),
    }


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name.startswith("body.")}


def _sizes(weights: Mapping[str, torch.Tensor]) -> Architecture:
    """Read off the shapes; raises KeyError where a layer is missing."""

    def blocks(name: str) -> int:
        return len({key.split(".")[2] for key in weights if key.startswith(f"body.{name}.")})

    fine, inputs = weights["body.head.weight"].shape[:2]
    coarse = weights["body.down.weight"].shape[0]
    return Architecture(inputs // 4, fine, coarse, blocks("fine_out"), blocks("coarse"))


def _foreign(network: Network, why: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"cannot be tuned: {why}",
        where=network.name,
        allowed="denoisers made by smartscope_models.training",
        remedy="make one with python -m smartscope_models.training",
    )
