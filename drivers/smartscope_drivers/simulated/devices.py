"""Only this file knows the simulated devices beside the camera as Micro-Manager sees them, all looking at one world."""

from __future__ import annotations

from pymmcore_plus.experimental.unicore import (
    GenericDevice,
    ShutterDevice,
    StageDevice,
    StateDevice,
    XYStageDevice,
)

from smartscope.errors import DeviceError
from smartscope.ports import Lights
from smartscope_drivers.simulated.camera import SimulatedCamera
from smartscope_drivers.simulated.world import World

__all__ = [
    "SimulatedAutofocus",
    "SimulatedCamera",
    "SimulatedFilterWheel",
    "SimulatedFocus",
    "SimulatedLaser",
    "SimulatedShutter",
    "SimulatedXYStage",
]

AUTOFOCUS_RANGE_UM = 20.0
"""Farther from the focal plane the autofocus finds nothing."""


def _origin_is_fixed(label: str) -> DeviceError:
    return DeviceError("the simulated stage keeps its origin", where=label, remedy="move relative to where you are")


class SimulatedLaser(GenericDevice):
    """A laser with the property ``Power_mW``; ``lights`` None: another process owns it, here it can only be read."""

    def __init__(self, world: World, light: str, lights: Lights | None) -> None:
        super().__init__()
        self._world, self._light, self._lights = world, light, lights
        self.register_property(
            "Power_mW",
            property_type=float,
            limits=(0.0, world.options.laser_max_mw),
            getter=SimulatedLaser.get_power_mw,
            setter=SimulatedLaser.set_power_mw,
        )

    def get_power_mw(self) -> float:
        """Power now."""
        return self._world.power_mw(self._light)

    def set_power_mw(self, power_mw: float) -> None:
        """Set the power.

        Raises:
            DeviceError: another process owns the light, or the laser refuses.
        """
        if self._lights is None:
            raise DeviceError("this light belongs to the supervisor", where=self._light, remedy="set it through Lights")
        self._lights.set_power(self._light, float(power_mw))


class SimulatedShutter(ShutterDevice):
    """A shutter in front of all lights."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def get_open(self) -> bool:
        """Whether light passes."""
        return self._world.shutter_open.at(self._world.clock.now_ns())

    def set_open(self, open: bool) -> None:
        """Let light pass, or not."""
        self._world.shutter_open.set(self._world.clock.now_ns(), bool(open))


class SimulatedXYStage(XYStageDevice):
    """An XY stage of finite speed."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def set_position_um(self, x: float, y: float) -> None:
        """Set off for (x, y)."""
        faults = self._world.faults
        stalls = faults.stage_stalls(faults.call("stage"))
        self._world.stage.move_to((float(x), float(y)), self._world.clock.now_ns(), stalls)

    def get_position_um(self) -> tuple[float, float]:
        """Where it is now, under way as well."""
        x_um, y_um = self._world.stage.at(self._world.clock.now_ns())
        return x_um, y_um

    def busy(self) -> bool:
        """Whether it moves or settles."""
        return self._world.stage.busy(self._world.clock.now_ns())

    def home(self) -> None:
        """Set off for (0, 0)."""
        self.set_position_um(0.0, 0.0)

    def stop(self) -> None:
        """Stay here."""
        self._world.stage.stop(self._world.clock.now_ns())

    def set_origin(self) -> None:
        """Refused: ground truth is in the stage's coordinates."""
        raise _origin_is_fixed(self.get_label())

    def set_origin_x(self) -> None:
        """Refused, as ``set_origin``."""
        self.set_origin()

    def set_origin_y(self) -> None:
        """Refused, as ``set_origin``."""
        self.set_origin()


class SimulatedFocus(StageDevice):
    """A focus drive of finite speed."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def set_position_um(self, val: float) -> None:
        """Set off for ``val``."""
        self._world.faults.call("focus")
        self._world.focus.move_to((float(val),), self._world.clock.now_ns())

    def get_position_um(self) -> float:
        """Where it is now, under way as well."""
        return self._world.focus.at(self._world.clock.now_ns())[0]

    def busy(self) -> bool:
        """Whether it moves or settles."""
        return self._world.focus.busy(self._world.clock.now_ns())

    def home(self) -> None:
        """Set off for 0."""
        self.set_position_um(0.0)

    def stop(self) -> None:
        """Stay here."""
        self._world.focus.stop(self._world.clock.now_ns())

    def set_origin(self) -> None:
        """Refused: ground truth is in the stage's coordinates."""
        raise _origin_is_fixed(self.get_label())


class SimulatedAutofocus(GenericDevice):
    """A hardware autofocus: ``Run`` = 1 moves the focus to the specimen's plane, ``Status`` says how it went."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._failed = False
        self._ran = False
        self.register_property(
            "Run", property_type=int, limits=(0, 1), getter=SimulatedAutofocus.running, setter=SimulatedAutofocus.run
        )
        self.register_property("Status", property_type=str, getter=SimulatedAutofocus.status)

    def run(self, value: float) -> None:
        """Start looking for the plane."""
        if not value:
            return
        now_ns = self._world.clock.now_ns()
        plane_um = self._world.focal_plane_um(now_ns)
        self._ran = True
        too_far = abs(plane_um - self._world.focus.at(now_ns)[0]) > AUTOFOCUS_RANGE_UM
        self._failed = too_far or self._world.faults.options.autofocus_fails
        if not self._failed:
            self._world.focus.move_to((plane_um,), now_ns)

    def running(self) -> int:
        """1 while it looks."""
        return int(self._ran and not self._failed and self.busy())

    def status(self) -> str:
        """``Idle``, ``Searching``, ``Locked`` or ``Failed``."""
        if not self._ran:
            return "Idle"
        if self._failed:
            return "Failed"
        return "Searching" if self.busy() else "Locked"

    def busy(self) -> bool:
        """Whether the focus moves or settles."""
        return self._world.focus.busy(self._world.clock.now_ns())


class SimulatedFilterWheel(StateDevice):
    """An emission filter wheel; its positions are the world's ``filters``."""

    def __init__(self, world: World) -> None:
        super().__init__(dict(enumerate(world.options.filters)))
        self._world = world

    def get_state(self) -> int:
        """Position now."""
        return self._world.filter_position.at(self._world.clock.now_ns())

    def set_state(self, position: int) -> None:
        """Turn to ``position``, at once."""
        self._world.filter_position.set(self._world.clock.now_ns(), int(position))
