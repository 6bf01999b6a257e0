"""The courses that a target may be on: one for each heading of a ring, with its own place and speed.

A Kalman filter with a velocity of two coordinates lets the speed change as freely as the heading, though a transported
object turns and keeps its speed. Here headings are hypotheses (a static multiple-model filter with a Markov chain that
turns: Bar-Shalom, Li & Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, chapter 11), and
within each the filter is linear: place along and across the heading, and speed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HEADINGS = 32
TURN = 0.08
"""Standard deviation by which the heading turns in a frame period."""
SPEED_NOISE = 0.0005
"""Variance that the speed gains in a frame period, over that of a random step."""
_RING = 2 * np.pi * np.arange(HEADINGS) / HEADINGS
COS, SIN = np.cos(_RING), np.sin(_RING)
LEAST = 1e-30
"""Probability below which no heading falls, so that none is out of the question for ever."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Walkers that set out on a course: where they are, which way and how fast they will probably go."""

    heading: Floats
    """(H,) probability of setting out this way."""
    x: float
    y: float
    place: float
    """Variance of the place, per axis."""
    speed: float
    spread: float
    """Variance of the speed."""


@dataclass(frozen=True, slots=True, eq=False)
class Courses:
    """All of shape (H,) for H headings; um, s; never written to."""

    weight: Floats
    """Probability of each; their sum is that of a course at all."""
    x: Floats
    y: Floats
    speed: Floats
    along: Floats
    """Variance of the place along the heading,"""
    cross: Floats
    """covariance of that and the speed,"""
    spread: Floats
    """variance of the speed,"""
    across: Floats
    """and of the place across the heading."""

    def __eq__(self, other: object) -> bool:
        """By value."""
        return isinstance(other, Courses) and all(
            np.array_equal(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def begun(cls, arrival: Arrival) -> Courses:
        """Nothing known but where somebody sets out."""
        one = np.ones(HEADINGS)
        place, spread = arrival.place * one, arrival.spread * one
        x, y, speed = arrival.x * one, arrival.y * one, arrival.speed * one
        return cls(arrival.heading, x, y, speed, place, 0 * one, spread, place)

    def told(self, vx: float, vy: float, error: float) -> Courses:
        """As somebody says who has seen it move: velocity, and its standard error per axis."""
        along, aside = vx * COS + vy * SIN, vy * COS - vx * SIN
        back, ahead = np.minimum(along, 0.0), np.maximum(along, 0.0)
        expected = self.spread + error**2
        fit = -(aside**2 + back**2) / (2 * error**2) - (ahead - self.speed) ** 2 / (2 * expected)
        weight, gain = self.weight * np.exp(fit - fit.max()), self.spread / expected
        return replace(
            self,
            weight=weight * (self.weight.sum() / weight.sum()),
            speed=self.speed + gain * (ahead - self.speed),
            spread=self.spread * (1 - gain),
        )

    def turned(self, periods: float, kept: float, arrival: Arrival) -> Courses:
        """After some frame periods of turning, a share of them ``kept``, joined by those who set out.

        Each heading's moments are those of the mixture of all that come to it.
        """
        joined = kept * turning(periods) * self.weight
        share = np.concatenate([joined, arrival.heading[:, None]], axis=1)  # (H, H + 1): to, from
        weight = np.maximum(share.sum(1), LEAST)
        share /= weight[:, None]
        from_x, from_y = np.append(self.x, arrival.x), np.append(self.y, arrival.y)
        from_speed = np.append(self.speed, arrival.speed)
        x, y, speed = share @ from_x, share @ from_y, share @ from_speed
        dx, dy, faster = from_x - x[:, None], from_y - y[:, None], from_speed - speed[:, None]
        ahead, aside = dx * COS[:, None] + dy * SIN[:, None], dy * COS[:, None] - dx * SIN[:, None]
        return Courses(
            weight,
            x,
            y,
            speed,
            share @ np.append(self.along, arrival.place) + (share * ahead**2).sum(1),
            share @ np.append(self.cross, 0.0) + (share * ahead * faster).sum(1),
            share @ np.append(self.spread, arrival.spread) + (share * faster**2).sum(1),
            share @ np.append(self.across, arrival.place) + (share * aside**2).sum(1),
        )

    def moved(self, dt_s: float, noise_um2_s: float, period_s: float, step_um2: float) -> Courses:
        """``dt_s`` later; ``noise_um2_s``: what the place gains beside the speed's share; ``step_um2``: of a walk."""
        way, noise = dt_s * self.speed, dt_s * noise_um2_s
        faster = SPEED_NOISE * step_um2 * dt_s / period_s**3
        return Courses(
            self.weight,
            self.x + way * COS,
            self.y + way * SIN,
            self.speed,
            self.along + 2 * dt_s * self.cross + dt_s**2 * self.spread + noise,
            self.cross + dt_s * self.spread,
            self.spread + faster,
            self.across + noise + (TURN * way) ** 2 * dt_s / period_s / 3,
        )

    def corrected(self, x_um: float, y_um: float, variance: float, slowest: float) -> tuple[Courses, Floats, Floats]:
        """After a sighting; with the squared innovations per axis over the expected ones, and the log likelihoods.

        ``slowest``: what goes more slowly is on no course.
        """
        dx, dy = x_um - self.x, y_um - self.y
        ahead, aside = dx * COS + dy * SIN, dy * COS - dx * SIN
        along, across = self.along + variance, self.across + variance
        k_along, k_speed, k_across = self.along / along, self.cross / along, self.across / across
        ratio = (ahead**2 / along + aside**2 / across) / 2
        after = Courses(
            self.weight,
            self.x + k_along * ahead * COS - k_across * aside * SIN,
            self.y + k_along * ahead * SIN + k_across * aside * COS,
            np.maximum(self.speed + k_speed * ahead, slowest),
            self.along * (1 - k_along),
            self.cross * (1 - k_along),
            np.maximum(self.spread - k_speed * self.cross, 0.0),
            self.across * (1 - k_across),
        )
        return after, ratio, -ratio - np.log(along * across) / 2


def _eigenvalues() -> Floats:
    """Of one period's turning: to either neighbour with half the variance in headings."""
    aside = TURN**2 / (2 * np.pi / HEADINGS) ** 2 / 2
    found: Floats = 1 - 2 * aside * (1 - np.cos(2 * np.pi * np.fft.rfftfreq(HEADINGS)))
    return found


_EIGENVALUES = _eigenvalues()
_FROM = (np.arange(HEADINGS)[:, None] - np.arange(HEADINGS)) % HEADINGS


@lru_cache(maxsize=256)
def _turning(millis: int) -> Floats:
    ring = np.maximum(np.fft.irfft(_EIGENVALUES ** (millis / 1000), HEADINGS), 0.0)
    found: Floats = (ring / ring.sum())[_FROM]
    found.flags.writeable = False
    return found


def turning(periods: float) -> Floats:
    """(H, H) probabilities to, from, after so many frame periods, known to a thousandth of one."""
    return _turning(round(1000 * min(periods, 1e4)))
