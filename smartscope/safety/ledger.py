"""How much light each place of the sample has had, integrated over light-on time in integers.

The sample is divided into squares of ``dose.field_um``; each keeps its own account. The light fills a disc around the
place where the stage stands, so every square that the disc touches is charged: moving by less than the disc brings no
fresh budget. The present field's dose is that of the most exposed square in the light.

Dose is irradiance (``optics.illumination``) integrated over the time that the light is on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

from smartscope.config import DoseConfig, LightConfig, OpticsConfig
from smartscope.optics.illumination import irradiance_w_per_cm2, photons_per_pixel
from smartscope.ports import DoseState
from smartscope.safety.duty import FULL_PPM, WINDOW_NS, DutyRecord

MW_S_PER_UNIT = 1e-6 * 1e-9 / FULL_PPM
"""Accounts count nW x ns x ppm of on-time."""

Square = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FieldDose:
    """The account of one square, for the report."""

    x_um: float
    """Stage position of the square's centre."""
    y_um: float
    j_per_cm2: float
    photons_per_pixel: float


class DoseLedger:
    """Accounts of all squares. One thread (the loop) calls it; a time earlier than the last one counts as the last."""

    def __init__(
        self, config: DoseConfig, optics: OpticsConfig, lights: tuple[LightConfig, ...], *, pixel_size_nm: float
    ) -> None:
        self._field_um = config.field_um
        self._budgets = (config.budget_j_per_cm2 or math.inf, config.max_photons_per_pixel or math.inf)
        self._radius_um = optics.illuminated_diameter_um / 2
        disc_um = optics.illuminated_diameter_um
        self._per_mw = {light.name: irradiance_w_per_cm2(1.0, light.transmission, disc_um) for light in lights}
        self._photons = {light.name: photons_per_pixel(1.0, light.wavelength_nm, pixel_size_nm) for light in lights}
        self._gated = frozenset(light.name for light in lights if light.gated_by_camera)
        self._accounts: dict[Square, dict[str, int]] = {}
        self._duty = {light.name: DutyRecord() for light in lights}
        self._power_nw = dict.fromkeys(self._per_mw, 0)
        self._exposure_ppm = FULL_PPM
        self._t_ns = 0
        self._lit = self._squares_around(0.0, 0.0)

    def set_light(self, light: str, power_mw: float, t_ns: int) -> None:
        """From ``t_ns`` on this light gives ``power_mw`` at its reference plane; 0 is off."""
        self.advance(t_ns)
        self._power_nw[light] = round(power_mw * 1e6)

    def set_exposure_duty(self, fraction: float, t_ns: int) -> None:
        """From ``t_ns`` on the camera exposes this fraction (0 to 1) of the time: what gated lights are on for."""
        self.advance(t_ns)
        self._exposure_ppm = math.ceil(min(1.0, max(0.0, fraction)) * FULL_PPM)

    def move(self, x_um: float, y_um: float, t_ns: int) -> None:
        """From ``t_ns`` on the light falls around this stage position."""
        self.advance(t_ns)
        self._lit = self._squares_around(x_um, y_um)

    def advance(self, t_ns: int) -> None:
        """Charge the light given up to ``t_ns``; how often this is called changes nothing in the sums."""
        elapsed_ns = t_ns - self._t_ns
        if elapsed_ns <= 0:
            return
        for light, power_nw in self._power_nw.items():
            if power_nw:
                share_ppm = self._share_ppm(light)
                self._duty[light].add(self._t_ns, t_ns, share_ppm)
                for square in self._lit:
                    account = self._accounts.setdefault(square, dict.fromkeys(self._per_mw, 0))
                    account[light] += power_nw * elapsed_ns * share_ppm
        self._t_ns = t_ns

    def state(self, t_ns: int) -> DoseState:
        """Dose, budget and rates of the field in the light."""
        self.advance(t_ns)
        return self.peek()

    def peek(self) -> DoseState:
        """The state at the last time that was told; any thread may look.

        A budget in photons is shown in J/cm² as if only the light with most photons per joule were used from now on.
        """
        spent, photons = self._most_exposed(self._lit)
        left_in_photons = (self._budgets[1] - photons) / max(self._photons.values(), default=1.0)
        return DoseState(
            spent_j_per_cm2=spent,
            budget_j_per_cm2=min(self._budgets[0], spent + left_in_photons),
            rate_j_per_cm2_s=self._rates()[0],
            per_mw_j_per_cm2_s={
                light: dose * self._share_ppm(light) / FULL_PPM for light, dose in self._per_mw.items()
            },
        )

    def exhausted_at_ns(self, t_ns: int) -> int | None:
        """Last moment at which the lights, as they are, still keep the budget; None: never, or no light is on."""
        self.advance(t_ns)
        left_s = [
            max(0.0, budget - spent) / rate
            for budget, spent, rate in zip(self._budgets, self._most_exposed(self._lit), self._rates(), strict=True)
            if rate > 0 and budget < math.inf
        ]
        return t_ns + math.floor(min(left_s) * 1e9) if left_s else None

    def has_budget(self, t_ns: int, place_um: tuple[float, float] | None = None) -> bool:
        """Whether every square has budget left that the light touches, or would with the stage at ``place_um``."""
        self.advance(t_ns)
        most_exposed = self._most_exposed(self._squares_around(*place_um) if place_um else self._lit)
        return all(spent < budget for spent, budget in zip(most_exposed, self._budgets, strict=True))

    def power_mw(self, light: str) -> float:
        """Power that the light is taken to give."""
        return self._power_nw[light] * 1e-6

    def rests(self, light: str) -> bool:
        """Whether the light is on during exposures alone."""
        return light in self._gated

    def on_fraction(self, light: str, t_ns: int) -> float:
        """Fraction of the ten seconds before ``t_ns`` with this light on; a future ``t_ns`` takes it as staying so."""
        pending_ns = max(0, t_ns - self._t_ns) * self._share_ppm(light) / FULL_PPM if self._power_nw[light] else 0.0
        return (self._duty[light].on_ns(t_ns) + pending_ns) / WINDOW_NS

    def forecast(self) -> DoseLedger:
        """A copy to try a plan on."""
        return deepcopy(self)

    def by_field(self) -> list[FieldDose]:
        """Accounts of all squares that ever had light, the most exposed first."""
        fields = []
        for (i, j), account in self._accounts.items():
            x_um, y_um = (i + 0.5) * self._field_um, (j + 0.5) * self._field_um
            fields.append(FieldDose(x_um, y_um, *self._in_physical_units(account)))
        return sorted(fields, key=lambda field: field.j_per_cm2, reverse=True)

    def _share_ppm(self, light: str) -> int:
        return self._exposure_ppm if light in self._gated else FULL_PPM

    def _rates(self) -> tuple[float, float]:
        """J/cm² and photons per pixel, each per second, with the lights as they are."""
        second = {light: nw * self._share_ppm(light) * 1_000_000_000 for light, nw in self._power_nw.items()}
        return self._in_physical_units(second)

    def _in_physical_units(self, account: dict[str, int]) -> tuple[float, float]:
        """J/cm² and photons per pixel of an account."""
        doses = {light: units * MW_S_PER_UNIT * self._per_mw[light] for light, units in account.items()}
        return sum(doses.values()), sum(dose * self._photons[light] for light, dose in doses.items())

    def _most_exposed(self, squares: Iterable[Square]) -> tuple[float, float]:
        """The largest dose (J/cm²) and the largest photon count among these squares."""
        accounts = [self._in_physical_units(self._accounts[square]) for square in squares if square in self._accounts]
        return max((j for j, _ in accounts), default=0.0), max((n for _, n in accounts), default=0.0)

    def _squares_around(self, x_um: float, y_um: float) -> tuple[Square, ...]:
        """Squares that a disc of light around this stage position touches."""
        edge, radius = self._field_um, self._radius_um
        columns = range(math.floor((x_um - radius) / edge), math.floor((x_um + radius) / edge) + 1)
        rows = range(math.floor((y_um - radius) / edge), math.floor((y_um + radius) / edge) + 1)
        return tuple(
            (i, j)
            for i in columns
            for j in rows
            if math.hypot(_gap(x_um, i * edge, edge), _gap(y_um, j * edge, edge)) < radius
        )


def _gap(value: float, low: float, length: float) -> float:
    """Distance from ``value`` to the interval [low, low + length]."""
    return max(low - value, 0.0, value - low - length)
