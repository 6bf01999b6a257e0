"""What each task asks of a network's inputs and outputs: names, dtypes, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Axes = tuple[str, ...]
IMAGES: Axes = ("batch", "channel", "y", "x")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One input or output that a task asks for."""

    name: str
    """Empty where any name will do."""
    dtype: str
    axes: Axes
    lengths: Mapping[str, int]
    """By axis, where the task fixes it."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The inputs and outputs of a task, in order."""

    inputs: tuple[Wanted, ...]
    outputs: tuple[Wanted, ...]


class Described(Protocol):
    """A tensor as a manifest describes it."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def axes(self) -> Axes: ...
    @property
    def shape(self) -> tuple[int | str, ...]: ...


CONTRACTS: Mapping[str, Contract] = {
    "denoise": Contract(
        (
            Wanted("frames", "uint16", ("batch", "time", "y", "x"), {"batch": 1}),
            Wanted("calibration", "float32", IMAGES, {"batch": 1, "channel": 3}),
            Wanted("nominal", "float32", ("index",), {"index": 3}),
        ),
        (Wanted("image", "float32", IMAGES, {"batch": 1, "channel": 1}),),
    ),
    "structured_illumination": Contract(
        (Wanted("views", "float32", IMAGES, {"batch": 1, "channel": 3}),),
        (Wanted("image", "float32", IMAGES, {"batch": 1, "channel": 1}),),
    ),
    "localize": Contract(
        (
            Wanted("cells", "float32", IMAGES, {"batch": 1, "channel": 4}),
            Wanted("earlier", "float32", IMAGES, {"batch": 1}),
            Wanted("conditions", "float32", ("batch", "channel"), {"batch": 1, "channel": 4}),
        ),
        (
            Wanted("maps", "float32", IMAGES, {"batch": 1}),
            Wanted("stem", "float32", IMAGES, {"batch": 1}),
        ),
    ),
    "detect": Contract(
        (Wanted("cells", "float32", IMAGES, {"batch": 1, "channel": 8}),),
        (
            Wanted("places", "float32", ("batch", "index"), {"batch": 1}),
            Wanted("objects", "float32", ("batch", "index", "channel"), {"batch": 1, "channel": 9}),
            Wanted("depths", "float32", IMAGES, {"batch": 1, "channel": 2}),
        ),
    ),
    "image_to_image": Contract((Wanted("", "float32", (), {}),), (Wanted("", "float32", (), {}),)),
}
"""By task. ``frames``: counts, oldest first. ``calibration``: offset in counts, effective electrons per count, read
variance in effective electrons². ``nominal``: offset in counts, counts per effective electron, read variance.
``image``: counts at the nominal gain and offset. ``views``: see ``structured_illumination.views``; the image is then
the first of them without its noise. ``cells``: 2 x 2 pixels of the newest frame under each other, as
``localization.sight`` says; ``earlier``: the stems of the two frames before; ``maps``: see ``localization.decode``.
For ``detect`` the cells of the frame before lie under those of the newest, as ``detection.light`` says; ``places`` and
``objects``: see ``detection.answer``; ``depths``: foreground, and depth in its object.
``image_to_image``: one image in, one of the same size out."""


def breaches(task: str, inputs: Sequence[Described], outputs: Sequence[Described], history: int) -> list[str]:
    """Everything in which tensors differ from what the task asks for."""
    contract = CONTRACTS[task]
    found = _differences("inputs", contract.inputs, inputs) + _differences("outputs", contract.outputs, outputs)
    for tensor in inputs:
        if "time" in tensor.axes and tensor.shape[tensor.axes.index("time")] != history + 1:
            found.append(
                f"inputs.{tensor.name}: {history} earlier frames and the newest make a time axis of {history + 1}"
            )
    return found


def _differences(key: str, wanted: Sequence[Wanted], given: Sequence[Described]) -> list[str]:
    if len(wanted) != len(given):
        names = ", ".join(tensor.name or "one of any name" for tensor in wanted)
        return [f"{key}: {len(given)} given, the task wants {len(wanted)} ({names})"]
    found = []
    for want, tensor in zip(wanted, given, strict=True):
        where = f"{key}.{tensor.name}"
        if want.name and tensor.name != want.name:
            found.append(f"{where}: the task calls it {want.name!r}")
        if tensor.dtype != want.dtype:
            found.append(f"{where}: dtype {tensor.dtype}, the task wants {want.dtype}")
        if not want.axes and not _is_image(tensor):
            found.append(
                f"{where}: axes {', '.join(tensor.axes)} of {tensor.shape}; the task wants y, x, else length 1"
            )
        if want.axes and tensor.axes != want.axes:
            found.append(f"{where}: axes {', '.join(tensor.axes)}; the task wants {', '.join(want.axes)}")
            continue
        for axis, length in want.lengths.items():
            if (has := tensor.shape[tensor.axes.index(axis)]) != length:
                found.append(f"{where}: axis {axis} has length {has}, the task wants {length}")
    return found


def _is_image(tensor: Described) -> bool:
    others = [length for axis, length in zip(tensor.axes, tensor.shape, strict=True) if axis not in ("y", "x")]
    return {"y", "x"} <= set(tensor.axes) and all(length == 1 for length in others)
