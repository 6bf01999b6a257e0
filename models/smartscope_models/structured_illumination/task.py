"""``smartscope process reconstruct``: raw structured-illumination stacks as TIFF → images on the twice finer grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.errors import EngineError, InputError
from smartscope.ports import TaskInputs
from smartscope_models.calibration import SensorCalibration
from smartscope_models.movies import FloatTiffWriter, TiffMovie, as_frame, written_whole

if TYPE_CHECKING:
    from smartscope_models.structured_illumination.low_light import LowLight

Report = Callable[[int, int], None]


class ReconstructTask:
    """TIFF of one stack or several, one after the other → float32 TIFF, electrons per raw pixel and frame.

    How the frames were taken comes from ``optics.json`` (angles, phases, beams) or options of the same names; three
    angles and three phases otherwise. Options ``network`` (a model package, or ``low_light`` for the shipped one) and
    ``engine``: the network that quietens the image in little light; none otherwise.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Reconstruct every stack; the report holds what was found of the fringes, in the evaluators' terms.

        Raises:
            InputError: the movie is no whole number of stacks, or a stack cannot be worked with; nothing is written.
            EngineError: torch is not installed.
        """
        try:
            import torch
        except ImportError as error:
            what = "structured illumination is reconstructed with torch, which is not installed"
            raise EngineError(what, where="process reconstruct", remedy="pip install 'smartscope[torch]'") from error
        from smartscope.optics.pattern_layout import Layout
        from smartscope_models.structured_illumination.stack import StackReconstructor, checked
        from smartscope_models.structured_illumination.transfer import Optics

        camera, optics = inputs.instrument.camera, inputs.instrument.optics
        told = {} if optics.structured_illumination is None else asdict(Layout.of(optics.structured_illumination))
        layout = Layout(**{**told, **{key: inputs.options[key] for key in LAYOUT_KEYS if key in inputs.options}})
        torch.set_num_threads(1)
        found, cpu_ms = [], []
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            stacks, rest = divmod(len(movie), layout.frames)
            if rest or not stacks:
                raise InputError(
                    f"{len(movie)} frames",
                    where=inputs.source,
                    allowed=f"a multiple of {layout.frames} ({layout.angles} angles x {layout.phases} phases)",
                    remedy="say how it was taken: --option angles=…, --option phases=…",
                )
            size = movie.shape[0]
            pixels = SensorCalibration(camera).of(as_frame(movie.pixels(0), 0))
            lens = Optics(optics.numerical_aperture, optics.emission_nm, camera.pixel_size_nm)
            reconstructor = StackReconstructor(layout, size, lens)
            network = _network(inputs.options)
            with FloatTiffWriter(part, stacks, (2 * size, 2 * size)) as writer:
                for number in range(stacks):
                    first = number * layout.frames
                    raw = np.stack([movie.pixels(first + frame) for frame in range(layout.frames)])
                    checked(raw, layout, pixels.saturation_adu)
                    started = time.process_time()
                    electrons = (raw.astype(np.float32) - pixels.offset_adu) * pixels.electrons_per_adu
                    made = reconstructor.run(torch.from_numpy(electrons))
                    image = made.image
                    if network is not None and made.verdict.state != "fail":
                        network.expect(size, lens.cutoff_per_px * size, made.estimate.parameters, made.estimate.power)
                        image = network.apply(torch.from_numpy(image))
                    cpu_ms.append(1e3 * (time.process_time() - started))
                    writer.write(image)
                    found.append(made)
                    report(number + 1, stacks)
        return {
            **_first(found[0]),
            "stacks": stacks,
            "cpu_ms_per_stack": float(np.median(cpu_ms)),
            **({} if network is None else network.facts()),
            "warnings": _why(found),
        }


LAYOUT_KEYS = ("angles", "phases", "beams", "hexagonal")


def _network(options: Mapping[str, Any]) -> LowLight | None:
    """The network asked for; raises UnsupportedModel or EngineError where it cannot be used."""
    if not (asked := options.get("network")):
        return None
    from smartscope_models.structured_illumination.low_light import PACKAGE, LowLight

    package = PACKAGE if asked == "low_light" else str(asked)
    return LowLight(package, options.get("engine", "auto"))


def _first(made: Any) -> dict[str, Any]:
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


def _why(found: list[Any]) -> list[str]:
    return [f"stack {k}: {made.verdict.state}: {why}" for k, made in enumerate(found) for why in made.verdict.why]
