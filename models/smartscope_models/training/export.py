"""From trained weights to the two ONNX files of a package: float32 throughout, and with a float16 body."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import torch

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.graph import with_uint16_frames
from smartscope_models.training.network import Denoiser

OPSET = 17
INPUTS = ("frames", "calibration", "nominal")
OPEN_AXES = ("height", "width")


def onnx_files(network: Denoiser) -> dict[str, bytes]:
    """By precision, ``fp32`` and ``fp16``; equal weights give equal bytes."""
    half = copy.deepcopy(network)
    half.body.half()
    return {"fp32": _exported(network), "fp16": _exported(half)}


def _exported(network: Denoiser) -> bytes:
    """One ONNX file whose frames are uint16 and whose height and width are open.

    Raises:
        UnsupportedModel: the exporter left another opset than ours.
    """
    count, open_ = network.sizes.frames, torch.export.Dim.DYNAMIC
    example = (torch.zeros(1, count, 64, 96, dtype=torch.int32), torch.ones(1, 3, 64, 96), torch.ones(3))
    sizes = {"frames": {2: open_, 3: open_}, "calibration": {2: open_, 3: open_}, "nominal": None}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # tells of the opset's conversion at every export
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program: Any = torch.onnx.export(
            network.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=["image"],
            dynamic_shapes=sizes,
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
    content: bytes = with_uint16_frames(model).SerializeToString(deterministic=True)
    return content


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
