"""``smartscope calibrate``: opens the hardware as a run does, but for a measurement instead of a loop.

Whatever is asked of the hardware has passed the gate and is counted by the ledger; the light is off on every way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.app import Hardware, open_hardware
from smartscope.calibration import StageCalibration, measure_stage_affine
from smartscope.calibration_files import read_instrument
from smartscope.camera_calibration.folder import refuse_existing, write_calibration
from smartscope.camera_calibration.movies import frames_of, level_of
from smartscope.camera_calibration.photon_transfer import PhotonTransfer, photon_transfer
from smartscope.camera_calibration.series import SeriesTaker, Wanted
from smartscope.camera_calibration.verdict import warnings
from smartscope.check import check
from smartscope.command import SetExposure, SetLight
from smartscope.config import CameraCalibration, ExperimentConfig
from smartscope.errors import DeviceError, InputError, Interrupted, Refused, SmartscopeError
from smartscope.frame import Frame
from smartscope.optics.point_spread.astigmatic import AstigmatismFit, fit_astigmatism
from smartscope.optics.point_spread.bead_stack import BeadCalibration, spline_from_beads
from smartscope.optics.point_spread.spline_file import save_spline
from smartscope.optics.point_spread.widths import gaussian_widths
from smartscope.ports import Clock
from smartscope.progress import counting
from smartscope.safety.gate import SafetyGate
from smartscope.safety.gated import GatedMicroscope
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.watchdog import Lapse, Watchdog


@dataclass(frozen=True, slots=True)
class CameraOutcome:
    """What a camera calibration found; the folder is written."""

    camera: CameraCalibration
    """With the maps' paths as they are from here."""
    found: PhotonTransfer
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PointSpreadOutcome:
    """What a stack of beads told of the point spread function; the file is written."""

    beads: BeadCalibration
    astigmatism: AstigmatismFit | None
    """None where two widths do not tell the height."""
    warnings: tuple[str, ...]


class AttendedMicroscope(GatedMicroscope):
    """Behind the gate, and giving no more frames once a signal, a lapse of the lights or a spent dose ends it all."""

    def __init__(self, hardware: Hardware, gate: SafetyGate) -> None:
        super().__init__(hardware.microscope, gate, hardware.clock)
        self._stop = hardware.link.stop
        self._fault: SmartscopeError | None = None

    @property
    def clock(self) -> Clock:
        """The clock that its frames are stamped with."""
        return self._clock

    def fail(self, error: SmartscopeError) -> None:
        """The lights do not obey, or the watchdog gave up: dark at once, from any thread."""
        self._fault = self._fault or error
        self._microscope.dark()

    def note_lapse(self, lapse: Lapse) -> None:
        """The lights went dark by themselves; frames since are no measurement."""
        remedy = "start again; is this computer too busy?"
        self.fail(DeviceError(f"the lights went dark by themselves: {lapse.why}", where="lights", remedy=remedy))

    def next_frame(self, timeout_s: float) -> Frame | None:
        """As the microscope's.

        Raises:
            Interrupted: a signal came.
            Refused: the dose is spent, or another limit stands against the light that is on.
            DeviceError: the lights went dark by themselves; and as the microscope's.
        """
        if self._stop:
            raise Interrupted(f"stopped by {self._stop.why}; nothing was written", remedy="start again")
        if self._fault:
            raise self._fault
        if overdue := self._gate.overdue(self._clock.now_ns()):
            self.dark()
            remedy = "ask for fewer frames, or change limits and dose"
            raise Refused(f"the light must go off: {overdue[0].why}", where="gate", remedy=remedy)
        return self._microscope.next_frame(timeout_s)

    def dark(self, since_ns: int = 0) -> None:
        """Every light off, and told to the ledger."""
        self._microscope.dark(since_ns)
        for light in self._gate.capabilities.lights:
            self._gate.ledger.set_light(light, 0.0, self._clock.now_ns())

    def dose_j_per_cm2(self) -> float:
        """What this place of the sample has had."""
        return self._gate.ledger.state(self._clock.now_ns()).spent_j_per_cm2


@contextmanager
def attended(config: ExperimentConfig) -> Iterator[AttendedMicroscope]:
    """The experiment's microscope, opened and dark, without models, policies or record.

    Raises:
        ConfigurationError: the configuration has mistakes.
        PluginError, DeviceError: the hardware cannot be opened.
    """
    check(config)
    config = config.model_copy(update={"policies": ()})
    with open_hardware(config) as hardware, ExitStack() as stack:
        scope, capabilities = config.microscope, hardware.microscope.capabilities()
        ledger = DoseLedger(config.dose, scope.optics, scope.lights, pixel_size_nm=scope.camera.pixel_size_nm)
        microscope = AttendedMicroscope(hardware, SafetyGate(config.limits, ledger, capabilities, "armed"))
        link = hardware.link
        link.loop = microscope
        if not hardware.clock.virtual:
            watchdog = Watchdog(hardware.lights, config.safety, on_lapse=link.lapse, on_trip=link.fault)
            watchdog.start()
            stack.callback(watchdog.stop)
        yield microscope
        microscope.dark()


def calibrate_stage(config: ExperimentConfig, step_um: float) -> StageCalibration:
    """How stage and camera lie to each other, by guided steps in the light that the experiment starts with.

    Raises:
        DeviceError: the steps do not agree, or there is no stage.
        Refused: the gate does not allow the light or the steps.
        Interrupted: a signal came.
    """
    with attended(config) as microscope:
        microscope.apply(SetExposure(config.start.exposure_ms))
        for light, power_mw in config.start.lights_mw.items():
            microscope.apply(SetLight(light, power_mw))
        return measure_stage_affine(microscope, microscope.clock, step_um=step_um)


def calibrate_camera(
    config: ExperimentConfig,
    output: Path,
    wanted: Wanted,
    *,
    em_gain: float | None = None,
    progress: bool = False,
) -> CameraOutcome:
    """Maps of the whole sensor, from darks and a light series in the light that the experiment starts with.

    ``em_gain``: of an EMCCD, as its maker or another measurement says; None: the configuration's.

    Raises:
        InputError: the folder exists, or the frames do not make a calibration.
        DeviceError: no suitable exposure, or the hardware fails.
        Refused: the gate does not allow light or exposure, or the dose is spent.
        Interrupted: a signal came; nothing is written.
    """
    refuse_existing(output)
    if not config.start.lights_mw:
        remedy = "give start.lights_mw; the exposure is varied, not the power"
        raise InputError("no light is switched on", where="start.lights_mw", remedy=remedy)
    with attended(config) as microscope, counting("camera", shown=progress) as advance:
        can, limits = microscope.capabilities(), config.limits.exposure_ms
        exposures_ms = max(can.exposure_range_ms[0], limits.low), min(can.exposure_range_ms[1], limits.high)
        top_adu = float(2**can.bit_depth - 1)
        taker = SeriesTaker(microscope, microscope.clock, exposure_range_ms=exposures_ms, saturation_adu=top_adu)
        series = taker.take(config.start.exposure_ms, config.start.lights_mw, wanted, advance)
        facts = {
            "dark_exposure_ms": series.dark_exposure_ms,
            "lights_mw": dict(config.start.lights_mw),
            "dose_j_per_cm2": microscope.dose_j_per_cm2(),
            "temperature": _temperatures(can.device_properties),
        }
    known = config.microscope.camera
    gain = known.em_gain if em_gain is None else em_gain
    found = photon_transfer(series.dark, series.lights, em_gain=gain, saturation_adu=top_adu)
    return CameraOutcome(write_calibration(output, found, known, facts), found, tuple(warnings(found)))


def calibrate_camera_from_files(
    dark: Sequence[Path],
    light: Sequence[Path],
    output: Path,
    *,
    config: ExperimentConfig | None = None,
    em_gain: float | None = None,
    progress: bool = False,
) -> CameraOutcome:
    """Maps from recorded movies: all of ``dark`` together, each of ``light`` a level; ``config`` tells pixel size etc.

    Raises:
        InputError: a movie cannot be read, the folder exists, or the frames do not make a calibration.
    """
    refuse_existing(output)
    if not dark:
        raise InputError("no dark frames", where="--dark", remedy="give a movie taken without light")
    known = config.microscope.camera if config else None
    gain = em_gain if em_gain is not None else known.em_gain if known else 1.0
    with counting("camera", shown=progress) as advance:
        unlit, lit = level_of(dark), []
        for number, path in enumerate(light, 1):
            advance(number, len(light) + 1)
            lit.append(level_of([path], float(unlit.mean_adu.mean())))
        found = photon_transfer(unlit, lit, em_gain=gain)
    facts = {"dark": [str(path) for path in dark], "light": [str(path) for path in light]}
    return CameraOutcome(write_calibration(output, found, known, facts), found, tuple(warnings(found)))


def calibrate_point_spread(
    stack: Path, output: Path, z_step_nm: float, camera: Path, *, size_px: int | None = None
) -> PointSpreadOutcome:
    """The image of one molecule at all heights, from a movie of beads with one frame for each height.

    ``z_step_nm``: how much higher a bead stands in the next frame, that is, how far stage or objective moved the focus
    down. ``size_px``: odd width of what is kept around a bead; None: about 2.5 um.

    Raises:
        InputError: stack or camera.json cannot be read, there are no beads on their own, they do not look alike, or
            ``output`` exists.
    """
    if output.exists():
        raise InputError("exists already", where=str(output), remedy="give another name")
    known = read_instrument(camera, None).camera
    counts = np.stack(list(frames_of(stack)))
    electrons = (counts.astype(np.float32) - known.offset_adu) * (known.electrons_per_adu / known.em_gain)
    found = spline_from_beads(electrons, z_step_nm=z_step_nm, pixel_size_nm=known.pixel_size_nm, size_px=size_px)
    save_spline(output, found.spline)
    notes = list(found.warnings)
    if saturated := int(np.count_nonzero(counts >= known.saturation_adu)):
        notes.append(f"{saturated} pixels are saturated: beads among them look too flat")
    samples = found.spline.samples()
    heights_nm = np.linspace(*found.spline.range_nm, len(samples))
    try:
        astigmatism = fit_astigmatism(heights_nm, *gaussian_widths(samples))
    except InputError as error:
        astigmatism = None
        notes.append(f"not astigmatic: {error.what}")
    return PointSpreadOutcome(found, astigmatism, tuple(notes))


def _temperatures(properties: Mapping[str, Any]) -> dict[str, str]:
    """What the devices say of their temperature."""
    return {name: str(value) for name, value in properties.items() if "temperature" in name.lower()}
