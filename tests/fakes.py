"""Small honest stand-ins for ports: frames, a microscope without physics, models and policies that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import useq

from smartscope.admission import Admission
from smartscope.clock import VirtualClock
from smartscope.command import NO_LIGHTS, Applied, Command, MoveFocus, MoveStage, SetExposure, SetLight, SetRoi
from smartscope.config import ExperimentConfig
from smartscope.decider import Decider, RankedPolicy
from smartscope.decision import Decision
from smartscope.errors import CameraStopped
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.grabber import Grabber, windows
from smartscope.loop import Loop
from smartscope.pipeline import Pipeline, Stage
from smartscope.ports import Capabilities, Choice, Context, Instrument, whole_sensor
from smartscope.result import Result
from smartscope.safety.gate import SafetyGate
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.plan_gate import PlanGate
from smartscope.virtual import Schedule, VirtualRun

SHAPE = (32, 48)


def a_frame(
    index: int = 0, number: int | None = None, epoch: int = 0, t_ns: int = 1_000_000, **settings: object
) -> Frame:
    """A frame of zeros, exposed for one millisecond and received 0.1 ms later."""
    values = {"exposure_ms": 1.0, "roi": whole_sensor(SHAPE), "lights_mw": {"laser": 1.0}, **settings}
    return Frame(
        pixels=np.zeros(SHAPE, np.uint16),
        epoch=epoch,
        number=index if number is None else number,
        index=index,
        settings=Settings(**values),  # type: ignore[arg-type]
        certainty={},
        t_start_ns=t_ns,
        t_end_ns=t_ns + 1_000_000,
        t_received_ns=t_ns + 1_100_000,
    )


class FakeMicroscope:
    """Frames on demand in virtual time; remembers every command; can die, go silent, or lose frames."""

    def __init__(self, clock: VirtualClock, *, frames: int = 10**9, live: Sequence[str] = ("exposure_ms",)) -> None:
        self.clock, self.left = clock, frames
        self.live = frozenset(live)
        self.now = Settings(5.0, whole_sensor(SHAPE), {"laser": 0.0})
        self.applied: list[Command] = []
        self.calls: list[str] = []
        self.darkened = 0
        self.dies_at = self.silent_from = 10**9
        self.lost: set[int] = set()
        self._epoch, self._number, self._started_ns = -1, 0, 0
        self._latched = self.now

    def capabilities(self) -> Capabilities:
        return Capabilities(
            sensor_shape=SHAPE,
            bit_depth=16,
            exposure_range_ms=(0.1, 1000.0),
            lights=("laser",),
            has_xy=True,
            has_z=True,
            has_roi=True,
            live_settings=self.live,
            stage_affine=((0.1, 0.0), (0.0, 0.1)),
        )

    def settings(self) -> Settings:
        return self.now

    def start(self, epoch: int) -> None:
        self.calls.append("start")
        self._epoch, self._number, self._started_ns = epoch, 0, self.clock.now_ns()
        self._latched = self.now

    def stop(self) -> None:
        self.calls.append("stop")

    def frame_due_ns(self) -> int:
        return self._started_ns + round(self._latched.exposure_ms * 1e6)

    def exhausted(self) -> bool:
        return self.left <= 0

    def next_frame(self, timeout_s: float) -> Frame | None:
        now_ns = self.clock.now_ns()
        if self._number >= self.dies_at:
            raise CameraStopped("the sequence died", where="camera")
        if now_ns < self.frame_due_ns() or self.exhausted() or self._number >= self.silent_from:
            return None
        while self._number in self.lost:
            self._number += 1
        frame = replace(
            a_frame(-1, self._number, self._epoch, self._started_ns), settings=self._latched, t_end_ns=now_ns
        )
        self._number += 1
        self.left -= 1
        self._started_ns, self._latched = now_ns, self.now
        return replace(frame, t_received_ns=now_ns)

    def apply(self, command: Command) -> Applied:
        now_ns = self.clock.now_ns()
        self.applied.append(command)
        if isinstance(command, SetExposure):
            self.now = replace(self.now, exposure_ms=command.exposure_ms)
        elif isinstance(command, SetLight):
            self.now = replace(self.now, lights_mw={**self.now.lights_mw, command.light: command.power_mw})
        elif isinstance(command, MoveStage):
            self.now = replace(self.now, x_um=command.x_um, y_um=command.y_um)
        elif isinstance(command, MoveFocus):
            self.now = replace(self.now, z_um=command.z_um)
        elif isinstance(command, SetRoi):
            self.calls.append("roi")
            self.now = replace(self.now, roi=command.roi)
        return Applied(command, command, now_ns, now_ns)

    def run_plan(self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float] = NO_LIGHTS) -> Iterator[Frame]:
        self.calls.append("plan")
        before, self.now = self.now, replace(self.now, lights_mw={**self.now.lights_mw, **lights_mw})
        for number, event in enumerate(events):
            self.clock.sleep((event.exposure or 1.0) / 1e3)
            now_ns = self.clock.now_ns()
            yield replace(a_frame(-1, number, self._epoch + 1, now_ns), settings=self.now, t_received_ns=now_ns)
        self._epoch += 1
        self.now = before

    def dark(self, since_ns: int = 0) -> None:
        self.darkened += 1
        self.now = replace(self.now, lights_mw={"laser": 0.0})

    def close(self) -> None:
        self.dark()


class ScriptedModel:
    """Says what a function says; 'no model at all' is the identity."""

    def __init__(self, answer: Callable[[Sequence[Frame], Result], object] = lambda frames, so_far: so_far) -> None:
        self.history, self._answer = 0, answer
        self.shapes: list[tuple[int, int]] = []
        self.windows: list[int] = []

    def warm_up(self, shape: tuple[int, int]) -> None:
        self.shapes.append(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        self.windows.append(len(frames))
        return self._answer(frames, so_far)  # type: ignore[return-value]


class ScriptedPolicy:
    """Chooses what a function chooses."""

    def __init__(self, choose: Callable[[Context], object]) -> None:
        self._choose = choose

    def decide(self, context: Context) -> Choice:
        return self._choose(context)  # type: ignore[return-value]


def mixed(frame: Frame) -> Frame:
    """The same frame, with its light changed on the way."""
    return replace(frame, certainty={"light:laser": Certainty.MIXED})


def small_roi() -> Roi:
    """A part of the fake sensor."""
    return Roi(4, 4, 16, 16)


class ListDiary:
    """A diary that can be read again."""

    fault = None

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.results: list[tuple[Result, object]] = []
        self.decisions: list[Decision] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def result(self, result: Result, context: object = None) -> None:
        self.results.append((result, context))

    def decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def event(self, kind: str, t_ns: int | None = None, /, **data: object) -> None:
        self.events.append((kind, data))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


class VirtualRig:
    """Everything between a fake microscope and scripted policies, in virtual time."""

    def __init__(
        self,
        policies: Sequence[RankedPolicy] = (),
        stages: Sequence[Stage] = (),
        schedule: Schedule = "live",
        budget_j_per_cm2: float | None = None,
        **config: object,
    ) -> None:
        tree: dict[str, object] = {
            "frames": 20,
            "clock": "virtual",
            "microscope": {"sensor": SHAPE, "lights": [{"name": "laser"}]},
            "start": {"exposure_ms": 5.0, "lights_mw": {"laser": 2.0}},
            "limits": {
                "lights": {"laser": {"max_power_mw": 10}},
                "x_um": {"low": -100, "high": 100},
                "y_um": {"low": -100, "high": 100},
                "z_um": {"low": -10, "high": 10},
                "min_roi_px": 16,
            },
            "dose": {"budget_j_per_cm2": budget_j_per_cm2},
            **config,
        }
        self.config = ExperimentConfig.model_validate(tree)
        self.clock = VirtualClock()
        self.microscope = FakeMicroscope(self.clock)
        microscope, diary = self.config.microscope, ListDiary()
        self.diary = diary
        self.ledger = DoseLedger(
            self.config.dose, microscope.optics, microscope.lights, pixel_size_nm=microscope.camera.pixel_size_nm
        )
        capabilities = self.microscope.capabilities()
        self.gate = SafetyGate(self.config.limits, self.ledger, capabilities, self.config.arm)
        self.decider = Decider(
            policies,
            self.gate,
            PlanGate(self.gate, microscope.lights),
            Instrument(microscope.camera, microscope.optics),
            capabilities.sensor_shape,
            capabilities.stage_affine,
            Admission.of(self.config.safety),
        )
        self.pipeline = Pipeline(stages, self.clock)
        mailbox = windows()
        self.mailbox = mailbox
        self.grabber = Grabber(
            self.microscope, self.clock, [self._see, diary.frame], mailbox, frames=self.config.frames
        )
        self.run = VirtualRun(self.clock, self.microscope, self.grabber, self.pipeline, self.decider, mailbox, schedule)
        self.loop = Loop(
            self.config,
            self.microscope,
            self.grabber,
            self.pipeline,
            self.decider,
            self.gate,
            self.clock,
            diary,  # type: ignore[arg-type]
            self.run.send,
        )
        self.pipeline.on_fallback = self.loop.note_fallback

    def _see(self, frame: Frame) -> None:
        self.loop.see_frame(frame)

    def go(self) -> None:
        self.run.run(self.loop)

    def granted(self, policy: str) -> list[Command | None]:
        """What this policy was granted, in order."""
        return [decision.granted for decision in self.diary.decisions if decision.policy == policy]
