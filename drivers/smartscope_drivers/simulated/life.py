"""Only this file knows how a specimen lives through the light of its world: on the grid of time, or piece by piece.

Most specimens move and bleach on the fixed grid of time. Single molecules switch within an exposure: they are told each
piece of constant light. Either way the state at a moment depends on the seed and on the light delivered until then
(whether or not the camera exposed), never on when frames were taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from smartscope.errors import ConfigurationError
from smartscope.plugins import problems_of
from smartscope.ports import whole_sensor
from smartscope.specimens.beads import Beads
from smartscope.specimens.blinking import Blinking
from smartscope.specimens.cells import Cells
from smartscope.specimens.dividing_nuclei import DividingNuclei
from smartscope.specimens.filaments import Filaments
from smartscope.specimens.living import LivingSpecimen
from smartscope.specimens.migrating_cells import MigratingCells
from smartscope.specimens.mitochondria import Mitochondria
from smartscope.specimens.protocol import STEP_S, Scene, Specimen, SwitchingSpecimen
from smartscope.specimens.vesicles import Vesicles

if TYPE_CHECKING:
    from smartscope_drivers.simulated.world import World

LIVING: dict[str, Callable[..., LivingSpecimen]] = {
    "dividing_nuclei": DividingNuclei,
    "mitochondria": Mitochondria,
    "vesicles": Vesicles,
    "migrating_cells": MigratingCells,
}
"""Those that tell who is where and what happens."""
SPECIMENS: dict[str, Callable[..., Specimen | SwitchingSpecimen]] = {
    "cells": Cells,
    "beads": Beads,
    "filaments": Filaments,
    "blinking": Blinking,
    **LIVING,
}
STEP_NS = round(STEP_S * 1e9)
_MOST_LOOKS = 16
"""In an exposure, at what moves within it."""


class Life(Protocol):
    """A specimen and how far it has lived."""

    @property
    def specimen(self) -> Scene:
        """What lives."""

    @property
    def t_ns(self) -> int:
        """The moment reached."""

    def advance(self, t_ns: int) -> None:
        """Move on to ``t_ns``."""

    def expose(self, t_start_ns: int, t_end_ns: int) -> int:
        """Move on until it can be rendered as an exposure sees it: with its places as at the moment returned."""


def life_of(world: World) -> Life:
    """A specimen at the beginning of its world.

    Raises:
        ConfigurationError: its options are wrong.
    """
    options = world.options
    try:
        specimen = SPECIMENS[options.specimen](world.seed, **options.specimen_options)
    except ValidationError as error:
        raise ConfigurationError(options.specimen, problems_of(error, "specimen_options")) from error
    if isinstance(specimen, SwitchingSpecimen):
        return _LifeInPieces(world, specimen)
    return _LifeInMotion(world, specimen) if isinstance(specimen, LivingSpecimen) else _LifeOnGrid(world, specimen)


class _LifeOnGrid:
    """Bleached by every whole step of the grid that is over; an exposure sees it as at its middle."""

    def __init__(self, world: World, specimen: Specimen) -> None:
        self._world, self.specimen, self._steps = world, specimen, 0
        self.t_ns = world.t0_ns

    def advance(self, t_ns: int) -> None:
        """Move on through every whole step that is over."""
        last = max((t_ns - self._world.t0_ns) // STEP_NS, self._steps)
        self._bleach(self._steps, last)
        self._steps = last
        self.specimen.advance(max((t_ns - self._world.t0_ns) / 1e9, self._steps * STEP_S))
        self.t_ns = t_ns

    def _bleach(self, first: int, last: int) -> None:
        """Deliver the light of the steps from ``first`` to ``last``; hours of darkness are passed over at once."""
        world = self._world
        from_ns, to_ns = world.t0_ns + first * STEP_NS, world.t0_ns + last * STEP_NS
        if first == last or not world.doses(from_ns, to_ns):
            return
        if last > first + 1:
            middle = (first + last) // 2
            self._bleach(first, middle)
            self._bleach(middle, last)
            return
        for a_ns, b_ns, _ in world.pattern.pieces(from_ns, to_ns):
            if doses := world.doses(a_ns, b_ns):
                self.specimen.advance(last * STEP_S)
                for wavelength_nm, dose in doses.items():
                    self.specimen.expose(wavelength_nm, partial(world.dose_at, dose, b_ns - 1))

    def expose(self, t_start_ns: int, t_end_ns: int) -> int:
        """Move on to the middle, unless it is beyond that."""
        self.advance(max((t_start_ns + t_end_ns) // 2, self.t_ns))
        return self.t_ns


class _LifeInMotion(_LifeOnGrid):
    """Looked at in the middle of each of the equal parts of an exposure within which hardly anything moves."""

    specimen: LivingSpecimen

    def __init__(self, world: World, specimen: LivingSpecimen) -> None:
        super().__init__(world, specimen)
        self.specimen = specimen

    def expose(self, t_start_ns: int, t_end_ns: int) -> int:
        """Move on to the middle of the last part, looking at each, from where it already is."""
        begun_ns = max(t_start_ns, self.t_ns)
        open_ns = max(t_end_ns, begun_ns) - begun_ns
        parts = min(max(round(open_ns / 1e9 / self.specimen.look_every_s), 1), _MOST_LOOKS)
        self.specimen.begin_exposure()
        for part in range(parts):
            self.advance(begun_ns + (2 * part + 1) * open_ns // (2 * parts))
            self.specimen.look()
        return begun_ns + open_ns // 2


class _LifeInPieces:
    """Told each piece of constant light, cut at the grid as well: light moves over the specimen in steps of it."""

    def __init__(self, world: World, specimen: SwitchingSpecimen) -> None:
        self._world, self.specimen = world, specimen
        self.t_ns = world.t0_ns

    def advance(self, t_ns: int) -> None:
        """Move on through all pieces until then."""
        world = self._world
        first = (self.t_ns - world.t0_ns) // STEP_NS + 1
        grid = range(world.t0_ns + first * STEP_NS, t_ns, STEP_NS)
        edges = sorted({self.t_ns, *world.light_changes(self.t_ns, t_ns), *grid, t_ns})
        for from_ns, to_ns in pairwise(edges):
            seconds = (to_ns - from_ns) / 1e9
            irradiance = {nm: dose / seconds for nm, dose in world.doses(from_ns, to_ns).items()}
            step_ns = world.t0_ns + (from_ns - world.t0_ns) // STEP_NS * STEP_NS
            view, pattern = world.view(step_ns, whole_sensor(world.config.sensor)), world.pattern.at(from_ns)
            light_at = partial(world.illumination.at, view=view, pattern=pattern)
            self.specimen.live((to_ns - world.t0_ns) / 1e9, irradiance, light_at)
        self.t_ns = t_ns

    def expose(self, t_start_ns: int, t_end_ns: int) -> int:
        """Move on to the end, collecting light from the start on, or from where it already is."""
        self.advance(max(t_start_ns, self.t_ns))
        begun_ns = self.t_ns
        self.specimen.begin_exposure()
        self.advance(max(t_end_ns, self.t_ns))
        return (begun_ns + self.t_ns) // 2
