"""A manifest as an rdf.yaml of the BioImage Model Zoo (description 0.5), so that its tools can read our packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from smartscope_models.packages.manifest import OPEN, Axis, Manifest, TensorSpec
from smartscope_models.packages.package import FILES, example_file

FORMAT = "0.5.3"
"""The oldest with all keys used here."""
LONGEST = 128
"""Characters of a tensor's description."""
CHANNELS = {3: ("offset", "gain", "read_variance")}
"""Names of channels; numbered where unknown."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A publication or web page to cite; one of ``doi`` and ``url``."""

    text: str
    doi: str = ""
    url: str = ""


def rdf_yaml(
    manifest: Manifest,
    sha256: Mapping[str, str],
    *,
    opset: int,
    authors: Sequence[str],
    cite: Sequence[Reference],
    tags: Sequence[str] = (),
) -> str:
    """The description as YAML text; ``sha256`` by file name, of every file in the package but this one."""
    weights = {**_file(FILES["fp32"], sha256), "opset_version": opset}
    tree: dict[str, Any] = {
        "format_version": FORMAT,
        "type": "model",
        "name": f"smartscope {manifest.name.replace('_', ' ')}",
        "description": manifest.description,
        "version": manifest.version,
        "license": manifest.licence,
        "authors": [{"name": name} for name in authors],
        "cite": [{key: value for key, value in _cited(item).items() if value} for item in cite],
        "tags": ["smartscope", manifest.task.replace("_", "-"), "live-microscopy", *tags],
        "documentation": "CARD.md",
        "inputs": [_tensor(spec, "input", manifest, sha256) for spec in manifest.inputs],
        "outputs": [_tensor(spec, "output", manifest, sha256) for spec in manifest.outputs],
        "weights": {"onnx": weights},
        "config": {"smartscope": {"manifest": f"metadata of {FILES['fp32']}, key smartscope.manifest"}},
    }
    if FILES["fp16"] in sha256:
        tree["attachments"] = [_file(FILES["fp16"], sha256)]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def _file(name: str, sha256: Mapping[str, str]) -> dict[str, Any]:
    return {"source": name, "sha256": sha256[name]}


def _cited(item: Reference) -> dict[str, str]:
    return {"text": item.text, "doi": item.doi, "url": item.url}


def _tensor(spec: TensorSpec, kind: Any, manifest: Manifest, sha256: Mapping[str, str]) -> dict[str, Any]:
    description = f"{spec.description} [{spec.unit}]".strip() if spec.unit else spec.description
    return {
        "id": spec.name,
        "description": description[:LONGEST],
        "axes": [
            _axis(axis, length, spec, manifest, output=kind == "output")
            for axis, length in zip(spec.axes, spec.shape, strict=True)
        ],
        "data": {"type": spec.dtype},
        "test_tensor": _file(example_file(kind, spec.name), sha256),
    }


def _axis(axis: Axis, length: int | str, spec: TensorSpec, manifest: Manifest, *, output: bool) -> dict[str, Any]:
    if axis == "batch":
        return {"type": "batch", "size": 1}
    if axis == "channel":
        numbered = tuple(f"channel_{k}" for k in range(int(length)))
        names = CHANNELS.get(int(length), numbered) if spec.name == "calibration" else numbered
        return {"type": "channel", "channel_names": list(names)}
    kind = axis if axis in ("index", "time") else "space"
    return {"type": kind, "id": axis, "size": _size(axis, length, spec, manifest, output=output)}


def _size(axis: Axis, length: int | str, spec: TensorSpec, manifest: Manifest, *, output: bool) -> Any:
    """A number, a series of sizes for the first input, and a reference to that for all others."""
    if isinstance(length, int):
        return length
    first = next(tensor for tensor in manifest.inputs if length in tensor.shape)
    if not output and spec is first:
        return {"min": manifest.min_size, "step": manifest.size_multiple}
    assert axis in OPEN
    return {"tensor_id": first.name, "axis_id": axis}
