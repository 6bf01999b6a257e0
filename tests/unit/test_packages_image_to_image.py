"""Foreign image-to-image networks in the pipeline: any frame size, their own steps, and counts in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packages_helpers import image_network, write_tiny_denoiser, write_zoo_package, zipped, zoo_tree_05

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import EngineError, InputError, PluginError, UnsupportedModel
from smartscope.ports import Instrument, Model
from smartscope.result import Floats, Result
from smartscope.testing.model_contract import ModelContract, a_frame, a_scene
from smartscope_models.denoise.image_to_image import ImageToImage

INSTRUMENT = Instrument(CameraCalibration(), OpticsConfig())
MEAN = "weights = Constant <value = float[1,1,3,3] {%s}> ()" % ", ".join(["0.111111111"] * 9)  # noqa: UP031
BLUR = (
    "margin = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> () "
    f'padded = Pad <mode = "reflect"> (input, margin) {MEAN} output = Conv (padded, weights)'
)
NORMALISE = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}


def package(folder: Path, body: str = BLUR, sizes: str = "1,1,h,w", **steps: Any) -> Path:
    """A zoo package of a box mean, or of ``body``, with these steps around it."""
    tree = zoo_tree_05()
    tree["inputs"][0]["preprocessing"] = steps.get("before", [])
    tree["outputs"][0]["postprocessing"] = steps.get("after", [])
    if "axes" in steps:
        tree["inputs"][0]["axes"] = tree["outputs"][0]["axes"] = steps["axes"]
    return write_zoo_package(folder, tree, image_network(body, sizes))


def built(path: Path | str, **options: Any) -> Model:
    """As an experiment builds it."""
    options = {"engine": "onnxruntime", **options}
    model: Model = plugins.build("models", "image_to_image", {"package": str(path), **options}, INSTRUMENT)
    return model


def answer(model: Model, pixels: np.ndarray) -> Floats:
    image = model.step([a_frame(pixels)], Result(a_frame(pixels))).image
    assert image is not None
    return image


def box_mean(pixels: np.ndarray) -> np.ndarray:
    padded = np.pad(pixels.astype(float), 1, mode="reflect")
    height, width = pixels.shape
    total: np.ndarray = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9.0  # type: ignore[assignment]
    return total


class TestImageToImage(ModelContract):
    @pytest.fixture(autouse=True)
    def _package(self, tmp_path: Path) -> None:
        self.path = zipped(package(tmp_path / "blur", before=[NORMALISE]))

    def make(self) -> Model:
        return built(self.path)


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"before": [NORMALISE]},
        {"before": [{"id": "scale_range", "kwargs": {"min_percentile": 1, "max_percentile": 99.0}}]},
        {"before": [NORMALISE], "after": [{"id": "clip", "kwargs": {"min": -100.0}}]},
        {"before": [NORMALISE], "after": [{"id": "scale_mean_variance", "kwargs": {"reference_tensor": "raw"}}]},
    ],
    ids=["none", "mean", "range", "clip", "match"],
)
def test_the_answer_is_in_counts(tmp_path: Path, steps: dict[str, Any]) -> None:
    pixels = a_scene((40, 56))
    image, wanted = answer(built(package(tmp_path / "blur", **steps)), pixels), box_mean(pixels)
    if "scale_mean_variance" in str(steps):
        wanted = (wanted - wanted.mean()) * pixels.std() / wanted.std() + pixels.mean()
    assert image.dtype == np.float32
    assert np.abs(image - wanted).max() < 0.02


def test_steps_are_undone_only_where_that_is_wanted(tmp_path: Path) -> None:
    path, pixels = package(tmp_path / "blur", before=[NORMALISE]), a_scene((40, 56))
    normalised = (pixels - pixels.mean()) / pixels.std()
    assert np.abs(answer(built(path, counts="output"), pixels) - box_mean(normalised)).max() < 1e-4
    halved = package(tmp_path / "halved", before=[NORMALISE], after=[{"id": "scale_linear", "kwargs": {"gain": 0.5}}])
    assert np.abs(answer(built(halved), pixels) - box_mean(normalised) / 2).max() < 1e-4
    undone = answer(built(halved, counts="undo"), pixels)
    assert np.abs(undone - (box_mean(normalised) / 2 * pixels.std() + pixels.mean())).max() < 0.02


def test_any_size_is_mirrored_to_one_that_fits(tmp_path: Path) -> None:
    model = built(package(tmp_path / "blur"))
    for shape in ((16, 16), (33, 47), (5, 70)):
        pixels = a_scene(shape)
        inner = np.s_[1:-1, 1:-1]
        assert np.abs(answer(model, pixels)[inner] - box_mean(pixels)[inner]).max() < 0.01


def test_networks_of_one_size_and_of_other_axes(tmp_path: Path) -> None:
    axes = [{"type": "space", "id": "x", "size": 48}, {"type": "space", "id": "y", "size": 32}]
    up = "axis = Constant <value = int64[2] {0, 1}> () four = Unsqueeze (input, axis) "
    down = BLUR.replace("(input, margin)", "(four, margin)").replace("output = Conv", "quiet = Conv")
    body = f"{up}{down} output = Squeeze (quiet, axis)"
    model = built(package(tmp_path / "fixed", body, "48,32", axes=axes))
    pixels = a_scene((32, 40))
    assert np.abs(answer(model, pixels)[1:-1, 1:-1] - box_mean(pixels)[1:-1, 1:-1]).max() < 0.01
    with pytest.raises(UnsupportedModel, match="takes frames of 32 x 48 pixels alone, not 32 x 49"):
        model.warm_up((32, 49))


def test_it_says_how_far_the_image_can_be_trusted(tmp_path: Path) -> None:
    model, frame = built(package(tmp_path / "blur")), a_frame(a_scene((64, 80)))
    result = model.step([frame], Result(frame))
    assert "residual_chi2" in result.quality


def test_what_cannot_be_used_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no package of this name"):
        built("nowhere")
    denoiser = write_tiny_denoiser(tmp_path / "tiny")
    with pytest.raises(UnsupportedModel, match=r"has the task 'denoise'; allowed: image_to_image.*denoise_network"):
        built(denoiser.path)
    with pytest.raises(PluginError, match="counts"):
        built(package(tmp_path / "blur"), counts="some")
    with pytest.raises(UnsupportedModel, match="fp16"):
        built(tmp_path / "blur", precision="fp16")
    unknown = package(tmp_path / "unknown", "output = Frobnicate (input)")
    with pytest.raises(EngineError, match="Frobnicate"):
        built(unknown)


def test_a_network_that_changes_the_size_is_found_at_the_warm_up(tmp_path: Path) -> None:
    body = f"{MEAN} output = Conv (input, weights)"
    model = built(package(tmp_path / "shrinks", body))
    with pytest.raises(UnsupportedModel, match=r"gives \(1, 1, 30, 46\) for \(1, 1, 32, 48\)"):
        model.warm_up((32, 48))
    assert ImageToImage.history == 0
