"""Field of view: when the stage, or the region that is read out, must move to keep a target in view."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from smartscope.command import MoveStage, Request, SetRoi
from smartscope.config import Range
from smartscope.frame import Certainty, Roi
from smartscope.policies.targets import Candidate, How, Target, choose, follow
from smartscope.ports import Choice, Context, whole_sensor
from smartscope.result import Tracks

LABELS = {"spot": 0, "cell": 1}
SMALLEST_MOVE_PX = 1.0
"""Limits may leave so little of a move that it is not worth a frame."""
ROI_STEP_PX = 4
"""Cameras accept offsets of their read-out region in steps; four suits most."""

Micrometres = tuple[float, float]
"""(x, y)."""


class FieldOfViewPolicy:
    """Re-centres a chosen track whenever it is about to leave a deadband, over the measured delay of the loop.

    Places are in um of the stage (``mode: stage``; needs the measured stage affine, asks nothing without it) or of the
    sensor (``mode: roi``). A lost target is looked for near its last place, then another is chosen; without any,
    ``roi`` opens the whole sensor again.
    """

    reads = frozenset({"tracks"})

    def __init__(
        self,
        label: Literal["cell", "spot", "any"] = "cell",
        mode: Literal["stage", "roi"] = "stage",
        choose: How = "nearest",
        deadband_um: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0,
        margin_um: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0,
        reacquire_um: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0,
        lost_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5,
        min_age_frames: Annotated[int, Field(ge=0)] = 3,
        roi_px: Annotated[int, Field(ge=16, le=16384)] = 256,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.label = label
        self.mode = mode
        self.needs = frozenset({"stage_affine"} if mode == "stage" else ())
        """What the microscope must offer; without it the run is refused before there is light."""
        self.choose = choose
        self.deadband_um = deadband_um
        """Distance from the centre of the view at which the target is brought back."""
        self.margin_um = margin_um
        """The target is brought back before it comes so near to the edge, however wide the deadband."""
        self.reacquire_um = reacquire_um
        """A target whose track ended is taken up again within this distance of where it should be."""
        self.lost_s = lost_s
        """Not seen for so long: choose anew."""
        self.min_age_frames = min_age_frames
        """A track must have lived so long to be chosen."""
        self.roi_px = roi_px
        """Edge of the region that ``roi`` reads out."""
        self.min_trust = min_trust

    def decide(self, context: Context) -> Choice:
        """Follow the target; ask for a move when its predicted place has left the deadband."""
        result = context.result
        if self.mode == "stage" and context.stage_affine is None:
            return Choice(state=context.state)
        if (
            result.frame.certainty.get("xy") is Certainty.MIXED
            or result.trust < self.min_trust
            or result.tracks is None
        ):
            return Choice(state=context.state)
        target = self._target(context, result.tracks)
        if target is None:
            return Choice(self._look_around(context), context.state)
        if target.trail.last.t_ns != result.frame.t_mid_ns:  # not seen in this frame: wait for it
            return Choice(state=target)
        in_effect_ns = max(context.t_ns, result.frame.t_mid_ns + round(context.delay.median_ms * 1e6))
        predicted, centre = target.trail.predicted(in_effect_ns), self._view_centre(context)
        off_um = predicted[0] - centre[0], predicted[1] - centre[1]
        who = f"{'target' if self.label == 'any' else self.label} {target.track_id} ({target.chosen})"
        why = f"{who} will be {math.hypot(*off_um):.2g} um off centre"
        move = self._region(context, off_um, why) if self.mode == "roi" else self._step(context, off_um, why)
        return Choice(move, target)

    def _target(self, context: Context, tracks: Tracks) -> Target | None:
        """The old target if it is here or has not been away for long, else another, else None."""
        target: Target | None = context.state
        seen, t_ns = self._candidates(context, tracks), context.result.frame.t_mid_ns
        if target is not None:
            coasting = target.track_id in tracks.track_id
            target = follow(target, seen, coasting, t_ns, self.reacquire_um)
            if t_ns - target.trail.last.t_ns < self.lost_s * 1e9:
                return target
        return choose(seen, self.choose, self._view_centre(context), self.min_age_frames, t_ns)

    def _candidates(self, context: Context, tracks: Tracks) -> list[Candidate]:
        wanted = tracks.missed_frames == 0
        if self.label != "any":
            wanted &= tracks.label == LABELS[self.label]
        return [
            Candidate(
                int(tracks.track_id[row]),
                self._place(context, float(tracks.x_px[row]), float(tracks.y_px[row])),
                int(tracks.age_frames[row]),
                float(tracks.size_px[row]),
                float(tracks.intensity[row]),
            )
            for row in np.flatnonzero(wanted)
        ]

    def _place(self, context: Context, x_px: float, y_px: float) -> Micrometres:
        """Place of the point at ROI pixel (x, y) of the context's frame."""
        if self.mode == "stage" and (place := context.stage_position_of(x_px, y_px)) is not None:
            return place
        roi, pixel_um = context.result.frame.settings.roi, _pixel_um(context)
        return (roi.x + x_px) * pixel_um, (roi.y + y_px) * pixel_um

    def _view_centre(self, context: Context) -> Micrometres:
        """Place that is at the centre of the view under the settings true now."""
        frame, roi = context.result.frame, context.settings.roi
        now = replace(context, result=replace(context.result, frame=replace(frame, settings=context.settings)))
        return self._place(now, (roi.width - 1) / 2, (roi.height - 1) / 2)

    def _due(self, context: Context, off_um: Micrometres) -> bool:
        """Whether the target leaves the deadband, which ends at the margin of a small view."""
        roi, pixel_um = context.settings.roi, _pixel_um(context)
        half_um = min(roi.width, roi.height) / 2 * pixel_um
        deadband_um = min(self.deadband_um, half_um - self.margin_um)
        return math.hypot(*off_um) > max(deadband_um, SMALLEST_MOVE_PX * pixel_um)

    def _step(self, context: Context, off_um: Micrometres, why: str) -> list[Request]:
        """The stage move by ``off_um``, where it is due and the limits leave something of it."""
        now = context.settings.x_um, context.settings.y_um
        to = _within_limits(context, off_um)
        if not self._due(context, off_um) or math.dist(to, now) < SMALLEST_MOVE_PX * _pixel_um(context):
            return []
        why += f": stage ({now[0]:.1f}, {now[1]:.1f}) -> ({to[0]:.1f}, {to[1]:.1f}) um"
        return [Request(MoveStage(*to), why)]

    def _region(self, context: Context, off_um: Micrometres, why: str) -> list[Request]:
        """The region of ``roi_px`` around the target, on the sensor, at an offset that cameras accept."""
        (height, width), now = context.sensor_shape, context.settings.roi
        edge = min(max(self.roi_px, context.limits.min_roi_px), height, width)
        x_px, y_px = (centre + off / _pixel_um(context) for centre, off in zip(now.centre_px, off_um, strict=True))
        roi = Roi(_offset(x_px, edge, width), _offset(y_px, edge, height), edge, edge)
        resized = (roi.width, roi.height) != (now.width, now.height)
        if roi == now or not (resized or self._due(context, off_um)):
            return []
        return [Request(SetRoi(roi), f"{why}: {edge} px region at ({now.x}, {now.y}) -> ({roi.x}, {roi.y})")]

    def _look_around(self, context: Context) -> list[Request]:
        """Nobody to follow: read out all there is."""
        everything = whole_sensor(context.sensor_shape)
        if self.mode == "stage" or context.state is None or context.settings.roi == everything:
            return []
        return [Request(SetRoi(everything), f"target {context.state.track_id} lost: whole sensor")]


def _pixel_um(context: Context) -> float:
    return context.instrument.camera.pixel_size_nm / 1000


def _offset(centre_px: float, edge: int, sensor: int) -> int:
    """First pixel of a region of ``edge`` pixels around a centre, kept on the sensor."""
    wanted = round((centre_px - (edge - 1) / 2) / ROI_STEP_PX) * ROI_STEP_PX
    return min(max(wanted, 0), sensor - edge)


def _within_limits(context: Context, off_um: Micrometres) -> Micrometres:
    """Where the stage may go on its way by ``off_um``."""
    limits, settings = context.limits, context.settings
    part = min(1.0, limits.max_stage_step_um / max(math.hypot(*off_um), 1e-9))
    return (
        _clipped(settings.x_um + part * off_um[0], limits.x_um, settings.x_um),
        _clipped(settings.y_um + part * off_um[1], limits.y_um, settings.y_um),
    )


def _clipped(wanted_um: float, limits: Range | None, now_um: float) -> float:
    return now_um if limits is None else min(max(wanted_um, limits.low), limits.high)
