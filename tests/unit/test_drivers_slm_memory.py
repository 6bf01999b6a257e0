"""What lies in an SLM's memory is sent once, in the form that its core takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from smartscope.errors import DeviceError
from smartscope_drivers.slm_memory import SlmMemory

IMAGES = [np.full((2, 3), value, np.uint8) for value in (1, 2)]


class FakeCore:
    """A core of C++ devices: it takes bytes."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[Any]]] = []
        self.fails = False

    def loadSLMSequence(self, label: str, images: list[Any]) -> None:  # noqa: N802
        if self.fails:
            raise RuntimeError("no memory")
        self.sent.append((label, images))


def test_each_slm_gets_a_sequence_once() -> None:
    core = FakeCore()
    memory = SlmMemory(core)  # type: ignore[arg-type]
    for _ in range(2):
        memory.load("A", IMAGES)
        memory.load("B", [image.copy() for image in IMAGES])
    assert core.sent == [("A", [b"\1" * 6, b"\2" * 6]), ("B", [b"\1" * 6, b"\2" * 6])]
    memory.load("A", IMAGES[::-1])
    memory.load("A", IMAGES)
    assert len(core.sent) == 4


def test_after_a_failure_it_is_sent_again() -> None:
    core = FakeCore()
    memory = SlmMemory(core)  # type: ignore[arg-type]
    memory.load("A", IMAGES)
    core.fails = True
    with pytest.raises(DeviceError, match="loading a sequence of images"):
        memory.load("A", IMAGES[::-1])
    core.fails = False
    memory.load("A", IMAGES)
    memory.forget()
    memory.load("A", IMAGES)
    assert len(core.sent) == 3
