"""Only this file knows the simulated devices that shape the light, and how they step with the camera's exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pymmcore_plus.experimental.unicore import GenericDevice, SLMDevice

from smartscope.config import GratingConfig
from smartscope.errors import DeviceError
from smartscope_drivers.simulated.illumination import Pattern
from smartscope_drivers.simulated.world import World

MOST_STEPS = 1024
"""Of a hardware sequence."""
OUT = "Out"
"""Value of the grating's property at which it stands beside the light."""


class TriggeredSequence:
    """Patterns that the world shows one by one, each from the start of an exposure; after the last, the first again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._patterns: tuple[Pattern | None, ...] = ()
        self._next = 0
        self._before: Pattern | None = None
        self._running = False

    def load(self, patterns: Sequence[Pattern | None]) -> None:
        """Keep these, for any number of starts."""
        self._patterns = tuple(patterns)

    def start(self, where: str) -> None:
        """Wait for the camera.

        Raises:
            DeviceError: nothing was loaded.
        """
        if not self._patterns:
            raise DeviceError("no sequence was loaded", where=where, remedy="load one first")
        self.stop()
        self._before = self._world.pattern.at(self._world.clock.now_ns())
        self._next, self._running = 0, True
        self._world.triggered.append(self._step)

    def stop(self) -> None:
        """Show what was shown before the start; harmless when not running."""
        if self._running:
            self._running = False
            self._world.triggered.remove(self._step)
            self._world.pattern.set(self._world.clock.now_ns(), self._before)

    def _step(self, t_ns: int) -> None:
        self._world.pattern.set(t_ns, self._patterns[self._next % len(self._patterns)])
        self._next += 1


class SimulatedSlm(SLMDevice):
    """A light modulator conjugate to the sensor; what it does with the light is the world's option ``slm``."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._image = np.full(self.shape(), 255, np.uint8)
        self._exposure_ms = 0.0
        self._sequence = TriggeredSequence(world)
        self.uploads = 0
        """Sequences sent so far."""

    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return self._world.illumination.slm_shape

    def dtype(self) -> DTypeLike:
        """8 bit; the same value everywhere lights the sample evenly, 255 with all light."""
        return np.uint8

    def set_image(self, pixels: np.ndarray[Any, Any]) -> None:
        """Load a pattern (H, W)."""
        self._image = np.array(pixels, np.uint8)

    def get_image(self) -> np.ndarray[Any, Any]:
        """The pattern loaded last."""
        return self._image

    def display_image(self) -> None:
        """Show the loaded pattern, for the SLM's exposure if that is not 0, then nothing."""
        now_ns = self._world.clock.now_ns()
        self._world.pattern.set(now_ns, self._world.illumination.of_slm(self._image))
        if self._exposure_ms > 0:
            self._world.pattern.set(now_ns + round(self._exposure_ms * 1e6), np.zeros((1, 1), np.float32))

    def set_exposure(self, interval_ms: float) -> None:
        """Show patterns for so long; 0: until the next one."""
        self._exposure_ms = float(interval_ms)

    def get_exposure(self) -> float:
        """How long patterns are shown, ms."""
        return self._exposure_ms

    def get_sequence_max_length(self) -> int:
        """Images in its memory."""
        return MOST_STEPS

    def send_sequence(self, sequence: Sequence[np.ndarray[Any, Any]]) -> None:
        """Load images (H, W), to be shown one with each exposure."""
        self.uploads += 1
        self._sequence.load([self._world.illumination.of_slm(np.asarray(image, np.uint8)) for image in sequence])

    def start_sequence(self) -> None:
        """Step with the camera from now on.

        Raises:
            DeviceError: nothing was loaded.
        """
        self._sequence.start(self.get_label())

    def stop_sequence(self) -> None:
        """Show what was shown before."""
        self._sequence.stop()


class SimulatedGrating(GenericDevice):
    """A grating in the light, moved and turned by one property: a value for each raw frame, and ``Out``."""

    def __init__(self, world: World, config: GratingConfig) -> None:
        super().__init__()
        self._world, self._values, self._value = world, config.values, OUT
        self._sequence = TriggeredSequence(world)
        self.register_property(
            config.property,
            property_type=str,
            allowed_values=(OUT, *config.values),
            sequence_max_length=MOST_STEPS,
            getter=SimulatedGrating.get_value,
            setter=SimulatedGrating.set_value,
            sequence_loader=SimulatedGrating.load_sequence,
            sequence_starter=SimulatedGrating.start_sequence,
            sequence_stopper=SimulatedGrating.stop_sequence,
        )

    def get_value(self) -> str:
        """Where it stands; during a sequence, where it stood before."""
        return self._value

    def set_value(self, value: str) -> None:
        """Move there, at once."""
        self._value = value
        self._world.pattern.set(self._world.clock.now_ns(), self._pattern(value))

    def load_sequence(self, values: Sequence[str]) -> None:
        """Keep values, to be taken one with each exposure."""
        self._sequence.load([self._pattern(value) for value in values])

    def start_sequence(self) -> None:
        """Step with the camera from now on.

        Raises:
            DeviceError: nothing was loaded.
        """
        self._sequence.start(self.get_label())

    def stop_sequence(self) -> None:
        """Go back to where it stood before."""
        self._sequence.stop()

    def _pattern(self, value: str) -> Pattern | None:
        return None if value == OUT else self._world.illumination.of_step(self._values.index(value))
