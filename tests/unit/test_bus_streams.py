"""Frames and results become headers that the wire format accepts, with every column and its unit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from smartscope.bus.messages import MESSAGE_TYPES, schema
from smartscope.bus.streams import TOPICS, content_of
from smartscope.bus.wire import decode, encode
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.result import (
    Detections,
    Localizations,
    Result,
    Tracks,
    empty_detections,
    empty_localizations,
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
    assert "Localizations" in schema()["$defs"]
