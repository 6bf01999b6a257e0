"""Networks as candidates on their own: ours without the fits that follow it, the peers' by the same decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from judging.figures import Row
from smartscope.config import PointSpreadConfig
from smartscope_models.localization.crowd import CrowdNetwork
from smartscope_models.localization.decode import molecules_in
from smartscope_models.localization.sight import SCALE, Floats, conditions_of, level_of
from smartscope_models.training.localizer import heads_of
from smartscope_models.training.network import stabilise

from .movies import Doubles, Movie, write_list
from .peer_networks import FRAMES, PeerNetwork
from .peer_training import trained

FOURFOLD = 4
"""Both peers halve their images twice."""


class Finder(Protocol):
    """Molecules of one stabilised frame after another, (N, 11) as of ``decode.merged``."""

    def rows(self, stable: Floats, follows: bool, sigma_px: float) -> Doubles:
        """``follows``: the frame before was the last one shown."""


class OurFinder:
    """As the live model runs it, before any fit."""

    def __init__(self, package: str) -> None:
        self._network = CrowdNetwork(package)

    def rows(self, stable: Floats, follows: bool, sigma_px: float) -> Doubles:
        """One plane alone: round spots."""
        return self._network.find(stable, follows, sigma_px, PointSpreadConfig()).rows


class PeerFinder:
    """A trained peer; frames that are not there are black, as in its training."""

    def __init__(self, network: PeerNetwork) -> None:
        self._network, self._earlier = network, list[Floats]()

    def rows(self, stable: Floats, follows: bool, sigma_px: float) -> Doubles:
        """Keeps the two frames before."""
        if not follows:
            self._earlier = []
        level = level_of(stable)
        before = self._earlier[-2:] if len(self._earlier) >= FRAMES - 1 else [np.full_like(stable, level)] * 2
        seen = (np.stack([*before, stable]) - np.float32(level)) / np.float32(SCALE)
        none = np.zeros(1)
        told = conditions_of(np.array([sigma_px]), np.array([level], np.float32), none, none, round_=True)
        self._earlier = [*self._earlier[-2:], stable]
        return molecules_in(self._maps(seen, told)[:, : stable.shape[0], : stable.shape[1]])

    def _maps(self, seen: Floats, told: Floats) -> Floats:
        height, width = seen.shape[1:]
        beyond = ((0, 0), (0, -height % FOURFOLD), (0, -width % FOURFOLD))
        frames = torch.from_numpy(np.pad(seen, beyond))[None]
        with torch.inference_mode():
            raw = torch.nn.functional.pixel_unshuffle(self._network(frames, torch.from_numpy(told)), 2)
            return np.ascontiguousarray(heads_of(raw, deep=False)[0].numpy())


@dataclass(frozen=True, slots=True)
class NetworkAlone:
    """What a network finds, with the errors that it states."""

    label: str
    finder: Finder

    def localize(self, movie: Movie, out: Path) -> Row:
        """Frame after frame, as in a live run."""
        stable, pixel = stabilised(movie), movie.pixel_nm
        sigma_px, efficiency = movie.camera["psf"]["sigma_px"], movie.camera["quantum_efficiency"]
        found = [self.finder.rows(frame, number > 0, sigma_px) for number, frame in enumerate(stable)]
        frame = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        rows = np.concatenate(found)
        columns = {
            "x [nm]": pixel * (rows[:, 0] + 0.5),
            "y [nm]": pixel * (rows[:, 1] + 0.5),
            "intensity [photon]": np.exp(rows[:, 2]) / efficiency,
            "uncertainty_xy [nm]": pixel * np.sqrt((rows[:, 4] ** 2 + rows[:, 5] ** 2) / 2),
        }
        write_list(out, frame.astype(float), columns)
        return {}


def stabilised(movie: Movie) -> Floats:
    """(T, H, W) of unit noise, as the lessons are; cameras without multiplication."""
    counts = torch.from_numpy(movie.counts().astype(np.float32))[:, None]
    shape = counts.shape[-2:]
    names = ("offset_adu", "electrons_per_adu", "read_variance_e2")
    maps = [torch.from_numpy(np.broadcast_to(movie.map(name), shape).astype(np.float32)) for name in names]
    nominal = torch.tensor([0.0, 1.0, movie.camera["read_noise_e"] ** 2]).reshape(1, 3, 1, 1)
    return np.asarray(stabilise(counts, torch.stack(maps)[None], nominal)[:, 0].numpy())


def networks_alone(weights: Path | None, packages: Sequence[str]) -> list[NetworkAlone]:
    """Our packages, then every trained peer of the folder; none without a folder."""
    if weights is None:
        return []
    own = [NetworkAlone(f"{name}, alone", OurFinder(name)) for name in packages]
    return [*own, *(NetworkAlone(name, PeerFinder(network)) for name, network in trained(weights).items())]
