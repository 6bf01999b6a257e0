"""How a package folder comes to be: written and checked under another name, then put in its place at once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from smartscope.errors import InputError
from smartscope_models.engines.engine import Precision
from smartscope_models.packages.card import CardFacts, card
from smartscope_models.packages.manifest import Manifest, embed_manifest
from smartscope_models.packages.onnx_file import read_onnx
from smartscope_models.packages.opening import open_package
from smartscope_models.packages.package import FILES, Array, Examples, ModelPackage, example_file
from smartscope_models.packages.rdf import rdf_yaml


def write_package(
    folder: str | Path,
    manifest: Manifest,
    networks: Mapping[Precision, bytes],
    examples: Examples,
    facts: CardFacts,
    *,
    replace: bool = False,
) -> ModelPackage:
    """Write a package and open it; equal arguments give equal bytes. Needs the ``onnx`` package.

    Args:
        folder: where it shall lie; its last part is the name under which a zoo offers it.
        manifest: goes into each network's file.
        networks: ONNX files by precision of their body; ``fp32`` must be there.
        examples: test tensors; the outputs are those of the fp32 network, made by the reference engine.
        facts: words for the card.
        replace: put it in the place of what is there.

    Raises:
        InputError: something is there already, the folder cannot be written, or fp32 or a test tensor is missing.
        UnsupportedModel: manifest and network disagree. In all cases what was there before is untouched.
    """
    target = Path(folder).absolute()
    if target.exists() and not replace:
        raise InputError("is there already", where=str(folder), remedy="remove it, or say replace=True")
    if "fp32" not in networks:
        raise InputError("a package needs an fp32 network", where=str(folder), allowed="fp32, or fp32 and fp16")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder), remedy="name another") from error
    try:
        draft.chmod(0o755)
        _fill(draft, manifest, networks, examples, facts)
        open_package(draft).examples()
        _put(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_package(target)


def _fill(
    draft: Path, manifest: Manifest, networks: Mapping[Precision, bytes], examples: Examples, facts: CardFacts
) -> None:
    files = {FILES[precision]: embed_manifest(onnx, manifest) for precision, onnx in networks.items()}
    for name, content in files.items():
        (draft / name).write_bytes(content)
    for spec in manifest.inputs:
        _save(draft / example_file("input", spec.name), examples.inputs, spec.name)
    for spec in manifest.outputs:
        _save(draft / example_file("output", spec.name), examples.outputs, spec.name)
    (draft / "CARD.md").write_text(card(manifest, facts), encoding="utf-8")
    sha256 = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(draft.iterdir())}
    opset = read_onnx(files[FILES["fp32"]], manifest.name).opset
    text = rdf_yaml(manifest, sha256, opset=opset, authors=facts.authors, cite=facts.cite)
    (draft / "rdf.yaml").write_text(text, encoding="utf-8")


def _save(path: Path, arrays: Mapping[str, Array], name: str) -> None:
    if name not in arrays:
        raise InputError(
            f"no test tensor for {name!r}", where=str(path.name), remedy="give one for each in- and output"
        )
    np.save(path, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def _put(draft: Path, target: Path) -> None:
    """The draft in the target's place; what was there goes only when the new one lies there."""
    if not target.exists():
        draft.replace(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.replace(old / target.name)
    try:
        draft.replace(target)
    except OSError:
        (old / target.name).replace(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
