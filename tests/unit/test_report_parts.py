"""The parts of the report that draw: pictures as PNG, curves with honest axes, ticks and numbers."""

from __future__ import annotations

import math
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.report import png
from smartscope.report.chart import Axis, Curve, chart, decimated, number, ticks
from smartscope.report.series import Series
from smartscope.report.summary import percent


def _decoded(data: bytes) -> np.ndarray:
    """A grey PNG read by the book: signature, chunks with checksums, filters 0 (none) and 2 (up)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    image = np.zeros((height, width), np.uint8)
    for y in range(height):
        assert rows[y, 0] in (0, 2)
        image[y] = rows[y, 1:] + (image[y - 1] if rows[y, 0] == 2 and y else 0)
    return image


@pytest.mark.parametrize("kind", ["noise", "smooth", "one pixel"])
def test_png_comes_back(kind: str) -> None:
    images = {
        "noise": np.random.default_rng(0).integers(0, 256, (40, 61)).astype(np.uint8),
        "smooth": np.add.outer(np.arange(90), np.arange(80)).astype(np.uint8),
        "one pixel": np.array([[200]], np.uint8),
    }
    assert np.array_equal(_decoded(png.encode(images[kind])), images[kind])


def test_smooth_pictures_are_small() -> None:
    smooth = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8)
    assert len(png.encode(smooth)) < 2000


def test_contrast() -> None:
    image = np.array([[0, 10, 20, 30]], np.float32)
    assert png.stretched(image, 10, 20).tolist() == [[0, 0, 255, 255]]
    assert png.stretched(image, 10, 10).tolist() == [[0, 0, 0, 0]]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_few_and_within(low: float, span: float, most: int) -> None:
    high = low + span
    if high <= low:
        return
    found = ticks(low, high, most)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * span - 1e-9 <= t <= high + 1e-6 * span + 1e-9 for t in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-2.5, "−2.5"), (1234.6, "1,235"), (0.01234, "0.0123"), (9.96, "9.96"), (math.inf, "inf")],
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_percent_is_never_rounded_up_to_all() -> None:
    assert [percent(share) for share in (0.0, 0.5, 0.99951, 0.999999, 1.0)] == [
        "0 %",
        "50 %",
        "99.9 %",
        "99.9 %",
        "100 %",
    ]


@given(st.integers(1, 5000), st.integers(0, 2**31))
def test_decimation_keeps_every_peak_and_both_ends(n: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    series = Series(np.sort(chance.uniform(0, 10, n)), chance.normal(size=n))
    few = decimated(series, 50)
    assert len(few) <= max(200, min(n, 200))
    assert few.value.max() == series.value.max()
    assert few.value.min() == series.value.min()
    assert (few.t_s[0], few.t_s[-1]) == (series.t_s[0], series.t_s[-1])
    assert np.all(np.diff(few.t_s) >= 0)


def test_a_hundred_thousand_points_stay_small() -> None:
    t = np.linspace(0, 1000, 100_000)
    html = chart(Axis("x", "ms"), [Curve("a", Series(t, np.random.default_rng(0).normal(5, 1, t.size)), 0)])
    assert len(html) < 40_000


def test_axes_begin_at_zero_and_reach_the_goal() -> None:
    html = chart(Axis("Dose", "J/cm²", 60.0, "budget", 0.1), [Curve("", Series(np.arange(5.0), np.ones(5)), 0)])
    labels = re.findall(r'text-anchor="end">([\d.]+)<', html)
    assert (labels[0], labels[-1]) == ("0", "60")
    assert 'class="band"' in html
    assert "budget" in html


def test_a_spike_is_told_instead_of_flattening_the_rest() -> None:
    values = np.ones(1000)
    values[500] = 3012.0
    html = chart(Axis("Latency", "ms"), [Curve("all", Series(np.arange(1000.0), values), 0)])
    assert "1 of 1,000 values lie above the axis, up to 3,012 ms" in html


def test_nothing_to_show_and_hardly_anything() -> None:
    nothing = Series(np.empty(0), np.empty(0))
    assert chart(Axis("x", ""), [Curve("a", nothing, 0)]) == ""
    assert "<svg" in chart(Axis("x", ""), [Curve("a", Series(np.zeros(1), np.zeros(1)), 0)])
    assert "h0" in chart(Axis("x", ""), [Curve("a", Series(np.arange(3.0), np.arange(3.0)), 0, points=True)])
