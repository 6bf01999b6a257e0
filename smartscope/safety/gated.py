"""A microscope behind the gate, for code that moves it without a loop: calibration and bridges."""

from __future__ import annotations

from typing import Any

from smartscope.command import Applied, Command, MoveStage, Request, SetLight
from smartscope.errors import Refused
from smartscope.ports import Clock, Microscope
from smartscope.safety.gate import SafetyGate


class GatedMicroscope:
    """The ``Microscope`` port of another one, whose every command the gate has judged and the ledger has counted."""

    def __init__(self, microscope: Microscope, gate: SafetyGate, clock: Clock) -> None:
        self._microscope, self._gate, self._clock = microscope, gate, clock
        now = microscope.settings()
        gate.ledger.move(now.x_um, now.y_um, clock.now_ns())

    def __getattr__(self, name: str) -> Any:
        """What is no command goes straight to the microscope."""
        return getattr(self._microscope, name)

    def apply(self, command: Command) -> Applied:
        """Carry out a command as it stands.

        Raises:
            Refused: the gate would refuse or change it; what is asked here is meant exactly.
            DeviceError: the hardware does not confirm it.
        """
        request = Request(command, "asked for directly")
        verdict = self._gate.judge(request, self._microscope.settings(), self._clock.now_ns())
        if verdict.granted != command:
            remedy = "ask for less, or change limits and dose"
            raise Refused(f"{command}: {verdict.why}", where="gate", allowed=verdict.clipped_by, remedy=remedy)
        applied = self._microscope.apply(command)
        if isinstance(command, SetLight):
            self._gate.ledger.set_light(command.light, command.power_mw, applied.t_called_ns)
        elif isinstance(command, MoveStage):
            self._gate.ledger.move(command.x_um, command.y_um, applied.t_effect_ns)
        return applied

    def run_plan(self, events: Any, lights_mw: Any = None) -> Any:
        """Refused: a plan needs the loop, which reserves its dose.

        Raises:
            Refused: always.
        """
        raise Refused("plans go through the loop", where="gate", remedy="let a policy ask for a RunPlan")
