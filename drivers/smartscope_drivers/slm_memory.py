"""Only this file knows which images lie in an SLM's own memory, so that the same stack is sent once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import UniMMCore

from smartscope.image_names import image_name
from smartscope_drivers.core_tools import device_errors


class SlmMemory:
    """The sequences last loaded, by label. The engine of pymmcore-plus loads, but neither starts nor stops them."""

    def __init__(self, core: CMMCorePlus) -> None:
        self._core = core
        self._loaded: dict[str, tuple[str, ...]] = {}

    def load(self, label: str, images: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Send images (H, W), unless these very images are there already.

        Raises:
            DeviceError: the SLM does not take them; what it holds is unknown then.
        """
        names = tuple(image_name(image) for image in images)
        if self._loaded.get(label) == names:
            return
        self._loaded.pop(label, None)
        with device_errors("loading a sequence of images", label):
            if isinstance(self._core, UniMMCore) and self._core.isPyDevice(label):
                self._core.loadSLMSequence(label, list(images))
            else:  # a C++ device takes bytes, and believes that they have its own size
                self._core.loadSLMSequence(label, [image.tobytes() for image in images])
        self._loaded[label] = names

    def forget(self) -> None:
        """Something went wrong: send again."""
        self._loaded.clear()
