"""What each ONNX operator means in torch: the table; an operator or attribute that is not here is not taken.

Integers that describe shapes live on the CPU whatever the device, so that no frame waits for the GPU to tell its size.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.engines import torch_layers as layers
from smartscope_models.engines.torch_layers import Ints, ints

Operator = Callable[..., Any]

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""By ONNX's number. uint16 is missing: torch computes little with it, and the engine widens it to int32."""


def find(op_type: str, attributes: Mapping[str, Any]) -> Operator:
    """The function of one node.

    Raises:
        LookupError: no such operator, or it has no such attribute here.
    """
    if op_type not in OPERATORS:
        raise LookupError(f"operator {op_type}")
    operator = OPERATORS[op_type]
    known = inspect.signature(operator).parameters
    for name in attributes:
        if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY:
            raise LookupError(f"operator {op_type} with {name}")
    return operator


def together(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All on the device of the first that is not on the CPU."""
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    return tensors if device is None else tuple(tensor.to(device) for tensor in tensors)


def pairwise(do: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of two inputs that broadcast."""
    return lambda a, b: do(*together(a, b))


def folded(do: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of any number of inputs, two by two."""
    return lambda *tensors: reduce(do, together(*tensors))


def reduction(do: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """Over given axes (an attribute before operator set 18, an input since), or over all."""

    def reduced(
        x: Tensor, given: Tensor | None = None, *, axes: Ints = (), keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        chosen = list(axes) or ints(given)
        if not chosen and noop_with_empty_axes:
            return x
        return do(x, chosen or list(range(x.ndim)), bool(keepdims))

    return reduced


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1,
    beta: float = 1,
    transA: int = 0,  # noqa: N803 - ONNX's own names
    transB: int = 0,  # noqa: N803
) -> Tensor:
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


# ---------------------------------------------------------------- shapes and pieces


def take_slice(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    begin, end = ints(starts), ints(ends)
    along = ints(axes) or list(range(len(begin)))
    index = [slice(None)] * x.ndim
    for axis, low, high, step in zip(along, begin, end, ints(steps) or [1] * len(begin), strict=True):
        if step < 0:
            raise NotImplementedError("a negative step")
        index[axis] = slice(low, high, step)
    return x[tuple(index)]


def split(x: Tensor, parts: Tensor | None = None, *, axis: int = 0, num_outputs: int = 2) -> tuple[Tensor, ...]:
    length = x.shape[axis]
    return torch.split(x, ints(parts) or math.ceil(length / num_outputs), axis)


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.ndim
    index = indices.to(x.device)
    index = torch.where(index < 0, index + x.shape[axis], index)
    return x.index_select(axis, index.reshape(-1)).reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    index = indices.to(x.device)
    index = torch.where(index < 0, index + x.shape[axis], index)
    # torch takes indices that are shorter along the other axes too, as ONNX does
    return torch.gather(x, axis, index)


def top_k(
    x: Tensor,
    k: Tensor,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
) -> tuple[Tensor, Tensor]:
    """Of equal values the one that comes first is first, as ONNX wants it and ``torch.topk`` does not promise."""
    order = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    number = ints(k)[0]
    return order.values.narrow(axis, 0, number), order.indices.narrow(axis, 0, number)


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    wanted = ints(shape)
    if not allowzero:
        wanted = [x.shape[axis] if length == 0 else length for axis, length in enumerate(wanted)]
    return x.reshape(wanted)


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    places = ints(axes)
    for axis in sorted(axis % (x.ndim + len(places)) for axis in places):
        x = x.unsqueeze(axis)
    return x


def expand(x: Tensor, shape: Tensor) -> Tensor:
    # a length of 1 asked for leaves the axis as it is
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    fill = torch.zeros(1) if value is None else value
    return torch.full(ints(shape), fill.item(), dtype=fill.dtype, device=fill.device)


def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x, *bounds = together(x, *(bound for bound in (low, high) if bound is not None))
    if low is not None:
        x = torch.maximum(x, bounds.pop(0))
    return x if high is None else torch.minimum(x, bounds.pop(0))


def cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    if to == 4:
        return x.to(torch.int32) & 0xFFFF
    if to not in DTYPES:
        raise NotImplementedError(f"type {to}")
    return x.to(DTYPES[to])


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    condition, a, b = together(condition, a, b)
    return torch.where(condition, a, b)


OPERATORS: dict[str, Operator] = {
    "Add": pairwise(torch.add),
    "Sub": pairwise(torch.sub),
    "Mul": pairwise(torch.mul),
    "Div": pairwise(divide),
    "Pow": pairwise(lambda a, b: torch.pow(a, b).to(a.dtype)),
    "Max": folded(torch.maximum),
    "Min": folded(torch.minimum),
    "Sum": folded(torch.add),
    "Equal": pairwise(torch.eq),
    "Greater": pairwise(torch.gt),
    "GreaterOrEqual": pairwise(torch.ge),
    "Less": pairwise(torch.lt),
    "LessOrEqual": pairwise(torch.le),
    "And": pairwise(torch.logical_and),
    "Or": pairwise(torch.logical_or),
    "Not": lambda x: torch.logical_not(x),
    "Where": where,
    "Abs": lambda x: torch.abs(x),
    "Neg": lambda x: torch.neg(x),
    "Sqrt": lambda x: torch.sqrt(x),
    "Exp": lambda x: torch.exp(x),
    "Log": lambda x: torch.log(x),
    "Sin": lambda x: torch.sin(x),
    "Cos": lambda x: torch.cos(x),
    "Erf": lambda x: torch.erf(x),
    "Floor": lambda x: torch.floor(x),
    "Ceil": lambda x: torch.ceil(x),
    "Round": lambda x: torch.round(x),
    "Reciprocal": lambda x: torch.reciprocal(x),
    "Relu": lambda x: torch.relu(x),
    "Sigmoid": lambda x: torch.sigmoid(x),
    "Tanh": lambda x: torch.tanh(x),
    "Softplus": lambda x: functional.softplus(x),
    "LeakyRelu": lambda x, *, alpha=0.01: functional.leaky_relu(x, alpha),
    "Elu": lambda x, *, alpha=1.0: functional.elu(x, alpha),
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: torch.clamp(alpha * x + beta, 0, 1),
    "Gelu": lambda x, *, approximate="none": functional.gelu(x, approximate=approximate),
    "Softmax": lambda x, *, axis=-1: torch.softmax(x, axis),
    "Clip": clip,
    "Cast": cast,
    "Identity": lambda x: x,
    "Dropout": lambda x, ratio=None, training=None, *, seed=0: x,
    "Conv": layers.conv,
    "ConvTranspose": layers.conv_transpose,
    "AveragePool": layers.average_pool,
    "MaxPool": layers.max_pool,
    "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "Resize": layers.resize,
    "Pad": layers.pad,
    "DepthToSpace": layers.depth_to_space,
    "SpaceToDepth": layers.space_to_depth,
    "BatchNormalization": layers.batch_normalisation,
    "InstanceNormalization": layers.instance_normalisation,
    "LayerNormalization": layers.layer_normalisation,
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "MatMul": pairwise(torch.matmul),
    "Gemm": gemm,
    "Concat": lambda *tensors, axis: torch.cat(together(*tensors), axis),
    "Slice": take_slice,
    "Split": split,
    "Gather": gather,
    "GatherElements": gather_elements,
    "TopK": top_k,
    "Reshape": reshape,
    "Flatten": lambda x, *, axis=1: x.reshape(math.prod(x.shape[: axis % max(x.ndim, 1)]), -1),
    "Transpose": lambda x, *, perm=(): x.permute(list(perm) or list(range(x.ndim))[::-1]),
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": lambda x, repeats: x.repeat(ints(repeats)),
    "Shape": shape_of,
    "ConstantOfShape": constant_of_shape,
    "Range": lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
}
