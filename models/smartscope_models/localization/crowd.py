"""A localising network at work: what it keeps from frame to frame, and what it says of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.config import PointSpreadConfig
from smartscope.errors import UnsupportedModel
from smartscope_models.calibration import Floats
from smartscope_models.engines import EngineName, open_engine
from smartscope_models.engines.engine import Engine, Precision
from smartscope_models.localization.decode import molecules_in
from smartscope_models.localization.sight import cells_of, conditions_of, level_of, pixels_of
from smartscope_models.packages import ModelPackage, open_package

TASK = "localize"
PACKAGES = {"gaussian": "localize_flat"}
"""Shipped, by the model of the point spread function."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the network says of one frame."""

    rows: npt.NDArray[np.float64]
    """(N, 11) as of ``decode.merged``: places in pixels, photons as a logarithm of electrons / F²."""
    number: float
    """Molecules expected in the frame, those included that cannot be told apart."""
    number_error: float
    level: float
    """Stabilised background that was taken out."""


class CrowdNetwork:
    """A network of a model package, run by any engine, frame after frame.

    Raises:
        UnsupportedModel: the package cannot be used, or is for something else.
        EngineError: no engine can run it.
    """

    def __init__(
        self,
        package: str,
        engine: EngineName = "auto",
        precision: Precision | None = None,
        threads: int = 1,
        threshold: float = 0.5,
    ) -> None:
        self.package = _fitting(open_package(package))
        self.engine: Engine = open_engine(self.package.networks, engine=engine, precision=precision, threads=threads)
        self._threshold = threshold
        self._shape = (0, 0)
        self._cells = self._earlier = self._none = self._maps = np.empty((0, 0, 0), np.float32)
        self._kept = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile and allocate for frames of this (H, W); what was kept is forgotten."""
        height, width = self.package.manifest.fit(-(-shape[0] // 2), -(-shape[1] // 2))
        inputs, outputs = self.package.manifest.inputs, self.package.manifest.outputs
        self.engine.warm_up({tensor.name: tensor.sized(height, width) for tensor in inputs})
        self._cells = np.zeros((4, height, width), np.float32)
        self._earlier = np.zeros((1, int(inputs[1].shape[1]), height, width), np.float32)
        self._none = np.zeros_like(self._earlier)
        self._maps = np.zeros((int(outputs[0].shape[1]) // 4, *shape), np.float32)
        self._shape, self._kept = shape, 0

    def find(self, stable: Floats, follows: bool, sigma_px: float, point_spread: PointSpreadConfig) -> Answer:
        """Molecules of a frame (H, W) of unit noise; ``follows``: the frame before was the last one shown."""
        if stable.shape != self._shape:
            self.warm_up((stable.shape[0], stable.shape[1]))
        level = level_of(stable)
        if not follows:
            self._kept = 0
        cells_of(stable, level, self._cells)
        # a network is trained with both earlier frames, or with none
        earlier = self._earlier if self._kept >= 2 else self._none
        conditions = conditions_of(
            np.array([sigma_px]),
            np.array([level], np.float32),
            np.array([point_spread.focal_offset_nm]),
            np.array([point_spread.focal_depth_nm]),
            round_=point_spread.model != "astigmatic",
        )
        answer = self.engine.run({"cells": self._cells[None], "earlier": earlier, "conditions": conditions})
        half = self._earlier.shape[1] // 2
        self._earlier[:, :half] = self._earlier[:, half:]
        self._earlier[:, half:] = answer["stem"]
        self._kept += 1
        pixels_of(answer["maps"][0], self._maps)
        probability = self._maps[0].astype(np.float64)
        spread = float((probability * (1 - probability)).sum())
        return Answer(molecules_in(self._maps, self._threshold), float(probability.sum()), spread**0.5, level)

    def facts(self) -> dict[str, str]:
        """Package, hash and engine, for the record of a run."""
        return {
            "network": self.package.manifest.name,
            "network_sha256": self.package.sha256,
            "network_engine": self.engine.name,
            "network_precision": self.engine.precision,
        }


def _fitting(package: ModelPackage) -> ModelPackage:
    if package.manifest.task != TASK:
        raise UnsupportedModel(
            f"its task is {package.manifest.task}",
            where=f"model package {package.manifest.name}",
            allowed=TASK,
            remedy="smartscope models list shows the tasks",
        )
    return package
