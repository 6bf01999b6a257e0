"""The joint Cramér–Rao bound: how well all molecules can be placed by who knows their number and their spots' width.

One Fisher matrix for each frame, over place and photons of all its molecules and the level of the background:
I_ij = Σ ∂_iμ ∂_jμ / (μ + read variance) (Smith et al., Nat Methods 7:373, 2010; read variance after Huang et al., Nat
Methods 10:653, 2013). Lists are drawn from the Gaussian that its inverse describes and judged like anybody's. It bounds
lists without bias: who takes two molecules in nearly one place for one, leaves out what glows too faintly to be placed,
or knows how bright molecules are, scores better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_array
from scipy.special import erf

from judging.figures import Row

from .movies import Doubles, Movie, Scene, write_list

REACH_SIGMA = 4.5
RIDGE = 1e-12
"""Of the scaled matrix: two molecules in one place have no places of their own."""


@dataclass(frozen=True, slots=True)
class Light:
    """All that one frame's information depends on."""

    sigma_px: float
    variance_e2: Doubles
    """(H, W) of the sensor."""
    background: Doubles
    """(H, W) photons."""
    quantum_efficiency: float = 1.0
    astigmatism_nm: tuple[float, float] | None = None
    """Offset and depth of the two foci; None: round spots."""

    def widths(self, z_nm: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        """Along x and y, pixels, and their change with height, pixels per nm (Huang et al., Science 319:810, 2008)."""
        if self.astigmatism_nm is None:
            same, none = np.full_like(z_nm, self.sigma_px), np.zeros_like(z_nm)
            return same, same, none, none
        offset, depth = self.astigmatism_nm
        right, left = (z_nm - offset) / depth, (z_nm + offset) / depth
        across, down = (self.sigma_px * np.sqrt(1 + away**2) for away in (right, left))
        slope = self.sigma_px**2 / depth
        return across, down, slope * right / across, slope * left / down


def fisher(light: Light, x_px: Doubles, y_px: Doubles, z_nm: Doubles, photons: Doubles) -> Doubles:
    """(P, P): of each molecule x, y (px, outer corner), photons and, if it can be told, z (nm); last the background."""
    height, width = light.background.shape
    derivatives, pixels = _derivatives(light, x_px, y_px, z_nm, photons)
    count, each, _ = derivatives.shape
    rows = np.broadcast_to(np.arange(count * each).reshape(count, each, 1), derivatives.shape)
    columns = np.broadcast_to(pixels[:, None], derivatives.shape)
    entries = (derivatives.ravel(), (rows.ravel(), columns.ravel()))
    jacobian = csr_array(entries, shape=(count * each, height * width + 1))[:, :-1]
    mean = light.background.ravel() + jacobian[2::each].T @ photons
    efficiency = light.quantum_efficiency
    weight = efficiency**2 / (efficiency * mean + light.variance_e2.ravel())
    shape = light.background.ravel() / light.background.mean()
    found = np.empty((count * each + 1,) * 2)
    weighted = jacobian * weight
    found[:-1, :-1] = (weighted @ jacobian.T).toarray()
    found[:-1, -1] = found[-1, :-1] = weighted @ shape
    found[-1, -1] = np.sum(weight * shape**2)
    return found


def _derivatives(
    light: Light, x_px: Doubles, y_px: Doubles, z_nm: Doubles, photons: Doubles
) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """(N, 3 or 4, K) of the mean of each pixel by x, y, photons, z, and (N, K) which pixels; H W stands for none."""
    height, width = light.background.shape
    across, down, by_across, by_down = light.widths(z_nm)
    reach = math.ceil(REACH_SIGMA * float(max(across.max(initial=1), down.max(initial=1))))
    window = np.arange(-reach, reach + 1)
    columns, rows = np.floor(x_px)[:, None] + window, np.floor(y_px)[:, None] + window
    along_x, along_y = (_profile(p, c, s) for p, c, s in ((columns, x_px, across), (rows, y_px, down)))

    def outer(vertical: Doubles, horizontal: Doubles) -> Doubles:
        return (vertical[:, :, None] * horizontal[:, None, :]).reshape(len(x_px), -1)

    light_n = photons[:, None]
    parts = [light_n * outer(along_y[0], along_x[1]), light_n * outer(along_y[1], along_x[0])]
    parts.append(outer(along_y[0], along_x[0]))
    if light.astigmatism_nm is not None:
        by_z = outer(along_y[0], along_x[2] * by_across[:, None]) + outer(along_y[2] * by_down[:, None], along_x[0])
        parts.append(light_n * by_z)
    there = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    pixels = np.where(there, rows[:, :, None] * width + columns[:, None, :], height * width)
    return np.stack(parts, axis=1), pixels.reshape(len(x_px), -1).astype(np.int64)


def _profile(pixel: Doubles, centre: Doubles, sigma: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """(N, K): part of a Gaussian on each pixel, and its derivatives by centre and by width."""
    width = sigma[:, None]
    left, right = pixel - centre[:, None], pixel + 1 - centre[:, None]
    below, above = (np.exp(-(edge**2) / (2 * width**2)) / (math.sqrt(2 * math.pi) * width) for edge in (left, right))
    share = 0.5 * (erf(right / (math.sqrt(2) * width)) - erf(left / (math.sqrt(2) * width)))
    return share, below - above, (left * below - right * above) / width


def drawn(information: Doubles, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Errors drawn with the covariance that is its inverse, and their standard deviations."""
    scale = 1 / np.sqrt(np.diag(information).clip(1e-30))
    scaled = information * scale * scale[:, None]
    root = cholesky(scaled + RIDGE * np.eye(len(scaled)), lower=True)
    inverse = solve_triangular(root, np.eye(len(scaled)), lower=True)
    return scale * (inverse.T @ rng.normal(size=len(scaled))), scale * np.sqrt(np.sum(inverse**2, axis=0))


def light_of(movie: Movie) -> Light:
    """What the bound of a simulated movie is told: the truth, not what ``camera.json`` says."""
    scene, spot = movie.scene, movie.camera["psf"]
    ramp = 1 + np.linspace(-1, 1, scene.size) * scene.gradient
    shape = (scene.size, scene.size)
    foci = (spot["focal_offset_nm"], spot["focal_depth_nm"]) if scene.psf == "astigmatic" else None
    variance = np.broadcast_to(movie.map("read_variance_e2"), shape)
    background = scene.background * np.broadcast_to(ramp, shape)
    return Light(spot["sigma_px"] * (1 + scene.sigma_error), variance, background, scene.quantum_efficiency, foci)


def spread_of(scene: Scene) -> float:
    """Of the molecules' brightness, relative; hardly any where all are alike."""
    usual = 0.01 if scene.density is None else 0.3
    return max(usual if scene.photon_spread is None else scene.photon_spread, 0.01)


@dataclass(frozen=True, slots=True)
class JointBound:
    """A list drawn from the bound, as a candidate."""

    label: str = "joint bound"
    brightness_told: bool = False
    """Also told how bright molecules are, to within their spread (van Trees, Detection and Estimation, 2.4.3)."""

    def localize(self, movie: Movie, out: Path) -> Row:
        """Write ``out``."""
        truth, light, pixel = movie.truth(), light_of(movie), movie.pixel_nm
        scene = movie.scene
        rng = np.random.default_rng((scene.seed, round(scene.photons), round(1000 * (scene.density or 0))))
        each = 3 if light.astigmatism_nm is None else 4
        error, sigma = np.zeros((len(truth["frame"]), 4)), np.zeros((len(truth["frame"]), 4))
        for frame in np.unique(truth["frame"]):
            mine = np.flatnonzero(truth["frame"] == frame)
            place = (truth[name][mine] for name in ("x_nm", "y_nm", "z_nm", "photons"))
            x, y, z, photons = place
            information = fisher(light, x / pixel, y / pixel, z, photons)
            if self.brightness_told and scene.blinking == "independent":
                one = np.arange(len(mine)) * each + 2
                information[one, one] += 1 / (spread_of(scene) * photons) ** 2
            found, stated = drawn(information, rng)
            error[mine, :each], sigma[mine, :each] = found[:-1].reshape(-1, each), stated[:-1].reshape(-1, each)
        columns = {
            "x [nm]": truth["x_nm"] + pixel * error[:, 0],
            "y [nm]": truth["y_nm"] + pixel * error[:, 1],
            "intensity [photon]": truth["photons"] + error[:, 2],
            "uncertainty_xy [nm]": pixel * np.sqrt((sigma[:, 0] ** 2 + sigma[:, 1] ** 2) / 2),
        }
        if each == 4:
            columns["z [nm]"] = truth["z_nm"] + error[:, 3]
        write_list(out, truth["frame"], columns)
        return {}
