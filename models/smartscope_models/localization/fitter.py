"""All molecules of a frame: fits in groups; spots added, split, joined and taken away until the frame is explained.

The way of 3D-DAOSTORM (Babcock et al., Opt Nanoscopy 1:6, 2012), find in what is left and fit all again, with two
differences: neighbours are one least-uncertainty problem instead of taking turns, and what is added has to win odds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smartscope.config import PointSpreadConfig
from smartscope_models.calibration import Floats
from smartscope_models.localization.background import first_background, refine_background
from smartscope_models.localization.brightness import Brightness
from smartscope_models.localization.candidates import half_profile, maxima, score_map, threshold
from smartscope_models.localization.fit_elliptical import MARGIN, astigmatic_curve
from smartscope_models.localization.fit_kernels import widths, widths_of
from smartscope_models.localization.fixed_light import FixedLight
from smartscope_models.localization.frame_fit import add_light, agreement, sweep
from smartscope_models.localization.joint import Beliefs, Bench, Doubles, Field
from smartscope_models.localization.noise import variance_left
from smartscope_models.localization.proposals import births, departures, splits
from smartscope_models.localization.revise import revise
from smartscope_models.localization.width import WidthMeter, pairing

LINK = 4.0
"""Widths within which spots are fitted together."""
MODEL_ERROR = 0.04
"""How far a calibrated Gaussian may be from the shape of a real spot, over its height."""
SURE = 8.0
"""Photons over their error from which a spot teaches the brightness."""
FIRST, BETWEEN, LAST = np.array([5, 0.05]), np.array([3, 0.02]), np.array([12, 1e-3])
TRIAL = np.array([[4, 0.02], [10, 0.02]])
"""Effort of the fits, see :func:`fit_group`; TRIAL: before and after a change."""
NO_ERRORS = np.empty((0, 4))
CALM = 0.02
"""Relative change in the number of spots below which there is no further round."""
FIRST_PASSES = 3
"""Times the first frame is begun anew, with the width that its own spots show."""
PAIRED, SUSPICIOUS = 1.8, 0.5
"""Where so large a share of spots has another within so many widths, and none is alone, the width may be far too small
and each molecule two spots; molecules at random come so close from 4 per µm² on."""
SETTLED = 0.03
"""Relative change of the width below which a frame is not begun anew."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameFit:
    """K molecules of one frame, pixels and shots."""

    values: Doubles
    """(K, 4): x, y, N, t: the width in pixels of a round spot, the height in nm of an astigmatic one."""
    errors: Doubles
    """(K, 4): standard errors of the joint fit; 0 for a width held fixed."""
    background: Doubles
    misfit: Doubles
    chi2: float
    """Pearson's chi-square of the whole frame, per pixel."""
    variance: float
    """The same from the median, which says how noisy the camera is and not how wrong the model."""

    def __len__(self) -> int:
        return len(self.values)


class FrameFitter:
    """Fits frames of one size, one after the other; not for several threads at once."""

    def __init__(
        self,
        shape: tuple[int, int],
        psf: PointSpreadConfig,
        sigma_px: float,
        *,
        false_alarms_per_megapixel: float = 1.0,
        max_spots: int = 5000,
        self_calibrating: bool = True,
        rounds: int = 3,
        experience: FrameFitter | None = None,
    ) -> None:
        """sigma_px: width of a spot, in focus; ``self_calibrating``: use the width that lone spots show.

        rounds: times at most that spots are added, split, taken away and joined.

        experience: another fitter, for frames of another size, whose width and brightness are this one's too.
        """
        self.width: WidthMeter = experience.width if experience else WidthMeter()
        self.brightness: Brightness = experience.brightness if experience else Brightness()
        self.fixed_light = FixedLight(shape)
        self._psf, self._sigma, self._learns = psf, sigma_px, self_calibrating
        self._at_first: float | None = None
        """Width measured before spots were split: where it is far too small, each of them was."""
        self._alarms, self._rounds = false_alarms_per_megapixel, rounds
        maps = [np.zeros(shape, np.float32) for _ in range(4)]
        self._model, self._background, self._maps = maps[0], maps[1], (maps[2], maps[3])
        self._table, self._places = np.zeros((max_spots, 4)), np.zeros((max_spots, 2), np.int64)
        self._tuned_to(self.width.ratio if self_calibrating else 1.0)

    def _tuned_to(self, ratio: float) -> None:
        """Everything that depends on the width, which is ``ratio`` times the configured one."""
        sigma, psf = ratio * self._sigma, self._psf
        self._ratio, tall = ratio, psf.model == "astigmatic"
        self._curve = astigmatic_curve(psf, sigma) if tall else np.array([0.0, sigma, 0.0, 1.0, sigma, sigma])
        self._height = 0.0 if tall else sigma
        widest = max(*widths(self._curve[4], self._curve)[:2], *widths(self._curve[5], self._curve)[:2])
        typical = widths(self._height, self._curve)[0]
        self._reach = LINK * typical
        self._per_height = 2 * MARGIN * psf.range_nm if tall else 1.0
        self._half = half_profile(typical)
        self._threshold = np.float32(threshold(typical, self._alarms))
        self._bench = Bench.of(self._model.shape, widest, 4 if tall else 3)

    def fit(self, light: Floats, read: Floats, starts: Doubles | None = None, *, revised: bool = True) -> FrameFit:
        """Find and fit the molecules of a frame.

        Args:
            light: (H, W) float32, shots.
            read: (H, W) float32, shots²; very large where a pixel shall not count.
            starts: (K, 3) or (K, 4): x, y, N and height of molecules that somebody has found; None: look for them.
            revised: add, split, join and take away molecules; else the starts are fitted as they are.
        """
        light, read = self.fixed_light.taken_off(light, read)
        field = Field(light, read, self._model, self._background)
        count = self._explained(field, starts, revised)
        for _ in range(FIRST_PASSES if self._learns and not self.width.known else 0):
            ratio = self._measured(field, count)
            if ratio is None and pairing(self._table[:count], PAIRED * self._curve[1]) > SUSPICIOUS:
                ratio = self._at_first
            if ratio is None or abs(ratio / self._ratio - 1) < SETTLED:
                break
            self._tuned_to(ratio)
            count = self._explained(field, starts, revised)
        table, errors, under = self._table[:count], np.empty((count, 4)), np.empty((count, 2))
        sweep(field, table, self._beliefs(table[:, 2]), LAST, errors, self._bench)
        agreement(field, table, self._curve, under, self._bench)
        if self._learns:
            self._learn(field, table, errors)
        self.fixed_light.learn(field)
        good = np.isfinite(errors).all(1)
        chi2 = float(np.mean((light + read - self._model) ** 2 / self._model))
        return FrameFit(table[good].copy(), errors[good], under[good, 0], under[good, 1], chi2, variance_left(field))

    def _explained(self, field: Field, starts: Doubles | None, revised: bool) -> int:
        """Background, first spots, first fits, and the revision of them; how many spots then."""
        first_background(field.light, field.read, self._background)
        np.add(self._background, field.read, out=self._model)
        if starts is None:
            starts = self._candidates(field)
        count = min(len(starts), len(self._table))
        table = self._table[:count]
        table[:, 3] = self._height
        table[:, : starts.shape[1]] = starts[:count]
        np.clip(table[:, 2], 1.0, None, out=table[:, 2])
        add_light(field, table, self._curve, self._bench)
        beliefs = self._beliefs(table[:, 2])
        sweep(field, table, beliefs, FIRST, NO_ERRORS, self._bench)
        refine_background(field)
        sweep(field, table, beliefs, FIRST, NO_ERRORS, self._bench)
        if self._learns and not self.width.known:
            self._at_first = self._measured(field, count)
        return self._revised(field, count) if revised else count

    def _measured(self, field: Field, count: int) -> float | None:
        """Width of this frame's lone spots over the configured one, if there are enough of them."""
        meter = WidthMeter()
        meter.learn(field, self._table[:count], self._curve, self._ratio, self._bench)
        return meter.ratio if meter.known else None

    def _revised(self, field: Field, count: int) -> int:
        """Rounds of spots added, split, taken away and joined, while there is much to change; how many spots then."""
        table, curve, bench = self._table, self._curve, self._bench
        for _ in range(self._rounds):
            before, beliefs = count, self._beliefs(table[:count, 2])
            missing = births(field, self._half, self._maps, self._places, self._height, bench)
            count = revise(field, table, count, missing, beliefs, TRIAL, bench)
            refine_background(field)
            count = revise(field, table, count, splits(field, table[:count], curve, bench), beliefs, TRIAL, bench)
            sweep(field, table[:count], beliefs, BETWEEN, NO_ERRORS, bench)
            refine_background(field)
            count = revise(field, table, count, departures(field, table[:count], curve), beliefs, TRIAL, bench)
            if abs(count - before) <= CALM * count:
                break
        return count

    def _candidates(self, field: Field) -> Doubles:
        """(K, 3): x, y and N of the maxima of the score."""
        score, amount = self._maps
        score_map(field, self._half, self._bench, score, amount)
        rows, columns = self._places[: maxima(score, self._threshold, self._places)].T
        return np.column_stack([columns, rows, amount[rows, columns]]).astype(np.float64)

    def _beliefs(self, shots: Doubles) -> Beliefs:
        density = max(len(shots), 1) / self._model.size / self._per_height
        known, least = self.brightness.known(shots), 0.5 * float(self._threshold) ** 2
        return Beliefs(self._curve, self._reach, math.log(density), known, least, MODEL_ERROR)

    def _learn(self, field: Field, table: Doubles, errors: Doubles) -> None:
        """Remember width and brightness; take the width into use where it has changed."""
        self.brightness.learn(table[table[:, 2] > SURE * errors[:, 2], 2])
        self.width.learn(field, table, self._curve, self._ratio, self._bench)
        if self.width.known and abs(self.width.ratio / self._ratio - 1) > 1e-3:
            self._tuned_to(self.width.ratio)

    @property
    def sigma_px(self) -> float:
        """Width in use, in focus."""
        return float(self._curve[1])

    def widths_of(self, heights: Doubles) -> Doubles:
        """(2, K): sigma_x and sigma_y of spots with these last values."""
        both: Doubles = widths_of(heights, self._curve)
        return both
