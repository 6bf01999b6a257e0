"""Structured illumination in the pipeline: an image with its verdict after each stack, and after each further frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from smartscope.errors import InputError
from smartscope.frame import Frame, Settings
from smartscope.optics.pattern_layout import Layout
from smartscope.ports import Instrument
from smartscope.result import Result, SuperResolved
from smartscope_models.calibration import SensorCalibration
from smartscope_models.structured_illumination.collected import Collected
from smartscope_models.structured_illumination.error_map import ErrorMap
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.stack import SATURATED_SHARE, Prepared, StackReconstructor
from smartscope_models.structured_illumination.transfer import Optics
from smartscope_models.structured_illumination.verdict import Verdict

SCALE = 2
STATES = {"fail": 0.0, "weak": 1.0, "ok": 2.0}
"""``structured_illumination_verdict`` in ``quality``, for policies that read figures alone."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How images are made at present, and since when that is known."""

    prepared: Prepared
    exposed: Settings | None
    measured_ns: int
    """Middle of the newest exposure that the fringes were measured from."""
    stacks: int = 0
    """Completed since."""


class StructuredIllumination:
    """Collects the raw frames of a stack by ``settings.pattern``; says nothing of other frames.

    Options:
        device: where arrays live; ``cuda`` needs a GPU build of torch.
        rolling: an image after every raw frame of a further stack, not of whole ones alone.
        estimate_every: whole stacks between two measurements of the fringes. Other light measures them at once.
        error_map: what the image leaves of the raw frames, with each measurement.
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
        threads: Annotated[int, Field(ge=1, le=64)] = 1,
    ) -> None:
        """Raises InputError: the optics tell of no fringes, or the pixels cannot carry them."""
        if setup.optics.structured_illumination is None:
            raise InputError(
                "nothing is known of the fringes",
                where="microscope.optics.structured_illumination",
                remedy="say how they are stepped: angles, phases, beams",
            )
        torch.set_num_threads(threads)
        self.layout = Layout.of(setup.optics.structured_illumination)
        self.history = 2 * self.layout.frames - 1  # a stack is still there when the pipeline was busy at its end
        self._optics = Optics(setup.optics.numerical_aperture, setup.optics.emission_nm, setup.camera.pixel_size_nm)
        self._sensor = SensorCalibration(setup.camera)
        self._device, self._rolling, self._every, self._with_error_map = device, rolling, estimate_every, error_map
        self._size = 0
        self._good: Parameters | None = None
        self._good_ns = 0
        self._optics.cutoff_per_px  # noqa: B018 refuses pixels that are too large before there is light

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Allocate for frames of this (N, N) and run once.

        Raises:
            InputError: the frames are not square, too small or odd.
        """
        if shape[0] != shape[1]:
            raise InputError(f"frames of {shape} pixels", where="structured_illumination", allowed="square frames",
                             remedy="choose a square region (start.roi)")  # fmt: skip
        self._size = shape[0]
        self._stack = StackReconstructor(self.layout, self._size, self._optics, self._device)
        self._collected = Collected(self.layout, self._size, self._sensor, self._device)
        self._shown: Shown | None = None
        self._good = None
        noise = torch.rand((self.layout.frames, *shape), generator=torch.Generator().manual_seed(1))
        self._stack.run((100 + noise).to(self._device))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``super_resolved`` and its figures, where this frame completed or renewed a stack."""
        if frames[-1].pixels.shape != (self._size, self._size):
            self.warm_up((frames[-1].pixels.shape[0], frames[-1].pixels.shape[1]))
        fresh = [frame for frame in frames if self._collected.is_new(frame)]
        patterned = [frame for frame in fresh if frame.settings.pattern is not None and not frame.mixed]
        taken = [self._collected.take(frame) for frame in patterned]
        if not taken or not self._collected.whole:
            return so_far
        ended = self.layout.frames - 1 in taken
        if self._must_measure(ended):
            image, error_map = self._measured()
        elif self._shown is not None and (ended or self._rolling):
            image, error_map = self._renewed(taken), None
            self._shown = replace(self._shown, stacks=self._shown.stacks + ended)
        else:
            return so_far
        return self._with_image(so_far, image, error_map)

    def _must_measure(self, ended: bool) -> bool:
        shown = self._shown
        if shown is None or shown.exposed != self._collected.exposed:
            return True
        return ended and (shown.stacks + 1 >= self._every or shown.prepared.verdict.state != "ok")

    def _measured(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """An image with fringes measured from this very stack; what is good of them is where the next look begins."""
        frames = self._collected.electrons
        prepared = self._stack.prepare(frames, self._good)
        if prepared.verdict.state == "fail" and self._good is not None:
            prepared = self._stack.prepare(frames)  # they may have moved: look everywhere
        self._shown = Shown(prepared, self._collected.exposed, self._collected.t_mid_ns)
        if prepared.verdict.state == "fail":
            return prepared.reconstruction.widefield(frames), None
        self._good, self._good_ns = prepared.estimate.parameters, self._collected.t_mid_ns
        image = prepared.reconstruction.full(frames)
        left = ErrorMap(prepared.reconstruction).of(frames) if self._with_error_map else None
        return image, left

    def _renewed(self, taken: Sequence[int]) -> torch.Tensor:
        """An image with the fringes as they were measured before."""
        assert self._shown is not None
        made = self._shown.prepared.reconstruction
        if self._shown.prepared.verdict.state == "fail":
            return made.widefield(self._collected.electrons)
        if len(taken) == 1 and made.current:
            return made.rolling(taken[0], self._collected.change)
        return made.full(self._collected.electrons)

    def _with_image(self, so_far: Result, image: torch.Tensor, error_map: torch.Tensor | None) -> Result:
        assert self._shown is not None
        verdict = self._verdict(self._shown.prepared.verdict)
        fine = SuperResolved(
            image=image.cpu().numpy().copy(),  # the buffer is written again with the next frame
            scale=SCALE,
            verdict=verdict.state,
            why=verdict.why,
            resolution_nm=verdict.resolution_nm,
            raw_frames=self._collected.raw_frames,
            settings=self._collected.exposed,
            error_map=None if error_map is None else error_map.cpu().numpy().copy(),
        )
        figures = self._figures(self._shown, verdict, fine)
        return replace(so_far, super_resolved=fine, quality={**so_far.quality, **figures})

    def _verdict(self, verdict: Verdict) -> Verdict:
        if (saturated := self._collected.saturated) <= SATURATED_SHARE:
            return verdict
        why = f"{100 * saturated:.2g} % of the pixels of a frame are saturated: less light"
        return replace(verdict, state="weak" if verdict.state == "ok" else verdict.state, why=(why, *verdict.why))

    def _figures(self, shown: Shown, verdict: Verdict, fine: SuperResolved) -> dict[str, float]:
        prepared = shown.prepared
        figures = {
            "structured_illumination_verdict": STATES[verdict.state],
            "structured_illumination_saturated": self._collected.saturated,
            "resolution_nm": verdict.resolution_nm,
            "widefield_resolution_nm": verdict.widefield_resolution_nm,
            "expected_gain": verdict.widefield_resolution_nm / prepared.expected_nm,
            "fine_detail": prepared.reconstruction.weights.fine_detail,
            "carrier_peak": verdict.peak,
            "modulation": verdict.modulation,
            "uneven_deg": verdict.uneven_deg,
            "bleached_fraction": verdict.bleached,
            "moved_px": verdict.moved_px,
            "fringes_age_s": (self._collected.t_mid_ns - self._good_ns) / 1e9 if self._good is not None else math.inf,
        }
        if fine.error_map is not None:
            figures["error_sigma"] = float(fine.error_map.max())
        return {name: value for name, value in figures.items() if math.isfinite(value)}
