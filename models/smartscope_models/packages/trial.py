"""Inputs of any size for a package, and one pass of them through an engine: what verifying and measuring share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from smartscope_models.engines.engine import Engine, Shape
from smartscope_models.packages.host_steps import finish, prepare
from smartscope_models.packages.manifest import Manifest, TensorSpec
from smartscope_models.packages.package import Array, ModelPackage

OFFSET_ADU, ELECTRONS_PER_ADU, READ_VARIANCE_E2 = 100.0, 0.46, 2.56
"""A scientific CMOS camera."""
Arrays = Mapping[str, Array]


def shapes(manifest: Manifest, height: int, width: int) -> dict[str, Shape]:
    """Shapes of all inputs for frames of a size that the network takes."""
    return {spec.name: spec.sized(height, width) for spec in manifest.inputs}


def inputs_of(package: ModelPackage, height: int, width: int) -> Arrays:
    """Inputs for frames of a size that the network takes: the test tensors mirrored or cut, else made up."""
    examples = package.examples()
    wanted = shapes(package.manifest, height, width)
    if examples is None:
        return {spec.name: _made_up(spec, wanted[spec.name]) for spec in package.manifest.inputs}
    return {name: _resized(array, wanted[name]) for name, array in examples.inputs.items()}


def run(engine: Engine, package: ModelPackage, inputs: Arrays) -> Arrays:
    """Outputs for inputs of the size warmed up, the host's steps around the network included."""
    if not package.host:
        return engine.run(inputs)
    ((name, image),) = inputs.items()
    prepared, _ = prepare(package.host.before, image)
    ((output_name, output),) = engine.run({name: prepared}).items()
    return {output_name: finish(package.host.after, output, image)}


def _resized(array: Array, shape: Shape) -> Array:
    """Mirrored at the far ends, or cut."""
    more = [(0, max(0, wanted - length)) for wanted, length in zip(shape, array.shape, strict=True)]
    whole = np.pad(array, more, mode="symmetric")
    return np.ascontiguousarray(whole[tuple(slice(length) for length in shape)])


def _made_up(spec: TensorSpec, shape: Shape) -> Array:
    """A dim, noisy scene for images, a plain camera for its calibration; the same at every call."""
    camera = {
        "calibration": (OFFSET_ADU, ELECTRONS_PER_ADU, READ_VARIANCE_E2),
        "nominal": (OFFSET_ADU, 1 / ELECTRONS_PER_ADU, READ_VARIANCE_E2),
    }
    if spec.name in camera:
        values = np.array(camera[spec.name], np.float32)
        axis = 1 if len(shape) > 1 else 0
        across = values.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        return np.ascontiguousarray(np.broadcast_to(across, shape))
    y, x = np.mgrid[: shape[-2], : shape[-1]] if len(shape) > 1 else (np.zeros(shape), np.zeros(shape))
    light = 20 + 15 * np.sin(x / 5) * np.cos(y / 7)
    electrons = np.random.default_rng(1).poisson(np.broadcast_to(light, shape))
    return (electrons / ELECTRONS_PER_ADU + OFFSET_ADU).round().astype(spec.dtype)
