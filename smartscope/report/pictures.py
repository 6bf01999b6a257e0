"""The pictures of a run: raw beside denoised, the last objects found, and the way of the field of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.frame import Settings
from smartscope.recorder.jsonl import Row
from smartscope.recorder.rows import settings_from_row
from smartscope.recorder.tables import Geometry
from smartscope.report import png
from smartscope.report.chart import number, ticks
from smartscope.report.following import Followed
from smartscope.report.record import Image, Record, ResultRow, read_image
from smartscope.result import RESIDUAL_BLOCK_PX

MOST_PX = 512
"""Pictures are cut to so many pixels in the middle."""
MOST_TRACKS = 150
TRAIL_ROWS = 60
MAP_ROWS = 1500
HUES = 8
"""Colours that tracks take in turn."""

MOST_LEFT = 3.0
"""Shown white: residuals of three times the noise's."""

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where pixels are in the specimen."""

    geometry: Geometry

    @property
    def pixel_um(self) -> float:
        """Size of a pixel in the specimen."""
        return self.geometry.pixel_size_um

    def place(self, settings: Settings, x_px: Any, y_px: Any) -> tuple[Any, Any]:
        """Pixels of a frame → um."""
        return self.geometry.place_um(settings, np.asarray(x_px, float), np.asarray(y_px, float))

    def matrix(self, settings: Settings) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(2, 2) um per pixel, and the place (2,) of pixel (0, 0)."""
        x, y = self.place(settings, [0, 1, 0], [0, 0, 1])
        places = np.stack([x, y])
        return places[:, 1:] - places[:, :1], places[:, 0]

    def pixels(self, settings: Settings, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(2, N) um → pixels of a frame."""
        per_px, origin = self.matrix(settings)
        return np.asarray(np.linalg.solve(per_px, places - origin[:, None]), np.float64)


def scene(record: Record) -> Scene:
    """From the configuration of the run; pixels of 0.1 um where it says nothing."""
    microscope: Mapping[str, Any] = record.config.get("microscope", {})
    pixel_um = float(microscope.get("camera", {}).get("pixel_size_nm", 100.0)) / 1000
    sensor, affine = microscope.get("sensor"), microscope.get("stage", {}).get("affine_um_per_px")
    if sensor is None or affine is None:
        return Scene(Geometry(pixel_um))
    (a, b), (c, d) = affine
    return Scene(Geometry(pixel_um, (int(sensor[0]), int(sensor[1])), ((a, b), (c, d))))


def raw_beside_denoised(record: Record) -> str:
    """The same frame twice at the same contrast: that of the denoised image."""
    for row in reversed(record.processed):
        frame_row = record.frame_row(row["frame"])
        raw = read_image(record, frame_row) if frame_row else None
        denoised = read_image(record, row)
        if frame_row is None or raw is None or denoised is None or raw.shape != denoised.shape:
            continue
        raw, denoised = middle(raw), middle(denoised)
        low, high = contrast(denoised)
        pixel_um = scene(record).pixel_um
        settings = f"frame {row['frame']:,}, {number(frame_row['exposure_ms'])} ms"
        return (
            picture(raw, low, high, pixel_um, "Raw", settings)
            + picture(
                denoised, low, high, pixel_um, "Denoised", f"same frame, same contrast ({low:.0f} to {high:.0f} ADU)"
            )
            + _left(row, pixel_um)
        )
    return ""


def raw_beside_super_resolved(record: Record) -> str:
    """The middle of the last raw frame of a stack and of the image made from it, with its verdict."""
    for row in reversed(record.super_resolved):
        frame_row = record.frame_row(row["frame"])
        raw = read_image(record, frame_row) if frame_row else None
        fine = read_image(record, row)
        if raw is None or fine is None:
            continue
        pixel_um = scene(record).pixel_um
        scale = int(row["scale"])
        edge = min(*raw.shape, MOST_PX // scale)
        raw, fine = middle(raw, edge), middle(fine, scale * edge)
        said = f"{row['verdict']}, expected resolution {row['resolution_nm']:.0f} nm"
        if row["why"]:
            said += f": {row['why'][0]}"
        title = "Preview" if row["preview"] else "Super-resolved"
        frames = f"frame {row['frame']:,}, the last of its stack"
        return picture(raw, *contrast(raw), pixel_um, "Raw, patterned", frames) + picture(
            fine, *contrast(fine), pixel_um / scale, title, said
        )
    return ""


def _left(row: Row, pixel_um: float) -> str:
    """What the denoised image leaves of structure, block by block."""
    if not (residual_map := row.get("residual_map")):
        return ""
    structure = np.array(residual_map[1], np.float32)
    said = f"structure removed or invented, over noise: black 0, white {MOST_LEFT:g}; at most {structure.max():.2g}"
    return picture(structure, 0.0, MOST_LEFT, RESIDUAL_BLOCK_PX * pixel_um, "Left by the denoiser", said)


def last_objects(record: Record, target: Sequence[Followed]) -> str:
    """The last recorded frame with tracks: what was found, which way each came."""
    rows = [row for row in record.results if row.tracks is not None and len(row.tracks)]
    for row in rows[: -TRAIL_ROWS - 1 : -1]:
        frame_row = record.frame_row(row.frame)
        image = read_image(record, frame_row) if frame_row else None
        if frame_row is None or image is None or row.tracks is None:
            continue
        settings, here = settings_from_row(frame_row), scene(record)
        followed = {entry.track_id for entry in target if entry.frame == row.frame}
        trails = _trails(record, rows[max(0, rows.index(row) - TRAIL_ROWS) : rows.index(row) + 1], here)
        drawn = []
        for track_id, places in list(trails.items())[:MOST_TRACKS]:
            kind = "target" if track_id in followed else f"h{track_id % HUES}"
            drawn.append(f'<path class="trail {kind}" d="{_path(here.pixels(settings, places))}"/>')
        tracks = row.tracks
        for i in np.flatnonzero(tracks.missed_frames == 0).tolist():
            track_id, radius = int(tracks.track_id[i]), max(float(tracks.size_px[i]), image.shape[1] / 100)
            kind = "target" if track_id in followed else f"h{track_id % HUES}"
            place = f'cx="{tracks.x_px[i]:.1f}" cy="{tracks.y_px[i]:.1f}" r="{radius:.1f}"'
            drawn.append(f'<circle class="object {kind}" {place}><title>track {track_id}</title></circle>')
        found = f"{len(row.detections):,} detections, " if row.detections is not None else ""
        said = f"frame {row.frame:,}: {found}{len(tracks):,} tracks"
        said += ", the target in white" if followed else ""
        return picture(image, *contrast(image), here.pixel_um, "Last objects", said, "".join(drawn), cut=False)
    return ""


def specimen_map(record: Record, target: Sequence[Followed]) -> str:
    """Path of the field of view over the specimen, with all tracks, in um of the stage."""
    if not record.frames:
        return ""
    here = scene(record)
    first, last = settings_from_row(record.frames[0]), settings_from_row(record.frames[-1])
    rows = record.results[:: max(1, len(record.results) // MAP_ROWS)]
    trails = _trails(record, rows, here)
    longest = sorted(trails.items(), key=lambda item: -item[1].shape[1])[:MOST_TRACKS]
    fields = [_corners(settings, here) for settings in (first, last)]
    steps = record.frames[:: max(1, len(record.frames) // MAP_ROWS)]
    view = np.concatenate([_corners(settings_from_row(row), here).mean(axis=1, keepdims=True) for row in steps], axis=1)
    drawn = [_underlay(record, here)]
    drawn += [f'<path class="trail h{track_id % HUES}" d="{_path(places)}"/>' for track_id, places in longest]
    if target:
        places = np.array([[row.x_um, row.y_um] for row in target[:: max(1, len(target) // MAP_ROWS)]]).T
        drawn.append(f'<path class="trail target" d="{_path(places)}"/>')
    drawn.append(f'<path class="view" d="{_path(view)}"/>')
    drawn += [
        f'<path class="field {name}" d="{_path(corners)}Z"/>'
        for name, corners in zip(("start", "end"), fields, strict=True)
    ]
    everything = np.concatenate([*fields, view, *(places for _, places in longest)], axis=1)
    keys = '<span class="key view">centre of the view</span>'
    keys += '<span class="key start">first field</span><span class="key end">last field</span>'
    keys += '<span class="key target">target</span>' if target else ""
    where = "stage" if here.geometry.on_stage else "sensor"
    return (
        f'<figure class="map"><h3>Way over the specimen <span class="unit">µm of the {where}</span></h3>'
        f"{_map_svg(everything, drawn)}<figcaption>{keys}</figcaption></figure>"
    )


def _map_svg(everything: npt.NDArray[np.float64], drawn: Sequence[str]) -> str:
    """Axes in um around what is drawn, both to the same scale; y grows downwards, as on the camera."""
    low, high = everything.min(axis=1), everything.max(axis=1)
    pad = 0.04 * float((high - low).max()) or 1.0
    (x0, y0), (width, height) = low - pad, high - low + 2 * pad
    text = max(width, height) / 36
    marks = []
    for x in ticks(x0, x0 + width, 6):
        marks.append(f'<path class="grid" d="M{x:.3f} {y0:.3f}v{height:.3f}"/>')
        marks.append(f'<text x="{x:.3f}" y="{y0 + height - 0.4 * text:.3f}" font-size="{text:.3f}">{number(x)}</text>')
    for y in (y for y in ticks(y0, y0 + height, 6) if y0 + 1.5 * text < y < y0 + height - 2 * text):
        marks.append(f'<path class="grid" d="M{x0:.3f} {y:.3f}h{width:.3f}"/>')
        marks.append(f'<text x="{x0 + 0.3 * text:.3f}" y="{y:.3f}" font-size="{text:.3f}">{number(y)}</text>')
    view = f'viewBox="{x0:.3f} {y0:.3f} {width:.3f} {height:.3f}"'
    return f'<svg class="dark" {view} role="img" aria-label="map of the specimen">{"".join([*drawn, *marks])}</svg>'


def _underlay(record: Record, here: Scene) -> str:
    """The last image that is on disk, at its place."""
    for row in [*record.processed[-1:], *record.frames[-1:]]:
        frame_row = record.frame_row(row["frame"]) if "frame" in row else row
        image = read_image(record, row)
        if frame_row is None or image is None:
            continue
        per_px, origin = here.matrix(settings_from_row(frame_row))
        step = max(1, -(-max(image.shape) // 256))
        small = binned(image, step)
        corner, scaled = origin - per_px.sum(axis=1) / 2, per_px * step
        numbers = [scaled[0, 0], scaled[1, 0], scaled[0, 1], scaled[1, 1], *corner]
        matrix = " ".join(f"{value:.5g}" for value in numbers)
        size = f'width="{small.shape[1]}" height="{small.shape[0]}"'
        uri = png.data_uri(png.stretched(small, *contrast(small)))
        return f'<image class="underlay" {size} transform="matrix({matrix})" href="{uri}"/>'
    return ""


def _trails(record: Record, rows: Sequence[ResultRow], here: Scene) -> dict[int, npt.NDArray[np.float64]]:
    """(2, N) places in um of each track that was seen twice or more, N sightings in time."""
    found: dict[int, list[Place]] = {}
    for row in rows:
        frame_row = record.frame_row(row.frame)
        if row.tracks is None or frame_row is None:
            continue
        seen = row.tracks.missed_frames == 0
        x, y = here.place(settings_from_row(frame_row), row.tracks.x_px[seen], row.tracks.y_px[seen])
        for track_id, place in zip(row.tracks.track_id[seen].tolist(), zip(x, y, strict=True), strict=True):
            found.setdefault(track_id, []).append(place)
    return {track_id: np.array(places).T for track_id, places in found.items() if len(places) > 1}


def _corners(settings: Settings, here: Scene) -> npt.NDArray[np.float64]:
    """(2, 4) places of the corners of a frame."""
    w, h = settings.roi.width - 0.5, settings.roi.height - 0.5
    x, y = here.place(settings, [-0.5, w, w, -0.5], [-0.5, -0.5, h, h])
    return np.stack([x, y])


def _path(places: npt.NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in places.T.tolist())


def middle(image: Image, edge: int = MOST_PX) -> Image:
    """Its middle, ``edge`` wide and high at most."""
    height, width = image.shape
    top, left = max(0, (height - edge) // 2), max(0, (width - edge) // 2)
    cut: Image = image[top : top + edge, left : left + edge]
    return cut


def binned(image: Image, step: int) -> Image:
    """Means of blocks of ``step`` by ``step``; what is left over at the rim is left out."""
    height, width = (size // step * step for size in image.shape)
    blocks = image[:height, :width].astype(np.float32).reshape(height // step, step, width // step, step)
    means: Image = blocks.mean(axis=(1, 3))
    return means


def contrast(image: Image) -> tuple[float, float]:
    """What is shown black and what white."""
    low, high = np.percentile(image, (0.5, 99.8)).tolist()
    return low, high


def picture(
    image: Image, low: float, high: float, pixel_um: float, title: str, said: str, drawn: str = "", cut: bool = True
) -> str:
    """An image with a scale bar and what is drawn over it in its pixels; large ones binned unless they were cut."""
    height, width = image.shape
    step = 1 if cut else max(1, -(-max(image.shape) // MOST_PX))
    uri = png.data_uri(png.stretched(binned(image, step), low, high))
    bar_um = ticks(0, width * pixel_um / 4)[-1]
    bar_px, unit = bar_um / pixel_um, width / 100
    x, y = width - 4 * unit - bar_px, height - 4 * unit
    bar = f'<path class="bar" d="M{x:.1f} {y:.1f}h{bar_px:.1f}" stroke-width="{unit:.1f}"/>'
    bar += (
        f'<text class="bar" x="{x + bar_px / 2:.1f}" y="{y - 1.5 * unit:.1f}" font-size="{3.6 * unit:.1f}"'
        f' text-anchor="middle">{number(bar_um)} µm</text>'
    )
    image_tag = f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" href="{uri}"/>'
    svg = f'<svg class="dark" viewBox="-0.5 -0.5 {width} {height}" role="img" aria-label="{escape(title)}">'
    caption = f"<figcaption>{escape(said)}</figcaption>"
    return f"<figure><h3>{escape(title)}</h3>{svg}{image_tag}{drawn}{bar}</svg>{caption}</figure>"
