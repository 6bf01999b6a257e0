"""The hand-over of light, performed once at zero power before a run is armed, and timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smartscope.safety.lights import GuardedLights


@dataclass(frozen=True, slots=True)
class HandOver:
    """What the rehearsal showed, for run.json."""

    lapse_off_ms: float | None = None
    """Last renewal → lights confirmed off by the supervisor; None: no supervisor (virtual time, or no lights)."""
    take_over_ms: float | None = None
    """Supervisor told → the controller's own lights opened by it and confirmed off; None: none that it could take."""
    read_back_mw: Mapping[str, float] = field(default_factory=dict)
    """Powers that the hardware reported afterwards."""


def perform_hand_over(lights: GuardedLights, *, own_lights_closed: bool = False) -> HandOver:
    """Withhold the lease until the supervisor darkens; have it take over the controller's own lights. Before any light.

    ``own_lights_closed``: the controller owns lights, but their driver has not opened them yet, so that the supervisor
    can reach them.

    Raises:
        DeviceTimeout: the supervisor did not do its part.
        DeviceError: the lights could not be opened again.
    """
    lights.dark()
    if lights.leased is None:
        return HandOver(read_back_mw=lights.read_back())
    _, lapse_off_ms = lights.leased.rehearse_lapse()
    take_over_ms = None
    with lights.direct_let_go() as let_go:
        if let_go or own_lights_closed:
            take_over_ms = lights.leased.rehearse_take_over().took_ms
    return HandOver(lapse_off_ms, take_over_ms, lights.read_back())
