"""Frames and results become headers that the wire format accepts, with every column and its unit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from track_helpers import KNOWN, LAG, told

from smartscope.bus.messages import MESSAGE_TYPES, asyncapi, schema
from smartscope.bus.streams import TOPICS, content_of
from smartscope.bus.wire import decode, encode
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.result import (
    EVENT_KINDS,
    EVENT_STATUS,
    Detections,
    Events,
    Localizations,
    Result,
    Revisions,
    Settled,
    Tracks,
    columns_of,
    empty_detections,
    empty_events,
    empty_localizations,
    empty_revisions,
    empty_tracks,
)

SETTINGS = Settings(12.5, Roi(1, 2, 4, 3), {"laser": 2.0}, x_um=1.0)
FRAME = Frame(
    np.arange(12, dtype=np.uint16).reshape(3, 4), 2, 7, 9, SETTINGS, {"xy": Certainty.MIXED}, 1000, 2000, 3000, 1
)
FLOATS = np.array([1.5, 2.5], np.float32)
INTS = np.array([1, 2], np.int32)
DETECTIONS = Detections(FLOATS, FLOATS, FLOATS, FLOATS, INTS)
TRACKS = Tracks(INTS, INTS, *[FLOATS] * 8, INTS, INTS, FLOATS, FLOATS, INTS)
LOCALIZATIONS = Localizations(*(FLOATS + n for n in range(13)))
RESULT = dataclasses.replace(
    Result(FRAME, np.ones((3, 4), np.float32), DETECTIONS, TRACKS, {"signal_to_noise": 9.0}, 0.5, "dim", (), 4000),
    localizations=LOCALIZATIONS,
)


def test_an_image_carries_its_times_and_the_settings_it_was_taken_with() -> None:
    content = content_of("raw", FRAME)
    assert content is not None
    topic, header, arrays = decode(encode(content.header("S", 5, 6000), content.arrays))
    assert topic == "frame.raw"
    expected = {
        "stream": "raw", "session": "S", "seq": 5, "frame": 9, "t_ns": 1500, "t_start_ns": 1000, "t_end_ns": 2000,
        "t_received_ns": 3000, "t_published_ns": 6000, "exposure_ms": 12.5, "lights_mw": {"laser": 2.0}, "x_um": 1.0,
        "roi": {"x": 1, "y": 2, "width": 4, "height": 3}, "certainty": {"xy": "mixed"}, "epoch": 2, "number": 7,
        "lost_before": 1,
    }  # fmt: skip
    assert expected.items() <= header.model_dump().items()
    np.testing.assert_array_equal(arrays["image"], FRAME.pixels)


@pytest.mark.parametrize("stream", ["denoised", "detections", "localizations", "tracks"])
def test_a_result_says_how_far_to_trust_it(stream: str) -> None:
    content = content_of(stream, RESULT)
    assert content is not None
    topic, header, _ = decode(encode(content.header("S", 0, 6000), content.arrays))
    assert topic == TOPICS[stream]
    said = header.model_dump()
    assert (said["trust"], said["why_trust"], said["quality"]) == (0.5, "dim", {"signal_to_noise": 9.0})
    assert said["t_ready_ns"] == 4000
    assert (said["image_trust"], said["from_image"]) == (None, [])


def test_a_judged_image_brings_what_it_leaves() -> None:
    left = np.ones((2, 1, 1), np.float32)
    judged = dataclasses.replace(RESULT, image_trust=0.25, residual_map=left, from_image=frozenset({"tracks", "image"}))
    content = content_of("denoised", judged)
    assert content is not None
    _, header, arrays = decode(encode(content.header("S", 0, 6000), content.arrays))
    said = header.model_dump()
    assert (said["image_trust"], said["from_image"]) == (0.25, ["image", "tracks"])
    assert list(arrays) == ["image", "residual_map"]
    np.testing.assert_array_equal(arrays["residual_map"], left)


@pytest.mark.parametrize("table", [DETECTIONS, LOCALIZATIONS, TRACKS])
def test_tables_travel_as_columns_with_units(table: Detections | Localizations | Tracks) -> None:
    stream = type(table).__name__.lower()
    content = content_of(stream, RESULT)
    assert content is not None
    _, header, arrays = decode(encode(content.header("S", 0, 0), content.arrays))
    assert list(arrays) == [field.name for field in dataclasses.fields(table)]
    for name, column in arrays.items():
        np.testing.assert_array_equal(column, getattr(table, name))
    units = {info.name: info.units for info in header.arrays}
    assert units["x_px"] == "px"
    if isinstance(table, Localizations):
        assert units == {
            **dict.fromkeys(("x_px", "y_px", "sigma_x_px", "sigma_y_px", "x_error_px", "y_error_px"), "px"),
            **dict.fromkeys(("z_nm", "z_error_nm"), "nm"),
            **dict.fromkeys(("photons", "photons_error", "background"), "photons"),
            **dict.fromkeys(("probability", "misfit"), ""),
        }
    else:
        assert units["intensity"] == "e"
        assert units["label"] == ""


def test_empty_tables_travel_and_missing_ones_say_nothing() -> None:
    tables = {"detections": empty_detections(), "localizations": empty_localizations(), "tracks": empty_tracks()}
    for stream in tables:
        content = content_of(stream, dataclasses.replace(Result(FRAME), **tables))
        assert content is not None
        _, _, arrays = decode(encode(content.header("S", 0, 0), content.arrays))
        assert {len(column) for column in arrays.values()} == {0}
    for stream in ("denoised", *tables):
        assert content_of(stream, Result(FRAME)) is None


def test_every_stream_has_a_message_in_the_schema() -> None:
    names = {topic.partition(".")[0] for topic in TOPICS.values()}
    assert names <= set(MESSAGE_TYPES)
    new = {"Localizations", "Settled", "Revisions", "Events"}
    assert new <= set(schema()["$defs"])
    assert new <= set(asyncapi()["channels"]["data"]["messages"])
    assert new <= set(asyncapi()["components"]["schemas"])


def test_who_subscribes_to_one_stream_gets_no_other() -> None:
    """A subscription is the beginning of a topic: a client of before tracks were settled must not be told of them."""
    for topic in TOPICS.values():
        assert [other for other in TOPICS.values() if other.startswith(topic)] == [topic]


@st.composite
def columns(draw: st.DrawFn, kind: type[Any]) -> Any:
    length = draw(st.integers(1, 5))
    return kind(**{name: draw(hnp.arrays(dtype, length)) for name, dtype in columns_of(kind).items()})


@given(columns(Tracks), columns(Revisions), columns(Events), st.integers(0, 9))
def test_what_a_tracker_tells_travels_bit_for_bit(
    tracks: Tracks, revisions: Revisions, events: Events, settled_frame: int
) -> None:
    result = Result(FRAME, settled=Settled(settled_frame, tracks), revisions=revisions, events=events)
    for stream, table in (("settled", tracks), ("revisions", revisions), ("events", events)):
        content = content_of(stream, result)
        assert content is not None
        topic, header, arrays = decode(encode(content.header("S", 0, 0), content.arrays))
        assert (topic, header.type) == (stream, stream)
        assert list(arrays) == list(columns_of(type(table)))
        for name, column in arrays.items():
            assert column.dtype == getattr(table, name).dtype
            assert column.tobytes() == getattr(table, name).tobytes()


def test_a_settled_frame_is_named_and_events_say_what_their_numbers_mean() -> None:
    result = told(dataclasses.replace(RESULT, frame=dataclasses.replace(FRAME, index=7)))
    settled, events = content_of("settled", result), content_of("events", result)
    assert settled is not None
    assert events is not None
    assert (settled.header("S", 0, 0)["frame"], settled.fields["settled_frame"]) == (7, 7 - LAG)
    assert (events.fields["kinds"], events.fields["statuses"]) == (EVENT_KINDS, EVENT_STATUS)
    units = {name: unit for name, (_, unit) in settled.arrays.items()}
    assert (units["v_error_px_s"], units["diffusion_px2_s"], units["steady"]) == ("px/s", "px^2/s", "")


def test_where_nothing_happened_nothing_is_said() -> None:
    quiet = dataclasses.replace(RESULT, revisions=empty_revisions(), events=empty_events())
    assert content_of("revisions", quiet) is content_of("events", quiet) is None
    revised = content_of("revisions", told(dataclasses.replace(RESULT, frame=dataclasses.replace(FRAME, index=KNOWN))))
    assert revised is not None
    assert [column.tolist() for column, _ in revised.arrays.values()] == [[6], [5], [4], [-1]]
