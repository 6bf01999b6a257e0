"""``smartscope process reconstruct``: raw structured-illumination stacks as TIFF → images on the twice finer grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from smartscope.errors import EngineError, InputError
from smartscope.ports import TaskInputs
from smartscope_models.calibration import SensorCalibration
from smartscope_models.movies import FloatTiffWriter, TiffMovie, as_frame, written_whole

if TYPE_CHECKING:
    from smartscope.optics.pattern_layout import Layout
    from smartscope_models.structured_illumination.low_light import LowLight
    from smartscope_models.structured_illumination.stack import Reconstructed

Report = Callable[[int, int], None]
LAYOUT_OPTIONS = ("angles", "phases", "beams", "hexagonal")
OPTIONS = (*LAYOUT_OPTIONS, "sectioning", "model", "engine", "camera_given")


class ReconstructTask:
    """TIFF of one stack or several, one after the other → float32 TIFF, electrons per raw pixel and frame.

    How the frames were taken comes from ``optics.json`` (angles, phases, beams) or options of the same names; three
    angles and three phases otherwise. ``model`` and ``engine``: a network that quietens the image in little light; none
    otherwise. ``sectioning``: share of the out-of-focus light that is taken out, 0 to 1; brightness is no measure then.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Reconstruct every stack; the report holds what was found of the fringes, in the evaluators' terms.

        Raises:
            InputError: an unknown option, the movie is no whole number of stacks, or a stack cannot be worked with;
                nothing is written.
            UnsupportedModel: the network is for something else.
            EngineError: torch is not installed, or no engine can run the network.
        """
        try:
            import torch
        except ImportError as error:
            what = "structured illumination is reconstructed with torch, which is not installed"
            raise EngineError(what, where="process reconstruct", remedy="pip install 'smartscope[torch]'") from error
        if unknown := sorted(set(inputs.options) - set(OPTIONS)):
            raise InputError(f"no option {unknown[0]!r}", where="process reconstruct", allowed=", ".join(OPTIONS[:-1]))
        torch.set_num_threads(1)
        found, cpu_ms = list[Any](), list[float]()
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            stacks = _Stacks(inputs, movie)
            with FloatTiffWriter(part, len(stacks), (2 * stacks.size, 2 * stacks.size)) as writer:
                for number in range(len(stacks)):
                    raw = stacks.read(number)
                    started = time.process_time()
                    made, image = stacks.made(raw)
                    cpu_ms.append(1e3 * (time.process_time() - started))
                    writer.write(image)
                    found.append(made)
                    report(number + 1, len(stacks))
        return {
            **_first(found[0]),
            "stacks": len(stacks),
            "cpu_ms_per_stack": float(np.median(cpu_ms)),
            **stacks.facts(),
            "warnings": _why(found),
        }


class _Stacks:
    """The stacks of one movie, and how images are made of them."""

    def __init__(self, inputs: TaskInputs, movie: TiffMovie) -> None:
        from smartscope_models.structured_illumination.stack import StackReconstructor
        from smartscope_models.structured_illumination.transfer import Optics

        camera, optics = inputs.instrument.camera, inputs.instrument.optics
        self._movie, self._layout = movie, _layout(inputs)
        self._count, rest = divmod(len(movie), self._layout.frames)
        if rest or not self._count:
            raise InputError(
                f"{len(movie)} frames",
                where=inputs.source,
                allowed=f"a multiple of {self._layout.frames} ({self._layout.angles} angles x "
                f"{self._layout.phases} phases)",
                remedy="say how it was taken: --option angles=…, --option phases=…",
            )
        self.size = movie.shape[0]
        self._pixels = SensorCalibration(camera).of(as_frame(movie.pixels(0), 0))
        self._lens = Optics(optics.numerical_aperture, optics.emission_nm, camera.pixel_size_nm)
        sectioning = float(inputs.options.get("sectioning", 0.0))
        self._reconstructor = StackReconstructor(self._layout, self.size, self._lens, sectioning=sectioning)
        self._network = _network(inputs.options)

    def __len__(self) -> int:
        return self._count

    def read(self, number: int) -> npt.NDArray[np.uint16]:
        """(frames, N, N) counts of a stack.

        Raises:
            InputError: it cannot be worked with.
        """
        from smartscope_models.structured_illumination.stack import checked

        first = number * self._layout.frames
        raw = np.stack([self._movie.pixels(first + frame) for frame in range(self._layout.frames)])
        checked(raw, self._layout, self._pixels.saturation_adu)
        return raw

    def made(self, raw: npt.NDArray[np.uint16]) -> tuple[Reconstructed, npt.NDArray[np.float32]]:
        """What was found of a stack, and its image."""
        import torch

        electrons = (raw.astype(np.float32) - self._pixels.offset_adu) * self._pixels.electrons_per_adu
        made = self._reconstructor.run(torch.from_numpy(electrons))
        if self._network is None or made.verdict.state == "fail":
            return made, made.image
        cutoff = self._lens.cutoff_per_px * self.size
        self._network.expect(self.size, cutoff, made.estimate.parameters, made.estimate.power)
        return made, self._network.apply(torch.from_numpy(made.image))

    def facts(self) -> dict[str, str]:
        """The network, for the report."""
        return {} if self._network is None else self._network.facts()


def _layout(inputs: TaskInputs) -> Layout:
    from smartscope.optics.pattern_layout import Layout

    config = inputs.instrument.optics.structured_illumination
    told = {} if config is None else asdict(Layout.of(config))
    return Layout(**{**told, **{key: inputs.options[key] for key in LAYOUT_OPTIONS if key in inputs.options}})


def _network(options: Mapping[str, Any]) -> LowLight | None:
    """The network asked for; raises UnsupportedModel or EngineError where it cannot be used."""
    if not (asked := options.get("model")):
        return None
    from smartscope_models.structured_illumination.low_light import LowLight

    return LowLight(str(asked), options.get("engine", "auto"))


def _first(made: Reconstructed) -> dict[str, Any]:
    """What the evaluators read, of the first stack; of several orders the finest."""
    fringes, verdict = made.estimate.parameters, made.verdict
    return {
        "verdict": verdict.state,
        "why": list(verdict.why),
        "carriers_px": fringes.carriers[:, -1].tolist(),
        "phases_deg": np.degrees(fringes.phases_rad[:, :, -1]).tolist(),
        "modulation": fringes.modulation[:, -1].tolist(),
        "resolution_nm": verdict.resolution_nm,
        "widefield_resolution_nm": verdict.widefield_resolution_nm,
        "moved_px": verdict.moved_px,
        "bleached": verdict.bleached,
    }


def _why(found: list[Reconstructed]) -> list[str]:
    return [f"stack {k}: {made.verdict.state}: {why}" for k, made in enumerate(found) for why in made.verdict.why]
