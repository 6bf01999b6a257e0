"""The simulated light path: fringes at each emitter, as perfect as the options say, and bleaching under them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from structured_microscope import BLUE, SLM, microscope, opened

from smartscope.bursts import burst
from smartscope.clock import VirtualClock
from smartscope.command import SetLight
from smartscope.config import MicroscopeConfig
from smartscope.errors import ConfigurationError, DeviceError
from smartscope.frame import Roi
from smartscope.optics.fringes import Fringes
from smartscope.optics.gratings import gratings
from smartscope.ports import whole_sensor
from smartscope_drivers.simulated.illumination import Illumination
from smartscope_drivers.simulated.modulators import SimulatedSlm
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.world import World

PLACES = np.random.default_rng(1).uniform(-3, 3, (400, 2))


def path(config: MicroscopeConfig | None = None, seed: int = 3, **options: Any) -> Illumination:
    return Illumination(config or microscope(), WorldOptions.model_validate(options), seed)


def shown(light: Illumination, step: int) -> Fringes:
    made = light.of_slm(gratings(microscope().optics, 488.0, 65.0).images[step])
    assert isinstance(made, Fringes)
    return made


def test_each_direction_has_its_contrast() -> None:
    light = path(fringe_contrast=(0.9, 0.5, 0.2))
    assert [abs(shown(light, step).depths[0]) for step in (0, 3, 8)] == pytest.approx([0.9, 0.5, 0.2], abs=0.01)
    hexagonal = path(microscope("hexagonal", slm=None), fringe_contrast=(0.9, 0.6, 0.3)).of_step(2)
    by_direction = dict(zip(np.degrees(np.angle(hexagonal.per_um @ [1, 1j])).round(), hexagonal.depths, strict=True))
    assert abs(by_direction[10]) == pytest.approx(0.6)  # the first of the three, of 2/3 at best
    assert sorted(np.abs(hexagonal.depths)) == pytest.approx([0.2, 0.4, 0.6])


def test_phase_errors_are_seeded_stay_and_have_the_size_asked_for() -> None:
    perfect, one, again, other = path(), *(path(seed=seed, phase_error_deg=6.0) for seed in (3, 3, 4))
    errors = [
        np.degrees(np.angle([shown(light, step).depths[0] / shown(perfect, step).depths[0] for step in range(9)]))
        for light in (one, again, other)
    ]
    np.testing.assert_array_equal(errors[0], errors[1])
    assert not np.allclose(errors[0], errors[2])
    assert np.std(np.concatenate([errors[0], errors[2]])) == pytest.approx(6.0, rel=0.5)


def test_the_grating_device_makes_the_same_fringes_as_the_slm_but_for_whole_cycles() -> None:
    by_slm, by_grating = shown(path(), 4), path(microscope(slm=None)).of_step(4)
    assert np.abs(by_grating.depths) == pytest.approx(np.abs(by_slm.depths), rel=0.01)
    np.testing.assert_allclose(np.abs(by_grating.per_um), np.abs(by_slm.per_um), rtol=0.02)


def test_light_at_places_is_the_light_of_their_pixels() -> None:
    world = World(microscope(), VirtualClock(), 3, options=WorldOptions(specimen="filaments", camera_rotation_deg=30))
    try:
        pattern = shown(world.illumination, 1)
        view = world.view(0, whole_sensor(world.config.sensor))
        pixels = np.array([[40.0, 50.0], [70.0, 20.0], [100.0, 90.0]])
        affine = np.asarray(view.affine_um_per_px)
        places = (pixels - np.asarray(view.centre_px())) @ affine.T
        light = world.illumination.light(view, pattern)
        assert light.pixels is not None
        assert light.haze is not None
        np.testing.assert_allclose(light.at(places), [light.pixels[int(y), int(x)] for x, y in pixels], rtol=1e-4)
        assert (light.haze == 1).all()
    finally:
        world.close()


def test_bleaching_follows_the_fringes() -> None:
    config = microscope()
    with opened(config, VirtualClock()) as scope:
        [event] = burst(config, 2000.0)[:1]
        list(scope.run_plan([event], {"blue": 100.0}))
        now_ns = scope.world.clock.now_ns()
        truth = scope.world.truth(now_ns).specimen
        scope.world.pattern.set(now_ns, shown(scope.world.illumination, 0))
        light = scope.world.relative_light(truth.spots_um, now_ns)
    lost = -np.log(truth.spots_remaining)
    lit = light > 0
    ratio = lost[lit] / light[lit]
    assert lost.max() > 0.05
    assert np.ptp(ratio) < 0.02 * ratio.mean()
    assert light[lit].min() < 0.2
    assert light.max() > 1.8


def test_each_pattern_of_a_short_burst_bleaches_for_its_own_time() -> None:
    config = microscope()
    with opened(config, VirtualClock(), readout_ms=0.0) as scope:
        list(scope.run_plan(burst(config, 3.0, stacks=20), {"blue": 100.0}))
        truth = scope.world.truth(scope.world.clock.now_ns()).specimen
    seen = np.hypot(*truth.spots_um.T) < 5
    lost = -np.log(truth.spots_remaining[seen])
    assert lost.mean() > 0.01
    assert np.std(lost) < 0.02 * lost.mean()  # all phases of all directions add up to even light


def test_the_specimen_creeps() -> None:
    options = {"specimen": "beads", "specimen_options": {"beads": 1, "background_per_um2": 0}}
    with opened(microscope(size=128), VirtualClock(), drift_um_per_s=(0.5, -0.25), **options) as scope:
        scope.apply(SetLight("blue", 20.0))
        scope._clock.sleep(2.0)
        t_ns = scope._clock.now_ns()
        x, y = scope.world.truth(t_ns).to_pixels(np.zeros((1, 2)), Roi(0, 0, 128, 128))[0]
    elapsed_s = (t_ns - scope.world.t0_ns) / 1e9
    assert (x, y) == pytest.approx((63.5 + 0.5 * elapsed_s / 0.065, 63.5 - 0.25 * elapsed_s / 0.065))


def test_an_slm_that_dims_keeps_its_way() -> None:
    dims = path(microscope(), slm="intensity")
    assert dims.slm_shape == (128, 128)
    half = np.zeros((128, 128), np.uint8)
    half[:, 64:] = 255
    assert set(np.unique(dims.of_slm(half))) == {0.0, 1.0}
    assert path(microscope()).slm_shape == SLM.shape
    assert not path(MicroscopeConfig(lights=(BLUE,))).interferes


def test_patterns_are_remembered_but_not_for_ever() -> None:
    light = path()
    first = light.of_slm(np.zeros(SLM.shape, np.uint8))
    assert light.of_slm(np.zeros(SLM.shape, np.uint8)) is first
    for value in range(1, 70):
        light.of_slm(np.full(SLM.shape, value, np.uint8))
    assert light.of_slm(np.zeros(SLM.shape, np.uint8)) is not first
    world = World(microscope(), VirtualClock(), 3, options=WorldOptions(specimen="filaments"))
    try:
        still = PLACES.copy()
        still.setflags(write=False)
        view = world.view(0, whole_sensor(world.config.sensor))
        pattern = shown(world.illumination, 0)
        for step in range(70):
            moved = World.view(world, 0, whole_sensor(world.config.sensor))
            expected = world.illumination.at(PLACES, moved, pattern)
            np.testing.assert_array_equal(world.illumination.at(still, moved, pattern), expected)
            world.stage.move_to((0.01 * step, 0.0), world.t0_ns)
        assert world.illumination.at(still, view, None).all()
    finally:
        world.close()


def test_what_cannot_interfere_is_named() -> None:
    with pytest.raises(ConfigurationError, match="interference: needs an SLM"):
        path(MicroscopeConfig(lights=(BLUE,)), slm="interference")
    with pytest.raises(ConfigurationError, match="0 lights, none of them named"):
        path(microscope().model_copy(update={"lights": ()}))


def test_a_sequence_must_be_loaded_before_it_starts() -> None:
    for config, label in ((microscope(), "SLM"), (microscope(slm=None), "Grating")):
        with opened(config, VirtualClock()) as scope:
            core = scope._core
            start = (
                (lambda: core.startSLMSequence("SLM"))  # noqa: B023
                if label == "SLM"
                else (lambda: core.startPropertySequence("Grating", "Step"))  # noqa: B023
            )
            with pytest.raises(DeviceError, match="no sequence was loaded"):
                start()


def test_the_grating_stands_beside_the_light_until_it_is_asked_in() -> None:
    with opened(microscope(slm=None), VirtualClock()) as scope:
        core, world = scope._core, scope.world
        assert core.getProperty("Grating", "Step") == "Out"
        core.setProperty("Grating", "Step", "S3")
        assert world.relative_light(PLACES, world.clock.now_ns()).max() > 1.5
        core.setProperty("Grating", "Step", "Out")
        assert (world.relative_light(PLACES, world.clock.now_ns()) == 1).all()
        assert core.isPropertySequenceable("Grating", "Step")


def test_a_sequence_ends_where_it_began() -> None:
    config = microscope()
    world = World(config, VirtualClock(), 3, options=WorldOptions(specimen="filaments"))
    try:
        slm = SimulatedSlm(world)
        slm.send_sequence(list(gratings(config.optics, 488.0, 65.0).images[:2]))
        slm.start_sequence()
        slm.start_sequence()
        seen = []
        for t_ns in (10, 20, 30):
            world.clock.advance_to(t_ns)  # type: ignore[attr-defined]
            world.exposure_begins(t_ns)
            seen.append(world.pattern.at(t_ns))
        assert seen[0] is seen[2]
        assert seen[0] is not seen[1]
        slm.stop_sequence()
        slm.stop_sequence()
        world.exposure_begins(40)
        assert world.pattern.at(40) is None
    finally:
        world.close()
