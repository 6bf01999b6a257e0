"""What a command takes: whether it acts at once, moves something for a while, or needs the camera to stand still."""

from __future__ import annotations

from enum import Enum

from smartscope.command import Applied, Command, RunPlan, SetExposure, SetInterval, SetLight
from smartscope.grabber import Grabber
from smartscope.ports import Capabilities, Microscope


class Kind(Enum):
    """What a command takes."""

    QUICK = "acts at once"
    CAMERA = "the camera must stand still, so the grabber carries it out"
    MOVING = "takes its time, and nobody waits for it"


def kind_of(command: Command, capabilities: Capabilities) -> Kind:
    """What this command takes on this microscope."""
    if isinstance(command, RunPlan) or (
        command.setting in ("roi", "interval_ms", "exposure_ms") and command.setting not in capabilities.live_settings
    ):
        return Kind.CAMERA
    return Kind.QUICK if isinstance(command, (SetLight, SetExposure, SetInterval)) else Kind.MOVING


def carry_out(microscope: Microscope, grabber: Grabber, command: Command) -> Applied:
    """Apply a command; a plan's frames go the way of all frames."""
    if not isinstance(command, RunPlan):
        return microscope.apply(command)
    t_called_ns = grabber.now_ns()
    for frame in microscope.run_plan(command.events, command.lights_mw):
        grabber.receive(frame)
    return Applied(command, command, t_called_ns, grabber.now_ns())
