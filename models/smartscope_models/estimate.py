"""The camera's gain and zero level from an ordinary movie of unknown origin, by how noise grows with brightness.

Noise variance = slope · mean + intercept. Noise is what is left in the corner of the spectrum, where optics pass next
to nothing: the fourth difference along both axes, and the difference of two frames in a row where there are two. For
weights h with Σh² = 1 the expected square of the filtered image is slope · Σh²·mean + intercept whatever the noise's
distribution, so that both sides come from the same few pixels, medians and their bias are not needed, and structure
that varies within the filter does no harm. What does: structure so sharp that it reaches the corner (tiles that show it
at half the frequency are passed over), and neighbours whose noise is correlated (measured, and undone).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smartscope.config import CameraCalibration
from smartscope.frame import Pixels

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

TILE = 4
MARGIN = 4
"""Reach of the longest filter: closer to the edge it would see mirrored noise."""
SMALLEST_FRAME = 32
PAIRS = 3
FOURTH = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70)
SECOND_APART = np.array([1.0, 0.0, -2.0, 0.0, 1.0]) / np.sqrt(6)
FOURTH_APART = np.array([1.0, 0, -4, 0, 6, 0, -4, 0, 1]) / np.sqrt(70)
"""The same filter on every other pixel: what neighbours have in common does not touch it."""
LAG1_OF_FOURTH = 1.6
"""The fourth difference sees 1 - 1.6 ρ of a noise whose neighbours are correlated by ρ (2 · 56 / 70)."""
STRUCTURED = 1.8
"""Tiles with so much more than the noise at half the frequency are passed over."""
LEVELS = np.r_[np.linspace(0, 0.9, 10), 0.95, 0.975, 0.99, 0.995, 0.998, 1]
SMALLEST_GROUP = 20
BELIEVED = 0.05
"""No group of tiles is believed to better than this part of its variance, so that every brightness has its say."""
ROUNDS = 8
SIGNIFICANT = 3.0
CORRELATED = 0.1
"""Correlation of neighbouring pixels' noise from which a denoiser that takes it for white should be distrusted."""
MOST_CORRELATED = 0.3
"""Beyond this the image was interpolated, and the correction would be a guess."""
DARKEST = 0.001


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """Noise variance against brightness, in counts."""

    slope_adu: float
    intercept_adu2: float
    lag1_x: float = 0.0
    lag1_y: float = 0.0
    """Correlation of the noise of pixels that are neighbours along x, y."""
    fixed_pattern_adu2: float = 0.0
    """Part of the intercept that stays from frame to frame; known only of movies."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting a denoiser with this noise."""
        worst = max(self.lag1_x, self.lag1_y, key=abs)
        if abs(worst) < CORRELATED:
            return ()
        axis = "x" if worst == self.lag1_x else "y"
        said = f"the noise of neighbours along {axis} is correlated by {worst:.2f}: resampled or smoothed images?"
        return (f"{said} a denoiser takes part of it for structure",)

    def variance(self, mean_adu: npt.ArrayLike) -> Doubles:
        """Noise variance (ADU²) of pixels of that mean."""
        return np.maximum(self.slope_adu * np.asarray(mean_adu, np.float64) + self.intercept_adu2, 0.0)

    def calibration(self, camera: CameraCalibration, bits: int) -> CameraCalibration:
        """``camera`` with this noise, and the saturation that ``bits`` allow.

        Offset and read noise cannot be told apart by this alone: where the line meets zero above zero counts, that is
        the offset and the read noise is 0; else the offset is 0 and the read noise what is left. The noise is the same.
        """
        gain = 1 / self.slope_adu
        return camera.model_copy(
            update={
                "electrons_per_adu": gain,
                "offset_adu": max(-self.intercept_adu2 * gain, 0.0),
                "read_noise_e": gain * max(self.intercept_adu2, 0.0) ** 0.5,
                "em_gain": 1.0,
                "bit_depth": bits,
                "full_well_e": 2**bits * gain,
                "offset_map": None,
                "gain_map": None,
                "read_noise_map": None,
                "read_variance_map": None,
            }
        )


def estimate_calibration(frames: Sequence[Pixels], camera: CameraCalibration, bits: int) -> CameraCalibration:
    """``camera`` with gain, offset and read noise fitted to (H, W) frames; see ``NoiseEstimate.calibration``."""
    return estimate_noise(frames).calibration(camera, bits)


def chosen_frames(length: int) -> list[int]:
    """Which frames of a movie to estimate from: pairs that follow on each other, spread over the movie."""
    if length < 2:
        return list(range(length))
    starts = dict.fromkeys(int(start) // 2 * 2 for start in np.linspace(0, length - 2, PAIRS))
    return [index for start in starts for index in (start, start + 1)]


def estimate_noise(frames: Sequence[Pixels]) -> NoiseEstimate:
    """Fit the noise of (H, W) frames; frames 0 and 1, 2 and 3, … are compared, a single one with itself alone.

    Frames that hold no noise at all, or are too small, give a slope and an intercept of 1.
    """
    frames = [frame for frame in frames if min(frame.shape) >= SMALLEST_FRAME]
    tiles = _joined([_measure(*images) for images in _images(frames)])
    if len(frames) > 1 and not tiles.fine.any():  # the same frame again and again
        return estimate_noise(frames[:1])
    usable = tiles.fine > 0
    if usable.sum() < 2 * SMALLEST_GROUP:
        return NoiseEstimate(1.0, 1.0)
    floor = float(np.mean([np.quantile(frame, DARKEST) for frame in frames]))
    found, quiet = _without_structure(tiles, usable, floor)
    if len(frames) > 1:
        found = _with_fixed_pattern(found, frames[0])
    return _with_correlation(found, tiles, quiet)


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Means over tiles of 4 x 4 pixels, (N,) each."""

    around: Doubles
    """Brightness of the surroundings, whose noise is another's: sorts the tiles without favouring bright noise."""
    level: Doubles
    """Brightness, weighted as the filter weighs the noise."""
    fine: Doubles
    """Noise variance."""
    coarse: Doubles
    """The same at half the frequency, over 12 x 12 pixels: more than noise where there is sharp structure."""
    apart_x: Doubles
    apart_y: Doubles
    """Noise variance from pixels that are no neighbours along x, y."""
    saturated: Flags

    def __getitem__(self, chosen: Flags) -> _Tiles:
        return _Tiles(*(getattr(self, name)[chosen] for name in _Tiles.__slots__))


def _joined(parts: Sequence[_Tiles]) -> _Tiles:
    if not parts:
        nothing = np.empty(0)
        return _Tiles(nothing, nothing, nothing, nothing, nothing, nothing, nothing > 0)
    return _Tiles(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Tiles.__slots__))


def _images(frames: Sequence[Pixels]) -> Iterator[tuple[Doubles, Doubles, Flags]]:
    """(image that holds the noise, brightness, saturated), (H, W) each, of every pair or of the only frame."""
    top = max((int(frame.max()) for frame in frames), default=0)
    full = top if (top + 1) & top == 0 and top >= 255 else top + 1  # 255, 1023, 4095 … is where a converter ends
    if len(frames) == 1:
        yield frames[0].astype(np.float64), frames[0].astype(np.float64), frames[0] >= full
    for first, second in zip(frames[::2], frames[1::2], strict=False):
        a, b = first.astype(np.float64), second.astype(np.float64)
        yield (a - b) / np.sqrt(2), (a + b) / 2, (first >= full) | (second >= full)


def _measure(noise: Doubles, level: Doubles, saturated: Flags) -> _Tiles:
    mean = _tiled(level)
    return _Tiles(
        around=((9 * ndimage.uniform_filter(mean, 3, mode="mirror") - mean) / 8).ravel(),
        level=_tiled(_filtered(level, FOURTH**2, FOURTH**2)).ravel(),
        fine=_tiled(_filtered(noise, FOURTH, FOURTH) ** 2).ravel(),
        coarse=ndimage.uniform_filter(_tiled(_filtered(noise, SECOND_APART, SECOND_APART) ** 2), 3).ravel(),
        apart_x=_tiled(_filtered(noise, FOURTH, FOURTH_APART) ** 2).ravel(),
        apart_y=_tiled(_filtered(noise, FOURTH_APART, FOURTH) ** 2).ravel(),
        saturated=_tiled(ndimage.uniform_filter(saturated.astype(np.float64), 5)).ravel() > 1e-9,
    )


def _filtered(image: Doubles, down: Doubles, across: Doubles) -> Doubles:
    rows = ndimage.correlate1d(image, down, axis=0, mode="mirror")
    return np.asarray(ndimage.correlate1d(rows, across, axis=1, mode="mirror"), np.float64)


def _tiled(image: Doubles) -> Doubles:
    """(h, w) means over tiles, the margin left out."""
    inner = image[MARGIN:-MARGIN, MARGIN:-MARGIN]
    height, width = (n // TILE for n in inner.shape)
    cut = inner[: height * TILE, : width * TILE].reshape(height, TILE, width, TILE)
    return np.asarray(cut.mean((1, 3)), np.float64)


# ---------------------------------------------------------------- what is made of it


def _without_structure(tiles: _Tiles, usable: Flags, floor: float) -> tuple[NoiseEstimate, Flags]:
    """The line, and the tiles that show nothing but noise: fitted, sorted by the fit, fitted again."""
    quiet = usable
    for _ in range(ROUNDS):
        found = _line(*_groups(tiles[quiet]), floor)
        before, quiet = quiet, usable & (tiles.coarse < STRUCTURED * _expected(found, tiles))
        if (quiet == before).all():
            break
        if quiet.sum() < 2 * SMALLEST_GROUP:  # nothing but structure: rather too much noise than none
            return found, before
    return found, quiet


def _expected(found: NoiseEstimate, tiles: _Tiles) -> Doubles:
    """Noise variance of each tile by the fit; never 0, for the fit knows nothing of what is darker than all groups."""
    variance = found.variance(tiles.level)
    return np.maximum(variance, 0.2 * float(np.median(variance)) + 1e-6)


def _groups(tiles: _Tiles) -> tuple[Doubles, Doubles, Doubles]:
    """Brightness, noise variance and its relative standard error of groups of tiles alike in brightness, (K,) each."""
    many = len(tiles.level) >= 50 * len(LEVELS)
    levels = LEVELS if many else np.linspace(0, 1, max(1, len(tiles.level) // (2 * SMALLEST_GROUP)) + 1)
    edges = np.unique(np.quantile(tiles.around, levels))
    group = np.clip(np.searchsorted(edges, tiles.around, side="right") - 1, 0, max(len(edges) - 2, 0))
    number = np.maximum(np.bincount(group), 1)

    def mean(values: npt.NDArray[np.generic]) -> Doubles:
        return np.asarray(np.bincount(group, values) / number, np.float64)

    level, variance, square = mean(tiles.level), mean(tiles.fine), mean(tiles.fine**2)
    good = (number >= SMALLEST_GROUP) & (mean(tiles.saturated) < 0.02)
    if not good.any():  # better a part of the noise than none
        good = number == number.max()
    error = np.sqrt(np.maximum(square - variance**2, 0) / number) / np.maximum(variance, 1e-12)
    return level[good], variance[good], error[good]


def _line(level: Doubles, variance: Doubles, error: Doubles, floor: float) -> NoiseEstimate:
    """Weighted line through the groups, by relative deviation.

    A field of one brightness tells no slope: then the noise is taken for shot noise above the darkest counts, which a
    slope that the groups do tell overrules.
    """
    belief = 1 / (error**2 + BELIEVED**2)
    fitted = variance
    guess = float(np.median(variance) / max(np.median(level) - floor, 1e-3))
    for _ in range(ROUNDS):
        weight = belief / fitted**2
        x, y = np.average(level, weights=weight), np.average(variance, weights=weight)
        spread = np.sum(weight * (level - x) ** 2)
        common = np.sum(weight * (level - x) * (variance - y))
        slope = max((common + 1 / guess) / (spread + 1 / guess**2), 1e-3 * guess)
        fitted = np.maximum(slope * level + y - slope * x, variance / 20)
    return NoiseEstimate(float(slope), float(y - slope * x))


def _with_fixed_pattern(found: NoiseEstimate, first: Pixels) -> NoiseEstimate:
    """What differs between pixels but not between frames is noise to whoever looks at one frame.

    It is the same at every brightness; what is left of structure is not, but that is where the noise is large and the
    weight small.
    """
    tiles = _joined([_measure(*images) for images in _images([first])])
    quiet = (tiles.fine > 0) & (tiles.coarse < STRUCTURED * _expected(found, tiles))
    if quiet.sum() < 2 * SMALLEST_GROUP:
        return found
    level, variance, error = _groups(tiles[quiet])
    weight = 1 / np.maximum(variance * error, 1e-9) ** 2
    excess = float(np.average(variance - found.variance(level), weights=weight))
    if excess < SIGNIFICANT / np.sqrt(weight.sum()):
        return found
    return replace(found, intercept_adu2=found.intercept_adu2 + excess, fixed_pattern_adu2=excess)


def _with_correlation(found: NoiseEstimate, tiles: _Tiles, quiet: Flags) -> NoiseEstimate:
    """The noise of the whole spectrum, of which correlated neighbours show less in the corner."""
    scale = 1 / _expected(found, tiles)[quiet]
    fine = np.mean(tiles.fine[quiet] * scale)
    lags, factor = [], 1.0
    for apart in (tiles.apart_x, tiles.apart_y):
        lag = float((1 - fine / np.mean(apart[quiet] * scale)) / LAG1_OF_FOURTH)
        lags.append(lag)
        factor /= 1 - LAG1_OF_FOURTH * min(max(lag, -MOST_CORRELATED), MOST_CORRELATED)
    return replace(
        found,
        slope_adu=found.slope_adu * factor,
        intercept_adu2=found.intercept_adu2 * factor,
        lag1_x=lags[0],
        lag1_y=lags[1],
    )
