"""All lights of a microscope as one, whoever owns each: what the driver sets and what the watchdog darkens."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from smartscope.config import LimitsConfig, SafetyConfig
from smartscope.errors import DeviceError, Refused
from smartscope.ports import Lights, LightsSetup
from smartscope.safety.lease import LeasedLights
from smartscope.safety.messages import Darkened
from smartscope.safety.take_over import open_lights_of

MOMENT_S = 0.05
"""``dark`` waits so long for the controller's own lights to confirm."""
TAKE_OVER_AFTER_S = 0.25
"""A call that should darken them and takes longer is stuck: the supervisor ends this process and takes over."""


class GuardedLights:
    """The ``Lights`` port over supervised lights, the controller's own, or both. Made by ``open_lights``.

    One thread (the loop's, through the driver) sets powers; any thread may darken, latch and renew.
    """

    def __init__(
        self,
        leased: LeasedLights | None,
        supervised: frozenset[str],
        open_direct: Callable[[], Lights | None] | None,
        darkened: deque[Darkened],
    ) -> None:
        self.leased = leased
        self._supervised = supervised
        self._open_direct = open_direct
        self._direct = open_direct() if open_direct else None
        self._darkened = darkened
        self._lit: dict[str, bool] = {}
        self._darks = 0
        self._latched = ""
        self._darkening: threading.Thread | None = None

    @property
    def lit(self) -> bool:
        """Whether a light was set above zero since the last ``dark``."""
        return any(self._lit.values())

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the power (mW) that the device confirms.

        Raises:
            Refused: above the supervisor's hard limit, held dark, or darkened while on its way.
            DeviceError: the device did not confirm, or the light is not ours to switch.
        """
        if power_mw > 0:
            if self._latched:
                raise Refused(f"held dark: {self._latched}", where=light, remedy="release the lights first")
            self._lit[light] = True  # before the call: it may light and then block
        if light in self._supervised and self.leased is not None:
            confirmed_mw = self.leased.set_power(light, power_mw)
        else:
            confirmed_mw = self._set_direct(light, power_mw)
        self._lit[light] = power_mw > 0
        return confirmed_mw

    def read_back(self) -> dict[str, float]:
        """Power in mW of each light, as the hardware says; raises DeviceError."""
        leased = self.leased.read_back() if self.leased else {}
        return leased | dict(self._direct.read_back() if self._direct else {})

    def dark(self) -> None:
        """Every light off; returns within a moment, confirmed or not, whatever else goes on."""
        self._darken(latch=False)

    def latch(self, why: str) -> None:
        """Every light off, and refused until ``release``."""
        self._latched = why
        self._darken(latch=True)

    def release(self) -> None:
        """End the latch; switches nothing on."""
        self._latched = ""
        if self.leased:
            self.leased.release()

    def renew(self) -> None:
        """All is well: extend the lease."""
        if self.leased:
            self.leased.renew(controller_lit=self._direct_is_lit())

    def darkened(self) -> Darkened | None:
        """The newest report of a lapse that the supervisor noticed by itself, once."""
        newest = None
        while self._darkened:
            newest = self._darkened.popleft()
        return newest

    def adopt(self, lights: Lights) -> None:
        """Darken these too: the lines of lights that the driver opened itself. Closing them stays its affair."""
        self._direct = lights

    def disown(self) -> None:
        """The driver has darkened and closed the lights that were adopted: there is nothing left to reach."""
        if self._open_direct is None:
            self._direct = None

    @contextmanager
    def direct_let_go(self) -> Iterator[bool]:
        """Close the controller's own lights for a while, as a rehearsal needs; False where there are none to close."""
        if not (self._direct and self._open_direct):
            yield False
            return
        self._direct.close()
        try:
            yield True
        finally:
            self._direct = self._open_direct()

    def close(self) -> None:
        """Dark, then let go of the hardware and end the supervisor."""
        self.dark()
        try:
            if self._direct and self._open_direct:
                self._direct.close()
        finally:
            if self.leased:
                self.leased.close()

    def _set_direct(self, light: str, power_mw: float) -> float:
        if self._direct is None:
            raise DeviceError(f"light {light!r} is not opened here", where="lights", remedy="the driver must switch it")
        if power_mw == 0:
            return self._direct.set_power(light, 0.0)
        darks = self._darks
        self.renew()  # says that light may be on, before it is
        try:
            confirmed_mw = self._direct.set_power(light, power_mw)
        except Exception:
            if self._darks == darks:
                raise
        else:
            if self._darks == darks:
                return confirmed_mw
        self._direct.dark()
        raise Refused("the lights were darkened while this set-point was on its way", where=light)

    def _direct_is_lit(self) -> bool:
        return any(lit for light, lit in self._lit.items() if light not in self._supervised)

    def _darken(self, *, latch: bool) -> None:
        self._darks += 1
        self._lit = {}
        if self.leased is None:
            return
        if self._direct is not None:
            self._start_darkening(self._direct, self.leased)
        self.leased.dark(latch=latch)
        if self._darkening:
            self._darkening.join(MOMENT_S)

    def _start_darkening(self, direct: Lights, leased: LeasedLights) -> None:
        """Darken the controller's own lights on a thread, for the call may block; minded by a timer."""
        if self._darkening and self._darkening.is_alive():
            return
        minder = threading.Timer(TAKE_OVER_AFTER_S, leased.take_over, ["a call that darkens the lights is stuck"])
        minder.daemon = True

        def darken() -> None:
            try:
                direct.dark()
            except Exception as error:  # whatever a plug-in raises: the light may be on
                leased.take_over(f"the lights did not go dark: {error}")
            minder.cancel()

        self._darkening = threading.Thread(target=darken, name="darkening", daemon=True)
        minder.start()
        self._darkening.start()


def open_lights(
    setup: LightsSetup,
    safety: SafetyConfig,
    limits: LimitsConfig,
    *,
    on_fault: Callable[[str], None],
    driver_opens_its_own: bool = False,
) -> GuardedLights:
    """Open each light where its owner wants it, dark.

    ``on_fault`` is called, on another thread, when the supervisor died or the lights do not obey: end the run.
    With ``driver_opens_its_own`` the lights that the controller owns are left to the driver (``GuardedLights.adopt``);
    the supervisor stands by all the same.

    Raises:
        PluginError: no such ``smartscope.lights`` plug-in.
        DeviceError: a light cannot be opened.
    """
    darkened: deque[Darkened] = deque()
    if not setup.lights:
        return GuardedLights(None, frozenset(), None, darkened)
    leased = LeasedLights(
        setup, safety, limits, controller_pid=os.getpid(), on_darkened=darkened.append, on_fault=on_fault
    )
    owned = frozenset(light.name for light in setup.lights if light.owner == "supervisor")
    open_direct = None if driver_opens_its_own else lambda: open_lights_of(setup, "controller")
    try:
        return GuardedLights(leased, owned, open_direct, darkened)
    except BaseException:
        leased.close()
        raise
