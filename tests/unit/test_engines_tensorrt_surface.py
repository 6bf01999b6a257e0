"""The fake TensorRT of the tests has no name that the real one lacks: what runs on it does not fail on a wrong name.

The code under test touches only what the fake has, or its tests would fail; so every attribute it touches exists in the
real bindings. Nothing is constructed here: that could need a driver.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import fake_tensorrt
import pytest

LEAN = ("ILogger", "DataType", "Runtime", "ICudaEngine", "IRuntimeConfig", "IExecutionContext")
"""What the lean runtime, TensorRT without a builder, has at all."""
GONE = ("device_memory_size", "create_execution_context_without_device_memory", "has_implicit_batch_dimension", "FP16")
"""Removed in TensorRT 10.16 or 11."""


def surface(*classes: type) -> set[tuple[str, str]]:
    """(class, attribute) of everything public in the fake's ``classes``; no attribute stands for the class itself."""
    found = set()
    for cls in classes:
        name = cls.__name__.removeprefix("Rtx")
        members = cls.__members__ if issubclass(cls, Enum) else [member for member in dir(cls) if member[0] != "_"]
        found |= {(name, ""), *((name, member) for member in members)}
    return found


EVERYWHERE = surface(*fake_tensorrt.SHARED)
SURFACES = {
    "tensorrt_rtx": EVERYWHERE | surface(*fake_tensorrt.RTX),
    "tensorrt": EVERYWHERE,
    "tensorrt_lean": {(cls, attribute) for cls, attribute in EVERYWHERE if cls in LEAN},
}


@pytest.mark.parametrize("name", SURFACES)
def test_the_real_bindings_have_what_is_used(name: str) -> None:
    real: Any = pytest.importorskip(name, reason=f"{name} is not installed")
    missing = [
        f"{cls}.{attribute}"
        for cls, attribute in sorted(SURFACES[name])
        if not (hasattr(getattr(real, cls, None), attribute) if attribute else hasattr(real, cls))
    ]
    assert missing == []


def test_the_surface_is_worth_testing() -> None:
    names = {f"{cls}.{attribute}" for cls, attribute in SURFACES["tensorrt_rtx"]}
    assert len(names) > 80
    used = {"IExecutionContext.execute_async_v3", "Runtime.get_engine_validity", "IRuntimeConfig.cuda_graph_strategy"}
    assert used <= names
    assert used & {f"{cls}.{attribute}" for cls, attribute in EVERYWHERE} == {"IExecutionContext.execute_async_v3"}
    assert not set(GONE) & {attribute for _, attribute in SURFACES["tensorrt_rtx"]}
