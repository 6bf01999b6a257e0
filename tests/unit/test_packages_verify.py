"""Verifying finds each broken promise, names it, and says of every check that was not made why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packages_helpers import (
    FACTS,
    image_network,
    tiny_denoiser_onnx,
    tiny_examples,
    tiny_manifest,
    write_tiny_denoiser,
    write_zoo_package,
    zipped,
    zoo_tree_05,
)

from smartscope.errors import EngineError
from smartscope_models.engines import Finding, Network, probe
from smartscope_models.packages import Examples, write_package
from smartscope_models.packages.answers import relative_error
from smartscope_models.packages.onnx_file import read_onnx
from smartscope_models.packages.operators import refusals
from smartscope_models.packages.report import Check, Report
from smartscope_models.packages.verify import verify

Spoil = Callable[[Path], object]
ENGINES = ("onnxruntime", "torch")


class Engine:
    """Stands for any engine: answers as numpy does, but for what a test wants wrong."""

    opened: list[tuple[str, str]] = []  # noqa: RUF012
    closed = 0

    def __init__(self, networks: Mapping[str, Network], *, engine: str, precision: str, **wrong: Any) -> None:
        self.wrong = wrong.get(engine)
        assert precision in networks
        Engine.opened.append((engine, precision))

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        assert {name: array.shape for name, array in inputs.items()} == self.shapes
        if self.wrong == "fails":
            raise EngineError("failed", where="engine")
        from packages_helpers import box_mean_counts

        image = box_mean_counts(**inputs).astype(np.float32)
        if self.wrong == "differs":
            image += 0.05 * image.std()
        if self.wrong == "not finite":
            image[0, 0, 3, 3] = np.nan
        if self.wrong == "cuts":
            image = image[..., 1:]
        return {"image": image}

    def close(self) -> None:
        Engine.closed += 1


@pytest.fixture(autouse=True)
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tensorrt_rtx", "tensorrt", "torch_cuda", "onnxruntime", "openvino", "torch")
    found = tuple(Finding(name, name in ENGINES, "1", "cpu" if name in ENGINES else "not here") for name in names)
    monkeypatch.setattr(probe, "findings", lambda: found)
    Engine.opened.clear()
    Engine.closed = 0


def verified(where: Path, **wrong: str) -> Report:
    return verify(where, lambda *args, **kwargs: Engine(*args, **kwargs, **wrong))


def failures(report: Report) -> dict[str, str]:
    return {check.name: check.why for check in report.checks if check.status == "failed"}


def one(report: Report, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def test_a_sound_package(tmp_path: Path) -> None:
    report = verified(write_tiny_denoiser(tmp_path / "tiny", history=2).path)
    assert failures(report) == {}
    assert report.ok
    assert one(report, "hashes").why == "6 files as described"
    assert "40 x 64, judged by torch" in one(report, "onnxruntime fp32, second size").why
    assert one(report, "openvino fp32, test tensors") == Check(
        "openvino fp32, test tensors", "skipped", "openvino: not here"
    )
    assert one(report, "tensorrt fp16, test tensors").why == "tensorrt_rtx: not here; tensorrt: not here"
    assert Engine.closed == len(Engine.opened) == 7
    assert ("onnxruntime", "fp16") in Engine.opened
    tree = report.as_dict()
    assert tree["ok"] is True
    assert tree["checks"][0]["name"] == "opens"
    assert all(check["why"] for check in tree["checks"])


def test_real_engines_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    report = verify(write_tiny_denoiser(tmp_path / "tiny", history=2).path)
    assert failures(report) == {}
    made = {check.name for check in report.checks if check.status == "ok"}
    usable = {finding.name for finding in probe.findings() if finding.usable}
    assert {f"{name} fp32, second size" for name in ENGINES if name in usable} <= made


def change(name: str, content: bytes | None = None) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes() + b"\n" if content is None else content)

    return spoil


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def other_answer(folder: Path) -> None:
    np.save(folder / "test_output_image.npy", tiny_examples().outputs["image"] + 1)


def forget_half(folder: Path) -> None:
    path = folder / "rdf.yaml"
    path.write_text(path.read_text().partition("attachments:")[0])


def nonsense_axis(folder: Path) -> None:
    path = folder / "rdf.yaml"
    path.write_text(path.read_text().replace("type: time", "type: taste"))


UNREADABLE = ("answers, test tensors", "answers, second size")


@pytest.mark.parametrize(
    ("spoil", "failed", "said"),
    [
        (change("model.fp16.onnx"), {"opens"}, "no ONNX file"),
        (change("test_input_frames.npy", b""), {"files", "hashes", *UNREADABLE}, "is no .npy file"),
        (remove("CARD.md"), {"files"}, "CARD.md missing"),
        (remove("rdf.yaml"), {"files", "hashes", "rdf.yaml"}, "rdf.yaml missing"),
        (change("rdf.yaml", b"a: ["), {"hashes", "rdf.yaml"}, "is no YAML"),
        (other_answer, {"hashes", "onnxruntime fp32, test tensors", "onnxruntime fp16, test tensors",
                        "torch fp32, test tensors"}, "not the file that rdf.yaml describes"),
        (forget_half, {"hashes"}, "gives no hash of model.fp16.onnx"),
        (nonsense_axis, {"rdf.yaml"}, "taste"),
    ],
)  # fmt: skip
def test_broken_promises_of_files(tmp_path: Path, spoil: Spoil, failed: set[str], said: str) -> None:
    package = write_tiny_denoiser(tmp_path / "tiny")
    spoil(package.path)
    report = verified(package.path)
    found = failures(report)
    assert set(found) == failed
    assert report.ok == (not failed)
    assert said in " ".join(found.values())


@pytest.mark.parametrize("wrong", ["fails", "differs", "not finite", "cuts"])
def test_engines_that_answer_wrongly(tmp_path: Path, wrong: str) -> None:
    report = verified(write_tiny_denoiser(tmp_path / "tiny", half=False).path, onnxruntime=wrong)
    found = failures(report)
    assert set(found) == {f"onnxruntime fp32, {size}" for size in ("test tensors", "second size")}
    assert all(wrong == "fails" or "of its standard deviation; allowed: <= 0.0001" in why for why in found.values())
    assert Engine.closed == len(Engine.opened)


def test_without_a_reference_engine(tmp_path: Path) -> None:
    path = write_tiny_denoiser(tmp_path / "tiny").path
    assert set(failures(verified(path, torch="fails"))) == {"torch fp32, test tensors", "answers, second size"}


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "findings", lambda: (Finding("torch", False, "", "not installed"),))
    report = verified(write_tiny_denoiser(tmp_path / "tiny").path)
    assert one(report, "answers, second size").why == "no reference engine: torch: not installed"
    assert report.ok


def test_packages_that_are_not_meant_for_every_engine(tmp_path: Path) -> None:
    report = verified(write_tiny_denoiser(tmp_path / "tiny", engines=("torch",)).path)
    assert one(report, "operators onnxruntime") == Check("operators onnxruntime", "skipped", "not meant for it")
    assert one(report, "onnxruntime fp32, test tensors").status == "skipped"
    assert one(report, "tensorrt fp32, parsed").why == "not meant for it"
    assert "onnxruntime" not in {engine for engine, _ in Engine.opened}


def test_another_opset(tmp_path: Path) -> None:
    onnx = {"fp32": tiny_denoiser_onnx(opset=16)}
    package = write_package(tmp_path / "old", tiny_manifest(), onnx, tiny_examples(), FACTS)  # type: ignore[arg-type]
    assert failures(verified(package.path)) == {"opset": "model.onnx has opset 16"}


def test_what_tensorrt_cannot_read_fails_on_any_machine(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install smartscope[tensorrt]")
    spec = tiny_manifest().outputs[0]
    body = "at = NonZero (input) some = Cast <to = 1> (at) one = ReduceMean (some) output = Add (input, one)"
    manifest = tiny_manifest(
        task="image_to_image",
        inputs=(spec.model_copy(update={"name": "input"}),),
        outputs=(spec.model_copy(update={"name": "output"}),),
    )
    image = np.ones((1, 1, 16, 24), np.float32)
    network = image_network(body, "1,1,height,width")
    examples = Examples({"input": image}, {"output": image})
    write_package(tmp_path / "nonzero", manifest, {"fp32": network}, examples, FACTS)
    found = failures(verify(tmp_path / "nonzero", lambda *_, **__: _raise(EngineError("not asked here"))))
    assert "tensorrt does not take NonZero: the length of its answer" in found["operators tensorrt"]
    assert "cannot take the network" in found["tensorrt fp32, parsed"]


def _raise(error: Exception) -> Any:
    raise error


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartscope_models.packages.verify.find_spec", lambda name: None)
    report = verified(write_tiny_denoiser(tmp_path / "tiny").path)
    for name, extra in (("tensorrt fp32, parsed", "tensorrt"), ("rdf.yaml", "zoo")):
        assert one(report, name).status == "skipped"
        assert f"pip install smartscope[{extra}]" in one(report, name).why
    assert report.ok


def test_a_bare_file(tmp_path: Path) -> None:
    report = verified(write_tiny_denoiser(tmp_path / "tiny").path / "model.onnx")
    assert report.ok
    assert one(report, "files").why == "a bare file, no package"
    assert one(report, "answers, test tensors").why == "it has no test tensors"
    assert one(report, "torch fp32, second size").status == "ok"


def test_nothing_there() -> None:
    report = verify("nowhere")
    assert not report.ok
    assert "no such path" in failures(report)["opens"]


def zoo(tmp_path: Path, **changes: Any) -> Path:
    tree = zoo_tree_05()
    tree["inputs"][0]["preprocessing"] = [{"id": "scale_linear", "kwargs": {"gain": -2.0}}]
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 32, 48)).astype(np.float32)
    examples = image, np.maximum(-2 * image, 0)
    return write_zoo_package(tmp_path / "zoo", {**tree, **changes}, examples=examples)


def test_packages_of_the_zoo_with_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    elsewhere = {"covers": [{"source": "https://example.org/cover.png", "sha256": "0" * 64}]}
    report = verify(zipped(zoo(tmp_path, config=elsewhere)))
    assert failures(report) == {}
    assert one(report, "onnxruntime fp32, test tensors").status == "ok"
    assert one(report, "opset").status == "skipped"
    assert one(report, "hashes").why == "1 files as described"


def test_zoo_packages_without_hashes_and_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tree = zoo_tree_05(weights={"onnx": {"source": "weights.onnx", "opset_version": 17, "sha256": None}})
    for tensor in (tree["inputs"][0], tree["outputs"][0]):
        tensor["axes"][2:] = [{"type": "space", "id": "y", "size": 32}, {"type": "space", "id": "x", "size": 48}]
    report = verify(write_zoo_package(tmp_path / "zoo", tree))
    assert one(report, "hashes").why == "rdf.yaml gives none"
    assert one(report, "answers, second size").why == "takes frames of 32 x 48 pixels alone, not 33 x 50"
    assert report.ok


NETWORKS = {
    "DFT": ('axis = Constant <value = int64 {1}> () output = DFT (input, , axis)', 20, {"tensorrt", "openvino"}),
    "DFT 17": ("output = DFT <axis = 1> (input)", 17, {"tensorrt"}),
    "NonZero": ("output = NonZero (input)", 17, {"tensorrt"}),
    "TopK": ("k = Constant <value = int64[1] {3841}> () output, at = TopK (input, k)", 17, {"tensorrt"}),
    "short TopK": ("k = Constant <value = int64[1] {3840}> () output, at = TopK (input, k)", 17, set()),
    "computed TopK": ("k = Shape (input) output, at = TopK (input, k)", 17, set()),
    "ScatterND": ('output = ScatterND <reduction = "add"> (input, input, input)', 17, {"tensorrt"}),
    "plain ScatterND": ("output = ScatterND (input, input, input)", 17, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_operators_that_are_known_to_fail(name: str) -> None:
    body, opset, engines = NETWORKS[name]
    found = refusals(read_onnx(image_network(body, opset=opset), name))
    assert {refusal.engine for refusal in found} == engines


def test_relative_error() -> None:
    right = np.random.default_rng(0).normal(100, 2, (50, 50))
    assert relative_error(right, right) == 0
    assert relative_error(right + 0.2, right) == pytest.approx(0.1, rel=0.05)
    assert relative_error(right[1:], right) == np.inf
    assert relative_error(np.full((4, 4), 100.1), np.full((4, 4), 100.0)) == pytest.approx(1, rel=0.01), "no contrast"
    assert relative_error(np.zeros((4, 4)), np.zeros((4, 4))) == 0
