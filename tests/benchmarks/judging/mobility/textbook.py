"""The textbook's way, as a floor: D from a line through four mean squared displacements, alpha from a log-log slope."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

LOW, HIGH = 0.7, 1.3
"""Exponents between which a track counts as Brownian."""


def textbook(tracks: Path, conditions: Path, out: Path) -> None:
    """tracks.csv and conditions.json to estimates.csv; the line's intercept takes localisation noise, blur is left."""
    told = json.loads(conditions.read_text())
    table = np.genfromtxt(tracks, delimiter=",", names=True)
    lags = np.arange(1, max(told["frames"] // 4, 3) + 1)
    time_s = lags * told["frame_interval_s"]
    with out.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["track_id", "class", "d_um2_per_s", "alpha"])
        for track in np.unique(table["track_id"]):
            mine = table[table["track_id"] == track]
            places = np.full((told["frames"], 2), np.nan)
            places[mine["frame"].astype(int)] = np.c_[mine["x_px"], mine["y_px"]] * told["pixel_size_um"]
            msd = np.array([np.nanmean(np.sum((places[lag:] - places[:-lag]) ** 2, axis=1)) for lag in lags])
            slope = np.polyfit(time_s[:4], msd[:4], 1)[0]
            alpha = np.polyfit(np.log(time_s), np.log(np.maximum(msd, 1e-12)), 1)[0]
            kind = "confined" if alpha < LOW else "directed" if alpha > HIGH else "brownian"
            rows.writerow([int(track), kind, slope / 4, alpha])
