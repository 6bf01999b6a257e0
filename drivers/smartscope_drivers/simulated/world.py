"""Only this file knows how specimen, light path, stage and camera of the simulated microscope act on each other.

The devices write what they do with its time; the camera asks for the picture of an exposure.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import InputError
from smartscope.frame import Pixels, Roi
from smartscope.optics.camera_noise import CameraNoise
from smartscope.optics.fringes import Fringes
from smartscope.optics.illumination import collected_fraction, dose_j_per_cm2
from smartscope.optics.psf import depth_um, sigma_um
from smartscope.ports import Clock, whole_sensor
from smartscope.specimens.living import Labels, LivingSpecimen
from smartscope.specimens.protocol import GroundTruth, Points, SwitchingSpecimen, View
from smartscope_drivers.simulated.bench import LightBench
from smartscope_drivers.simulated.faults import Faults
from smartscope_drivers.simulated.illumination import Illumination, Pattern
from smartscope_drivers.simulated.life import LIVING, STEP_NS, Life, life_of
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.timeline import Timeline
from smartscope_drivers.simulated.trajectory import Trajectory
from smartscope_drivers.simulated.truth import WorldEvents, WorldObjects


@dataclass(frozen=True, slots=True)
class WorldTruth:
    """What is really there at one moment, and how the camera looks at it. For tests and benchmarks only."""

    t_ns: int
    specimen: GroundTruth
    view: View

    def to_pixels(self, places_um: Points, roi: Roi) -> Points:
        """Pixels (N, 2) of ``roi`` for places (N, 2) in um; the centre of the top-left pixel is (0, 0)."""
        return replace(self.view, roi=roi).to_pixels(places_um)


@dataclass(frozen=True, slots=True)
class Emitters:
    """Single molecules (N,) that shone during an exposure, wherever they lie. For tests and benchmarks only."""

    molecule: npt.NDArray[np.int64]
    """Its number; ascending."""
    x_um: npt.NDArray[np.float64]
    y_um: npt.NDArray[np.float64]
    """In the specimen, which may drift."""
    z_um: npt.NDArray[np.float64]
    """Height above the specimen's plane."""
    x_px: npt.NDArray[np.float64]
    y_px: npt.NDArray[np.float64]
    """Where the camera saw it; the centre of the top-left pixel is (0, 0)."""
    photons: npt.NDArray[np.float64]
    """That reached the camera, as a mean: before quantum efficiency and shot noise."""


class World:
    """Everything behind the simulated devices, seeded; any thread may call.

    Args:
        config: what is true of the instrument: camera, optics, lights, sensor.
        clock: the run's; the world begins at its present time.
        seed: of specimen and noise.
        token: names the light bench that the owner of the lights writes; empty: one of its own.
        options: the hardware's speeds, the specimen, the faults.

    Raises:
        ConfigurationError: the specimen's options are wrong.
        InputError: a calibration map of the camera cannot be used.
    """

    def __init__(
        self,
        config: MicroscopeConfig,
        clock: Clock,
        seed: int = 0,
        token: str = "",
        options: WorldOptions | None = None,
    ) -> None:
        self.config, self.clock, self.seed = config, clock, seed
        self.options = options or WorldOptions()
        self._own_token = not token
        self.token = token or uuid.uuid4().hex
        self.t0_ns = clock.now_ns()
        self.faults = Faults(self.options.faults, clock)
        self.stage = Trajectory((0.0, 0.0), self.options.stage_um_per_s, self.options.stage_settling_ms)
        self.focus = Trajectory((0.0,), self.options.focus_um_per_s, self.options.focus_settling_ms)
        self.shutter_open = Timeline(True)
        self.filter_position = Timeline(0)
        self.illumination = Illumination(config, self.options, seed)
        self.pattern: Timeline[Pattern | None] = Timeline(None)
        """What SLM or grating makes of the light; None: as even as without them."""
        self.triggered: list[Callable[[int], None]] = []
        """Called with the start of each exposure."""
        self.closing = threading.Event()
        self._exposing = Timeline(False)
        self._bench = LightBench(self.token, [light.name for light in config.lights])
        self._powers = {light.name: Timeline(0.0) for light in config.lights}
        self._known_changes = dict.fromkeys(self._powers, 0)
        self._lock = threading.Lock()
        self._noise = CameraNoise(config.camera, config.sensor, seed)
        self._life = life_of(self)
        self._twin = life_of(self)
        self._expected = np.zeros((0, 0), np.float32)
        self._warm_up()

    def _warm_up(self) -> None:
        """Let every kernel compile (seconds, once per machine) before the camera runs."""
        height, width = self.config.sensor
        roi = Roi(width // 2 - 8, height // 2 - 8, 16, 16)
        expected, out = np.zeros((16, 16), np.float32), np.zeros((16, 16), np.uint16)
        life = life_of(self)
        life.expose(self.t0_ns, self.t0_ns + 2 * STEP_NS)
        life.specimen.render(expected, self.view(self.t0_ns, roi), {488.0: 1.0})
        self._noise.expose(expected, out, roi, 0)
        Fringes.of_beams(np.eye(2), np.ones(2, complex)).at(np.zeros(1), np.zeros(1))

    def close(self) -> None:
        """End blocked calls and let go of the light bench; the lights of a token given to us stay as they are."""
        self.closing.set()
        self.faults.release()
        with self._lock:
            if self._own_token:
                self._bench.remove()
            else:
                self._bench.close()

    # ---------------------------------------------------------------- light

    def power_mw(self, light: str) -> float:
        """Power of a light now.

        Raises:
            DeviceError: no such light.
        """
        return self._bench.power_mw(light)

    def _read_lights(self) -> None:
        for light, powers in self._powers.items():
            self._known_changes[light], changes = self._bench.changes_since(light, self._known_changes[light])
            for t_ns, power_mw in changes:
                powers.set(t_ns, power_mw)

    def doses(self, t0_ns: int, t1_ns: int) -> dict[float, float]:
        """J/cm2 delivered between two moments where the illumination is full, by wavelength; dark ones are left out."""
        doses: dict[float, float] = {}
        for light in self.config.lights:
            energy_mj = sum(
                power_mw * self._open_s(light, a_ns, b_ns)
                for a_ns, b_ns, power_mw in self._powers[light.name].pieces(t0_ns, t1_ns)
                if power_mw > 0
            )
            if energy_mj > 0:
                diameter_um = self.config.optics.illuminated_diameter_um
                dose = dose_j_per_cm2(energy_mj, light.transmission, diameter_um)
                doses[light.wavelength_nm] = doses.get(light.wavelength_nm, 0.0) + dose
        return doses

    def _open_s(self, light: LightConfig, t0_ns: int, t1_ns: int) -> float:
        """Seconds for which nothing stood between a light and the sample."""
        open_ns = 0
        for a_ns, b_ns, shutter_open in self.shutter_open.pieces(t0_ns, t1_ns):
            if not shutter_open:
                continue
            if light.gated_by_camera:
                open_ns += sum(d - c for c, d, exposing in self._exposing.pieces(a_ns, b_ns) if exposing)
            else:
                open_ns += b_ns - a_ns
        return open_ns / 1e9

    def light_changes(self, t0_ns: int, t1_ns: int) -> set[int]:
        """Moments between two others at which any light, shutter or pattern may change."""
        exposing = (self._exposing,) if any(light.gated_by_camera for light in self.config.lights) else ()
        timelines = (*self._powers.values(), self.shutter_open, self.pattern, *exposing)
        return {to_ns for timeline in timelines for _, to_ns, _ in timeline.pieces(t0_ns, t1_ns)}

    def relative_light(self, places_um: Points, t_ns: int) -> npt.NDArray[np.float64]:
        """Illumination (N,) of places (N, 2), 1 where it is full: the disc around the axis, times SLM or grating."""
        return self.illumination.at(places_um, self.view(t_ns, whole_sensor(self.config.sensor)), self.pattern.at(t_ns))

    def dose_at(self, full_dose: float, t_ns: int, places_um: Points) -> npt.NDArray[np.float64]:
        """Dose (N,) at places (N, 2) when ``full_dose`` is delivered where the illumination is full."""
        return full_dose * self.relative_light(places_um, t_ns)

    def exposure_begins(self, t_ns: int) -> None:
        """The camera's exposure-out line rises: devices in a hardware sequence take their next step."""
        for step in tuple(self.triggered):
            step(t_ns)

    # ---------------------------------------------------------------- view

    def focal_plane_um(self, t_ns: int) -> float:
        """Focus position at which the specimen's plane is sharp; it may drift."""
        minutes = (t_ns - self.t0_ns) / 60e9
        return self.options.focal_plane_um + self.options.focus_drift_um_per_min * minutes

    def affine_um_per_px(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Stage displacement that brings a point back that lies one pixel off: what a calibration should find."""
        pixel_um = self.config.camera.pixel_size_nm / 1e3
        angle = math.radians(self.options.camera_rotation_deg)
        x_sign = -1.0 if self.options.camera_mirrored else 1.0
        cosine, sine = pixel_um * math.cos(angle), pixel_um * math.sin(angle)
        return (x_sign * cosine, -sine), (x_sign * sine, cosine)

    def view(self, t_ns: int, roi: Roi) -> View:
        """How the sample is imaged at ``t_ns``."""
        optics, options = self.config.optics, self.options
        na, index = optics.numerical_aperture, optics.refractive_index
        passed = list(options.filters.values())[self.filter_position.at(t_ns)]
        (x_um, y_um), (dx_um_s, dy_um_s) = self.stage.at(t_ns), options.drift_um_per_s
        elapsed_s = (t_ns - self.t0_ns) / 1e9
        return View(
            stage_um=(x_um - dx_um_s * elapsed_s, y_um - dy_um_s * elapsed_s),
            defocus_um=self.focus.at(t_ns)[0] - self.focal_plane_um(t_ns),
            affine_um_per_px=self.affine_um_per_px(),
            sensor_shape=self.config.sensor,
            roi=roi,
            sigma_um=sigma_um(optics.emission_nm, na),
            depth_um=depth_um(optics.emission_nm, na, index),
            detected_fraction=collected_fraction(na, index)
            * options.transmission
            * passed
            * self.config.camera.quantum_efficiency,
            lit_radius_um=optics.illuminated_diameter_um / 2,
            point_spread=optics.point_spread,
        )

    # ---------------------------------------------------------------- pictures and truth

    def render(self, out: Pixels, roi: Roi, t_start_ns: int, t_end_ns: int, frame: int) -> None:
        """Expose frame number ``frame`` into ``out`` (H, W): places as at mid-exposure, light as it truly came.

        The specimen does not go back: of two exposures that overlap, the second shows it where the first left it.
        """
        with self._lock:
            self._exposing.set(t_start_ns, True)
            self._exposing.set(t_end_ns, False)
            self._read_lights()
            seen_ns = self._life.expose(t_start_ns, t_end_ns)
            if self._expected.shape != out.shape:
                self._expected = np.empty(out.shape, np.float32)
            self._expected.fill(0)
            if doses := self.doses(t_start_ns, t_end_ns):
                view, pattern = self.view(seen_ns, roi), self.pattern.at(seen_ns)
                self._life.specimen.render(self._expected, view, doses, self.illumination.light(view, pattern))
            self._noise.expose(self._expected, out, roi, frame)

    def truth(self, t_ns: int) -> WorldTruth:
        """What is really there at any moment since the world began; asking in order of time is quickest."""
        with self._lock:
            twin = self._twin_before(t_ns)
            twin.advance(t_ns)
            return WorldTruth(t_ns, twin.specimen.ground_truth(), self.view(t_ns, whole_sensor(self.config.sensor)))

    def emitters(self, t_start_ns: int, t_end_ns: int, roi: Roi | None = None) -> Emitters:
        """Which single molecules shone between two moments; asking in order of time is quickest.

        Args:
            t_start_ns: begin of an exposure.
            t_end_ns: its end, not beyond the light that is known.
            roi: whose pixels are meant; None: the whole sensor.

        Raises:
            InputError: the specimen is none of single molecules.
        """
        with self._lock:
            twin = self._twin_before(t_start_ns)
            if not isinstance(twin.specimen, SwitchingSpecimen):
                raise InputError(
                    f"{self.options.specimen!r} has no single molecules", where="specimen", allowed="blinking"
                )
            view = self.view(twin.expose(t_start_ns, t_end_ns), roi or whole_sensor(self.config.sensor))
            glow = twin.specimen.glow()
            pixels = view.to_pixels(glow.places_um)
            return Emitters(
                molecule=glow.molecule,
                x_um=glow.places_um[:, 0],
                y_um=glow.places_um[:, 1],
                z_um=glow.z_um,
                x_px=pixels[:, 0],
                y_px=pixels[:, 1],
                photons=glow.photons * view.detected_fraction / self.config.camera.quantum_efficiency,
            )

    def objects(self, t_ns: int, roi: Roi | None = None) -> WorldObjects:
        """Who is where at any moment since the world began, inside ``roi`` or not; in order of time is quickest.

        Raises:
            InputError: the specimen is none of objects with a life of their own.
        """
        with self._lock:
            specimen, view = self._living(t_ns), self.view(t_ns, roi or whole_sensor(self.config.sensor))
            return WorldObjects.seen(specimen.objects(), specimen.phases, view)

    def masks(self, t_ns: int, roi: Roi | None = None) -> Labels:
        """(H, W) int32: the number of the object that covers the centre of each pixel of ``roi``; 0: none.

        Raises:
            InputError: the specimen is none of objects with a life of their own.
        """
        with self._lock:
            return self._living(t_ns).masks(self.view(t_ns, roi or whole_sensor(self.config.sensor)))

    def events(self, t0_ns: int, t1_ns: int, roi: Roi | None = None) -> WorldEvents:
        """What goes on between two moments, anywhere; quickest asked once, for the whole run, at its end.

        Raises:
            InputError: the specimen is none of objects with a life of their own.
        """
        with self._lock:
            began_ns, roi = self.t0_ns, roi or whole_sensor(self.config.sensor)
            living = self._living(max(t1_ns, self._twin.t_ns))
            found = living.events((t0_ns - began_ns) / 1e9, (t1_ns - began_ns) / 1e9)
            views = [self.view(began_ns + round(1e9 * onset_s), roi) for onset_s in found.onset_s]
            return WorldEvents.seen(found, began_ns, views)

    def _living(self, t_ns: int) -> LivingSpecimen:
        """The twin of the specimen as at ``t_ns``."""
        if not isinstance(self._twin.specimen, LivingSpecimen):
            raise InputError(
                f"{self.options.specimen!r} tells of no objects with a life of their own",
                where="specimen",
                allowed=", ".join(LIVING),
            )
        twin = self._twin_before(t_ns)
        twin.advance(t_ns)
        assert isinstance(twin.specimen, LivingSpecimen)
        return twin.specimen

    def _twin_before(self, t_ns: int) -> Life:
        """A life that has not gone beyond ``t_ns``, other than the one that the camera sees."""
        self._read_lights()
        if t_ns < self._twin.t_ns:
            self._twin = life_of(self)  # the past is lived through again: same seed, same light
        return self._twin
