"""Bursts: one event for each raw frame, alike but for the pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from structured_microscope import BLUE, microscope

from smartscope.bursts import STACK, announced_carriers, burst
from smartscope.config import MicroscopeConfig, OpticsConfig, StructuredIlluminationConfig
from smartscope.errors import InputError
from smartscope.frame import Roi, Settings
from smartscope.optics.fringes import carriers_of, wanted_beams
from smartscope.optics.gratings import gratings
from smartscope.optics.pattern_layout import Layout
from smartscope.safety.plan_gate import settings_after


def test_an_slm_shows_each_grating_in_turn() -> None:
    config = microscope("three beams")
    events = burst(config, 4.0, stacks=2)
    assert len(events) == 30
    now = Settings(10.0, Roi(0, 0, 8, 8))
    assert [settings_after(event, now).pattern for event in events] == [*range(15)] * 2
    assert {settings_after(event, now).exposure_ms for event in events} == {4.0}
    assert [event.metadata[STACK] for event in events] == [0] * 15 + [1] * 15
    images = gratings(config.optics, 488.0, 65.0).images
    for event, image in zip(events, [*images, *images], strict=True):
        assert event.slm_image is not None
        np.testing.assert_array_equal(np.asarray(event.slm_image), image)
    assert events == burst(config, 4.0, stacks=2)


def test_a_grating_takes_its_values_in_turn() -> None:
    events = burst(microscope(slm=None), 4.0)
    assert [tuple(event.properties[0]) for event in events if event.properties] == [
        ("Grating", "Step", f"S{step}") for step in range(9)
    ]


@pytest.mark.parametrize("layout", ["two beams", "three beams", "hexagonal"])
def test_carriers_are_announced_for_slm_and_grating(layout: str) -> None:
    by_slm, by_grating = microscope(layout), microscope(layout, slm=None)
    fringes = by_grating.optics.structured_illumination
    assert fringes is not None
    exact = carriers_of(Layout.of(fringes), wanted_beams(fringes, 1.4, 488.0)) * 128 * 0.065
    np.testing.assert_allclose(announced_carriers(by_grating, 128), exact)
    assert np.hypot(*(announced_carriers(by_slm, 128) - exact).reshape(-1, 2).T).max() < 0.8


def test_an_event_without_a_pattern_ends_it() -> None:
    now = Settings(10.0, Roi(0, 0, 8, 8), pattern=3)
    event = burst(microscope(), 4.0)[0].model_copy(update={"metadata": {}})
    assert settings_after(event, now).pattern is None
    assert settings_after(event.model_copy(update={"metadata": {"pattern": "4"}}), now).pattern is None


@pytest.mark.parametrize(
    ("config", "asked", "message"),
    [
        (MicroscopeConfig(lights=(BLUE,)), (5.0,), "no structured illumination"),
        (
            MicroscopeConfig(
                lights=(BLUE,), optics=OpticsConfig(structured_illumination=StructuredIlluminationConfig())
            ),
            (5.0,),
            "nothing steps the fringes",
        ),
        (microscope(), (5.0, 0), "0 stacks of 5 ms exposures"),
        (microscope(), (0.0,), "1 stacks of 0 ms exposures"),
        (microscope().model_copy(update={"lights": ()}), (5.0,), "0 lights, none of them named"),
    ],
)
def test_what_cannot_be_planned_is_refused(config: MicroscopeConfig, asked: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        burst(config, *asked)
