"""Whether a package keeps its promises: its files, its graph, and the same answer from every engine that is here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smartscope.errors import InputError, SmartscopeError, UnsupportedModel
from smartscope_models.engines.choice import open_engine
from smartscope_models.engines.engine import Network, Precision
from smartscope_models.packages import bioimage_format
from smartscope_models.packages.answers import Answers, Opener
from smartscope_models.packages.bioimage import read_tree
from smartscope_models.packages.manifest import REMEDY, RUNTIMES
from smartscope_models.packages.onnx_file import OnnxFile, read_onnx
from smartscope_models.packages.opening import open_package
from smartscope_models.packages.operators import refusals
from smartscope_models.packages.package import FILES, ModelPackage, example_file
from smartscope_models.packages.report import Check, Report, Skip, checked, verdict
from smartscope_models.packages.sources import Source

OPSET = 17
"""Of our own networks: every engine is right on it."""


def verify(where: str | Path, opener: Opener = open_engine) -> Report:
    """Look at everything about a package; never raises for what is wrong with it."""
    try:
        package = open_package(where)
    except SmartscopeError as error:
        return Report(str(where), str(where), (Check("opens", "failed", error.line()),))
    opened = Check("opens", "ok", f"manifest and graph agree; sha256 {package.sha256}")
    networks = {p: read_onnx(network.onnx, network.name) for p, network in package.networks.items()}
    checks = (
        opened,
        *_file_checks(package),
        _opset(package, networks),
        *_operators(package, networks),
        *_parsed_by_tensorrt(package),
        *Answers(package, opener).checks(),
    )
    return Report(package.manifest.name, str(package.path), checks)


# -------------------------------------------------------------------------------------------------- files


def _file_checks(package: ModelPackage) -> Iterator[Check]:
    if package.origin == "file":
        for name in ("files", "hashes", "rdf.yaml"):
            yield Check(name, "skipped", "a bare file, no package")
        return
    source = Source(package.path)
    yield checked("files", partial(_files, package, source))
    yield checked("hashes", partial(_hashes, package, source))
    yield checked("rdf.yaml", partial(_description, source))


def _files(package: ModelPackage, source: Source) -> str:
    names = source.names()
    if package.origin == "package":
        wanted = [FILES["fp32"], "rdf.yaml", "CARD.md"]
        wanted += [example_file("input", spec.name) for spec in package.manifest.inputs]
        wanted += [example_file("output", spec.name) for spec in package.manifest.outputs]
        if missing := [name for name in wanted if name not in names]:
            raise InputError(f"{', '.join(missing)} missing", where=str(package.path), remedy="copy the whole package")
    examples = package.examples()
    return f"{len(names)} files, {'with' if examples else 'without'} test tensors"


def _hashes(package: ModelPackage, source: Source) -> str:
    """Every file here that the description gives a hash for; in a package of our own it must know the networks."""
    names = set()
    for file in _hashed(_tree(source)):
        found = hashlib.sha256(source.read(file["source"])).hexdigest()
        if found != file["sha256"]:
            raise InputError(
                f"{file['source']} is not the file that rdf.yaml describes (sha256 {found[:12]}…)",
                where=str(source.path),
                remedy="write or download the package again",
            )
        names.add(file["source"])
    unknown = [FILES[precision] for precision in package.networks if FILES[precision] not in names]
    if package.origin == "package" and unknown:
        raise InputError(f"rdf.yaml gives no hash of {', '.join(unknown)}", where=str(source.path), remedy=REMEDY)
    if not names:
        raise Skip("rdf.yaml gives none")
    return f"{len(names)} files as described"


def _tree(source: Source) -> dict[str, Any]:
    name = next((name for name in bioimage_format.FILES if source.has(name)), bioimage_format.FILES[0])
    return read_tree(source.read(name), f"{source.path}, {name}")


def _hashed(tree: Any) -> Iterator[dict[str, str]]:
    """All mappings in a tree that name a file and its hash; what lies on the network is not ours to fetch."""
    if isinstance(tree, dict):
        file, sha256 = tree.get("source"), tree.get("sha256")
        if isinstance(file, str) and isinstance(sha256, str) and "://" not in file:
            yield tree
        for value in tree.values():
            yield from _hashed(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _hashed(value)


def _description(source: Source) -> str:
    if find_spec("bioimageio") is None or find_spec("bioimageio.spec") is None:
        raise Skip("bioimageio.spec is not installed (pip install smartscope[zoo])")
    from bioimageio.spec import ValidationContext, validate_format  # no io checks: they would ask the network

    root = source.path if source.path.is_dir() else source.path.parent
    summary = validate_format(_tree(source), context=ValidationContext(root=root, perform_io_checks=False))
    errors = [f"{'.'.join(map(str, e.loc))}: {e.msg}" for detail in summary.details for e in detail.errors]
    if errors or summary.status == "failed":
        raise UnsupportedModel(" | ".join(errors) or "not valid", where=f"{source.path}, rdf.yaml")
    return f"valid by bioimageio.spec, format {summary.format_version}"


# -------------------------------------------------------------------------------------------------- graph


def _opset(package: ModelPackage, networks: dict[Precision, OnnxFile]) -> Check:
    found = {precision: network.opset for precision, network in networks.items()}
    if package.origin == "bioimage":
        return Check("opset", "skipped", f"{found['fp32']}, its authors' choice")
    wrong = (f"{FILES[precision]} has opset {opset}" for precision, opset in found.items() if opset != OPSET)
    return verdict("opset", wrong, str(OPSET))


def _operators(package: ModelPackage, networks: dict[Precision, OnnxFile]) -> Iterator[Check]:
    found = dict.fromkeys(refusal for network in networks.values() for refusal in refusals(network))
    for engine in RUNTIMES:
        lines = [refusal.line() for refusal in found if refusal.engine == engine]
        if engine in package.manifest.engines:
            yield verdict(f"operators {engine}", lines, "none that it is known to refuse")
        else:
            yield Check(f"operators {engine}", "skipped", "; ".join(["not meant for it", *lines]))


def _parsed_by_tensorrt(package: ModelPackage) -> Iterator[Check]:
    """TensorRT for RTX reads networks without a GPU, so what it refuses shows on any machine where it is installed."""
    for precision, network in package.networks.items():
        yield checked(f"tensorrt {precision}, parsed", partial(_parse, package, network))


def _parse(package: ModelPackage, network: Network) -> str:
    if "tensorrt" not in package.manifest.engines:
        raise Skip("not meant for it")
    if find_spec("tensorrt_rtx") is None:
        raise Skip("tensorrt_rtx is not installed (pip install smartscope[tensorrt])")
    import tensorrt_rtx

    from smartscope_models.engines.tensorrt import with_byte_pairs
    from smartscope_models.engines.tensorrt_build import parse

    layers = parse(tensorrt_rtx, with_byte_pairs(network)).definition.num_layers
    return f"{layers} layers, by version {tensorrt_rtx.__version__}"
