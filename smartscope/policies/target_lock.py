"""Target lock: one object centred where it will be when the command takes effect, in a view as wide as the doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from smartscope.command import MoveStage, Request, SetRoi
from smartscope.frame import Certainty
from smartscope.policies.motion import Forecast
from smartscope.policies.targets import How, Target, choose, follow
from smartscope.policies.view import Micrometres, View
from smartscope.ports import Choice, Context, whole_sensor
from smartscope.result import Tracks

ROI_GRAIN_PX = 16
"""Edges of the region come in steps of this size, so that small changes of doubt restart no camera."""
SHRINK = 0.7
"""The region gets smaller only where so much of it would do."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the target will be when a command that is given now takes effect."""

    view: View
    target: Target
    forecast: Forecast
    who: str
    seen: bool
    """Whether it was in the frame of this decision."""


class TargetLockPolicy:
    """Follows a track over the measured delay of the loop: by ``stage``, by the region read out (``roi``), or ``both``.

    The forecast is that of ``Motion``, for exposure mid-point + delay: age of the frame, models, and the command's own
    way included. By region: its edge holds the object and ``sigmas`` of the forecast on either side; it opens while
    the object is out of sight, and becomes the whole sensor when that is lost. By both: the region follows at once, the
    stage brings the object back when it has left the middle of the sensor by ``stage_share``. An object out of sight
    is looked for within ``sigmas`` of where it should be; after ``lost_s`` another takes its place.
    """

    reads = frozenset({"tracks"})

    def __init__(
        self,
        label: Literal["cell", "spot", "organelle", "any"] = "any",
        mode: Literal["stage", "roi", "both"] = "stage",
        choose: How = "nearest",
        deadband_px: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 4.0,
        sigmas: Annotated[float, Field(gt=0, le=10)] = 3.0,
        reacquire_um: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
        lost_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5,
        min_age_frames: Annotated[int, Field(ge=0)] = 3,
        smallest_roi_px: Annotated[int, Field(ge=16, le=16384)] = 64,
        stage_share: Annotated[float, Field(gt=0, le=0.5)] = 0.25,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.label = label
        self.mode = mode
        self.needs = frozenset(() if mode == "roi" else {"stage_affine"})
        """What the microscope must offer; without it the run is refused before there is light."""
        self.choose = choose
        self.deadband_px = deadband_px
        """Forecast distance from the centre of the view from which a move is worth its mixed frame."""
        self.sigmas = sigmas
        self.reacquire_um = reacquire_um
        """Gate of the search, however sure the forecast."""
        self.lost_s = lost_s
        self.min_age_frames = min_age_frames
        self.smallest_roi_px = smallest_roi_px
        self.stage_share = stage_share
        """Of the sensor's edge."""
        self.min_trust = min_trust

    def decide(self, context: Context) -> Choice:
        """Follow the target; ask for what brings the view to where it will be."""
        result, tracks = context.result, context.result.tracks
        if self.mode != "roi" and context.stage_affine is None:
            return Choice(state=context.state)
        if result.frame.certainty.get("xy") is Certainty.MIXED or result.trust < self.min_trust or tracks is None:
            return Choice(state=context.state)
        view = View(context, self.mode != "roi")
        target = self._target(view, tracks)
        if target is None:
            return Choice(self._look_around(view, context.state), context.state)
        aim = self._aim(view, target)
        if self.mode == "stage":
            return Choice(self._stage(aim, self.deadband_px) if aim.seen else (), target)
        height, width = context.sensor_shape
        far_px = self.stage_share * min(height, width)
        moves = self._stage(aim, far_px) if self.mode == "both" and aim.seen else []
        return Choice([*moves, *self._region(aim, centred=bool(moves))], target)

    def _aim(self, view: View, target: Target) -> Aim:
        context, frame = view.context, view.context.result.frame
        in_effect_ns = max(context.t_ns, frame.t_mid_ns + round(context.delay.median_ms * 1e6))
        who = f"{'target' if self.label == 'any' else self.label} {target.track_id} ({target.chosen})"
        seen = target.motion.t_ns == frame.t_mid_ns
        return Aim(view, target, target.motion.forecast(in_effect_ns), who, seen)

    def _target(self, view: View, tracks: Tracks) -> Target | None:
        """The old target if it is here, was found again, or may come back; else another; else None."""
        old: Target | None = view.context.state
        seen, t_ns = view.candidates(tracks, self.label), view.context.result.frame.t_mid_ns
        if old is not None:
            coasting = old.track_id in tracks.track_id
            target = follow(old, seen, coasting, t_ns, self.reacquire_um, self.sigmas)
            away_s = (t_ns - target.motion.t_ns) / 1e9
            if away_s < self.lost_s:
                return target
        new = choose(seen, self.choose, view.centre(), self.min_age_frames)
        if old is None or new is None:
            return new
        said = f"{new.chosen}, hand-over: {old.track_id} lost for {away_s:.2g} s"
        return Target(new.track_id, new.motion, said, new.size_px)

    def _stage(self, aim: Aim, beyond_px: float) -> list[Request]:
        """The stage move that centres the target on the sensor, where it is farther than this and limits allow."""
        view, now = aim.view, aim.view.context.settings
        off_um = aim.forecast.x_um - now.x_um, aim.forecast.y_um - now.y_um
        if self.mode == "stage":  # the view may be a region away from the sensor's centre
            centre = view.centre()
            off_um = aim.forecast.x_um - centre[0], aim.forecast.y_um - centre[1]
        off_px = math.hypot(*off_um) / view.pixel_um
        to = view.reachable(off_um)
        if off_px <= beyond_px or math.dist(to, (now.x_um, now.y_um)) < view.pixel_um:
            return []
        why = f"{_says(aim, off_um)}: stage ({now.x_um:.1f}, {now.y_um:.1f}) -> ({to[0]:.1f}, {to[1]:.1f}) um"
        return [Request(MoveStage(*to), why)]

    def _region(self, aim: Aim, *, centred: bool) -> list[Request]:
        """The region that holds the target and the doubt about it; ``centred``: the stage is on its way to it."""
        view, now = aim.view, aim.view.context.settings.roi
        height, width = view.context.sensor_shape
        x_px, y_px = view.on_sensor(aim.forecast.place_um, view.context.settings)
        if centred:
            x_px, y_px = (width - 1) / 2, (height - 1) / 2
        edge = self._edge(aim)
        if now.width == now.height and SHRINK * now.width < edge <= now.width:
            edge = now.width
        roi = view.region((x_px, y_px), edge)
        off_px = math.dist((x_px, y_px), now.centre_px)
        same = (roi.width, roi.height) == (now.width, now.height)
        if roi == now or (same and off_px <= self.deadband_px):
            return []
        off_um = tuple(off * view.pixel_um for off in (x_px - now.centre_px[0], y_px - now.centre_px[1]))
        change = f"{now.width} px region at ({now.x}, {now.y}) -> {roi.width} px at ({roi.x}, {roi.y})"
        return [Request(SetRoi(roi), f"{_says(aim, (off_um[0], off_um[1]))}: {change}")]

    def _edge(self, aim: Aim) -> int:
        """Edge in pixels: the object's own diameter, the doubt on both sides, and the deadband."""
        doubt_px = self.sigmas * aim.forecast.sigma_um / aim.view.pixel_um
        needed = 2 * (aim.target.size_px + doubt_px + self.deadband_px)
        return max(self.smallest_roi_px, math.ceil(min(needed, 1e5) / ROI_GRAIN_PX) * ROI_GRAIN_PX)

    def _look_around(self, view: View, lost: Target | None) -> list[Request]:
        """Nobody to follow: read out all there is."""
        everything = whole_sensor(view.context.sensor_shape)
        if self.mode == "stage" or lost is None or view.context.settings.roi == everything:
            return []
        return [Request(SetRoi(everything), f"target {lost.track_id} lost: whole sensor")]


def _says(aim: Aim, off_um: Micrometres) -> str:
    sight = "" if aim.seen else "out of sight, "
    return f"{aim.who} {sight}will be {math.hypot(*off_um):.2g} +- {aim.forecast.sigma_um:.2g} um off centre"
