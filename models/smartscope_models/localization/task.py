"""``smartscope process localize``: a movie's molecules as a table that ThunderSTORM or Picasso opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.localization_files.picasso import PicassoWriter, picasso_file
from smartscope.localization_files.table import of_frame
from smartscope.localization_files.thunderstorm import ThunderStormWriter
from smartscope.ports import TaskInputs, model_facts
from smartscope.result import Result
from smartscope.whole_files import written_whole
from smartscope_models.movies import TiffMovie
from smartscope_models.tasks import Report, Stopwatch, instrument_for, named_model, results

FIRST_LOOK = 50
"""Frames looked at beforehand, so that the first one too is fitted with the width that the movie's spots show."""


class LocalizeTask:
    """TIFF → CSV with ThunderSTORM's columns, or Picasso's .hdf5. Options: ``model`` (``localize``), and its own."""

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Localise in every frame; raises InputError for a movie that cannot be read."""
        with TiffMovie(inputs.source) as movie:
            instrument, known = instrument_for(movie, inputs)
            name, model = named_model(inputs.options, "model", "localize", instrument)
            for _ in islice(results(model, movie, Stopwatch()), FIRST_LOOK):
                pass
            watch, verdict = Stopwatch(), Verdict()
            with _opened(inputs, movie, instrument.camera.pixel_size_nm) as writer:
                for frame, result in results(model, movie, watch):
                    verdict.add(result)
                    if result.localizations is not None:
                        writer.append(of_frame(frame.index, result.localizations))
                    report(frame.index + 1, len(movie))
        warnings = [*known.pop("warnings", ()), *verdict.reasons]
        figures = {"localizations": writer.written, **watch.figures(), **verdict.figures()}
        return {"model": name, **model_facts(model), **figures, **known, "warnings": warnings}


@contextmanager
def _opened(inputs: TaskInputs, movie: TiffMovie, pixel_size_nm: float) -> Iterator[ThunderStormWriter | PicassoWriter]:
    """The output, whole or not at all."""
    output, source = Path(inputs.output), Path(inputs.source)
    if output.suffix == ".hdf5":
        facts = {"Pixelsize": pixel_size_nm}
        with picasso_file(output, source, movie.shape, len(movie), facts) as hdf5:
            yield hdf5
        return
    with written_whole(output, source) as part, ThunderStormWriter(part, pixel_size_nm) as csv:
        yield csv


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
