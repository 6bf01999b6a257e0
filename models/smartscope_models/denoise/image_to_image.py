"""How a foreign image-to-image network gets a camera frame and gives one back in counts: margin, steps, scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from smartscope.errors import UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.calibration import Floats
from smartscope_models.denoise.trust import TrustMeter
from smartscope_models.engines import EngineName, Precision, open_engine
from smartscope_models.packages import TensorSpec, open_package
from smartscope_models.packages.host_steps import finish, prepare, undo

Counts = Literal["auto", "output", "undo"]


class ImageToImage:
    """A network of a package with the task ``image_to_image``: BioImage Model Zoo denoisers, or your own.

    The frame is brought to a size that the network takes by mirroring it at its far edges, so that ROIs of any size
    work; the answer is cut back. How far it can be trusted is judged from the frame and this camera's noise alone.
    """

    history = 0

    def __init__(
        self,
        setup: Instrument,
        *,
        package: str,
        engine: EngineName = "auto",
        precision: Precision | None = None,
        threads: Annotated[int, Field(ge=1)] = 1,
        counts: Counts = "auto",
    ) -> None:
        """Open package and engine.

        Args:
            setup: the camera's calibration, for the trust.
            package: name, folder, ONNX file or zoo archive; see ``open_package``.
            engine: ``auto`` or a name.
            precision: of the network's body; None leaves it to the engine.
            threads: of the engine.
            counts: how the answer becomes camera counts. ``output``: it is counts; ``undo``: the steps before the
                network are undone; ``auto``: undone where there are such steps, and none after the network that would
                set the scale.

        Raises:
            InputError, UnsupportedModel: the package cannot be opened or has another task, or a camera map is unusable.
            EngineError: no engine takes it.
        """
        self.package = open_package(package)
        manifest, host = self.package.manifest, self.package.host
        if manifest.task != "image_to_image":
            raise UnsupportedModel(
                f"has the task {manifest.task!r}",
                where=str(self.package.path),
                allowed="image_to_image",
                remedy="for 'denoise' use model: denoise_network",
            )
        self._given, self._made = manifest.inputs[0], manifest.outputs[0]
        self._undone = counts == "undo" or (counts == "auto" and bool(host.before) and not host.rescales_after)
        self._engine = open_engine(self.package.networks, engine=engine, precision=precision, threads=threads)
        self._trust = TrustMeter(setup)
        self._shape, self._padded = (0, 0), (0, 0)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile and allocate for frames of this (H, W).

        Raises:
            UnsupportedModel: the network's size is fixed, and smaller; or it gives an image of another size.
        """
        padded = self.package.manifest.fit(*shape)
        self._engine.warm_up({self._given.name: self._given.sized(*padded)})
        blank = np.zeros(self._given.sized(*padded), np.float32)
        answer = self._engine.run({self._given.name: blank})[self._made.name]
        if answer.shape != self._made.sized(*padded):
            raise UnsupportedModel(
                f"gives {answer.shape} for {blank.shape}",
                where=self.package.manifest.name,
                allowed=str(self._made.sized(*padded)),
            )
        self._trust.warm_up(shape)
        self._shape, self._padded = shape, padded

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``image``, (H, W) float32 counts, and how far it can be trusted."""
        pixels = frames[-1].pixels
        shape = (pixels.shape[0], pixels.shape[1])
        if shape != self._shape:
            self.warm_up(shape)
        host = self.package.host
        prepared, line = prepare(host.before, pixels)
        output = self._engine.run({self._given.name: _tensor(prepared, self._given, self._padded)})
        image = _image(output[self._made.name], self._made, shape)
        image = finish(host.after, image, pixels)
        if self._undone:
            image = undo(image, line)
        return self._trust.judge(frames[-1], np.ascontiguousarray(image), so_far)


def _tensor(image: Floats, spec: TensorSpec, padded: tuple[int, int]) -> Floats:
    """(H, W) → the network's axes, mirrored at the far edges to the size it takes."""
    height, width = image.shape
    more = np.pad(image, ((0, padded[0] - height), (0, padded[1] - width)), mode="symmetric")
    if spec.axes.index("x") < spec.axes.index("y"):
        more = more.T
    return np.ascontiguousarray(more.reshape(spec.sized(*padded)))


def _image(tensor: Floats, spec: TensorSpec, shape: tuple[int, int]) -> Floats:
    """The network's axes → (H, W), the mirrored part cut off."""
    others = tuple(k for k, axis in enumerate(spec.axes) if axis not in ("y", "x"))
    image = tensor.squeeze(others)
    if spec.axes.index("x") < spec.axes.index("y"):
        image = image.T
    return image[: shape[0], : shape[1]]
