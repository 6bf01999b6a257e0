"""The live model ``events``: which kinds are watched for, at which rates, and what each frame's scene is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import Instrument
from smartscope.result import Result, Tracks
from smartscope_models.events.abnormal import Abnormal
from smartscope_models.events.arrest import Arrest
from smartscope_models.events.fission_fusion import FissionFusion
from smartscope_models.events.flash import BEFORE, Flash
from smartscope_models.events.following import Doubles
from smartscope_models.events.place_error import PlaceError
from smartscope_models.events.scene import Scene
from smartscope_models.events.telling import Telling, joined
from smartscope_models.mobility.places import seen_places

Kind = Literal["fission", "fusion", "flash", "arrest", "abnormal"]
Rate = Annotated[float, Field(gt=0, le=1e6)]
TREMBLE_UM = 0.03
"""Moves of stage and focus that change nothing."""
FIRST_NOISE_PX = 0.3
"""Error of a place before a track has told one."""
LEAST_NOISE_PX = 0.02


class Watcher(Protocol):
    """What looks out for one kind of event, or two."""

    def look(self, scene: Scene, telling: Telling) -> None:
        """Take in a frame; tell of what begins, is confirmed or withdrawn."""


class EventDetector:
    """Adds to ``events`` what happens: each with its first frame, place, probability and tracks.

    What earlier models told stays. Where organelles are watched, ``quality`` says how probable it is that a fission or
    fusion is going on (``event_probability``), also while that is not enough to be told.
    """

    history = 0
    reads = frozenset({"tracks", "detections", "events"})

    def __init__(
        self,
        setup: Instrument,
        *,
        kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("flash", "arrest", "abnormal"),
        false_alarms_per_hour: Rate | Mapping[Kind, Rate] = 1.0,
    ) -> None:
        """kinds: what is watched for. false_alarms_per_hour: in the whole field, for each kind, or kind by kind."""
        rates = false_alarms_per_hour
        per_hour = {kind: rates.get(kind, 1.0) if isinstance(rates, Mapping) else rates for kind in kinds}
        self._px_of_um: Doubles = np.asarray(np.linalg.inv(_affine(setup)), np.float64)
        self._made_of = setup, per_hour
        self._watchers = _watchers(setup, per_hour)
        self._telling = Telling()
        self._last: Frame | None = None
        self._place_error, self._noise_px = PlaceError(), 0.0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile; what is remembered is not touched."""
        rehearsal, rng = EventDetector(self._made_of[0], kinds=tuple(self._made_of[1])), np.random.default_rng(0)
        view = Settings(10.0, Roi(0, 0, shape[1], shape[0]))
        ids, ones = np.arange(4, dtype=np.int32), np.ones(4, np.float32)
        for k in range(BEFORE + 2):
            t_ns = k * 10_000_000
            frame = Frame(np.full(shape, 100, np.uint16), 0, k, k, view, {}, t_ns, t_ns + 1, t_ns + 1)
            frame.pixels[: shape[0] // 2] += np.uint16(500)
            x, y = rng.uniform(0, 9, (2, 4)).astype(np.float32)
            none = np.zeros(4, np.int32)
            tracks = Tracks(ids, ids - 9, x, y, ones, ones, ones, ones, ones, ones, none, none, ones, ones, none)
            rehearsal.step([frame], Result(frame, tracks=tracks))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with what is told of ``frames[-1]``."""
        frame = frames[-1]
        scene = self._scene(frame, so_far)
        quality = dict(so_far.quality)
        if frame.certainty.get("xy") is not Certainty.MIXED:
            for watcher in self._watchers:
                watcher.look(scene, self._telling)
        if rising := [watcher.probability for watcher in self._watchers if isinstance(watcher, FissionFusion)]:
            quality["event_probability"] = max(rising)
        return replace(so_far, events=joined(so_far.events, self._telling.table(scene)), quality=quality)

    def _scene(self, frame: Frame, so_far: Result) -> Scene:
        last, self._last = self._last, frame
        origin, tracks = self._origin(frame), so_far.tracks
        elapsed_s = 0.0 if last is None else max((frame.t_mid_ns - last.t_mid_ns) / 1e9, 0.0)
        ids, places = np.empty(0, np.int64), np.empty((0, 2))
        if tracks is not None:
            x, y = seen_places(tracks, so_far.detections)
            places = np.column_stack([x, y]) + origin
            places[(tracks.missed_frames > 0) | ~np.isfinite(places).all(axis=1)] = np.nan
            ids = tracks.track_id.astype(np.int64)
            self._listen(tracks, self._place_error.learn(ids, places, elapsed_s))
        same = last is not None and _same_view(frame, last)
        return Scene(frame, elapsed_s, origin, tracks, ids, places, self._noise_px or FIRST_NOISE_PX, same)

    def _listen(self, tracks: Tracks, most_px: float) -> None:
        """Learn the error of a place, slowly: what the tracks tell, or less if they bend less."""
        good = tracks.sigma_px[np.isfinite(tracks.sigma_px) & (tracks.sigma_px > 0) & (tracks.missed_frames == 0)]
        if len(good):
            now = max(min(float(np.median(good)), most_px), LEAST_NOISE_PX)
            self._noise_px += (now - self._noise_px) * (0.02 if self._noise_px else 1.0)

    def _origin(self, frame: Frame) -> Doubles:
        """(2,) specimen coordinates, in sensor pixels, of the frame's top-left pixel."""
        settings = frame.settings
        stage: Doubles = self._px_of_um @ np.array([settings.x_um, settings.y_um])
        origin: Doubles = stage + np.array([settings.roi.x, settings.roi.y])
        return origin


def _affine(setup: Instrument) -> Doubles:
    pixel_um = setup.camera.pixel_size_nm / 1000
    return np.array(setup.stage_affine or ((pixel_um, 0.0), (0.0, pixel_um)))


def _same_view(frame: Frame, last: Frame) -> bool:
    """Whether light at a pixel can be compared; encoders of stages tremble."""
    if Certainty.MIXED in (*frame.certainty.values(), *last.certainty.values()):
        return False
    new, old = frame.settings, last.settings
    moved_um = max(abs(getattr(new, axis) - getattr(old, axis)) for axis in ("x_um", "y_um", "z_um"))
    alike = all(getattr(new, name) == getattr(old, name) for name in ("exposure_ms", "roi", "lights_mw", "pattern"))
    return alike and moved_um <= TREMBLE_UM and frame.pixels.shape == last.pixels.shape


def _watchers(setup: Instrument, per_hour: Mapping[Kind, float]) -> list[Watcher]:
    watchers: list[Watcher] = []
    if "flash" in per_hour:
        watchers.append(Flash(setup, per_hour["flash"]))
    if "arrest" in per_hour:
        watchers.append(Arrest(per_hour["arrest"]))
    if "abnormal" in per_hour:
        watchers.append(Abnormal(per_hour["abnormal"]))
    parting: dict[str, float] = {kind: rate for kind, rate in per_hour.items() if kind in ("fission", "fusion")}
    if parting:
        watchers.append(FissionFusion(setup, parting))
    return watchers
