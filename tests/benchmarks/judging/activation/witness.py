"""Who truly shone in each frame of a simulated run, and which localisations are right: a stage that only looks on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Localizations, Result, empty_localizations

SEEN_PHOTONS = 50.0
"""A molecule that gave fewer in a frame, as it came or went, is none of those that glow in it."""
PLAIN_PHOTONS = 150.0
"""From here on nearly all are found, by whatever finds them: about an eighth of a whole frame's light."""
NEAR_NM = 250.0
"""Of the truth, within which a localisation is right."""
Floats = npt.NDArray[np.float64]


@dataclass
class Diary:
    """What a run truly was; one entry for each frame that was understood."""

    world: Any = None
    """Of the simulated microscope."""
    t_s: list[float] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    plain: list[int] = field(default_factory=list)
    """Of the active, those that nobody should miss."""
    counted: list[float] = field(default_factory=list)
    """``emitters``; not a number where there was none."""
    peaks: list[float] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    power_mw: list[float] = field(default_factory=list)
    visits: list[int] = field(default_factory=list)
    """In how many frames in a row each molecule was seen."""
    present: dict[int, int] = field(default_factory=dict)
    newest: tuple[int, Floats, Floats, Floats] | None = None
    """Index of a frame; x, y (px) and photons of who shone in it."""

    def truth(self, frame: Frame) -> tuple[Floats, Floats, Floats]:
        """x, y (px) and photons of the molecules that glow within this frame."""
        if self.newest is None or self.newest[0] != frame.index:
            shone = self.world.emitters(frame.t_start_ns, frame.t_end_ns, frame.settings.roi)
            height, width = frame.pixels.shape
            x, y = shone.x_px, shone.y_px
            inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
            inside &= shone.photons >= SEEN_PHOTONS
            self._follow(shone.molecule[inside])
            self.newest = (frame.index, x[inside], y[inside], shone.photons[inside])
        return self.newest[1:]

    def _follow(self, molecules: npt.NDArray[np.int64]) -> None:
        now = {int(m): self.present.get(int(m), 0) + 1 for m in molecules}
        self.visits += [frames for m, frames in self.present.items() if m not in now]
        self.present = now


class OnLooker:
    """A stage of the pipeline that has the diary of its run."""

    diary: ClassVar[Diary] = Diary()
    history = 0

    def __init__(self, setup: Instrument) -> None:
        self.pixel_size_nm = setup.camera.pixel_size_nm
        self.light = "laser_405"

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing."""


class Witness(OnLooker):
    """The last stage: writes down what was true, counted and found."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` as it is."""
        diary, frame = OnLooker.diary, frames[-1]
        x, y, photons = diary.truth(frame)
        found = so_far.localizations if so_far.localizations is not None else empty_localizations()
        diary.t_s.append(frame.t_start_ns / 1e9)
        diary.active.append(len(x))
        diary.plain.append(int((photons >= PLAIN_PHOTONS).sum()))
        diary.counted.append(so_far.quality.get("emitters", float("nan")))
        diary.peaks.append(so_far.quality.get("peaks", float("nan")))
        diary.found.append(len(found))
        diary.right.append(right(found, x, y, NEAR_NM / self.pixel_size_nm))
        diary.power_mw.append(frame.settings.lights_mw[self.light])
        return so_far


def right(found: Localizations, x: Floats, y: Floats, near_px: float) -> int:
    """How many localisations have a molecule of their own within ``near_px``."""
    if not len(found) or not len(x):
        return 0
    distance = np.hypot(found.x_px[:, None] - x[None], found.y_px[:, None] - y[None])
    cost = np.where(distance <= near_px, distance, 1e3)
    rows, columns = linear_sum_assignment(cost)
    return int((cost[rows, columns] <= near_px).sum())


class StandIn(OnLooker):
    """Finds what is there as a good localiser would: fewer of the dim and of the crowded; none of it is measured."""

    def __init__(self, setup: Instrument, seed: int = 0) -> None:
        super().__init__(setup)
        self._rng = np.random.default_rng(seed)
        self._none = empty_localizations()

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with localisations and their figures."""
        x, y, photons = OnLooker.diary.truth(frames[-1])
        gap = np.hypot(x[:, None] - x[None], y[:, None] - y[None]) + 1e3 * np.eye(len(x))
        alone = 1 - 0.7 * np.exp(-((gap.min(axis=1, initial=1e3) / 4) ** 2))
        hit = self._rng.random(len(x)) < alone / (1 + np.exp((120 - photons) / 30))
        error_px = 1.6 / np.sqrt(photons[hit])
        columns = {name: np.zeros(int(hit.sum()), np.float32) for name in self._none.__slots__}
        columns["x_px"] = (x[hit] + error_px * self._rng.standard_normal(hit.sum())).astype(np.float32)
        columns["y_px"] = (y[hit] + error_px * self._rng.standard_normal(hit.sum())).astype(np.float32)
        columns["photons"] = photons[hit].astype(np.float32)
        share = 0.9 * np.exp(-hit.sum() / 400)
        figures = {"emitters": float(hit.sum() / share), "recall_health": 0.95}
        if hit.any():
            figures["spot_photons"] = float(np.median(photons[hit]))
        quality = {**so_far.quality, **figures}
        return replace(so_far, quality=quality, localizations=Localizations(**columns))
