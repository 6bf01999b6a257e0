"""A target on a path and a delayed stage or region: the plant against which policies that follow are tested."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from smartscope.command import Command, MoveStage, SetRoi
from smartscope.frame import Roi, Settings
from smartscope.ports import Choice, Context, Delay, Policy
from smartscope.testing.policy_contract import context, tracks

PIXEL_UM = 0.1
SENSOR = (128, 128)
START = Settings(10.0, Roi(0, 0, 128, 128), {})
ROTATED = ((0.06, -0.08), (0.08, 0.06))
"""A camera turned against the stage by 53 degrees."""
Path = Callable[[float], tuple[float, float]]


@dataclass
class Plant:
    """A target on a path in um of the stage, 100 frames/s, a loop with a delay; commands take effect after it."""

    path: Path
    affine: tuple[tuple[float, float], tuple[float, float]] = ROTATED
    delay_ms: float = 60.0
    noise_px: float = 0.3
    walk_px2_s: float = 1.0
    """What the tracker says of the random part of its motion."""
    settings: Settings = START
    renamed_every: int = 0
    """The tracker loses the target's identity after so many frames; 0: never."""
    off_px: list[float] = field(default_factory=list)
    """Distance of the target from the centre of the view, each frame."""
    inside: list[bool] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def run(self, policy: Policy, seconds: float) -> None:
        chance, state, coming = random.Random(3), None, list[tuple[int, Settings]]()
        seen = list[Context]()
        for n in range(round(seconds * 100)):
            t_s = n / 100
            while coming and coming[0][0] <= n:
                self.settings = coming.pop(0)[1]
            roi = self.settings.roi
            x, y = self._pixel(t_s)
            self.off_px.append(math.dist((x, y), ((roi.width - 1) / 2, (roi.height - 1) / 2)))
            self.inside.append(bool(0 <= x < roi.width and 0 <= y < roi.height))
            name = 1 + (n // self.renamed_every if self.renamed_every else 0)
            row = (name, x + chance.gauss(0, self.noise_px), y + chance.gauss(0, self.noise_px))
            found = tracks(*[row] * self.inside[-1])
            found.diffusion_px2_s[:] = self.walk_px2_s
            seen.append(context(t_s, age_ms=0, settings=self.settings, found=found))
            late = round(self.delay_ms / 20)  # half of the delay is the model's, the other half the stage's
            if n < late:
                continue
            given = replace(
                seen[n - late],
                t_ns=round(t_s * 1e9),
                settings=coming[-1][1] if coming else self.settings,
                state=state,
                delay=Delay(self.delay_ms),
                sensor_shape=SENSOR,
                stage_affine=self.affine,
            )
            choice = policy.decide(given)
            state = choice.state
            self._obey(choice, n + late, coming)

    def _obey(self, choice: Choice, n: int, coming: list[tuple[int, Settings]]) -> None:
        for request in choice.requests:
            self.commands.append(request.command)
            self.reasons.append(request.why)
            last = coming[-1][1] if coming else self.settings
            if isinstance(request.command, SetRoi):
                coming.append((n, replace(last, roi=request.command.roi)))
            else:
                assert isinstance(request.command, MoveStage)
                coming.append((n, replace(last, x_um=request.command.x_um, y_um=request.command.y_um)))

    def _pixel(self, t_s: float) -> tuple[float, float]:
        """Where on the frame the target appears."""
        x_um, y_um = self.path(t_s)
        dx, dy = np.linalg.solve(self.affine, (x_um - self.settings.x_um, y_um - self.settings.y_um))
        roi = self.settings.roi
        return dx + (SENSOR[1] - 1) / 2 - roi.x, dy + (SENSOR[0] - 1) / 2 - roi.y
