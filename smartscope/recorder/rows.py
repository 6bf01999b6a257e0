"""How the nouns that travel become rows of JSON and come back exactly the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

import numpy as np
import useq

from smartscope.command import (
    Command,
    EndRun,
    MoveFocus,
    MoveStage,
    RunAutofocus,
    RunPlan,
    SetExposure,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.decision import Decision
from smartscope.errors import InputError
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.image_names import image_name
from smartscope.ports import Delay, DoseState
from smartscope.result import (
    Detections,
    Events,
    Localizations,
    Result,
    Revisions,
    Settled,
    StageTiming,
    SuperResolved,
    Tracks,
    columns_of,
)

Row = dict[str, Any]
Columns = TypeVar("Columns", Detections, Tracks, Revisions, Events)

_COMMANDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (SetExposure, SetLight, MoveStage, MoveFocus, SetRoi, RunAutofocus, SetPreset, EndRun)
}
_NUMBERS = ("exposure_ms", "power_mw", "x_um", "y_um", "z_um")
_FIRST: Mapping[type[Any], str] = {Detections: "x_px", Tracks: "track_id", Revisions: "track_id", Events: "event_id"}
"""A column that each kind of table has had from its beginning."""
_NO_PIXELS = np.empty((0, 0), np.uint16)
_NO_IMAGE = np.empty((0, 0), np.float32)


def without_pixels(frame: Frame) -> Frame:
    """The same frame holding no image memory; what ``frame_from_row`` gives back."""
    return replace(frame, pixels=_NO_PIXELS)


def without_image(fine: SuperResolved) -> SuperResolved:
    """The same verdict holding no image memory; what ``super_resolved_from_row`` gives back."""
    return replace(fine, image=_NO_IMAGE, error_map=None)


def super_resolved_to_row(fine: SuperResolved) -> Row:
    """The verdict on a super-resolved image, and its error map to two digits where there is one."""
    return {
        "scale": fine.scale,
        "verdict": fine.verdict,
        "why": list(fine.why),
        "resolution_nm": fine.resolution_nm,
        "raw_frames": list(fine.raw_frames),
        "preview": fine.preview,
        "settings": None if fine.settings is None else settings_to_row(fine.settings),
        "error_map": None if fine.error_map is None else fine.error_map.astype(float).round(2).tolist(),
    }


def super_resolved_from_row(row: Mapping[str, Any]) -> SuperResolved:
    """The verdict, without image and error map."""
    first, last = row["raw_frames"]
    return SuperResolved(
        image=_NO_IMAGE,
        scale=int(row["scale"]),
        verdict=row["verdict"],
        why=tuple(row["why"]),
        resolution_nm=float(row["resolution_nm"]),
        raw_frames=(int(first), int(last)),
        preview=bool(row["preview"]),
        settings=None if row["settings"] is None else settings_from_row(row["settings"]),
    )


def roi_to_row(roi: Roi) -> list[int]:
    """[x, y, width, height], sensor pixels."""
    return [roi.x, roi.y, roi.width, roi.height]


def settings_to_row(settings: Settings) -> Row:
    """Settings by key."""
    return {
        "exposure_ms": settings.exposure_ms,
        "roi": roi_to_row(settings.roi),
        "lights_mw": dict(settings.lights_mw),
        "x_um": settings.x_um,
        "y_um": settings.y_um,
        "z_um": settings.z_um,
        **({} if settings.pattern is None else {"pattern": settings.pattern}),
    }


def settings_from_row(row: Mapping[str, Any]) -> Settings:
    """Settings from a row that may hold more."""
    return Settings(
        exposure_ms=float(row["exposure_ms"]),
        roi=Roi(*row["roi"]),
        lights_mw={light: float(power_mw) for light, power_mw in row["lights_mw"].items()},
        x_um=float(row["x_um"]),
        y_um=float(row["y_um"]),
        z_um=float(row["z_um"]),
        pattern=row.get("pattern"),
    )


def frame_to_row(frame: Frame) -> Row:
    """Everything about a frame but its pixels; settings stand beside the times."""
    return {
        "index": frame.index,
        "epoch": frame.epoch,
        "number": frame.number,
        "t_start_ns": frame.t_start_ns,
        "t_end_ns": frame.t_end_ns,
        "t_received_ns": frame.t_received_ns,
        "lost_before": frame.lost_before,
        **settings_to_row(frame.settings),
        "certainty": dict(frame.certainty),
    }


def frame_from_row(row: Mapping[str, Any]) -> Frame:
    """The frame, holding no pixels."""
    return Frame(
        pixels=_NO_PIXELS,
        epoch=row["epoch"],
        number=row["number"],
        index=row["index"],
        settings=settings_from_row(row),
        certainty={setting: Certainty(value) for setting, value in row["certainty"].items()},
        t_start_ns=row["t_start_ns"],
        t_end_ns=row["t_end_ns"],
        t_received_ns=row["t_received_ns"],
        lost_before=row["lost_before"],
    )


def command_to_row(command: Command) -> Row:
    """``{"type": "SetExposure", "exposure_ms": …}``."""
    row: Row = {"type": type(command).__name__}
    if isinstance(command, RunPlan):
        lights = {"lights_mw": dict(command.lights_mw)} if command.lights_mw else {}
        return {**row, "name": command.name, "events": [event_to_row(event) for event in command.events], **lights}
    for item in fields(command):
        value = getattr(command, item.name)
        row[item.name] = roi_to_row(value) if isinstance(value, Roi) else value
    return row


def event_to_row(event: useq.MDAEvent) -> Row:
    """An event of a plan; images for an SLM are named by their hash, not repeated."""
    row: Row = event.model_dump(mode="json", exclude_unset=True, exclude={"slm_image"})
    if event.slm_image is not None:
        row["slm_image"] = {
            "data": image_reference(event.slm_image.data),
            **event.slm_image.model_dump(mode="json", exclude={"data"}, exclude_defaults=True),
        }
    return row


def image_reference(data: object) -> object:
    """The name of an image; a single value, or what is a reference already, as it is."""
    image = np.asarray(data)
    return image.item() if image.ndim == 0 else image_name(image)


def as_recorded(command: Command) -> Command:
    """The command as a run's record gives it back: a plan's images are references, and equal ones compare equal."""
    return command_from_row(command_to_row(command)) if isinstance(command, RunPlan) else command


def command_from_row(row: Mapping[str, Any]) -> Command:
    """The command; raises InputError if its type is unknown. The images of a plan are references, never to be shown."""
    values = dict(row)
    if values["type"] == RunPlan.__name__:
        lights_mw = {light: float(power_mw) for light, power_mw in values.get("lights_mw", {}).items()}
        events = tuple(useq.MDAEvent.model_validate(event) for event in values["events"])
        return RunPlan(values["name"], events, lights_mw)
    kind = _COMMANDS.get(values.pop("type"))
    if kind is None:
        raise InputError(
            f"unknown command {row['type']!r}",
            allowed=", ".join(_COMMANDS),
            remedy="read the run with the version of smartscope that wrote it (run.json names it)",
        )
    for name, value in values.items():
        if name == "roi":
            values[name] = Roi(*value)
        elif name in _NUMBERS:
            values[name] = float(value)
    command: Command = kind(**values)
    return command


def decision_to_row(decision: Decision) -> Row:
    """A decision, with the latency that its times give."""
    return {
        "frame": decision.frame,
        "t_ns": decision.t_ns,
        "policy": decision.policy,
        "asked": command_to_row(decision.asked),
        "granted": None if decision.granted is None else command_to_row(decision.granted),
        "clipped_by": decision.clipped_by,
        "why": decision.why,
        "latency_ms": decision.latency_ms,
        "t_exposure_mid_ns": decision.t_exposure_mid_ns,
        "t_received_ns": decision.t_received_ns,
        "t_result_ns": decision.t_result_ns,
        "t_applied_ns": decision.t_applied_ns,
        "shadow": decision.shadow,
    }


def decision_from_row(row: Mapping[str, Any]) -> Decision:
    """The same again (the latency follows from the times)."""
    values = {item.name: row[item.name] for item in fields(Decision)}
    values["asked"] = command_from_row(row["asked"])
    values["granted"] = None if row["granted"] is None else command_from_row(row["granted"])
    return Decision(**values)


def columns_to_row(table: Detections | Tracks | Revisions | Events) -> Row:
    """Each column as a list; a float32 written as its float64 value comes back bit for bit."""
    return {name: getattr(table, name).tolist() for name in columns_of(type(table))}


def columns_from_row(kind: type[Columns], row: Mapping[str, Any]) -> Columns:
    """A table, float32 and int32; columns that the version which wrote the row did not know are zeros."""
    length = len(row[_FIRST[kind]])
    columns: dict[str, Any] = {
        name: np.array(row[name], dtype) if name in row else np.zeros(length, dtype)
        for name, dtype in columns_of(kind).items()
    }
    return kind(**columns)


def told_to_row(result: Result) -> Row:
    """What a tracker and those after it told beside ``tracks``; only what is there."""
    row: Row = {}
    if result.settled is not None:
        row["settled"] = {"frame": result.settled.frame, **columns_to_row(result.settled.tracks)}
    if result.revisions is not None:
        row["revisions"] = columns_to_row(result.revisions)
    if result.events is not None:
        row["events"] = columns_to_row(result.events)
    return row


def settled_from_row(row: Mapping[str, Any]) -> Settled | None:
    """Of a row of results.jsonl; None where it tells none, as do runs of before tracks were settled."""
    found = row.get("settled")
    return None if found is None else Settled(int(found["frame"]), columns_from_row(Tracks, found))


def revisions_from_row(row: Mapping[str, Any]) -> Revisions | None:
    """The same of revisions."""
    return columns_from_row(Revisions, row["revisions"]) if "revisions" in row else None


def events_from_row(row: Mapping[str, Any]) -> Events | None:
    """The same of events."""
    return columns_from_row(Events, row["events"]) if "events" in row else None


def result_to_row(
    result: Result, context_row: Mapping[str, Any] | None = None, molecules: tuple[int, int] | None = None
) -> Row:
    """A result without its images and what they leave, under the index of its frame.

    ``molecules``: number of its first one in localizations.npy, and how many there are; they are too many for JSON.
    """
    row: Row = {
        "frame": result.frame.index,
        "ready_ns": result.ready_ns,
        "quality": dict(result.quality),
        "trust": result.trust,
        "image_trust": result.image_trust,
        "from_image": sorted(result.from_image),
        "why_trust": result.why_trust,
        "timings": [[t.stage, t.started_ns, t.ended_ns, t.outcome, t.why] for t in result.timings],
        "detections": None if result.detections is None else columns_to_row(result.detections),
        "tracks": None if result.tracks is None else columns_to_row(result.tracks),
        **told_to_row(result),
    }
    if molecules is not None:
        row["localizations"] = list(molecules)
    if (fine := result.super_resolved) is not None:
        row["super_resolved"] = super_resolved_to_row(without_image(fine))
    if context_row is not None:
        row["context"] = dict(context_row)
    return row


def result_from_row(row: Mapping[str, Any], frame: Frame, molecules: Localizations | None = None) -> Result:
    """The result about ``frame`` (whose index the row names), without an image.

    ``molecules``: as ``RunReader.localizations`` finds them for this row.
    """
    return Result(
        frame=frame,
        detections=None if row["detections"] is None else columns_from_row(Detections, row["detections"]),
        tracks=None if row["tracks"] is None else columns_from_row(Tracks, row["tracks"]),
        localizations=molecules,
        settled=settled_from_row(row),
        revisions=revisions_from_row(row),
        events=events_from_row(row),
        quality={name: float(value) for name, value in row["quality"].items()},
        trust=float(row["trust"]),
        image_trust=row.get("image_trust"),  # runs of before the image was judged do not say
        from_image=frozenset(row.get("from_image", ())),
        why_trust=row["why_trust"],
        timings=tuple(StageTiming(*timing) for timing in row["timings"]),
        ready_ns=row["ready_ns"],
        super_resolved=super_resolved_from_row(row["super_resolved"]) if "super_resolved" in row else None,
    )


def dose_to_row(dose: DoseState) -> Row:
    """The ledger's answer by key."""
    return asdict(dose)


def dose_from_row(row: Mapping[str, Any]) -> DoseState:
    """The same again; an unlimited budget travels as "Infinity"."""
    return DoseState(
        spent_j_per_cm2=float(row["spent_j_per_cm2"]),
        budget_j_per_cm2=float(row["budget_j_per_cm2"]),
        rate_j_per_cm2_s=float(row["rate_j_per_cm2_s"]),
        per_mw_j_per_cm2_s={light: float(rate) for light, rate in row["per_mw_j_per_cm2_s"].items()},
    )


def delay_to_row(delay: Delay) -> Row:
    """Median and spread by key."""
    return asdict(delay)


def delay_from_row(row: Mapping[str, Any]) -> Delay:
    """The same again."""
    return Delay(median_ms=float(row["median_ms"]), spread_ms=float(row["spread_ms"]))
