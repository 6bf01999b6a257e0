"""Living specimens in front of a camera without noise, for tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smartscope.frame import Roi
from smartscope.optics.psf import depth_um, sigma_um
from smartscope.specimens.dividing_nuclei import DividingNuclei
from smartscope.specimens.living import LivingSpecimen
from smartscope.specimens.migrating_cells import MigratingCells
from smartscope.specimens.mitochondria import Mitochondria
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import View
from smartscope.specimens.vesicles import Vesicles

DOSE = 0.1
Maker = Callable[..., LivingSpecimen]
CLEAR = {"background_per_um2": 0.0}
MAKERS: dict[str, tuple[Maker, dict[str, object], float]] = {
    "dividing_nuclei": (DividingNuclei, {"nuclei": 12, "area_um": 90.0, "cycle_h": 1.5, **CLEAR}, 0.4),
    "mitochondria": (Mitochondria, {"fissions_per_min": 15.0, "fusions_per_min": 15.0, "event_s": 6.0, **CLEAR}, 0.1),
    "vesicles": (Vesicles, {"vesicles": 20, "area_um": 18.0, "dockings_per_min": 60.0, "docked_s": 1.0, **CLEAR}, 0.1),
    "migrating_cells": (
        MigratingCells,
        {"cells": 10, "area_um": 150.0, "cycle_h": 1.5, "time_lapse": 300.0, **CLEAR},
        0.6,
    ),
}
"""Maker, options with many events within seconds, and pixels (um) of a field that holds everything."""


def made(name: str, seed: int = 3, **options: object) -> LivingSpecimen:
    """A specimen in which much happens."""
    maker, lively, _ = MAKERS[name]
    return maker(seed, **{**lively, **options})


def view(pixel_um: float, size: int = 320) -> View:
    """All of a square field around the origin."""
    return View(
        stage_um=(0.0, 0.0),
        defocus_um=0.0,
        affine_um_per_px=((pixel_um, 0.0), (0.0, pixel_um)),
        sensor_shape=(size, size),
        roi=Roi(0, 0, size, size),
        sigma_um=sigma_um(525, 1.4),
        depth_um=depth_um(525, 1.4, 1.515),
        detected_fraction=0.127,
    )


def view_of(name: str) -> View:
    """A field that holds all of a specimen."""
    return view(MAKERS[name][2])


def picture(specimen: LivingSpecimen, seen: View, dose: float = DOSE, **light: object) -> np.ndarray:
    """Expected photo-electrons of a dose of 488 nm."""
    expected = np.zeros((seen.roi.height, seen.roi.width), np.float32)
    specimen.render(expected, seen, {488.0: dose}, **light)
    return expected


def electrons_per_molecule(seen: View, dose: float = DOSE) -> float:
    """That each unbleached molecule sends to the camera."""
    return GREEN_PROTEIN.emitted(dose, 488.0) * seen.detected_fraction


def everywhere(dose: float):
    """The same dose at all places."""
    return lambda places: np.full(len(places), dose)
