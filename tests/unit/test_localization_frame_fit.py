"""A frame's molecules, however crowded: told apart where light allows, at the joint bound, and else not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fit_helpers import READ_E, SIGMA, exposed, lattice, light, scattered

from smartscope.config import PointSpreadConfig
from smartscope_models.localization.brightness import ENOUGH, WIDEST, Brightness
from smartscope_models.localization.fitter import FrameFit, FrameFitter
from smartscope_models.localization.joint import OUTSIDE_PX
from smartscope_models.localization.noise import NoiseMeter

READ = READ_E**2
ROUND = PointSpreadConfig(sigma_px=SIGMA)
GATE_PX = 2.5


def fitter(shape: tuple[int, int], sigma: float = SIGMA, **options: bool) -> FrameFitter:
    return FrameFitter(shape, ROUND, sigma, **options)


def fitted(mean: np.ndarray, seed: int, **options: bool) -> FrameFit:
    read = np.full(mean.shape, READ, np.float32)
    return fitter((mean.shape[0], mean.shape[1]), **options).fit(exposed(mean, seed), read)


def gaps(fit: FrameFit, places: np.ndarray) -> np.ndarray:
    """(found, true) distances."""
    apart: np.ndarray = np.hypot(*(fit.values[:, None, :2] - places[None]).transpose(2, 0, 1))
    return apart


def pairs_of(distance: float, seed: int, photons: float = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame of pairs in all directions: its mean, one of each pair and the other."""
    shape, middle = lattice(9, 24, seed)
    angle = np.random.default_rng(seed).uniform(0, 2 * math.pi, len(middle))
    half = 0.5 * distance * np.c_[np.cos(angle), np.sin(angle)]
    both = np.vstack([middle + half, middle - half])
    return light(shape, *both.T, photons, 10), middle + half, middle - half


def test_two_molecules_two_widths_apart_are_told_apart_without_bias() -> None:
    distances, relative = [], []
    for seed in range(4):
        mean, one, two = pairs_of(2 * SIGMA, seed)
        fit = fitted(mean, seed)
        assert len(fit) == pytest.approx(2 * len(one), abs=2)
        near = [gaps(fit, places).argmin(0) for places in (one, two)]
        found = [fit.values[k, :2] for k in near]
        distances.append(np.hypot(*(found[0] - found[1]).T))
        relative += [(f - p) / fit.errors[k, :2] for f, p, k in zip(found, (one, two), near, strict=True)]
    assert np.mean(distances) == pytest.approx(2 * SIGMA, abs=0.02)
    assert np.std(relative) == pytest.approx(1, abs=0.07), "the joint errors hold"


def test_a_pair_closer_than_light_allows_is_one_molecule() -> None:
    mean, one, two = pairs_of(0.15 * SIGMA, 5)
    fit = fitted(mean, 5)
    assert len(fit) <= 1.1 * len(one)
    assert np.median(gaps(fit, 0.5 * (one + two)).min(0)) < 0.1


def test_lone_molecules_are_as_good_as_if_fitted_alone() -> None:
    shape, places = lattice(16, 16, 6)
    fit = fitted(light(shape, *places.T, 1000, 10), 6)
    assert len(fit) == pytest.approx(len(places), abs=1)
    near = gaps(fit, places).argmin(0)
    relative = (fit.values[near, :2] - places) / fit.errors[near, :2]
    assert relative.std() == pytest.approx(1, abs=0.08)
    assert np.mean(fit.values[:, 2]) == pytest.approx(1000, rel=0.01)
    assert np.mean(fit.background) == pytest.approx(10, abs=0.2)
    assert np.mean(fit.misfit) == pytest.approx(1, abs=0.03)
    assert fit.chi2 == pytest.approx(1, abs=0.03)
    assert fit.variance == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("density", "recall", "precision"), [(0.37, 0.97, 0.985), (1.2, 0.93, 0.985), (3.0, 0.85, 0.98)]
)
def test_crowds(density: float, recall: float, precision: float) -> None:
    hits = true = found = 0
    machine = fitter((96, 96))
    for seed in range(3):
        places = scattered(density / 100, 96, seed)
        photons = 1000 * np.exp(np.random.default_rng(seed).normal(-0.045, 0.3, len(places)))
        frame = exposed(light((96, 96), *places.T, photons, 10), seed)
        fit = machine.fit(frame, np.full((96, 96), READ, np.float32))
        inner = [((p > 3.5) & (p < 91.5)).all(1) for p in (places, fit.values[:, :2])]
        near = gaps(fit, places) < GATE_PX
        hits += near[:, inner[0]].any(0).sum()
        true += inner[0].sum()
        found += near[inner[1]].any(1).sum() / max(inner[1].sum(), 1)
    assert hits / true > recall
    assert found / 3 > precision


def test_noise_alone_holds_nothing() -> None:
    machine = fitter((128, 128))
    found = [
        len(machine.fit(exposed(np.full((128, 128), 12.0), k), np.full((128, 128), READ, np.float32))) for k in range(8)
    ]
    assert sum(found) <= 2


def test_the_width_is_learned_in_the_first_frame_and_kept() -> None:
    machine = fitter((160, 160), 1.1 * SIGMA)
    places = scattered(0.006, 160, 7)
    frame = exposed(light((160, 160), *places.T, 1500, 10), 7)
    first = machine.fit(frame, np.full(frame.shape, READ, np.float32))
    assert machine.width.ratio == pytest.approx(1 / 1.1, abs=0.015)
    assert machine.sigma_px == pytest.approx(SIGMA, abs=0.02)
    assert abs(len(first) - ((places > -0.5) & (places < 159.5)).all(1).sum()) < 8
    other = FrameFitter((64, 48), ROUND, 1.1 * SIGMA, experience=machine)
    assert other.sigma_px == machine.sigma_px
    fixed = fitter((160, 160), 1.1 * SIGMA, self_calibrating=False)
    fixed.fit(frame, np.full(frame.shape, READ, np.float32))
    assert fixed.sigma_px == pytest.approx(1.1 * SIGMA)


def test_places_that_somebody_else_found_are_fitted_as_they_are() -> None:
    shape, places = lattice(5, 20, 8)
    frame = exposed(light(shape, *places.T, 1000, 10), 8)
    starts = np.c_[np.round(places), np.full(len(places), 300.0)]
    wild = np.array([[-90.0, 4.0, 100.0]])
    machine = fitter(shape, self_calibrating=False)
    fit = machine.fit(frame, np.full(shape, READ, np.float32), np.vstack([starts, wild]), revised=False)
    assert len(fit) == len(places) + 1
    assert np.abs(fit.values[:-1, :2] - places).max() < 0.35
    assert fit.values[-1, 0] >= -OUTSIDE_PX
    revised = machine.fit(frame, np.full(shape, READ, np.float32), np.vstack([starts[3:], wild]))
    assert len(revised) == pytest.approx(len(places), abs=1), "three were missing, one was none"


def test_no_places_no_molecules() -> None:
    frame = exposed(np.full((32, 32), 5.0), 9)
    fit = fitter((32, 32)).fit(frame, np.full((32, 32), READ, np.float32), np.empty((0, 3)), revised=False)
    assert len(fit) == 0
    assert fit.chi2 == pytest.approx(1, abs=0.15)


def test_more_molecules_than_there_is_room_for() -> None:
    shape, places = lattice(6, 16, 10)
    machine = FrameFitter(shape, ROUND, SIGMA, max_spots=12)
    assert 0 < len(machine.fit(exposed(light(shape, *places.T, 2000, 10), 10), np.full(shape, READ, np.float32))) <= 12


def test_heights_in_a_frame() -> None:
    shape, places = lattice(6, 30, 11)
    z = np.random.default_rng(11).uniform(-400, 400, len(places))
    sigma = [SIGMA * np.sqrt(1 + ((z - sign * 250) / 400) ** 2) for sign in (1, -1)]
    frame = exposed(light(shape, *places.T, 3000, 10, *sigma), 11)
    machine = FrameFitter(shape, PointSpreadConfig(model="astigmatic", sigma_px=SIGMA), SIGMA)
    fit = machine.fit(frame, np.full(shape, READ, np.float32))
    assert len(fit) == len(places)
    near = gaps(fit, places).argmin(0)
    assert ((fit.values[near, 3] - z) / fit.errors[near, 3]).std() < 1.35
    assert np.allclose(machine.widths_of(z), sigma, rtol=0.05)


def test_brightness_is_learned_and_never_forbids() -> None:
    brightness = Brightness()
    early = brightness.known(np.array([500.0, 600.0, 700.0]))
    assert early[:2] == pytest.approx([math.log(600), WIDEST**-2])
    assert np.isfinite(brightness.known(np.empty(0))).all()
    brightness.learn(1000 * np.exp(np.random.default_rng(1).normal(0, 0.5, 4 * ENOUGH)))
    middle, precision, height, strangers = brightness.known(np.empty(0))
    assert middle == pytest.approx(math.log(1000), abs=0.1)
    assert precision**-0.5 == pytest.approx(0.5, abs=0.1)
    assert math.log(strangers / (height * math.sqrt(precision))) > -5, "odds against a stranger stay below e^5"


def test_noise_is_only_ever_found_larger() -> None:
    meter = NoiseMeter()
    assert meter.factor == 1
    for variance in (0.5, 1.1, 1.2):
        meter.learn(variance)
    assert meter.factor == 1
    for _ in range(20):
        meter.learn(3.0)
    assert meter.factor == 3
