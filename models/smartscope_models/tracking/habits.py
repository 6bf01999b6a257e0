"""All that is learned about one kind of object, beside the objects themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from smartscope_models.tracking.backward import Backward
from smartscope_models.tracking.kinship import Kinship
from smartscope_models.tracking.looks import Looks
from smartscope_models.tracking.motion import Noise
from smartscope_models.tracking.rates import Rates


@dataclass(slots=True)
class Habits:
    """How objects move, look, come, go and divide."""

    noise: Noise
    kinship: Kinship
    divides: bool = True
    """Whether two that appear where one was expected may be its daughters."""
    rates: Rates = field(default_factory=Rates)
    looks: Looks = field(default_factory=Looks)
    backward: Backward = field(default_factory=Backward)

    @classmethod
    def of_gate(cls, gate_px: float, divides: bool = True) -> Habits:
        """Start values: the gate is all that is known."""
        return cls(Noise.of_gate(gate_px), Kinship.of_gate(gate_px), divides)
