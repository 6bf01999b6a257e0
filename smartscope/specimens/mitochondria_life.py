"""Only this file knows how mitochondria live: they drift, are carried, constrict and split, or meet and become one.

A constriction of some tens of seconds precedes fission: what event-driven imaging waits for (Mahecic et al., Nature
Methods 19 (2022) 1262).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.optics.counter_random import stream
from smartscope.specimens.living import Diary
from smartscope.specimens.paced import Paced
from smartscope.specimens.placing import apart
from smartscope.specimens.worm_motion import BEND_STD, NODES, PITCH_UM, WORM, move

_STEP_S = 0.1
_PURPOSE, _SETTLING = 0x311703, 0x5E771E
_SETTLING_STEPS = 200
"""Worms begin straight and anywhere; so long they bend and part before the world begins."""
FREE, CONSTRICTING, RETRACTING, APPROACHING, JOINED = range(5)
CHANGE = 2 / 3
"""Part of an event that is over when one becomes two or two become one."""
_LEAST_NODES = 4
RETRACTING_UM_S = 0.05
_NEAR_UM = 3.0
"""Ends farther apart do not meet."""
_GAP_UM = 0.35
"""Between the outlines of two that do not fuse."""
_RUN_S, _REST_S = 4.0, 12.0
"""Mean times carried and at rest."""
_TRY_AGAIN_S = 1.0
_UNEVEN = 0.18
"""Standard deviation of the logarithm of what a node carries."""


class MitochondriaOptions(Section):
    """Mitochondria with a labelled matrix in the thin rim of a cell; a square around the origin."""

    area_um: Positive = 20.0
    mitochondria: Annotated[int, Field(ge=0, le=1000)] = 14
    """In the beginning."""
    length_um: tuple[Annotated[float, Field(ge=0.8, le=9)], Annotated[float, Field(ge=0.8, le=9)]] = (1.5, 5.0)
    """Least and greatest in the beginning."""
    width_um: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    fissions_per_min: NotNegative = 0.15
    """Of all together."""
    fusions_per_min: NotNegative = 0.15
    """Of all together, as long as two ends lie near enough."""
    event_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    """How long an event can be seen: two thirds before the split or merger, a third after it."""
    max_present: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the time since the beginning that may hold an event. Below 1 events come one at a time, and one that
    would exceed it waits."""
    diffusion_um2_s: NotNegative = 0.002
    carried_um_s: NotNegative = 0.15
    """Along itself by motors, at times."""
    molecules_per_um: Positive = 2500.0
    bleaching: bool = True
    background_per_um2: NotNegative = 120.0
    """Molecules in the column over a square micrometre, always replaced."""


class MitochondriaLife(Paced):
    """Tubes nobody looks at.

    Args:
        seed: of everything random.
        options: keyword arguments of ``MitochondriaOptions``.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(_STEP_S)
        self._seed, self._options = seed, MitochondriaOptions.model_validate(options)
        self._rng = np.random.default_rng((seed, 14))
        self._worms = self._first()
        self._next_id = len(self._worms) + 1
        self._expected: dict[int, tuple[int, ...]] = {}
        self._diary = Diary()
        self._fission_s, self._fusion_s = self._pause_s("fissions_per_min"), self._pause_s("fusions_per_min")
        self._present_s, self._free_s = 0.0, 0.0
        for number in range(_SETTLING_STEPS):
            self._step(number, _SETTLING)
        self._before = self._worms["xy_um"].copy()

    def _first(self) -> npt.NDArray[np.void]:
        rng, options = self._rng, self._options
        n, half = options.mitochondria, options.area_um / 2
        worms = np.zeros(n, WORM)
        worms["id"], worms["mother"], worms["site"] = np.arange(1, n + 1), -1, math.nan
        length_um = rng.uniform(min(options.length_um), max(options.length_um), n)
        worms["count"] = np.clip(np.round(length_um / PITCH_UM), _LEAST_NODES, NODES).astype(int)
        angle = rng.uniform(0, 2 * math.pi, n)
        ahead = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        along = PITCH_UM * (np.arange(NODES) - worms["count"][:, None] / 2)
        worms["xy_um"] = apart(n, 0.85 * half, rng)[:, None] + along[..., None] * ahead[:, None]
        worms["load"] = options.molecules_per_um * PITCH_UM * np.exp(_UNEVEN * rng.standard_normal((n, NODES)))
        worms["remaining"] = 1.0
        worms["curvature"] = rng.standard_normal((n, 2)) * BEND_STD
        worms["until_s"] = rng.exponential(_REST_S, n)
        worms["pull_um_s"] = options.carried_um_s
        return worms

    def _pause_s(self, rate: str) -> float:
        per_s = getattr(self._options, rate) / 60
        return float(self._rng.exponential(1 / per_s)) if per_s > 0 else math.inf

    # ---------------------------------------------------------------- life

    def _change(self, number: int) -> None:
        t_s = number * _STEP_S
        for place in np.flatnonzero((self._worms["until_s"] <= t_s) & (self._worms["phase"] == FREE)):
            self._set_off(self._worms[place], t_s)
        self._end_what_is_over(t_s)
        if self._fission_s <= t_s:
            begun = self._may_begin(t_s) and self._begin_fission(t_s)
            self._fission_s = t_s + (self._pause_s("fissions_per_min") if begun else self._wait_s(t_s))
        if self._fusion_s <= t_s:
            begun = self._may_begin(t_s) and self._begin_fusion(t_s)
            self._fusion_s = t_s + (self._pause_s("fusions_per_min") if begun else self._wait_s(t_s))

    def _set_off(self, worm: np.void, t_s: float) -> None:
        """One at rest is carried by either end; one that was carried rests."""
        resting = worm["pull"] == 0
        worm["pull"] = int(self._rng.choice([-1, 1])) if resting else 0
        worm["pull_um_s"] = self._options.carried_um_s
        worm["until_s"] = t_s + self._rng.exponential(_RUN_S if resting else _REST_S)

    def _may_begin(self, t_s: float) -> bool:
        """Whether one more event is within what may be present."""
        options = self._options
        most_s = options.max_present * (t_s + options.event_s)
        return options.max_present == 1 or (t_s >= self._free_s and self._present_s + options.event_s <= most_s)

    def _wait_s(self, t_s: float) -> float:
        """Until it is worth while to try again."""
        options = self._options
        if options.max_present == 1:
            return _TRY_AGAIN_S
        due_s = max((self._present_s + options.event_s) / options.max_present - options.event_s, self._free_s)
        return max(due_s - t_s, _TRY_AGAIN_S)

    def _note(self, kind: str, t_s: float, place_um: Any, ids: tuple[int, ...]) -> None:
        event_s = self._options.event_s
        self._present_s += event_s
        self._free_s = max(self._free_s, t_s + event_s)
        self._diary.note(kind, (t_s, t_s + self._change_s, t_s + event_s), place_um, ids)

    @property
    def _change_s(self) -> float:
        """From the onset to the split or merger."""
        return _STEP_S * round(CHANGE * self._options.event_s / _STEP_S)

    def _ids(self, n: int) -> tuple[int, ...]:
        self._next_id += n
        return tuple(range(self._next_id - n, self._next_id))

    def _begin_fission(self, t_s: float) -> bool:
        """A long one begins to constrict near its middle."""
        worms = self._worms
        chance = np.where((worms["phase"] == FREE) & (worms["count"] >= 2 * _LEAST_NODES), worms["count"], 0) ** 2
        if not chance.any():
            return False
        worm = worms[self._rng.choice(len(worms), p=chance / chance.sum())]
        first = np.clip(
            round(self._rng.uniform(0.35, 0.65) * worm["count"]), _LEAST_NODES, worm["count"] - _LEAST_NODES
        )
        worm["site"], worm["phase"], worm["since_s"], worm["pull"] = first - 0.5, CONSTRICTING, t_s, 0
        self._expected[int(worm["id"])] = daughters = self._ids(2)
        self._note(
            "fission", t_s, worm["xy_um"][int(first) - 1 : int(first) + 1].mean(axis=0), (int(worm["id"]), *daughters)
        )
        return True

    def _begin_fusion(self, t_s: float) -> bool:
        """The two free ends that lie nearest to each other set off to meet half way."""
        worms, free = self._worms, np.flatnonzero(self._worms["phase"] == FREE)
        ends = np.array([worms["xy_um"][n, [0, worms["count"][n] - 1]] for n in free]).reshape(-1, 2)
        owner = np.repeat(free, 2)
        distance = np.linalg.norm(ends[:, None] - ends, axis=2)
        too_long = worms["count"][owner][:, None] + worms["count"][owner] > NODES
        distance[(owner[:, None] == owner) | too_long] = np.inf
        if not (distance < _NEAR_UM).any():
            return False
        one, other = np.unravel_index(distance.argmin(), distance.shape)
        middle, apart = (ends[one] + ends[other]) / 2, (ends[one] - ends[other]) / distance[one, other]
        pair = [worms[owner[end]] for end in (one, other)]
        for worm, end, side in zip(pair, (one, other), (1, -1), strict=True):
            worm["phase"], worm["since_s"], worm["arrival_s"] = APPROACHING, t_s, t_s + self._change_s
            worm["pull"] = 1 if end % 2 else -1
            worm["site"] = worm["count"] - 0.5 if end % 2 else -0.5
            worm["goal_um"] = middle + side * PITCH_UM / 2 * apart
        partners = int(pair[0]["id"]), int(pair[1]["id"])
        joined = self._ids(1)
        self._expected[partners[0]] = (*partners, *joined)
        self._note("fusion", t_s, middle, (*partners, *joined))
        return True

    def _end_what_is_over(self, t_s: float) -> None:
        worms, phase = self._worms, self._worms["phase"]
        if not phase.any():
            return
        since_s = t_s - worms["since_s"]
        over = (phase != FREE) & (since_s > self._options.event_s - _STEP_S / 2)
        worms["until_s"][over] = t_s + self._rng.exponential(_REST_S, int(over.sum()))
        phase[over], worms["site"][over], worms["pull"][over] = FREE, math.nan, 0
        changing = (since_s > self._change_s - _STEP_S / 2) & ((phase == CONSTRICTING) | (phase == APPROACHING))
        if not changing.any():
            return
        told = {int(worm["id"]): worm for worm in worms[changing]}
        born = [self._split(worm) for key, worm in told.items() if worm["phase"] == CONSTRICTING]
        met = [
            self._expected.pop(key) for key in list(told) if key in self._expected and told[key]["phase"] == APPROACHING
        ]
        born += [self._merged(told[one], told[other], number) for one, other, number in met]
        self._worms = np.concatenate([worms[~changing], *born])
        self._worms.sort(order="id")

    def _split(self, mother: np.void) -> npt.NDArray[np.void]:
        """Two that have its nodes, and draw back from each other."""
        pair = np.repeat(np.array([mother]), 2)
        first = round(float(mother["site"]) + 0.5)
        pair["id"], pair["mother"] = self._expected.pop(int(mother["id"])), mother["id"]
        pair["count"] = first, mother["count"] - first
        for name in ("xy_um", "load", "remaining"):
            pair[name][1, : NODES - first] = mother[name][first:]
        pair["site"], pair["pull"] = (first - 0.5, -0.5), (-1, 1)
        pair["phase"], pair["pull_um_s"] = RETRACTING, RETRACTING_UM_S
        return pair

    def _merged(self, one: np.void, other: np.void, number: int) -> npt.NDArray[np.void]:
        """One that has the nodes of both, from the far end of one to the far end of the other."""
        joined = np.array([one if one["count"] >= other["count"] else other])
        joined["mother"], joined["id"], joined["phase"], joined["pull"] = joined["id"], number, JOINED, 0
        n, m = int(one["count"]), int(other["count"])
        forth, back = (1 if one["pull"] > 0 else -1), (1 if other["pull"] < 0 else -1)
        for name in ("xy_um", "load", "remaining"):
            joined[name][0, : n + m] = np.concatenate([one[name][:n][::forth], other[name][:m][::back]])
        joined["count"], joined["site"], joined["arrival_s"] = n + m, n - 0.5, 0.0
        return joined

    def _move(self, number: int) -> None:
        self._before = self._worms["xy_um"].copy()
        self._step(number, _PURPOSE)

    def _step(self, number: int, purpose: int) -> None:
        options = self._options
        move(self._worms, options.diffusion_um2_s, options.width_um + _GAP_UM, options.area_um / 2, number * _STEP_S,
             _STEP_S, np.uint64(stream(self._seed, purpose, number)))  # fmt: skip
