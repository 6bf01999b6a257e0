"""A name or a path becomes a package, whatever kind it is of; each wrong thing becomes one clear error."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from packages_helpers import (
    SHAPE,
    image_network,
    tiny_denoiser_onnx,
    tiny_manifest,
    write_tiny_denoiser,
    write_zoo_package,
    zipped,
    zoo_tree_04,
    zoo_tree_05,
)

from smartscope.errors import InputError, SmartscopeError, UnsupportedModel
from smartscope_models.packages import ModelPackage, find_packages, open_package
from smartscope_models.packages import opening as opening_module
from smartscope_models.packages.manifest import embed_manifest


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a package never asks the network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.delenv(opening_module.ENVIRONMENT, raising=False)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the shipped packages, with one in it."""
    shipped = tmp_path / "shipped"
    write_tiny_denoiser(shipped / "tiny", history=2)
    monkeypatch.setattr(opening_module, "SHIPPED", shipped)
    return shipped


def test_by_name(zoo: Path) -> None:
    package = open_package("tiny")
    content = (zoo / "tiny" / "model.onnx").read_bytes()
    assert package.path == zoo / "tiny"
    assert package.origin == "package"
    assert package.manifest == tiny_manifest(history=2)
    assert set(package.networks) == {"fp32", "fp16"}
    assert package.networks["fp32"].onnx == content
    assert package.sha256 == package.networks["fp32"].sha256 == hashlib.sha256(content).hexdigest()
    assert package.networks["fp16"].sha256 != package.sha256
    examples = package.examples()
    assert examples is not None
    assert examples.inputs["frames"].shape == (1, 3, *SHAPE)
    assert examples.outputs["image"].dtype == np.float32


def test_names_of_ones_own_go_before_the_shipped_and_before_paths(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    write_tiny_denoiser(own / "tiny", version="9.0.0")
    write_tiny_denoiser(own / "second", half=False)
    (own / "notes").mkdir()
    (own / ".tiny.draft").mkdir()
    (own / ".tiny.draft" / "model.onnx").write_bytes(b"")
    write_tiny_denoiser(zoo / "other")
    monkeypatch.setenv(opening_module.ENVIRONMENT, str(own))
    assert [folder.name for folder in find_packages()] == ["second", "tiny", "other"]
    assert open_package("tiny").manifest.version == "9.0.0"
    assert set(open_package("second").networks) == {"fp32"}
    monkeypatch.chdir(zoo)
    assert open_package("tiny").manifest.version == "9.0.0"
    assert open_package("./tiny").manifest.version == "0.1.0"
    monkeypatch.setenv(opening_module.ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"SMARTSCOPE_ZOO=.*nowhere: no such folder"):
        open_package("tiny")


def test_a_bare_file(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes((zoo / "tiny" / "model.onnx").read_bytes())
    package = open_package(path)
    assert (package.origin, package.path, set(package.networks)) == ("file", path, {"fp32"})
    assert package.examples() is None
    assert package.sha256 == open_package("tiny").sha256


def opened_zoo_package(tmp_path: Path, tree: dict[str, Any], archive: bool = False, **files: Any) -> ModelPackage:
    folder = write_zoo_package(tmp_path / "zoo", tree, **files)
    return open_package(zipped(folder) if archive else folder)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("tree", [zoo_tree_05(), zoo_tree_04()], ids=["0.5", "0.4"])
def test_packages_of_the_zoo(tmp_path: Path, tree: dict[str, Any], archive: bool) -> None:
    package = opened_zoo_package(tmp_path, tree, archive)
    manifest = package.manifest
    assert package.origin == "bioimage"
    assert (manifest.name, manifest.task, manifest.licence) == ("zoo_tiny_relu", "image_to_image", "MIT")
    assert manifest.version == ("1.2.3" if "version" in tree else "0.0.0")
    assert manifest.inputs[0].name == "input", "the graph's name, whatever the description calls it"
    assert manifest.inputs[0].axes == ("batch", "channel", "y", "x")
    assert manifest.inputs[0].shape == (1, 1, "height", "width")
    assert manifest.fit(17, 30) == (24, 32)
    assert not package.host
    examples = package.examples()
    assert examples is not None
    assert examples.outputs["output"].min() == 0


@pytest.mark.parametrize("tree", [zoo_tree_05(), zoo_tree_04()], ids=["0.5", "0.4"])
def test_zoo_packages_of_one_size_with_steps_and_other_axes(tmp_path: Path, tree: dict[str, Any]) -> None:
    given, made = tree["inputs"][0], tree["outputs"][0]
    if "id" in given:
        given["axes"] = [{"type": "space", "id": "x", "size": 48}, {"type": "space", "id": "y", "size": 32}]
        made["axes"] = given["axes"]
        given["preprocessing"] = [{"id": "scale_linear", "kwargs": {"gain": 2.0}}]
        made["postprocessing"] = [{"id": "scale_mean_variance", "kwargs": {"reference_tensor": "raw"}}]
    else:
        given.update(axes="xy", shape=[48, 32], preprocessing=[{"name": "scale_linear", "kwargs": {"gain": 2.0}}])
        kwargs = {"mode": "per_sample", "reference_tensor": "raw"}
        made.update(axes="xy", shape=[48, 32], postprocessing=[{"name": "scale_mean_variance", "kwargs": kwargs}])
    package = opened_zoo_package(tmp_path, tree, network=image_network(sizes="48,32"))
    assert package.manifest.inputs[0].axes == ("x", "y")
    assert package.manifest.fit(30, 40) == (32, 48)
    assert [step.name for step in package.host.before] == ["scale_linear"]
    assert package.host.rescales_after
    with pytest.raises(InputError, match=r"in\.npy: holds float32 \(1, 1, 32, 48\); allowed: float32 \(48, 32\)"):
        package.examples()


def test_engines_that_will_not_take_a_zoo_network(tmp_path: Path) -> None:
    network = image_network("axis = Constant <value = int64 {2}> () i = Identity (input) output = DFT <axis = 2> (i)")
    package = opened_zoo_package(tmp_path, zoo_tree_05(), network=network)
    assert package.manifest.engines == ("onnxruntime", "openvino", "torch")


def test_a_zoo_package_without_tests(tmp_path: Path) -> None:
    tree = zoo_tree_05()
    del tree["outputs"][0]["test_tensor"]
    assert opened_zoo_package(tmp_path, tree).examples() is None


# ------------------------------------------------------------------------------------------- what is wrong

Spoil = Callable[[Path], object]


def without_manifest(folder: Path) -> None:
    (folder / "rdf.yaml").unlink()
    (folder / "model.onnx").write_bytes(tiny_denoiser_onnx())


def other_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(embed_manifest(tiny_denoiser_onnx(history=2), tiny_manifest()))


def other_half(folder: Path) -> None:
    (folder / "model.fp16.onnx").write_bytes(image_network())


def float_frames(folder: Path) -> None:
    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_manifest, "carries no manifest"),
        (other_graph, r"input frames has shape \(1, 3, 'height', 'width'\); the manifest says \(1, 1, 'height'"),
        (other_half, r"model\.fp16\.onnx: inputs are input; the manifest says frames, calibration, nominal"),
        (float_frames, "input frames is float32; the manifest says uint16"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"x"), r"model\.onnx: is no ONNX file"),
    ],
)
def test_packages_that_do_not_fit_together(tmp_path: Path, spoil: Spoil, said: str) -> None:
    write_tiny_denoiser(tmp_path / "tiny")
    spoil(tmp_path / "tiny")
    with pytest.raises(UnsupportedModel, match=said):
        open_package(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "test_output_image.npy").unlink(), "cannot be read"),
        (lambda folder: (folder / "test_output_image.npy").write_bytes(b"no"), "is no .npy file"),
        (lambda folder: np.save(folder / "test_output_image.npy", np.zeros((1, 1, 3, 3))), "holds float64"),
        (
            lambda folder: np.save(folder / "test_input_nominal.npy", np.zeros(4, np.float32)),
            r"allowed: float32 \(3,\)",
        ),
    ],
)
def test_test_tensors_that_are_no_use(tmp_path: Path, spoil: Spoil, said: str) -> None:
    package = write_tiny_denoiser(tmp_path / "tiny")
    spoil(tmp_path / "tiny")
    with pytest.raises(InputError, match=said):
        package.examples()


def test_there_is_nothing(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no package of this name.*allowed: tiny.*SMARTSCOPE_ZOO"):
        open_package("nowhere")
    with pytest.raises(UnsupportedModel, match=r"is no model package; allowed: a folder with model\.onnx"):
        open_package(tmp_path)
    (tmp_path / "model.onnx").write_bytes(image_network())
    with pytest.raises(UnsupportedModel, match="carries no manifest"):
        open_package(tmp_path / "model.onnx")
    (tmp_path / "text.txt").write_text("no archive")
    with pytest.raises(InputError, match="is no zip archive"):
        open_package(tmp_path / "text.txt")


def deep(tree: dict[str, Any], way: str, value: Any) -> dict[str, Any]:
    """The tree with one value changed, ``inputs.0.axes`` for instance; None takes it out."""
    *path, last = way.split(".")
    place: Any = tree
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if value is None:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return tree


SPACE = {"type": "space", "id": "y", "size": {"min": 16, "step": 8}}
LIKE = {"type": "space", "id": "y", "size": {"tensor_id": "raw", "axis_id": "y", "offset": 2}}


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        ("type", "dataset", "describes a dataset in format 0.5.3; allowed: a model, format 0.4 or 0.5"),
        ("format_version", "0.3.6", "in format 0.3.6"),
        ("name", None, "name: this key is required"),
        ("weights", {"torchscript": {"source": "x.pt"}}, "has no ONNX weights; allowed: onnx; it has torchscript"),
        ("weights", {}, "it has none"),
        ("weights.onnx.external_data", {"source": "w.bin"}, "has no ONNX weights in one file"),
        ("weights.onnx.source", "https://example.org/w.onnx", "is on the network"),
        ("weights.onnx.source", "../w.onnx", "outside the package"),
        ("weights.onnx", {"opset_version": 17}, "source: this key is required"),
        ("inputs", [zoo_tree_05()["inputs"][0]] * 2, "has 2 inputs and 1 outputs; allowed: one of each"),
        ("inputs.0.axes.1.channel_names", ["red", "green"], r"batch, channel, y, x of \[1, 2, 16, 16\]"),
        ("inputs.0.axes.2", {"type": "time", "size": 1}, "allowed: one image: y, x"),
        ("inputs.0.axes.2.size", {"min": 16, "step": 16}, r"takes heights 16 \+ n·16 but widths 16 \+ n·8"),
        ("inputs.0.axes.2.size", 64, "only one of height and width may change"),
        ("inputs.0.axes.2.size", "wide", "inputs.0.axes.2.size"),
        ("inputs.0.preprocessing", [{"id": "binarize", "kwargs": {"threshold": 1}}], "wants the step 'binarize'"),
        ("outputs.0.axes.2", LIKE, "makes an image of another size"),
        ("outputs.0.axes.2", {**LIKE, "size": {"tensor_id": "raw", "axis_id": "y"}, "scale": 0.5}, "of another size"),
    ],
)
def test_zoo_packages_that_cannot_be_used(tmp_path: Path, way: str, value: Any, said: str) -> None:
    folder = write_zoo_package(tmp_path / "zoo", deep(zoo_tree_05(), way, value))
    with pytest.raises(UnsupportedModel, match=said):
        open_package(folder)


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        ("inputs.0.axes", "byxq", "inputs.0.axes"),
        ("inputs.0.axes", "bcx", "allowed: one image"),
        ("inputs.0.shape", [1, 3, 64, 64], r"\[1, 3, 64, 64\]"),
        ("outputs.0.shape.scale", [1, 1, 2, 2], "makes an image of another size"),
        ("outputs.0.shape.offset", [0, 0, 4, 4], "makes an image of another size"),
        ("outputs.0.shape", [1, 1, 64], "allowed: one image"),
    ],
)
def test_zoo_packages_of_format_0_4_that_cannot_be_used(tmp_path: Path, way: str, value: Any, said: str) -> None:
    folder = write_zoo_package(tmp_path / "zoo", deep(zoo_tree_04(), way, value))
    with pytest.raises(UnsupportedModel, match=said):
        open_package(folder)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            image_network("output = Cast <to = 1> (input)", declared="uint8"),
            "dtype uint8, the task wants float32",
        ),
        (image_network(sizes="1,1,64,64"), r"shape \(1, 1, 64, 64\); the manifest says \(1, 1, 'height', 'width'\)"),
        (image_network(sizes="1,h,w"), "has shape"),
        (tiny_denoiser_onnx(), "its network has 3 inputs and 1 outputs"),
    ],
)
def test_zoo_networks_that_are_not_what_the_description_says(tmp_path: Path, network: bytes, said: str) -> None:
    folder = write_zoo_package(tmp_path / "zoo", zoo_tree_05(), network)
    with pytest.raises(UnsupportedModel, match=said):
        open_package(folder)


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "is no YAML"), ("- a", "is no YAML mapping"), ("a: \xff", "is no YAML")]
)
def test_descriptions_that_are_no_yaml(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rdf.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnsupportedModel, match=said):
        open_package(tmp_path)


def test_damaged_weights(tmp_path: Path) -> None:
    folder = write_zoo_package(tmp_path / "zoo", zoo_tree_05())
    (folder / "weights.onnx").write_bytes(image_network("output = Abs (input)"))
    with pytest.raises(InputError, match=r"weights\.onnx' is damaged \(sha256"):
        open_package(folder)


def test_every_error_says_what_to_do_or_what_is_allowed(tmp_path: Path) -> None:
    for way, value in (("type", "dataset"), ("weights", {}), ("inputs.0.axes.2.size", 64)):
        folder = write_zoo_package(tmp_path / way, deep(zoo_tree_05(), way, value))
        with pytest.raises(SmartscopeError) as caught:
            open_package(folder)
        assert caught.value.where
