"""Only this file knows which binary gratings an SLM has to show, so that the right beams leave it with the right phase.

A grating's first orders leave at plus and minus its own frequency. Two of them beat at twice that frequency, and
shifting the grating by a share of its period turns the fringes by twice that share. Every grating has whole cycles over
the SLM (no seam, every order a point), in a number that lets it be shifted in fine steps; what that turns and scales is
told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from smartscope.config import OpticsConfig, SlmConfig, StructuredIlluminationConfig
from smartscope.errors import InputError
from smartscope.optics.fringes import Doubles, beam_phases, carriers_of, wanted_beams
from smartscope.optics.orders import Image, OrderMask, Whole
from smartscope.optics.pattern_layout import Layout

WHERE = "microscope.optics.structured_illumination"
FINEST_PX = 3.0
"""Shortest period in SLM pixels: below, the third harmonic folds back among the first orders."""
FINE_STEPS = 720
"""Shifts by so many parts of a period make phases right to half a degree of the fringes."""
STRAY = 1e-3
"""Of the light behind the mask, at most so much in other orders than the wanted."""
NEARBY = 3
"""How far, in cycles over the SLM, a better grating is looked for."""
DARK_SHARE = {2: 1 / 2, 3: 1 / 3}
"""Beams → share of a period with the second phase: a half leaves no light in order 0, a third makes modulations of 1.0
and 0.85 of the coarse and the fine fringes, and no third harmonic."""


@dataclass(frozen=True, slots=True)
class Gratings:
    """A stack's gratings, and what they do."""

    images: tuple[Image, ...]
    """One (H, W) for each frame, 0 or ``on_value``; read-only, and always the same objects."""
    beams: Whole
    """(angles, beams, 2) orders that make the fringes, whole cycles over the SLM, x and y."""
    carriers_per_um: Doubles
    """(angles, orders, 2) frequencies of the fringes in the sample, along the camera's columns and rows."""
    turned_deg: Doubles
    """(angles,) what whole cycles turned the finest fringes by, from x towards y."""
    scaled: Doubles
    """(angles,) and what they made of its frequency, over the wanted."""

    def carriers(self, size_px: int, pixel_size_nm: float) -> Doubles:
        """(angles, orders, 2) in cycles over a field of ``size_px`` camera pixels."""
        return np.asarray(self.carriers_per_um * size_px * pixel_size_nm / 1e3)


@lru_cache(maxsize=4)
def gratings(optics: OpticsConfig, wavelength_nm: float, camera_pixel_nm: float) -> Gratings:
    """Of the instrument's SLM; the same object for the same arguments.

    Raises:
        InputError: no SLM, a grating too fine for its pixels, or fringes too fine for the lens or the camera.
    """
    config = optics.structured_illumination
    if config is None or config.slm is None:
        raise InputError("no SLM is configured", where=f"{WHERE}.slm", remedy="give its shape and pixel size")
    layout, slm = Layout.of(config), config.slm
    wanted = wanted_beams(config, optics.numerical_aperture, wavelength_nm)
    check_fringes(carriers_of(layout, wanted), config, optics, camera_pixel_nm)
    _check_pixels(wanted, config, slm)
    mask = OrderMask(config, slm, optics, wavelength_nm)
    phases = beam_phases(layout)
    images, beams = [], []
    for angle in range(layout.angles):
        beams.append(_whole(layout, slm, mask, wanted[angle]))
        images += [_drawn(layout, slm, beams[-1], shift) for shift in phases[angle]]
    for image in images:
        image.setflags(write=False)
    cycles = np.stack(beams)
    made = carriers_of(layout, cycles / mask.slm_um)
    return Gratings(tuple(images), cycles, made, *_rounding(carriers_of(layout, wanted), made))


def check_fringes(
    carriers_per_um: Doubles, config: StructuredIlluminationConfig, optics: OpticsConfig, camera_pixel_nm: float
) -> None:
    """Refuse fringes that nobody could see.

    Raises:
        InputError: finer than the lens or the camera's pixels can carry.
    """
    finest = float(np.hypot(*carriers_per_um.reshape(-1, 2).T).max())
    for limit, who in (
        (2e3 * optics.numerical_aperture / optics.emission_nm, "the lens resolves at the emission"),
        (500 / camera_pixel_nm, "the camera's pixels carry"),
    ):
        if finest >= limit:
            raise InputError(
                f"fringes of {1e3 / finest:.0f} nm, finer than {who}",
                where=f"{WHERE}.pupil_fraction",
                allowed=f"above {1e3 / limit:.0f} nm",
                remedy=f"a pupil_fraction of {_floor(config.pupil_fraction * limit / finest)}",
            )


def _check_pixels(wanted: Doubles, config: StructuredIlluminationConfig, slm: SlmConfig) -> None:
    finest = float(np.hypot(*wanted.reshape(-1, 2).T).max())
    period_px = 1e3 / finest / slm.pixel_size_nm
    if period_px < FINEST_PX:
        share = config.pupil_fraction * period_px / FINEST_PX
        raise InputError(
            f"gratings with a period of {period_px:.2f} pixels of the SLM",
            where=f"{WHERE}.slm.pixel_size_nm",
            allowed=f"{FINEST_PX:g} pixels or more",
            remedy=f"demagnify the SLM more, or a pupil_fraction of {_floor(share)}",
        )


def _floor(share: float) -> str:
    """Three digits, never more than the value."""
    return f"{math.floor(share * 1e3 - 1e-6) / 1e3:.3f}"


def _whole(layout: Layout, slm: SlmConfig, mask: OrderMask, wanted: Doubles) -> Whole:
    """(beams, 2) whole cycles: the nearest that can be shifted finely and send no stray order through the mask."""
    fine = min(FINE_STEPS, math.lcm(*slm.shape))
    tried: list[tuple[float, Whole]] = []
    for beams in _candidates(layout, wanted * mask.slm_um):
        if all(_steps(slm, beam) >= fine for beam in beams[: 2 if layout.hexagonal else 1]):
            stray = _stray(mask, _drawn(layout, slm, beams, np.zeros(len(beams))), beams)
            if stray < STRAY:
                return beams
            tried.append((stray, beams))
    return min(tried, key=lambda found: found[0])[1]


def _candidates(layout: Layout, cycles: Doubles) -> Iterator[Whole]:
    """Beams (beams, 2) around the wanted ones, the nearest first."""
    reach = np.arange(-NEARBY, NEARBY + 1)
    around = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    nearest = np.rint(cycles).astype(np.int64)
    for shift in around[np.argsort((((nearest[0] + around) - cycles[0]) ** 2).sum(1))]:
        one = nearest[0] + shift
        if layout.hexagonal:
            two = nearest[1] - np.rint(shift / 2).astype(np.int64)
            yield np.stack([one, two, -one - two])
        else:
            yield np.stack([one, -one, *([0 * one] if layout.beams == 3 else [])])


def _steps(slm: SlmConfig, cycles: Whole) -> int:
    """How many different phases a wave of whole cycles has on the SLM's pixels."""
    height, width = slm.shape
    return math.lcm(width // math.gcd(width, int(cycles[0])), height // math.gcd(height, int(cycles[1])))


def _drawn(layout: Layout, slm: SlmConfig, beams: Whole, shift_rad: Doubles) -> Image:
    """(H, W) the binary grating whose orders are ``beams``, each turned by ``shift_rad`` (beams,)."""
    first = _turns(slm, beams[0], shift_rad[0])
    if layout.hexagonal:
        first, second = (2 * np.pi * turns for turns in (first, _turns(slm, beams[1], shift_rad[1])))
        dark = np.cos(first) + np.cos(second) + np.cos(first + second) > _middle_of_hexagon()
    else:
        dark = first < DARK_SHARE[layout.beams]
    return np.where(dark, np.uint8(slm.on_value), np.uint8(0))


def _turns(slm: SlmConfig, cycles: Whole, shift_rad: float) -> npt.NDArray[np.float32]:
    """(H, W) phase of a wave in [0, 1) turns; whole numbers inside, so that every period is alike."""
    height, width = slm.shape
    parts = math.lcm(height, width)
    across = int(cycles[0]) * (parts // width) * np.arange(width)
    down = int(cycles[1]) * (parts // height) * np.arange(height)
    steps = _steps(slm, cycles)
    shift = round(float(shift_rad) / (2 * math.pi) * steps) * (parts // steps)
    return np.float32(1 / parts) * ((down[:, None] + across + shift) % parts).astype(np.float32) + np.float32(
        0.5 / steps
    )


@lru_cache(maxsize=1)
def _middle_of_hexagon() -> float:
    """Median of cos a + cos b + cos (a + b): a threshold there leaves no light in order 0."""
    turn = 2 * np.pi * (np.arange(720) + 0.5) / 720
    return float(np.median(np.cos(turn) + np.cos(turn)[:, None] + np.cos(turn + turn[:, None])))


def _stray(mask: OrderMask, image: Image, beams: Whole) -> float:
    """Share of the light behind the mask that is in none of ``beams``; 1 if one of them is missing."""
    orders = mask.passed(image)
    wanted, found = ({(int(x), int(y)) for x, y in cycles} for cycles in (beams, orders.cycles))
    if not wanted <= found:
        return 1.0
    power = np.abs(orders.amplitudes) ** 2
    stray = [(int(x), int(y)) not in wanted for x, y in orders.cycles]
    return float(power[stray].sum() / power.sum())


def _rounding(wanted: Doubles, made: Doubles) -> tuple[Doubles, Doubles]:
    """(angles,) degrees and ratio between the finest wanted and made fringes."""
    ratio = (made[:, -1] @ [1, 1j]) / (wanted[:, -1] @ [1, 1j])
    return np.degrees(np.angle(ratio)), np.abs(ratio)
