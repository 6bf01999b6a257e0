"""How stage and camera lie to each other, measured: the stage steps, the image shifts, a 2x2 matrix is fitted.

The matrix says which stage displacement (um) brings an object back that lies one (x, y) sensor pixel off; it goes into
``microscope.stage.affine_um_per_px``. Shifts are found by phase correlation, refined to a fraction of a pixel by a
matrix Fourier transform around the peak (Guizar-Sicairos, Thurman, Fienup, Opt. Lett. 33, 156, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from smartscope.command import MoveStage
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.ports import Clock, Microscope

Image = npt.NDArray[np.float32]
UPSAMPLING = 50
"""Shifts are found to 1/50 pixel."""
MAX_RESIDUAL = 0.05
"""Steps that disagree with the fit by more than this part of their length are no clean measurement."""
MIN_PEAK = 6.0
"""A correlation peak counts that stands so many standard deviations above zero."""
TRIES = 50


@dataclass(frozen=True, slots=True)
class StageCalibration:
    """The measured matrix and how well the steps agree with it."""

    affine_um_per_px: tuple[tuple[float, float], tuple[float, float]]
    residual_px: float
    """Root mean square over the steps."""
    steps: int


def measure_stage_affine(
    microscope: Microscope, clock: Clock, *, step_um: float, rounds: int = 2, average: int = 4
) -> StageCalibration:
    """Step along +x, -x, +y, -y from the present place and back, comparing each time; light is the caller's.

    ``step_um`` should move the image by a tenth of the field or so; ``average`` frames are summed at each place.

    Raises:
        DeviceError: no stage, nothing to see, or steps that contradict each other.
    """
    if not microscope.capabilities().has_xy:
        raise DeviceError("this microscope has no XY stage", remedy="give its label in microscope.options")
    now = microscope.settings()
    moved_um, shifted_px = [], []
    microscope.start(0)
    try:
        home = _image_at(microscope, clock, now.x_um, now.y_um, average)
        for dx, dy in ((step_um, 0.0), (-step_um, 0.0), (0.0, step_um), (0.0, -step_um)) * rounds:
            away = _image_at(microscope, clock, now.x_um + dx, now.y_um + dy, average)
            home_again = _image_at(microscope, clock, now.x_um, now.y_um, average)
            moved_um.append((dx, dy))
            # the mean of there and back is free of what moves steadily in the sample
            shifted_px.append(np.mean([image_shift(home, away), image_shift(home_again, away)], axis=0))
            home = home_again
    finally:
        microscope.stop()
    return fit(np.array(moved_um), np.array(shifted_px))


def fit(moved_um: npt.NDArray[np.float64], shifted_px: npt.NDArray[np.float64]) -> StageCalibration:
    """Least squares over stage moves (N, 2) and image shifts (N, 2), both (x, y).

    Raises:
        DeviceError: the shifts do not follow the moves.
    """
    # shift = moved @ per_um; an object d px off comes back when the image shifts by -d, hence the sign
    per_um, *_ = np.linalg.lstsq(moved_um, shifted_px, rcond=None)
    residual_px = float(np.sqrt(np.mean((moved_um @ per_um - shifted_px) ** 2)))
    length_px = float(np.sqrt(np.mean(np.sum(shifted_px**2, axis=1))))
    remedy = "choose a sparse, structured, resting sample and a step of a tenth of the field; check the light"
    if length_px < 1 or np.linalg.cond(per_um) > 2:
        found = ", ".join(f"({x:.1f}, {y:.1f})" for x, y in shifted_px[:4])
        raise DeviceError(
            "the image does not follow the stage", where="affine", allowed=f"found {found} px", remedy=remedy
        )
    if residual_px > MAX_RESIDUAL * length_px:
        allowed = f"{MAX_RESIDUAL:.0%} of {length_px:.1f} px"
        raise DeviceError(
            f"steps contradict each other by {residual_px:.2f} px", where="affine", allowed=allowed, remedy=remedy
        )
    (a, b), (c, d) = (-np.linalg.inv(per_um.T)).tolist()
    return StageCalibration(((a, b), (c, d)), residual_px, len(moved_um))


def image_shift(before: Image, after: Image) -> tuple[float, float]:
    """(x, y) by which the content of ``after`` lies off that of ``before``, pixels.

    Raises:
        DeviceError: the images have nothing in common.
    """
    correlation = scipy.fft.ifft2(_cross_spectrum(before, after)).real
    peak = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    if correlation[peak] < MIN_PEAK * correlation.std():
        raise DeviceError(
            "the images have nothing in common", where="affine", remedy="use a smaller step, or more light"
        )
    row, column = (int(p - n if p > n // 2 else p) for p, n in zip(peak, correlation.shape, strict=True))
    # the window pulls large shifts towards zero: what is left of them is measured on the part that both images show
    here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip((row, column), before.shape, strict=True))
    there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip((row, column), before.shape, strict=True))
    dy, dx = _near_zero(_cross_spectrum(before[here], after[there]))
    return column + dx, row + dy


def _cross_spectrum(before: Image, after: Image) -> npt.NDArray[np.complex64]:
    """Cross power spectrum, half whitened: full phase correlation gives the noise of empty frequencies a full say."""
    spectrum: npt.NDArray[np.complex64]
    spectrum = scipy.fft.fft2(_windowed(after)) * np.conj(scipy.fft.fft2(_windowed(before)))
    spectrum /= np.sqrt(np.abs(spectrum)) + np.finfo(np.float32).tiny
    return spectrum


def _near_zero(spectrum: npt.NDArray[np.complex64]) -> tuple[float, float]:
    """(row, column) of the correlation peak on a grid of 1/UPSAMPLING px within 1.5 px of no shift."""
    offsets = np.arange(-1.5, 1.5 + 1e-9, 1 / UPSAMPLING)
    rows, columns = (np.exp(2j * np.pi * np.outer(offsets, scipy.fft.fftfreq(n))) for n in spectrum.shape)
    fine = (rows @ spectrum @ columns.T).real
    row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
    return float(offsets[row]), float(offsets[column])


def _windowed(image: Image) -> Image:
    """The image without its mean and fading to zero at its edges, which would correlate with themselves."""
    rows, columns = (np.hanning(n).astype(np.float32) for n in image.shape)
    faded: Image = (image - image.mean()) * rows[:, None] * columns
    return faded


def _image_at(microscope: Microscope, clock: Clock, x_um: float, y_um: float, average: int) -> Image:
    """Sum of frames that were exposed after the stage came to rest at a place."""
    applied = microscope.apply(MoveStage(x_um, y_um))
    frames: list[Image] = []
    for _ in range(TRIES + average):
        if clock.virtual:
            clock.sleep((microscope.frame_due_ns() - clock.now_ns()) / 1e9)
        frame = microscope.next_frame(5.0)
        if frame is not None and frame.t_start_ns >= applied.t_effect_ns and not frame.mixed:
            frames.append(frame.pixels.astype(np.float32))
        if len(frames) == average:
            total: Image = np.sum(frames, axis=0, dtype=np.float32)
            return total
    raise DeviceTimeout("no frame came after the stage had settled", where="affine", remedy="check camera and stage")
