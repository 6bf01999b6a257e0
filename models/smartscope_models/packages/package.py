"""An opened package: manifest, networks, steps around them, and the test tensors that belong to it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope_models.engines.engine import Network, Precision
from smartscope_models.packages.host_steps import HostSteps
from smartscope_models.packages.manifest import Manifest, TensorSpec
from smartscope_models.packages.onnx_file import OnnxFile
from smartscope_models.packages.sources import Source

Array = npt.NDArray[Any]
Origin = Literal["package", "file", "bioimage"]
Kind = Literal["input", "output"]
FILES: Mapping[Precision, str] = {"fp32": "model.onnx", "fp16": "model.fp16.onnx"}
"""By precision of the network's body, the file in a package folder."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What goes into the network (before any step) and what must come out (after all), by name."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """Everything needed to run a network, read and checked."""

    manifest: Manifest
    networks: Mapping[Precision, Network]
    path: Path
    sha256: str
    """Of the fp32 network's file, hexadecimal; written into the record of a run."""
    origin: Origin = "package"
    host: HostSteps = field(default_factory=HostSteps)
    """Done by the host around the network; a package of our own needs none."""
    example_files: tuple[Mapping[str, str], Mapping[str, str]] = field(default_factory=lambda: ({}, {}))
    """Names of the files of the test tensors, by input and by output."""

    def examples(self) -> Examples | None:
        """The test tensors, None where the package has none.

        Raises:
            InputError: one is missing, no .npy file, or has another dtype or shape than the manifest says.
        """
        inputs, outputs = self.example_files
        if not inputs or not outputs:
            return None
        source = Source(self.path)
        return Examples(
            {spec.name: _array(source, inputs[spec.name], spec, self.origin) for spec in self.manifest.inputs},
            {spec.name: _array(source, outputs[spec.name], spec, self.origin) for spec in self.manifest.outputs},
        )


def example_file(kind: Kind, name: str) -> str:
    """Name of a test tensor's file in a package of our own."""
    return f"test_{kind}_{name}.npy"


def _array(source: Source, name: str, spec: TensorSpec, origin: Origin) -> Array:
    where = f"{source.path}, {name}"
    try:
        array: Array = np.load(io.BytesIO(source.read(name)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"is no .npy file: {error}", where=where, remedy="copy the whole package again") from error
    if origin == "bioimage" and array.dtype.kind in "uif":
        array = array.astype(np.float32)
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(wanted, str) or wanted == length for wanted, length in zip(spec.shape, array.shape, strict=True)
    )
    if array.dtype != spec.dtype or not fits:
        raise InputError(
            f"holds {array.dtype} {array.shape}",
            where=where,
            allowed=f"{spec.dtype} {spec.shape}, as the manifest says",
        )
    return array


def disagreements(manifest: Manifest, network: OnnxFile, *, strict: bool = True) -> list[str]:
    """Everything in which a network's inputs and outputs are not what the manifest says.

    ``strict``: open lengths must carry the manifest's names; else the network may leave open what the manifest fixes.
    """
    found = []
    for kind, specs, tensors in (
        ("input", manifest.inputs, network.inputs),
        ("output", manifest.outputs, network.outputs),
    ):
        names, has = [spec.name for spec in specs], [tensor.name for tensor in tensors]
        if names != has:
            found.append(f"{kind}s are {', '.join(has)}; the manifest says {', '.join(names)}")
            continue
        for spec, tensor in zip(specs, tensors, strict=True):
            if tensor.dtype != spec.dtype:
                found.append(f"{kind} {spec.name} is {tensor.dtype}; the manifest says {spec.dtype}")
            if not _same_shape(spec.shape, tensor.shape, strict):
                found.append(f"{kind} {spec.name} has shape {tensor.shape}; the manifest says {spec.shape}")
    return found


def _same_shape(says: tuple[int | str, ...], has: tuple[int | str, ...], strict: bool) -> bool:
    if strict:
        return says == has
    return len(says) == len(has) and all(isinstance(b, str) or a == b for a, b in zip(says, has, strict=True))
