"""All lights of a microscope as one, whoever owns each: what the driver sets and what the watchdog darkens."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from smartscope.config import LimitsConfig, SafetyConfig
from smartscope.errors import DeviceError, Refused
from smartscope.plugins import build
from smartscope.ports import Lights, LightsSetup
from smartscope.safety.lease import LeasedLights
from smartscope.safety.messages import Darkened
from smartscope.safety.take_over import open_lights_of

MOMENT_S = 0.05
"""``dark`` waits so long for a confirmation."""
TAKE_OVER_AFTER_S = 0.25
"""A call that should darken the controller's own lights and takes longer is stuck: the supervisor takes over."""


class GuardedLights:
    """The ``Lights`` port over supervised lights, the controller's own, or both. Made by ``open_lights``.

    One thread (the loop's, through the driver) sets powers; any thread may darken, latch and renew.
    """

    def __init__(self, leased: LeasedLights | None, direct: Lights | None, darkened: deque[Darkened]) -> None:
        self._leased, self._direct, self._darkened = leased, direct, darkened
        self._leased_lit: dict[str, bool] = {}
        self._direct_lit: dict[str, bool] = {}
        self._darks = 0
        self._latched = False
        self._darkening: threading.Thread | None = None

    @property
    def lit(self) -> bool:
        """Whether a light was set above zero since the last ``dark``."""
        return any(self._leased_lit.values()) or any(self._direct_lit.values())

    @property
    def leased(self) -> LeasedLights | None:
        """The way to the supervisor; None where there is none (virtual time, or no lights)."""
        return self._leased
