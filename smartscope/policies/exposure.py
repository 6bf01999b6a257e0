"""Exposure: how long each frame must be lit to reach a signal-to-noise ratio, and no longer than pixels can bear.

The signal-to-noise ratio of a pixel with S signal and B background photo-electrons and read noise R is
S / sqrt(S + B + R²) (shot noise of both, and the amplifier's). S and B grow with exposure x power, so two rates
measured in any recent frame predict the ratio for any exposure, and one quadratic equation gives the exposure wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated

from pydantic import Field

from smartscope.command import Request, SetExposure
from smartscope.ports import Choice, Context

READBACK_TOLERANCE = 0.01
"""Cameras round exposures; within this fraction two of them are the same."""
LARGEST_FACTOR = 4.0
"""One request changes the exposure by this factor at most, whatever a single odd frame says."""
FULLNESS = 0.9
"""The brightest pixels may fill this part of the range between offset and saturation."""
BACK_OFF = 0.6
"""A saturated frame cuts exposure x power to this fraction: by how much it overshot cannot be known."""
RECOVERY = 1.0005
"""Each unsaturated frame lifts the ceiling by so much, so that it follows a bleaching specimen."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one frame says of the specimen, per ms of exposure and mW of light."""

    signal_e: float
    background_e: float
    agreement: float
    """Measured over modelled signal-to-noise: takes up what the model leaves out (excess noise, say)."""


@dataclass(frozen=True, slots=True)
class ExposureState:
    """What the policy remembers between frames."""

    recent: tuple[Rates, ...] = ()
    ceiling_ms_mw: float = math.inf
    """Exposure x power above which the brightest pixels would saturate."""


class ExposurePolicy:
    """Holds ``quality["signal_to_noise"]`` at a target without saturating, also while power or specimen change.

    Reads ``signal_to_noise``, ``signal_e`` and ``background_e``; ``saturated_fraction`` and ``saturation_headroom``
    (0 saturated, 1 dark) where a model gives them. Silent on untrusted results, unlit frames, and frames exposed
    before the last change.
    """

    reads = frozenset({"quality"})

    def __init__(
        self,
        target_signal_to_noise: Annotated[float, Field(gt=0, allow_inf_nan=False)],
        deadband: Annotated[float, Field(gt=0, lt=0.1)] = 0.04,
        smoothing_frames: Annotated[int, Field(ge=1, le=100)] = 7,
        max_saturated_fraction: Annotated[float, Field(ge=0, lt=1)] = 1e-4,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.target = target_signal_to_noise
        self.deadband = deadband
        self.smoothing_frames = smoothing_frames
        self.max_saturated_fraction = max_saturated_fraction
        self.min_trust = min_trust

    def decide(self, context: Context) -> Choice:
        """Ask for the exposure that gives the target, once the ratio has left the deadband around it."""
        state: ExposureState = context.state or ExposureState()
        used = context.result.frame.settings
        power_mw, used_power_mw = sum(context.settings.lights_mw.values()), sum(used.lights_mw.values())
        if context.result.frame.mixed or not _same(used.exposure_ms, context.settings.exposure_ms):
            return Choice(state=state)
        if power_mw <= 0 or used_power_mw <= 0:
            return Choice(state=state)
        ms_mw = used.exposure_ms * used_power_mw
        if context.result.quality.get("saturated_fraction", 0.0) > self.max_saturated_fraction:
            # before the question of trust: models rightly distrust a saturated frame
            state = replace(state, ceiling_ms_mw=min(state.ceiling_ms_mw, BACK_OFF * ms_mw))
            return self._back_off(context, state, power_mw)
        if context.result.trust < self.min_trust or (rates := _rates(context, ms_mw)) is None:
            return Choice(state=state)
        recent = (*state.recent, rates)[-self.smoothing_frames :]
        state = ExposureState(recent, min(state.ceiling_ms_mw * RECOVERY, _ceiling(context, ms_mw)))
        return self._hold(context, state, power_mw)

    def _back_off(self, context: Context, state: ExposureState, power_mw: float) -> Choice:
        saturated = context.result.quality["saturated_fraction"]
        why = f"{100 * saturated:.2g} % of the pixels saturated"
        return _ask(context, state, state.ceiling_ms_mw / power_mw, why)

    def _hold(self, context: Context, state: ExposureState, power_mw: float) -> Choice:
        """The model's exposure for the target, at the power that is true now."""
        signal_e = median(rates.signal_e for rates in state.recent)
        background_e = median(rates.background_e for rates in state.recent)
        agreement = median(rates.agreement for rates in state.recent)
        read_e = _read_noise_e(context)
        now_ms_mw = context.settings.exposure_ms * power_mw
        expected = agreement * signal_to_noise(signal_e * now_ms_mw, background_e * now_ms_mw, read_e)
        too_bright = now_ms_mw > state.ceiling_ms_mw
        if abs(expected / self.target - 1) <= self.deadband and not too_bright:
            return Choice(state=state)
        wanted_ms_mw = light_for(self.target / agreement, signal_e, background_e, read_e)
        why = f"signal-to-noise {expected:.3g}, target {self.target:.3g}"
        if wanted_ms_mw > state.ceiling_ms_mw:
            wanted_ms_mw = state.ceiling_ms_mw
            why += ", as far as no pixel saturates"
        return _ask(context, state, wanted_ms_mw / power_mw, why)


def signal_to_noise(signal_e: float, background_e: float, read_noise_e: float) -> float:
    """S / sqrt(S + B + R²), electrons per pixel and exposure."""
    return signal_e / math.sqrt(signal_e + background_e + read_noise_e**2)


def light_for(target: float, signal_e: float, background_e: float, read_noise_e: float) -> float:
    """Exposure x power that gives the target ratio; S and B are rates per unit of that product, S > 0.

    The positive root t of (S t)² = target² ((S + B) t + R²).
    """
    linear = target**2 * (signal_e + background_e)
    constant = (target * read_noise_e) ** 2
    return (linear + math.sqrt(linear**2 + 4 * signal_e**2 * constant)) / (2 * signal_e**2)


def _rates(context: Context, ms_mw: float) -> Rates | None:
    """Rates seen in this frame; None where there is no signal to speak of."""
    quality = context.result.quality
    measured, signal_e = quality.get("signal_to_noise", 0.0), quality.get("signal_e", 0.0)
    background_e = max(0.0, quality.get("background_e", 0.0))
    if measured <= 0 or signal_e <= 0:
        return None
    modelled = signal_to_noise(signal_e, background_e, _read_noise_e(context))
    return Rates(signal_e / ms_mw, background_e / ms_mw, measured / modelled)


def _read_noise_e(context: Context) -> float:
    """Read noise in electrons before any EM register."""
    camera = context.instrument.camera
    return camera.read_noise_e / camera.em_gain


def _ceiling(context: Context, ms_mw: float) -> float:
    filled = 1 - context.result.quality.get("saturation_headroom", 1.0)
    return FULLNESS * ms_mw / filled if filled > 0 else math.inf


def _same(a_ms: float, b_ms: float) -> bool:
    return math.isclose(a_ms, b_ms, rel_tol=READBACK_TOLERANCE)


def _ask(context: Context, state: ExposureState, exposure_ms: float, why: str) -> Choice:
    """A request within the limits; none where it would change nothing."""
    now_ms, limits = context.settings.exposure_ms, context.limits.exposure_ms
    exposure_ms = min(max(exposure_ms, now_ms / LARGEST_FACTOR), now_ms * LARGEST_FACTOR)
    exposure_ms = min(max(exposure_ms, limits.low), limits.high)
    if _same(exposure_ms, now_ms):
        return Choice(state=state)
    return Choice([Request(SetExposure(exposure_ms), f"{why}: exposure {now_ms:.3g} -> {exposure_ms:.3g} ms")], state)
