"""From trained weights to the two ONNX files of a package: float32 throughout, and with a float16 body."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.engine import Precision
from smartscope_models.engines.graph import with_uint16_frames
from smartscope_models.localization.sight import CONDITIONS
from smartscope_models.training.detector import Detector
from smartscope_models.training.localizer import Localizer
from smartscope_models.training.network import Denoiser
from smartscope_models.training.refiner import Refiner

OPSET = 17
OPEN_AXES = ("height", "width")


def onnx_files(network: Denoiser) -> dict[Precision, bytes]:
    """By precision, ``fp32`` and ``fp16``, with uint16 frames; equal weights give equal bytes."""
    half = copy.deepcopy(network)
    half.body.half()
    return {"fp32": _denoiser(network), "fp16": _denoiser(half)}


def refiner_files(network: Refiner) -> dict[Precision, bytes]:
    """The same of a network for structured illumination."""
    half = copy.deepcopy(network)
    half.body.half()
    return {"fp32": _refiner(network), "fp16": _refiner(half)}


def localizer_files(network: Localizer) -> dict[Precision, bytes]:
    """The same of a network that localises; heights and widths are those of cells."""
    return {"fp32": _localizer(network), "fp16": _localizer(copy.deepcopy(network).half())}


def detector_files(network: Detector) -> dict[Precision, bytes]:
    """The same of a network that detects; heights and widths are those of cells of 2 x 2 pixels."""
    half = copy.deepcopy(network).half()
    half.calibration = network.calibration
    return {"fp32": _detector(network), "fp16": _detector(half)}


def _detector(network: Detector) -> bytes:
    outputs = ("places", "objects", "depths")
    model = _exported(network, {"cells": torch.zeros(1, 8, 32, 48)}, outputs)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _localizer(network: Localizer) -> bytes:
    inputs = {
        "cells": torch.zeros(1, 4, 32, 48),
        "earlier": torch.zeros(1, 2 * network.sizes.stem, 32, 48),
        "conditions": torch.zeros(1, CONDITIONS),
    }
    content: bytes = _exported(network, inputs, ("maps", "stem")).SerializeToString(deterministic=True)
    return content


def _denoiser(network: Denoiser) -> bytes:
    shape = (64, 96)
    frames = torch.zeros(1, network.sizes.frames, *shape, dtype=torch.int32)
    inputs = {"frames": frames, "calibration": torch.ones(1, 3, *shape), "nominal": torch.ones(3)}
    content: bytes = with_uint16_frames(_exported(network, inputs)).SerializeToString(deterministic=True)
    return content


def _refiner(network: Refiner) -> bytes:
    views = torch.zeros(1, network.sizes.frames, 64, 96)
    content: bytes = _exported(network, {"views": views}).SerializeToString(deterministic=True)
    return content


def _exported(network: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...] = ("image",)) -> Any:
    """ONNX model whose images have an open height and width.

    Raises:
        UnsupportedModel: the exporter left another opset than ours.
    """
    open_ = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # tells of the opset's conversion at every export
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program: Any = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=tuple(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {2: open_, 3: open_} if value.ndim == 4 else None for name, value in inputs.items()},
            verbose=False,
        )
    model = program.model_proto
    if (found := next(entry.version for entry in model.opset_import if not entry.domain)) != OPSET:
        raise UnsupportedModel(
            f"exported with opset {found}, not {OPSET}",
            where="training",
            remedy="replace the operator whose form changed; the exporter's log names it",
        )
    _name_axes(model)
    return model


def _name_axes(model: Any) -> None:
    """Height and width by name, where the exporter put symbols; it names nothing else."""
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        for dimension, name in zip(list(dimensions)[-2:], OPEN_AXES, strict=False):
            if dimension.dim_param:
                dimension.dim_param = name
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
