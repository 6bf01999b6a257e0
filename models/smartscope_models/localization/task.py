"""``smartscope process localize``: a movie's molecules as the list that ThunderSTORM reads and writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from smartscope.config import CameraCalibration
from smartscope.ports import Instrument, Model, TaskInputs, model_facts
from smartscope.result import Localizations, Result
from smartscope_models.movies import TiffMovie, written_whole
from smartscope_models.tables import write_table
from smartscope_models.tasks import Report, Stopwatch, instrument_for, named_model, results

PLACE = ("id", "frame", "x [nm]", "y [nm]")
LIGHT = ("intensity [photon]", "offset [photon]", "bkgstd [photon]", "uncertainty_xy [nm]")
ROUND = (*PLACE, "sigma [nm]", *LIGHT)
TALL = (*PLACE, "z [nm]", "sigma1 [nm]", "sigma2 [nm]", *LIGHT, "uncertainty_z [nm]")
"""ThunderSTORM's columns (Ovesný et al., Bioinformatics 30:2389, 2014): nm from the outer corner of the top-left pixel,
frames from 1. A spline has no widths: sigma1 and sigma2 are 0 then, for readers refuse heights without them."""
FIRST_LOOK = 50
"""Frames looked at beforehand, so that the first one too is fitted with the width that the movie's spots show."""


class LocalizeTask:
    """TIFF → CSV with ThunderSTORM's columns. Options: ``model`` (``localize``), and those of the model."""

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Localise in every frame; raises InputError for a movie that cannot be read."""
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            instrument, known = instrument_for(movie, inputs)
            name, model = named_model(inputs.options, "model", "localize", instrument)
            for _ in islice(results(model, movie, Stopwatch()), FIRST_LOOK):
                pass
            watch, verdict = Stopwatch(), Verdict()
            tall = instrument.optics.point_spread.model != "gaussian"
            rows = _rows(model, movie, instrument, tall, watch, verdict, report)
            count = write_table(part, TALL if tall else ROUND, rows)
        warnings = [*known.pop("warnings", ()), *verdict.reasons]
        figures = {"localizations": count, **watch.figures(), **verdict.figures()}
        return {"model": name, **model_facts(model), **figures, **known, "warnings": warnings}


class Verdict:
    """What the model thought of the movie."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        """Why a frame was not wholly trusted; the first twenty kinds."""
        self._trust: list[float] = []
        self._quality: dict[str, list[float]] = {}

    def add(self, result: Result) -> None:
        """Take one frame in."""
        self._trust.append(result.trust)
        for name, value in result.quality.items():
            self._quality.setdefault(name, []).append(value)
        if result.trust < 1 and result.why_trust not in self.reasons and len(self.reasons) < 20:
            self.reasons.append(result.why_trust)

    def figures(self) -> dict[str, float]:
        """Medians over the movie."""
        medians = {name: float(np.median(values)) for name, values in self._quality.items()}
        return {**medians, "trust_median": float(np.median(self._trust)), "trust_least": min(self._trust)}


def _rows(
    model: Model,
    movie: TiffMovie,
    instrument: Instrument,
    tall: bool,
    watch: Stopwatch,
    verdict: Verdict,
    report: Report,
) -> Iterator[tuple[object, ...]]:
    count = 0
    for frame, result in results(model, movie, watch):
        verdict.add(result)
        if (found := result.localizations) is not None:
            for columns in _columns(found, instrument.camera, tall).T.tolist():
                count += 1
                yield count, frame.index + 1, *columns
        report(frame.index + 1, len(movie))


def _columns(found: Localizations, camera: CameraCalibration, tall: bool) -> np.ndarray:
    """(columns after ``frame``, N), in ThunderSTORM's order and units."""
    nm, efficiency = camera.pixel_size_nm, camera.quantum_efficiency
    excess = 2.0 if camera.em_gain > 1 else 1.0
    noise_e2 = excess * efficiency * found.background + (camera.read_noise_e / camera.em_gain) ** 2
    lateral = nm * np.hypot(found.x_error_px, found.y_error_px) / math.sqrt(2)
    place = [(found.x_px + 0.5) * nm, (found.y_px + 0.5) * nm]
    light = [found.photons, found.background, np.sqrt(noise_e2) / efficiency, lateral]
    if not tall:
        return np.array([*place, found.sigma_x_px * nm, *light], float)
    widths = [found.sigma_x_px * nm, found.sigma_y_px * nm]
    return np.array([*place, found.z_nm, *widths, *light, found.z_error_nm], float)
