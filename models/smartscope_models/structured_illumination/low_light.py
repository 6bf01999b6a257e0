"""A network after the linear reconstruction, for light so faint that a filter must choose between noise and blur."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope.errors import InputError, UnsupportedModel
from smartscope_models.engines import EngineName, open_engine
from smartscope_models.engines.engine import Engine, Precision
from smartscope_models.packages import ModelPackage, open_package
from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.views import Information, Views
from smartscope_models.structured_illumination.weights import bands_of, widefield_variance

TASK = "structured_illumination"
PACKAGE = "structured_illumination_low_light"


class LowLight:
    """A network of a model package, run by any engine, on images of ``Reconstruction.full``.

    The filters around it are linear and outside the network: a few transforms of the image, on the device it lies on.
    """

    def __init__(
        self,
        package: str = PACKAGE,
        engine: EngineName = "auto",
        precision: Precision | None = None,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        """Open package and engine; ``device``: where images lie.

        Raises:
            UnsupportedModel: the package cannot be used, or is for something else.
            EngineError: no engine can run it.
        """
        self.package = _fitting(open_package(package))
        self.engine: Engine = open_engine(self.package.networks, engine=engine, precision=precision, threads=threads)
        self._device = device
        self._views: Views | None = None
        self._shape = (0, 0)

    def expect(self, size: int, cutoff: float, parameters: Parameters, power: Power) -> None:
        """Get ready for reconstructions under these fringes; arguments as of ``Reconstruction``."""
        padding = Padding.around(size)
        bands = bands_of(parameters, padding)
        self.expect_information(Information.of(bands, padding, cutoff, power, widefield_variance(parameters)))

    def expect_information(self, known: Information) -> None:
        """The same for any linear image of which this is known."""
        self._views = Views(known, self._device)
        fine = 2 * known.padding.size
        shape = self.package.manifest.fit(fine, fine)
        if shape != self._shape:
            self.engine.warm_up({"views": (1, self.package.manifest.inputs[0].sized(*shape)[1], *shape)})
            self._shape = shape

    def apply(self, image: Tensor) -> npt.NDArray[np.float32]:
        """(2N, 2N) electrons per raw pixel and frame → the same, quiet.

        Raises:
            InputError: nothing is known of the image.
        """
        if self._views is None:
            raise InputError("nothing is known of its fringes", where="image", remedy="call expect first")
        views, unit, level = self._views.of(image)
        answer = self.engine.run({"views": _extended(views.cpu().numpy(), self._shape)})["image"][0, 0]
        height, width = image.shape
        quiet = torch.from_numpy(np.ascontiguousarray(answer[:height, :width])).to(image.device) * unit + level
        return np.asarray(self._views.joined(image, quiet).cpu().numpy())

    def facts(self) -> dict[str, str]:
        """Package, hash and engine, for the record of a run."""
        return {
            "network": self.package.manifest.name,
            "network_sha256": self.package.sha256,
            "network_engine": self.engine.name,
            "network_precision": self.engine.precision,
        }


def _extended(views: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Mirrored at the far ends, to sides that the network takes."""
    margin = [(0, wanted - have) for wanted, have in zip(shape, views.shape[2:], strict=True)]
    return np.ascontiguousarray(np.pad(views, [(0, 0), (0, 0), *margin], mode="symmetric"))


def _fitting(package: ModelPackage) -> ModelPackage:
    if package.manifest.task != TASK:
        raise UnsupportedModel(
            f"its task is {package.manifest.task}",
            where=f"model package {package.manifest.name}",
            allowed=TASK,
            remedy="smartscope models list shows the tasks",
        )
    return package
