"""Gratings: the light that leaves them makes the fringes that the layout asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import fft
from structured_microscope import BLUE, LAYOUTS, SLM, microscope

from smartscope.config import MicroscopeConfig, SlmConfig
from smartscope.errors import InputError
from smartscope.optics.fringes import Fringes, beam_phases, carriers_of, fringe_light, wanted_beams
from smartscope.optics.gratings import FINEST_PX, Gratings, gratings
from smartscope.optics.orders import OrderMask
from smartscope.optics.pattern_layout import Layout

EVERY = pytest.mark.parametrize("layout", list(LAYOUTS))
DEPTHS = {"two beams": [1.0], "three beams": [1.04, 0.84], "hexagonal": [2 / 3] * 3}


def made(config: MicroscopeConfig) -> Gratings:
    return gratings(config.optics, 488.0, config.camera.pixel_size_nm)


def intensity(image: np.ndarray, beams: np.ndarray, pixels: int) -> np.ndarray:
    """Spectrum of |field|² behind a mask with one hole of a bin for each wanted beam; the mean is 1."""
    spectrum = fft.fft2(np.exp(1j * np.pi * (image > 0)))
    kept = np.zeros_like(spectrum)
    for x, y in beams:
        kept[y % pixels, x % pixels] = spectrum[y % pixels, x % pixels]
    light = np.abs(fft.ifft2(kept)) ** 2
    return np.asarray(fft.fft2(light / light.mean()) / image.size)


@EVERY
def test_the_light_behind_the_mask_has_the_announced_fringes_and_phases(layout: str) -> None:
    config = microscope(layout)
    fringes = config.optics.structured_illumination
    assert fringes is not None
    plan, stack = Layout.of(fringes), made(config)
    assert np.shape(stack.images) == (plan.frames, *SLM.shape)
    assert set(np.unique(stack.images[0])) == {0, 255}
    field_um = SLM.shape[0] * SLM.pixel_size_nm / 1e3
    waves = np.rint(stack.carriers_per_um * field_um).astype(int)
    np.testing.assert_allclose(waves, stack.carriers_per_um * field_um, atol=1e-9)
    phases = np.empty((plan.angles, plan.phases, plan.orders))
    for frame, image in enumerate(stack.images):
        angle, phase = divmod(frame, plan.phases)
        spectrum = intensity(image, stack.beams[angle], SLM.shape[0])
        x, y = waves[angle].T
        seen = spectrum[y, x]
        assert 2 * np.abs(seen) == pytest.approx(DEPTHS[layout], abs=0.06)
        phases[angle, phase] = np.angle(seen)
    steps = phases - phases[:, :1] - plan.nominal_phases()
    assert np.degrees(np.abs(np.angle(np.exp(1j * steps)))).max() < 1.0


@EVERY
def test_nothing_else_passes_the_mask(layout: str) -> None:
    config = microscope(layout)
    fringes, stack = config.optics.structured_illumination, made(config)
    assert fringes is not None
    mask = OrderMask(fringes, SLM, config.optics, 488.0)
    for image, angle in ((stack.images[0], 0), (stack.images[-1], -1)):
        orders = mask.passed(image)
        wanted = {tuple(beam) for beam in stack.beams[angle].tolist()}
        power = np.abs(orders.amplitudes) ** 2
        stray = [tuple(cycles) not in wanted for cycles in orders.cycles.tolist()]
        assert power[stray].sum() < 2e-3 * power.sum()


def test_a_flat_slm_lights_evenly() -> None:
    config = microscope()
    fringes = config.optics.structured_illumination
    assert fringes is not None
    for value in (0, 255):
        orders = OrderMask(fringes, SLM, config.optics, 488.0).passed(np.full(SLM.shape, value, np.uint8))
        assert orders.cycles.tolist() == [[0, 0]]
        assert abs(orders.amplitudes[0]) == pytest.approx(1.0, rel=1e-5)


@EVERY
def test_whole_cycles_stay_close_to_what_was_wanted_and_say_how_close(layout: str) -> None:
    config = microscope(layout)
    fringes, stack = config.optics.structured_illumination, made(config)
    assert fringes is not None
    wanted = carriers_of(Layout.of(fringes), wanted_beams(fringes, 1.4, 488.0))[:, -1] @ [1, 1j]
    found = stack.carriers_per_um[:, -1] @ [1, 1j]
    np.testing.assert_allclose(np.abs(found / wanted), stack.scaled)
    np.testing.assert_allclose(np.degrees(np.angle(found / wanted)), stack.turned_deg)
    assert np.abs(stack.turned_deg).max() < 1.0
    assert np.abs(stack.scaled - 1).max() < 0.02
    np.testing.assert_allclose(stack.carriers(128, 65.0), stack.carriers_per_um * 128 * 0.065)


def test_directions_and_frequencies_are_those_of_the_pupil() -> None:
    two = carriers_of(Layout(), wanted_beams(_fringes("two beams"), 1.4, 488.0))[:, 0] @ [1, 1j]
    np.testing.assert_allclose(np.abs(two), 2 * 0.85 * 1.4 / 0.488)
    np.testing.assert_allclose(np.degrees(np.angle(two)), [10, 70, 130])
    three = carriers_of(Layout(3, 5, 3), wanted_beams(_fringes("three beams"), 1.4, 488.0))
    np.testing.assert_allclose(three[:, 1], 2 * three[:, 0], atol=1e-12)
    hexagonal = carriers_of(Layout(1, 7, 2, hexagonal=True), wanted_beams(_fringes("hexagonal"), 1.4, 488.0))[0]
    np.testing.assert_allclose(np.hypot(*hexagonal.T), np.sqrt(3) * 0.85 * 1.4 / 0.488)
    np.testing.assert_allclose(hexagonal.sum(0), 0, atol=1e-12)
    assert np.degrees(np.angle(hexagonal[0] @ [1, 1j])) == pytest.approx(10)


def _fringes(layout: str) -> Any:
    return microscope(layout).optics.structured_illumination


@EVERY
def test_shifting_the_beams_steps_the_carriers_as_the_layout_says(layout: str) -> None:
    plan = Layout.of(_fringes(layout))
    phases = beam_phases(plan)
    differences = carriers_of(plan, phases.reshape(-1, phases.shape[-1], 1).repeat(2, 2))[..., 0]
    found = differences.reshape(plan.angles, plan.phases, plan.orders)
    np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * plan.nominal_phases()), atol=1e-12)


def test_light_of_beams_is_their_interference() -> None:
    rng = np.random.default_rng(1)
    per_um, amplitudes = rng.normal(0, 1, (4, 2)), rng.normal(size=4) + 1j * rng.normal(size=4)
    x, y = rng.uniform(-3, 3, (2, 50))
    field = sum(a * np.exp(2j * np.pi * (k[0] * x + k[1] * y)) for a, k in zip(amplitudes, per_um, strict=True))
    expected = np.abs(field) ** 2 / (np.abs(amplitudes) ** 2).sum()
    fringes = Fringes.of_beams(per_um, amplitudes)
    np.testing.assert_allclose(fringes.at(x, y), expected, atol=1e-9)
    np.testing.assert_allclose(np.diag(fringes.on_grid(x, y)), expected, atol=1e-9)


def test_beyond_the_slm_and_without_any_order_it_is_dark() -> None:
    one = Fringes.of_beams(np.zeros((1, 2)), np.ones(1, complex), (2.0, 1.0))
    x, y = np.array([0.0, 1.9, 2.1]), np.array([0.0, 0.9, 0.0])
    assert one.at(x, y).tolist() == [1, 1, 0]
    assert one.on_grid(x, y).tolist() == one.extent(x, y).tolist() == [[1, 1, 0]] * 3
    none = Fringes.of_beams(np.zeros((0, 2)), np.zeros(0, complex))
    assert not none.at(x, y).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pupil_fraction": 0.95}, "fringes of 183 nm, finer than the lens .* pupil_fraction of 0.929"),
        ({"slm": SlmConfig(shape=(512, 512), pixel_size_nm=150)}, r"period of 2\.73 pixels .*allowed: 3 pixels"),
        ({"slm": None}, "no SLM is configured"),
    ],
)
def test_what_cannot_be_made_or_seen_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(microscope(**changes))


def test_fringes_finer_than_the_camera_are_refused_with_a_fraction_that_would_do() -> None:
    config = microscope()
    with pytest.raises(InputError, match="the camera's pixels carry") as refused:
        gratings(config.optics, 488.0, 130.0)
    share = float(refused.value.remedy.split()[-1])
    gratings(microscope(pupil_fraction=share).optics, 488.0, 130.0)


def test_the_same_gratings_are_made_once_and_cannot_be_written() -> None:
    assert made(microscope()) is made(microscope())
    with pytest.raises(ValueError, match="read-only"):
        made(microscope()).images[0][0, 0] = 1


def test_an_slm_of_awkward_size_gets_the_best_there_is() -> None:
    small = made(microscope(slm=SlmConfig(shape=(96, 96), pixel_size_nm=100.0, on_value=128)))
    assert small.images[0].max() == 128
    assert np.abs(small.scaled - 1).max() < 0.1
    assert 96 / np.abs(small.beams).max() >= FINEST_PX


def test_the_light_must_be_named_where_there_are_several() -> None:
    red = BLUE.model_copy(update={"name": "red"})
    config = _fringes("two beams")
    assert fringe_light(config, (BLUE,)) is BLUE
    assert fringe_light(config.model_copy(update={"light": "red"}), (BLUE, red)) is red
    with pytest.raises(InputError, match="2 lights, none of them named"):
        fringe_light(config, (BLUE, red))
    with pytest.raises(InputError, match=r"no light 'green'.*allowed: blue, red"):
        fringe_light(config.model_copy(update={"light": "green"}), (BLUE, red))
