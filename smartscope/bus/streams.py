"""What a frame and a result become on the wire: header fields and columnar arrays, stream by stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartscope.bus.messages import VERSION
from smartscope.bus.wire import Arrays
from smartscope.frame import Frame
from smartscope.result import EVENT_KINDS, EVENT_STATUS, Result, SuperResolved, Table, columns_of

_UNITS = {
    "x_px": "px",
    "y_px": "px",
    "z_nm": "nm",
    "size_px": "px",
    "sigma_px": "px",
    "sigma_x_px": "px",
    "sigma_y_px": "px",
    "x_error_px": "px",
    "y_error_px": "px",
    "z_error_nm": "nm",
    "photons": "photons",
    "photons_error": "photons",
    "background": "photons",
    "vx_px_s": "px/s",
    "vy_px_s": "px/s",
    "v_error_px_s": "px/s",
    "diffusion_px2_s": "px^2/s",
    "intensity": "e",
    "age_frames": "frames",
    "missed_frames": "frames",
}

TOPICS: Mapping[str, str] = {
    "raw": "frame.raw",
    "denoised": "frame.denoised",
    "super_resolved": "frame.super_resolved",
    "detections": "detections",
    "localizations": "localizations",
    "tracks": "tracks",
    "settled": "settled",
    "revisions": "revisions",
    "events": "events",
}
"""Each data stream, and the topic it travels under. None begins as another: who asks for one must not get two."""

NOTICES = ("revisions", "events")
"""Streams that are told once, and so not displaced by newer results; they say nothing where nothing happened."""


@dataclass(frozen=True, slots=True)
class Content:
    """One message of a data stream, not yet numbered."""

    type: str
    stream: str
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
            "t_published_ns": t_published_ns,
            **self.fields,
        }


def content_of(stream: str, item: Frame | Result) -> Content | None:
    """What ``stream`` has to say about a frame or a result; None where it says nothing."""
    if isinstance(item, Frame):
        return Content("frame", stream, _acquisition(item), {"image": (item.pixels, "adu")})
    if stream == "denoised" and item.image is not None:
        fields = {**_acquisition(item.frame), **_verdict(item)}
        arrays: Arrays = {"image": (item.image, "adu")}
        if item.residual_map is not None:
            arrays = {**arrays, "residual_map": (item.residual_map, "")}
        return Content("frame", stream, fields, arrays)
    if stream == "super_resolved" and (fine := item.super_resolved) is not None:
        arrays = {"image": (fine.image, "e")}
        if fine.error_map is not None:
            arrays = {**arrays, "error_map": (fine.error_map, "sigma")}
        fields = {**_acquisition(item.frame), **_verdict(item), **_fine(fine)}
        return Content("frame", stream, fields, arrays)
    if (table := _table(stream, item)) is None or (stream in NOTICES and not len(table)):
        return None
    return Content(stream, stream, {**_stamps(item.frame), **_verdict(item), **_about(stream, item)}, _columns(table))


def _table(stream: str, result: Result) -> Table | None:
    if stream == "settled":
        return None if result.settled is None else result.settled.tracks
    tables = {
        "detections": result.detections,
        "localizations": result.localizations,
        "tracks": result.tracks,
        "revisions": result.revisions,
        "events": result.events,
    }
    return tables.get(stream)


def _columns(table: Table) -> Arrays:
    return {name: (getattr(table, name), _UNITS.get(name, "")) for name in columns_of(type(table))}


def _about(stream: str, result: Result) -> dict[str, Any]:
    """What a reader of this table has to know beside its columns."""
    if stream == "settled" and result.settled is not None:
        return {"settled_frame": result.settled.frame}
    return {"kinds": EVENT_KINDS, "statuses": EVENT_STATUS} if stream == "events" else {}


def _verdict(result: Result) -> dict[str, Any]:
    return {
        "t_ready_ns": result.ready_ns,
        "trust": result.trust,
        "image_trust": result.image_trust,
        "from_image": sorted(result.from_image),
        "why_trust": result.why_trust,
        "quality": result.quality,
    }


def _fine(fine: SuperResolved) -> dict[str, Any]:
    return {
        "scale": fine.scale,
        "verdict": fine.verdict,
        "why_verdict": list(fine.why),
        "resolution_nm": fine.resolution_nm,
        "raw_frames": list(fine.raw_frames),
        "preview": fine.preview,
        "exposure_ms": None if fine.settings is None else fine.settings.exposure_ms,
    }


def _stamps(frame: Frame) -> dict[str, Any]:
    return {"frame": frame.index, "t_ns": frame.t_mid_ns, "t_received_ns": frame.t_received_ns}


def _acquisition(frame: Frame) -> dict[str, Any]:
    return {
        **_stamps(frame),
        "t_start_ns": frame.t_start_ns,
        "t_end_ns": frame.t_end_ns,
        "epoch": frame.epoch,
        "number": frame.number,
        "lost_before": frame.lost_before,
        **{field.name: getattr(frame.settings, field.name) for field in dataclasses.fields(frame.settings)},
        "certainty": frame.certainty,
    }
