"""Only this file knows how z-stacks of beads become one point spread function.

In turn, each bead is placed against the common spline (least squares in x, y, z, brightness, background), and what it
leaves unexplained is carried back to the spline, so that interpolation errors do not stay. Beads that fit badly are
left out. Heights are smoothed at last: nothing finer than the objective's axial resolution is light. After Li et al.,
Nature Methods 15 (2018) 367, whose beads are averaged after registration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smartscope.errors import InputError
from smartscope.optics.point_spread.beads import cut_beads, find_beads
from smartscope.optics.point_spread.spline import SplinePointSpread

Doubles = npt.NDArray[np.float64]
ROUNDS = 5
STEPS = 8
PLACED = 1e-3
"""Pixels and planes: a bead that moves less than this has found its place."""
WIDTH_UM = 2.5
SMALLEST_PX, LARGEST_PX = 13, 41
FARTHEST_STEPS = 3
"""A bead may stand so many z-steps above or below the others."""
FARTHEST_PX = 1.5
OUTLIER = 2.5
"""Beads left out: those that leave so many times as much unexplained as the median bead."""
WORST_FIT = 0.2
ENOUGH_BEADS = 8
SMOOTH_NM = 300.0
"""Period along z of which half passes."""


@dataclass(frozen=True, slots=True, eq=False)
class BeadCalibration:
    """What a stack of beads says, and how well."""

    spline: SplinePointSpread
    beads: int
    """Used of those found."""
    found: int
    unexplained: float
    """Root mean square of measured minus fitted light, over that of the light: noise included."""

    @property
    def warnings(self) -> Iterator[str]:
        """What is not good enough, each with what to do."""
        if self.beads < ENOUGH_BEADS:
            yield f"{self.beads} beads used: {ENOUGH_BEADS} or more average out noise and pixel phase"
        if self.beads < 0.5 * self.found:
            yield f"{self.found - self.beads} of {self.found} beads look different: do they lie in one plane?"
        if self.unexplained > WORST_FIT / 2:
            yield f"{self.unexplained:.0%} of the light is not explained: take brighter beads, or a smaller field"


@dataclass(frozen=True, slots=True, eq=False)
class _Bead:
    """Where one bead stands against the spline."""

    light: Doubles
    """(Z, n, n)."""
    x: float = 0.0
    """From the middle of its window, pixels."""
    y: float = 0.0
    z: float = 0.0
    """Planes."""
    brightness: float = 1.0
    background: float = 0.0
    unexplained: float = 0.0

    @property
    def near(self) -> bool:
        """Whether it can be compared with the others."""
        return max(abs(self.x), abs(self.y)) < FARTHEST_PX and abs(self.z) < FARTHEST_STEPS and self.brightness > 0


def window_px(pixel_size_nm: float) -> int:
    """Odd number of pixels that hold a bead at all heights."""
    half = round(WIDTH_UM * 1e3 / pixel_size_nm / 2)
    return min(max(2 * half + 1, SMALLEST_PX), LARGEST_PX)


def spline_from_beads(
    stack: npt.ArrayLike, *, z_step_nm: float, pixel_size_nm: float, size_px: int | None = None
) -> BeadCalibration:
    """The point spread function of the beads in ``stack`` (Z, H, W), photo-electrons, one plane for each height.

    Heights count from the sharpest plane; ``z_step_nm`` is negative where later frames show lower molecules.
    ``size_px``: odd width of the window; None: about 2.5 um.

    Raises:
        InputError: no z-stack, no bead that stands alone, or beads that do not look alike.
    """
    if not z_step_nm or (size_px or 1) % 2 == 0:
        raise InputError(
            f"a z-step of {z_step_nm} nm, windows of {size_px} pixels",
            where="bead stack",
            allowed="a z-step that is not 0, an odd width",
            remedy="correct --z-step-nm and --size-px",
        )
    size = size_px or window_px(pixel_size_nm)
    values = np.asarray(stack)[:: -1 if z_step_nm < 0 else 1]
    places = find_beads(values, size + 4)
    beads = [_start(light) for light in cut_beads(values, places, size + 4)]
    samples = np.average([(b.light - b.background) / b.brightness for b in beads], axis=0)
    used = beads
    for round_ in range(ROUNDS):
        samples = _centred(samples)
        beads = [_placed(bead, samples) for bead in beads]
        used = _alike(beads) if round_ else [bead for bead in beads if bead.near]
        if not used:
            break
        samples = _improved(samples, used)
    _judge(used, len(places))
    inner = smoothed(samples, SMOOTH_NM / abs(z_step_nm))[FARTHEST_STEPS:-FARTHEST_STEPS, 2:-2, 2:-2]
    inner /= inner.sum(axis=(1, 2)).max()
    step = abs(z_step_nm)
    spline = SplinePointSpread.through(
        inner, low_nm=-step * _sharpest(inner), step_nm=step, pixel_size_nm=pixel_size_nm
    )
    return BeadCalibration(spline, len(used), len(places), float(np.median([bead.unexplained for bead in used])))


def _start(light: Doubles) -> _Bead:
    """Background from the rim of the plane where it is darkest; brightness from the brightest plane."""
    rim = np.concatenate([light[:, 0], light[:, -1], light[:, :, 0], light[:, :, -1]], axis=1)
    background = ndimage.gaussian_filter1d(rim.mean(axis=1), 2).min()
    brightness = (light - background).sum(axis=(1, 2)).max()
    return _Bead(light, brightness=float(brightness), background=float(background))


def _spline(samples: Doubles) -> SplinePointSpread:
    """In planes and pixels."""
    return SplinePointSpread.through(samples, low_nm=0.0, step_nm=1.0, pixel_size_nm=1.0)


def _placed(bead: _Bead, samples: Doubles) -> _Bead:
    """The bead where it fits best: Gauss-Newton, each pixel weighed by its Poisson noise."""
    spline, planes, middle = _spline(samples), np.arange(len(samples)), (samples.shape[1] - 1) / 2
    at = np.array([bead.x, bead.y, bead.z, bead.brightness, bead.background])
    longest = np.array([0.5, 0.5, 1.0, 0.5 * bead.brightness, np.inf])
    for _ in range(STEPS):
        spots = spline.spots(middle + at[0], middle + at[1], planes - at[2], samples.shape[1:])
        model = at[3] * spots.values + at[4]
        slopes = (at[3] * spots.by_x, at[3] * spots.by_y, -at[3] * spots.by_z, spots.values, np.ones_like(model))
        jacobian = np.stack([slope.ravel() for slope in slopes])
        weights = 1 / np.maximum(model, 1e-3 * model.max()).ravel()
        left = (bead.light - model).ravel()
        step = np.linalg.lstsq((jacobian * weights) @ jacobian.T, (jacobian * weights) @ left, rcond=None)[0]
        at += np.clip(step, -longest, longest)
        if np.abs(step[:3]).max() < PLACED:
            break
    unexplained = np.sqrt(np.sum(left**2) / np.sum((model - at[4]) ** 2))
    x, y, z, brightness, background = (float(value) for value in at)
    return replace(bead, x=x, y=y, z=z, brightness=brightness, background=background, unexplained=float(unexplained))


def _alike(beads: list[_Bead]) -> list[_Bead]:
    """Without those that stand elsewhere or look different."""
    near = [bead for bead in beads if bead.near]
    limit = OUTLIER * np.median([bead.unexplained for bead in near]) if near else 0.0
    return [bead for bead in near if bead.unexplained <= limit]


def _improved(samples: Doubles, beads: list[_Bead]) -> Doubles:
    """With what the beads leave, carried back to where the common one stands; bright beads count more."""
    spline, planes, middle = _spline(samples), np.arange(len(samples)), (samples.shape[1] - 1) / 2
    left = np.zeros_like(samples)
    for bead in beads:
        spots = spline.spots(middle + bead.x, middle + bead.y, planes - bead.z, samples.shape[1:])
        unexplained = bead.light - bead.background - bead.brightness * spots.values
        left += ndimage.shift(unexplained, (-bead.z, -bead.y, -bead.x), mode="nearest")
    improved = samples + left / sum(bead.brightness for bead in beads)
    return np.asarray(improved - _start(improved).background)


def _centred(samples: Doubles) -> Doubles:
    """With the centroid of the sharpest plane in the middle."""
    plane = np.maximum(samples[round(_sharpest(samples))], 0) ** 2
    rows, columns = np.indices(plane.shape) - (len(plane) - 1) / 2
    shift = 0.0, -(plane * rows).sum() / plane.sum(), -(plane * columns).sum() / plane.sum()
    return np.asarray(ndimage.shift(samples, shift, mode="nearest"))


def _sharpest(samples: Doubles) -> float:
    """Plane whose light is closest together, between planes by a parabola."""
    sharp = ndimage.gaussian_filter1d((samples**2).sum(axis=(1, 2)), 1)
    k = int(np.clip(sharp.argmax(), 1, len(sharp) - 2))
    before, at, after = sharp[k - 1 : k + 2]
    bend = before - 2 * at + after
    return float(k + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else float(k)


def smoothed(samples: Doubles, period_planes: float) -> Doubles:
    """Along z, with a penalty on third differences: half of ``period_planes`` passes (Eilers, Analytical Chemistry 75
    (2003) 3631)."""
    n = len(samples)
    third = np.diff(np.eye(n), 3, axis=0)
    penalty = (2 * np.sin(np.pi / max(period_planes, 2))) ** -6
    return np.asarray(np.tensordot(np.linalg.inv(np.eye(n) + penalty * third.T @ third), samples, axes=1))


def _judge(used: list[_Bead], found: int) -> None:
    unexplained = float(np.median([bead.unexplained for bead in used])) if used else 1.0
    if unexplained > WORST_FIT:
        raise InputError(
            f"{found} beads do not look alike: {unexplained:.0%} of the light is not explained by a common shape",
            where="bead stack",
            allowed=f"{WORST_FIT:.0%}",
            remedy="take brighter beads that lie in one plane, with a z-step of 50 nm or less and no drift",
        )
