"""A localiser that finds what it is told to, and a policy that follows it; a test's YAML names ``localizing:Class``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localization_helpers import molecules

from smartscope.command import Request, SetLight
from smartscope.frame import Frame
from smartscope.ports import Choice, Context, Instrument
from smartscope.result import Result


class MadeUpLocalizer:
    """As many molecules in each frame as its index tells, up to 20; drift and density grow with it."""

    history = 0
    reads = frozenset[str]()

    def __init__(self, setup: Instrument, *, heights: bool = False) -> None:
        self.heights = heights

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing to compile."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        index = frames[-1].index
        found = molecules(index % 20, index, heights=self.heights)
        told = {
            "emitters": len(found) + 0.5,
            "density_per_um2": 0.01 * (len(found) + 0.5),
            "localization_error_nm": 9.0,
            "localizer": float(index % 2),
            "drift_x_nm": 2.0 * index,
            "drift_y_nm": -1.0 * index,
            "ring_resolution_nm": 60.0 - index / 10,
            "on_time_ms": 31.0,
            "localizations": 100.0 * index,
        }
        return replace(so_far, localizations=found, quality={**so_far.quality, **told})


class BrightnessPolicy:
    """Follows the last molecule's photons to the last bit."""

    def __init__(self, *, light: str = "laser") -> None:
        self.light = light

    def decide(self, context: Context) -> Choice:
        found = context.result.localizations
        if found is None or not len(found):
            return Choice()
        power_mw = float(found.photons[-1]) / 1000
        return Choice([Request(SetLight(self.light, power_mw), "as bright as the last molecule")])
