"""What a frame and a result become on the wire: header fields and columnar arrays, stream by stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from smartscope.bus.messages import VERSION
from smartscope.bus.wire import Arrays
from smartscope.frame import Frame
from smartscope.result import Detections, Result, Tracks

_UNITS = {
    "x_px": "px",
    "y_px": "px",
    "size_px": "px",
    "sigma_px": "px",
    "vx_px_s": "px/s",
    "vy_px_s": "px/s",
    "intensity": "e",
    "age_frames": "frames",
    "missed_frames": "frames",
}


@dataclass(frozen=True, slots=True)
class Content:
    """One message of a data stream, not yet numbered."""

    type: str
    stream: str
    frame: Frame
    fields: Mapping[str, Any]
    arrays: Arrays

    def header(self, session: str, seq: int, t_published_ns: int) -> dict[str, Any]:
        """The header without its ``arrays`` entry."""
        return {
            "v": VERSION,
            "type": self.type,
            "stream": self.stream,
            "session": session,
            "seq": seq,
            "frame": self.frame.index,
            "t_ns": self.frame.t_mid_ns,
            "t_received_ns": self.frame.t_received_ns,
            "t_published_ns": t_published_ns,
            **self.fields,
        }


def raw(frame: Frame) -> Content:
    """The camera's pixels."""
    return Content("frame", "raw", frame, _acquisition(frame), {"image": (frame.pixels, "adu")})


def denoised(result: Result) -> Content | None:
    """The processed image."""
    if result.image is None:
        return None
    fields = {**_acquisition(result.frame), **_verdict(result)}
    return Content("frame", "denoised", result.frame, fields, {"image": (result.image, "adu")})


def detections(result: Result) -> Content | None:
    """The objects found."""
    return _table("detections", result, result.detections)


def tracks(result: Result) -> Content | None:
    """The objects followed."""
    return _table("tracks", result, result.tracks)


FROM_RESULT: Mapping[str, Callable[[Result], Content | None]] = {
    "denoised": denoised,
    "detections": detections,
    "tracks": tracks,
}
STREAMS = ("raw", *FROM_RESULT)


def _table(name: str, result: Result, table: Detections | Tracks | None) -> Content | None:
    if table is None:
        return None
    columns = [field.name for field in dataclasses.fields(table)]
    arrays = {column: (getattr(table, column), _UNITS.get(column, "")) for column in columns}
    return Content(name, name, result.frame, _verdict(result), arrays)


def _verdict(result: Result) -> dict[str, Any]:
    return {
        "t_ready_ns": result.ready_ns,
        "trust": result.trust,
        "why_trust": result.why_trust,
        "quality": result.quality,
    }


def _acquisition(frame: Frame) -> dict[str, Any]:
    return {
        "t_start_ns": frame.t_start_ns,
        "t_end_ns": frame.t_end_ns,
        "epoch": frame.epoch,
        "number": frame.number,
        "lost_before": frame.lost_before,
        **{field.name: getattr(frame.settings, field.name) for field in dataclasses.fields(frame.settings)},
        "certainty": frame.certainty,
    }
