"""The manifest that travels inside a network's file: what the network is for, takes, gives, and where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smartscope.errors import Problem, UnsupportedModel
from smartscope.plugins import problems_of
from smartscope_models.packages.contracts import CONTRACTS, breaches
from smartscope_models.packages.onnx_file import read_onnx

KEY = "smartscope.manifest"
"""In the file's metadata."""
SCHEMA: Literal[1] = 1
OPEN = {"y": "height", "x": "width"}
"""Axes whose length may be open, and the name that then stands for it."""
REMEDY = "write the package again with smartscope_models.packages.write_package (docs/packages.md)"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Count = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(ge=1)]
Axis = Literal["batch", "time", "channel", "index", "z", "y", "x"]
Dtype = Literal["uint8", "uint16", "int32", "int64", "float16", "float32"]
Runtime = Literal["onnxruntime", "openvino", "tensorrt", "torch"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino", "tensorrt", "torch")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(_Section):
    """One input or output of the network."""

    name: Annotated[str, Field(min_length=1)]
    dtype: Dtype
    axes: tuple[Axis, ...]
    shape: tuple[Length | Literal["height", "width"], ...]
    """One length for each axis; ``height`` and ``width`` stand for open ones."""
    unit: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _axes_fit_the_shape(self) -> Self:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"{self.name}: {len(self.axes)} axes, but a shape of {len(self.shape)} lengths")
        if len(set(self.axes)) < len(self.axes):
            raise ValueError(f"{self.name}: an axis stands twice")
        for axis, length in zip(self.axes, self.shape, strict=True):
            if isinstance(length, str) and OPEN.get(axis) != length:
                raise ValueError(f"{self.name}: only y (height) and x (width) may be open, not {axis} ({length})")
        return self

    def sized(self, height: int, width: int) -> tuple[int, ...]:
        """The shape for frames of this size."""
        lengths = {"height": height, "width": width}
        return tuple(lengths[length] if isinstance(length, str) else length for length in self.shape)


class Span(_Section):
    """Closed interval."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Training(_Section):
    """How to make the same weights again."""

    recipe: str
    seed: int
    commit: str
    """Of the code that trained it."""
    command: str
    hardware: str
    duration_s: Annotated[float, Field(ge=0)]


class Tuned(_Section):
    """How the weights were changed after the training, at a microscope."""

    base_sha256: str
    """Of the fp32 file of the package that it was made of."""
    frames: str
    """Name of the run folder or movie."""
    seed: int
    steps: Length


class Metric(_Section):
    """One figure, with what a classical method reaches on the same data."""

    name: str
    value: float
    unit: str = ""
    data: str = ""
    """On which images."""
    baseline: float | None = None
    baseline_name: str = ""


class Manifest(_Section):
    """Everything a controller must know to run a network; stored as JSON."""

    schema_number: Annotated[Literal[1], Field(alias="schema")] = SCHEMA
    name: Name
    task: str
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "0.1.0"
    description: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    """SPDX identifier."""
    parameters: Count
    """Trained numbers."""
    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    min_size: Length = 1
    """Shortest side of a frame, pixels; longer ones are ``size_multiple`` apart."""
    size_multiple: Length = 1
    history: Count = 0
    """How many earlier frames it takes beside the newest."""
    normalisation: str = ""
    """What happens to counts before the first layer, in words."""
    pixel_size_nm: Span | None = None
    """Sizes of a pixel in the sample for which it was made."""
    training: Training | None = None
    tuned: Tuned | None = None
    metrics: tuple[Metric, ...] = ()
    engines: Annotated[tuple[Runtime, ...], Field(min_length=1)] = RUNTIMES
    """Which engines it is meant for; ``verify`` holds it to them."""

    @model_validator(mode="after")
    def _keeps_the_contract(self) -> Self:
        if self.task not in CONTRACTS:
            raise ValueError(f"task {self.task!r} is unknown; allowed: {', '.join(CONTRACTS)}")
        if found := breaches(self.task, self.inputs, self.outputs, self.history):
            raise ValueError("; ".join(found))
        return self

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The smallest (H, W) the network takes that holds a frame of this size.

        Raises:
            UnsupportedModel: the network's size is fixed, and smaller.
        """
        open_lengths = {length for tensor in self.inputs for length in tensor.shape if isinstance(length, str)}
        sizes = tuple(
            self._step(given) if name in open_lengths else self._fixed(axis)
            for axis, name, given in (("y", "height", height), ("x", "width", width))
        )
        if sizes[0] < height or sizes[1] < width:
            raise UnsupportedModel(
                f"takes frames of {sizes[0]} x {sizes[1]} pixels alone, not {height} x {width}",
                where=self.name,
                remedy="choose a region of interest that is no larger",
            )
        return sizes[0], sizes[1]

    def _step(self, length: int) -> int:
        return self.min_size + -(-max(0, length - self.min_size) // self.size_multiple) * self.size_multiple

    def _fixed(self, axis: str) -> int:
        shapes = (dict[str, int | str](zip(tensor.axes, tensor.shape, strict=True)) for tensor in self.inputs)
        return next(length for shape in shapes if isinstance(length := shape.get(axis), int))

    def to_json(self) -> str:
        """As it is stored in the file; equal manifests give equal text."""
        return self.model_dump_json(by_alias=True)


def parse_manifest(text: str, where: str) -> Manifest:
    """A manifest from its JSON.

    Raises:
        UnsupportedModel: no JSON, another schema number, or wrong values: all of them at once.
    """
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise UnsupportedModel(f"its manifest is no JSON: {error}", where=where, remedy=REMEDY) from error
    if not isinstance(tree, dict):
        raise UnsupportedModel("its manifest is no JSON object", where=where, remedy=REMEDY)
    if (number := tree.get("schema")) != SCHEMA:
        newer = isinstance(number, int) and number > SCHEMA
        raise UnsupportedModel(
            f"its manifest has schema {number!r}",
            where=where,
            allowed=str(SCHEMA),
            remedy="install a newer smartscope" if newer else REMEDY,
        )
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        lines = (_manifest_problem(problem).line() for problem in problems_of(error, "manifest"))
        raise UnsupportedModel(" | ".join(lines), where=where, remedy=REMEDY) from error


def _manifest_problem(problem: Problem) -> Problem:
    """The same, without the remedies meant for an experiment's YAML."""
    value = "" if problem.key == "manifest" else problem.value
    return replace(problem, value=value, what=problem.what.removeprefix("Value error, "), remedy="")


def read_manifest(onnx: bytes, where: str) -> Manifest:
    """The manifest inside an ONNX file.

    Raises:
        UnsupportedModel: no ONNX file, no manifest in it, or a wrong one.
    """
    metadata = read_onnx(onnx, where).metadata
    if KEY not in metadata:
        raise UnsupportedModel(f"carries no manifest (metadata key {KEY!r})", where=where, remedy=REMEDY)
    return parse_manifest(metadata[KEY], where)


def embed_manifest(onnx: bytes, manifest: Manifest) -> bytes:
    """The file with this manifest in its metadata, in place of an earlier one; needs the ``onnx`` package."""
    import onnx as onnx_package

    model: Any = onnx_package.load_model_from_string(onnx)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != KEY}
    onnx_package.helper.set_model_props(model, {**kept, KEY: manifest.to_json()})
    content: bytes = model.SerializeToString(deterministic=True)
    return content
