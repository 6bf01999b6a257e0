"""The manifest inside a network: it survives the file, and whatever is wrong with it is said all at once."""

from __future__ import annotations

import json
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages_helpers import image_network, tiny_denoiser_onnx, tiny_manifest
from pydantic import ValidationError

from smartscope.errors import UnsupportedModel
from smartscope_models.packages import Manifest, Span, TensorSpec, read_manifest
from smartscope_models.packages.manifest import KEY, embed_manifest, parse_manifest

IMAGE = TensorSpec(name="input", dtype="float32", axes=("batch", "channel", "y", "x"), shape=(1, 1, "height", "width"))


def wrong(**changes: Any) -> str:
    """What is said of the manifest with these keys changed (None takes a key out)."""
    tree = {**json.loads(tiny_manifest().to_json()), **changes}
    with pytest.raises(UnsupportedModel) as caught:
        parse_manifest(json.dumps({key: value for key, value in tree.items() if value is not None}), "tiny.onnx")
    assert "docs/packages.md" in caught.value.remedy or "newer" in caught.value.remedy
    return str(caught.value)


def test_it_travels_in_the_file_and_replaces_an_earlier_one() -> None:
    first = embed_manifest(tiny_denoiser_onnx(), tiny_manifest(version="1.0.0"))
    model = onnx.load_model_from_string(first)
    model.metadata_props.add(key="other", value="kept")
    second = embed_manifest(model.SerializeToString(), tiny_manifest(version="2.0.0"))
    assert read_manifest(second, "here") == tiny_manifest(version="2.0.0")
    kept = {entry.key for entry in onnx.load_model_from_string(second).metadata_props}
    assert kept == {KEY, "other"}
    assert second == embed_manifest(second, tiny_manifest(version="2.0.0")), "equal in, equal out"


def test_json_is_the_whole_manifest() -> None:
    manifest = tiny_manifest(history=2)
    tree = json.loads(manifest.to_json())
    assert tree["schema"] == 1
    assert tree["training"]["seed"] == 1
    assert parse_manifest(manifest.to_json(), "here") == manifest


def test_no_manifest() -> None:
    with pytest.raises(UnsupportedModel, match=r"plain\.onnx: carries no manifest .*smartscope\.manifest.*remedy"):
        read_manifest(image_network(), "plain.onnx")


@pytest.mark.parametrize("text", ["{", "nothing", '["a"]', "3"])
def test_no_json(text: str) -> None:
    with pytest.raises(UnsupportedModel, match="no JSON"):
        parse_manifest(text, "here")


def test_other_schema_numbers() -> None:
    assert "newer smartscope" in wrong(schema=2)
    assert "allowed: 1" in wrong(schema=0)
    assert "write the package again" in wrong(schema="one")
    assert "schema None" in wrong(schema=None)


def test_every_problem_at_once() -> None:
    said = wrong(name="Not A Name", version="new", parameters=-3, licence=None, colour="blue", min_size=0)
    for part in ("manifest.name = 'Not A Name'", "manifest.version", "manifest.parameters = -3", "allowed: >= 0",
                 "manifest.licence: this key is required", "manifest.colour", "manifest.min_size"):  # fmt: skip
        assert part in said
    assert "schema config" not in said, "that remedy is for an experiment's YAML"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"task": "paint"},
            "task 'paint' is unknown; allowed: denoise, structured_illumination, localize, detect, image_to_image",
        ),
        ({"history": 2}, "make a time axis of 3"),
        ({"inputs": []}, "at least 1 item"),
        ({"pixel_size_nm": {"low": 200, "high": 100}}, "low 200 is above high 100"),
        ({"engines": ["caffe"]}, "manifest.engines"),
    ],
)
def test_wrong_values(changes: dict[str, Any], said: str) -> None:
    assert said in wrong(**changes)


def of_denoise(which: str, **changes: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(**{**spec.model_dump(), **changes}) if spec.name == which else spec
        for spec in tiny_manifest().inputs
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": of_denoise("frames", name="raw")}, "inputs.raw: the task calls it 'frames'"),
        ({"inputs": of_denoise("frames", dtype="float32")}, "dtype float32, the task wants uint16"),
        ({"inputs": of_denoise("nominal", shape=(4,))}, "axis index has length 4, the task wants 3"),
        ({"inputs": of_denoise("calibration", axes=("batch", "time", "y", "x"))}, "task wants batch, channel, y, x"),
        ({"inputs": tiny_manifest().inputs[:2]}, r"2 given, the task wants 3 \(frames, calibration, nominal\)"),
        ({"task": "image_to_image"}, r"3 given, the task wants 1 \(one of any name\)"),
        (
            {"task": "image_to_image", "inputs": (tiny_manifest().inputs[1],)},
            "the task wants y, x, else length 1",
        ),
    ],
)
def test_breaches_of_a_tasks_contract(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tiny_manifest(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"axes": ("y", "x")}, "2 axes, but a shape of 4"),
        ({"axes": ("batch", "batch", "y", "x")}, "an axis stands twice"),
        ({"shape": (1, "height", "height", "width")}, "only y"),
        ({"shape": (1, 1, "width", "height")}, "only y"),
        ({"shape": (1, 1, "depth", "width")}, "'height' or 'width'"),
    ],
)
def test_tensors_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TensorSpec(**{**IMAGE.model_dump(), **changes})


@settings(deadline=None)
@given(low=st.integers(1, 64), step=st.integers(1, 32), height=st.integers(1, 300), width=st.integers(1, 300))
def test_fit_is_the_smallest_size_that_holds_the_frame(low: int, step: int, height: int, width: int) -> None:
    manifest = tiny_manifest(min_size=low, size_multiple=step)
    for size, length in zip(manifest.fit(height, width), (height, width), strict=True):
        assert size >= max(length, low)
        assert (size - low) % step == 0
        assert size - step < length or size == low
    assert manifest.fit(*manifest.fit(height, width)) == manifest.fit(height, width)


def test_fixed_sizes() -> None:
    fixed = TensorSpec(name="input", dtype="float32", axes=("y", "x"), shape=(64, "width"))
    output = fixed.model_copy(update={"name": "output"})
    manifest = tiny_manifest(task="image_to_image", inputs=(fixed,), outputs=(output,))
    assert manifest.fit(64, 65) == (64, 72)
    assert manifest.fit(10, 10) == (64, 16)
    assert fixed.sized(*manifest.fit(10, 10)) == (64, 16)
    with pytest.raises(UnsupportedModel, match="takes frames of 64 x 72 pixels alone, not 65 x 65"):
        manifest.fit(65, 65)


def test_manifests_do_not_change() -> None:
    with pytest.raises(ValidationError):
        tiny_manifest().name = "other"  # type: ignore[misc]
    assert isinstance(tiny_manifest().pixel_size_nm, Span)
    assert Manifest.model_validate_json(tiny_manifest().to_json()) == tiny_manifest()
