"""Structured illumination in the pipeline: an image with its verdict after each stack, and after each further frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from smartscope.errors import InputError
from smartscope.frame import Frame
from smartscope.optics.pattern_layout import Layout
from smartscope.ports import Instrument
from smartscope.result import Result, SuperResolved
from smartscope_models.calibration import SensorCalibration
from smartscope_models.engines import EngineName
from smartscope_models.structured_illumination.collected import Collected
from smartscope_models.structured_illumination.imaging import Image, Imaging
from smartscope_models.structured_illumination.low_light import LowLight
from smartscope_models.structured_illumination.preview import Preview
from smartscope_models.structured_illumination.stack import StackReconstructor
from smartscope_models.structured_illumination.transfer import Optics
from smartscope_models.structured_illumination.verdict import Verdict

SCALE = 2
STATES = {"fail": 0.0, "weak": 1.0, "ok": 2.0}
"""``structured_illumination_verdict`` in ``quality``, for policies that read figures alone."""


class StructuredIllumination:
    """Collects the raw frames of a stack by ``settings.pattern``; says nothing of other frames.

    A burst that ends after some of the directions gives an image of these. One frame of each direction gives a preview,
    under the last good fringes.

    Options:
        device: where arrays live; ``cuda`` needs a GPU build of torch.
        rolling: an image after every raw frame of a further stack, not of whole ones alone.
        estimate_every: whole stacks between two measurements of the fringes. Other light measures them at once.
        error_map: what the image leaves of the raw frames, with each measurement.
        keep_weak: show a weak image rather than widefield in its place.
        sectioning: share of the out-of-focus light that is taken out; brightness is no measure then, nor rolls.
        network: package that quietens the image in little light; empty: none.
        preview_network: package that does so for previews; empty: none.
        engine: that runs them.
        threads: of the processor; one core stays with the camera.
    """

    reads: frozenset[str] = frozenset()

    def __init__(
        self,
        setup: Instrument,
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        rolling: bool = True,
        estimate_every: Annotated[int, Field(ge=1)] = 1,
        error_map: bool = True,
        keep_weak: bool = False,
        sectioning: Annotated[float, Field(ge=0, le=1)] = 0.0,
        network: str = "",
        preview_network: str = "",
        engine: EngineName = "auto",
        threads: Annotated[int, Field(ge=1, le=64)] = 1,
    ) -> None:
        """Open the network, if there is one.

        Raises:
            InputError: the optics tell of no fringes, or the pixels cannot carry them.
            UnsupportedModel: the network is for something else.
            EngineError: no engine can run it.
        """
        config = setup.optics.structured_illumination
        if config is None:
            raise InputError(
                "nothing is known of the fringes",
                where="microscope.optics.structured_illumination",
                remedy="say how they are stepped: angles, phases, beams",
            )
        torch.set_num_threads(threads)
        self.layout = Layout.of(config)
        self.history = 2 * self.layout.frames - 1  # a stack is still there when the pipeline was busy at its end
        self._optics = Optics(setup.optics.numerical_aperture, setup.optics.emission_nm, setup.camera.pixel_size_nm)
        self._cutoff_per_px = self._optics.cutoff_per_px
        self._sensor = SensorCalibration(setup.camera)
        self._network, self._preview_network = (
            LowLight(package, engine, threads=threads, device=device) if package else None
            for package in (network, preview_network)
        )
        self._device, self._rolling, self._every, self._with_error_map = device, rolling, estimate_every, error_map
        self._sectioning, self._keep_weak = sectioning, keep_weak
        self._size = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Allocate for frames of this (N, N) and run once.

        Raises:
            InputError: the frames are not square, too small or odd.
        """
        if shape[0] != shape[1]:
            what, remedy = f"frames of {shape[0]} x {shape[1]} pixels", "choose a square region (start.roi)"
            raise InputError(what, where="structured_illumination", allowed="square frames", remedy=remedy)
        self._size = shape[0]
        self._collected = Collected(self.layout, self._size, self._sensor, self._device)
        self._imaging: dict[int, Imaging] = {}
        self._preview: tuple[object, Preview] | None = None
        noise = torch.rand((self.layout.frames, *shape), generator=torch.Generator().manual_seed(1))
        self._reconstructor(self.layout.angles).run((100 + noise).to(self._device))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``super_resolved`` and its figures, where a stack was found complete, renewed or ended."""
        if frames[-1].pixels.shape != (self._size, self._size):
            self.warm_up((frames[-1].pixels.shape[0], frames[-1].pixels.shape[1]))
        if frames[-1].mixed:  # its result drives no policy; what is new is still so with the next frame
            return so_far
        collected = self._collected
        fresh = [frame for frame in frames if collected.is_new(frame) and not frame.mixed]
        taken = [collected.take(frame) for frame in fresh if frame.settings.pattern is not None]
        if taken and collected.whole:
            imaging = self._of_directions(self.layout.angles)
            made = imaging.image(collected, taken, self.layout.frames - 1 in taken)
            return so_far if made is None else self._with_image(so_far, imaging, *made)
        over = frames[-1].settings.pattern is None and collected.is_new(frames[-1])
        return self._ended(so_far) if over and collected.row and not collected.whole else so_far

    def _ended(self, so_far: Result) -> Result:
        """The burst is over before its stack was whole: what it holds may be some directions, or a preview."""
        collected, layout = self._collected, self.layout
        row = list(collected.row)
        directions, rest = divmod(len(row), layout.phases)
        if row == list(range(0, layout.frames, layout.phases)) and layout.angles > 1:
            so_far = self._with_preview(so_far)
        elif row == list(range(len(row))) and not rest:
            imaging = self._of_directions(directions)
            if (made := imaging.image(collected, row, True)) is not None:
                so_far = self._with_image(so_far, imaging, *made)
        collected.forget()
        return so_far

    def _of_directions(self, directions: int) -> Imaging:
        """For stacks of the first so many directions."""
        if directions not in self._imaging:
            self._imaging[directions] = Imaging(
                self._reconstructor(directions),
                self._every,
                rolling=self._rolling and directions == self.layout.angles,
                error_map=self._with_error_map,
                keep_weak=self._keep_weak,
                network=self._network,
            )
        return self._imaging[directions]

    def _reconstructor(self, directions: int) -> StackReconstructor:
        layout = replace(self.layout, angles=directions)
        return StackReconstructor(layout, self._size, self._optics, self._device, self._sectioning)

    # ---------------------------------------------------------------- results

    def _with_image(self, so_far: Result, imaging: Imaging, image: Image, error_map: Image | None) -> Result:
        verdict = imaging.verdict(self._collected)
        fine = SuperResolved(
            image=image,
            scale=SCALE,
            verdict=verdict.state,
            why=verdict.why,
            resolution_nm=verdict.resolution_nm,
            raw_frames=self._collected.raw_frames,
            settings=self._collected.exposed,
            error_map=error_map,
        )
        figures = self._figures(imaging, verdict, error_map)
        return replace(so_far, super_resolved=fine, quality={**so_far.quality, **figures})

    def _figures(self, imaging: Imaging, verdict: Verdict, error_map: Image | None) -> dict[str, float]:
        assert imaging.shown is not None
        prepared = imaging.shown.prepared
        figures = {
            "structured_illumination_verdict": STATES[verdict.state],
            "structured_illumination_saturated": self._collected.saturated,
            "directions": len(self._collected.row) / self.layout.phases,
            "resolution_nm": verdict.resolution_nm,
            "widefield_resolution_nm": verdict.widefield_resolution_nm,
            "expected_gain": verdict.widefield_resolution_nm / prepared.expected_nm,
            "fine_detail": prepared.reconstruction.weights.fine_detail,
            "carrier_peak": verdict.peak,
            "modulation": verdict.modulation,
            "uneven_deg": verdict.uneven_deg,
            "bleached_fraction": verdict.bleached,
            "moved_px": verdict.moved_px,
            "fringes_age_s": self._age_s(imaging),
            "error_sigma": math.nan if error_map is None else float(error_map.max()),
        }
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _age_s(self, imaging: Imaging) -> float:
        return (self._collected.t_mid_ns - imaging.good_ns) / 1e9 if imaging.good is not None else math.nan

    def _with_preview(self, so_far: Result) -> Result:
        """One frame of each direction under the last good fringes; nothing where there were none yet."""
        imaging, collected = self._of_directions(self.layout.angles), self._collected
        if imaging.good is None or imaging.shown is None:
            return so_far
        if self._preview is None or self._preview[0] is not imaging.good:
            power = imaging.shown.prepared.estimate.power
            cutoff = self._cutoff_per_px * self._size
            made = Preview(self.layout, self._size, cutoff, imaging.good, power, device=self._device)
            if self._preview_network is not None:
                self._preview_network.expect_information(made.known)
            self._preview = imaging.good, made
        image = self._preview[1].run(collected.electrons[:: self.layout.phases], self._preview_network).image
        age_s = self._age_s(imaging)
        fine = SuperResolved(
            image=image,
            scale=SCALE,
            verdict="weak",
            why=(f"a preview of {self.layout.angles} raw frames, under the fringes of {age_s:.3g} s ago",),
            resolution_nm=imaging.shown.prepared.verdict.widefield_resolution_nm,
            raw_frames=collected.raw_frames,
            preview=True,
            settings=collected.exposed,
        )
        return replace(so_far, super_resolved=fine, quality={**so_far.quality, "fringes_age_s": age_s})
