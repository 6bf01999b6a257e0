"""The live model ``detect``: a network for what it finds best, where there is an engine; else classical detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from smartscope.errors import EngineError, InputError, PluginError, UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.calibration import SensorCalibration
from smartscope_models.detection.cells import CellDetector
from smartscope_models.detection.network import PACKAGE, ObjectNetwork
from smartscope_models.detection.network_path import Labels, NetworkPath
from smartscope_models.detection.objects import joined
from smartscope_models.detection.spots import SpotDetector
from smartscope_models.engines import EngineName
from smartscope_models.engines.engine import Precision

Kind = Literal["spot", "organelle", "cell"]
BETTER: tuple[Kind, ...] = ("spot", "organelle")
"""Of what the shipped network finds more than the classical detectors, see docs/benchmarks.md."""


class ObjectDetector:
    """Finds spots, organelles and cells in raw frames, those that are asked for."""

    reads: frozenset[str] = frozenset()

    def __init__(
        self,
        setup: Instrument,
        *,
        kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("spot", "organelle", "cell"),
        finder: Literal["auto", "classical", "network"] = "auto",
        probability: Annotated[float, Field(ge=0.1, le=0.99)] = 0.3,
        network: str | None = None,
        engine: EngineName = "auto",
        precision: Precision | None = None,
        threads: Annotated[int, Field(ge=1, le=64)] = 1,
        false_alarms_per_megapixel: Annotated[float, Field(gt=0, le=10_000)] = 1.0,
        min_radius_um: Annotated[float, Field(gt=0, le=1000)] = 2.5,
        max_radius_um: Annotated[float, Field(gt=0, le=10_000)] = 25.0,
    ) -> None:
        """kinds: what is sought; without ``organelle``, objects of 8 to 24 pixels are cells.

        finder: ``network``; ``classical``, a matched filter for spots and a threshold for cells; ``auto``: each for
        what it finds best, the shipped network for spots and organelles, another network for all, and classical ones
        alone where no engine can run a network. probability: that an object is there, at least. network: name or
        folder of a model package; None: the shipped one. engine, precision, threads: of the network. The others are
        the classical detectors'.

        Raises:
            PluginError: organelles alone are asked of the classical detectors, or the radii are in the wrong order.
            InputError, UnsupportedModel, EngineError: the network that was asked for cannot be used.
        """
        self._calibration = SensorCalibration(setup.camera)
        self._facts: dict[str, str] = {"finder": "classical"}
        self._path: NetworkPath | None = None
        self._classical: list[SpotDetector | CellDetector] = []
        asked = network is not None or finder == "network"
        its = [kind for kind in kinds if asked or kind in BETTER]
        if finder != "classical" and its:
            self._path = self._with_network(finder, network, engine, precision, threads, its, probability)
        left = [kind for kind in kinds if self._path is None or kind not in its]
        if left and self._path is not None:
            self._facts["cells"] = "classical"
        if left:
            self._classical = _classical(
                setup, left, false_alarms_per_megapixel, min_radius_um=min_radius_um, max_radius_um=max_radius_um
            )
        self.history = 1 if self._path else 0

    def _with_network(
        self,
        finder: str,
        package: str | None,
        engine: EngineName,
        precision: Precision | None,
        threads: int,
        kinds: Sequence[str],
        probability: float,
    ) -> NetworkPath | None:
        """None where a network is only wished for, and cannot be."""
        try:
            network = ObjectNetwork(package or PACKAGE, engine, precision, threads)
        except (InputError, UnsupportedModel, EngineError) as error:  # where none is shipped, the first
            if finder == "network" or package:
                raise
            self._facts["network"] = f"none: {error.what}"
            return None
        self._facts = {"finder": "network", **network.facts()}
        return NetworkPath(network, self._calibration, kinds, probability)

    @property
    def outlines(self) -> Labels | None:
        """(H, W) int32 of the last frame: 1 + row of the object in its detections, 0 where none is; None: not known."""
        return self._path.outlines if self._path and not self._classical else None

    def facts(self) -> dict[str, str]:
        """Who finds objects: package, hash and engine of the network, for the record of a run."""
        return dict(self._facts)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        for model in (self._path, *self._classical):
            if model is not None:
                model.warm_up(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the objects of ``frames[-1]`` added to ``detections``."""
        seen = replace(so_far, image=None)  # a threshold that holds for raw frames is not one for quiet images
        if self._path is not None:
            seen = replace(seen, detections=joined(so_far.detections, self._path.find(frames)))
        for model in self._classical:
            seen = model.step(frames, seen)
        return replace(so_far, detections=seen.detections)


def _classical(
    setup: Instrument,
    kinds: Sequence[str],
    false_alarms_per_megapixel: float,
    *,
    min_radius_um: float,
    max_radius_um: float,
) -> list[SpotDetector | CellDetector]:
    models: list[SpotDetector | CellDetector] = []
    if "spot" in kinds:
        models.append(SpotDetector(setup, false_alarms_per_megapixel=false_alarms_per_megapixel))
    if "cell" in kinds:
        models.append(CellDetector(setup, min_radius_um=min_radius_um, max_radius_um=max_radius_um))
    if not models:
        raise PluginError(
            "organelles are found by a network alone",
            where="option kinds",
            allowed="spot, cell, beside or instead",
            remedy="install an engine: pip install smartscope[onnxruntime]",
        )
    return models
