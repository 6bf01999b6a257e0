"""Under which settings a frame was exposed: the timeline of changes, with those still on their way, as Settings."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from smartscope.frame import Certainty, Roi, Settings
from smartscope.settings import Change, SettingsTimeline


@dataclass(frozen=True, slots=True)
class Stamp:
    """Settings of one exposure and how well each is known."""

    settings: Settings
    certainty: Mapping[str, Certainty]


class Stamper:
    """The driver's memory of its settings; the loop's thread writes, the grabber's thread asks."""

    def __init__(
        self,
        initial: Settings,
        calibrated: Iterable[str] = (),
        now_ns: int = 0,
        presets: Mapping[str, str] | None = None,
    ) -> None:
        self._timeline = SettingsTimeline(frozenset(calibrated))
        self._lock = threading.Lock()
        self._on_their_way: dict[str, int] = {}
        self._roi, self._interval_ms = initial.roi, initial.interval_ms
        self._lights = tuple(initial.lights_mw)
        self._settled_ns = now_ns
        values = _values(initial) | {f"preset:{group}": preset for group, preset in (presets or {}).items()}
        self.keys = tuple(values)
        """Setting keys of everything that is stamped."""
        for key, value in values.items():
            self._timeline.record(Change(key, value, now_ns, now_ns))
        self._steady: Stamp | None = None

    def begin(self, setting: str, t_ns: int) -> None:
        """A change was called: until it is finished, exposures that reach past ``t_ns`` are mixed."""
        with self._lock:
            self._on_their_way[setting] = t_ns
            self._steady = None

    def finish(self, setting: str, value: Any, t_called_ns: int, t_effect_ns: int) -> None:
        """The change took effect, or was given up with ``value`` as what is true now."""
        self._timeline.record(Change(setting, value, t_called_ns, t_effect_ns))
        with self._lock:
            self._on_their_way.pop(setting, None)
            self._settled_ns = max(self._settled_ns, t_effect_ns)
            self._steady = None

    def set_roi(self, roi: Roi) -> None:
        """Frames from now on show this part of the sensor; the camera stands still meanwhile."""
        with self._lock:
            self._roi = roi
            self._steady = None

    def set_interval(self, interval_ms: float) -> None:
        """Frames from now on begin so long after each other; the camera stands still meanwhile."""
        with self._lock:
            self._interval_ms = interval_ms
            self._steady = None

    def now(self) -> Settings:
        """The settings after the last change of each."""
        latest = self._timeline.latest
        x_um, y_um = latest("xy")
        return Settings(
            exposure_ms=latest("exposure_ms"),
            roi=self._roi,
            lights_mw={light: latest(f"light:{light}") for light in self._lights},
            x_um=x_um,
            y_um=y_um,
            z_um=latest("z"),
            interval_ms=self._interval_ms,
        )

    def latest(self, setting: str) -> Any:
        """Value of one setting after its last change."""
        return self._timeline.latest(setting)

    def exposure_at(self, t_ns: int) -> float:
        """Exposure in force at one moment, ms."""
        value, _ = self._timeline.during("exposure_ms", t_ns, t_ns + 1)
        return float(value)

    def stamp(self, t_start_ns: int, t_end_ns: int, exposure_ms: float | None = None) -> Stamp:
        """Settings during an exposure; ``exposure_ms`` where the camera itself reports it."""
        with self._lock:
            steady = self._steady
            calm = not self._on_their_way and t_start_ns >= self._settled_ns
        if not calm:
            return self._look_up(t_start_ns, t_end_ns, exposure_ms)
        if steady is None:
            steady = self._look_up(t_start_ns, t_end_ns, None)
            with self._lock:
                if t_start_ns >= self._settled_ns and not self._on_their_way:
                    self._steady = steady
        return steady if exposure_ms is None else _with_exposure(steady, exposure_ms)

    def _look_up(self, t_start_ns: int, t_end_ns: int, exposure_ms: float | None) -> Stamp:
        with self._lock:
            pending = {key for key, called_ns in self._on_their_way.items() if called_ns < t_end_ns}
            roi, interval_ms = self._roi, self._interval_ms
        values: dict[str, Any] = {}
        certainty: dict[str, Certainty] = {}
        for key in self.keys:
            values[key], known = self._timeline.during(key, t_start_ns, t_end_ns)
            known = Certainty.MIXED if key in pending else known
            if known is Certainty.MIXED or not key.startswith("preset:"):
                certainty[key] = known
        (x_um, y_um), lights = values["xy"], {light: values[f"light:{light}"] for light in self._lights}
        settings = Settings(values["exposure_ms"], roi, lights, x_um, y_um, values["z"], interval_ms=interval_ms)
        stamp = Stamp(settings, certainty)
        return stamp if exposure_ms is None else _with_exposure(stamp, exposure_ms)


def _with_exposure(stamp: Stamp, exposure_ms: float) -> Stamp:
    """The stamp with the exposure that the camera reports."""
    if stamp.settings.exposure_ms == exposure_ms and stamp.certainty["exposure_ms"] is Certainty.EXACT:
        return stamp
    settings = replace(stamp.settings, exposure_ms=exposure_ms)
    return Stamp(settings, {**stamp.certainty, "exposure_ms": Certainty.EXACT})


def _values(settings: Settings) -> dict[str, Any]:
    """Settings by the key of the command that changes them."""
    lights = {f"light:{light}": power_mw for light, power_mw in settings.lights_mw.items()}
    return {
        "exposure_ms": settings.exposure_ms,
        "xy": (settings.x_um, settings.y_um),
        "z": settings.z_um,
        **lights,
    }
