"""``camera.json`` and ``optics.json``: what other programs write about an instrument, as our calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from smartscope.config import CAMERA_MAPS, CameraCalibration, OpticsConfig, PointSpreadConfig, Section
from smartscope.errors import ConfigurationError, InputError, Problem
from smartscope.plugins import problems_of
from smartscope.ports import Instrument

SectionT = TypeVar("SectionT", bound=Section)
MAPS = {
    "offset_adu": "offset_map",
    "electrons_per_adu": "gain_map",
    "read_noise_e": "read_noise_map",
    "read_variance_e2": "read_variance_map",
}
"""Name of a per-pixel map's file (without .npy) → our key."""
OPTICS_IN_CAMERA = {"numerical_aperture": "numerical_aperture", "wavelength_nm": "emission_nm"}
"""Keys of camera.json that tell of the optics → our key."""
PATTERN = ("angles", "phases", "beams", "hexagonal")
"""Keys of optics.json that tell of structured illumination."""
ALIKE = 0.8
"""An unknown key so similar to one of ours is taken for a misspelling; others are another program's own."""


def read_instrument(camera: Path | None, optics: Path | None) -> Instrument:
    """Camera and optics from their files; defaults where there is none.

    Raises:
        InputError: a file cannot be read or holds no mapping.
        ConfigurationError: values out of range, or keys that look misspelt.
    """
    in_camera = _read(camera)
    in_optics = {ours: in_camera[theirs] for theirs, ours in OPTICS_IN_CAMERA.items() if theirs in in_camera}
    if "psf" in in_camera:
        in_optics["point_spread"] = _point_spread(in_camera["psf"], camera)
    if camera is not None:
        in_camera = {**in_camera, **_maps(in_camera, camera), **_own_maps(in_camera, camera)}
    return Instrument(
        _section(CameraCalibration, in_camera, camera),
        _section(OpticsConfig, {**in_optics, **_own_words(_read(optics))}, optics or camera),
    )


def _own_words(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``optics.json`` of others: emission as ``wavelength_nm``, the steps of a pattern among the optics."""
    named = {OPTICS_IN_CAMERA.get(key, key): value for key, value in tree.items()}
    steps = {key: named.pop(key) for key in PATTERN if key in named}
    return {**({"structured_illumination": steps} if steps else {}), **named}


def _point_spread(told: object, camera: Path | None) -> dict[str, Any]:
    """The image of a molecule as camera.json tells it, without the formulas that others add as text."""
    if not isinstance(told, dict):
        raise ConfigurationError(str(camera), [Problem("psf", repr(told), "needs a mapping, as {model, sigma_px}")])
    named = {key: value for key, value in told.items() if key in PointSpreadConfig.model_fields}
    if camera is not None and isinstance(named.get("file"), str):
        named["file"] = str(camera.parent / named["file"])
    return named


def _read(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path") from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", where=str(path), remedy="mend that place") from error
    if not isinstance(tree, dict):
        raise InputError("is no JSON mapping", where=str(path), remedy='it needs the form {"offset_adu": 100, ...}')
    return tree


def _maps(tree: Mapping[str, Any], camera: Path) -> dict[str, str]:
    """Per-pixel maps, named as a list of files beside camera.json, or by what they hold."""
    named = tree.get("maps") or []
    if isinstance(named, dict):
        named = list(named.values())
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ConfigurationError(str(camera), [Problem("maps", repr(named), "needs a list of .npy files")])
    files = {MAPS[Path(name).stem]: str(camera.parent / name) for name in named if Path(name).stem in MAPS}
    return _existing(files, camera)


def _own_maps(tree: Mapping[str, Any], camera: Path) -> dict[str, str]:
    """Per-pixel maps under our own keys; a relative path begins where camera.json lies."""
    files = {key: str(camera.parent / tree[key]) for key in CAMERA_MAPS if isinstance(tree.get(key), str)}
    return _existing(files, camera)


def _existing(files: dict[str, str], camera: Path) -> dict[str, str]:
    for key, file in files.items():
        if not Path(file).is_file():
            raise InputError(f"{key} is named by {camera.name} but is not there", where=file, remedy="copy it beside")
    return files


def _section(model: type[SectionT], tree: Mapping[str, Any], path: Path | None) -> SectionT:
    known = set(model.model_fields)
    foreign = {"maps", "psf", *OPTICS_IN_CAMERA}
    problems = [
        Problem(key, repr(tree[key]), "no such key", remedy=f"did you mean {alike[0]}?")
        for key in tree
        if key not in known | foreign and (alike := get_close_matches(key, known, 1, ALIKE))
    ]
    try:
        section = model.model_validate({key: value for key, value in tree.items() if key in known})
    except ValidationError as error:
        problems += problems_of(error)
    if problems:
        raise ConfigurationError(str(path), problems)
    return section
