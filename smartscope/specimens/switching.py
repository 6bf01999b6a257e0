"""Only this file knows how molecules switch on and off: a Markov chain in continuous time, driven by light.

Off (the reservoir) -> on by activation light and rarely by itself; on -> blink (a short dark state), off or bleached,
all in proportion to the excitation; blink -> on by itself and by activation light. A stay ends once the hazard added
up over it reaches a unit exponential deviate (next-reaction method; Gibson, Bruck, J. Phys. Chem. A 104 (2000) 1876),
so that a life follows from seed and light alone, however time is cut. In full light the hazard of the reservoir is one
for all: its molecules wait in one queue, and only the few that are due are looked at; where light is weaker, some of
them are sent back (thinning; Lewis, Shedler 1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.optics.counter_random import bits, stream, uniform
from smartscope.specimens.photophysics import FAR_RED_DYE
from smartscope.specimens.waiting import drop_first, push

Share = Annotated[float, Field(ge=0, lt=1)]
Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

OFF, ON, BLINK, BLEACHED = range(4)
_MOLECULE = np.dtype(
    [("left", "f8"), ("emitted", "f8"), ("brightness", "f4"), ("draws", "u4"), ("state", "u1")], align=True
)
"""``left``: hazard until the stay ends; of those who wait, until when in the reservoir's hazard since the beginning."""
_PURPOSE = 0x5717C4
_BRIGHTNESS = 0xB71647
_DRAWS_BITS = np.uint64(32)
"""Each molecule has 2^32 random numbers of its own."""
_ACTIVATION_NM, _ACTIVATION_WIDTH_NM = 405.0, 25.0


class SwitchingOptions(Section):
    """Kinetics of one dye, by default about those of Alexa Fluor 647 in a switching buffer."""

    on_time_ms: Positive = 30.0
    """Mean stay in the on state at ``excitation_w_per_cm2``; less light, longer stays."""
    excitation_w_per_cm2: Positive = 1000.0
    """At the peak of the dye's spectrum."""
    blink_share: Share = 0.05
    """Of the stays that end in the short dark state."""
    blink_ms: Positive = 15.0
    """Mean stay there without activation light."""
    bleach_share: Share = 0.15
    """Of the other stays that end for good."""
    activation_cm2_per_j: NotNegative = 1e-3
    """Rate off -> on, 1/s, for each W/cm2 at 405 nm."""
    spontaneous_per_s: NotNegative = 4e-4
    """Rate off -> on in the dark."""
    recovery_cm2_per_j: NotNegative = 0.1
    """Rate blink -> on, 1/s, for each W/cm2 at 405 nm, beside ``blink_ms``."""
    saturation_w_per_cm2: Positive = 1000.0
    """Excitation that makes half the photons it would make without saturation (Diekmann et al., Nat. Methods 17 (2020)
    909: brightness saturates, while switching off goes on growing)."""
    brightness_spread: NotNegative = 0.2
    """Standard deviation of the logarithm of brightness from molecule to molecule."""


class Rates(NamedTuple):
    """What happens per second where light is full, for one piece of constant light."""

    spontaneous: float
    activated: float
    """off -> on"""
    recovering: float
    recovered: float
    """blink -> on, by itself and by light"""
    leaving: float
    bleached_below: float
    blinks_below: float
    """Of those who leave the on state: a uniform deviate below the one or the other."""
    emission: float
    """Photons, without saturation."""
    saturation: float
    """Excitation over that of saturation."""

    @classmethod
    def of(cls, options: SwitchingOptions, irradiance: Mapping[float, float]) -> Rates:
        """For ``irradiance``: wavelength (nm) to W/cm2."""
        emission = math.fsum(FAR_RED_DYE.emitted(w_per_cm2, nm) for nm, w_per_cm2 in irradiance.items())
        excitation = emission / FAR_RED_DYE.emitted(1.0, FAR_RED_DYE.excitation_nm)
        activation = math.fsum(
            w_per_cm2 * math.exp(-0.5 * ((nm - _ACTIVATION_NM) / _ACTIVATION_WIDTH_NM) ** 2)
            for nm, w_per_cm2 in irradiance.items()
        )
        bleached = (1 - options.blink_share) * options.bleach_share
        return cls(
            spontaneous=options.spontaneous_per_s,
            activated=options.activation_cm2_per_j * activation,
            recovering=1e3 / options.blink_ms,
            recovered=options.recovery_cm2_per_j * activation,
            leaving=1e3 / options.on_time_ms * excitation / options.excitation_w_per_cm2,
            bleached_below=bleached,
            blinks_below=bleached + options.blink_share,
            emission=emission,
            saturation=excitation / options.saturation_w_per_cm2,
        )


class Switching:
    """Molecules (N,), all of them in the reservoir at first.

    Args:
        count: N.
        options: kinetics of the dye.
        seed: of every life, and of how bright each molecule is.
    """

    def __init__(self, count: int, options: SwitchingOptions, seed: int) -> None:
        self._options = options
        self._key = np.uint64(stream(seed, _PURPOSE, 0))
        self._molecules = np.zeros(count, _MOLECULE)
        _begin(self._molecules, self._key)
        normal = np.random.default_rng((seed, _BRIGHTNESS)).standard_normal(count)
        self._molecules["brightness"] = np.exp(options.brightness_spread * (normal - options.brightness_spread / 2))
        self._waiting = np.argsort(self._molecules["left"], kind="stable")
        self._active, self._glowing = np.empty(count, np.int64), np.empty(count, np.int64)
        self._sizes = np.array([count, 0, 0])
        """Of the three above."""
        self._hazard = 0.0
        """Of the reservoir in full light, since the beginning."""

    def live(self, duration_s: float, irradiance: Mapping[float, float], light_of: Callable[[Ids], Doubles]) -> None:
        """Go on for ``duration_s`` in constant light.

        Args:
            duration_s: how long.
            irradiance: wavelength (nm) to W/cm2 where light is full.
            light_of: relative light (M,) at the molecules (M,); the reservoir takes more than full (1) for full.
        """
        rates = Rates.of(self._options, irradiance)
        hazard = self._hazard + (rates.spontaneous + rates.activated) * duration_s
        _wake(self._molecules["left"], self._waiting, self._active, self._sizes, hazard)
        light = light_of(self._active[: self._sizes[1]])
        _live(self._molecules, self._waiting, self._active, self._glowing, self._sizes, light, rates, duration_s,
              self._hazard, hazard, self._key)  # fmt: skip
        self._hazard = hazard

    def begin_exposure(self) -> None:
        """Count photons from now on."""
        self._molecules["emitted"][self._glowing[: self._sizes[2]]] = 0
        self._sizes[2] = 0

    def glowing(self) -> tuple[Ids, Doubles]:
        """Molecules (M,) that were on since the exposure began, ascending, and the photons (M,) they emitted."""
        found = np.sort(self._glowing[: self._sizes[2]])
        return found, self._molecules["emitted"][found]

    @property
    def states(self) -> npt.NDArray[np.uint8]:
        """(N,) ``OFF``, ``ON``, ``BLINK`` or ``BLEACHED``, now."""
        return self._molecules["state"].copy()


@njit(nogil=True, cache=True, inline="always")
def _draw(molecules: Any, number: int, key: np.uint64) -> Any:
    """The next uniform deviate of a molecule, in (0, 1]."""
    counter = (np.uint64(number) << _DRAWS_BITS) + np.uint64(molecules[number].draws)
    molecules[number].draws += np.uint32(1)
    return 1.0 - uniform(bits(key, counter))


@njit(nogil=True, cache=True)
def _begin(molecules: Any, key: np.uint64) -> None:
    """All wait in the reservoir."""
    for number in range(molecules.size):
        molecules[number].left = -math.log(_draw(molecules, number, key))


@njit(nogil=True, cache=True)
def _wake(left: Any, waiting: Any, active: Any, sizes: Any, hazard: float) -> None:
    """Move all who are due before ``hazard`` from the queue to the active."""
    while sizes[0] > 0 and left[waiting[0]] <= hazard:
        active[sizes[1]] = waiting[0]
        sizes[1] += 1
        sizes[0] = drop_first(waiting, sizes[0], left)


@njit(nogil=True, cache=True)
def _next_state(state: int, light: float, chance: float, rates: Any) -> int:
    """Where a molecule goes whose stay is over."""
    if state == BLINK:
        return ON
    if state == OFF:
        bound = rates.spontaneous + rates.activated
        return ON if chance * bound <= rates.spontaneous + rates.activated * light else OFF
    if chance <= rates.bleached_below:
        return BLEACHED
    return BLINK if chance <= rates.blinks_below else OFF


@njit(nogil=True, cache=True)
def _live(
    molecules: Any, waiting: Any, active: Any, glowing: Any, sizes: Any, lights: Any, rates: Any, duration: float,
    hazard_before: float, hazard: float, key: np.uint64,
) -> None:  # fmt: skip
    """Let the active live for ``duration``; who ends in the reservoir waits again, who is bleached is forgotten."""
    left = molecules["left"]
    kept = 0
    for place in range(sizes[1]):
        number, light = active[place], lights[place]
        molecule = molecules[number]
        if molecule.state == OFF:
            molecule.left -= hazard_before
        emission = molecule.brightness * rates.emission * light / (1.0 + rates.saturation * light)
        t = 0.0
        while molecule.state != BLEACHED:
            rate = rates.spontaneous + rates.activated
            if molecule.state == ON:
                rate = rates.leaving * light
            elif molecule.state == BLINK:
                rate = rates.recovering + rates.recovered * light
            over = molecule.left < rate * (duration - t)
            stay = molecule.left / rate if over else duration - t
            if molecule.state == ON and emission > 0.0 and stay > 0.0:
                if molecule.emitted == 0.0:
                    glowing[sizes[2]] = number
                    sizes[2] += 1
                molecule.emitted += emission * stay
            t += stay
            if not over:
                molecule.left -= rate * stay
                break
            molecule.state = _next_state(molecule.state, light, _draw(molecules, number, key), rates)
            molecule.left = -math.log(_draw(molecules, number, key))
        if molecule.state == OFF:
            molecule.left += hazard
            sizes[0] = push(waiting, sizes[0], number, left)
        elif molecule.state != BLEACHED:
            active[kept] = number
            kept += 1
    sizes[1] = kept
