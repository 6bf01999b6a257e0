"""Where a target will be and how sure that is: two ways of moving, weighed by what the target itself did so far.

Interacting multiple models (Blom & Bar-Shalom, IEEE TAC 33:780, 1988) of one object: it walks at random, or keeps a
course. The tracker's models hold their noise high, so as to lose no object in a crowd; these learn the noise of one
object, by innovation matching (Mehra, IEEE TAC 15:175, 1970), so as to lead it no farther than it goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

SWITCH = 0.012
"""Probability that within a frame period a walker sets out on a course, or the other way round."""
FADE = 0.95
"""What a walker remembers of its course after a frame period: many go on as they came."""
STRIDE = 4.5
"""Variance of a velocity that nobody has seen yet, per axis: three random steps in a frame period."""
COURSE_NOISE, TURN_NOISE = 0.1, 0.1
"""Of the place on a course, over the walk's, at first; of the velocity, over the place's: each in frame periods."""
BELIEF_PERIODS = 7.0
"""A course counts by its probability to the power of 1 + frame periods ahead over this: the farther ahead, the more
following one that is none costs, against missing one."""
LEARNING = 1 / 20
"""Share of each sighting in what is known of the noise; the first few count for more."""
EARLIER_LESSONS = 4
"""What the tracker says of the noise counts as so many sightings."""
SURPRISE = 4.0
"""Squared innovations count up to so many times what is expected: a jump is no lesson."""
SHORTEST_S = 0.01
"""A frame period counts as at least so long: at kilohertz rates nothing changes its mind with each frame."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A place at a time, with what its tracker says; um, s."""

    t_ns: int
    x_um: float
    y_um: float
    error_um: float
    """Standard error of the place, per axis."""
    walk_um2_s: float
    """Variance that random motion adds to a coordinate in a second."""
    vx_um_s: float = 0.0
    """Velocity if it moves steadily."""
    vy_um_s: float = 0.0
    v_error_um_s: float = 0.0
    steady: float = 0.0
    """Probability that it does."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A place at a time to come."""

    x_um: float
    y_um: float
    sigma_x_um: float
    """Standard deviation along x: larger along a course that may end."""
    sigma_y_um: float

    @property
    def place_um(self) -> tuple[float, float]:
        """(x, y)."""
        return self.x_um, self.y_um

    @property
    def sigma_um(self) -> float:
        """The larger of the two."""
        return max(self.sigma_x_um, self.sigma_y_um)


@dataclass(frozen=True, slots=True)
class Mode:
    """What one of the two models believes; both axes share one covariance."""

    x: float
    y: float
    vx: float
    vy: float
    place: float
    """Variance of the place."""
    cross: float
    speed: float
    """Variance of the velocity."""

    def with_part(self, share: float, other: Mode) -> Mode:
        """The moments of a mixture of which the ``other`` has this share."""
        mine, both = 1 - share, share * (1 - share) / 2
        dx, dy, dvx, dvy = other.x - self.x, other.y - self.y, other.vx - self.vx, other.vy - self.vy
        return Mode(
            self.x + share * dx,
            self.y + share * dy,
            self.vx + share * dvx,
            self.vy + share * dvy,
            mine * self.place + share * other.place + both * (dx * dx + dy * dy),
            mine * self.cross + share * other.cross + both * (dx * dvx + dy * dvy),
            mine * self.speed + share * other.speed + both * (dvx * dvx + dvy * dvy),
        )

    def corrected(self, seen: Sighting) -> tuple[Mode, float, float]:
        """After a sighting, with its squared innovation per axis over the expected one, and its log likelihood."""
        expected = self.place + seen.error_um**2
        dx, dy = seen.x_um - self.x, seen.y_um - self.y
        k0, k1 = self.place / expected, self.cross / expected
        after = Mode(
            self.x + k0 * dx,
            self.y + k0 * dy,
            self.vx + k1 * dx,
            self.vy + k1 * dy,
            self.place * (1 - k0),
            self.cross * (1 - k0),
            self.speed - k1 * self.cross,
        )
        ratio = (dx * dx + dy * dy) / (2 * expected)
        return after, ratio, -ratio - math.log(expected)


@dataclass(frozen=True, slots=True)
class Motion:
    """All that is known of how a target moves."""

    t_ns: int
    walker: Mode
    courser: Mode
    steady: float
    """Probability that it keeps a course."""
    walk_um2_s: float
    course_um2_s: float
    """Variance that the place on a course gains in a second beside the velocity's share."""
    period_s: float = 0.0
    """Between the first two sightings; 0 before the second."""
    lessons: int = 0
    """Sightings from which the noise was learned."""

    @classmethod
    def begun(cls, seen: Sighting) -> Motion:
        """As the tracker has it."""
        place, walk = seen.error_um**2, seen.walk_um2_s
        mode = Mode(seen.x_um, seen.y_um, seen.vx_um_s, seen.vy_um_s, place, 0.0, seen.v_error_um_s**2)
        return cls(seen.t_ns, mode, mode, min(max(seen.steady, 0.01), 0.99), walk, COURSE_NOISE * walk)

    def seen(self, seen: Sighting) -> Motion:
        """After one more sighting, later than the last; others are ignored."""
        if seen.t_ns <= self.t_ns:
            return self
        if self.walk_um2_s <= 0:  # a tracker that has seen one frame knows of no motion
            return Motion.begun(seen)
        ahead = self._moved_on((seen.t_ns - self.t_ns) / 1e9)
        walker, walked, walk_fit = ahead.walker.corrected(seen)
        courser, coursed, course_fit = ahead.courser.corrected(seen)
        odds = math.log(ahead.steady / (1 - ahead.steady)) + course_fit - walk_fit
        steady = 1 / (1 + math.exp(min(max(-odds, -14.0), 14.0)))
        share = max(LEARNING, 1 / (EARLIER_LESSONS + self.lessons))
        return replace(
            ahead,
            t_ns=seen.t_ns,
            walker=walker,
            courser=courser,
            steady=steady,
            walk_um2_s=ahead.walk_um2_s * _lesson(walked, (1 - steady) * share),
            course_um2_s=ahead.course_um2_s * _lesson(coursed, steady * share),
            lessons=self.lessons + 1,
        )

    def forecast(self, t_ns: int) -> Forecast:
        """Where it will be at a time after the last sighting.

        The way along the course is damped twice: by the chance that the course ends meanwhile, and by the belief that
        there is one.
        """
        ahead_s = max(0, t_ns - self.t_ns) / 1e9
        walker, courser, steady = self.walker, self.courser, self.steady
        period_s = max(self.period_s, SHORTEST_S)
        belief, rate = steady ** (1 + ahead_s / period_s / BELIEF_PERIODS), SWITCH / period_s
        way_s = belief * (1 - math.exp(-rate * ahead_s)) / rate
        walked = walker.place + self.walk_um2_s * ahead_s
        coursed = courser.place + 2 * ahead_s * courser.cross + ahead_s**2 * courser.speed
        coursed += self.course_um2_s * ahead_s + self._turn * ahead_s**3 / 3
        within = (1 - steady) * walked + steady * coursed
        along_s2 = steady * (ahead_s - way_s) ** 2 + (1 - steady) * way_s**2
        return Forecast(
            walker.x + steady * (courser.x - walker.x) + way_s * courser.vx,
            walker.y + steady * (courser.y - walker.y) + way_s * courser.vy,
            math.sqrt(within + along_s2 * courser.vx**2),
            math.sqrt(within + along_s2 * courser.vy**2),
        )

    @property
    def _turn(self) -> float:
        """Variance that the velocity on a course gains in a second, um²/s³."""
        return TURN_NOISE * self.course_um2_s / max(self.period_s, SHORTEST_S) ** 2

    def _moved_on(self, dt_s: float) -> Motion:
        """Unseen for ``dt_s``: the models exchange what they believe, then each moves in its way."""
        period_s = self.period_s or max(dt_s, SHORTEST_S)
        periods = dt_s / period_s
        change = (1 - (1 - 2 * SWITCH) ** periods) / 2
        steady = self.steady + change * (1 - 2 * self.steady)
        walker = self.walker.with_part(change * self.steady / (1 - steady), self.courser)
        courser = self.courser.with_part(change * (1 - self.steady) / steady, self.walker)
        fade, stride = FADE**periods, STRIDE * self.walk_um2_s / period_s
        walker = replace(
            walker,
            vx=fade * walker.vx,
            vy=fade * walker.vy,
            place=walker.place + self.walk_um2_s * dt_s,
            cross=fade * walker.cross,
            speed=fade**2 * walker.speed + (1 - fade**2) * stride,
        )
        now = replace(self, period_s=period_s)
        courser = replace(
            courser,
            x=courser.x + dt_s * courser.vx,
            y=courser.y + dt_s * courser.vy,
            place=courser.place + 2 * dt_s * courser.cross + dt_s**2 * courser.speed + self.course_um2_s * dt_s,
            cross=courser.cross + dt_s * courser.speed + now._turn * dt_s**2 / 2,
            speed=courser.speed + now._turn * dt_s,
        )
        return replace(now, walker=walker, courser=courser, steady=steady)


def _lesson(ratio: float, share: float) -> float:
    """By what a sighting scales the noise of a model, of which it is this share of what is known."""
    return 1 + share * (min(ratio, SURPRISE) - 1)
