"""Lights of two owners behind one port: each command goes to whoever opened that light."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from smartscope.errors import DeviceError
from smartscope.ports import Lights


class LightsByOwner:
    """The supervisor's lights and the controller's own, as one."""

    def __init__(self, owners: Mapping[str, Lights]) -> None:
        """``owners``: light name → where it is switched."""
        self._owners = dict(owners)

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the confirmed power.

        Raises:
            DeviceError: no such light, or not confirmed.
        """
        if light not in self._owners:
            known = ", ".join(self._owners) or "none"
            raise DeviceError("no such light", where=light, allowed=known, remedy="name a light of microscope.lights")
        return self._owners[light].set_power(light, power_mw)

    def read_back(self) -> Mapping[str, float]:
        """Power of each light, mW."""
        powers = {id(owner): owner.read_back() for owner in self._owners.values()}
        return {light: powers[id(owner)][light] for light, owner in self._owners.items()}

    def dark(self) -> None:
        """All off; every owner is told, whatever the first one answers.

        Raises:
            DeviceError: an owner could not confirm.
        """
        failed = []
        for owner in {id(owner): owner for owner in self._owners.values()}.values():
            try:
                owner.dark()
            except DeviceError as error:
                failed.append(error.line())
        if failed:
            raise DeviceError("; ".join(failed), where="dark", remedy="switch the laser off at its key")

    def close(self) -> None:
        """Dark; whoever opened an owner closes it."""
        self.dark()


def joined(supervisor: Lights | None, own: Lights, own_names: Collection[str], names: Collection[str]) -> LightsByOwner:
    """All lights of a microscope as one: the supervisor's where it runs, and those that belong to the controller.

    A supervisor that can ``adopt`` takes charge of both, so that its watchdog knows of every light.
    """
    if supervisor is None:
        return LightsByOwner(dict.fromkeys(names, own))
    if own_names and (adopt := getattr(supervisor, "adopt", None)) is not None:
        adopt(own)
        return LightsByOwner(dict.fromkeys(names, supervisor))
    return LightsByOwner({name: own if name in own_names else supervisor for name in names})
