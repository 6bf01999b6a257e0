"""Only this file knows how structured illumination becomes a plan: one event for each raw frame, with its pattern.

The events differ in nothing but the pattern, so that a microscope that can merges them into one hardware sequence; each
carries its step of the stack in its metadata, from which its frame gets ``Settings.pattern``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import useq

from smartscope.config import GratingConfig, MicroscopeConfig, StructuredIlluminationConfig
from smartscope.errors import InputError
from smartscope.optics.fringes import carriers_of, fringe_light, wanted_beams
from smartscope.optics.gratings import WHERE, check_fringes, gratings
from smartscope.optics.pattern_layout import Layout
from smartscope.ports import Instrument
from smartscope.safety.plan_gate import PATTERN

Bench = MicroscopeConfig | Instrument
"""Camera, optics and lights."""
STACK = "stack"
"""Key of an event's metadata: which stack of the burst its frame belongs to, from 0."""


def burst(
    microscope: Bench, exposure_ms: float, stacks: int = 1, steps: Sequence[int] | None = None
) -> tuple[useq.MDAEvent, ...]:
    """Events of ``stacks`` stacks, one after the other; the same arguments give the same events.

    steps: those of a stack that are taken, of 0 to frames - 1; None: all. The first directions alone save light, one
    frame of each direction is a preview.

    Raises:
        InputError: no structured illumination, no device that steps it, or fringes that cannot be made or seen.
    """
    config = configured(microscope)
    frames = Layout.of(config).frames
    taken = range(frames) if steps is None else steps
    if stacks < 1 or not exposure_ms > 0 or not taken or not all(0 <= step < frames for step in taken):
        raise InputError(
            f"{stacks} stacks of {exposure_ms:g} ms exposures, steps {list(taken)}",
            where="burst",
            allowed=f"at least one stack, above 0 ms, steps from 0 to {frames - 1}",
        )
    shown = _slm_steps(microscope, config) if config.slm is not None else _grating_steps(config.grating)
    return tuple(
        useq.MDAEvent(
            index={"t": stack, "pattern": step},
            exposure=exposure_ms,
            metadata={PATTERN: step, STACK: stack},
            **shown[step],
        )
        for stack in range(stacks)
        for step in taken
    )


def announced_carriers(microscope: Bench, size_px: int) -> npt.NDArray[np.float64]:
    """(angles, orders, 2) carriers that a burst should show, cycles over a field of ``size_px`` camera pixels.

    Raises:
        InputError: as ``burst``.
    """
    config, pixel_nm = configured(microscope), microscope.camera.pixel_size_nm
    wavelength_nm = fringe_light(config, microscope.lights).wavelength_nm
    if config.slm is not None:
        return gratings(microscope.optics, wavelength_nm, pixel_nm).carriers(size_px, pixel_nm)
    beams = wanted_beams(config, microscope.optics.numerical_aperture, wavelength_nm)
    carriers = carriers_of(Layout.of(config), beams)
    check_fringes(carriers, config, microscope.optics, pixel_nm)
    return np.asarray(carriers * size_px * pixel_nm / 1e3)


def configured(microscope: Bench) -> StructuredIlluminationConfig:
    """The structured illumination of a microscope that has some.

    Raises:
        InputError: it has none, or nothing that steps it.
    """
    config = microscope.optics.structured_illumination
    if config is None or (config.slm is None and config.grating is None):
        what = "this microscope has no structured illumination" if config is None else "nothing steps the fringes"
        raise InputError(what, where=WHERE, remedy="configure its slm, or its grating")
    return config


def _slm_steps(microscope: Bench, config: StructuredIlluminationConfig) -> list[dict[str, object]]:
    assert config.slm is not None
    wavelength_nm = fringe_light(config, microscope.lights).wavelength_nm
    stack = gratings(microscope.optics, wavelength_nm, microscope.camera.pixel_size_nm)
    device = config.slm.device or None
    return [{"slm_image": useq.SLMImage(data=image, device=device)} for image in stack.images]


def _grating_steps(grating: GratingConfig | None) -> list[dict[str, object]]:
    assert grating is not None
    return [{"properties": [(grating.device, grating.property, value)]} for value in grating.values]
