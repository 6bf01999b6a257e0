"""Only this file knows how a spline lies on disk: our own .npz, and those of storm-analysis as .npz.

Ours keeps the samples, which any program can read: ``samples`` (Z, Y, X), part of the light in a pixel there;
``low_nm``, ``step_nm``, ``pixel_size_nm``, ``oversampling``. storm-analysis (Babcock, Zhuang, Scientific Reports 7
(2017) 552; psf_to_spline.py) keeps ``spline`` (Z, Y, X) of unknown scale, ``zmin`` and ``zmax`` in nm and
``pixel_size`` in um; its ``coeff`` are those of the natural spline through ``spline`` and are not needed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.errors import InputError
from smartscope.optics.point_spread.spline import Doubles, SplinePointSpread

OURS = ("samples", "low_nm", "step_nm", "pixel_size_nm", "oversampling")
STORM_ANALYSIS = ("spline", "zmin", "zmax", "pixel_size")
PIXEL_SIZE_TOLERANCE = 0.05
LIGHT = (0.7, 1.1)
"""Part of the light inside the nodes, in the plane that holds most of it."""
_REMEDY = "make it with: smartscope calibrate psf"


def save_spline(path: Path, spline: SplinePointSpread) -> None:
    """Write it as ``path`` (.npz).

    Raises:
        InputError: the file exists, its name does not end in .npz, or it cannot be written.
    """
    if path.suffix != ".npz":
        raise InputError("no .npz file", where=str(path), remedy="give it a name that ends in .npz")
    held: dict[str, Any] = {key: getattr(spline, key) for key in OURS[1:]} | {"samples": spline.samples()}
    try:
        with path.open("xb") as file:
            np.savez_compressed(file, **held)
    except FileExistsError as error:
        raise InputError("exists already", where=str(path), remedy="give another name") from error
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path), remedy="correct the path") from error


def load_spline(path: Path, pixel_size_nm: float) -> SplinePointSpread:
    """The spline in ``path``, for a camera with pixels of ``pixel_size_nm``.

    Raises:
        InputError: no such file, no spline in it, numbers that are none, not normalised, or for other pixels.
    """
    held = _read(path)
    try:
        spline = _spline(held)
    except InputError as error:
        raise InputError(error.what, where=str(path), allowed=error.allowed, remedy=error.remedy) from error
    _check_light(spline, path)
    if abs(spline.pixel_size_nm / pixel_size_nm - 1) > PIXEL_SIZE_TOLERANCE:
        raise InputError(
            f"is for pixels of {spline.pixel_size_nm:g} nm, those of the camera are {pixel_size_nm:g} nm",
            where=str(path),
            allowed=f"{PIXEL_SIZE_TOLERANCE:.0%} difference",
            remedy="correct camera.pixel_size_nm, or measure the point spread function on this camera",
        )
    return spline


def _read(path: Path) -> Mapping[str, Doubles]:
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = [key for key in (*OURS, *STORM_ANALYSIS) if key in file.files]
            return {key: np.asarray(file[key], float) for key in wanted}
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), remedy="correct optics.point_spread.file") from error
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot be read as .npz: {error}", where=str(path), remedy=_REMEDY) from error


def _spline(held: Mapping[str, Doubles]) -> SplinePointSpread:
    keys = OURS if "samples" in held else STORM_ANALYSIS
    if missing := [key for key in keys if key not in held]:
        raise InputError(
            f"lacks {', '.join(missing)}",
            allowed=f"{', '.join(OURS)}; or those of storm-analysis: {', '.join(STORM_ANALYSIS)}",
            remedy=_REMEDY,
        )
    if odd := [key for key in keys[1:] if held[key].ndim]:
        raise InputError(f"{', '.join(odd)} should be one number each", remedy=_REMEDY)
    if keys is OURS:
        numbers = {key: float(held[key]) for key in OURS[1:-1]}
        return SplinePointSpread.through(held["samples"], oversampling=int(held["oversampling"]), **numbers)
    values, low, high = held["spline"], float(held["zmin"]), float(held["zmax"])
    brightest = values.sum(axis=(1, 2)).max() if values.ndim == 3 else 0.0
    step = (high - low) / max(len(values) - 1, 1)
    return SplinePointSpread.through(
        values / brightest if brightest > 0 else values,
        low_nm=low,
        step_nm=step,
        pixel_size_nm=1e3 * float(held["pixel_size"]),
    )


def _check_light(spline: SplinePointSpread, path: Path) -> None:
    light = float(spline.samples().sum(axis=(1, 2)).max()) / spline.oversampling**2
    if not LIGHT[0] <= light <= LIGHT[1]:
        raise InputError(
            f"holds {light:.3g} of the light where it holds most: it is not normalised",
            where=str(path),
            allowed=f"{LIGHT[0]} to {LIGHT[1]}",
            remedy=_REMEDY,
        )
