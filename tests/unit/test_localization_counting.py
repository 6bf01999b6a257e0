"""How many glow, from those told apart: no bias where molecules are alike, and none where they come and go."""

from __future__ import annotations

import numpy as np
import pytest
from fit_helpers import SIGMA, exposed, light, scattered

from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.localization.counting import glowing
from smartscope_models.localization.localizer import MoleculeLocalizer

PERFECT = CameraCalibration(electrons_per_adu=1, read_noise_e=0.5, offset_adu=0)
NOISE = np.sqrt(4 * np.pi * SIGMA**2 * 12)
"""Of a spot's photons, about, on 12 photons a pixel."""


def alike(number: int, photons: float) -> tuple[np.ndarray, np.ndarray]:
    """Photons of so many molecules that differ by their noise, and their errors."""
    error = np.sqrt(NOISE**2 + photons)
    return np.random.default_rng(number).normal(photons, error, number), np.full(number, error)


def test_the_count_grows_steadily_and_knows_when_it_is_full() -> None:
    estimates = [glowing(*alike(number, 1000), 10_000, SIGMA) for number in range(0, 4000, 20)]
    emitters = np.array([count for count, _ in estimates])
    assert emitters[0] == 0
    assert (np.diff(emitters) > 0).all()
    assert estimates[-1][1] > 0.2 * estimates[-1][0]
    assert estimates[10][1] < 0.1 * estimates[10][0]


def test_where_spots_are_brighter_fewer_are_hidden() -> None:
    counts = [glowing(*alike(200, photons), 10_000, SIGMA)[0] for photons in (300, 1000, 3000)]
    assert counts[0] > counts[1] > counts[2] > 200


def test_where_brightness_varies_more_are_hidden() -> None:
    photons, _ = alike(200, 1000)
    varied = np.random.default_rng(1).uniform(400, 1600, 200)
    error = np.full(200, np.sqrt(NOISE**2 + 1000))
    assert glowing(varied, error, 10_000, SIGMA)[0] > glowing(photons, error, 10_000, SIGMA)[0] + 5


def test_those_too_dim_are_expected_to_be_as_dense_as_the_dim_ones_found() -> None:
    rng = np.random.default_rng(2)
    photons = rng.uniform(0, 3000, 30_000)
    seen = photons[photons > 6 * NOISE]
    counted, error = glowing(seen, np.sqrt(NOISE**2 + seen), 1e9, SIGMA)  # none hides another
    assert counted == pytest.approx((photons > 3 * NOISE).sum(), rel=0.005)
    assert abs(counted - (photons > 3 * NOISE).sum()) < 3 * error


def test_nobody_in_sight_is_none_within_one() -> None:
    assert glowing(np.zeros(0), np.zeros(0), 1e4, SIGMA) == (0.0, 0.5)


@pytest.mark.parametrize("density", [0.1, 0.45, 0.9])
def test_molecules_that_come_and_go_within_the_exposure_are_counted(density: float) -> None:
    model = MoleculeLocalizer(Instrument(PERFECT, OpticsConfig(point_spread=PointSpreadConfig(sigma_px=SIGMA))))
    counted, true = [], []
    for seed in range(8):
        places = scattered(density / 100, 112, seed)
        rng = np.random.default_rng((seed, 1))
        share = np.where(rng.random(len(places)) < 0.45, 1.0, rng.random(len(places)))
        photons = 2000 * share * rng.lognormal(-0.02, 0.2, len(places))
        pixels = np.rint(exposed(light((112, 112), *places.T, photons, 12), seed, 0.5)).clip(0).astype(np.uint16)
        counted.append(model.step([a_frame(pixels)], Result(a_frame(pixels))).quality["emitters"])
        inside = ((places > -0.5) & (places < 111.5)).all(1)
        true.append((photons[inside] > 3 * NOISE).sum())
    assert np.mean(counted) == pytest.approx(np.mean(true), rel=0.04, abs=0.7)
