"""Which messages exist in wire format 1.0 and what each holds; their JSON Schema is the reference for other languages.

Times are nanoseconds of the run's clock: ``t_ns`` when the thing described happened (a frame's exposure mid-point),
``t_published_ns`` when the message left. ``seq`` counts, from 0, what an endpoint had of one type or stream, so a gap
shows a loss: on events and data the messages sent, in replies to ``latest`` the items that the stream has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt
from pydantic.json_schema import models_json_schema

from smartscope.result import EVENT_KINDS, EVENT_STATUS

VERSION = "1.0"
MAX_ARRAYS = 64

Count = Annotated[StrictInt, Field(ge=0)]


class Item(BaseModel):
    """Anything that travels; keys unknown to this version are kept, and ignored."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ArrayInfo(Item):
    """How to read one buffer."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    dtype: Literal["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
    shape: Annotated[tuple[Count, ...], Field(max_length=8)]
    codec: str = "raw"
    """Only ``raw`` in 1.0; the place where a compressed remote stream will say so."""
    units: str = ""


class Header(Item):
    """What every message says first."""

    v: Annotated[str, Field(pattern=r"^\d{1,4}\.\d{1,4}$")]
    type: str
    session: str
    seq: Count
    t_ns: StrictInt
    t_published_ns: StrictInt = 0
    arrays: Annotated[tuple[ArrayInfo, ...], Field(max_length=MAX_ARRAYS)] = ()


class SessionStart(Header):
    """A run begins; payload names it."""

    type: Literal["session.start"]


class SessionEnd(Header):
    """A run ended, and how."""

    type: Literal["session.end"]
    outcome: str = ""
    why: str = ""


class State(Header):
    """What the controller is doing now: ``starting``, ``running``, ``paused``, ``stopping``, ``dark`` …"""

    type: Literal["state"]
    state: str
    why: str = ""


class Configuration(Header):
    """The resolved configuration of the run."""

    type: Literal["config"]


class Decision(Header):
    """One line of the experiment's diary."""

    type: Literal["decision"]
    frame: int = -1
    policy: str = ""
    asked: Any = None
    granted: Any = None
    clipped_by: str = ""
    why: str = ""
    latency_ms: float | None = None
    shadow: bool = False


class Alarm(Header):
    """Something went wrong that a person should know."""

    type: Literal["alarm"]
    what: str
    where: str = ""
    remedy: str = ""


class Heartbeat(Header):
    """Once a second: the bus lives, and this is the newest frame that it has seen."""

    type: Literal["heartbeat"]
    frame: int = -1
    frame_age_ms: float | None = None
    """Since the newest frame was received; None before the first."""
    sent: int = 0
    dropped: int = 0
    rejected: int = 0


class Metrics(Header):
    """The figures of one frame; all optional."""

    type: Literal["metrics"]
    frame: int = -1
    signal_to_noise: float | None = None
    emitters: float | None = None
    """Molecules expected to glow in a frame; these five where single molecules are localised."""
    density_per_um2: float | None = None
    localization_error_nm: float | None = None
    ring_resolution_nm: float | None = None
    localizations: float | None = None
    """Molecules found so far."""
    events: Mapping[str, int] = {}
    """How often each kind of event happened so far; withdrawn ones do not count."""
    exposure_ms: float | None = None
    lights_mw: Mapping[str, float] = {}
    dose_j_per_cm2: float | None = None
    budget_j_per_cm2: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    lost_frames: int | None = None
    """By the camera or the grabber."""
    displaced_frames: int | None = None
    """Not understood because a newer one came."""
    displaced_results: int | None = None
    """Not decided on because a newer one came."""
    mixed_frames: int | None = None
    """A setting changed during the exposure."""
    late_answers: int | None = None
    """Of models, after their deadline."""
    stale_results: int | None = None
    """Too old to drive anything."""
    untrusted_results: int | None = None
    """With a denoised image that could not be trusted."""
    fallback_results: int | None = None
    """That a fall-back had part in."""


class Data(Header):
    """A message with arrays about one frame."""

    stream: str
    frame: int
    t_received_ns: int = 0


class Image(Data):
    """Pixels: array ``image`` (H, W).

    A denoised image that was judged brings ``residual_map`` (2, h, w): what it leaves of the frame in blocks of 16
    pixels, over what noise would leave, as it is and smoothed at the scale of the optics. A super-resolved image is
    ``scale`` times finer, in photo-electrons, with its ``verdict`` and, where it was worked out, ``error_map`` (h, w).
    """

    type: Literal["frame"]


class Detections(Data):
    """Objects of one frame: columns of length N."""

    type: Literal["detections"]


class Localizations(Data):
    """Single molecules of one frame: columns of length N, pixels from the centre of the top-left one."""

    type: Literal["localizations"]


class Tracks(Data):
    """Tracks as they stand after one frame: columns of length N."""

    type: Literal["tracks"]


class Settled(Data):
    """Tracks of an earlier frame whose identities will not change any more: the columns of ``tracks``.

    ``frame`` is the one with which they became known; places are in the pixels of ``settled_frame``.
    """

    type: Literal["settled"]
    settled_frame: int = -1


class Revisions(Data):
    """Identities in ``tracks`` that turned out wrong: columns of length N >= 1, one row for each.

    From ``since_frame`` until the message before this one, what was told as ``track_id`` is ``now_id``, whose mother is
    ``parent_id``.
    """

    type: Literal["revisions"]


class Events(Data):
    """What happened in the specimen: columns of length N >= 1, a row for each event that is new or has changed.

    ``kind`` and ``status`` are indices into ``kinds`` and ``statuses``. Not the events endpoint, whose messages tell
    what the controller does.
    """

    type: Literal["events"]
    kinds: tuple[str, ...] = EVENT_KINDS
    statuses: tuple[str, ...] = EVENT_STATUS


RequestId = StrictInt | StrictFloat | str | None


class Request(BaseModel):
    """A JSON-RPC 2.0 request; parameters by name. Without ``id`` it is carried out and not answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    jsonrpc: Literal["2.0"]
    method: Annotated[str, Field(max_length=64)]
    params: dict[str, Any] = {}
    id: RequestId = None


class RpcError(Item):
    """Why a request was not carried out."""

    code: int
    message: str


class Reply(Item):
    """A JSON-RPC 2.0 reply; exactly one of result and error. ``arrays`` describes the buffers that follow, if any."""

    jsonrpc: Literal["2.0"]
    id: RequestId
    result: Any = None
    error: RpcError | None = None
    arrays: tuple[ArrayInfo, ...] = ()


_EVENTS = (SessionStart, SessionEnd, State, Configuration, Decision, Alarm, Heartbeat, Metrics)
_DATA = (Image, Detections, Localizations, Tracks, Settled, Revisions, Events)


def _type_of(message: type[Header]) -> str:
    return str(get_args(message.model_fields["type"].annotation)[0])


EVENT_TYPES: Mapping[str, type[Header]] = {_type_of(message): message for message in _EVENTS}
MESSAGE_TYPES: Mapping[str, type[Header]] = {**EVENT_TYPES, **{_type_of(message): message for message in _DATA}}


def asyncapi() -> dict[str, Any]:
    """The same as an AsyncAPI 3.0 document: which message travels on which endpoint, and who may send what."""
    models: list[type[BaseModel]] = [*MESSAGE_TYPES.values(), Request, Reply]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    channels = {"events": _EVENTS, "data": _DATA, "control": (Request, Reply), "laser_off": (Request, Reply)}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "smartscope", "version": VERSION, "description": "Multipart ZeroMQ: topic, JSON, buffers."},
        "servers": {
            name: {"host": f"127.0.0.1:{port}", "protocol": "zmq"}
            for name, port in zip(channels, (5601, 5602, 5603, 5604), strict=True)
        },
        "channels": {
            name: {
                "servers": [{"$ref": f"#/servers/{name}"}],
                "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in sent},
            }
            for name, sent in channels.items()
        },
        "operations": {
            name: {
                "action": "send" if name in ("events", "data") else "receive",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in channels
        },
        "components": {
            "messages": {
                model.__name__: {
                    "contentType": "application/json",
                    "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
                }
                for model in models
            },
            "schemas": definitions["$defs"],
        },
    }


def schema() -> dict[str, Any]:
    """JSON Schema of every message, of requests and of replies, under ``$defs`` (``smartscope schema wire``)."""
    models: list[type[BaseModel]] = [*MESSAGE_TYPES.values(), Request, Reply]
    _, definitions = models_json_schema([(model, "validation") for model in models], title=f"smartscope wire {VERSION}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **definitions}
