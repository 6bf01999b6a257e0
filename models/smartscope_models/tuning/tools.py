"""What ``smartscope models tune`` does; the command line finds this class as an entry point and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smartscope.calibration_files import read_instrument
from smartscope.errors import ConfigurationError, InputError
from smartscope.plugins import problems_of
from smartscope.ports import Instrument
from smartscope_models.tuning.clips import instrument_of_run, is_run
from smartscope_models.tuning.process import tune_aside
from smartscope_models.tuning.request import Request


class TuningTools:
    """Tunes a package to recorded frames."""

    def tune(
        self,
        package: str,
        frames: Path,
        *,
        camera: Path | None = None,
        optics: Path | None = None,
        output: Path | None = None,
        **bounds: Any,
    ) -> dict[str, Any]:
        """The record of one tuning, and ``path``, its folder; ``bounds``: seconds, threads, seed.

        Args:
            package: a name, a folder, or an ONNX file.
            frames: a run folder, or a TIFF movie, which then needs ``camera`` (camera.json).
            camera, optics: in place of what a run folder says of itself.
            output: folder of the version folders; a run's own ``models`` where none is given.

        Raises:
            InputError: something is not there or cannot be read, or a movie comes without camera or output.
            ConfigurationError: values out of range.
            UnsupportedModel: the package is no denoiser that can be tuned.
        """
        instrument = _instrument(frames, camera, optics)
        if output is None and not is_run(frames):
            raise InputError("a movie has no place for versions", where=str(frames), remedy="name a folder (--output)")
        try:
            request = Request(
                package=package, frames=frames.absolute(), camera=instrument.camera, optics=instrument.optics, **bounds
            )
        except ValidationError as error:
            raise ConfigurationError("tuning", problems_of(error)) from error
        version = tune_aside(request, output or frames / "models")
        return {"path": str(version.path), **version.record}


def _instrument(frames: Path, camera: Path | None, optics: Path | None) -> Instrument:
    if camera is None and not is_run(frames):
        raise InputError(
            "neither a run folder nor, without camera.json, a movie of a known camera",
            where=str(frames),
            remedy="name camera.json (--camera); smartscope calibrate camera makes one",
        )
    if camera is None:
        own = instrument_of_run(frames)
        return Instrument(own.camera, read_instrument(None, optics).optics if optics else own.optics)
    return read_instrument(camera, optics)
