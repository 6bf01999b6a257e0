"""How counts become photo-electrons, pixel by pixel, and how noisy each pixel is.

The noise model, in photo-electrons x after quantum efficiency and before electron multiplication:
variance(x) = F² x + r², with F² = 1 (CCD, sCMOS) or 2 (EMCCD; Robbins & Hadwen, IEEE TED 50:1227, 2003) and r the
read noise divided by the multiplication gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartscope.config import CameraCalibration
from smartscope.errors import InputError
from smartscope.frame import Frame, Roi

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PixelCalibration:
    """Offset, gain and read noise of every pixel of one region of the sensor; arrays are (H, W) float32."""

    offset_adu: Floats
    electrons_per_adu: Floats
    """Photo-electrons per count: multiplication gain taken out."""
    read_variance_e2: Floats
    """Squared read noise, photo-electrons²."""
    excess: float
    """F²: 1, or 2 for an EMCCD."""
    saturation_adu: float
    nominal_offset_adu: float
    nominal_electrons_per_adu: float
    nominal_read_variance_e2: float


class SensorCalibration:
    """The whole sensor's calibration, from which regions are cut out."""

    def __init__(self, camera: CameraCalibration) -> None:
        """Read the maps that ``camera`` names.

        Raises:
            InputError: a map is missing, no .npy file of a finite (H, W) array, or the maps' shapes differ.
        """
        self._camera = camera
        maps = {name: _read_map(path) for name, path in _map_paths(camera).items() if path}
        shapes = {array.shape for array in maps.values()}
        if len(shapes) > 1:
            raise InputError(
                f"the camera's maps differ in shape: {sorted(shapes)}", remedy="record all maps with the whole sensor"
            )
        self._maps = maps
        self._shape = shapes.pop() if shapes else None
        self.region = lru_cache(maxsize=4)(self._region)

    def of(self, frame: Frame) -> PixelCalibration:
        """The calibration of the pixels of ``frame``."""
        return self.region(frame.settings.roi, frame.pixels.shape)

    def _region(self, roi: Roi, shape: tuple[int, int]) -> PixelCalibration:
        camera = self._camera
        offset = self._cut("offset", camera.offset_adu, roi, shape)
        gain = self._cut("gain", camera.electrons_per_adu, roi, shape)
        if camera.read_variance_map is None:
            read = self._cut("read_noise", camera.read_noise_e, roi, shape)
        else:
            read = np.sqrt(self._cut("read_variance", camera.read_noise_e**2, roi, shape))
        multiplied = np.float32(camera.em_gain)
        return PixelCalibration(
            offset_adu=offset,
            electrons_per_adu=gain / multiplied,
            read_variance_e2=(read / multiplied) ** 2,
            excess=2.0 if camera.em_gain > 1 else 1.0,
            saturation_adu=camera.saturation_adu,
            nominal_offset_adu=camera.offset_adu,
            nominal_electrons_per_adu=camera.electrons_per_adu / camera.em_gain,
            nominal_read_variance_e2=(camera.read_noise_e / camera.em_gain) ** 2,
        )

    def _cut(self, name: str, nominal: float, roi: Roi, shape: tuple[int, int]) -> Floats:
        whole = self._maps.get(name)
        if whole is None:
            return np.full(shape, nominal, np.float32)
        part = whole if whole.shape == shape else whole[roi.y : roi.y + shape[0], roi.x : roi.x + shape[1]]
        if part.shape != shape:
            raise InputError(
                f"a frame of {shape[0]} x {shape[1]} pixels at ({roi.x}, {roi.y}) lies outside the camera's {name} map "
                f"of {whole.shape[0]} x {whole.shape[1]}",
                remedy="record the map with the whole sensor, or leave it out of the configuration",
            )
        return np.ascontiguousarray(part)


def _map_paths(camera: CameraCalibration) -> dict[str, str | None]:
    return {
        "offset": camera.offset_map,
        "gain": camera.gain_map,
        "read_noise": camera.read_noise_map,
        "read_variance": camera.read_variance_map,
    }


def _read_map(path: str) -> Floats:
    try:
        array: np.ndarray = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the camera map: {error}", where=path, remedy="name a .npy file") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        raise InputError(
            f"no finite (H, W) array of numbers: shape {array.shape}, {array.dtype}",
            where=path,
            remedy="save one value for each pixel of the sensor",
        )
    return array.astype(np.float32)
