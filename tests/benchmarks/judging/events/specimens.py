"""F1 on simulated vesicles and mitochondria, with the tracks of a perfect tracker and with the real chain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from smartscope.ports import Model
from smartscope.result import EVENT_KINDS, Result
from smartscope_models.detection import CellDetector, SpotDetector
from smartscope_models.events import EventDetector
from smartscope_models.tracking import KalmanTracker

from .matching import Listener, Truth, judged, pooled
from .scenes import Movie, Scene, true_tracks

NOISE_PX = 0.17
"""Error of a place of the perfect tracker, per axis; what the real detector reaches on these vesicles."""
MARGIN_PX = 8
"""From the edge of the field, within which events are not scored."""
WITHIN = 2
VESICLES = {"area_um": 24.0, "vesicles": 20}
MITOCHONDRIA = {"max_present": 0.5, "fissions_per_min": 0.8, "fusions_per_min": 0.8}


def chain(scene: Scene) -> list[Model]:
    """The models before the events, as a user would have them."""
    finder: Model = SpotDetector(scene.instrument)
    if scene.specimen == "mitochondria":
        finder = CellDetector(scene.instrument, min_radius_um=0.3, max_radius_um=3)
    return [finder, KalmanTracker(scene.instrument)]


def watched(scene: Scene, kinds: Sequence[str], per_hour: float, tracks: str) -> tuple[Listener, list[Truth], Any]:
    """A whole movie: what was told, what is true, CPU milliseconds of the events' model in each frame."""
    model = EventDetector(scene.instrument, kinds=tuple(kinds), false_alarms_per_hour=per_hour)  # type: ignore[arg-type]
    model.warm_up((scene.size_px, scene.size_px))
    before, rng, heard = chain(scene), np.random.default_rng(scene.seed), Listener()
    cost_ms = []
    with Movie(scene) as movie:
        for frame, objects in movie.shots():
            so_far = Result(frame)
            if tracks == "true":
                found, detections = true_tracks(objects, scene.size_px, NOISE_PX, rng)
                so_far = Result(frame, tracks=found, detections=detections)
            else:
                for one in before:
                    so_far = one.step([frame], so_far)
            began = time.process_time()
            result = model.step([frame], so_far)
            cost_ms.append(1e3 * (time.process_time() - began))
            heard.hear(frame.index, result.events)
        return heard, truth(movie), cost_ms


def truth(movie: Movie) -> list[Truth]:
    """What went on, well inside the field, begun and changed within the movie."""
    scene, events, found = movie.scene, movie.events(), []
    for row in range(len(events)):
        x, y = float(events.x_px[row]), float(events.y_px[row])
        onset, change = (movie.frame_of(int(at[row])) for at in (events.onset_ns, events.change_ns))
        inside = min(x, y) >= MARGIN_PX and max(x, y) <= scene.size_px - 1 - MARGIN_PX
        if inside and onset >= 5 and change <= scene.frames - 5:
            kind = EVENT_KINDS[events.kind[row]]
            found.append(Truth(kind, onset, change, x, y, int(events.ids[row, 0])))
    return found


def scored(scenes: Sequence[Scene], kinds: Sequence[str], per_hour: float, tracks: str, reach_um: float) -> Any:
    """Figures of all kinds over several movies."""
    parts: dict[str, list[Any]] = {}
    cost: list[float] = []
    for scene in scenes:
        heard, true, cost_ms = watched(scene, kinds, per_hour, tracks)
        cost += cost_ms[20:]
        inner = [one for one in heard.told.values() if _inside(one.places, scene.size_px)]
        for kind in kinds:
            told = [one for one in inner if one.kind == kind and one.status != "withdrawn"]
            told = [one for one in told if 5 <= one.settled_frame < scene.frames - 3]
            for by in ("onset", "change") if kind in ("fission", "fusion") else ("onset",):
                chosen = [one for one in told if by == "onset" or one.status == "confirmed"]
                there = [event for event in true if event.kind == kind]
                reach_px = reach_um * 1000 / scene.pixel_nm
                parts.setdefault(f"{kind}_{by}", []).append(judged(there, chosen, by, reach_px, WITHIN))
    figures: dict[str, Any] = {name: pooled(part, scenes[0].rate_hz) for name, part in parts.items()}
    figures["cpu_ms_median"], figures["cpu_ms_p99"] = float(np.median(cost)), float(np.percentile(cost, 99))
    return figures


def _inside(places: Sequence[tuple[float, float]], size_px: int) -> bool:
    return all(min(place) >= MARGIN_PX and max(place) <= size_px - 1 - MARGIN_PX for place in places[:1])


def vesicles(seeds: Sequence[int], seconds: float, per_hour: float) -> dict[str, Any]:
    """Arrests and flashes at 20 frames/s."""
    scenes = [Scene("vesicles", seed, seconds, 20.0, options=VESICLES) for seed in seeds]
    return {tracks: scored(scenes, ("arrest", "flash"), per_hour, tracks, 1.0) for tracks in ("true", "chain")}


def mitochondria(seeds: Sequence[int], events: int, per_hour: float, rates_hz: Sequence[float]) -> dict[str, Any]:
    """Fissions and fusions, at several frame rates; about so many events in each movie."""
    figures = {}
    for rate_hz in rates_hz:
        scenes = [Scene("mitochondria", seed, 60.0 * events, rate_hz, options=MITOCHONDRIA) for seed in seeds]
        figures[f"{rate_hz:g} frames/s"] = scored(scenes, ("fission", "fusion"), per_hour, "chain", 3.0)
    return figures
