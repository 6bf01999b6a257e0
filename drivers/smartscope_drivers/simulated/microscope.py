"""A microscope without hardware: Python devices in a Micro-Manager core, all looking at one seeded ``World``.

The driver above them is the one that drives real devices and sees CMMCore calls only; ``world`` knows the truth, for
tests and benchmarks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pymmcore_plus.experimental.unicore import Device, UniMMCore

from smartscope.config import NotNegative, Positive
from smartscope.ports import Lights, LightsSetup, MicroscopeSetup
from smartscope_drivers.core_camera import CoreCamera
from smartscope_drivers.core_microscope import CoreMicroscope
from smartscope_drivers.core_tools import close_core, device_errors, open_core
from smartscope_drivers.lights_by_owner import joined
from smartscope_drivers.options import CoreOptions
from smartscope_drivers.roles import Roles
from smartscope_drivers.simulated import devices
from smartscope_drivers.simulated.faults import FaultOptions
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.modulators import SimulatedGrating, SimulatedSlm
from smartscope_drivers.simulated.options import Contrast, SpecimenName, WorldOptions
from smartscope_drivers.simulated.virtual_camera import VirtualCamera
from smartscope_drivers.simulated.world import World

__all__ = ["SimulatedMicroscope"]

ROLES = Roles(camera="Camera", shutter="Shutter", xy_stage="XY", focus="Z", autofocus="Autofocus", slm="SLM")
FILTER_WHEEL, FILTER_GROUP = "FilterWheel", "Filter"
DEFAULTS = WorldOptions()


class SimulatedMicroscope(CoreMicroscope):
    """The ``Microscope`` port over a ``World``; options are those of ``WorldOptions``, and the core's ring."""

    def __init__(
        self,
        setup: MicroscopeSetup,
        *,
        specimen: SpecimenName = DEFAULTS.specimen,
        specimen_options: dict[str, Any] | None = None,
        readout_ms: NotNegative = DEFAULTS.readout_ms,
        stage_um_per_s: Positive = DEFAULTS.stage_um_per_s,
        stage_settling_ms: NotNegative = DEFAULTS.stage_settling_ms,
        focus_um_per_s: Positive = DEFAULTS.focus_um_per_s,
        focus_settling_ms: NotNegative = DEFAULTS.focus_settling_ms,
        focal_plane_um: float = DEFAULTS.focal_plane_um,
        focus_drift_um_per_min: float = DEFAULTS.focus_drift_um_per_min,
        drift_um_per_s: tuple[float, float] = DEFAULTS.drift_um_per_s,
        slm: Literal["auto", "intensity", "interference"] = DEFAULTS.slm,
        fringe_contrast: Contrast | tuple[Contrast, ...] = DEFAULTS.fringe_contrast,
        phase_error_deg: NotNegative = DEFAULTS.phase_error_deg,
        camera_rotation_deg: float = DEFAULTS.camera_rotation_deg,
        camera_mirrored: bool = DEFAULTS.camera_mirrored,
        laser_max_mw: Positive = DEFAULTS.laser_max_mw,
        transmission: Annotated[float, Field(gt=0, le=1)] = DEFAULTS.transmission,
        filters: dict[str, float] | None = None,
        faults: FaultOptions = DEFAULTS.faults,
        ring_mb: Positive = 512.0,
        move_timeout_s: Positive = 10.0,
    ) -> None:
        """Build the world and its devices, in the dark.

        Raises:
            InputError: the specimen's options are wrong.
            DeviceError: a device fails to load.
        """
        options = WorldOptions(
            specimen=specimen,
            specimen_options=specimen_options or {},
            readout_ms=readout_ms,
            stage_um_per_s=stage_um_per_s,
            stage_settling_ms=stage_settling_ms,
            focus_um_per_s=focus_um_per_s,
            focus_settling_ms=focus_settling_ms,
            focal_plane_um=focal_plane_um,
            focus_drift_um_per_min=focus_drift_um_per_min,
            drift_um_per_s=drift_um_per_s,
            slm=slm,
            fringe_contrast=fringe_contrast,
            phase_error_deg=phase_error_deg,
            camera_rotation_deg=camera_rotation_deg,
            camera_mirrored=camera_mirrored,
            laser_max_mw=laser_max_mw,
            transmission=transmission,
            filters=filters or DEFAULTS.filters,
            faults=faults,
        )
        self.world = World(setup.config, setup.clock, setup.seed, setup.token, options)
        """Ground truth, for tests and benchmarks; the controller never looks at it."""
        self._device = devices.SimulatedCamera(self.world)
        self._own_lights: SimulatedLights | None = None
        try:
            lights = self._find_lights(setup)
            core = load(self.world, self._device, self._own_lights)
            handling = CoreOptions(
                ring_mb=ring_mb,
                live_exposure=True,
                calibrated=frozenset(
                    {"exposure_ms", "xy", "z", *(f"light:{light.name}" for light in setup.config.lights)}
                ),
                readout_ms=readout_ms,
                move_timeout_s=move_timeout_s,
            )
            super().__init__(core, replace(ROLES, slm=_slm_label(self.world)), setup, handling, lights)
        except BaseException:
            self._let_go()
            raise

    def _find_lights(self, setup: MicroscopeSetup) -> Lights:
        """The supervisor's lights where it runs, the others on this process' own side of the light bench."""
        supervisor, lights = setup.lights, setup.config.lights
        own = lights if supervisor is None else tuple(light for light in lights if light.owner == "controller")
        here = SimulatedLights.in_process(
            LightsSetup(own, setup.config, self.world.token), self.world.clock, self.world.faults
        )
        self._own_lights = here
        return joined(supervisor, here, [light.name for light in own], [light.name for light in lights])

    def _open_camera(self) -> CoreCamera:
        if not self._clock.virtual:
            return super()._open_camera()
        return VirtualCamera(self._core, self._roles.camera, self._clock, self._options.ring_mb, self._device)

    def close(self) -> None:
        """As ``CoreMicroscope.close``; the world ends with it."""
        try:
            super().close()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if not self.world.closing.is_set():
            if self._own_lights is not None:
                self._own_lights.close()
            self.world.close()


def _slm_label(world: World) -> str:
    """As the configuration calls it."""
    fringes = world.config.optics.structured_illumination
    return (fringes.slm.device if fringes is not None and fringes.slm is not None else "") or ROLES.slm


def load(world: World, camera: devices.SimulatedCamera, own_lights: SimulatedLights | None) -> UniMMCore:
    """A core with the simulated devices, and the filters as presets of one group.

    Raises:
        DeviceError: a device fails to load.
    """
    # no adapter is needed, but the core wants a folder to look for them
    core = open_core(UniMMCore, str(Path(__file__).parent))
    loaded: list[tuple[str, Device]] = [
        (ROLES.camera, camera),
        (ROLES.shutter, devices.SimulatedShutter(world)),
        (ROLES.xy_stage, devices.SimulatedXYStage(world)),
        (ROLES.focus, devices.SimulatedFocus(world)),
        (ROLES.autofocus, devices.SimulatedAutofocus(world)),
        (_slm_label(world), SimulatedSlm(world)),
        (FILTER_WHEEL, devices.SimulatedFilterWheel(world)),
    ]
    fringes = world.config.optics.structured_illumination
    if fringes is not None and fringes.grating is not None:
        loaded.append((fringes.grating.device, SimulatedGrating(world, fringes.grating)))
    for light in world.config.lights:
        mine = own_lights if own_lights is not None and light.name in own_lights.read_back() else None
        loaded.append((light.device or light.name, devices.SimulatedLaser(world, light.name, mine)))
    try:
        with device_errors("loading the simulated devices"):
            for label, device in loaded:
                core.loadPyDevice(label, device)
            core.initializeAllDevices()
            for name in world.options.filters:
                core.defineConfig(FILTER_GROUP, name, FILTER_WHEEL, "Label", name)
    except BaseException:
        close_core(core)
        raise
    return core
