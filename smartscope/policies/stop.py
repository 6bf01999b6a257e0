"""Stop: when a run has reached what it was for, or cannot go on: sharp, enough localisations, or nothing left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from smartscope.command import EndRun, Request
from smartscope.errors import PluginError
from smartscope.policies.emitters import Window
from smartscope.ports import Choice, Context

WINDOW_S = 1.0
"""Over which emitters are averaged: molecules blink."""


@dataclass(frozen=True, slots=True)
class StopState:
    """What the policy remembers between results."""

    resolution_nm: float = 0.0
    """Newest estimate."""
    held: int = 0
    """Estimates in a row that reached the target."""
    window: Window | None = None
    few_since_s: float | None = None
    """Since when believed means have been below ``fewer_emitters``."""
    asked: bool = False


class StopPolicy:
    """Ends the run, in order and in the dark, when the first of these is reached; the decision says which.

    Reads ``ring_resolution_nm``, ``localizations`` and ``emitters``, the latter where it can be believed.

    Options, of which at least one of the first three is needed:
        resolution_nm: ring resolution at or below this,
        localizations: in all, so many,
        fewer_emitters: fewer glowing molecules in a frame than this, for ``for_s``;
        estimates: of the resolution, one after the other, that must reach it; equal ones in a row count as one.
        min_trust: of a result whose emitters are counted.
    """

    reads = frozenset({"quality"})

    def __init__(
        self,
        resolution_nm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        localizations: Annotated[int, Field(gt=0)] | None = None,
        fewer_emitters: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        estimates: Annotated[int, Field(ge=1, le=1000)] = 5,
        for_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.25,
    ) -> None:
        """Raises:
        PluginError: nothing to stop for.
        """
        if resolution_nm is None and localizations is None and fewer_emitters is None:
            allowed = "resolution_nm, localizations, fewer_emitters"
            raise PluginError("nothing to stop for", where="stop_when", allowed=allowed, remedy="give at least one")
        self.resolution_nm, self.localizations, self.fewer_emitters = resolution_nm, localizations, fewer_emitters
        self.estimates, self.for_s, self.min_trust = estimates, for_s, min_trust

    def decide(self, context: Context) -> Choice:
        """Ask for the end once something is reached."""
        state = self._few(context, self._sharp(context, context.state or StopState()))
        why = self._reached(context, state)
        if not why or state.asked:
            return Choice(state=state)
        return Choice([Request(EndRun(), why)], replace(state, asked=True))

    def _sharp(self, context: Context, state: StopState) -> StopState:
        """Counts estimates of the resolution; each is in many results."""
        found_nm = context.result.quality.get("ring_resolution_nm", 0.0)
        if self.resolution_nm is None or found_nm <= 0 or found_nm == state.resolution_nm:
            return state
        return replace(state, resolution_nm=found_nm, held=state.held + 1 if found_nm <= self.resolution_nm else 0)

    def _few(self, context: Context, state: StopState) -> StopState:
        """Notes since when there are few, by means over a second; what cannot be believed says nothing, either way."""
        if self.fewer_emitters is None:
            return state
        window = (state.window or Window(context.elapsed_s)).plus(context, self.min_trust)
        if context.elapsed_s - window.began_s < WINDOW_S:
            return replace(state, window=window)
        state = replace(state, window=None)
        if window.doubt:
            return state
        few = (window.emitters.value or 0.0) < self.fewer_emitters
        since_s = window.began_s if state.few_since_s is None else state.few_since_s
        return replace(state, few_since_s=since_s if few else None)

    def _reached(self, context: Context, state: StopState) -> str:
        if state.held >= self.estimates:
            return f"ring resolution {state.resolution_nm:.3g} nm, target {self.resolution_nm:g} nm"
        found = context.result.quality.get("localizations", 0.0)
        if self.localizations is not None and found >= self.localizations:
            return f"{found:.0f} localisations of {self.localizations}"
        if state.few_since_s is not None and (few_s := context.elapsed_s - state.few_since_s) >= self.for_s:
            return f"fewer than {self.fewer_emitters:g} emitters for {few_s:.3g} s"
        return ""
