"""What every inference engine can do: take a network's file, warm up for fixed shapes, run frame after frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Precision = Literal["fp32", "fp16", "bf16"]
EngineName = Literal["auto", "tensorrt", "onnxruntime", "openvino", "torch"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a network, as its file declares it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    """A name stands for an axis whose length is open (``height``, ``width``)."""


@dataclass(frozen=True, slots=True)
class Network:
    """The bytes of one ONNX file, and what identifies them."""

    name: str
    """For messages: the package's name or the file's path."""
    onnx: bytes
    sha256: str
    """Of ``onnx``, hexadecimal; part of every cache key."""

    @classmethod
    def of(cls, name: str, onnx: bytes) -> Network:
        """The network in these bytes; nothing is read from them yet."""
        return cls(name, onnx, hashlib.sha256(onnx).hexdigest())


@runtime_checkable
class Engine(Protocol):
    """One network, made ready on one device. Used by one thread at a time."""

    name: str
    """``onnxruntime``, ``openvino``, ``tensorrt`` or ``torch``."""
    device: str
    """``cpu``, or the name of the GPU."""
    precision: Precision
    """Of the network's body; sums of camera counts are float32 everywhere."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    why: str
    """Why this engine was taken and which were passed over; empty where nobody chose."""

    def warm_up(self, shapes: Mapping[str, Shape]) -> None:
        """Compile and allocate for these shapes of the inputs, by name; called before the light goes on.

        Raises:
            UnsupportedModel: the network cannot take these shapes.
            EngineError: the device failed.
        """

    def hold(self, name: str, values: Array) -> None:
        """Set an input that stays the same from frame to frame (calibration maps); it travels to the device once.

        The values are copied. They are forgotten when ``warm_up`` changes that input's shape.

        Raises:
            EngineError: no such input, another dtype or shape than warmed up, or not warmed up; or the device failed.
        """

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by name, for all inputs that are not held; shapes as warmed up.

        The arrays returned are never written again while anybody holds them.

        Raises:
            EngineError: an input is missing, unknown or held, or has another dtype or shape than warmed up; or the
                engine is closed or not warmed up; or the device failed.
        """

    def close(self) -> None:
        """Let go of the device; harmless twice."""
