"""``smartscope process mobility``: a table of tracks to a table of how each of them moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smartscope.errors import InputError
from smartscope.ports import TaskInputs
from smartscope.whole_files import written_whole
from smartscope_models.mobility.conditions import TakenUnder, taken_under
from smartscope_models.mobility.store import Longs
from smartscope_models.mobility.table import CLASSES, Mobility
from smartscope_models.mobility.whole import Conditions, guess_noise, whole_tracks
from smartscope_models.tables import read_detections
from smartscope_models.tasks import Report, Stopwatch

COLUMNS = {
    "d_um2_per_s": "diffusion_um2_s",
    "d_error_um2_per_s": "diffusion_error_um2_s",
    "alpha": "alpha",
    "alpha_error": "alpha_error",
    "mss_slope": "mss_slope",
    "alpha_measured": "alpha_measured",
    "mss_slope_measured": "mss_slope_measured",
    "speed_um_per_s": "speed_um_s",
    "speed_error_um_per_s": "speed_error_um_s",
    "radius_um": "radius_um",
    "radius_error_um": "radius_error_um",
    "noise_nm": "noise_nm",
    "confidence": "confidence",
    "p_confined": "p_confined",
    "p_brownian": "p_brownian",
    "p_directed": "p_directed",
}
"""Columns of the file, after ``track_id,class,points`` → those of ``Mobility``."""
LARGEST_ID = 2**53


class MobilityTask:
    """CSV ``frame,track_id,x_px,y_px`` → CSV ``track_id,class,points,d_um2_per_s,alpha,…``, a row for every track.

    Options: ``conditions``, a JSON file of the keys of ``TakenUnder`` (``conditions.json`` beside the tracks is found
    by itself), or these keys. Cells of what is not known, as of a track too short, are empty.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Judge every track; raises InputError for tables, conditions or options that cannot be used."""
        taken = taken_under(inputs)
        table = read_detections(inputs.source)
        ids = _identities(table.others.get("track_id"), inputs.source)
        _compile()
        watch = Stopwatch()
        with written_whole(inputs.output, inputs.source) as part:
            with watch:
                found = _judged(taken, ids, *(table.numbers[name] for name in ("frame", "x_px", "y_px")))
            part.write_text(_text(found), encoding="utf-8")
        report(len(found), len(found))
        shares = {f"{name}_share": float(np.mean(found.kind == k)) for k, name in enumerate(CLASSES)}
        judged, cpu_ms = int((found.kind >= 0).sum()), watch.figures()["cpu_ms_per_frame"]
        return {"model": "mobility", "tracks": len(found), "judged": judged, **shares, "cpu_ms": cpu_ms}


def _compile() -> None:
    """Left out of the time that is reported."""
    beat = np.arange(8.0)
    whole_tracks(np.zeros(8, np.int64), beat, beat % 3, beat % 2, Conditions(1.0, 0.0, 0.1))


def _judged(taken: TakenUnder, ids: Longs, frame: np.ndarray, x_px: np.ndarray, y_px: np.ndarray) -> Mobility:
    interval_s = taken.frame_interval_s
    columns = ids, frame * interval_s, x_px * taken.pixel_size_um, y_px * taken.pixel_size_um
    exposure_s = taken.exposure_fraction * interval_s
    if taken.localisation_noise_nm is None:
        conditions = guess_noise(*columns, interval_s, exposure_s)
    else:
        conditions = Conditions(interval_s, exposure_s, taken.localisation_noise_nm / 1000)
    return whole_tracks(*columns, conditions, taken.window_points)


def _identities(cells: Sequence[str] | None, where: str) -> Longs:
    """(P,) whole numbers from 0 of the column ``track_id``."""
    if cells is None:
        what, allowed = "lacks the column track_id", "frame,track_id,x_px,y_px"
        raise InputError(
            what, where=where, allowed=allowed, remedy="link the detections first: smartscope process track"
        )
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise InputError(f"track_id: {error}", where=where, allowed="0, 1, 2, ...", remedy="correct it") from error
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers <= LARGEST_ID) & (numbers == np.floor(numbers))))
    if len(wrong):
        what = f"track_id is {cells[wrong[0]]} in line {wrong[0] + 2}"
        raise InputError(what, where=where, allowed="0, 1, 2, ...", remedy="correct it")
    return numbers.astype(np.int64)


def _text(found: Mobility) -> str:
    lines = [",".join(("track_id", "class", "points", *COLUMNS))]
    values = np.column_stack([getattr(found, name) for name in COLUMNS.values()])
    for track_id, points, kind, row in zip(found.track_id, found.points, found.kind, values, strict=True):
        cells = ("" if np.isnan(value) else f"{value:.6g}" for value in row)
        lines.append(",".join((str(track_id), CLASSES[kind] if kind >= 0 else "", str(points), *cells)))
    return "\n".join(lines) + "\n"
