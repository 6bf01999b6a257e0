"""The composition root: the objects of one run, in the order in which they must open and close."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from smartscope.admission import Admission
from smartscope.assembly import (
    RunOutcome,
    capabilities_to_row,
    clock_of,
    instrument_of,
    lights_setup_of,
    open_microscope,
    ranked_policies,
    stages_of,
)
from smartscope.bus.control import Control, ControlHandlers
from smartscope.bus.publisher import Publisher
from smartscope.check import check
from smartscope.clock import VirtualClock
from smartscope.config import ExperimentConfig, LimitsConfig
from smartscope.decider import Decider
from smartscope.diary import Diary
from smartscope.drops import DROPS
from smartscope.errors import ConfigurationError, DeviceError, InputError, Interrupted, SmartscopeError
from smartscope.frame import Frame
from smartscope.grabber import MOVIE_ENDED, Grabber, Window, no_doubt, windows
from smartscope.live import LiveRun
from smartscope.loop import Loop
from smartscope.mailbox import NewestWins
from smartscope.pipeline import Pipeline
from smartscope.plugins import problems_of
from smartscope.ports import Clock, Microscope
from smartscope.progress import polling, working
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope.report import summarise, write_report
from smartscope.report.summary import line
from smartscope.safety.gate import SafetyGate
from smartscope.safety.hand_over import HandOver, perform_hand_over
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.lights import GuardedLights, open_lights
from smartscope.safety.limits import tightened
from smartscope.safety.plan_gate import PlanGate
from smartscope.safety.signals import StopFlag, light_guard
from smartscope.safety.watchdog import Lapse, Watchdog
from smartscope.virtual import Schedule, VirtualRun

MOLECULE_FIGURES = ("emitters", "density_per_um2", "localization_error_nm", "ring_resolution_nm", "localizations")
"""What is told at once of single molecules, where there are any: names in ``Result.quality``."""


@dataclass(slots=True)
class Rig:
    """The objects of one run."""

    config: ExperimentConfig
    clock: Clock
    lights: GuardedLights
    microscope: Microscope
    pipeline: Pipeline
    grabber: Grabber
    mailbox: NewestWins[Window]
    decider: Decider
    diary: Diary
    gate: SafetyGate
    runner: LiveRun | VirtualRun
    loop: Loop
    watchdog: Watchdog | None
    folder: RunFolder | None = None


class Listener(Protocol):
    """Who is to know what the lights do by themselves: a run's loop, or a calibration."""

    def fail(self, error: SmartscopeError) -> None:
        """End it all."""

    def note_lapse(self, lapse: Lapse) -> None:
        """The lights were dark for a while."""


class Link:
    """How the lights' own threads reach a loop that is built after them."""

    def __init__(self) -> None:
        self.loop: Listener | None = None
        self.stop = StopFlag()
        self.hand_over: HandOver | None = None

    def fault(self, why: str) -> None:
        """The lights do not obey, or the watchdog gave up: end the run."""
        if self.loop is not None:
            remedy = "look at the lights themselves, then at the alarms in events.jsonl"
            self.loop.fail(DeviceError(why, where="lights", remedy=remedy))

    def lapse(self, lapse: Lapse) -> None:
        """The lights went dark because somebody was silent."""
        if self.loop is not None:
            self.loop.note_lapse(lapse)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was opened, dark."""

    clock: Clock
    lights: GuardedLights
    microscope: Microscope
    link: Link


def run_experiment(
    config: ExperimentConfig,
    *,
    source: str = "configuration",
    output: Path | None = None,
    schedule: Schedule = "live",
    progress: bool = False,
    on_rig: Callable[[Rig], None] = lambda rig: None,
) -> RunOutcome:
    """Run an experiment to its end; the light is off when this returns or raises.

    ``output`` is the run's own folder and must not exist; without it a new one is made in ``config.output``.
    ``on_rig`` lets tests and benchmarks look at the objects before the camera starts.

    Raises:
        SmartscopeError: what ended the run; the record is closed and the report written all the same.
    """
    check(config, source)
    _refuse_existing(output)
    with open_hardware(config) as hardware:
        microscope = hardware.microscope
        pipeline = Pipeline(stages_of(config, instrument_of(config, microscope.capabilities())), hardware.clock)
        roi = config.start.roi or microscope.settings().roi
        with working("preparing the models (compiled once on a new machine: a minute or two)", shown=progress):
            pipeline.warm_up((roi.height, roi.width))
        rig = _run(config, hardware, pipeline, output, schedule, progress, on_rig)
    outcome = _outcome(rig.folder, _state(rig), rig)
    if why := hardware.link.stop.why:
        raise Interrupted(f"stopped by {why}: {outcome.line}", remedy="what was recorded is complete up to here")
    return outcome


@contextmanager
def open_hardware(config: ExperimentConfig) -> Iterator[Hardware]:
    """Lights first, then the microscope; closed in the reverse order, dark on every way out."""
    clock, link, setup = clock_of(config), Link(), lights_setup_of(config)
    with ExitStack() as stack:
        # in virtual time there is no machine time to guard: the driver opens its lights itself, on the run's clock
        guarded = replace(setup, lights=()) if clock.virtual else setup
        lights = open_lights(guarded, config.safety, config.limits, on_fault=link.fault, driver_opens_its_own=True)
        stack.callback(lights.close)
        if config.safety.hand_over and guarded.lights:
            owned = any(light.owner == "controller" for light in guarded.lights)
            link.hand_over = perform_hand_over(lights, own_lights_closed=owned)
        microscope = open_microscope(config, clock, lights if guarded.lights else None, setup.token)
        stack.callback(lights.disown)
        stack.callback(microscope.close)
        link.stop = stack.enter_context(light_guard(microscope.dark, lights.dark))
        yield Hardware(clock, lights, microscope, link)


def _run(
    config: ExperimentConfig,
    hardware: Hardware,
    pipeline: Pipeline,
    output: Path | None,
    schedule: Schedule,
    progress: bool,
    on_rig: Callable[[Rig], None],
) -> Rig:
    """Endpoints first, so that a port in use leaves no folder behind; then the record, the watchdog, the run."""
    with ExitStack() as stack:
        diary, link = Diary(hardware.clock), hardware.link
        rig = _wire(config, hardware, pipeline, diary, schedule)
        link.loop = rig.loop
        if config.bus.enabled:
            _open_bus(rig, stack)
        if config.recorder.enabled:
            rig.folder = _make_folder(config, output)
        try:
            if rig.folder is not None:
                diary.recorder = _open_recorder(rig, rig.folder)
            if link.hand_over is not None:
                diary.event("hand_over", **asdict(link.hand_over))
            if rig.watchdog is not None:
                rig.watchdog.start()
                stack.callback(rig.watchdog.stop)
            rig.loop.report = lambda: diary.metrics(status(rig))
            on_rig(rig)
            with polling(config.name, lambda: _look(rig), shown=progress):
                rig.runner.run(rig.loop)
            _finish_record(rig, _state(rig), None)
        except BaseException as error:
            _finish_record(rig, "failed", str(error) or type(error).__name__)
            _close_record(rig.folder)
            raise
    return rig


def _open_bus(rig: Rig, stack: ExitStack) -> None:
    height, width = rig.microscope.capabilities().sensor_shape
    config, session = rig.config, f"{rig.config.name}-{datetime.now():%Y%m%d-%H%M%S}"
    publisher = Publisher(config.bus, session, rig.clock, frame_bytes=2 * height * width)
    stack.callback(publisher.close)
    control = Control(config.bus, publisher, _handlers(rig))
    stack.callback(control.close)
    rig.diary.publisher = publisher
    stack.callback(publisher.event, "session.end", {"name": config.name})
    publisher.event("session.start", {"name": config.name, "endpoints": dict(control.endpoints)})
    publisher.event("config", {"config": config.model_dump(mode="json")})


def _open_recorder(rig: Rig, folder: RunFolder) -> Recorder:
    config, capabilities = rig.config, rig.microscope.capabilities()
    folder.update(
        config=config.model_dump(mode="json"),
        seed=config.seed,
        models=[stage.model for stage in config.pipeline],
        networks=rig.pipeline.facts(),
        capabilities=capabilities_to_row(capabilities),
    )
    return Recorder(
        folder,
        config.recorder,
        config.microscope.camera.pixel_size_nm * 1e-3,
        rig.clock,
        sensor_shape=capabilities.sensor_shape,
        stage_affine=capabilities.stage_affine,
    )


def _wire(config: ExperimentConfig, hardware: Hardware, pipeline: Pipeline, diary: Diary, schedule: Schedule) -> Rig:
    clock, lights, microscope, link = hardware.clock, hardware.lights, hardware.microscope, hardware.link
    capabilities, scope = microscope.capabilities(), config.microscope
    ledger = DoseLedger(config.dose, scope.optics, scope.lights, pixel_size_nm=scope.camera.pixel_size_nm)
    gate = SafetyGate(config.limits, ledger, capabilities, config.arm)
    instrument = instrument_of(config, capabilities)
    affine = capabilities.stage_affine
    decider = Decider(
        ranked_policies(config),
        gate,
        PlanGate(gate, scope.lights),
        instrument,
        capabilities.sensor_shape,
        affine,
        Admission.of(config.safety),
    )
    mailbox = windows()

    def see(frame: Frame) -> None:
        loop.see_frame(frame)

    watchdog = None
    if not clock.virtual:
        watchdog = Watchdog(lights, config.safety, on_lapse=link.lapse, on_trip=link.fault)
    grabber = Grabber(
        microscope,
        clock,
        [diary.frame, see],
        mailbox,
        history=pipeline.history,
        frame_timeout_s=config.frame_timeout_s,
        frames=config.frames,
        in_doubt=watchdog.in_doubt if watchdog else no_doubt,
    )
    runner: LiveRun | VirtualRun
    if isinstance(clock, VirtualClock):
        runner = VirtualRun(clock, microscope, grabber, pipeline, decider, mailbox, schedule)
    else:
        assert watchdog is not None
        runner = LiveRun(microscope, grabber, pipeline, mailbox, watchdog)
    loop = Loop(
        config,
        microscope,
        grabber,
        pipeline,
        decider,
        gate,
        clock,
        diary,
        runner.send,
        release_lights=lights.release,
        signalled=lambda: link.stop.why,
    )
    pipeline.on_fallback = loop.note_fallback
    return Rig(
        config, clock, lights, microscope, pipeline, grabber, mailbox, decider, diary, gate, runner, loop, watchdog
    )


def _handlers(rig: Rig) -> ControlHandlers:
    """What clients may ask; everything but ``laser_off`` is served by the loop's thread."""
    loop = rig.loop

    def asking(wish: str) -> Callable[[], Mapping[str, Any]]:
        def ask() -> Mapping[str, Any]:
            loop.ask(wish, why=f"{wish} by a client")
            return {"asked": wish}

        return ask

    def laser_off() -> Mapping[str, float]:
        t_ns = rig.clock.now_ns()
        rig.lights.latch("laser_off by a client")
        rig.microscope.dark(t_ns)
        loop.ask("laser_off", why="laser_off by a client")
        return rig.lights.read_back()

    def set_limits(changes: Mapping[str, Any]) -> Mapping[str, Any]:
        now = rig.gate.unarmed_limits
        try:
            asked = LimitsConfig.model_validate({**now.model_dump(mode="json"), **changes})
        except ValidationError as error:
            raise ConfigurationError("set_limits", problems_of(error)) from error
        loop.ask("set_limits", limits=tightened(now, asked))
        return asked.model_dump(mode="json")

    return ControlHandlers(
        status=lambda: status(rig),
        pause=asking("pause"),
        resume=asking("resume"),
        stop=asking("stop"),
        laser_off=laser_off,
        set_limits=set_limits,
    )


def status(rig: Rig) -> dict[str, Any]:
    """Running figures of a run, for clients and the progress bar."""
    loop, counts = rig.loop, rig.grabber.statistics()
    settings, dose = rig.microscope.settings(), loop.dose
    result, (p50_ms, p95_ms) = loop.latest, loop.latency_ms()
    return {
        "state": loop.state,
        "elapsed_s": round(loop.elapsed_s, 2),
        "frame": counts.received - 1,
        **drops(rig),
        "exposure_ms": settings.exposure_ms,
        "lights_mw": dict(settings.lights_mw),
        "x_um": settings.x_um,
        "y_um": settings.y_um,
        "z_um": settings.z_um,
        "dose_j_per_cm2": dose.spent_j_per_cm2,
        "budget_j_per_cm2": dose.budget_j_per_cm2 if dose.budget_j_per_cm2 < float("inf") else None,
        "signal_to_noise": result.quality.get("signal_to_noise") if result else None,
        **{name: result.quality[name] for name in MOLECULE_FIGURES if result and name in result.quality},
        **({"events": happened} if (happened := rig.pipeline.happened.counts()) else {}),
        "latency_p50_ms": p50_ms,
        "latency_p95_ms": p95_ms,
        "recorder_fullness": rig.diary.recorder.statistics().queue_fullness if rig.diary.recorder else 0.0,
    }


def drops(rig: Rig) -> dict[str, int]:
    """What was passed over so far, under the names of ``DROPS``."""
    counts = (
        rig.grabber.statistics().lost,
        rig.mailbox.statistics().displaced,
        rig.runner.displaced_results,
        rig.loop.skipped_mixed,
        rig.pipeline.late,
        rig.decider.stale,
        rig.decider.untrusted,
        rig.pipeline.fell_back,
    )
    return dict(zip(DROPS, counts, strict=True))


def _look(rig: Rig) -> tuple[float, float | None, str]:
    """Done, total and words for the progress bar."""
    now, config = status(rig), rig.config
    snr = now["signal_to_noise"]
    frames = rig.grabber.statistics().received
    said = f"{frames} frames, {now['lost_frames']} lost"
    if snr is not None:
        said += f", signal-to-noise {snr:.1f}"
    if "localizations" in now:
        said += f", {now['localizations']:,.0f} molecules"
    if "events" in now:
        said += f", {sum(now['events'].values())} events"
    if now["budget_j_per_cm2"]:
        said += f", dose {now['dose_j_per_cm2']:.0f} of {now['budget_j_per_cm2']:.0f} J/cm2"
    if config.frames is not None:
        return frames, config.frames, said
    return now["elapsed_s"], config.duration_s, said


# -------------------------------------------------------------------- the record


def _refuse_existing(output: Path | None) -> None:
    if output is not None and output.exists():
        raise InputError("exists already", where=str(output), remedy="name another --output, or remove it")


def _make_folder(config: ExperimentConfig, output: Path | None) -> RunFolder:
    least_gb = config.recorder.min_free_gb
    if output is not None:
        return RunFolder.create_at(output, config.name, datetime.now(), min_free_gb=least_gb)
    return RunFolder.create(Path(config.output), config.name, datetime.now(), min_free_gb=least_gb)


def _finish_record(rig: Rig, state: str, error: str | None) -> None:
    recorder, rig.diary.recorder = rig.diary.recorder, None
    if recorder is not None and rig.folder is not None:
        with suppress(OSError):  # the recorder says so itself when the disk fails
            taken_over = [asdict(fallback) for fallback in rig.pipeline.fallbacks]
            why = {"ended_because": rig.loop.stop_asked} if rig.loop.stop_asked else {}
            rig.folder.update(drops=drops(rig), fallbacks=taken_over, networks=rig.pipeline.facts(), **why)
        recorder.finish(state, error, {})  # type: ignore[arg-type]


def _close_record(folder: RunFolder | None) -> None:
    """After a failure: what report there can be."""
    if folder is None:
        return
    try:
        folder.update(summary=summarise(folder.path))
        write_report(folder.path)
    except OSError:
        return  # the disk is what failed; the rows on it say enough


def _outcome(folder: RunFolder | None, state: str, rig: Rig) -> RunOutcome:
    if folder is None:
        figures = status(rig)
        return RunOutcome(state, None, figures, f"{state}: {_look(rig)[2]}; nothing was recorded")
    summary = summarise(folder.path)
    folder.update(summary=summary)
    report = write_report(folder.path)
    return RunOutcome(state, folder.path, summary, f"{line(summary)} - {report}")


def _state(rig: Rig) -> str:
    """``done`` if the run reached its own end, ``stopped`` if somebody ended it."""
    why = rig.loop.stop_asked
    return "done" if rig.loop.aim_reached or why.endswith((" frames", " s")) or why == MOVIE_ENDED else "stopped"
