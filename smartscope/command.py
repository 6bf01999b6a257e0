"""What can be asked of the hardware: small frozen commands, one unit each, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from smartscope.frame import Certainty, Roi

if TYPE_CHECKING:
    import useq

NO_LIGHTS: Mapping[str, float] = MappingProxyType({})
"""No light is named."""


@dataclass(frozen=True, slots=True)
class SetExposure:
    """Expose each coming frame for so long."""

    exposure_ms: float

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "exposure_ms"


@dataclass(frozen=True, slots=True)
class SetInterval:
    """Begin an exposure so often; camera and the lights that it gates rest in between. 0: back to back."""

    interval_ms: float

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "interval_ms"


@dataclass(frozen=True, slots=True)
class SetLight:
    """Set one light's power; 0 switches it off."""

    light: str
    power_mw: float

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return f"light:{self.light}"


@dataclass(frozen=True, slots=True)
class MoveStage:
    """Move the XY stage to an absolute place."""

    x_um: float
    y_um: float

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "xy"


@dataclass(frozen=True, slots=True)
class MoveFocus:
    """Move the focus drive to an absolute place."""

    z_um: float

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "z"


@dataclass(frozen=True, slots=True)
class SetRoi:
    """Read out this part of the sensor only; the camera restarts (a new epoch)."""

    roi: Roi

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "roi"


@dataclass(frozen=True, slots=True)
class RunAutofocus:
    """Let the hardware autofocus find the focal plane once."""

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "z"


@dataclass(frozen=True, slots=True)
class SetPreset:
    """Choose a preset of a Micro-Manager configuration group (filter, channel); it may not touch a light."""

    group: str
    preset: str

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return f"preset:{self.group}"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Run a planned part (useq events) with the camera to itself; checked whole, its dose reserved first."""

    name: str
    events: tuple[useq.MDAEvent, ...]
    lights_mw: Mapping[str, float] = field(default_factory=dict)
    """Power of lights during the plan; those that are not named stay as they are."""

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "plan"


@dataclass(frozen=True, slots=True)
class EndRun:
    """End the run in order and in the dark: its aim is reached, or out of reach. The loop does it, no device."""

    @property
    def setting(self) -> str:
        """Key of the setting that this command changes."""
        return "run"


def switches_off(command: Command | None) -> bool:
    """Whether a command does nothing but switch one light off: what needs no proof, and waits for nobody."""
    return isinstance(command, SetLight) and command.power_mw == 0


Command = (
    SetExposure | SetInterval | SetLight | MoveStage | MoveFocus | SetRoi | RunAutofocus | SetPreset | RunPlan | EndRun
)


@dataclass(frozen=True, slots=True)
class Request:
    """A command with the reason for it, as a policy hands it over."""

    command: Command
    why: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What a device made of a command."""

    asked: Command
    made_true: Command
    """The same command with the value that the device confirmed."""
    t_called_ns: int
    t_effect_ns: int
    """When the effect was confirmed; frames exposed between the two are mixed."""
    certainty: Certainty = Certainty.EXACT
