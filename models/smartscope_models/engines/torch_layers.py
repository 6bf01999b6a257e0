"""How ONNX's layers (convolution, pooling, resampling, normalisation) are said in torch; the rest is refused.

Each function takes the node's inputs in order, then its attributes by name, as ``https://onnx.ai/onnx/operators``
defines them for operator sets 13 to 20. Attributes of which only the default is taken are named, and checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

Ints = Sequence[int]

Layer = Callable[..., Any]
CONV: Mapping[int, Layer] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
CONV_TRANSPOSE: Mapping[int, Layer] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
AVERAGE_POOL: Mapping[int, Layer] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
MAX_POOL: Mapping[int, Layer] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def ints(tensor: Tensor | None) -> list[int]:
    """The integers of a shape, of axes or of pads."""
    return [] if tensor is None else [int(value) for value in tensor.reshape(-1).tolist()]


def only(what: str, found: object, *allowed: object) -> None:
    """Refuse what is defined but not written here."""
    if found not in allowed:
        raise NotImplementedError(f"{what} {found!r}")


def split_pads(pads: Ints, rank: int) -> tuple[tuple[int, ...], list[int]]:
    """ONNX's (begins, ends) as one number per axis where both are alike, else as an ``F.pad`` to be done before."""
    begins, ends = list(pads[:rank]) or [0] * rank, list(pads[rank:]) or [0] * rank
    if begins == ends:
        return tuple(begins), []
    return (0,) * rank, interleaved(begins, ends)


def interleaved(begins: Ints, ends: Ints) -> list[int]:
    """The order of ``F.pad``: last axis first, begin and end side by side."""
    return [number for pair in zip(reversed(begins), reversed(ends), strict=True) for number in pair]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    only("auto_pad", auto_pad, "NOTSET", "VALID")
    rank = x.ndim - 2
    padding, before = split_pads(pads, rank)
    if before:
        x = functional.pad(x, before)
    y: Tensor = CONV[rank](x, weight, bias, strides or [1] * rank, padding, dilations or [1] * rank, group)
    return y


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    output_padding: Ints = (),
    output_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    only("auto_pad", auto_pad, "NOTSET", "VALID")
    only("output_shape", list(output_shape), [])
    rank = x.ndim - 2
    padding, before = split_pads(pads, rank)
    only("unequal pads", before, [])
    one, more = [1] * rank, list(output_padding) or [0] * rank
    y: Tensor = CONV_TRANSPOSE[rank](x, weight, bias, strides or one, padding, more, group, dilations or one)
    return y


def average_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
    dilations: Ints = (),
) -> Tensor:
    only("auto_pad", auto_pad, "NOTSET", "VALID")
    only("dilations", set(dilations), set(), {1})
    rank = x.ndim - 2
    padding, before = split_pads(pads, rank)
    only("unequal pads", before, [])
    y: Tensor = AVERAGE_POOL[rank](
        x, kernel_shape, strides or [1] * rank, padding, bool(ceil_mode), bool(count_include_pad)
    )
    return y


def max_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = (),
    kernel_shape: Ints = (),
    pads: Ints = (),
    storage_order: int = 0,
    strides: Ints = (),
) -> Tensor:
    only("auto_pad", auto_pad, "NOTSET", "VALID")
    rank = x.ndim - 2
    padding, before = split_pads(pads, rank)
    if before:
        x = functional.pad(x, before, value=-math.inf)
    y: Tensor = MAX_POOL[rank](
        x, kernel_shape, strides or [1] * rank, padding, dilations or [1] * rank, bool(ceil_mode)
    )
    return y


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    only("antialias", antialias, 0)
    only("exclude_outside", exclude_outside, 0)
    only("keep_aspect_ratio_policy", keep_aspect_ratio_policy, "stretch")
    if mode == "nearest":
        only("nearest Resize", (coordinate_transformation_mode, nearest_mode), ("asymmetric", "floor"))
    else:
        only(f"{mode} Resize", coordinate_transformation_mode, "half_pixel", "pytorch_half_pixel", "align_corners")
    names = {1: "linear", 2: "bilinear", 3: "trilinear"} if mode == "linear" else {2: "bicubic"}
    corners = None if mode == "nearest" else coordinate_transformation_mode == "align_corners"
    how: dict[str, Any] = {"mode": "nearest" if mode == "nearest" else names[x.ndim - 2], "align_corners": corners}
    if sizes is not None:
        return functional.interpolate(x, size=ints(sizes)[2:], **how)
    factors = scales.tolist()[2:] if scales is not None else []
    return functional.interpolate(x, scale_factor=factors, **how)


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    only("axes", axes, None)
    numbers = ints(pads)
    begins, ends = numbers[: x.ndim], numbers[x.ndim :]
    if mode == "constant":
        return functional.pad(x, interleaved(begins, ends), value=0.0 if value is None else value.item())
    outer = x.ndim - 2
    only(f"{mode} pads of the first two axes", begins[:2] + ends[:2], [0] * 4)
    order = interleaved(begins[-outer:], ends[-outer:])
    return functional.pad(x, order, mode={"edge": "replicate", "reflect": "reflect"}[mode])


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "DCR":
        n, c, h, w = x.shape
        x = x.reshape(n, blocksize**2, c // blocksize**2, h, w).transpose(1, 2).reshape(n, c, h, w)
    return functional.pixel_shuffle(x, blocksize)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    y = functional.pixel_unshuffle(x, blocksize)
    n, c, h, w = y.shape
    return y.reshape(n, c // blocksize**2, blocksize**2, h, w).transpose(1, 2).reshape(n, c, h, w)


def batch_normalisation(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    only("training_mode", training_mode, 0)
    return functional.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def instance_normalisation(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def layer_normalisation(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    return functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)
