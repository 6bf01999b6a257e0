"""Only this file knows where dye molecules sit on labelled structures of the cell, in three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.specimens.filaments import along, grown

Places = npt.NDArray[np.float64]
"""(N, 3): x, y and z, um."""
Structure = Literal["filaments", "rings", "clusters", "grid", "uniform"]

RING_UM = 0.107
"""Diameter of the ring of a labelled nucleoporin, Nup96 (Thevathasan et al., Nat. Methods 16 (2019) 1045)."""
_CORNERS = 8
_SHEETS_UM = 0.05
"""Between its cytoplasmic and its nuclear ring."""


class LabellingOptions(Section):
    """A square around the origin; ``molecules`` over its area is the labelled density."""

    structure: Structure = "filaments"
    area_um: Positive = 26.0
    molecules: Annotated[int, Field(ge=1, le=5_000_000)] = 120_000
    label_nm: NotNegative = 4.0
    """Standard deviation, along each axis, of a dye about the site that it marks: antibody or linker."""
    height_um: NotNegative = 0.0
    """Structures lie within half of this above and below the specimen's plane; 0: flat."""
    filaments: Annotated[int, Field(ge=1, le=10_000)] = 30
    length_um: Positive = 20.0
    persistence_um: Positive = 8.0
    rings: Annotated[int, Field(ge=1)] = 4000
    labelled: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Part of the sites of a ring, or of the grid, that carry dye at all."""
    clusters: Annotated[int, Field(ge=1)] = 300
    cluster_nm: Positive = 60.0
    """Standard deviation of a cluster along each axis."""
    spacing_um: Positive = 0.4
    """Of the grid."""


def placed(options: LabellingOptions, rng: np.random.Generator) -> Places:
    """Every molecule (N, 3)."""
    places = _STRUCTURES[options.structure](options, rng)
    if options.height_um == 0:
        places[:, 2] = 0
    spread = np.array([1, 1, options.height_um > 0]) * options.label_nm * 1e-3
    return np.asarray(places + spread * rng.standard_normal(places.shape))


def _heights(options: LabellingOptions, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return rng.uniform(-options.height_um / 2, options.height_um / 2, count)


def _spots(options: LabellingOptions, count: int, rng: np.random.Generator) -> Places:
    """Places (count, 3) anywhere."""
    half = options.area_um / 2
    return np.column_stack([rng.uniform(-half, half, (count, 2)), _heights(options, count, rng)])


def _filaments(options: LabellingOptions, rng: np.random.Generator) -> Places:
    """Worm-like chains, each rising evenly from one height to another."""
    paths = grown(options.filaments, options.length_um, options.persistence_um, options.area_um, rng)
    flat, chosen, share = along(paths, options.molecules, rng)
    first, last = (_heights(options, options.filaments, rng)[chosen] for _ in range(2))
    return np.column_stack([flat, (1 - share) * first + share * last])


def _rings(options: LabellingOptions, rng: np.random.Generator) -> Places:
    """Eight corners on two sheets, each ring turned at random, some sites without a label."""
    centres = _spots(options, options.rings, rng)
    turned = rng.uniform(0, 2 * math.pi, options.rings)
    ring, corner, sheet = _labelled((options.rings, _CORNERS, 2), options, rng)
    angle = turned[ring] + corner * (2 * math.pi / _CORNERS)
    from_centre = [np.cos(angle) * RING_UM / 2, np.sin(angle) * RING_UM / 2, (sheet - 0.5) * _SHEETS_UM]
    return np.asarray(centres[ring] + np.column_stack(from_centre))


def _grid(options: LabellingOptions, rng: np.random.Generator) -> Places:
    """Sites on a square grid."""
    half = max(0, math.floor(options.area_um / 2 / options.spacing_um))
    heights = _heights(options, (2 * half + 1) ** 2, rng)
    row, column = _labelled((2 * half + 1, 2 * half + 1), options, rng)
    spacing = options.spacing_um
    return np.column_stack([(column - half) * spacing, (row - half) * spacing, heights[row * (2 * half + 1) + column]])


def _labelled(
    shape: tuple[int, ...], options: LabellingOptions, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices of the site of each molecule, among the sites of an array of ``shape`` that carry dye."""
    sites = math.prod(shape)
    marked = np.flatnonzero(rng.random(sites) < options.labelled)
    if not len(marked):  # one site and bad luck
        marked = np.array([0])
    return np.unravel_index(rng.choice(marked, options.molecules), shape)


def _clusters(options: LabellingOptions, rng: np.random.Generator) -> Places:
    """Normal clouds."""
    centres = _spots(options, options.clusters, rng)
    around = options.cluster_nm * 1e-3 * rng.standard_normal((options.molecules, 3))
    return np.asarray(centres[rng.integers(options.clusters, size=options.molecules)] + around)


def _uniform(options: LabellingOptions, rng: np.random.Generator) -> Places:
    return _spots(options, options.molecules, rng)


_STRUCTURES: dict[Structure, Callable[[LabellingOptions, np.random.Generator], Places]] = {
    "filaments": _filaments,
    "rings": _rings,
    "clusters": _clusters,
    "grid": _grid,
    "uniform": _uniform,
}
