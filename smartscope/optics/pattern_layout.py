"""What the raw frames of a stack are: how many directions, phases and beams, in which order, what they solve for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.config import StructuredIlluminationConfig
from smartscope.errors import InputError

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Frames run phase by phase inside angle by angle.

    Two beams give one order per angle, three beams two, of which the second has twice the first's frequency and phase.
    In the hexagonal pattern all three directions are in every one of seven frames: one angle, three orders.
    """

    angles: int = 3
    phases: int = 3
    beams: int = 2
    hexagonal: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be solved.

        Raises:
            InputError: too few phases, or an impossible number of beams.
        """
        where = f"{self.angles} angles x {self.phases} phases, {self.beams} beams"
        if self.beams not in (2, 3) or (self.hexagonal and self.beams != 2):
            raise InputError(f"{self.beams} beams", where=where, allowed="2 or 3; 2 for a hexagonal pattern")
        if self.hexagonal and self.angles != 1:
            raise InputError("a hexagonal pattern has all directions in each frame", where=where, allowed="1 angle")
        if self.phases < 1 + 2 * self.orders or self.angles < 1:
            least = 1 + 2 * self.orders
            raise InputError("too few frames to tell the orders apart", where=where, allowed=f"{least} phases or more")

    @classmethod
    def of(cls, config: StructuredIlluminationConfig) -> Layout:
        """As the instrument is configured."""
        return cls(config.angles, config.phases, config.beams, config.hexagonal)

    @property
    def frames(self) -> int:
        """Of a whole stack."""
        return self.angles * self.phases

    @property
    def orders(self) -> int:
        """Carriers that the frames of one angle hold."""
        return 3 if self.hexagonal else self.beams - 1

    @property
    def carriers(self) -> int:
        """All carriers; each gives one complex band."""
        return self.angles * self.orders

    def nominal_phases(self) -> Doubles:
        """(angles, phases, orders) radians, as they would be stepped evenly; the first frame's are 0."""
        step = 2 * math.pi * np.arange(self.phases) / self.phases
        multiples = np.arange(1, self.orders + 1)
        if self.hexagonal:
            multiples = np.array([1, 2, 4])  # Ingerman et al., J. Microsc. 273:3 (2019): 2π/7 times 1, 2, 4 (= -3)
        return np.broadcast_to(step[:, None] * multiples, (self.angles, self.phases, self.orders)).copy()

    def split(self, stack: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(frames, N, N) → (angles, phases, N, N).

        Raises:
            InputError: another number of frames, or frames that are not square.
        """
        if stack.ndim != 3 or len(stack) != self.frames:
            count = len(stack) if stack.ndim == 3 else 1
            what = f"{count} raw frames"
            remedy = "say how the stack was taken: angles, phases, beams"
            raise InputError(
                what, where="raw stack", allowed=f"{self.frames} ({self.angles} x {self.phases})", remedy=remedy
            )
        if stack.shape[1] != stack.shape[2]:
            raise InputError(f"frames of {stack.shape[1:]} pixels", where="raw stack", allowed="square frames")
        return stack.reshape(self.angles, self.phases, *stack.shape[1:])
