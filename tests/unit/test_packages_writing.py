"""A package is written whole or not at all, the same twice, and in a form that the BioImage Model Zoo accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from packages_helpers import (
    FACTS,
    SHAPE,
    image_network,
    tiny_denoiser_onnx,
    tiny_examples,
    tiny_manifest,
    write_tiny_denoiser,
)

from smartscope.errors import InputError, SmartscopeError, UnsupportedModel
from smartscope_models.packages import CardFacts, Examples, Reference, TensorSpec, open_package, write_package
from smartscope_models.packages.card import card
from smartscope_models.packages.manifest import read_manifest

FILES = {
    "CARD.md", "model.fp16.onnx", "model.onnx", "rdf.yaml", "test_input_calibration.npy", "test_input_frames.npy",
    "test_input_nominal.npy", "test_output_image.npy",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    package = write_tiny_denoiser(tmp_path / "new" / "tiny", history=2)
    assert set(contents(package.path)) == FILES
    assert [path.name for path in package.path.parent.iterdir()] == ["tiny"], "no draft is left"
    for name in ("model.onnx", "model.fp16.onnx"):
        assert read_manifest((package.path / name).read_bytes(), name) == tiny_manifest(history=2)
    assert package.path.stat().st_mode & 0o755 == 0o755, "others may read it"


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (contents(write_tiny_denoiser(tmp_path / name / "tiny").path) for name in "ab")
    assert first == second


def test_replacing_is_asked_for(tmp_path: Path) -> None:
    before = contents(write_tiny_denoiser(tmp_path / "tiny").path)
    with pytest.raises(InputError, match="is there already; remedy: remove it, or say replace=True"):
        write_tiny_denoiser(tmp_path / "tiny", version="2.0.0")
    assert contents(tmp_path / "tiny") == before
    (tmp_path / "tiny" / "old.txt").write_text("from before")
    assert write_tiny_denoiser(tmp_path / "tiny", version="2.0.0", replace=True).manifest.version == "2.0.0"
    assert set(contents(tmp_path / "tiny")) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def missing_input() -> Examples:
    return Examples({"frames": tiny_examples().inputs["frames"]}, tiny_examples().outputs)


def wrong_output() -> Examples:
    return Examples(tiny_examples().inputs, {"image": np.zeros((1, 1, *SHAPE))})


@pytest.mark.parametrize(
    ("networks", "examples", "said"),
    [
        ({"fp16": tiny_denoiser_onnx(half=True)}, tiny_examples(), "a package needs an fp32 network"),
        ({"fp32": image_network()}, tiny_examples(), "inputs are input; the manifest says frames"),
        ({"fp32": tiny_denoiser_onnx()}, missing_input(), "no test tensor for 'calibration'"),
        ({"fp32": tiny_denoiser_onnx()}, wrong_output(), "holds float64"),
    ],
)
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, networks: dict[str, bytes], examples: Examples, said: str
) -> None:
    before = contents(write_tiny_denoiser(tmp_path / "tiny").path)
    with pytest.raises(SmartscopeError, match=said):
        write_package(tmp_path / "tiny", tiny_manifest(), networks, examples, FACTS, replace=True)  # type: ignore[arg-type]
    assert contents(tmp_path / "tiny") == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_old_one_comes_back_if_the_new_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(write_tiny_denoiser(tmp_path / "tiny").path)
    rename = Path.replace

    def fail_for_drafts(self: Path, target: Path) -> Path:
        if (self / "model.onnx").is_file() and self.name.startswith("."):
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail_for_drafts)
    with pytest.raises(OSError, match="disk full"):
        write_tiny_denoiser(tmp_path / "tiny", version="2.0.0", replace=True)
    monkeypatch.undo()
    assert contents(tmp_path / "tiny") == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        write_tiny_denoiser(tmp_path / "file" / "tiny")


def test_a_manifest_that_the_graph_does_not_keep_is_not_written(tmp_path: Path) -> None:
    spec = TensorSpec(name="input", dtype="float32", axes=("y", "x"), shape=("height", "width"))
    manifest = tiny_manifest(
        task="image_to_image", inputs=(spec,), outputs=(spec.model_copy(update={"name": "output"}),)
    )
    image = np.zeros(SHAPE, np.float32)
    with pytest.raises(UnsupportedModel, match="input input has shape"):
        write_package(
            tmp_path / "x", manifest, {"fp32": image_network()}, Examples({"input": image}, {"output": image}), FACTS
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_description_is_valid_for_the_zoo(tmp_path: Path) -> None:
    """By the zoo's own rules, without and with files; its tools leave files open, which is not ours to mend."""
    bioimageio = pytest.importorskip("bioimageio.spec", reason="pip install smartscope[zoo]")
    facts = CardFacts(
        "s", "d", ("f",), authors=("A. Uthor",), cite=(Reference("paper", doi="10.1109/TIP.2007.901238"),)
    )
    folder = tmp_path / "tiny"
    networks = {"fp32": tiny_denoiser_onnx(2), "fp16": tiny_denoiser_onnx(2, half=True)}
    write_package(folder, tiny_manifest(2), networks, tiny_examples(2), facts)  # type: ignore[arg-type]
    tree = yaml.safe_load((folder / "rdf.yaml").read_bytes())
    for io_checks in (False, True):
        context = bioimageio.ValidationContext(root=folder, perform_io_checks=io_checks)
        summary = bioimageio.validate_format(tree, context=context)
        assert summary.status == "valid-format", summary.format()
        assert summary.format_version.startswith("0.5")


def test_the_card_says_what_must_be_known() -> None:
    text = card(tiny_manifest(history=2), FACTS)
    parts = ["# tiny", "9 |", "the newest and 2 before it", "16 + n·8", "50 to 200 nm", "BSD-3-Clause", "Recipe `none`"]
    parts += ["| PSNR | noise | 30.5 dB | 31.25 dB (BM3D) |", "- Wherever there is structure", "1 × 3 × height"]
    for part in parts:
        assert part in text
    bare = card(tiny_manifest(training=None, metrics=(), pixel_size_nm=None), FACTS)
    assert "cannot be made again" in bare
    assert "Figures" not in bare
    assert "nm in the sample" not in bare
    assert "\n\n\n" not in text + bare


def test_it_opens_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = write_package("tiny", tiny_manifest(), {"fp32": tiny_denoiser_onnx()}, tiny_examples(), FACTS)
    assert package.path.is_absolute()
    assert open_package("./tiny").sha256 == package.sha256
