"""Are divisions told as events when they happen, and how often is the tracker right when it says how sure it is?"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import EVENT_STATUS, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker

WITHIN_FRAMES = 2
STEPS = (0.5, 0.7, 0.9, 0.97, 1.0)
"""Of the probability, for the table of how often it is right."""


@dataclass(slots=True)
class Told:
    """One event of the tracker, as told last."""

    frame: int
    """First told with this frame."""
    probability: float
    """As told first."""
    onset: int
    place: tuple[float, float]
    first_onset: int
    first_place: tuple[float, float]
    provisional: bool
    """When told first."""
    status: str = ""


def division_events(case: Path, label: int, within_px: float, **options: float) -> dict[str, Any]:
    """Precision and recall of what was told at once and of what stood in the end; reliability of probabilities."""
    told, truth = _told(case / "detections.csv", label, options), _truth(case / "truth.csv")
    first = [t for t in told if t.provisional]
    at_once = _right([(t.first_onset, t.first_place) for t in first], truth, within_px)
    stood = [t for t in told if t.status != "withdrawn"]
    final = _right([(t.onset, t.place) for t in stood], truth, within_px)
    soon = [t for t in stood if t.frame - t.onset <= WITHIN_FRAMES]
    prompt = _right([(t.onset, t.place) for t in soon], truth, within_px)
    delays = [t.frame - t.onset for t, right in zip(stood, final, strict=True) if right]
    return {
        "divisions": len(truth),
        "at_once": _f1(at_once, truth),
        "told_within_2_frames_and_not_withdrawn": _f1(prompt, truth),
        "in_the_end": _f1(final, truth),
        "told_frames_after_onset": {"median": float(np.median(delays)), "worst": max(delays)} if delays else None,
        "reliability": _reliability([t.probability for t in first], at_once),
    }


def _told(source: Path, label: int, options: dict[str, float]) -> list[Told]:
    rows: dict[int, list[list[float]]] = defaultdict(list)
    with source.open(newline="") as file:
        for row in csv.DictReader(file):
            rows[int(row["frame"])].append([float(row[key]) for key in ("x_px", "y_px", "size_px", "intensity")])
    shape = tuple(int(max(place[k] for some in rows.values() for place in some)) + 1 for k in (1, 0))
    tracker = KalmanTracker(Instrument(CameraCalibration(), OpticsConfig()), **options)  # type: ignore[arg-type]
    told: dict[int, Told] = {}
    field = np.broadcast_to(np.uint16(0), shape)
    for t in range(max(rows) + 1):
        frame, columns = a_frame(field, t), np.array(rows[t]).reshape(-1, 4).T
        events = tracker.step([frame], Result(frame, detections=detections_of(*columns, label))).events
        if events is None:
            continue
        columns = (events.event_id, events.status, events.onset_frame, events.x_px, events.y_px, events.probability)
        for event_id, status, onset, x, y, probability in zip(*(c.tolist() for c in columns), strict=True):
            now, place = EVENT_STATUS[status], (x, y)
            fresh = Told(t, probability, onset, place, onset, place, now == "provisional")
            known = told.setdefault(event_id, fresh)
            known.status, known.onset, known.place = now, onset, place
    return list(told.values())


def _truth(source: Path) -> list[tuple[int, tuple[float, float]]]:
    """Frame and midpoint of the daughters, where there are two."""
    first: dict[int, tuple[int, int, float, float]] = {}
    with source.open(newline="") as file:
        for row in csv.DictReader(file):
            seen = int(row["frame"]), int(row["parent_id"]), float(row["x_px"]), float(row["y_px"])
            first[int(row["track_id"])] = min(first.get(int(row["track_id"]), seen), seen)
    families: dict[int, list[tuple[int, int, float, float]]] = defaultdict(list)
    for seen in first.values():
        families[seen[1]].append(seen)
    return [
        (min(s[0] for s in some), (float(np.mean([s[2] for s in some])), float(np.mean([s[3] for s in some]))))
        for mother, some in families.items()
        if mother >= 0 and len(some) > 1
    ]


def _right(
    told: list[tuple[int, tuple[float, float]]], truth: list[tuple[int, tuple[float, float]]], within_px: float
) -> list[bool]:
    """Which events are divisions, each of which counts once; the nearest in time first."""
    pairs = sorted(
        (abs(onset - frame), n, m)
        for n, (onset, place) in enumerate(told)
        for m, (frame, where) in enumerate(truth)
        if abs(onset - frame) <= WITHIN_FRAMES and np.hypot(place[0] - where[0], place[1] - where[1]) <= within_px
    )
    right, used = [False] * len(told), set[int]()
    for _, n, m in pairs:
        if not right[n] and m not in used:
            right[n] = True
            used.add(m)
    return right


def _f1(right: list[bool], truth: list[Any]) -> dict[str, float]:
    hits, all_of = sum(right), len(right) + len(truth)
    return {
        "precision": hits / max(len(right), 1),
        "recall": hits / max(len(truth), 1),
        "f1": 2 * hits / max(all_of, 1),
    }


def _reliability(probability: list[float], right: list[bool]) -> list[dict[str, float]]:
    said, was = np.array(probability), np.array(right, float)
    table = []
    for low, high in pairwise(STEPS):
        some = (said >= low) & (said < high) if high < 1 else said >= low
        if some.any():
            table.append(
                {"said": float(said[some].mean()), "right": float(was[some].mean()), "events": int(some.sum())}
            )
    return table
