"""Point-like objects with sub-pixel places: which frame they are sought in, which are kept, and their units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from smartscope.frame import Frame
from smartscope.ports import Instrument, whole_sensor
from smartscope.result import Detections, Result
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import PixelCalibration, SensorCalibration
from smartscope_models.detection.gauss_fit import fit_spots
from smartscope_models.detection.matched_filter import SpotFilter, peaks, respond
from smartscope_models.detection.objects import detections_of, joined
from smartscope_models.mirror import place, sources

SPOT = 0
"""Label of a spot."""
LARGEST_CURVATURE_RATIO = 4.0
NARROWEST, WIDEST = 0.6, 2.5
"""Fitted over expected width beyond which a spot is a flaw of the camera, or part of something larger."""


class _Work:
    """Arrays for one frame size, overwritten by each frame."""

    def __init__(self, shape: tuple[int, int], margin: int) -> None:
        self.shape = shape
        self.rows, self.columns = (sources(n, margin) for n in shape)
        self.stable, self.response = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.padded = np.zeros((len(self.rows), len(self.columns)), np.float32)
        self.lines = np.zeros((2, len(self.columns)), np.float32)


class SpotDetector:
    """Finds spots of about the optics' width, at a stated false-alarm rate.

    In the raw frame, whose noise is known; or, where ``source`` says so, in the denoised image if there is one: at a
    third of the light it shows nearly what the raw frame shows at full light. A denoiser leaves less noise than the
    camera makes, so that the camera's threshold is on the safe side.
    """

    history = 0

    def __init__(
        self,
        setup: Instrument,
        *,
        source: Literal["frame", "image"] = "frame",
        false_alarms_per_megapixel: Annotated[float, Field(gt=0, le=10_000)] = 1.0,
        sigma_px: Annotated[float, Field(ge=0.6, le=20)] | None = None,
        polarity: Literal["bright", "dark"] = "bright",
        max_spots: Annotated[int, Field(ge=1, le=1_000_000)] = 5000,
    ) -> None:
        """sigma_px: Gaussian width of a spot; None: 0.21 wavelength / NA (Zhang et al., Appl Opt 46:1819, 2007).

        max_spots: the brightest of them are kept.
        """
        optics, camera = setup.optics, setup.camera
        widefield = 0.21 * optics.emission_nm / optics.numerical_aperture / camera.pixel_size_nm
        self._sigma = max(widefield, 0.6) if sigma_px is None else sigma_px
        self._filter = SpotFilter.of(self._sigma)
        self._threshold = self._filter.threshold(false_alarms_per_megapixel)
        self._margin = len(self._filter.narrow)
        self._sign = 1.0 if polarity == "bright" else -1.0
        self._places = np.zeros((4 * max_spots, 2), np.int64)
        self._max_spots = max_spots
        self.reads: frozenset[str] = frozenset({"image"} if source == "image" else ())
        self._calibration = SensorCalibration(camera)
        flat = camera.model_copy(update={"offset_map": None, "gain_map": None, "read_noise_map": None})
        self._nominal = SensorCalibration(flat)
        self._known: tuple[PixelCalibration, Anscombe] | None = None
        self._work = _Work((1, 1), self._margin)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._find(np.zeros(shape, np.uint16), self._calibration.region(whole_sensor(shape), shape))
        calibration = self._calibration.region(whole_sensor((9, 9)), (9, 9))
        self._fit(np.zeros((9, 9), np.uint16), calibration, np.array([[4, 4]]))
        if self.reads:
            self._find(np.zeros(shape, np.float32), self._nominal.region(whole_sensor(shape), shape))
            self._fit(np.zeros((9, 9), np.float32), calibration, np.array([[4, 4]]))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the spots of ``frames[-1]`` added to ``detections``."""
        pixels: np.ndarray = frames[-1].pixels
        calibration = self._calibration.of(frames[-1])
        if self.reads and so_far.image is not None:
            pixels, calibration = so_far.image, self._nominal.of(frames[-1])
        spots = self._fit(pixels, calibration, self._find(pixels, calibration))
        return replace(so_far, detections=joined(so_far.detections, spots))

    def _find(self, pixels: np.ndarray, calibration: PixelCalibration) -> np.ndarray:
        """(K, 2) row and column of the maxima above the threshold, strongest first if there are too many."""
        if pixels.shape != self._work.shape:
            self._work = _Work((pixels.shape[0], pixels.shape[1]), self._margin)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Anscombe(calibration)
        work, template = self._work, self._filter
        self._known[1].forward(pixels, work.stable)
        place(work.stable, self._margin, work.rows, work.columns, work.padded)
        gain, sign = np.float32(template.gain), np.float32(self._sign)
        respond(work.padded, template.narrow, template.wide, gain, sign, self._margin, work.lines, work.response)
        level = self._threshold * _spread(work.response)
        found = peaks(work.response, np.float32(level), LARGEST_CURVATURE_RATIO, self._places)
        places = self._places[: min(found, len(self._places))]
        if len(places) > self._max_spots:
            strength = work.response[places[:, 0], places[:, 1]]
            places = places[np.argsort(-strength, kind="stable")[: self._max_spots]]
        return places

    def _fit(self, pixels: np.ndarray, calibration: PixelCalibration, places: np.ndarray) -> Detections:
        fitted = np.empty((len(places), 4))
        radius = math.ceil(2.2 * self._sigma)
        fit_spots(
            pixels, calibration.offset_adu, calibration.electrons_per_adu, places, self._sign, self._sigma, radius,
            calibration.excess, calibration.nominal_read_variance_e2, fitted,
        )  # fmt: skip
        width_px = fitted[:, 2]
        likely = (width_px > NARROWEST * self._sigma) & (width_px < WIDEST * self._sigma)
        height, width = pixels.shape
        x, y = fitted[:, 0], fitted[:, 1]
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        x, y, size, total = fitted[inside & likely].T
        return detections_of(x, y, size, total, SPOT)


def _spread(response: np.ndarray) -> float:
    """Standard deviation of the background's response, from a sample's median deviation; at least the known 1.

    More than 1 where the calibration is off, or where structure fills the frame.
    """
    sample = np.abs(response[::4, ::4])
    return max(1.0, 1.4826 * float(np.median(sample)))
