"""How a model description of the BioImage Model Zoo, 0.4 or 0.5, is laid out; what is of no use here is passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FILES = ("rdf.yaml", "bioimageio.yaml")
"""Names that a description may have; the first is the usual one."""
LETTERS = {"b": "batch", "i": "index", "t": "time", "c": "channel", "z": "z", "y": "y", "x": "x"}
"""Axes in 0.4."""
AS_INPUT = (0, 0)
"""Size of an output's axis that is as long as the input's."""


@dataclass(frozen=True, slots=True)
class Image:
    """One tensor, whichever version described it."""

    name: str
    axes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """(least length, step) of each axis; step 0: fixed; ``AS_INPUT``."""
    steps: tuple[dict[str, Any], ...]
    test: str | None
    """Name of the file of its test tensor."""
    same_size: bool = True
    """Whether y and x are as long, and their pixels as large, as the input's (an output)."""


class Part(BaseModel):
    """A part of a description."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class File(Part):
    """A file of the package."""

    source: str
    sha256: str | None = None


class OnnxWeights(File):
    """The network."""

    external_data: Any = None


class Model(Part):
    """What both versions say alike."""

    name: str
    description: str = ""
    license: str | None = None
    version: str | int | float | None = None
    weights: dict[str, Any]


# ------------------------------------------------------------------------------------------- 0.5


class _Sizes(Part):
    min: Annotated[int, Field(ge=1)]
    step: Annotated[int, Field(ge=0)]


class _Reference(Part):
    tensor_id: str
    axis_id: str
    offset: int = 0


class _Axis(Part):
    type: Literal["batch", "channel", "index", "time", "space"]
    id: str | None = None
    size: int | _Sizes | _Reference | None = None
    channel_names: tuple[str, ...] = ()
    scale: float = 1.0

    @property
    def name(self) -> str:
        """Space axes are told apart by their id; x where none is given."""
        return (self.id or "x") if self.type == "space" else self.type

    @property
    def lengths(self) -> tuple[int, int]:
        """As in ``Image.sizes``."""
        if self.type == "batch":
            return 1, 0
        if self.type == "channel":
            return len(self.channel_names), 0
        if isinstance(self.size, _Sizes):
            return self.size.min, self.size.step
        return (self.size, 0) if isinstance(self.size, int) else AS_INPUT


class _Tensor05(Part):
    id: str
    axes: tuple[_Axis, ...]
    test_tensor: File | None = None
    preprocessing: tuple[dict[str, Any], ...] = ()
    postprocessing: tuple[dict[str, Any], ...] = ()

    def image(self, like: _Tensor05 | None = None) -> Image:
        """This tensor; ``like``: the input, if it is an output."""
        moved = any(isinstance(axis.size, _Reference) and axis.size.offset for axis in self.axes)
        scales = {axis.name: axis.scale for axis in like.axes} if like else {}
        scaled = any(axis.scale != scales.get(axis.name, axis.scale) for axis in self.axes)
        return Image(
            self.id,
            tuple(axis.name for axis in self.axes),
            tuple(axis.lengths for axis in self.axes),
            self.postprocessing if like else self.preprocessing,
            self.test_tensor.source if self.test_tensor else None,
            not moved and not scaled,
        )


class Model05(Model):
    """A description in format 0.5."""

    inputs: tuple[_Tensor05, ...]
    outputs: tuple[_Tensor05, ...]

    def images(self) -> tuple[Image, Image]:
        """Its first input and output."""
        return self.inputs[0].image(), self.outputs[0].image(like=self.inputs[0])


# ------------------------------------------------------------------------------------------- 0.4


class _Shape04(Part):
    min: tuple[int, ...]
    step: tuple[int, ...]


class _Like04(Part):
    reference_tensor: str
    scale: tuple[float | None, ...]
    offset: tuple[float, ...]


class _Tensor04(Part):
    name: str
    axes: Annotated[str, Field(pattern="^[bitczyx]+$")]
    shape: tuple[int, ...] | _Shape04 | _Like04
    preprocessing: tuple[dict[str, Any], ...] = ()
    postprocessing: tuple[dict[str, Any], ...] = ()

    def image(self, steps: tuple[dict[str, Any], ...], tests: Sequence[str]) -> Image:
        """This tensor with its steps and the files of the test tensors."""
        axes = tuple(LETTERS[letter] for letter in self.axes)
        shape, same = self.shape, True
        if isinstance(shape, _Shape04):
            sizes = tuple(zip(shape.min, shape.step, strict=False))
        elif isinstance(shape, _Like04):
            sizes = tuple(AS_INPUT if axis in ("y", "x") else (1, 0) for axis in axes)
            same = all(scale in (1.0, None) for scale in shape.scale) and not any(shape.offset)
        else:
            sizes = tuple((length, 0) for length in shape)
        return Image(self.name, axes, sizes, steps, tests[0] if tests else None, same)


class Model04(Model):
    """A description in format 0.4."""

    inputs: tuple[_Tensor04, ...]
    outputs: tuple[_Tensor04, ...]
    test_inputs: tuple[str, ...] = ()
    test_outputs: tuple[str, ...] = ()

    def images(self) -> tuple[Image, Image]:
        """Its first input and output."""
        given, made = self.inputs[0], self.outputs[0]
        return given.image(given.preprocessing, self.test_inputs), made.image(made.postprocessing, self.test_outputs)


FORMATS: dict[str, type[Model04] | type[Model05]] = {"0.4": Model04, "0.5": Model05}
"""By major and minor number of ``format_version``."""
