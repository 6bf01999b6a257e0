"""The chain of models: each stage with a deadline, its answers checked, its failures contained or handed over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from smartscope.errors import StageFailed
from smartscope.event_tally import EventTally
from smartscope.grabber import Window
from smartscope.ports import READABLE, Clock, Model, model_facts
from smartscope.result import Result, StageTiming
from smartscope.soundness import check_answer

LATE_IN_A_ROW = 20
"""So many late answers in a row mean that the stage does not fit the machine: it has failed."""


_TOLD_BY = {
    "detections": ("detections",),
    "localizations": ("localizations",),
    "tracks": ("tracks", "settled", "revisions"),
    "events": ("events",),
}
"""Name of ``READABLE`` → the parts of a result that it stands for."""


class Abandoned(Exception):
    """A pass came to its end after a fall-back had taken its place; whoever made it must stop."""


@dataclass(slots=True)
class Stage:
    """One model and what is asked of it; with a fall-back, the stage becomes that when the model fails."""

    name: str
    model: Model
    deadline_ms: float
    virtual_ms: float = 0.0
    fallback: tuple[str, Model] | None = None
    """Name and model; None where there is none, or no longer."""
    late_in_a_row: int = 0
    silenced: str = ""
    """Why this stage lost its say; empty while it has it."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The model, and the one that waits."""
        return (self.model,) if self.fallback is None else (self.model, self.fallback[1])


@dataclass(frozen=True, slots=True)
class FallBack:
    """A model gave its stage over."""

    t_ns: int
    stage: str
    to: str
    why: str


class Pipeline:
    """Runs the stages on a window of frames; the only caller of models."""

    def __init__(self, stages: Sequence[Stage], clock: Clock) -> None:
        self.stages, self._clock = tuple(stages), clock
        self._shape: tuple[int, int] | None = None
        self._turn, self._lock = 0, threading.Lock()
        self.busy_since_ns = 0
        """When the stage now running began; 0 while none runs. Read by the loop to see a hang."""
        self.busy_with: Stage | None = None
        self.late = 0
        """Answers that came after their deadline and were discarded."""
        self.fallbacks: list[FallBack] = []
        self.fell_back = 0
        """Results that a fall-back had part in."""
        self.happened = EventTally()
        """Events in the results so far."""
        self.on_fallback: Callable[[FallBack], None] = lambda fallback: None
        """Told of each hand-over, on the thread that found the fault."""

    @property
    def history(self) -> int:
        """How many earlier frames the most demanding model wants."""
        return max((model.history for stage in self.stages for model in stage.models), default=0)

    @property
    def virtual_ns(self) -> int:
        """Duration of one pass in virtual time."""
        return round(sum(stage.virtual_ms for stage in self.stages if not stage.silenced) * 1e6)

    def facts(self) -> dict[str, dict[str, str]]:
        """By stage, what its model says of itself for the record."""
        return {stage.name: facts for stage in self.stages if (facts := model_facts(stage.model))}

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Let each model, fall-backs too, compile and allocate, before there is light.

        Raises:
            StageFailed: one cannot.
        """
        for stage in self.stages:
            for model in stage.models:
                _warm_up(stage, model, shape)
        self._shape = shape

    def process(self, window: Window) -> Result:
        """What all stages say of the newest frame of ``window``.

        A late answer is discarded and lowers the trust to 0; the other stages still run.

        Raises:
            StageFailed: a model without fall-back raised, returned nonsense, or was late too many times in a row.
            Abandoned: a stage hung, and was given over meanwhile.
        """
        frame, turn = window[-1], self._turn
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        if shape != self._shape:
            self._adapt(shape)
        result, timings = Result(frame), list[StageTiming]()
        for stage in self.stages:
            if stage.silenced:
                timings.append(StageTiming(stage.name, 0, 0, "skipped", stage.silenced))
                continue
            result, timing = self._run(stage, window, result, turn)
            timings.append(timing)
        if late := [timing.why for timing in timings if timing.outcome == "late"]:
            result = replace(result, trust=0.0, why_trust="; ".join(late))
        self.fell_back += bool(self.fallbacks)
        if result.events is not None:
            self.happened.add(result.events)
        return replace(result, timings=tuple(timings), ready_ns=self._clock.now_ns())

    def abandon(self, stage: Stage, since_ns: int, why: str) -> bool:
        """Give a stage that hangs since ``since_ns`` over to its fall-back; False if there is none.

        The pass that hangs is lost: its thread gets ``Abandoned`` when it comes back, another one must go on.
        """
        with self._lock:
            if self.busy_with is not stage or self.busy_since_ns != since_ns:
                return True  # it has answered after all
            if stage.fallback is None:
                return False
            self._turn += 1
            self.busy_since_ns, self.busy_with = 0, None
        return self._fall_back(stage, why)

    @property
    def abandoned(self) -> int:
        """Passes that were given up."""
        return self._turn

    def follow(self, timings: Sequence[StageTiming]) -> None:
        """Be what a recorded pass was: stages that had fallen back by then fall back."""
        for stage, timing in zip(self.stages, timings, strict=False):
            if stage.fallback is not None and timing.stage == stage.fallback[0]:
                self._fall_back(stage, "as recorded")

    def _adapt(self, shape: tuple[int, int]) -> None:
        """Warm up for frames of another shape; a model that cannot gives its stage over."""
        for stage in self.stages:
            if stage.silenced:
                continue
            try:
                _warm_up(stage, stage.model, shape)
            except StageFailed as error:
                if not self._fall_back(stage, error.what):
                    raise
                _warm_up(stage, stage.model, shape)
            if stage.fallback is not None:
                _warm_up(stage, stage.fallback[1], shape)
        self._shape = shape

    def _run(self, stage: Stage, window: Window, so_far: Result, turn: int) -> tuple[Result, StageTiming]:
        name, started_ns = stage.name, self._clock.now_ns()
        try:
            answer = self._ask(stage, window, so_far, turn, started_ns)
        except StageFailed as error:
            if not self._fall_back(stage, error.what):
                raise _failed(stage, error.what) from error
            return self._run(stage, window, so_far, turn)
        ended_ns = self._clock.now_ns()
        if self._clock.virtual:
            ended_ns = started_ns + round(stage.virtual_ms * 1e6)
        if (took_ms := (ended_ns - started_ns) / 1e6) <= stage.deadline_ms:
            stage.late_in_a_row = 0
            return answer, StageTiming(name, started_ns, ended_ns)
        self.late += 1
        stage.late_in_a_row += 1
        why = f"{name} took {took_ms:.0f} ms, deadline {stage.deadline_ms:g} ms"
        if stage.late_in_a_row >= LATE_IN_A_ROW:
            what = f"late {LATE_IN_A_ROW} times in a row; last: {why}"
            if not self._fall_back(stage, what):
                raise _failed(stage, what)
        return so_far, StageTiming(name, started_ns, ended_ns, "late", why)

    def _ask(self, stage: Stage, window: Window, so_far: Result, turn: int, started_ns: int) -> Result:
        model = stage.model
        self._note_busy(stage, started_ns, turn)
        try:
            answer = check_answer(model.step(window[-1 - model.history :], so_far), so_far)
        except StageFailed:
            raise
        except Exception as error:
            raise StageFailed(f"raised {type(error).__name__}: {error}") from error
        finally:
            self._note_busy(None, 0, turn)
        return _with_origins(answer, so_far, getattr(model, "reads", READABLE))

    def _note_busy(self, stage: Stage | None, since_ns: int, turn: int) -> None:
        with self._lock:
            if turn != self._turn:
                raise Abandoned
            self.busy_since_ns, self.busy_with = since_ns, stage

    def _fall_back(self, stage: Stage, why: str) -> bool:
        """Whether the stage had a fall-back; it is that from now on."""
        if stage.fallback is None:
            return False
        fallback = FallBack(self._clock.now_ns(), stage.name, stage.fallback[0], why)
        stage.name, stage.model = stage.fallback
        stage.fallback, stage.late_in_a_row, stage.silenced = None, 0, ""
        self.fallbacks.append(fallback)
        self.on_fallback(fallback)
        return True


def _warm_up(stage: Stage, model: Model, shape: tuple[int, int]) -> None:
    try:
        model.warm_up(shape)
    except Exception as error:
        raise _failed(stage, f"warm-up raised {type(error).__name__}: {error}") from error


def _failed(stage: Stage, what: str) -> StageFailed:
    stage.silenced = what
    return StageFailed(what, where=f"model {stage.name}", remedy="mend the model, or take it out of the pipeline")


def _with_origins(answer: Result, so_far: Result, reads: frozenset[str]) -> Result:
    """The answer of a model that ``reads`` these values, saying what in it rests on the denoised image.

    An image that took another's place has no trust until it is judged itself.
    """
    if answer.image is None:
        return replace(answer, from_image=so_far.from_image)
    marks = so_far.from_image | {"image"}
    figures = so_far.from_image - READABLE if "quality" in reads else frozenset[str]()
    if answer.image is not so_far.image or reads & so_far.from_image or figures:
        marks |= {
            name
            for name, parts in _TOLD_BY.items()
            if any(getattr(answer, part) is not getattr(so_far, part) for part in parts)
        }
        marks |= {name for name, value in answer.quality.items() if so_far.quality.get(name) != value}
    replaced = so_far.image is not None and answer.image is not so_far.image
    if replaced and answer.residual_map is so_far.residual_map:
        answer = replace(answer, image_trust=None, residual_map=None)
    return replace(answer, from_image=marks)
