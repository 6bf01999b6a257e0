"""Only this file knows how a specimen lives through the light of its world: on the grid of time, or piece by piece.

Most specimens move and bleach on the fixed grid of time. Single molecules switch within an exposure: they are told each
piece of constant light. Either way the state at a moment depends on the seed and on the light delivered until then
(whether or not the camera exposed), never on when frames were taken.
"""

from __future__ import annotations

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
from smartscope.specimens.filaments import Filaments
from smartscope.specimens.protocol import STEP_S, Scene, Specimen, SwitchingSpecimen

if TYPE_CHECKING:
    from smartscope_drivers.simulated.world import World

SPECIMENS: dict[str, type[Cells] | type[Beads] | type[Filaments] | type[Blinking]] = {
    "cells": Cells,
    "beads": Beads,
    "filaments": Filaments,
    "blinking": Blinking,
}
STEP_NS = round(STEP_S * 1e9)


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
    return _LifeInPieces(world, specimen) if isinstance(specimen, SwitchingSpecimen) else _LifeOnGrid(world, specimen)


class _LifeOnGrid:
    """Bleached by every whole step of the grid that is over; an exposure sees it as at its middle."""

    def __init__(self, world: World, specimen: Specimen) -> None:
        self._world, self.specimen, self._steps = world, specimen, 0
        self.t_ns = world.t0_ns

    def advance(self, t_ns: int) -> None:
        """Move on through every whole step that is over."""
        world = self._world
        while (end_ns := world.t0_ns + (self._steps + 1) * STEP_NS) <= t_ns:
            for from_ns, to_ns, _ in world.pattern.pieces(end_ns - STEP_NS, end_ns):
                if doses := world.doses(from_ns, to_ns):
                    self.specimen.advance((self._steps + 1) * STEP_S)
                    for wavelength_nm, dose in doses.items():
                        self.specimen.expose(wavelength_nm, partial(world.dose_at, dose, to_ns - 1))
            self._steps += 1
        self.specimen.advance(max((t_ns - world.t0_ns) / 1e9, self._steps * STEP_S))
        self.t_ns = t_ns

    def expose(self, t_start_ns: int, t_end_ns: int) -> int:
        """Move on to the middle, unless it is beyond that."""
        self.advance(max((t_start_ns + t_end_ns) // 2, self.t_ns))
        return self.t_ns


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
