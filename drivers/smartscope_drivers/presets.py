"""Which presets of the configuration groups may be chosen: those that can neither light anything nor swap devices."""

from __future__ import annotations

from pymmcore_plus import CMMCorePlus, DeviceType

HARMLESS_CORE_PROPERTIES = frozenset({"Shutter"})
"""Core properties a preset may set; which shutter is current means nothing here, since ours is called by its label."""
RESERVED_GROUPS = frozenset({"System"})
"""Start-up and shutdown states are no channels."""


def free_presets(core: CMMCorePlus, lights: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Group → presets that touch no light device, no shutter and no core role."""
    free: dict[str, tuple[str, ...]] = {}
    for group in core.getAvailableConfigGroups():
        presets = tuple(p for p in core.getAvailableConfigs(group) if _is_free(core, group, p, lights))
        if presets and group not in RESERVED_GROUPS:
            free[group] = presets
    return free


def devices_of(core: CMMCorePlus, group: str, preset: str) -> tuple[str, ...]:
    """Labels that a preset sets, each once."""
    return tuple(dict.fromkeys(label for label, _, _ in core.getConfigData(group, preset) if label != "Core"))


def _is_free(core: CMMCorePlus, group: str, preset: str, lights: frozenset[str]) -> bool:
    for label, name, _ in core.getConfigData(group, preset):
        if label == "Core":
            if name not in HARMLESS_CORE_PROPERTIES:
                return False
        elif label in lights or core.getDeviceType(label) == DeviceType.ShutterDevice:
            return False
    return True
