"""How a name or a path becomes an opened package: shipped, a folder, an ONNX file, or one of the BioImage Model Zoo."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from smartscope.errors import InputError, UnsupportedModel
from smartscope_models.engines.engine import Network, Precision
from smartscope_models.packages import bioimage, bioimage_format
from smartscope_models.packages.manifest import KEY, REMEDY, parse_manifest
from smartscope_models.packages.onnx_file import OnnxFile, read_onnx
from smartscope_models.packages.package import FILES, ModelPackage, disagreements, example_file
from smartscope_models.packages.sources import Source

SHIPPED = Path(__file__).parents[1] / "zoo"
ENVIRONMENT = "SMARTSCOPE_ZOO"
"""Names a folder of packages of your own, found by name like the shipped ones, and before them."""


def zoo_folders() -> tuple[Path, ...]:
    """Where packages are looked for by name, first the user's own.

    Raises:
        InputError: the environment names a folder that is not there.
    """
    if not (own := os.environ.get(ENVIRONMENT)):
        return (SHIPPED,)
    if not Path(own).is_dir():
        raise InputError("no such folder", where=f"{ENVIRONMENT}={own}", remedy="name a folder of model packages")
    return Path(own), SHIPPED


def find_packages() -> Iterator[Path]:
    """Folders of all packages that can be named, each name once; raises as ``zoo_folders`` does."""
    seen: set[str] = set()
    for zoo in zoo_folders():
        for folder in sorted(zoo.glob("*")):
            shown = not folder.name.startswith(".") and folder.name not in seen
            if shown and any((folder / name).is_file() for name in (FILES["fp32"], *bioimage_format.FILES)):
                seen.add(folder.name)
                yield folder


def locate(where: str | Path) -> Path:
    """The path behind a name of the zoo, or the path itself.

    Raises:
        InputError: neither.
    """
    if isinstance(where, str):
        for folder in find_packages():
            if folder.name == where:
                return folder
    path = Path(where)
    if path.exists():
        return path
    known = ", ".join(folder.name for folder in find_packages()) or "none is shipped"
    raise InputError(
        "no package of this name, and no such path",
        where=str(where),
        allowed=known,
        remedy=f"give one of these names or a path; {ENVIRONMENT} names a folder of your own packages",
    )


def open_package(where: str | Path) -> ModelPackage:
    """Open a model package; reads files, never the network.

    Args:
        where: a shipped name, a package folder, an ``.onnx`` file with a manifest, or a folder or zip archive of the
            BioImage Model Zoo (rdf.yaml 0.4 or 0.5) with ONNX weights. A name goes before a path; ``./name`` is a path.

    Raises:
        InputError: nothing there, or a file is missing, damaged or unreadable.
        UnsupportedModel: it is there, but no network that smartscope can run; says what is wrong and what is allowed.
    """
    path = locate(where)
    if path.suffix == ".onnx" and path.is_file():
        return _open_file(path)
    source = Source(path)
    names = source.names()
    if FILES["fp32"] in names:
        content = source.read(FILES["fp32"])
        network = read_onnx(content, f"{path}, {FILES['fp32']}")
        if KEY in network.metadata or not any(name in names for name in bioimage_format.FILES):
            return _open_own(source, names, content, network)
    for name in bioimage_format.FILES:
        if name in names:
            return _open_bioimage(source, name)
    raise UnsupportedModel(
        "is no model package",
        where=str(path),
        allowed=f"a folder with {FILES['fp32']}, an .onnx file, or a folder or zip archive with rdf.yaml at its top",
    )


def _open_file(path: Path) -> ModelPackage:
    source = Source(path.parent)
    content = source.read(path.name)
    package = _own(path, content, read_onnx(content, str(path)))
    return ModelPackage(package.manifest, package.networks, path, package.sha256, "file")


def _open_own(source: Source, names: tuple[str, ...], content: bytes, network: OnnxFile) -> ModelPackage:
    package = _own(source.path, content, network)
    networks = dict(package.networks)
    if FILES["fp16"] in names:
        half = source.read(FILES["fp16"])
        where = f"{source.path}, {FILES['fp16']}"
        _must_agree(package, read_onnx(half, where), where)
        networks["fp16"] = Network.of(f"{package.manifest.name} (fp16)", half)
    inputs = {spec.name: example_file("input", spec.name) for spec in package.manifest.inputs}
    outputs = {spec.name: example_file("output", spec.name) for spec in package.manifest.outputs}
    has_any = set(inputs.values()) & set(names)
    examples = (inputs, outputs) if has_any else ({}, {})
    return ModelPackage(package.manifest, networks, source.path, package.sha256, example_files=examples)


def _own(path: Path, content: bytes, network: OnnxFile) -> ModelPackage:
    """The package in one file, its manifest and graph agreeing."""
    if KEY not in network.metadata:
        raise UnsupportedModel(f"carries no manifest (metadata key {KEY!r})", where=str(path), remedy=REMEDY)
    manifest = parse_manifest(network.metadata[KEY], str(path))
    networks: dict[Precision, Network] = {"fp32": Network.of(manifest.name, content)}
    package = ModelPackage(manifest, networks, path, networks["fp32"].sha256)
    _must_agree(package, network, str(path))
    return package


def _must_agree(package: ModelPackage, network: OnnxFile, where: str) -> None:
    if found := disagreements(package.manifest, network, strict=package.origin != "bioimage"):
        raise UnsupportedModel(" | ".join(found), where=where, remedy=REMEDY)


def _open_bioimage(source: Source, name: str) -> ModelPackage:
    where = f"{source.path}, {name}"
    description = bioimage.read_description(source.read(name), where)
    file, wanted = description.weights.source, description.weights.sha256
    content = source.read(file)
    sha256 = hashlib.sha256(content).hexdigest()
    if wanted not in (None, sha256):
        raise InputError(
            f"its file {file!r} is damaged (sha256 {sha256[:12]}…, not {str(wanted)[:12]}…)",
            where=where,
            remedy="download the package again",
        )
    onnx_where = f"{source.path}, {file}"
    network = read_onnx(content, onnx_where)
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise UnsupportedModel(
            f"its network has {len(network.inputs)} inputs and {len(network.outputs)} outputs",
            where=onnx_where,
            allowed="one of each",
        )
    manifest = description.manifest(network)
    given, made = description.input.test, description.output.test
    package = ModelPackage(
        manifest,
        {"fp32": Network.of(manifest.name, content)},
        source.path,
        sha256,
        "bioimage",
        description.host,
        ({manifest.inputs[0].name: given}, {manifest.outputs[0].name: made}) if given and made else ({}, {}),
    )
    _must_agree(package, network, onnx_where)
    return package
