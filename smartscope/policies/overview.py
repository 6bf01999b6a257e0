"""Which field of view next: where most events per dose may be expected, travel and what is not yet known included.

Each tile of a grid keeps the counts seen under how much light. Its rate of events is taken as Gamma distributed, and
scored by an upper confidence bound (after UCB1: Auer, Cesa-Bianchi & Fischer, Machine Learning 47:235, 2002), which
grows again while nobody looks, since the old counts are forgotten (discounted UCB: Garivier & Moulines, ALT 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from smartscope.command import MoveStage, Request
from smartscope.frame import Certainty
from smartscope.ports import Choice, Context

NEAR_UM = 1.0
"""A stage so close to a tile's place is there."""
PATIENCE_S = 10.0
"""A tile that was not reached within this is passed over for as long as counts are remembered."""

Micrometres = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tile:
    """What is known of one field of view."""

    count: float = 0.0
    """Events seen, the old ones discounted."""
    lit_s: float = 0.0
    """Exposure in which they were seen, discounted alike."""
    as_of_s: float = 0.0
    closed_until_s: float = -math.inf
    """Out of reach, or without dose."""

    def at(self, now_s: float, forget_s: float) -> Tile:
        """What is left of it now."""
        kept = math.exp(-max(0.0, now_s - self.as_of_s) / forget_s)
        return replace(self, count=kept * self.count, lit_s=kept * self.lit_s, as_of_s=now_s)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the policy remembers between frames."""

    tiles: tuple[Tile, ...]
    here: int = -1
    """Tile that it looks at, or goes to; -1: none yet."""
    frames: int = 0
    """Taken there in this visit."""
    asked_s: float = -math.inf
    seen: frozenset[int] = frozenset()
    """Events of this visit."""


class OverviewPolicy:
    """Visits the fields of a grid, ``dwell_frames`` each, and goes on to the one with the best score.

    score = upper bound of the rate x dwell / (dwell + travel). What counts: new ``events``, ``detections`` in a frame,
    or a ``figure`` of quality, none below 0. Raster order is what comes out while nothing is known.

    Options:
        columns, rows, spacing_um: of the grid, around (x_um, y_um).
        prior_rate: events per second of exposure that a field nobody has seen is taken to have, as if it had been
            seen for ``prior_s``.
        boldness: how much what is not known counts; 0: never tries.
        forget_s: time after which a count is worth 1/e.
        stage_um_per_s, settle_s: how long a journey takes.
    """

    def __init__(
        self,
        columns: Annotated[int, Field(ge=1, le=200)] = 5,
        rows: Annotated[int, Field(ge=1, le=200)] = 5,
        spacing_um: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0,
        x_um: Annotated[float, Field(allow_inf_nan=False)] = 0.0,
        y_um: Annotated[float, Field(allow_inf_nan=False)] = 0.0,
        counts: Literal["events", "detections", "figure"] = "events",
        figure: str = "",
        dwell_frames: Annotated[int, Field(ge=1, le=100_000)] = 20,
        prior_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
        prior_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2,
        boldness: Annotated[float, Field(ge=0, le=100)] = 1.0,
        forget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0,
        stage_um_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1000.0,
        settle_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.reads = frozenset({"quality" if counts == "figure" else counts})
        self.places = tuple(
            (x_um + (c - (columns - 1) / 2) * spacing_um, y_um + (r - (rows - 1) / 2) * spacing_um)
            for r in range(rows)
            for c in (range(columns) if r % 2 == 0 else reversed(range(columns)))
        )
        """Of the tiles, to and fro."""
        self.counts, self.figure = counts, figure
        self.dwell_frames = dwell_frames
        self.prior_rate, self.prior_s = prior_rate, prior_s
        self.boldness, self.forget_s = boldness, forget_s
        self.stage_um_per_s, self.settle_s = stage_um_per_s, settle_s
        self.min_trust = min_trust

    def decide(self, context: Context) -> Choice:
        """Count what the frame shows; move on when the visit is over."""
        survey: Survey = context.state or Survey(tuple(Tile() for _ in self.places))
        if context.limits.x_um is None or context.limits.y_um is None:
            return Choice(state=survey)
        if survey.here >= 0 and not self._given_up(context, survey):
            if not self._arrived(context, survey):
                return self._go(context, survey, "on the way")
            survey = self._looked(context, survey)
            if survey.frames < self.dwell_frames and context.dose.remaining_j_per_cm2 > 0:
                return Choice(state=survey)
        return self._next(context, survey)

    def scores(self, survey: Survey, now_s: float, place: Micrometres, exposure_s: float) -> list[float]:
        """(tiles,) expected events per second of a visit that begins with the journey from ``place``; -inf: closed."""
        tiles = [tile.at(now_s, self.forget_s) for tile in survey.tiles]
        looked = math.log1p(sum(tile.lit_s for tile in tiles) / self.prior_s)
        dwell_s = self.dwell_frames * exposure_s
        found = []
        for tile, there in zip(tiles, self.places, strict=True):
            lit_s = self.prior_s + tile.lit_s
            rate = (self.prior_rate * self.prior_s + tile.count) / lit_s
            bound = rate + self.boldness * math.sqrt(rate * looked / lit_s)
            travel_s = self._travel_s(place, there)
            found.append(-math.inf if tile.closed_until_s > now_s else bound * dwell_s / (dwell_s + travel_s))
        return found

    def _travel_s(self, place: Micrometres, there: Micrometres) -> float:
        way_um = math.dist(place, there)
        return self.settle_s + way_um / self.stage_um_per_s if way_um > NEAR_UM else 0.0

    def _next(self, context: Context, survey: Survey) -> Choice:
        """Go to the tile with the best score."""
        now_s, here = context.elapsed_s, (context.settings.x_um, context.settings.y_um)
        survey = self._closed(context, survey)
        scores = self.scores(survey, now_s, here, context.settings.exposure_ms / 1e3)
        best = max(range(len(scores)), key=scores.__getitem__)
        if math.isinf(scores[best]):
            return Choice(state=replace(survey, here=-1))
        tile = survey.tiles[best].at(now_s, self.forget_s)
        why = f"field {best + 1} of {len(scores)}, {tile.count:.3g} in {tile.lit_s:.3g} s, score {scores[best]:.3g}/s"
        survey = replace(survey, here=best, frames=0, seen=frozenset(), asked_s=now_s)
        return self._go(context, survey, why) if not self._arrived(context, survey) else Choice(state=survey)

    def _closed(self, context: Context, survey: Survey) -> Survey:
        """The tile just left is passed over where it was never reached, or has no dose left."""
        spent = context.dose.remaining_j_per_cm2 <= 0
        if survey.here < 0 or not (spent or self._given_up(context, survey)):
            return survey
        until_s = math.inf if spent else context.elapsed_s + self.forget_s
        tiles = list(survey.tiles)
        tiles[survey.here] = replace(tiles[survey.here], closed_until_s=until_s)
        return replace(survey, tiles=tuple(tiles))

    def _arrived(self, context: Context, survey: Survey) -> bool:
        there = self.places[survey.here]
        return math.dist(there, (context.settings.x_um, context.settings.y_um)) <= NEAR_UM

    def _given_up(self, context: Context, survey: Survey) -> bool:
        late = context.elapsed_s - survey.asked_s > PATIENCE_S
        return late and survey.frames == 0 and not self._arrived(context, survey)

    def _go(self, context: Context, survey: Survey, why: str) -> Choice:
        """The move there, in steps as long as the limits allow."""
        settings, there = context.settings, self.places[survey.here]
        way_um = math.dist(there, (settings.x_um, settings.y_um))
        part = min(1.0, context.limits.max_stage_step_um / max(way_um, 1e-9))
        x_um = settings.x_um + part * (there[0] - settings.x_um)
        y_um = settings.y_um + part * (there[1] - settings.y_um)
        return Choice([Request(MoveStage(x_um, y_um), why)], survey)

    def _looked(self, context: Context, survey: Survey) -> Survey:
        """What the frame adds to its tile; nothing where it was exposed elsewhere, or is not trusted."""
        frame, result = context.result.frame, context.result
        there = self.places[survey.here]
        if math.dist(there, (frame.settings.x_um, frame.settings.y_um)) > NEAR_UM:
            return survey
        if frame.certainty.get("xy") is Certainty.MIXED or result.trust < self.min_trust:
            return replace(survey, frames=survey.frames + 1)
        new = self._new_events(context, survey)
        value = len(new) if self.counts == "events" else self._value(context)
        tile = survey.tiles[survey.here].at(context.elapsed_s, self.forget_s)
        tile = replace(tile, count=tile.count + value, lit_s=tile.lit_s + frame.settings.exposure_ms / 1e3)
        tiles = (*survey.tiles[: survey.here], tile, *survey.tiles[survey.here + 1 :])
        return replace(survey, tiles=tiles, frames=survey.frames + 1, seen=survey.seen | new)

    def _new_events(self, context: Context, survey: Survey) -> frozenset[int]:
        events = context.result.events
        if self.counts != "events" or events is None:
            return frozenset()
        return frozenset(int(number) for number in events.event_id[events.status != 2]) - survey.seen

    def _value(self, context: Context) -> float:
        """The count of one frame, or its figure."""
        if self.counts == "detections":
            return 0.0 if context.result.detections is None else float(len(context.result.detections))
        value = context.result.quality.get(self.figure, 0.0)
        return max(0.0, value) if math.isfinite(value) else 0.0
