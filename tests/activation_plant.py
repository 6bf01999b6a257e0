"""Molecules that switch on with the power of one light, as counts alone, and a policy that is run on them.

The plant of the published comparison of laws: a dark pool of 120,000 molecules, frames of 20 ms, activation at
(4e-4 + 2e-4 P) per second, on for 30 ms on average, 15 % of those that go off are bleached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smartscope.command import Command, EndRun, SetLight
from smartscope.config import LightLimits
from smartscope.frame import Settings
from smartscope.ports import DoseState, Policy
from smartscope.testing.policy_contract import LIMITS, SETTINGS, context

LIGHT, FRAME_S, SIDE_PX = "laser_405", 0.02, 64
Quality = dict[str, float]
Break = Callable[[float, Quality, "Plant"], Quality]
"""(seconds, honest figures, plant) → the figures of a counter that fails."""


@dataclass
class Plant:
    """The molecules, exactly; ``step`` is one frame."""

    seed: int = 1
    pool: int = 120_000
    spontaneous_per_s: float = 4e-4
    per_s_mw: float = 2e-4
    on_s: float = 0.03
    bleached: float = 0.15
    background_e: float = 8.0
    photons: float = 1000.0
    """Of a molecule that is on for the whole frame."""
    recall: float = 0.9
    offs_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    visible: int = 0
    light_e: float = 0.0
    activated: list[int] = field(default_factory=list)
    """In how many frames each molecule was seen that has gone off; in order."""
    _born_s: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def step(self, t_s: float, power_mw: float) -> None:
        """The frame that begins at ``t_s``."""
        rate = self.spontaneous_per_s + self.per_s_mw * power_mw
        new = int(self._rng.binomial(self.pool, 1 - np.exp(-rate * FRAME_S)))
        born_s = t_s + FRAME_S * self._rng.random(new)
        born_s, offs_s = (
            np.concatenate([self._born_s, born_s]),
            np.concatenate([self.offs_s, born_s + self._rng.exponential(self.on_s, new)]),
        )
        end_s = t_s + FRAME_S
        on = np.minimum(offs_s, end_s) - np.maximum(born_s, t_s)
        self.visible = len(offs_s)
        noise = 1 + 0.001 * self._rng.standard_normal()
        self.light_e = (self.background_e + self.photons * 0.82 * on.sum() / FRAME_S / SIDE_PX**2) * noise
        gone = offs_s <= end_s
        for first, last in zip(born_s[gone], offs_s[gone], strict=True):
            self.activated.append(1 + int((last - t_s) // FRAME_S) - int((first - t_s) // FRAME_S))
        back = gone.sum() - self._rng.binomial(int(gone.sum()), self.bleached)
        self.pool += int(back) - new
        self._born_s, self.offs_s = born_s[~gone], offs_s[~gone]

    def figures(self) -> Quality:
        """What an honest localiser and the quality model say of the last frame."""
        found = self._rng.binomial(self.visible, self.recall)
        return {
            "emitters": found / self.recall,
            "recall_health": 0.95,
            "spot_photons": 0.6 * self.photons,
            "spot_background": self.light_e / 0.82,
            "light_e": self.light_e,
        }


@dataclass
class Driven:
    """What came of a run; one entry a frame."""

    visible: np.ndarray
    power_mw: np.ndarray
    said: list[tuple[float, Command, str]]
    state: Any
    plant: Plant

    def per_second(self) -> np.ndarray:
        """Mean number of molecules in view, second by second."""
        frames = round(1 / FRAME_S)
        whole = len(self.visible) // frames * frames
        return self.visible[:whole].reshape(-1, frames).mean(axis=1)

    def settled_s(self, target: float) -> int:
        """The first second from which ten means in a row lie within ten per cent of the target."""
        near = np.abs(self.per_second() / target - 1) <= 0.1
        runs = [i for i in range(len(near) - 9) if near[i : i + 10].all()]
        return runs[0] if runs else len(near)

    @property
    def ended(self) -> str:
        """Why the policy ended the run; empty if it did not."""
        return next((why for _, command, why in self.said if isinstance(command, EndRun)), "")


def drive(
    policy: Policy,
    seconds: float,
    plant: Plant | None = None,
    *,
    start_mw: float = 0.0,
    max_power_mw: float = 1000.0,
    max_step_mw: float | None = None,
    breaks: Break | None = None,
    breaks_at_s: float = 0.0,
    without: Sequence[str] = (),
    trust: float = 1.0,
    planned: bool = True,
    scene: Callable[[float, Settings], Settings] = lambda t_s, settings: settings,
    dose: Callable[[float], DoseState] = lambda t_s: DoseState(per_mw_j_per_cm2_s={LIGHT: 1.0}),
    device: Callable[[float], float] = lambda power_mw: power_mw,
    state: Any = None,
) -> Driven:
    """Run a policy on a plant: its wishes, as the device makes them, are true from the next frame but one on."""
    plant = plant or Plant()
    limits = LIMITS.model_copy(
        update={"lights": {LIGHT: LightLimits(max_power_mw=max_power_mw, max_step_mw=max_step_mw)}}
    )
    power_mw, granted, visible, powers, said = start_mw, {}, [], [], []
    for k in range(round(seconds / FRAME_S)):
        t_s = k * FRAME_S
        plant.step(t_s, power_mw)
        quality = {name: value for name, value in plant.figures().items() if name not in without}
        if breaks is not None and t_s >= breaks_at_s:
            quality = breaks(t_s, quality, plant)
        settings = scene(t_s, replace(SETTINGS, exposure_ms=20.0, lights_mw={LIGHT: power_mw, "laser_640": 50.0}))
        given = context(
            t_s + FRAME_S,
            settings=settings,
            quality=quality,
            trust=trust,
            limits=limits,
            granted=dict(granted),
            dose=dose(t_s),
            remaining_s=seconds - t_s if planned else None,
            state=state,
        )
        visible.append(plant.visible)
        powers.append(power_mw)
        choice = policy.decide(given)
        state = choice.state
        for request in choice.requests:
            said.append((t_s, request.command, request.why))
            if isinstance(request.command, SetLight):
                assert 0 <= request.command.power_mw <= max_power_mw
                granted[request.command.setting] = request.command
                power_mw = device(request.command.power_mw)
        if any(isinstance(request.command, EndRun) for request in choice.requests):
            break
    return Driven(np.array(visible), np.array(powers), said, state, plant)
