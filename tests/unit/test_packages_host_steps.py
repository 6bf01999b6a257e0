"""The steps around a zoo network are the description's own formulas, and undoing them gives the counts back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.errors import UnsupportedModel
from smartscope_models.packages.bioimage_steps import read_steps
from smartscope_models.packages.host_steps import HostSteps, Step, finish, prepare, undo

IMAGE = np.random.default_rng(3).gamma(2, 50, (20, 30)).astype(np.float32) + 100
LOW, HIGH = np.percentile(IMAGE, (2, 99))


def step(name: str, **kwargs: Any) -> Step:
    """One step as 0.5 writes it."""
    (found,) = read_steps([{"id": name, "kwargs": kwargs}], ("raw",), "rdf.yaml")
    return found


CASES = {
    "scale_linear": (step("scale_linear", gain=0.5, offset=[3]), IMAGE * 0.5 + 3),
    "fixed": (step("fixed_zero_mean_unit_variance", mean=[120], std=20), (IMAGE - 120) / 20),
    "mean": (step("zero_mean_unit_variance", axes=["y", "x"]), (IMAGE - IMAGE.mean()) / (IMAGE.std() + 1e-6)),
    "range": (
        step("scale_range", min_percentile=2, max_percentile=99, eps=1e-3), (IMAGE - LOW) / (HIGH - LOW + 1e-3)
    ),
    "clip": (step("clip", min=150, max=200), np.clip(IMAGE, 150, 200)),
    "clip above": (step("clip", max=200), np.minimum(IMAGE, 200)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_formulas(case: str) -> None:
    one, wanted = CASES[case]
    found, _ = prepare([one], IMAGE)
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_one_after_the_other_and_back() -> None:
    steps = [CASES["fixed"][0], CASES["mean"][0], CASES["scale_linear"][0]]
    pixels = IMAGE.astype(np.uint16)
    found, line = prepare(steps, pixels)
    fixed = (pixels - 120.0) / 20
    assert np.allclose(found, (fixed - fixed.mean()) / fixed.std() * 0.5 + 3, atol=1e-4)
    assert np.allclose(undo(found, line), pixels, atol=1e-2)
    assert not np.shares_memory(found, pixels)


def test_the_output_takes_the_moments_of_the_input() -> None:
    match = step("scale_mean_variance", reference_tensor="raw")
    output = np.random.default_rng(1).normal(0, 1, IMAGE.shape).astype(np.float32)
    found = finish([match], output, IMAGE)
    assert found.mean() == pytest.approx(IMAGE.mean(), rel=1e-4)
    assert found.std() == pytest.approx(IMAGE.std(), rel=1e-4)


@settings(deadline=None)
@given(value=st.integers(0, 65535), name=st.sampled_from(["zero_mean_unit_variance", "scale_range"]))
def test_an_image_without_contrast_stays_finite_and_comes_back(value: int, name: str) -> None:
    flat = np.full((5, 7), value, np.uint16)
    found, line = prepare([step(name)], flat)
    assert np.abs(found).max() == 0
    assert np.allclose(undo(found, line), value, rtol=1e-6)


def test_what_sets_the_scale_of_the_output() -> None:
    assert not HostSteps()
    clipped = HostSteps(after=(CASES["clip"][0],))
    assert clipped
    assert not clipped.rescales_after
    assert HostSteps(after=(CASES["fixed"][0],)).rescales_after


def test_steps_as_0_4_writes_them() -> None:
    plain = {"name": "zero_mean_unit_variance", "kwargs": {"axes": "xy", "mean": 3.0, "std": 2.0}}
    sample = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "xy"}}
    found = read_steps([plain, sample, {"name": "scale_linear", "kwargs": {"gain": 2, "axes": "xy"}}], (), "rdf.yaml")
    assert [one.name for one in found] == ["fixed_zero_mean_unit_variance", "zero_mean_unit_variance", "scale_linear"]
    assert found[0].figures == {"mean": 3.0, "std": 2.0, "eps": 0.0}
    assert found[2].figures == {"gain": 2.0, "offset": 0.0}


def test_float32_needs_no_step() -> None:
    assert read_steps([{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}], (), "rdf.yaml") == ()


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("binarize", {"threshold": 0.5}, "wants the step 'binarize'; allowed: scale_linear"),
        ("sigmoid", {}, "wants the step 'sigmoid'"),
        ("ensure_dtype", {"dtype": "uint8"}, "wants the step 'ensure_dtype'"),
        ("clip", {"min_percentile": 1.0}, "'clip' wants min_percentile"),
        ("zero_mean_unit_variance", {"axes": ["x"]}, "treats rows or columns apart"),
        ("scale_range", {"reference_tensor": "other"}, "refers to the tensor 'other'"),
        ("scale_mean_variance", {"reference_tensor": "other"}, "refers to the tensor 'other'; allowed: raw"),
        ("scale_mean_variance", {}, "refers to the tensor None"),
        ("scale_linear", {"gain": 0}, "divides by zero"),
        ("fixed_zero_mean_unit_variance", {"mean": 1, "std": 0}, "divides by zero"),
        ("fixed_zero_mean_unit_variance", {"std": 1}, "mean is missing; allowed: one number"),
        ("scale_linear", {"gain": [1.0, 2.0]}, r"gain is \[1.0, 2.0\]; allowed: one number"),
        ("scale_linear", {"gain": "much"}, "gain is 'much'"),
        ("scale_range", {"min_percentile": 99, "max_percentile": 1}, "has no range"),
    ],
)
def test_steps_that_cannot_be_done(name: str, kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedModel, match=said):
        step(name, **kwargs)
