"""The one gate: what becomes of each live command, by arming, plan, operator and walls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smartscope.command import Command, EndRun, Request, SetLight, switches_off
from smartscope.config import LimitsConfig
from smartscope.frame import Settings
from smartscope.ports import Capabilities
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.limits import clamped, tightened
from smartscope.safety.walls import Ruling, Walls

Arm = Literal["shadow", "clamped", "armed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate makes of one request."""

    granted: Command | None
    """To be carried out; None: refused, or armed for shadow only."""
    clipped_by: str = ""
    """What changed or refused it; empty if nothing did."""
    why: str = ""
    """The gate's reason, with value and limit; empty if the request passed unchanged."""
    would_grant: Command | None = None
    """The same as ``granted``, but filled in shadow too."""
    shadow: bool = False


class SafetyGate:
    """Judges every live command. The loop's thread calls it; any thread may call ``hold_dark`` and ``release``."""

    def __init__(self, limits: LimitsConfig, ledger: DoseLedger, capabilities: Capabilities, arm: Arm) -> None:
        self._arm: Arm = arm
        self._limits = limits
        self._walls = Walls(clamped(limits) if arm == "clamped" else limits, capabilities, ledger)
        self._plan = ""
        self._dark_why = ""

    @property
    def arm(self) -> Arm:
        """How far decisions reach the hardware."""
        return self._arm

    @property
    def limits(self) -> LimitsConfig:
        """The limits in force, arming included."""
        return self._walls.limits

    @property
    def unarmed_limits(self) -> LimitsConfig:
        """The limits before ``--arm clamped`` reduced them: what ``tighten`` takes and compares with."""
        return self._limits

    @property
    def capabilities(self) -> Capabilities:
        """What the microscope can do."""
        return self._walls.capabilities

    @property
    def ledger(self) -> DoseLedger:
        """The dose accounts that the gate asks; the loop tells them what became true."""
        return self._walls.ledger

    def judge(self, request: Request, settings: Settings, t_ns: int) -> Verdict:
        """Decide on one request, ``settings`` being true now. Never raises, whatever the command holds."""
        command = request.command
        ruling = self._walls.rule(command, settings, t_ns)
        if _lights(ruling.command) and self._dark_why:
            ruling = Ruling(None, "hold_dark", self._dark_why)
        if self._plan and not (switches_off(ruling.command) or isinstance(ruling.command, EndRun)):
            ruling = Ruling(None, "plan", f"the plan {self._plan!r} has the camera")
        if ruling.by and self.limits.on_violation == "refuse":
            ruling = Ruling(None, ruling.by, ruling.why)
        shadow = self._arm == "shadow"
        return Verdict(None if shadow else ruling.command, ruling.by, ruling.why, ruling.command, shadow)

    def overdue(self, t_ns: int, lead_ns: int = 0) -> list[Verdict]:
        """Lights that must be lowered now: above a tightened limit, or dose or duty used up by ``t_ns + lead_ns``.

        The loop carries these out at once, in whatever arm; ``lead_ns`` is how long it will not ask again.
        """
        end_ns = self.ledger.exhausted_at_ns(t_ns)
        dose_spent = end_ns is not None and end_ns <= t_ns + lead_ns
        verdicts = []
        for light in self.capabilities.lights:
            power_mw = self.ledger.power_mw(light)
            if power_mw > 0:
                ruling = self._walls.standing(light, power_mw, t_ns + lead_ns, dose_spent=dose_spent)
                if ruling.by:
                    verdicts.append(Verdict(ruling.command, ruling.by, ruling.why, ruling.command))
        return verdicts

    def tighten(self, limits: LimitsConfig) -> None:
        """Replace the limits by tighter ones; ``overdue`` then lowers what is above them.

        Raises:
            Refused: a limit would be loosened.
        """
        self._limits = tightened(self._limits, limits)
        self._walls = Walls(clamped(limits) if self._arm == "clamped" else limits, self.capabilities, self.ledger)

    def hold_dark(self, why: str) -> None:
        """Grant no light until ``release``."""
        self._dark_why = why

    def release(self) -> None:
        """End ``hold_dark``."""
        self._dark_why = ""

    def begin_plan(self, name: str) -> None:
        """A checked plan has the camera: refuse live commands, so that nothing else spends the dose it needs."""
        self._plan = name

    def end_plan(self) -> None:
        """Live commands are judged again."""
        self._plan = ""


def _lights(command: Command | None) -> bool:
    """Whether a command brings light."""
    return isinstance(command, SetLight) and command.power_mw > 0
