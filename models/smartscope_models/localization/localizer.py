"""The live model ``localize``: who looks at a frame, and what of the answer policies and records are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import numpy as np
from pydantic import Field

from smartscope.errors import EngineError, PluginError, UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Localizations, Result
from smartscope_models.calibration import SensorCalibration
from smartscope_models.engines import EngineName
from smartscope_models.engines.engine import Precision
from smartscope_models.localization.crowd import PACKAGES, CrowdNetwork
from smartscope_models.localization.density_switch import DensitySwitch
from smartscope_models.localization.finder import Finder, Found
from smartscope_models.localization.fit_path import FitPath
from smartscope_models.localization.network_path import NetworkPath
from smartscope_models.localization.spline_path import SplinePath

MEASURED, THEORETICAL = 0.2, 0.4
"""How far, relatively, spots may be from a measured width, and from the theory's, before the frame is distrusted."""
FOREIGN_TRUST = 0.3
"""Trust in a frame whose spots are not those of the calibration."""


class MoleculeLocalizer:
    """Finds the single molecules of each raw frame, with errors that hold, and counts those that glow."""

    history = 0
    reads: frozenset[str] = frozenset()

    def __init__(
        self,
        setup: Instrument,
        *,
        sigma_px: Annotated[float, Field(ge=0.6, le=10)] | None = None,
        false_alarms_per_megapixel: Annotated[float, Field(gt=0, le=10_000)] = 1.0,
        self_calibrating: bool = True,
        max_spots: Annotated[int, Field(ge=1, le=100_000)] = 5000,
        rounds: Annotated[int, Field(ge=0, le=10)] = 3,
        finder: Literal["auto", "fits", "network"] = "auto",
        network: str | None = None,
        engine: EngineName = "auto",
        precision: Precision | None = None,
        threads: Annotated[int, Field(ge=1, le=64)] = 1,
    ) -> None:
        """sigma_px: width of a spot, in focus; None: the configured one, or else 0.21 wavelength / NA.
        A spline (optics.point_spread) is fitted as it was measured.

        self_calibrating: use the width that lone spots show. rounds: at most so often is the frame looked at again for
        molecules that were missed, taken for one, or are none; each takes time where many are. finder: ``fits`` alone;
        ``network``, then fits, in every frame; ``auto``: the network in crowds, where there is one for this point
        spread function and an engine for it. network: name or folder of a model package; None: the shipped one.
        engine, precision, threads: of the network.

        Raises:
            PluginError: there is no network for the configured point spread function, or a width beside a spline.
            InputError: the spline's file cannot be used.
            UnsupportedModel, EngineError: the network that was asked for cannot be used.
        """
        camera = setup.camera
        self._tolerance = MEASURED if sigma_px or setup.optics.point_spread.sigma_px else THEORETICAL
        self._pixel_nm = camera.pixel_size_nm
        self._calibration = SensorCalibration(camera)
        common: _Common = {"false_alarms_per_megapixel": false_alarms_per_megapixel, "max_spots": max_spots}
        fits: FitPath | SplinePath
        if setup.optics.point_spread.file is not None:
            _refuse_width(sigma_px)
            fits = _of_spline(setup, setup.optics.point_spread.file, common)
        else:
            fits = _of_gaussian(setup, sigma_px, common, self_calibrating=self_calibrating, rounds=rounds)
        self._facts: dict[str, str] = {"finder": finder}
        self._finder: Finder = fits
        if finder != "fits":
            self._finder = self._with_network(fits, setup, finder, network, engine, precision, threads)

    def _with_network(
        self,
        fits: FitPath | SplinePath,
        setup: Instrument,
        finder: str,
        package: str | None,
        engine: EngineName,
        precision: Precision | None,
        threads: int,
    ) -> Finder:
        """What finds molecules where a network takes part; fits alone where that is only wished for, and cannot be."""
        psf = setup.optics.point_spread
        name = package or PACKAGES.get(psf.model)
        try:
            if name is None or isinstance(fits, SplinePath):
                raise PluginError(
                    f"no network is shipped for a point spread function that is {psf.model}",
                    where="option finder",
                    allowed="auto, fits",
                    remedy="train one (python -m smartscope_models.training) and name its folder: option network",
                )
            crowd = CrowdNetwork(name, engine, precision, threads)
        except (PluginError, UnsupportedModel, EngineError) as error:
            if finder == "network" or package:
                raise
            self._facts["network"] = f"none: {error.what}"
            return fits
        self._facts |= crowd.facts()
        path = NetworkPath(crowd, fits, psf, setup.camera.quantum_efficiency)
        return path if finder == "network" else DensitySwitch(fits, path)

    def facts(self) -> dict[str, str]:
        """Who finds molecules: package, hash and engine of the network, for the record of a run."""
        return dict(self._facts)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._finder.warm_up(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the molecules of ``frames[-1]``, their figures, and what they tell of the frame's worth."""
        frame, finder = frames[-1], self._finder
        found = finder.find(frame, self._calibration.of(frame))
        doubts = (*found.doubts, *self._foreign(found))
        figures = {**self._figures(found, frame.pixels.size), "localizer": float(found.kind)}
        return replace(
            so_far,
            localizations=found.localizations,
            quality={**so_far.quality, **figures},
            trust=so_far.trust * math.prod(factor for factor, _ in doubts),
            why_trust="; ".join([why for why in (so_far.why_trust, *(why for _, why in doubts)) if why]),
        )

    def _figures(self, found: Found, pixels: int) -> dict[str, float]:
        area_um2 = pixels * (self._pixel_nm / 1000) ** 2
        return {
            "emitters": found.emitters,
            "emitters_error": found.emitters_error,
            "density_per_um2": found.emitters / area_um2,
            "density_error_per_um2": found.emitters_error / area_um2,
            "recall_health": found.recall_health,
            **_medians(found.localizations, self._pixel_nm),
            **found.figures,
        }

    def _foreign(self, found: Found) -> tuple[tuple[float, str], ...]:
        """Doubt in a calibration that the spots contradict."""
        ratio = found.figures.get("psf_sigma_ratio", 1.0)
        if abs(ratio - 1) <= self._tolerance:
            return ()
        why = f"spots are {ratio:.2f} times as wide as the calibration says: check pixel size, emission and focus"
        return ((FOREIGN_TRUST, why),)


class _Common(TypedDict):
    """What both kinds of fits are told."""

    false_alarms_per_megapixel: float
    max_spots: int


def _of_spline(setup: Instrument, file: str, common: _Common) -> SplinePath:
    camera, range_nm = setup.camera, setup.optics.point_spread.range_nm
    return SplinePath(Path(file), range_nm, camera.pixel_size_nm, camera.quantum_efficiency, **common)


def _of_gaussian(
    setup: Instrument, sigma_px: float | None, common: _Common, *, self_calibrating: bool, rounds: int
) -> FitPath:
    """Of a width that was told, else of the theory's."""
    optics, camera = setup.optics, setup.camera
    theory_px = 0.21 * optics.emission_nm / optics.numerical_aperture / camera.pixel_size_nm
    width_px = sigma_px or optics.point_spread.sigma_px or max(theory_px, 0.6)
    efficiency = camera.quantum_efficiency
    return FitPath(
        optics.point_spread, width_px, efficiency, self_calibrating=self_calibrating, rounds=rounds, **common
    )


def _refuse_width(sigma_px: float | None) -> None:
    if sigma_px is not None:
        raise PluginError(
            "a spline has no width",
            where="option sigma_px",
            allowed="none, beside optics.point_spread.model: spline",
            remedy="leave it out, or name a Gaussian as point spread function",
        )


def _medians(table: Localizations, pixel_nm: float) -> dict[str, float]:
    """Figures that need at least one molecule."""
    if not len(table):
        return {}
    lateral = np.sqrt(0.5 * (table.x_error_px.astype(float) ** 2 + table.y_error_px.astype(float) ** 2))
    return {
        "localization_error_nm": pixel_nm * float(np.median(lateral)),
        "spot_photons": float(np.median(table.photons)),
        "spot_background": float(np.median(table.background)),
        "misfit": float(np.median(table.misfit)),
    }
