"""The folder that a calibration leaves: camera.json, maps as .npy, report.json; written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import smartscope
from smartscope.camera_calibration.photon_transfer import PhotonTransfer
from smartscope.camera_calibration.verdict import report
from smartscope.config import CAMERA_MAPS, CameraCalibration
from smartscope.errors import InputError

CAMERA_JSON, REPORT_JSON = "camera.json", "report.json"
CONVERTERS = (8, 10, 12, 14, 16)


def refuse_existing(folder: Path) -> None:
    """Look before any light is on whether the folder can be made.

    Raises:
        InputError: something of that name is there already, or its parent is not.
    """
    if folder.exists():
        raise InputError("exists already", where=str(folder), remedy="name another folder with --output")
    if not folder.absolute().parent.is_dir():
        raise InputError("its parent folder does not exist", where=str(folder), remedy="make that folder first")


def write_calibration(
    folder: Path, found: PhotonTransfer, known: CameraCalibration | None, facts: Mapping[str, Any]
) -> CameraCalibration:
    """Write the folder and return what its camera.json says, with the maps' paths as they are from here.

    ``known`` gives what a light series cannot tell (pixel size, quantum efficiency, …); ``facts`` go into the report.

    Raises:
        InputError: the folder exists, or cannot be written.
    """
    refuse_existing(folder)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    camera, maps = _camera(found, known), _maps(found)
    try:
        part.mkdir()
        for name, values in maps.items():
            np.save(part / f"{name}.npy", values)
        measured = camera.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        _write(part / CAMERA_JSON, {**measured, **{name: f"{name}.npy" for name in maps}})
        made = {"made_at": datetime.now().astimezone().isoformat(), "smartscope": smartscope.__version__}
        _write(part / REPORT_JSON, {**made, **facts, **report(found)})
        part.replace(folder)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise InputError(what, where=str(folder), remedy="check folder and disk") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return camera.model_copy(update={name: str(folder / f"{name}.npy") for name in maps})


def yaml_lines(camera: CameraCalibration, base: Path) -> str:
    """What goes under ``microscope`` in a YAML file that lies in the folder ``base``."""
    lines = ["camera:"]
    for key, value in camera.model_dump(mode="json", exclude_unset=True, exclude_none=True).items():
        if key in CAMERA_MAPS:
            value = os.path.relpath(value, base) if Path(value).is_relative_to(base) else str(Path(value).absolute())
        lines.append(f"  {key}: {json.dumps(value)}")
    return "\n".join(lines)


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def _maps(found: PhotonTransfer) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """The maps worth having, under the keys of ``CameraCalibration``."""
    every = {
        "offset_map": (found.offset, found.offset_map),
        "gain_map": (found.slope, found.gain_map),
        "read_noise_map": (found.read_variance, found.read_noise_map),
    }
    return {name: values for name, (kept, values) in every.items() if kept.good}


def _camera(found: PhotonTransfer, known: CameraCalibration | None) -> CameraCalibration:
    """What was known, with what was measured; only these keys are set, others keep their defaults."""
    before = known.model_dump(exclude=set(CAMERA_MAPS)) if known else {}
    bits = next((bits for bits in CONVERTERS if found.saturation_adu == 2**bits - 1), None)
    if known and bits is None and found.highest_adu >= 2**known.bit_depth:  # what was known cannot be
        bits = next(bits for bits in CONVERTERS if found.highest_adu < 2**bits)
    measured: dict[str, Any] = {
        "offset_adu": _rounded(found.offset_adu),
        "electrons_per_adu": _rounded(found.electrons_per_adu),
        "read_noise_e": _rounded(found.read_noise_e),
        "em_gain": found.em_gain,
        "full_well_e": _rounded(_full_well_e(found, known)),
    }
    if bits is not None:
        measured["bit_depth"] = bits
    return CameraCalibration.model_validate({**before, **measured})


def _rounded(value: float) -> float:
    """Six digits: more than any light series gives."""
    return float(f"{value:.6g}")


def _full_well_e(found: PhotonTransfer, known: CameraCalibration | None) -> float:
    """Electrons at saturation; where nothing was seen to saturate, at least what was seen, and what was known."""
    e_per_adu = found.electrons_per_adu / found.em_gain
    if found.saturation_adu is not None:
        return (found.saturation_adu - found.offset_adu) * e_per_adu
    if known is not None:
        return max(known.full_well_e, (found.highest_adu - found.offset_adu) * e_per_adu)
    return (2**16 - 1 - found.offset_adu) * e_per_adu
