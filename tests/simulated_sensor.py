"""A sensor whose pixels differ in a known way, and its frames: what a camera calibration must find again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartscope.camera_calibration import Level, LevelStatistics
from smartscope.config import CameraCalibration
from smartscope.frame import Pixels
from smartscope.optics.camera_noise import CameraNoise
from smartscope.ports import whole_sensor

SHAPE = (64, 96)
SCMOS = CameraCalibration(offset_adu=100, electrons_per_adu=0.46, read_noise_e=1.4)
EMCCD = CameraCalibration(offset_adu=200, electrons_per_adu=5, read_noise_e=50, em_gain=200, full_well_e=50_000)
SCMOS_LEVELS_E = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0)
EMCCD_LEVELS_E = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
FIELD = (1 - 0.3 * np.linspace(-1, 1, SHAPE[1]) ** 2 * np.ones(SHAPE)).astype(np.float32)
"""The light: brighter in the middle."""


class Sensor:
    """``CameraNoise`` with maps that are drawn from a seed: (H, W) float64."""

    def __init__(
        self,
        folder: Path,
        camera: CameraCalibration = SCMOS,
        *,
        gain_spread: float = 0.01,
        bits: int = 16,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.offset_adu = camera.offset_adu + rng.normal(0, 2, SHAPE)
        self.electrons_per_adu = camera.electrons_per_adu / np.clip(rng.normal(1, gain_spread, SHAPE), 0.7, 1.3)
        self.read_noise_e = camera.read_noise_e * np.exp(rng.normal(0, 0.25, SHAPE))
        self.hot = rng.random(SHAPE) < 2e-3
        self.read_noise_e[self.hot] *= 12
        maps = {
            "offset_map": self.offset_adu,
            "gain_map": self.electrons_per_adu,
            "read_noise_map": self.read_noise_e,
        }
        for name, values in maps.items():
            np.save(folder / f"true_{name}.npy", values)
        self.camera = camera.model_copy(
            update={"bit_depth": bits, **{name: str(folder / f"true_{name}.npy") for name in maps}}
        )
        self._noise = CameraNoise(self.camera, SHAPE, seed)
        self._frame = 0

    def frames(self, light_e: float, number: int, *, fades_to: float = 1.0) -> Iterator[Pixels]:
        """Frames of the field at so many electrons in its middle; the last is dimmer by ``fades_to``."""
        for k in range(number):
            out = np.empty(SHAPE, np.uint16)
            dimmed = 1 - (1 - fades_to) * k / max(number - 1, 1)
            self._noise.expose(FIELD * np.float32(light_e * dimmed), out, whole_sensor(SHAPE), self._frame)
            self._frame += 1
            yield out

    def dark(self, number: int = 400) -> Level:
        """A dark level."""
        return self.level(0.0, number, None)

    def level(self, light_e: float, number: int, offset_adu: float | None, *, fades_to: float = 1.0) -> Level:
        """A light level, or with no offset a dark one."""
        statistics = LevelStatistics(f"{light_e:g} e", offset_adu=offset_adu)
        for pixels in self.frames(light_e, number, fades_to=fades_to):
            statistics.add(pixels)
        return statistics.level()

    def lights(self, levels_e: tuple[float, ...], number: int, dark: Level, **options: float) -> list[Level]:
        """Light levels above this dark."""
        offset_adu = float(dark.mean_adu.mean())
        return [self.level(light_e, number, offset_adu, **options) for light_e in levels_e]

    @property
    def dark_variance_adu2(self) -> npt.NDArray[np.float64]:
        """Read noise in counts, with that of the rounding."""
        return np.asarray((self.read_noise_e / self.electrons_per_adu) ** 2 + 1 / 12)
