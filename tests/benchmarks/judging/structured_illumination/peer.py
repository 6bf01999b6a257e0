"""napari-sim-processor, used from a folder it was installed into: its public calls alone, one thread, nothing copied.

``pip install --target DIR --no-deps napari-sim-processor``, then the same for what its ``processors`` import:
opencv-python-headless and matplotlib. The package itself would import napari and Qt, its ``processors`` do not.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from .stacks import DRAWS, Singles, Stack, write_image

PACKAGES = ("napari-sim-processor", "opencv-python-headless", "numpy")
WIENER, ETA, IMMERSION = 0.3, 0.8, 1.518
"""As in the evaluators' published baselines."""


class Napari:
    """The peer as a candidate; ``processor`` for its speed."""

    label = "napari-sim-processor"

    def __init__(self, folder: Path) -> None:
        """Raises SystemExit where it is not what was said."""
        if not (folder / "napari_sim_processor" / "processors").is_dir():
            raise SystemExit(f"{folder}: no napari_sim_processor there; pip install --target {folder} --no-deps …")
        self._folder = folder
        sys.path += [str(folder), str(folder / "napari_sim_processor")]  # last: numpy stays that of everybody
        with contextlib.redirect_stdout(io.StringIO()):
            self._kind = importlib.import_module("processors.convSimProcessor").ConvSimProcessor
        importlib.import_module("cv2").setNumThreads(1)

    def versions(self) -> dict[str, str]:
        """Of what its figures depend on."""
        found = distributions(path=[str(self._folder), *sys.path])
        named = {d.metadata["Name"]: d.version for d in reversed(list(found)) if d.metadata["Name"] in PACKAGES}
        return dict(sorted(named.items()))

    def processor(self, lens: dict[str, Any], size: int) -> Any:
        """Set up for frames of ``size`` pixels; not calibrated yet."""
        peer = self._kind(lens["angles"], lens["phases"])
        peer.debug, peer.usePhases = False, False
        peer.NA, peer.n, peer.wavelength = lens["numerical_aperture"], IMMERSION, lens["wavelength_nm"] / 1000
        peer.magnification, peer.pixelsize = 60, lens["pixel_size_nm"] / 1000 * 60
        peer.eta, peer.w, peer.Nx, peer.Ny = ETA, WIENER, size, size
        return peer

    def reconstruct(self, stack: Stack, out: Path) -> None:
        """Each draw is calibrated on itself."""
        for draw in DRAWS:
            electrons: Singles = stack.electrons(draw)
            peer = self.processor(stack.lens, stack.scene.size)
            peer.calibrate(electrons)
            write_image(out, draw, np.asarray(peer.reconstruct_rfftw(electrons)))
            if draw == 0:
                (out / "report.json").write_text(json.dumps(_found(peer, stack)))


def _found(peer: Any, stack: Stack) -> dict[str, Any]:
    to_px = peer.NA / peer.wavelength * stack.scene.size * stack.lens["pixel_size_nm"] / 1000
    pairs = zip(peer.kx.ravel(), peer.ky.ravel(), strict=True)
    return {
        "carriers_px": [[float(x * to_px), float(y * to_px)] for x, y in pairs],
        "modulation": [float(depth) for depth in peer.ampl.ravel()],
    }
