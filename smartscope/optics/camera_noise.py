"""Only this file knows how expected photo-electrons become the counts that a noisy camera reports.

sCMOS: Poisson shot noise, full well, Gaussian read noise, gain, offset, converter. EMCCD: the register multiplies n
electrons into a gamma-distributed number with shape n and mean n x gain (Basden, Haniff, Mackay 2003; excess noise
factor 2), read noise comes after it. The noise of a pixel follows from (seed, frame, pixel) alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.config import CameraCalibration
from smartscope.errors import InputError
from smartscope.frame import Pixels, Roi
from smartscope.optics.counter_random import bits, normal, poisson, stream, uniform

Expected = npt.NDArray[np.float32]

_PURPOSE = 0x0CA3E7A
"""Sets the camera's random numbers apart from the specimen's."""


@njit(nogil=True, cache=True)
def _expose(
    expected: Any, out: Any, key: np.uint64, offset: Any, adu_per_e: Any, read_noise_e: Any, step: int,
    full_well_e: float, top_adu: float,
) -> None:  # fmt: skip
    """sCMOS: fill ``out`` (n,) uint16 from ``expected`` (n,) float32; ``step`` 0: the maps hold one value each."""
    for i in range(expected.size):
        counter = np.uint64(2 * i)
        electrons = min(poisson(expected[i], bits(key, counter)), full_well_e)
        electrons += read_noise_e[i * step] * normal(bits(key, counter + np.uint64(1)))
        adu = offset[i * step] + electrons * adu_per_e[i * step] + 0.5
        out[i] = np.uint16(min(max(adu, 0.0), top_adu))


@njit(nogil=True, cache=True)
def gamma(shape: float, key: np.uint64) -> Any:
    """Gamma deviate of unit scale for shape >= 1 (Marsaglia and Tsang 2000)."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    counter = np.uint64(0)
    while True:
        z = normal(bits(key, counter))
        v = (1.0 + c * z) ** 3
        if v > 0.0:
            u = 1.0 - uniform(bits(key, counter + np.uint64(1)))
            if u < 1.0 - 0.0331 * z**4 or math.log(u) < 0.5 * z * z + d * (1.0 - v + math.log(v)):
                return d * v
        counter += np.uint64(2)


@njit(nogil=True, cache=True)
def _expose_emccd(
    expected: Any, out: Any, key: np.uint64, offset: Any, adu_per_e: Any, read_noise_e: Any, step: int,
    full_well_e: float, top_adu: float, em_gain: float,
) -> None:  # fmt: skip
    """EMCCD: as ``_expose``, with the multiplication register between the shot noise and the read noise."""
    for i in range(expected.size):
        counter = np.uint64(3 * i)
        electrons = min(poisson(expected[i], bits(key, counter)), full_well_e)
        if electrons > 0.0:
            multiplied = gamma(electrons, bits(key, counter + np.uint64(2))) * em_gain
            electrons = min(multiplied, full_well_e * em_gain)
        electrons += read_noise_e[i * step] * normal(bits(key, counter + np.uint64(1)))
        adu = offset[i * step] + electrons * adu_per_e[i * step] + 0.5
        out[i] = np.uint16(min(max(adu, 0.0), top_adu))


class CameraNoise:
    """Turns expected photo-electrons into counts, for one calibrated camera.

    Args:
        calibration: the camera; its maps are .npy files of the sensor's shape.
        sensor_shape: (H, W) of the whole sensor.
        seed: of all noise that this object makes.

    Raises:
        InputError: a map cannot be read or has another shape than the sensor.
    """

    def __init__(self, calibration: CameraCalibration, sensor_shape: tuple[int, int], seed: int) -> None:
        self._calibration, self._shape, self._seed = calibration, sensor_shape, seed
        offset_adu = self._map("offset_map", calibration.offset_adu)
        adu_per_e = np.reciprocal(self._map("gain_map", calibration.electrons_per_adu))
        read_noise_e = self._map("read_noise_map", calibration.read_noise_e)
        if calibration.read_variance_map is not None:
            read_noise_e = np.sqrt(self._map("read_variance_map", calibration.read_noise_e**2))
        self._maps = np.broadcast_arrays(offset_adu, adu_per_e, read_noise_e)

    def _map(self, key: str, value: float) -> npt.NDArray[np.float32]:
        path = getattr(self._calibration, key)
        if path is None:
            return np.full((1, 1), value, np.float32)
        try:
            found = np.load(Path(path), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot read {path}: {error}", where=f"camera.{key}", remedy="name a .npy file"
            ) from error
        if found.shape != self._shape:
            raise InputError(f"shape {found.shape}", where=f"camera.{key}", allowed=f"{self._shape}, as the sensor")
        return np.asarray(found, np.float32)

    def expose(self, expected: Expected, out: Pixels, roi: Roi, frame: int) -> None:
        """Fill ``out`` (H, W) with counts for ``expected`` (H, W) photo-electrons of ``roi`` in frame number ``frame``.

        The same (seed, frame) gives the same counts; both arrays must be C-contiguous.
        """
        calibration = self._calibration
        flat, counts = expected.reshape(-1), out.reshape(-1)
        offset, adu_per_e, read_noise_e = (self._cropped(a, roi) for a in self._maps)
        step = 0 if offset.size == 1 else 1
        key = np.uint64(stream(self._seed, _PURPOSE, frame))
        well_e, top_adu = calibration.full_well_e, float(2**calibration.bit_depth - 1)
        if calibration.em_gain > 1:
            gain = calibration.em_gain
            _expose_emccd(flat, counts, key, offset, adu_per_e, read_noise_e, step, well_e, top_adu, gain)
        else:
            _expose(flat, counts, key, offset, adu_per_e, read_noise_e, step, well_e, top_adu)

    @staticmethod
    def _cropped(values: npt.NDArray[np.float32], roi: Roi) -> npt.NDArray[np.float32]:
        """The part of a map that ``roi`` reads out, flat; one value if no map is used at all."""
        if values.size > 1:
            values = values[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        return np.ascontiguousarray(values).reshape(-1)
