"""Small networks and packages for tests: a denoiser that keeps the contract, image-to-image networks, zoo packages.

The denoiser is a box mean, so that its answer can be written down without any engine::

    package = write_tiny_denoiser(tmp_path / "tiny")           # a whole package folder, opened
    want = box_mean_counts(frames, calibration, nominal)       # what it must say

``tiny_denoiser_onnx(history=2, half=True)`` gives the bytes of one network alone, ``image_network(...)`` any small
image-to-image network from a line of ONNX text, ``write_zoo_package`` a package of the BioImage Model Zoo.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from smartscope_models.packages import (
    CardFacts,
    Examples,
    Manifest,
    Metric,
    ModelPackage,
    Span,
    TensorSpec,
    Training,
    write_package,
)

Array = npt.NDArray[Any]
SHAPE = (32, 48)
"""(H, W) of the test tensors."""
OPSET = 17
OFFSET_ADU, ELECTRONS_PER_ADU, READ_VARIANCE_E2 = 100.0, 0.46, 2.56
FACTS = CardFacts(
    "A box mean of 3 x 3 pixels and all frames, for tests.", "Nothing.", ("Wherever there is structure: it blurs.",)
)

_DENOISER = """<ir_version: 8, opset_import: ["" : {opset}]>
tiny (uint16[1,{frames},height,width] frames, float[1,3,height,width] calibration, float[3] nominal)
=> (float[1,1,height,width] image)
<int64[1] axis_1 = {{1}}, int64[1] axis_0 = {{0}}, int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[1] i2 = {{2}},
 int64[8] margin = {{0, 0, 1, 1, 0, 0, 1, 1}}>
{{
  counts = Cast <to = 1> (frames)
  offset = Slice (calibration, i0, i1, axis_1)
  gain = Slice (calibration, i1, i2, axis_1)
  above = Sub (counts, offset)
  electrons = Mul (above, gain)
  newest = ReduceMean <axes = [1], keepdims = 1> (electrons)
  padded = Pad <mode = "reflect"> (newest, margin)
  {body}
  nominal_offset = Slice (nominal, i0, i1, axis_0)
  nominal_gain = Slice (nominal, i1, i2, axis_0)
  scaled = Mul (quiet, nominal_gain)
  image = Add (scaled, nominal_offset)
}}"""
_FULL = "quiet = Conv (padded, weights)"
_HALF = "small = Cast <to = 10> (padded)\n  blurred = Conv (small, weights)\n  quiet = Cast <to = 1> (blurred)"


def box_mean_counts(frames: Array, calibration: Array, nominal: Array) -> Array:
    """What the tiny denoiser must answer, (1, 1, H, W) float64: mean over time and 3 x 3 pixels, edges mirrored."""
    electrons = (frames.astype(float) - calibration[:, :1]) * calibration[:, 1:2]
    padded = np.pad(electrons.mean(axis=1)[0], 1, mode="reflect")
    height, width = frames.shape[-2:]
    quiet = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9.0
    answer: Array = (quiet * nominal[1] + nominal[0])[None, None]
    return answer


def tiny_denoiser_onnx(history: int = 0, *, half: bool = False, opset: int = OPSET) -> bytes:
    """An ONNX file without manifest that keeps the contract of the task ``denoise``; ``half``: its body is fp16."""
    import onnx

    text = _DENOISER.format(opset=opset, frames=history + 1, body=_HALF if half else _FULL)
    model = onnx.parser.parse_model(text)
    weights = np.full((1, 1, 3, 3), 1 / 9, np.float16 if half else np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def tiny_manifest(history: int = 0, **changes: Any) -> Manifest:
    """The manifest that goes with it; ``changes`` replace keys."""
    images = ("batch", "channel", "y", "x")
    known: dict[str, Any] = {
        "name": "tiny",
        "task": "denoise",
        "description": "Box mean, for tests",
        "licence": "BSD-3-Clause",
        "parameters": 9,
        "inputs": (
            TensorSpec(name="frames", dtype="uint16", axes=("batch", "time", "y", "x"),
                       shape=(1, history + 1, "height", "width"), unit="ADU", description="oldest first"),
            TensorSpec(name="calibration", dtype="float32", axes=images, shape=(1, 3, "height", "width")),
            TensorSpec(name="nominal", dtype="float32", axes=("index",), shape=(3,)),
        ),
        "outputs": (
            TensorSpec(name="image", dtype="float32", axes=images, shape=(1, 1, "height", "width"), unit="ADU"),
        ),
        "min_size": 16,
        "size_multiple": 8,
        "history": history,
        "normalisation": "offset and gain taken out",
        "pixel_size_nm": Span(low=50, high=200),
        "training": Training(recipe="none", seed=1, commit="0", command="true", hardware="none", duration_s=0),
        "metrics": (Metric(name="PSNR", unit="dB", value=30.5, baseline=31.25, baseline_name="BM3D", data="noise"),),
    }  # fmt: skip
    return Manifest(**{**known, **changes})


def tiny_inputs(shape: tuple[int, int] = SHAPE, history: int = 0, seed: int = 1) -> dict[str, Array]:
    """Noisy frames of a smooth scene, and the maps of a camera whose offset and gain differ from pixel to pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 30 + 20 * np.sin(x / 6) * np.cos(y / 5)
    electrons = rng.poisson(np.broadcast_to(light, (1, history + 1, *shape)))
    offset = OFFSET_ADU + rng.normal(0, 2, shape)
    gain = ELECTRONS_PER_ADU * (1 + 0.02 * rng.normal(size=shape))
    maps = np.stack([offset, gain, np.full(shape, READ_VARIANCE_E2)])[None]
    return {
        "frames": np.clip(np.rint(electrons / gain + offset), 0, 65535).astype(np.uint16),
        "calibration": maps.astype(np.float32),
        "nominal": np.array([OFFSET_ADU, 1 / ELECTRONS_PER_ADU, READ_VARIANCE_E2], np.float32),
    }


def tiny_examples(history: int = 0, shape: tuple[int, int] = SHAPE) -> Examples:
    """Test tensors of the tiny denoiser, its output computed by numpy."""
    inputs = tiny_inputs(shape, history)
    return Examples(inputs, {"image": box_mean_counts(**inputs).astype(np.float32)})


def write_tiny_denoiser(
    folder: Path, history: int = 0, *, half: bool = True, replace: bool = False, **changes: Any
) -> ModelPackage:
    """A whole package in ``folder``; ``changes`` replace keys of the manifest."""
    networks: dict[Any, bytes] = {"fp32": tiny_denoiser_onnx(history)}
    if half:
        networks["fp16"] = tiny_denoiser_onnx(history, half=True)
    manifest = tiny_manifest(history, **changes)
    return write_package(folder, manifest, networks, tiny_examples(history), FACTS, replace=replace)


def image_network(
    body: str = "output = Relu (input)", sizes: str = "1,1,h,w", *, opset: int = OPSET, declared: str = "float"
) -> bytes:
    """An ONNX file from ``input`` to ``output``, both of these sizes, not checked; ``body`` is ONNX text."""
    import onnx

    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
    text += f"net ({declared}[{sizes}] input) => (float[{sizes}] output) {{ {body} }}"
    content: bytes = onnx.parser.parse_model(text).SerializeToString(deterministic=True)
    return content


def zoo_tree_05(**changes: Any) -> dict[str, Any]:
    """A BioImage Model Zoo description 0.5 of an image-to-image network (hashes are filled in when written)."""
    space = [{"type": "space", "id": axis, "size": {"min": 16, "step": 8}} for axis in "yx"]
    like = [{"type": "space", "id": axis, "size": {"tensor_id": "raw", "axis_id": axis}} for axis in "yx"]
    leading = [{"type": "batch"}, {"type": "channel", "channel_names": ["grey"]}]
    return {
        "format_version": "0.5.3",
        "type": "model",
        "name": "Tiny Relu",
        "description": "Cuts what is negative",
        "version": "1.2.3",
        "license": "MIT",
        "authors": [{"name": "Somebody"}],
        "cite": [{"text": "nothing", "doi": "10.1234/abc"}],
        "documentation": "README.md",
        "inputs": [{"id": "raw", "axes": leading + space, "test_tensor": {"source": "in.npy"}, "preprocessing": []}],
        "outputs": [
            {"id": "clean", "axes": leading + like, "test_tensor": {"source": "out.npy"}, "postprocessing": []}
        ],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": OPSET}},
        **changes,
    }


def zoo_tree_04(**changes: Any) -> dict[str, Any]:
    """The same in format 0.4."""
    shape = {"min": [1, 1, 16, 16], "step": [0, 0, 8, 8]}
    like = {"reference_tensor": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]}
    return {
        "format_version": "0.4.10",
        "type": "model",
        "name": "Tiny Relu",
        "description": "Cuts what is negative",
        "license": "MIT",
        "authors": [{"name": "Somebody"}],
        "cite": [{"text": "nothing", "doi": "10.1234/abc"}],
        "documentation": "README.md",
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "timestamp": "2024-01-01T00:00:00",
        "inputs": [{"name": "raw", "axes": "bcyx", "data_type": "float32", "shape": shape}],
        "outputs": [{"name": "clean", "axes": "bcyx", "data_type": "float32", "shape": like}],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": OPSET}},
        **changes,
    }


def zoo_examples(shape: Sequence[int] = (1, 1, *SHAPE)) -> tuple[Array, Array]:
    """Input and output of ``image_network()`` without any step around it."""
    image = np.random.default_rng(2).normal(0, 3, tuple(shape)).astype(np.float32)
    return image, np.maximum(image, 0)


def write_zoo_package(
    folder: Path, tree: Mapping[str, Any], network: bytes | None = None, examples: tuple[Array, Array] | None = None
) -> Path:
    """A BioImage Model Zoo package in ``folder``."""
    folder.mkdir(parents=True)
    (folder / "weights.onnx").write_bytes(network or image_network())
    given, made = examples or zoo_examples()
    np.save(folder / "in.npy", given)
    np.save(folder / "out.npy", made)
    (folder / "README.md").write_text("# A network for tests\n")
    content = dict(tree)
    onnx = dict(content["weights"].get("onnx", {}))
    if onnx and "sha256" not in onnx:
        onnx["sha256"] = hashlib.sha256((folder / "weights.onnx").read_bytes()).hexdigest()
        content["weights"] = {**content["weights"], "onnx": onnx}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def zipped(folder: Path) -> Path:
    """The folder's files in a zip archive beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path
