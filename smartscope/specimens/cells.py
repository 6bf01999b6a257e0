"""Only this file knows how many molecules a crawling cell and its vesicles carry, and shows them to a camera."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.optics.psf import add_stamps, defocused_sigma_um
from smartscope.specimens import cell_texture
from smartscope.specimens.cell_motion import KEY_STEPS, CellsOptions, seeded, step
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import FULL_LIGHT, STEP_S, GroundTruth, Light, PlaceDose, Points, View

CYTOPLASM_PER_UM2 = 900.0
"""Molecules in the column over a square micrometre where the cell is thick."""
VESICLE_MOLECULES = 650.0
"""Median; log-normal with ``_VESICLE_SPREAD``."""
BACKGROUND_PER_UM2 = 75.0
"""Medium and glass, in molecules of the same dye; replaced by flow, it does not bleach."""
_VESICLE_SPREAD = 0.3
_VESICLE_UM = (0.05, 0.12)
"""Standard deviation of a vesicle's own size."""
_BLUR_STEP_UM = 0.2
_WIDEST_UM = 1.5
"""Vesicles so far out of focus vanish in the haze; wider stamps would only cost time."""
_PROBES = 0.6 * np.array([(0, 0), *((math.cos(a), math.sin(a)) for a in np.arange(8) * math.pi / 4)])
"""Places within a cell, in radii, where its light is measured."""


@dataclass(slots=True)
class _Look:
    """The two textures that a cell is shown from until its next key frame."""

    key: int
    blur: int
    before: cell_texture.Texture
    after: cell_texture.Texture


class Cells:
    """A sparse carpet of crawling cells with vesicles, one of them near the origin.

    Args:
        seed: of everything random.
        options: keyword arguments of ``CellsOptions``.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        self._seed, self._options = seed, CellsOptions.model_validate(options)
        rng = np.random.default_rng((seed, 1))
        self._state, self._traits = seeded(self._options, rng)
        vesicles = self._traits.cell_of.size
        self._molecules = VESICLE_MOLECULES * np.exp(_VESICLE_SPREAD * rng.standard_normal(vesicles))
        self._size_um = rng.uniform(*_VESICLE_UM, vesicles)
        self._half_um = np.array([cell_texture.half_um(radius) for radius in self._traits.radius_um])
        self._cells_remaining = np.ones(self._options.cells)
        self._vesicles_remaining = np.ones(vesicles)
        self._step = 0
        self._t_s = 0.0
        self._remember()
        self._grains: dict[int, cell_texture.Texture] = {}
        self._looks: dict[int, _Look] = {}

    def _remember(self) -> None:
        state = self._state
        self._before = state.xy_um.copy(), state.vesicle_um.copy(), state.vesicle_z_um.copy()

    def advance(self, t_s: float) -> None:
        """Move on to ``t_s``, in fixed steps of ``STEP_S`` with straight lines between them.

        Raises:
            InputError: ``t_s`` lies before the time already reached.
        """
        if t_s < self._t_s:
            raise InputError(
                f"a specimen at {self._t_s} s cannot go back to {t_s} s", remedy="make one of the same seed"
            )
        self._t_s = t_s
        while self._step * STEP_S < t_s:
            self._remember()
            step(self._state, self._traits, self._options, self._seed, self._step)
            self._step += 1

    def _now(self) -> tuple[Points, Points, npt.NDArray[np.float64]]:
        """Cells (N, 2), vesicles (M, 2) and their height (M,), between the two steps around the present."""
        weight = 1.0 - (self._step - self._t_s / STEP_S)
        state = self._state
        pairs = zip(self._before, (state.xy_um, state.vesicle_um, state.vesicle_z_um), strict=True)
        cells, vesicles, z = (before + weight * (after - before) for before, after in pairs)
        return cells, cells[self._traits.cell_of] + vesicles, z

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each cell by its mean dose, and each vesicle by the dose where it is."""
        cells, vesicles, _ = self._now()
        probes = cells[:, None] + _PROBES * self._traits.radius_um[:, None, None]
        over_cells = dose_at(probes.reshape(-1, 2)).reshape(len(cells), -1).mean(axis=1)
        GREEN_PROTEIN.bleach(self._cells_remaining, over_cells, wavelength_nm)
        GREEN_PROTEIN.bleach(self._vesicles_remaining, dose_at(vesicles), wavelength_nm)

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons.

        Cells are painted textures, already blurred: the light of each pixel multiplies the whole picture. That is right
        for coarse patterns; fine fringes come out stronger than a lens would show them (``filaments`` does it right).
        """
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        if electrons <= 0:
            return
        expected += np.float32(BACKGROUND_PER_UM2 * view.pixel_um**2 * electrons)
        cells, vesicles, z = self._now()
        self._render_bodies(expected, view, cells, CYTOPLASM_PER_UM2 * view.pixel_um**2 * electrons)
        self._render_vesicles(expected, view, vesicles, z, electrons)
        if light.pixels is not None:
            expected *= light.pixels

    def _render_bodies(self, expected: npt.NDArray[np.float32], view: View, cells: Points, electrons: float) -> None:
        in_focus, sigma = view.sigma_um, defocused_sigma_um(view.sigma_um, view.depth_um, np.array(view.defocus_um))
        blur = round(math.sqrt(sigma**2 - in_focus**2) / _BLUR_STEP_UM)
        affine = np.asarray(view.affine_um_per_px)
        corner_um = np.asarray(view.stage_um) - affine @ view.centre_px()
        boxes = view.boxes(cells, self._half_um)
        seen = view.lit(cells, self._half_um) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        for cell in np.flatnonzero(seen):
            texture = self._texture(int(cell), blur, electrons * self._cells_remaining[cell])
            x_um, y_um = corner_um - cells[cell]
            cell_texture.add_texture(expected, texture, x_um, y_um, affine, boxes[cell])

    def _texture(self, cell: int, blur: int, factor: float) -> cell_texture.Texture:
        """The cell as it looks now: the last key frame but one fading into the last."""
        steps = self._step - 1 - self._traits.key_phase[cell]
        key = int(steps // KEY_STEPS)
        look = self._looks.get(cell)
        if look is None or look.blur != blur or key - look.key not in (0, 1):
            look = _Look(
                key, blur, *(self._paint(cell, pose, blur) for pose in (self._state.pose_before, self._state.pose))
            )
        elif look.key < key:
            look = _Look(key, blur, look.after, self._paint(cell, self._state.pose, blur))
        self._looks[cell] = look
        weight = (self._t_s / STEP_S - 1 - self._traits.key_phase[cell]) / KEY_STEPS - key
        return cell_texture.mixed(look.before, look.after, min(max(weight, 0.0), 1.0), factor)

    def _paint(self, cell: int, poses: npt.NDArray[np.complex128], blur: int) -> cell_texture.Texture:
        radius_um = self._traits.radius_um[cell]
        if cell not in self._grains:
            self._grains[cell] = cell_texture.grain(radius_um, np.random.default_rng((self._seed, 2, cell)))
        return cell_texture.painted(self._grains[cell], radius_um, poses[cell], blur * _BLUR_STEP_UM)

    def _render_vesicles(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        vesicles: Points,
        z: npt.NDArray[np.float64],
        electrons: float,
    ) -> None:
        shown = view.lit(vesicles, 0.0)
        sigma = np.hypot(
            defocused_sigma_um(view.sigma_um, view.depth_um, z[shown] - view.defocus_um), self._size_um[shown]
        )
        pixels = view.to_pixels(vesicles[shown])
        amount = electrons * (self._molecules * self._vesicles_remaining)[shown]
        add_stamps(expected, pixels[:, 0], pixels[:, 1], np.minimum(sigma, _WIDEST_UM) / view.pixel_um, amount)

    def ground_truth(self) -> GroundTruth:
        """What is really there now."""
        cells, vesicles, z = self._now()
        return GroundTruth(
            t_s=self._t_s,
            cells_um=cells,
            radii_um=self._traits.radius_um.copy(),
            cells_remaining=self._cells_remaining.copy(),
            spots_um=vesicles,
            spots_z_um=z,
            spots_cell=self._traits.cell_of.copy(),
            spots_remaining=self._vesicles_remaining.copy(),
        )
