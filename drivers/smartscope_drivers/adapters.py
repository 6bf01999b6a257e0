"""Where Micro-Manager's device adapters lie, and whether they speak the same device interface as the installed core."""

from __future__ import annotations

from pathlib import Path

from pymmcore_plus import _discovery
from pymmcore_plus.install import INTERFACES

from smartscope.errors import InputError

REMEDY = "run 'mmcore install', or pip install mm-test-adapters for the demonstration devices"


def find_adapters(wanted: str = "") -> str:
    """Folder of adapters that the installed core can load: the one asked for, else the first that fits.

    Raises:
        InputError: nothing there, or only adapters of another device interface; names the release that matches.
    """
    if wanted:
        folder = Path(wanted).expanduser()
        if not folder.is_dir():
            raise InputError("no such folder of device adapters", where=wanted, remedy="correct adapter_path")
        _check(folder, _discovery.get_first_device_interface_version(folder))
        return str(folder)
    found = list(_discovery.discover_mm())
    for place in found:
        if place.div_compatible:
            return str(place.path)
    for place in found:
        _check(place.path, place.device_interface)
    raise InputError("no Micro-Manager device adapters found", remedy=REMEDY)


def _check(folder: Path, interface: int | None) -> None:
    """Raise unless the adapters' device interface is the core's."""
    needed = _discovery.PYMMCORE_DIV
    if interface == needed:
        return
    if interface is None:
        raise InputError("holds no device adapters (files named *mmgr_dal*)", where=str(folder), remedy=REMEDY)
    raise InputError(
        f"adapters have device interface {interface}, the installed pymmcore needs {needed}",
        where=str(folder),
        remedy=f"install {matching_release(needed)}, or pip install 'pymmcore==*.{interface}.*' for these adapters",
    )


def matching_release(interface: int) -> str:
    """The Micro-Manager nightly builds that speak this device interface, in words."""
    first, following = INTERFACES.get(interface), INTERFACES.get(interface + 1)
    if first is None:
        return f"a Micro-Manager build with device interface {interface}"
    end = f" and before {following}" if following else ""
    return f"a Micro-Manager nightly build from {first}{end} on (device interface {interface})"
