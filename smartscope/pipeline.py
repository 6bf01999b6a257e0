"""The chain of models: each stage with a deadline, its answers checked, its failures contained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from smartscope.errors import StageFailed
from smartscope.frame import Frame
from smartscope.grabber import Window
from smartscope.ports import Clock, Model
from smartscope.result import Result, StageTiming

LATE_IN_A_ROW = 20
"""So many late answers in a row mean that the stage does not fit the machine: it has failed."""


@dataclass(slots=True)
class Stage:
    """One model and what is asked of it."""

    name: str
    model: Model
    deadline_ms: float
    virtual_ms: float = 0.0
    late_in_a_row: int = 0
    silenced: str = ""
    """Why this stage lost its say; empty while it has it."""


class Pipeline:
    """Runs the stages on a window of frames; the only caller of models."""

    def __init__(self, stages: Sequence[Stage], clock: Clock) -> None:
        self.stages, self._clock = tuple(stages), clock
        self._shape: tuple[int, int] | None = None
        self.busy_since_ns = 0
        """When the stage now running began; 0 while none runs. Read by the loop to see a hang."""
        self.busy_with: Stage | None = None

    @property
    def history(self) -> int:
        """How many earlier frames the most demanding model wants."""
        return max((stage.model.history for stage in self.stages), default=0)

    @property
    def virtual_ns(self) -> int:
        """Duration of one pass in virtual time."""
        return round(sum(stage.virtual_ms for stage in self.stages if not stage.silenced) * 1e6)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Let each model compile and allocate, before there is light."""
        for stage in self.stages:
            try:
                stage.model.warm_up(shape)
            except Exception as error:
                raise _failed(stage, f"warm-up raised {type(error).__name__}: {error}") from error
        self._shape = shape

    def process(self, window: Window) -> Result:
        """What all stages say of the newest frame of ``window``.

        A late answer is discarded and lowers the trust to 0; the other stages still run.

        Raises:
            StageFailed: a model raised, returned nonsense, or was late too many times in a row.
        """
        frame = window[-1]
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        if shape != self._shape:
            self.warm_up(shape)
        result, timings = Result(frame), list[StageTiming]()
        for stage in self.stages:
            if stage.silenced:
                timings.append(StageTiming(stage.name, 0, 0, "skipped", stage.silenced))
                continue
            result, timing = self._run(stage, window, result)
            timings.append(timing)
        if late := [timing.why for timing in timings if timing.outcome == "late"]:
            result = replace(result, trust=0.0, why_trust="; ".join(late))
        return replace(result, timings=tuple(timings), ready_ns=self._clock.now_ns())

    def _run(self, stage: Stage, window: Window, so_far: Result) -> tuple[Result, StageTiming]:
        started_ns = self.busy_since_ns = self._clock.now_ns()
        self.busy_with = stage
        try:
            answer = stage.model.step(window[-1 - stage.model.history :], so_far)
            _check(answer, so_far.frame)
        except StageFailed as error:
            raise _failed(stage, error.what) from error
        except Exception as error:
            raise _failed(stage, f"raised {type(error).__name__}: {error}") from error
        finally:
            self.busy_since_ns, self.busy_with = 0, None
        ended_ns = self._clock.now_ns()
        if self._clock.virtual:
            ended_ns = started_ns + round(stage.virtual_ms * 1e6)
        if (took_ms := (ended_ns - started_ns) / 1e6) <= stage.deadline_ms:
            stage.late_in_a_row = 0
            return answer, StageTiming(stage.name, started_ns, ended_ns)
        stage.late_in_a_row += 1
        why = f"{stage.name} took {took_ms:.0f} ms, deadline {stage.deadline_ms:g} ms"
        if stage.late_in_a_row >= LATE_IN_A_ROW:
            raise _failed(stage, f"late {LATE_IN_A_ROW} times in a row; last: {why}")
        return so_far, StageTiming(stage.name, started_ns, ended_ns, "late", why)


def _failed(stage: Stage, what: str) -> StageFailed:
    stage.silenced = what
    return StageFailed(what, where=f"model {stage.name}", remedy="mend the model, or take it out of the pipeline")


def _check(answer: object, frame: Frame) -> None:
    """Nonsense must not reach a policy: wrong type, wrong frame, wrong shape, not finite."""
    if not isinstance(answer, Result):
        raise StageFailed(f"returned {type(answer).__name__} instead of a Result")
    if answer.frame is not frame:
        raise StageFailed("returned a Result about another frame")
    if answer.image is not None and answer.image.shape != frame.pixels.shape:
        raise StageFailed(f"returned an image of shape {answer.image.shape} for a frame of {frame.pixels.shape}")
    if not 0.0 <= answer.trust <= 1.0:
        raise StageFailed(f"returned a trust of {answer.trust}, outside 0..1")
    if not all(np.isfinite(value) for value in answer.quality.values()):
        raise StageFailed(f"returned quality figures that are not finite: {dict(answer.quality)}")
    for table in (answer.detections, answer.tracks):
        if table is not None and not (np.isfinite(table.x_px).all() and np.isfinite(table.y_px).all()):
            raise StageFailed(f"returned positions that are not finite in {type(table).__name__}")
