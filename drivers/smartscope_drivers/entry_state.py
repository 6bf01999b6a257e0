"""What the microscope looked like before us, and how it is given back: everything but light."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pymmcore_plus import CMMCorePlus, DeviceType, FocusDirection

from smartscope.errors import DeviceError
from smartscope.ports import Clock
from smartscope_drivers.core_tools import device_errors, wait_until_idle
from smartscope_drivers.roles import Roles

log = logging.getLogger(__name__)

MOVING_S = 20.0
"""How long a stage may take for its way back."""
NEGLIGIBLE_UM = 1e-3


@dataclass(frozen=True, slots=True)
class EntryState:
    """Device properties, ROI and stage places at entry."""

    properties: Mapping[tuple[str, str], Any]
    roi: tuple[int, ...]
    xy_um: Sequence[float] | None
    z_um: float | None

    @classmethod
    def record(cls, core: CMMCorePlus, roles: Roles) -> EntryState:
        """Read everything once; a property that cannot be read is left out."""
        with device_errors("reading the state at entry"):
            return cls(
                properties=read_properties(core),
                roi=tuple(core.getROI(roles.camera)),
                xy_um=core.getXYPosition(roles.xy_stage) if roles.xy_stage else None,
                z_um=float(core.getPosition(roles.focus)) if roles.focus else None,
            )

    def as_text(self) -> dict[str, str]:
        """``Label.Property`` → value."""
        return {f"{label}.{name}": str(value) for (label, name), value in self.properties.items()}

    def restore(self, core: CMMCorePlus, roles: Roles, lights: frozenset[str], clock: Clock) -> None:
        """Put back what differs, stages last; what cannot be put back is logged, since closing must go on."""
        now = read_properties(core)
        for (label, name), value in self.properties.items():
            if now.get((label, name)) not in (None, value) and _is_ours(core, label, name, lights):
                _try(f"{label}.{name} = {value}", partial(core.setProperty, label, name, value))
        _try("the ROI", lambda: core.setROI(roles.camera, *self.roi))
        moves = [lambda: self._restore_xy(core, roles, clock), lambda: self._restore_z(core, roles, clock)]
        for move in reversed(moves) if self._retreats(core, roles) else moves:
            _try("a stage position", move)

    def _restore_xy(self, core: CMMCorePlus, roles: Roles, clock: Clock) -> None:
        if self.xy_um is not None and _apart(core.getXYPosition(roles.xy_stage), self.xy_um):
            core.setXYPosition(roles.xy_stage, *self.xy_um)
            wait_until_idle(core, roles.xy_stage, MOVING_S, clock)

    def _restore_z(self, core: CMMCorePlus, roles: Roles, clock: Clock) -> None:
        if self.z_um is not None and _apart([core.getPosition(roles.focus)], [self.z_um]):
            core.setPosition(roles.focus, self.z_um)
            wait_until_idle(core, roles.focus, MOVING_S, clock)

    def _retreats(self, core: CMMCorePlus, roles: Roles) -> bool:
        """Whether the way back in z leads away from the sample, so that it comes before the way in xy."""
        if self.z_um is None:
            return False
        away = core.getFocusDirection(roles.focus) == FocusDirection.AwayFromSample
        return (self.z_um > core.getPosition(roles.focus)) == away


def read_properties(core: CMMCorePlus) -> dict[tuple[str, str], Any]:
    """(label, property) → value, of every device; text, but for Python devices."""
    values: dict[tuple[str, str], Any] = {}
    for label in core.getLoadedDevices():
        for name in core.getDevicePropertyNames(label):
            try:
                with device_errors("reading"):
                    values[label, name] = core.getProperty(label, name)
            except DeviceError as error:
                log.debug("%s.%s cannot be read: %s", label, name, error)
    return values


def _is_ours(core: CMMCorePlus, label: str, name: str, lights: frozenset[str]) -> bool:
    """Whether we may write this property back: no light, no shutter, no stage place, nothing read-only."""
    kind = core.getDeviceType(label)
    untouchable = (DeviceType.ShutterDevice, DeviceType.CoreDevice, DeviceType.StageDevice, DeviceType.XYStageDevice)
    if label in lights or kind in untouchable:
        return False
    return not core.isPropertyReadOnly(label, name) and not core.isPropertyPreInit(label, name)


def _apart(here: Iterable[float], there: Iterable[float]) -> bool:
    return any(abs(a - b) > NEGLIGIBLE_UM for a, b in zip(here, there, strict=True))


def _try(what: str, action: Callable[[], None]) -> None:
    try:
        with device_errors(f"restoring {what}"):
            action()
    except DeviceError as error:
        log.warning("%s", error)
