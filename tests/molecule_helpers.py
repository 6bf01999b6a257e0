"""Molecules that blink, as a localiser would report them; and the frames and tables that models are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from smartscope.frame import Frame, Roi, Settings
from smartscope.result import Localizations, Result, empty_localizations
from smartscope_models.localization.molecules import Molecules

PIXEL_NM = 100.0


def blinking(
    seed: int,
    starts_ms: np.ndarray,
    *,
    exposure_ms: float = 20.0,
    on_time_ms: float = 30.0,
    per_second: float = 600.0,
    sites_nm: np.ndarray | None = None,
    field_nm: float = 6400.0,
    error_nm: float = 10.0,
    missed: float = 0.0,
    seen_from: float = 0.15,
) -> Iterator[Molecules]:
    """Frame by frame: exponential times on, anywhere in time; one on for less than ``seen_from`` frames is not found.

    Sites (K, 2) are drawn anew for each blink; without them each blink has a place of its own.
    """
    rng = np.random.default_rng(seed)
    span_ms = starts_ms[-1] + exposure_ms
    count = rng.poisson(per_second * span_ms / 1e3)
    begin = np.sort(rng.uniform(-5 * on_time_ms, span_ms, count))
    end = begin + rng.exponential(on_time_ms, count)
    place = (
        rng.uniform(0, field_nm, (count, 2)) if sites_nm is None else sites_nm[rng.integers(0, len(sites_nm), count)]
    )
    for start in starts_ms:
        lately = slice(*np.searchsorted(begin, (start - 15 * on_time_ms, start + exposure_ms)))
        share = (np.minimum(end[lately], start + exposure_ms) - np.maximum(begin[lately], start)) / exposure_ms
        seen = np.flatnonzero((share > seen_from) & (rng.random(len(share)) >= missed))
        error = error_nm / np.sqrt(share[seen])
        seen += lately.start
        x, y = (place[seen, axis] + rng.normal(0, error) for axis in (0, 1))
        yield Molecules((start + exposure_ms / 2) / 1e3, x, y, error)


def even(frames: int, interval_ms: float = 20.0) -> np.ndarray:
    """Starts of exposures at an even pace, ms."""
    return np.arange(frames) * interval_ms


def moved(found: Molecules, dx_nm: float, dy_nm: float) -> Molecules:
    """The same, elsewhere."""
    return replace(found, x_nm=found.x_nm + dx_nm, y_nm=found.y_nm + dy_nm)


def without_any(found: Molecules) -> Molecules:
    """A frame at the same time in which there is nothing."""
    return Molecules(found.t_s, np.empty(0), np.empty(0), np.empty(0))


def table(found: Molecules) -> Localizations:
    """As a localiser reports them."""

    def column(value: np.ndarray | float) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, np.float32), len(found)).copy()

    error_px = column(found.error_nm / PIXEL_NM)
    return replace(
        empty_localizations(),
        **{name: column(0.0) for name in ("z_nm", "z_error_nm")},
        **{name: column(1.3) for name in ("sigma_x_px", "sigma_y_px")},
        **{name: column(1.0) for name in ("probability", "misfit")},
        x_px=column(found.x_nm / PIXEL_NM - 0.5),
        y_px=column(found.y_nm / PIXEL_NM - 0.5),
        x_error_px=error_px,
        y_error_px=error_px,
        photons=column(1000.0),
        photons_error=column(40.0),
        background=column(10.0),
    )


def result(index: int, found: Molecules, edge_px: int = 64, x_um: float = 0.0, **quality: float) -> Result:
    """What the localiser says of a dark frame of 20 ms in which these were found."""
    settings = Settings(20.0, Roi(0, 0, edge_px, edge_px), {"laser": 1.0}, x_um=x_um)
    middle_ns = round(found.t_s * 1e9)
    pixels = np.zeros((edge_px, edge_px), np.uint16)
    frame = Frame(pixels, 0, index, index, settings, {}, middle_ns - 10_000_000, middle_ns + 10_000_000, middle_ns)
    return Result(frame, localizations=table(found), quality=quality)
