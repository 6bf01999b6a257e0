"""Under which conditions a file of tracks was taken: a JSON file beside it, options, the camera's pixel size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smartscope.errors import InputError
from smartscope.plugins import problems_of
from smartscope.ports import TaskInputs

BESIDE = "conditions.json"
Positive = Annotated[float, Field(gt=0, le=1e6)]


class TakenUnder(BaseModel):
    """What ``process mobility`` must know, and may be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: Positive
    frame_interval_s: Positive
    exposure_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    localisation_noise_nm: Positive | None = None
    """None: estimated from all tracks together."""
    window_points: Annotated[int, Field(ge=16, le=100_000)] = 1024
    """Of longer tracks the last points count."""


def taken_under(inputs: TaskInputs) -> TakenUnder:
    """The file that the option ``conditions`` names, or ``conditions.json`` beside the tracks; options go before it.

    Raises:
        InputError: a file that is no such JSON, or a value that is missing or wrong.
    """
    options = {key: value for key, value in inputs.options.items() if key not in ("camera_given", "conditions")}
    asked = inputs.options.get("conditions")
    path = Path(str(asked)) if asked else Path(inputs.source).with_name(BESIDE)
    told = _read(path) if asked or path.is_file() else {}
    known = {key: value for key, value in told.items() if key in TakenUnder.model_fields}
    if inputs.options.get("camera_given", False):
        known.setdefault("pixel_size_um", inputs.instrument.camera.pixel_size_nm / 1000)
    try:
        return TakenUnder.model_validate({**known, **options})
    except ValidationError as error:
        what = " | ".join(problem.line() for problem in problems_of(error))
        remedy = f"write them into {BESIDE} beside the tracks, or give --option KEY=VALUE"
        raise InputError(what, where=f"conditions of {inputs.source}", remedy=remedy) from error


def _read(path: Path) -> Mapping[str, Any]:
    remedy = 'give {"pixel_size_um": 0.1, "frame_interval_s": 0.05, ...}'
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"is no JSON file: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(told, dict):
        raise InputError("holds no JSON object", where=str(path), remedy=remedy)
    return told
