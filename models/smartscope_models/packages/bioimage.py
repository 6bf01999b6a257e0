"""What a description of the BioImage Model Zoo means to smartscope: a manifest, steps on the host, names of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from smartscope.errors import UnsupportedModel
from smartscope.plugins import problems_of
from smartscope_models.packages.bioimage_format import FORMATS, Image, Model04, Model05, OnnxWeights
from smartscope_models.packages.bioimage_steps import read_steps
from smartscope_models.packages.host_steps import HostSteps
from smartscope_models.packages.manifest import OPEN, RUNTIMES, Manifest, TensorSpec
from smartscope_models.packages.onnx_file import OnnxFile
from smartscope_models.packages.operators import refusals


@dataclass(frozen=True, slots=True)
class Description:
    """What was read from an rdf.yaml."""

    name: str
    description: str
    licence: str
    version: str
    weights: OnnxWeights
    input: Image
    output: Image
    host: HostSteps
    min_size: int
    size_multiple: int

    def manifest(self, network: OnnxFile) -> Manifest:
        """A manifest for this network, of one input and one output, in smartscope's own terms.

        Raises:
            UnsupportedModel: the network does not turn a float32 image into another.
        """
        refused = {refusal.engine for refusal in refusals(network)}
        lengths = {axis: _length(axis, *size) for axis, size in zip(self.input.axes, self.input.sizes, strict=True)}
        try:
            return Manifest(
                name=re.sub(r"[^a-z0-9]+", "_", f"zoo {self.name}".lower()).strip("_")[:64],
                task="image_to_image",
                version=self.version,
                description=self.description or self.name,
                licence=self.licence,
                parameters=network.parameters,
                inputs=(_spec(network.inputs[0].name, network.inputs[0].dtype, self.input, lengths),),
                outputs=(_spec(network.outputs[0].name, network.outputs[0].dtype, self.output, lengths),),
                min_size=self.min_size,
                size_multiple=self.size_multiple,
                normalisation=", ".join(step.name for step in self.host.before) or "none",
                engines=tuple(name for name in RUNTIMES if name not in refused),
            )
        except ValidationError as error:
            raise _wrong(error, self.name) from error


def read_description(text: bytes, where: str) -> Description:
    """Read an rdf.yaml.

    Raises:
        UnsupportedModel: no YAML, no model, another version, no ONNX weights; or a network that does not turn one
            image of one channel into another, or wants steps that cannot be done live.
    """
    model = _model(read_tree(text, where), where)
    given, made = _images(model, where)
    low, step = _frame_sizes(given, where)
    version = str(model.version)
    return Description(
        name=model.name,
        description=model.description,
        licence=model.license or "not stated",
        version=version if re.fullmatch(r"\d+\.\d+\.\d+", version) else "0.0.0",
        weights=_weights(model, where),
        input=given,
        output=made,
        host=HostSteps(read_steps(given.steps, (), where), read_steps(made.steps, (given.name,), where)),
        min_size=low,
        size_multiple=step,
    )


def read_tree(text: bytes, where: str) -> dict[str, Any]:
    """The mapping in a description's text; raises UnsupportedModel where there is none."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnsupportedModel(f"is no YAML: {' '.join(str(error).split())}", where=where) from error
    if not isinstance(tree, dict):
        raise UnsupportedModel("is no YAML mapping", where=where)
    return tree


def _model(tree: Mapping[str, Any], where: str) -> Model04 | Model05:
    version = str(tree.get("format_version"))
    schema = FORMATS.get(".".join(version.split(".")[:2]))
    if tree.get("type") != "model" or schema is None:
        what = f"describes a {tree.get('type')} in format {version}"
        raise UnsupportedModel(what, where=where, allowed="a model, format 0.4 or 0.5")
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise _wrong(error, where) from error


def _weights(model: Model04 | Model05, where: str) -> OnnxWeights:
    what = "has no ONNX weights"
    if "onnx" in model.weights:
        try:
            weights = OnnxWeights.model_validate(model.weights["onnx"])
        except ValidationError as error:
            raise _wrong(error, where, "weights.onnx") from error
        if weights.external_data is None:
            return weights
        what = "has no ONNX weights in one file"
    raise UnsupportedModel(
        what,
        where=where,
        allowed=f"onnx; it has {', '.join(model.weights) or 'none'}",
        remedy="ask its authors to add them, or export the network to ONNX",
    )


def _wrong(error: ValidationError, where: str, key: str = "") -> UnsupportedModel:
    lines = " | ".join(problem.line() for problem in problems_of(error, key))
    return UnsupportedModel(lines, where=where, remedy="see the model description of bioimage.io, 0.4 or 0.5")


def _images(model: Model04 | Model05, where: str) -> tuple[Image, Image]:
    """Input and output, if these are one image each and of one size."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        what = f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise UnsupportedModel(what, where=where, allowed="one of each")
    images = model.images()
    for image in images:
        if not _plain(image):
            lengths = [low for low, _ in image.sizes]
            raise UnsupportedModel(
                f"its tensor {image.name!r} has axes {', '.join(image.axes)} of {lengths}",
                where=where,
                allowed="one image: y, x, and any others of length 1",
            )
        if not image.same_size:
            what = "makes an image of another size"
            raise UnsupportedModel(what, where=where, remedy="use it outside the live pipeline")
    return images


def _plain(image: Image) -> bool:
    if len(image.axes) != len(image.sizes) or not set(OPEN) <= set(image.axes):
        return False
    return all(low == 1 for axis, (low, _) in zip(image.axes, image.sizes, strict=True) if axis not in OPEN)


def _frame_sizes(image: Image, where: str) -> tuple[int, int]:
    """(least, step) of y and x alike; (1, 1) where both are fixed."""
    y, x = (image.sizes[image.axes.index(axis)] for axis in OPEN)
    if y[1] == x[1] == 0:
        return 1, 1
    if 0 in (y[1], x[1]):
        raise UnsupportedModel("only one of height and width may change", where=where)
    if y != x:
        raise UnsupportedModel(f"takes heights {y[0]} + n·{y[1]} but widths {x[0]} + n·{x[1]}", where=where)
    return y


def _length(axis: str, low: int, step: int) -> int | str:
    return OPEN[axis] if step else low


def _spec(name: str, dtype: Any, image: Image, lengths: Mapping[str, int | str]) -> TensorSpec:
    """A tensor of the network; y and x are as long as the input's."""
    shape = tuple(lengths[axis] if axis in OPEN else 1 for axis in image.axes)
    return TensorSpec.model_validate({"name": name, "dtype": str(dtype), "axes": image.axes, "shape": shape})
