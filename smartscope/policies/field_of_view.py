"""Field of view: when the stage, or the region that is read out, must move to keep a target in view."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from smartscope.command import MoveStage, Request, SetRoi
from smartscope.frame import Certainty
from smartscope.policies.targets import How, Target, choose, follow
from smartscope.policies.view import Micrometres, View
from smartscope.ports import Choice, Context, whole_sensor
from smartscope.result import Tracks

SMALLEST_MOVE_PX = 1.0
"""Limits may leave so little of a move that it is not worth a frame."""


class FieldOfViewPolicy:
    """Re-centres a chosen track whenever it is about to leave a deadband, over the measured delay of the loop.

    Places are in um of the stage (``mode: stage``; needs the measured stage affine, asks nothing without it) or of the
    sensor (``mode: roi``). A lost target is looked for near its last place, then another is chosen; without any,
    ``roi`` opens the whole sensor again.
    """

    reads = frozenset({"tracks"})

    def __init__(
        self,
        label: Literal["cell", "spot", "organelle", "any"] = "cell",
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
        view = View(context, self.mode == "stage")
        target = self._target(view, result.tracks)
        if target is None:
            return Choice(self._look_around(context), context.state)
        if target.motion.t_ns != result.frame.t_mid_ns:  # not seen in this frame: wait for it
            return Choice(state=target)
        in_effect_ns = max(context.t_ns, result.frame.t_mid_ns + round(context.delay.median_ms * 1e6))
        forecast, centre = target.motion.forecast(in_effect_ns), view.centre()
        off_um = forecast.x_um - centre[0], forecast.y_um - centre[1]
        who = f"{'target' if self.label == 'any' else self.label} {target.track_id} ({target.chosen})"
        why = f"{who} will be {math.hypot(*off_um):.2g} um off centre"
        move = self._region(view, off_um, why) if self.mode == "roi" else self._step(view, off_um, why)
        return Choice(move, target)

    def _target(self, view: View, tracks: Tracks) -> Target | None:
        """The old target if it is here or has not been away for long, else another, else None."""
        target: Target | None = view.context.state
        seen, t_ns = view.candidates(tracks, self.label), view.context.result.frame.t_mid_ns
        if target is not None:
            coasting = target.track_id in tracks.track_id
            target = follow(target, seen, coasting, t_ns, self.reacquire_um)
            if t_ns - target.motion.t_ns < self.lost_s * 1e9:
                return target
        return choose(seen, self.choose, view.centre(), self.min_age_frames)

    def _due(self, view: View, off_um: Micrometres) -> bool:
        """Whether the target leaves the deadband, which ends at the margin of a small view."""
        roi, pixel_um = view.context.settings.roi, view.pixel_um
        half_um = min(roi.width, roi.height) / 2 * pixel_um
        deadband_um = min(self.deadband_um, half_um - self.margin_um)
        return math.hypot(*off_um) > max(deadband_um, SMALLEST_MOVE_PX * pixel_um)

    def _step(self, view: View, off_um: Micrometres, why: str) -> list[Request]:
        """The stage move by ``off_um``, where it is due and the limits leave something of it."""
        now = view.context.settings.x_um, view.context.settings.y_um
        to = view.reachable(off_um)
        if not self._due(view, off_um) or math.dist(to, now) < SMALLEST_MOVE_PX * view.pixel_um:
            return []
        why += f": stage ({now[0]:.1f}, {now[1]:.1f}) -> ({to[0]:.1f}, {to[1]:.1f}) um"
        return [Request(MoveStage(*to), why)]

    def _region(self, view: View, off_um: Micrometres, why: str) -> list[Request]:
        """The region of ``roi_px`` around the target."""
        now = view.context.settings.roi
        x_px, y_px = (centre + off / view.pixel_um for centre, off in zip(now.centre_px, off_um, strict=True))
        roi = view.region((x_px, y_px), self.roi_px)
        resized = (roi.width, roi.height) != (now.width, now.height)
        if roi == now or not (resized or self._due(view, off_um)):
            return []
        return [Request(SetRoi(roi), f"{why}: {roi.width} px region at ({now.x}, {now.y}) -> ({roi.x}, {roi.y})")]

    def _look_around(self, context: Context) -> list[Request]:
        """Nobody to follow: read out all there is."""
        everything = whole_sensor(context.sensor_shape)
        if self.mode == "stage" or context.state is None or context.settings.roi == everything:
            return []
        return [Request(SetRoi(everything), f"target {context.state.track_id} lost: whole sensor")]
