"""What can be believed of the number of glowing molecules: figures of one frame, and their mean over a window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from smartscope.ports import Context
from smartscope.result import Result

LEAST_HEALTH = 0.5
"""``recall_health`` below which what was found does not explain what was counted."""
MOST_SATURATED = 1e-4
"""Saturated fraction of a frame's pixels above which nobody can count in it."""
BELIEVED = 0.5
"""Part of a window's frames that must be believed."""
ON_FRAMES = 1.5
"""Mean on-time over exposure, where it is not measured."""
STILL = 0.02
"""Variance over mean of counts below which they do not blink: independent molecules give about 1, and never so little,
also where they glow for longer than the window."""
STILL_FRAMES, STILL_EMITTERS = 8, 5.0
"""Fewest frames and molecules in which standing still is seen."""


def doubt(result: Result, min_trust: float) -> str:
    """Why the number of emitters in this result is not to be believed; empty if it is."""
    quality = result.quality
    if "emitters" not in quality:
        return "nobody counted the emitters"
    if result.trust < min_trust:
        return f"trust {result.trust:.2g} below {min_trust:g}" + (f": {result.why_trust}" if result.why_trust else "")
    if (health := quality.get("recall_health", 1.0)) < LEAST_HEALTH:
        return f"recall health {health:.2g} below {LEAST_HEALTH:g}"
    if (saturated := quality.get("saturated_fraction", 0.0)) > MOST_SATURATED:
        return f"{100 * saturated:.2g} % of the pixels saturated"
    return ""


@dataclass(frozen=True, slots=True)
class Mean:
    """Running sums of a figure that not every frame has."""

    total: float = 0.0
    frames: int = 0

    def plus(self, value: float | None) -> Mean:
        """With one more frame."""
        return self if value is None else Mean(self.total + value, self.frames + 1)

    @property
    def value(self) -> float | None:
        """The mean; None of nothing."""
        return self.total / self.frames if self.frames else None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one power of the activating light, averaged."""

    at_s: float
    """Since the run began."""
    power_mw: float
    emitters: float
    """In a frame."""
    light_e: float | None = None
    """Photo-electrons per pixel and frame, whatever they come from."""
    molecule_e: float | None = None
    """What one emitter adds to ``light_e``."""
    noise: float = 0.0
    """As much of the relative error of ``emitters`` as blinking explains."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames looked at since the last decision."""

    began_s: float
    seen: int = 0
    emitters: Mean = Mean()
    squares: Mean = Mean()
    light_e: Mean = Mean()
    molecule_e: Mean = Mean()
    newest_doubt: str = ""
    """Of the newest frame; empty if that is believed."""
    last_doubt: str = ""
    """Of the newest frame that was not believed."""
    on_frames: float = ON_FRAMES
    """Mean on-time over exposure, as last measured."""

    def plus(self, context: Context, min_trust: float) -> Window:
        """With the result of one more frame; its light counts whether or not its emitters are believed."""
        quality, why = context.result.quality, doubt(context.result, min_trust)
        emitters = None if why else max(0.0, quality["emitters"])
        return replace(
            self,
            seen=self.seen + 1,
            emitters=self.emitters.plus(emitters),
            squares=self.squares.plus(None if emitters is None else emitters * emitters),
            light_e=self.light_e.plus(_light_e(context, quality)),
            molecule_e=self.molecule_e.plus(_molecule_e(context, quality)),
            newest_doubt=why,
            last_doubt=why or self.last_doubt,
            on_frames=_on_frames(context, quality) or self.on_frames,
        )

    @property
    def doubt(self) -> str:
        """Why the mean of this window is not to be believed; empty if it is."""
        if self.emitters.frames < BELIEVED * self.seen or not self.emitters.frames:
            return self.last_doubt
        mean, mean_square = self.emitters.value or 0.0, self.squares.value or 0.0
        if self.emitters.frames >= STILL_FRAMES and mean >= STILL_EMITTERS and mean_square - mean * mean < STILL * mean:
            return f"the count stands still at {mean:.3g}: molecules blink"
        return ""

    def look(self, at_s: float, power_mw: float) -> Look:
        """Its means; ``power_mw`` was the power of all its frames."""
        found = self.emitters.value or 0.0
        return Look(at_s, power_mw, found, self.light_e.value, self.molecule_e.value, self._noise)

    @property
    def _noise(self) -> float:
        """Three standard errors of the mean, relative to it, by blinking alone.

        A molecule that glows for k frames brings k sightings: their sum has variance over mean E[k^2] / E[k], which is
        1 + 2 ``on_frames`` for exponential on-times.
        """
        sightings = self.emitters.total
        return 3 * math.sqrt((1 + 2 * self.on_frames) / sightings) if sightings > 0 else math.inf


def _light_e(context: Context, quality: Mapping[str, float]) -> float | None:
    """Raw light where it is measured, else the background that the fits found: it rises with density as well."""
    if "light_e" in quality or "spot_background" not in quality:
        return quality.get("light_e")
    return quality["spot_background"] * context.instrument.camera.quantum_efficiency


def _molecule_e(context: Context, quality: Mapping[str, float]) -> float | None:
    photons, roi = quality.get("spot_photons", 0.0), context.result.frame.settings.roi
    efficiency = context.instrument.camera.quantum_efficiency
    return photons * efficiency / (roi.width * roi.height) if photons > 0 else None


def _on_frames(context: Context, quality: Mapping[str, float]) -> float:
    """0 where the on-time is not measured."""
    return quality.get("on_time_ms", 0.0) / context.result.frame.settings.exposure_ms
