"""The Protocols between the controller and everything that can be plugged into it; each has a contract suite.

How plug-ins are built: an entry point (or dotted path) names a class. Microscopes and models are called as
``Class(setup, **options)``, where a model's setup is the ``Instrument``; lights as ``Class(setup)``, policies as
``Class(**options)``, tasks as ``Class()``. Options are the YAML's, validated against the annotated arguments of
``__init__`` other than ``setup`` (see ``plugins.py``), so a class needs no schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from smartscope.command import NO_LIGHTS, Applied, Command, Request
from smartscope.config import CameraCalibration, LightConfig, LimitsConfig, MicroscopeConfig, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.result import Events, Result

if TYPE_CHECKING:
    import useq


@runtime_checkable
class Clock(Protocol):
    """Where all time comes from."""

    @property
    def virtual(self) -> bool:
        """Whether time is moved by the event heap instead of the machine."""

    def now_ns(self) -> int:
        """Nanoseconds on the run's clock."""

    def sleep(self, seconds: float) -> None:
        """Rest, or move virtual time."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a model may know of the microscope: calibration and optics, no handle on hardware."""

    camera: CameraCalibration
    optics: OpticsConfig
    stage_affine: tuple[tuple[float, float], tuple[float, float]] | None = None
    """As in ``Capabilities``."""
    lights: tuple[LightConfig, ...] = ()
    """Names, colours and how much of each arrives in the sample."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one microscope can do, found out when it was opened."""

    sensor_shape: tuple[int, int]
    """(H, W) of the whole sensor, pixels."""
    bit_depth: int
    exposure_range_ms: tuple[float, float]
    lights: tuple[str, ...]
    has_xy: bool
    has_z: bool
    has_roi: bool
    live_settings: frozenset[str] = frozenset()
    """Setting keys that change while the camera streams; the others stop and restart it."""
    stage_affine: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Stage displacement in um that brings an object, displaced by one (x, y) sensor pixel, back; None = unmeasured."""
    has_autofocus: bool = False
    has_interval: bool = False
    """Whether the camera can rest between exposures (``SetInterval``)."""
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Configuration group → presets that touch no light."""
    frame_period_overhead_ms: float = 0.0
    """Time between exposures beside the exposure itself."""
    device_properties: Mapping[str, str] = field(default_factory=dict)
    """``Label.Property`` → value at entry, for run.json."""


@runtime_checkable
class Lights(Protocol):
    """The light lines alone: what the supervisor process opens, and what a driver switches light through."""

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the power that the device confirms; raise DeviceError if it does not."""

    def read_back(self) -> Mapping[str, float]:
        """Power in mW of each light, as the hardware says."""

    def dark(self) -> None:
        """Every light off, whatever went before; safe to call twice and from any thread."""

    def close(self) -> None:
        """Dark, then let go of the hardware."""


@dataclass(frozen=True, slots=True)
class LightsSetup:
    """What a ``smartscope.lights`` plug-in is built from; picklable as JSON for the supervisor process."""

    lights: tuple[LightConfig, ...]
    microscope: MicroscopeConfig
    token: str = ""
    """Names this run's simulated hardware, so that supervisor and controller look at the same one."""


@dataclass(frozen=True, slots=True)
class MicroscopeSetup:
    """What a ``smartscope.microscopes`` plug-in is built from."""

    config: MicroscopeConfig
    clock: Clock
    lights: Lights | None
    """Where the driver switches light; None: the driver opens its lights itself.

    Lights whose ``owner`` is the controller are the driver's to open even so: it hands them over with ``adopt(lights)``
    where this object has it, and then switches all through this object.
    """
    seed: int = 0
    token: str = ""


@runtime_checkable
class Microscope(Protocol):
    """The hardware, or something that behaves like it. The grabber thread owns the camera, the loop thread the rest."""

    def capabilities(self) -> Capabilities:
        """What this microscope can do."""

    def settings(self) -> Settings:
        """The settings that are true now."""

    def start(self, epoch: int) -> None:
        """Start streaming; ImageNumber restarts at 0."""

    def stop(self) -> None:
        """Stop streaming; harmless when stopped."""

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The oldest frame not yet handed out, None if none came in time (index and lost_before are the grabber's).

        Raises CameraStopped when the sequence has died. Virtual clock: renders the frame that is due, never waits.
        """

    def frame_due_ns(self) -> int:
        """Virtual clock only: when the next frame will be in hand."""

    def exhausted(self) -> bool:
        """Whether no further frame will ever come (end of a replayed movie)."""

    def apply(self, command: Command) -> Applied:
        """Carry out one granted command; raise DeviceError if the hardware does not confirm it."""

    def run_plan(self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float] = NO_LIGHTS) -> Iterator[Frame]:
        """Run a planned part, hardware-sequenced where possible, while not streaming.

        ``lights_mw``: powers during the plan; they return with the other settings, or go dark if the plan fails.
        """

    def dark(self, since_ns: int = 0) -> None:
        """Every light off; safe to call twice and from any thread. ``since_ns``: they went dark by themselves then."""

    def close(self) -> None:
        """Dark, stop, restore the state found at entry (lights excepted), let go of the hardware."""


READABLE = frozenset({"image", "detections", "localizations", "tracks", "events", "quality"})
"""What of a result a model or a policy may rest on."""


@runtime_checkable
class Model(Protocol):
    """Understands frames: no hardware, no clock.

    An attribute ``reads``, a part of ``READABLE``, says what of ``so_far`` it rests on; without it, all counts. What it
    adds to a result counts as resting on the denoised image where that does, and drives nothing unless it is trusted.
    """

    history: int
    """How many earlier frames it wants beside the newest."""

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile and allocate for frames of this (H, W); called before the first light and at each ROI change."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """Extend what the earlier stages said of ``frames[-1]`` (``dataclasses.replace``); frames are oldest first."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Exposure mid-point → command in effect, as measured in this run."""

    median_ms: float = 0.0
    spread_ms: float = 0.0
    """Half the 16–84 percentile range."""


@dataclass(frozen=True, slots=True)
class DoseState:
    """What the ledger says about the present field of view."""

    spent_j_per_cm2: float = 0.0
    budget_j_per_cm2: float = float("inf")
    rate_j_per_cm2_s: float = 0.0
    """At the settings true now, while light is on."""
    per_mw_j_per_cm2_s: Mapping[str, float] = field(default_factory=dict)
    """Dose rate that 1 mW of each light gives in the sample while on."""

    @property
    def remaining_j_per_cm2(self) -> float:
        """Never negative."""
        return max(0.0, self.budget_j_per_cm2 - self.spent_j_per_cm2)


@dataclass(frozen=True, slots=True)
class Context:
    """All that a policy may know when it decides: data, never a handle."""

    result: Result
    t_ns: int
    """Time of the decision, run clock."""
    elapsed_s: float
    """Since the run began."""
    remaining_s: float | None
    """Until the planned end; None where the run has no planned end."""
    settings: Settings
    """True now."""
    granted: Mapping[str, Command]
    """By setting key, the last command that was granted."""
    delay: Delay
    dose: DoseState
    limits: LimitsConfig
    """In force now: arming and what an operator tightened included."""
    instrument: Instrument
    sensor_shape: tuple[int, int]
    stage_affine: tuple[tuple[float, float], tuple[float, float]] | None
    state: Any
    """What the policy returned as its state last time; None at first."""
    events: Events | None = None
    """Told by this result, or since the last by which policies could act: by frames that were mixed or came too late.
    Their places are of the frames that told them; ``result.events`` has this frame's alone."""

    def stage_position_of(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Stage place (um) that brings the point at ROI pixel (x, y) to the sensor's centre; None if unmeasured."""
        if self.stage_affine is None:
            return None
        settings, (h, w) = self.result.frame.settings, self.sensor_shape
        dx, dy = settings.roi.x + x_px - (w - 1) / 2, settings.roi.y + y_px - (h - 1) / 2
        (a, b), (c, d) = self.stage_affine
        return settings.x_um + a * dx + b * dy, settings.y_um + c * dx + d * dy


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy answers: requests with reasons, and the state it wants to see again."""

    requests: Sequence[Request] = ()
    state: Any = None


@runtime_checkable
class Policy(Protocol):
    """Pure: the same context gives the same choice.

    An attribute ``reads``, a part of ``READABLE``, says which values it rests on; without it, all count. While the
    denoised image cannot be trusted, a policy that reads what comes from it may ask, but is refused and forgets; the
    others are shown the raw frame's values alone.
    """

    def decide(self, context: Context) -> Choice:
        """Look at a result, ask for changes."""


@runtime_checkable
class FileTask(Protocol):
    """What ``smartscope process TASK`` runs: the code of the live model, on files."""

    def run(self, inputs: TaskInputs, report: Callable[[int, int], None]) -> Mapping[str, Any]:
        """Read, process, write ``inputs.output``; call ``report(done, total)``; return figures for the JSON report."""


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """Files and calibration of one ``process`` call."""

    source: str
    output: str
    instrument: Instrument
    options: Mapping[str, Any] = field(default_factory=dict)


def model_facts(model: Model) -> dict[str, str]:
    """What a model says of itself for the record: package, hash, engine … Models need not have a ``facts`` method."""
    facts = getattr(model, "facts", None)
    return dict(facts()) if callable(facts) else {}


def whole_sensor(shape: tuple[int, int]) -> Roi:
    """The ROI that is the sensor."""
    return Roi(0, 0, shape[1], shape[0])
