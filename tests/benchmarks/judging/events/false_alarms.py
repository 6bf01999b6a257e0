"""False alarms that were set against those that came, where nothing happens; and F1 for changes of motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.events import EventDetector

from .known_tracks import RATE_HZ, restless, walkers
from .matching import Listener, Truth, pooled
from .scenes import Movie, Scene
from .specimens import MITOCHONDRIA, VESICLES, WITHIN

SLOWER = 6.0
"""Times as long are quiet movies of organelles, which are slow."""
LEARNING = 0.1
"""Part of each run that is not counted: thresholds are learnt from the data."""
QUIET = {
    "mitochondria": {**MITOCHONDRIA, "fissions_per_min": 0.0, "fusions_per_min": 0.0, "bleaching": False},
    "vesicles": {**VESICLES, "dockings_per_min": 0.0, "bleaching": False},
}
INSTRUMENT = Instrument(CameraCalibration(), OpticsConfig())


class Counter:
    """One setting."""

    def __init__(self, kind: str, per_hour: float) -> None:
        self.kind, self.per_hour, self.count = kind, per_hour, 0
        self._model = EventDetector(INSTRUMENT, kinds=(kind,), false_alarms_per_hour=per_hour)  # type: ignore[arg-type]
        self._heard = Listener()

    def see(self, so_far: Result, *, counts: bool) -> None:
        """Take in a frame; events that are told first in it are false alarms."""
        before = len(self._heard.told)
        result = self._model.step([so_far.frame], so_far)
        self._heard.hear(so_far.frame.index, result.events)
        self.count += counts * (len(self._heard.told) - before)


def measured(
    settings: Mapping[str, Sequence[float]], runs: Sequence[Callable[[], Iterable[Result]]], hours: float
) -> dict[str, Any]:
    """Rates of each kind over several quiet runs of so many hours each, with exact 95 % intervals of the count."""
    pairs = [(kind, per_hour) for kind, rates in settings.items() for per_hour in rates]
    totals = dict.fromkeys(pairs, 0)
    for run in runs:
        counters = [Counter(*pair) for pair in pairs]
        so_fars, first_s = run(), None
        for so_far in so_fars:
            now_s = so_far.frame.t_start_ns / 1e9
            first_s = now_s if first_s is None else first_s
            for counter in counters:
                counter.see(so_far, counts=now_s - first_s >= LEARNING * hours * 3600)
        for counter in counters:
            totals[counter.kind, counter.per_hour] += counter.count
    counted_h = len(runs) * hours * (1 - LEARNING)
    figures: dict[str, Any] = {kind: {} for kind in settings}
    for (kind, per_hour), count in totals.items():
        figures[kind][f"{per_hour:g}/h"] = _rate(count, counted_h, per_hour)
    return figures


def _rate(count: int, counted_h: float, per_hour: float) -> dict[str, float]:
    return {
        "alarms": count,
        "per_hour": count / counted_h,
        "over_set": count / counted_h / per_hour,
        "low": float(chi2.ppf(0.025, 2 * count)) / 2 / counted_h / per_hour if count else 0.0,
        "high": float(chi2.ppf(0.975, 2 * count + 2)) / 2 / counted_h / per_hour,
    }


def quiet_movie(specimen: str, seed: int, hours: float, rate_hz: float, size_px: int) -> Iterable[Result]:
    """Frames in which nothing happens."""
    with Movie(Scene(specimen, seed, 3600 * hours, rate_hz, size_px, options=QUIET[specimen])) as movie:
        for frame, _ in movie.shots():
            yield Result(frame)


def from_tracks(seeds: Sequence[int], hours: float, settings: Sequence[float]) -> dict[str, Any]:
    """Arrest and abnormal, 60 tracks at 20 frames/s."""
    frames = round(3600 * hours * RATE_HZ)
    still = [lambda seed=seed: restless(seed, frames, 60) for seed in seeds]
    plain = [lambda seed=seed: (so_far for so_far, _ in walkers(seed, frames, 60)) for seed in seeds]
    return measured({"arrest": settings}, still, hours) | measured({"abnormal": settings}, plain, hours)


def from_movies(seeds: Sequence[int], hours: float, settings: dict[str, Sequence[float]]) -> dict[str, Any]:
    """Flash on vesicles at 20 frames/s, fission and fusion on mitochondria at 1 frame/s (ten times as long)."""
    quick = [lambda seed=seed: quiet_movie("vesicles", seed, hours, 20.0, 256) for seed in seeds]
    slow = [lambda seed=seed: quiet_movie("mitochondria", seed, SLOWER * hours, 1.0, 256) for seed in seeds]
    necks = {kind: settings[kind] for kind in ("fission", "fusion")}
    return measured({"flash": settings["flash"]}, quick, hours) | measured(necks, slow, SLOWER * hours)


def changes_of_motion(seeds: Sequence[int], frames: int, per_hour: float) -> dict[str, Any]:
    """F1 of abnormal motion on known tracks, by the track that is named."""
    figures: dict[str, Any] = {}
    for change in ("faster", "directed"):
        parts = []
        for seed in seeds:
            model = EventDetector(INSTRUMENT, kinds=("abnormal",), false_alarms_per_hour=per_hour)
            heard, true = Listener(), list[Truth]()
            for so_far, began in walkers(seed, frames, 60, change):
                true += began
                heard.hear(so_far.frame.index, model.step([so_far.frame], so_far).events)
            parts.append(_by_track([one for one in true if one.onset_frame < frames - 40], heard))
        figures[change] = pooled(parts, RATE_HZ)
    return figures


def _by_track(true: Sequence[Truth], heard: Listener) -> dict[str, Any]:
    told = heard.of("abnormal")
    first = {one.object_id: one for one in true}
    hits = [one for one in told if one.track_id in first]
    hits = [one for one in hits if abs(one.onset_frame - first[one.track_id].onset_frame) <= WITHIN]
    delays = [one.first_frame - first[one.track_id].onset_frame for one in hits]
    off = sum(abs(one.onset_frame - first[one.track_id].onset_frame) for one in hits)
    return {"true": len(true), "told": len(told), "hits": len(hits), "frames_off_sum": off, "delays": delays}


def seeds_of(first: int, count: int) -> list[int]:
    """So many from the first on."""
    return np.arange(first, first + count).tolist()
