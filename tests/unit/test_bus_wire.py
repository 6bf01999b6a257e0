"""Messages survive the trip through bytes exactly, and nothing malformed passes for a message."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smartscope.bus import wire
from smartscope.bus.messages import EVENT_TYPES, MAX_ARRAYS, MESSAGE_TYPES, Decision, Header, asyncapi
from smartscope.errors import BusError

HEADER: dict[str, Any] = {"v": "1.0", "type": "state", "session": "S", "seq": 0, "t_ns": 5, "state": "running"}
FRAME: dict[str, Any] = {
    "v": "1.0",
    "type": "frame",
    "stream": "raw",
    "session": "01J",
    "seq": 7,
    "frame": 9,
    "t_ns": 1000,
    "t_received_ns": 2000,
    "t_published_ns": 3000,
    "exposure_ms": 12.5,
}
DTYPES = ["<u2", ">u2", "<f4", ">f8", "|u1", "<i4", "|b1"]

text = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(
    extra=st.dictionaries(st.text("abc", min_size=3), json_values), content=st.dictionaries(names, arrays, max_size=4)
)
def test_round_trip_keeps_every_key_and_every_bit(extra: dict[str, Any], content: dict[str, Any]) -> None:
    sent = {name: (array, "adu") for name, array in content.items()}
    topic, header, received = wire.decode(wire.encode({**FRAME, **extra}, sent))
    assert topic == "frame.raw"
    assert {**FRAME, **extra}.items() <= header.model_dump().items()
    assert list(received) == list(content)
    for name, array in content.items():
        assert received[name].dtype == array.dtype.newbyteorder("<")
        assert received[name].shape == array.shape
        np.testing.assert_array_equal(received[name], array)
        assert received[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_transcript_of_an_image() -> None:
    image = np.array([[1, 2, 3], [4, 5, 258]], ">u2")
    assert wire.encode(FRAME, {"image": (image, "adu")}) == [
        b"frame.raw",
        b'{"v":"1.0","type":"frame","stream":"raw","session":"01J","seq":7,"frame":9,"t_ns":1000,"t_received_ns":2000,'
        b'"t_published_ns":3000,"exposure_ms":12.5,"arrays":[{"name":"image","dtype":"<u2","shape":[2,3],"codec":"raw",'
        b'"units":"adu"}]}',
        b"\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x02\x01",
    ]


def test_transcript_of_an_event() -> None:
    header = {
        **HEADER,
        "type": "decision",
        "frame": 3,
        "asked": {"exposure_ms": np.float32(14)},
        "why": "clipped by dose",
    }
    assert wire.encode(header) == [
        b"decision",
        b'{"v":"1.0","type":"decision","session":"S","seq":0,"t_ns":5,"state":"running","frame":3,'
        b'"asked":{"exposure_ms":14.0},"why":"clipped by dose"}',
    ]


def test_what_json_cannot_say_is_null() -> None:
    [_, text] = wire.encode({**HEADER, "nan": np.nan, "infinite": np.inf, "numbers": np.arange(2)})
    assert json.loads(text) == {**HEADER, "nan": None, "infinite": None, "numbers": [0, 1]}


def test_a_later_minor_version_is_read_and_its_new_keys_and_types_are_passed_on() -> None:
    _, header, _ = wire.decode(wire.encode({**HEADER, "v": "1.9", "type": "weather", "rain_mm": 3}))
    assert type(header) is Header
    assert header.model_dump()["rain_mm"] == 3
    _, known, _ = wire.decode(wire.encode({**HEADER, "v": "1.9", "type": "decision", "mood": "good"}))
    assert isinstance(known, Decision)


@pytest.mark.parametrize("version", ["2.0", "0.9", "11.0"])
def test_another_major_version_is_refused(version: str) -> None:
    with pytest.raises(BusError, match="wire version"):
        wire.decode([b"state", wire.dump({**HEADER, "v": version})])


INFO = {"name": "image", "dtype": "<u2", "shape": [2, 2], "codec": "raw", "units": ""}
MALFORMED = {
    "no parts": ([], "0 parts"),
    "topic alone": ([b"state"], "1 parts"),
    "too many parts": ([b""] * (MAX_ARRAYS + 3), "67 parts"),
    "long topic": ([b"x" * 257, b"{}"], "257 bytes"),
    "long header": ([b"state", b" " * (wire.MAX_HEADER_BYTES + 1)], "1048577 bytes"),
    "not JSON": ([b"state", b"{"], "not JSON"),
    "JSON bomb": ([b"state", b"[" * 100_000], "not JSON"),
    "pickle": ([b"state", b"\x80\x04."], "not JSON"),
    "not an object": ([b"state", b"[1]"], "not a JSON object"),
    "no version": ([b"state", wire.dump({**HEADER, "v": None})], "header.v"),
    "negative seq": ([b"state", wire.dump({**HEADER, "seq": -1})], "header.seq"),
    "state missing": ([b"state", wire.dump({**HEADER, "state": None})], "header.state"),
    "topic not text": ([b"\xff", wire.dump(HEADER)], "UTF-8"),
    "buffer missing": ([b"f", wire.dump({**FRAME, "arrays": [INFO]})], "0 buffers for 1"),
    "buffer too many": ([b"f", wire.dump(FRAME), b""], "1 buffers for 0"),
    "buffer short": ([b"f", wire.dump({**FRAME, "arrays": [INFO]}), b"1234567"], "7 bytes"),
    "same name twice": ([b"f", wire.dump({**FRAME, "arrays": [INFO, INFO]}), b"12345678", b"12345678"], "one name"),
    "codec": ([b"f", wire.dump({**FRAME, "arrays": [{**INFO, "codec": "jpeg"}]}), b"12345678"], "codec 'jpeg'"),
    "objects": ([b"f", wire.dump({**FRAME, "arrays": [{**INFO, "dtype": "|O"}]}), b"12345678"], "arrays.0.dtype"),
    "negative shape": ([b"f", wire.dump({**FRAME, "arrays": [{**INFO, "shape": [-2, -2]}]}), b"12345678"], "shape"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_messages_are_refused_with_the_reason(case: str) -> None:
    parts, reason = MALFORMED[case]
    with pytest.raises(BusError, match=reason):
        wire.decode(parts)


@given(st.lists(st.binary(max_size=64), max_size=5))
def test_noise_is_refused_or_harmless(parts: list[bytes]) -> None:
    with pytest.raises(BusError):
        wire.decode(parts)


def test_oversized_buffers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BUFFER_BYTES", 7)
    with pytest.raises(BusError, match="8 bytes"):
        wire.encode(FRAME, {"image": (np.zeros(4, "<u2"), "")})


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({**HEADER, "thing": object()}, None),
        ({**HEADER, "text": "\ud800"}, None),
        (FRAME, {"image": (np.zeros(2, complex), "")}),
        (FRAME, {"image": (np.array([None]), "")}),
    ],
)
def test_what_has_no_place_on_the_wire_is_not_sent(fields: dict[str, Any], content: Any) -> None:
    with pytest.raises(BusError):
        wire.encode(fields, content)


def test_schema_names_every_message_and_describes_what_is_sent() -> None:
    schema = wire.schema()
    assert {model.__name__ for model in MESSAGE_TYPES.values()} | {"Request", "Reply"} <= schema["$defs"].keys()
    assert schema["$defs"]["Image"]["properties"]["type"]["const"] == "frame"
    told = {"frame", "detections", "localizations", "tracks", "settled", "revisions", "events"}
    assert set(EVENT_TYPES) | told == set(MESSAGE_TYPES)
    json.dumps(schema)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert len(references) > 30
    for reference in references:
        place: Any = document
        for step in reference.split("/"):
            place = place[step]
        assert place


def test_no_file_of_the_bus_unpickles() -> None:
    for path in Path(wire.__file__).parent.glob("*.py"):
        assert "import pickle" not in path.read_text(encoding="utf-8")
