"""Dark frames, then a series of light levels by exposure time, taken at the microscope.

The microscope is handed in behind the gate; the light stays on for the series alone, and is off whatever happens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from smartscope.camera_calibration.levels import Level, LevelStatistics
from smartscope.command import Applied, SetExposure, SetLight
from smartscope.errors import CameraStopped, DeviceError, DeviceTimeout
from smartscope.frame import Frame, Pixels
from smartscope.ports import Clock, Microscope

TOP = 0.7
"""The brightest pixels reach this part of saturation at the longest exposure."""
BRIGHTEST = 99.9
"""Percentile of the pixels that stands for the brightest."""
SATURATED = 0.95
LOOKS, LOOKED_AT = 8, 4
"""Exposures tried to find the longest, frames taken at each."""
CLOSE = 0.2
FASTEST = 10.0
"""An exposure is not raised by more than this factor at a time."""
SEEN = 5.0
"""The field is lit if its mean stands so many times the dark's standard deviation above it."""
PATIENCE_S = 5.0
UNSETTLED = 50
Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much is taken."""

    dark_frames: int = 1000
    frames: int = 100
    """At each light level."""
    levels: int = 12


@dataclass(frozen=True, slots=True)
class Series:
    """What was taken."""

    dark: Level
    lights: tuple[Level, ...]
    dark_exposure_ms: float


class SeriesTaker:
    """Takes the frames of a calibration from one microscope."""

    def __init__(
        self, microscope: Microscope, clock: Clock, *, exposure_range_ms: tuple[float, float], saturation_adu: float
    ) -> None:
        self._microscope, self._clock = microscope, clock
        self._low_ms, self._high_ms = exposure_range_ms
        self._saturation_adu = saturation_adu
        self._epochs = itertools.count()

    def take(self, exposure_ms: float, lights_mw: Mapping[str, float], wanted: Wanted, advance: Advance) -> Series:
        """Darks at ``exposure_ms``, then ``wanted.levels`` exposures in this light.

        Raises:
            DeviceError: the light does not go off, or no exposure within limits suits it.
            Refused: the gate does not allow light or exposure.
        """
        total = wanted.dark_frames + wanted.levels * wanted.frames
        done = itertools.count(1)

        def took() -> None:
            advance(next(done), total)

        self._confirm_dark()
        applied = self._expose(exposure_ms)
        try:
            dark = self._level(LevelStatistics("the dark frames"), applied, wanted.dark_frames, took)
            for light, power_mw in lights_mw.items():
                applied = self._microscope.apply(SetLight(light, power_mw))
            lights = [
                self._light_level(exposure, dark, wanted.frames, took)
                for exposure in self._exposures(exposure_ms, dark, applied, wanted.levels)
            ]
        finally:
            self._microscope.dark()
        return Series(dark, tuple(lights), exposure_ms)

    def _confirm_dark(self) -> None:
        self._microscope.dark()
        lit = [light for light, power_mw in self._microscope.settings().lights_mw.items() if power_mw > 0]
        if lit:
            remedy = "look at the lights themselves"
            raise DeviceError(f"{', '.join(lit)} did not go off", where="lights", remedy=remedy)

    def _light_level(self, exposure_ms: float, dark: Level, frames: int, took: Callable[[], None]) -> Level:
        applied = self._expose(exposure_ms)
        offset_adu = float(dark.mean_adu.mean(dtype=np.float64))
        statistics = LevelStatistics(f"{exposure_ms:.4g} ms", offset_adu=offset_adu, exposure_ms=exposure_ms)
        return self._level(statistics, applied, frames, took)

    def _expose(self, exposure_ms: float) -> Applied:
        return self._microscope.apply(SetExposure(exposure_ms))

    def _level(self, statistics: LevelStatistics, applied: Applied, frames: int, took: Callable[[], None]) -> Level:
        with closing(self._frames(applied, frames)) as taken:
            for pixels in taken:
                statistics.add(pixels)
                took()
        return statistics.level()

    # ---------------------------------------------------------------- exposures

    def _exposures(self, first_ms: float, dark: Level, lit: Applied, levels: int) -> list[float]:
        """Exposures up to the longest, closer together where they are short: dim levels tell the gain as well."""
        longest_ms = self._longest(first_ms, dark, lit)
        shortest_ms = min(max(self._low_ms, longest_ms / levels**2), longest_ms)
        steps = np.linspace(0, 1, levels) ** 2
        return list(dict.fromkeys((shortest_ms + (longest_ms - shortest_ms) * steps).tolist()))

    def _longest(self, exposure_ms: float, dark: Level, lit: Applied) -> float:
        """The exposure at which the brightest pixels reach ``TOP``, or the longest allowed."""
        room_adu = self._saturation_adu - float(dark.mean_adu.mean())
        for _ in range(LOOKS):
            bright_adu, mean_adu = self._look(dark, lit)
            if bright_adu >= SATURATED * room_adu:
                next_ms = exposure_ms / 4
            else:
                next_ms = exposure_ms * min(TOP * room_adu / max(bright_adu, 1e-9), FASTEST)
            next_ms = min(max(next_ms, self._low_ms), self._high_ms)
            if abs(next_ms / exposure_ms - 1) < CLOSE:
                break
            exposure_ms = next_ms
            lit = self._expose(exposure_ms)
        if bright_adu >= SATURATED * room_adu:
            what = f"saturated even at {exposure_ms:.4g} ms"
            raise DeviceError(what, where="light series", remedy="lower start.lights_mw, or allow shorter exposures")
        if mean_adu < SEEN * float(np.sqrt(np.median(dark.variance_adu2))):
            what = f"{mean_adu:.1f} ADU above the dark even at {exposure_ms:.4g} ms: no light to speak of"
            remedy = "raise start.lights_mw, look for what is in the way, or allow longer exposures"
            raise DeviceError(what, where="light series", remedy=remedy)
        return next_ms

    def _look(self, dark: Level, applied: Applied) -> tuple[float, float]:
        """(brightest, mean) above the dark, ADU."""
        above = np.mean(list(self._frames(applied, LOOKED_AT)), axis=0) - dark.mean_adu
        return float(np.percentile(above, BRIGHTEST)), float(above.mean())

    # ---------------------------------------------------------------- frames

    def _frames(self, applied: Applied, number: int) -> Generator[Pixels]:
        """So many frames exposed since a command took effect.

        A camera may fill its ring faster than frames are counted, and stop; what is lost then is no loss to a mean.
        """
        self._microscope.start(next(self._epochs))
        came = unsettled = since_start = 0
        try:
            while came < number:
                try:
                    frame = self._next_frame()
                except CameraStopped:
                    if not since_start:
                        raise
                    since_start = 0
                    self._microscope.start(next(self._epochs))
                    continue
                since_start += 1
                if frame.t_start_ns >= applied.t_effect_ns and not frame.mixed:
                    came += 1
                    yield frame.pixels
                elif (unsettled := unsettled + 1) > UNSETTLED:
                    raise DeviceTimeout(f"{applied.made_true} does not show in the frames", where="camera")
        finally:
            self._microscope.stop()

    def _next_frame(self) -> Frame:
        clock, microscope = self._clock, self._microscope
        if clock.virtual:
            clock.sleep((microscope.frame_due_ns() - clock.now_ns()) / 1e9)
        patience_s = PATIENCE_S + 2e-3 * microscope.settings().exposure_ms
        frame = microscope.next_frame(patience_s)
        if frame is None:
            raise DeviceTimeout(f"no frame within {patience_s:.0f} s", where="camera", remedy="look at the camera")
        return frame
