"""A run again: its decisions made anew from what was recorded, or models and policies on a movie that no run made."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.admission import Admission
from smartscope.assembly import RunOutcome, capabilities_from_row, instrument_of, ranked_policies, stages_of
from smartscope.clock import VirtualClock
from smartscope.command import Command, Request
from smartscope.config import ExperimentConfig, LimitsConfig
from smartscope.decider import Decider, Ruling
from smartscope.decision import Decision
from smartscope.errors import InputError, StageFailed
from smartscope.frame import Frame
from smartscope.loading import load, override, read_yaml, validate
from smartscope.moment import Moment
from smartscope.pipeline import Pipeline
from smartscope.recorder import folder as files
from smartscope.recorder.reader import RunReader
from smartscope.recorder.rows import (
    as_recorded,
    command_from_row,
    decision_from_row,
    frame_from_row,
    result_from_row,
)
from smartscope.result import Result
from smartscope.safety.gate import SafetyGate
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.plan_gate import PlanGate

DEMANDERS = ("start", "operator", "safety")
"""Who decides without being a policy; their wishes are taken from the record, not made again."""
CAUSES = ("demand", "light", "stage", "duty", "under_way", "settled", "hold_dark", "release", "limits")
"""Events that later decisions depend on."""
TOLERANCE = 1e-3
"""Relative difference allowed between a recorded figure and one computed again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a decision that must come out the same."""

    frame: int
    policy: str
    asked: Command
    granted: Command | None
    clipped_by: str


@dataclass(frozen=True, slots=True)
class Again:
    """What became of deciding again."""

    compared: int
    differing: int
    first_difference: str
    counterfactual: bool
    """Another configuration was given, so differences are the answer and no error."""
    recomputed_off: int
    """Results whose recomputed figures leave the tolerance; 0 without --recompute."""

    @property
    def identical(self) -> bool:
        """Whether replay did what it promises."""
        return self.counterfactual or (self.differing == 0 and self.recomputed_off == 0)

    @property
    def line(self) -> str:
        """One line for the terminal."""
        said = f"{self.compared} decisions made again, {self.differing} differ"
        if self.recomputed_off:
            said += f"; {self.recomputed_off} recomputed results leave the tolerance of {TOLERANCE:g}"
        return f"{said}; first: {self.first_difference}" if self.first_difference else said


def replay_recorded(
    folder: Path, config_path: Path | None, overrides: Sequence[str] = (), *, recompute: bool = False
) -> Again:
    """Make every policy's decision of a run again, from the recorded results and moments, in the recorded order.

    Policies that read ``result.image`` need ``recompute``: images of results are not recorded.

    Raises:
        InputError: the folder is no run, or holds no results.
    """
    run = RunReader(folder)
    changed = config_path is not None or bool(overrides)
    config = _config_of(run, folder, config_path, overrides)
    if not len(run.results):
        raise InputError(
            "the run has no results to decide on", where=str(folder), remedy="replay a run with a pipeline"
        )
    once_more = _OnceMore(run, config, recompute=recompute)
    made = once_more.answers()
    recorded = [_answer(decision_from_row(row)) for row in run.decisions if row["policy"] not in DEMANDERS]
    differing, first = _compare(recorded, made)
    return Again(max(len(recorded), len(made)), differing, first, changed, once_more.off)


class _OnceMore:
    """The decider of a run, fed with what the run's decider was fed with."""

    def __init__(self, run: RunReader, config: ExperimentConfig, *, recompute: bool) -> None:
        self._run, self._config = run, config
        microscope, capabilities = config.microscope, capabilities_from_row(run.run["capabilities"])
        instrument = instrument_of(config, capabilities)
        self._ledger = DoseLedger(
            config.dose, microscope.optics, microscope.lights, pixel_size_nm=microscope.camera.pixel_size_nm
        )
        self._gate = SafetyGate(config.limits, self._ledger, capabilities, config.arm)
        self._decider = Decider(
            ranked_policies(config),
            self._gate,
            PlanGate(self._gate, microscope.lights),
            instrument,
            capabilities.sensor_shape,
            capabilities.stage_affine,
            Admission.of(config.safety),
        )
        self._frames = {row["index"]: row for row in run.frame_rows}
        self._pipeline = Pipeline(stages_of(config, instrument), VirtualClock()) if recompute else None
        self.off = 0

    def answers(self) -> list[Answer]:
        """All decisions of policies, in order."""
        made: list[Answer] = []
        for _, row in heapq.merge(_numbered_events(self._run), _numbered_results(self._run), key=lambda pair: pair[0]):
            if "kind" in row:
                self._feed(row)
            else:
                made += self._decide(row)
        return made

    def _feed(self, row: Mapping[str, Any]) -> None:
        kind, t_ns = row["kind"], row["t_ns"]
        if kind == "demand":
            request = Request(command_from_row(row["asked"]), row["why"])
            self._decider.demand(request, Moment.from_row(row["moment"]))
        elif kind == "light":
            self._ledger.set_light(row["light"], row["power_mw"], t_ns)
        elif kind == "stage":
            self._ledger.move(row["x_um"], row["y_um"], t_ns)
        elif kind == "duty":
            self._ledger.set_exposure_duty(row["fraction"], t_ns)
        elif kind == "settled":
            self._decider.end_errand(row["setting"])
        elif kind == "under_way":
            self._decider.begin_errand(row["setting"])
        elif kind == "hold_dark":
            self._gate.hold_dark(row["why"])
        elif kind == "release":
            self._gate.release()
        elif kind == "limits":
            self._gate.tighten(LimitsConfig.model_validate(row["limits"]))

    def _decide(self, row: Mapping[str, Any]) -> list[Answer]:
        frame = self._frame(row["frame"])
        result = result_from_row(row, frame, self._run.localizations(row))
        if self._pipeline is not None:
            result = self._recompute(result)
        moment = Moment.from_row(row["context"])
        self._ledger.advance(moment.t_ns)
        while True:
            try:
                rulings = self._decider.decide(result, moment)
            except StageFailed as error:
                if self._config.safety.on_fault == "dark":
                    return []
                self._decider.silence(error.where.removeprefix("policy "))
            else:
                return [_ruled(ruling, frame) for ruling in rulings]

    def _frame(self, index: int) -> Frame:
        if (row := self._frames.get(index)) is None:
            raise InputError(
                f"frame {index} has a result but is not listed in {files.FRAMES}",
                where=str(self._run.path),
                remedy="a killed run can be replayed up to its last listed frame: remove later lines of results.jsonl",
            )
        return self._run.frame(row) if self._pipeline is not None else frame_from_row(row)

    def _recompute(self, recorded: Result) -> Result:
        assert self._pipeline is not None
        index = recorded.frame.index
        window = [
            self._run.frame(self._frames[i])
            for i in range(index - self._pipeline.history, index)
            if i in self._frames and self._frames[i]["epoch"] == recorded.frame.epoch
        ]
        self._pipeline.follow(recorded.timings)
        again = self._pipeline.process((*window, recorded.frame))
        self.off += not all(
            np.isclose(again.quality.get(name, np.nan), value, rtol=TOLERANCE, atol=TOLERANCE)
            for name, value in recorded.quality.items()
        )
        return again


def _config_of(run: RunReader, folder: Path, path: Path | None, overrides: Sequence[str]) -> ExperimentConfig:
    if path is not None:
        return load(path, overrides)
    if overrides:
        raise InputError(
            "--set needs a CONFIG to change", where=str(folder), remedy="give the YAML after the run folder"
        )
    return validate(run.run["config"], str(folder / files.RUN))


def _numbered_events(run: RunReader) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((row["step"], row) for row in run.events if row["kind"] in CAUSES)


def _numbered_results(run: RunReader) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((row["context"]["step"], row) for row in run.results if row.get("context"))


def _answer(decision: Decision) -> Answer:
    return Answer(decision.frame, decision.policy, decision.asked, decision.granted, decision.clipped_by)


def _ruled(ruling: Ruling, frame: Frame) -> Answer:
    verdict = ruling.verdict
    granted = None if verdict.would_grant is None else as_recorded(verdict.would_grant)
    return Answer(frame.index, ruling.policy, as_recorded(ruling.request.command), granted, verdict.clipped_by)


def _place(answer: Answer) -> tuple[int, str, str]:
    """Where an answer belongs: a run writes a command that takes its time down when it is done, after later ones."""
    return answer.frame, answer.policy, answer.asked.setting


def _compare(recorded: Sequence[Answer], made: Sequence[Answer]) -> tuple[int, str]:
    """How many differ, and the first difference in words."""
    differing, first = abs(len(recorded) - len(made)), ""
    for then, now in zip(sorted(recorded, key=_place), sorted(made, key=_place), strict=False):
        if then != now:
            differing += 1
            first = first or f"frame {then.frame}, {then.policy}: recorded {then.asked}, now {now.asked}"
    if differing and not first:
        first = f"{len(recorded)} were recorded, {len(made)} made"
    return differing, first


def replay_movie(
    movie: Path,
    config_path: Path | None,
    overrides: Sequence[str] = (),
    *,
    output: Path | None = None,
    progress: bool = False,
) -> RunOutcome:
    """Run models and policies on every frame of a movie, in virtual time; nothing can be moved, so all is shadow.

    Raises:
        InputError: no such movie, or no configuration for a movie that no run made.
    """
    from smartscope.app import run_experiment

    if config_path is not None:
        tree = read_yaml(config_path)
    elif (movie / files.RUN).is_file():
        tree = dict(RunReader(movie).run["config"])
    else:
        remedy = "add a YAML file, for example configs/beads.yaml"
        raise InputError("a movie needs a configuration", where=str(movie), remedy=remedy)
    microscope = dict(tree.get("microscope") or {})
    options = dict(microscope.get("options") or {}) if microscope.get("driver") == "replay" else {}
    microscope |= {"driver": "replay", "options": {**options, "movie": str(movie)}}
    tree |= {"microscope": microscope, "clock": "virtual", "arm": "shadow", "frames": None, "duration_s": None}
    tree["start"] = {"exposure_ms": (tree.get("start") or {}).get("exposure_ms", 10.0)}
    source = str(config_path or movie)
    override(tree, overrides)
    config = validate(tree, source)
    return run_experiment(config, source=source, output=output, schedule="every", progress=progress)
