"""Where a target will be and how sure that is: it walks at random or keeps a course, weighed by what it did so far.

Interacting multiple models (Blom & Bar-Shalom, IEEE TAC 33:780, 1988) of one object. The tracker's models hold their
noise high, so as to lose no object in a crowd; these learn the noise of one object, by innovation matching (Mehra, IEEE
TAC 15:175, 1970), how much of its time it is on a course, and how fast and which way it went last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from smartscope.policies.courses import COS, HEADINGS, SIN, TURN, Arrival, Courses, Floats, turning

SWITCH = 0.012
"""Probability that within a frame period a walker sets out on a course, or the other way round, if both are as
frequent."""
USUAL_STEPS, STEPS_SPREAD = 3.0, 2.0
"""Speed of somebody of whom no course is known, in random steps per frame period; its variance."""
COURSE_NOISE, MOST_COURSE_NOISE = 0.1, 0.25
"""Of the place on a course, over the walk's: at first; at most, or walks would pass for slow courses."""
ANYWHERE = 0.05
"""Share of those who set out that take any heading; the others go on as they came."""
LEARNING = 0.03
"""Share of each sighting in what is known of the noise; the first few count for more."""
EARLIER_LESSONS = 3
"""What the tracker says of the noise counts as so many sightings."""
ON_COURSE, SHARE_PERIODS = 0.4, 50
"""Part of the time that anybody is on a course; as many sightings of the target itself weigh the same."""
SURPRISE = 4.0
"""Squared innovations count up to so many times what is expected: a jump is no lesson."""
SURE = 5
"""A course is remembered by its probability to this power."""
SHORTEST_S = 0.01
"""A frame period counts as at least so long: at kilohertz rates nothing changes its mind with each frame."""
DIGITS = 9
"""Of a place in um; the rest is rounding."""
STILL_UM2_S = 1e-9
"""Nothing is taken to walk less."""


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
    """Standard error of the velocity, per axis; 0: unknown."""
    steady: float = 0.5
    """Probability that it does."""
    period_s: float = 0.02
    """Of frames, as far as known."""

    @property
    def variance(self) -> float:
        """Of the place, per axis."""
        return self.error_um**2


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


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The last course: what a walker will probably do when it sets out again."""

    heading: Floats
    """(H,) probabilities."""
    speed: float = 0.0
    spread: float = 0.0
    """Variance of the speed."""
    known: float = 0.0
    """How far there was one, 0 to 1."""

    def __eq__(self, other: object) -> bool:
        """By value."""
        if not isinstance(other, Memory):
            return False
        mine, theirs = (self.speed, self.spread, self.known), (other.speed, other.spread, other.known)
        return mine == theirs and np.array_equal(self.heading, other.heading)

    __hash__ = None  # type: ignore[assignment]

    def usual(self, step_um_s: float) -> tuple[float, float]:
        """Speed and its variance, of somebody whose random steps are so long in a frame period."""
        guess, doubt = USUAL_STEPS * step_um_s, STEPS_SPREAD * step_um_s**2
        known, other = self.known, 1 - self.known
        spread = known * self.spread + other * doubt + known * other * (self.speed - guess) ** 2
        return known * self.speed + other * guess, spread

    def with_course(self, courses: Courses, steady: float, periods: float) -> Memory:
        """After a frame in which it was on a course with this probability; headings turn meanwhile."""
        sure = steady**SURE
        known = sure + (1 - sure) * self.known
        share, weight = sure / max(known, 1e-30), courses.weight / max(steady, 1e-30)
        speed = float(weight @ courses.speed)
        spread = float(weight @ (courses.spread + (courses.speed - speed) ** 2))
        both = share * (1 - share) * (speed - self.speed) ** 2
        return Memory(
            turning(periods) @ ((1 - sure) * self.heading + sure * weight),
            self.speed + share * (speed - self.speed),
            (1 - share) * self.spread + share * spread + both,
            known,
        )


@dataclass(frozen=True, slots=True)
class Motion:
    """All that is known of how a target moves."""

    t_ns: int
    x: float
    """Place if it walks,"""
    y: float
    place: float
    """and its variance per axis."""
    courses: Courses
    memory: Memory
    walk_um2_s: float
    course_um2_s: float
    """Variance that the place on a course gains in a second beside the speed's share."""
    share: float
    """Of its time that it is on a course, in the long run."""
    period_s: float
    """Of frames."""
    lessons: int = 0
    """Sightings from which the noise was learned."""

    @classmethod
    def begun(cls, seen: Sighting) -> Motion:
        """As the tracker has it, as far as it is sure: what it believes by halves is worse than nothing."""
        period_s, walk = max(seen.period_s, SHORTEST_S), max(seen.walk_um2_s, STILL_UM2_S)
        nobody, sure = Memory(np.full(HEADINGS, 1 / HEADINGS)), min(max(2 * seen.steady - 1, 0.0), 0.98)
        speed, spread = nobody.usual(math.sqrt(walk / period_s))
        start = Arrival(nobody.heading, seen.x_um, seen.y_um, seen.variance, speed, spread)
        courses = Courses.begun(start)
        if sure and seen.v_error_um_s > 0:
            courses = courses.told(seen.vx_um_s, seen.vy_um_s, seen.v_error_um_s / sure)
        steady = ON_COURSE + sure * (1 - ON_COURSE)
        courses = replace(courses, weight=steady * courses.weight)
        noise = COURSE_NOISE * walk
        return cls(seen.t_ns, seen.x_um, seen.y_um, seen.variance, courses, nobody, walk, noise, ON_COURSE, period_s)

    @property
    def steady(self) -> float:
        """Probability that it is on a course."""
        return float(self.courses.weight.sum())

    @property
    def step_um_s(self) -> float:
        """Length of a random step in a frame period, as a speed."""
        return math.sqrt(self.walk_um2_s / self.period_s)

    def seen(self, seen: Sighting) -> Motion:
        """After one more sighting, later than the last; others are ignored."""
        if seen.t_ns <= self.t_ns:
            return self
        if self.walk_um2_s <= STILL_UM2_S:  # a tracker that has seen one frame knows of no motion
            return Motion.begun(seen)
        dt_s = (seen.t_ns - self.t_ns) / 1e9
        ahead = self._moved_on(dt_s)
        courses, coursed, course_fit = ahead.courses.corrected(seen.x_um, seen.y_um, seen.variance, self.step_um_s)
        expected = ahead.place + seen.variance
        dx, dy = seen.x_um - ahead.x, seen.y_um - ahead.y
        gain, walked = ahead.place / expected, (dx * dx + dy * dy) / (2 * expected)
        walk_fit = -walked - math.log(expected)
        best = max(walk_fit, float(course_fit.max()))
        walker, weight = (1 - ahead.steady) * math.exp(walk_fit - best), courses.weight * np.exp(course_fit - best)
        both = walker + float(weight.sum())
        courses, steady = replace(courses, weight=weight / both), 1 - walker / both
        after = replace(
            ahead,
            t_ns=seen.t_ns,
            x=ahead.x + gain * dx,
            y=ahead.y + gain * dy,
            place=ahead.place * (1 - gain),
            courses=courses,
        )
        return after._learned(steady, walked, float(weight @ coursed) / max(float(weight.sum()), 1e-30), dt_s)

    def _moved_on(self, dt_s: float) -> Motion:
        """Unseen for ``dt_s``: some set out and some stop, then each moves in its way."""
        periods = dt_s / self.period_s
        change = 1 - (1 - 2 * SWITCH) ** periods
        starts, stops = change * self.share, change * (1 - self.share)
        walker = max(1 - self.steady, 0.0)
        heading = (1 - ANYWHERE) * self.memory.heading + ANYWHERE / HEADINGS
        arrival = Arrival(starts * walker * heading, self.x, self.y, self.place, *self.memory.usual(self.step_um_s))
        turned = self.courses.turned(periods, 1 - stops, arrival)
        stay, stopped = (1 - starts) * walker, stops * self.courses.weight
        total = max(stay + float(stopped.sum()), 1e-30)
        x = (stay * self.x + float(stopped @ self.courses.x)) / total
        y = (stay * self.y + float(stopped @ self.courses.y)) / total
        off2 = (self.courses.x - x) ** 2 + (self.courses.y - y) ** 2
        place = stay * (self.place + ((self.x - x) ** 2 + (self.y - y) ** 2) / 2)
        place += float(stopped @ (self.courses.along + self.courses.across + off2)) / 2
        step_um2 = self.walk_um2_s * self.period_s
        return replace(
            self,
            x=x,
            y=y,
            place=place / total + self.walk_um2_s * dt_s,
            courses=turned.moved(dt_s, self.course_um2_s, self.period_s, step_um2),
        )

    def _learned(self, steady: float, walked: float, coursed: float, dt_s: float) -> Motion:
        """What this sighting teaches, of which ``walked`` and ``coursed`` are the innovations over the expected."""
        share = max(LEARNING, 1 / (EARLIER_LESSONS + self.lessons))
        walk = max(self.walk_um2_s * _lesson(walked, (1 - steady) * share), 2 * STILL_UM2_S)
        course = self.course_um2_s * _lesson(coursed, steady * share)
        return replace(
            self,
            memory=self.memory.with_course(self.courses, steady, dt_s / self.period_s),
            walk_um2_s=walk,
            course_um2_s=min(max(course, 0.01 * walk), MOST_COURSE_NOISE * walk),
            share=self.share + (steady - self.share) / (SHARE_PERIODS + self.lessons),
            lessons=self.lessons + 1,
        )

    def forecast(self, t_ns: int) -> Forecast:
        """Where it will be at a time after the last sighting: the mean over all that it may do meanwhile."""
        ahead_s, courses, steady = max(0, t_ns - self.t_ns) / 1e9, self.courses, self.steady
        turn_rate, rate = TURN**2 / 2 / self.period_s, -math.log(1 - 2 * SWITCH) / self.period_s
        straight_s = -math.expm1(-turn_rate * ahead_s) / turn_rate
        passing_s = -math.expm1(-(turn_rate + rate) * ahead_s) / (turn_rate + rate)
        way_s = self.share * straight_s + (1 - self.share) * passing_s
        sets_out_s = self.share * (straight_s - passing_s)
        speed = (1 - steady) * sets_out_s * self.memory.usual(self.step_um_s)[0]
        goes_on = math.exp(-rate * (1 - self.share) * ahead_s)
        ended_s = (way_s - goes_on * straight_s) / (1 - goes_on) if goes_on < 1 else 0.0
        found: list[tuple[float, float]] = []
        for walker, place, cos, sin in ((self.x, courses.x, COS, SIN), (self.y, courses.y, SIN, COS)):
            out = speed * float(self.memory.heading @ cos)
            mean = (1 - steady) * walker + float(courses.weight @ (place + way_s * courses.speed * cos)) + out
            on, ended = place + straight_s * courses.speed * cos - mean, place + ended_s * courses.speed * cos - mean
            spread = cos**2 * self._along(ahead_s) + sin**2 * self._across(ahead_s)
            spread = spread + goes_on * on**2 + (1 - goes_on) * (ended**2 + self.walk_um2_s * ahead_s)
            walked = self.place + self.walk_um2_s * ahead_s + (walker - mean) ** 2
            sigma = math.sqrt((1 - steady) * walked + float(courses.weight @ spread))
            found.append((round(mean, DIGITS) + 0.0, sigma))
        (x, sigma_x), (y, sigma_y) = found
        return Forecast(x, y, sigma_x, sigma_y)

    def _along(self, ahead_s: float) -> Floats:
        """(H,) variance along each heading of the place that a course leads to."""
        courses = self.courses
        moved: Floats = courses.along + 2 * ahead_s * courses.cross + ahead_s**2 * courses.spread
        return moved + self.course_um2_s * ahead_s

    def _across(self, ahead_s: float) -> Floats:
        """(H,) the same across it, where it turns."""
        turned: Floats = (TURN * ahead_s * self.courses.speed) ** 2 * ahead_s / self.period_s / 3
        return self.courses.across + self.course_um2_s * ahead_s + turned


def _lesson(ratio: float, share: float) -> float:
    """By what a sighting scales the noise of a model, of which it is this share of what is known."""
    return 1 + share * (min(ratio, SURPRISE) - 1)
