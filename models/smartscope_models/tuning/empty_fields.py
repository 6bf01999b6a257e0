"""Fields with nothing in them but background, as the camera in use would record them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from smartscope.config import CAMERA_MAPS, CameraCalibration
from smartscope.frame import Roi
from smartscope.optics.camera_noise import CameraNoise
from smartscope_models.calibration import PixelCalibration
from smartscope_models.denoise.network import nominal_values
from smartscope_models.training.network import electrons
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.views import View

FIELDS = 2
DARK = 0.1
"""Quantile of the light in view that is taken for its background."""


def empty_clips(camera: CameraCalibration, like: Clip, background_e: float, length: int, seed: int) -> list[Clip]:
    """Clips of evenly lit, empty fields; photo-electrons per pixel and frame."""
    height, width = like.pixels.shape[1:]
    sensor, roi = _sensor(camera, like.roi, (height, width))
    noise = CameraNoise(camera, sensor, seed)
    light = np.full((height, width), background_e, np.float32)
    clips = []
    for field in range(FIELDS):
        pixels = np.empty((length, height, width), np.uint16)
        for k in range(length):
            noise.expose(light, pixels[k], roi, field * length + k)
        clips.append(Clip(pixels, like.roi, 0))
    return clips


def background_e(views: Sequence[View], pixels: PixelCalibration) -> float:
    """Photo-electrons of the darkest tenth of what is in view, from means over the clip and 4 x 4 pixels."""
    cells = torch.cat([functional.avg_pool2d(view.stable.mean(1, keepdim=True), 4).flatten() for view in views])
    dark = electrons(cells.quantile(DARK).reshape(1, 1, 1, 1), torch.from_numpy(nominal_values(pixels))[None])
    return max(0.0, float(dark)) * pixels.excess


def _sensor(camera: CameraCalibration, roi: Roi, shape: tuple[int, int]) -> tuple[tuple[int, int], Roi]:
    """The sensor's (H, W), that of its maps if there are any, and where in it the frames lie."""
    maps = [path for key in CAMERA_MAPS if (path := getattr(camera, key))]
    sensor = np.load(maps[0], mmap_mode="r").shape if maps else (roi.y + shape[0], roi.x + shape[1])
    if sensor == shape:
        return shape, Roi(0, 0, shape[1], shape[0])
    return (sensor[0], sensor[1]), Roi(roi.x, roi.y, shape[1], shape[0])
