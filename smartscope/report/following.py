"""Whom the run followed: the field-of-view policy is pure, so its choices can be made again from the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from smartscope.admission import Admission, rests_on_image
from smartscope.config import ExperimentConfig, PolicyConfig
from smartscope.errors import PluginError
from smartscope.frame import Frame
from smartscope.moment import Moment
from smartscope.plugins import build, find
from smartscope.policies.field_of_view import FieldOfViewPolicy
from smartscope.policies.targets import Target
from smartscope.ports import Context, Instrument
from smartscope.recorder.rows import frame_from_row
from smartscope.report.record import Record, ResultRow
from smartscope.result import Result


@dataclass(frozen=True, slots=True)
class Followed:
    """One result while there was a target."""

    frame: int
    t_ns: int
    """Exposure mid-point."""
    seen: bool
    """Whether the target was in this frame."""
    track_id: int
    x_um: float
    y_um: float
    """Where it was last seen, in the policy's own coordinates."""
    off_um: float | None
    """Its distance from the centre of this frame; None where it was not seen."""


def followed(record: Record) -> list[Followed]:
    """What the run's field-of-view policy followed; empty where it had none, or the record does not suffice."""
    try:
        config = ExperimentConfig.model_validate(record.config)
    except ValueError:
        return []
    policy = next((made for entry in config.policies if (made := _policy(entry)) is not None), None)
    return [] if policy is None else list(_follow(record, config, policy))


def _policy(entry: PolicyConfig) -> FieldOfViewPolicy | None:
    try:
        if entry.enabled and issubclass(find("policies", entry.policy), FieldOfViewPolicy):
            policy: FieldOfViewPolicy = build("policies", entry.policy, entry.options)
            return policy
    except PluginError:
        pass
    return None


def _follow(record: Record, config: ExperimentConfig, policy: FieldOfViewPolicy) -> Iterator[Followed]:
    state: Any = None
    admission = Admission.of(config.safety)
    for row in record.results:
        frame_row = record.frame_row(row.frame)
        if frame_row is None or row.context is None or (frame := frame_from_row(frame_row)).mixed:
            continue
        context = _context(row, frame, Moment.from_row(row.context), config, state)
        doubt = admission.untrusted(context.result) and rests_on_image(policy, context.result)
        if doubt or admission.too_old(context.result, context.t_ns):
            continue  # the run's policy was refused, and forgot
        state = policy.decide(context).state
        if isinstance(state, Target) and row.tracks is not None:
            yield _followed(row, frame, context, state)


def _followed(row: ResultRow, frame: Frame, context: Context, target: Target) -> Followed:
    last, off_um = target.trail.last, None
    seen = last.t_ns == frame.t_mid_ns
    if seen and row.tracks is not None:
        here = (row.tracks.track_id == target.track_id).nonzero()[0][0]
        roi, pixel_um = frame.settings.roi, context.instrument.camera.pixel_size_nm / 1000
        dx = float(row.tracks.x_px[here]) - (roi.width - 1) / 2
        dy = float(row.tracks.y_px[here]) - (roi.height - 1) / 2
        off_um = (dx * dx + dy * dy) ** 0.5 * pixel_um
    return Followed(row.frame, frame.t_mid_ns, seen, target.track_id, last.x_um, last.y_um, off_um)


def _context(row: ResultRow, frame: Frame, moment: Moment, config: ExperimentConfig, state: Any) -> Context:
    return Context(
        result=Result(
            frame,
            detections=row.detections,
            tracks=row.tracks,
            settled=row.settled,
            revisions=row.revisions,
            events=row.events,
            quality=row.quality,
            trust=row.trust,
            image_trust=row.image_trust,
            from_image=row.from_image,
        ),
        t_ns=moment.t_ns,
        elapsed_s=moment.elapsed_s,
        remaining_s=moment.remaining_s,
        settings=moment.settings,
        granted={},
        delay=moment.delay,
        dose=moment.dose,
        limits=config.limits,
        instrument=Instrument(config.microscope.camera, config.microscope.optics),
        sensor_shape=config.microscope.sensor,
        stage_affine=config.microscope.stage.affine_um_per_px,
        state=state,
    )
