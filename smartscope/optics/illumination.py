"""Only this file knows how power set at a light becomes irradiance, dose and photons in the sample."""

from __future__ import annotations

import math

PLANCK_J_S = 6.62607015e-34
LIGHT_SPEED_M_S = 299_792_458.0
CM2_PER_UM2 = 1e-8


def photons_per_joule(wavelength_nm: float) -> float:
    """Photons in one joule of light, lambda / (h c)."""
    return wavelength_nm * 1e-9 / (PLANCK_J_S * LIGHT_SPEED_M_S)


def disc_area_cm2(diameter_um: float) -> float:
    """Area of the evenly lit disc."""
    return math.pi * (diameter_um / 2) ** 2 * CM2_PER_UM2


def irradiance_w_per_cm2(power_mw: float, transmission: float, diameter_um: float) -> float:
    """Irradiance in the sample: the part of the power that arrives there over the lit area."""
    return power_mw * 1e-3 * transmission / disc_area_cm2(diameter_um)


def dose_j_per_cm2(energy_mj: float, transmission: float, diameter_um: float) -> float:
    """Dose in the sample from the energy (power x time, mW s) that left the light."""
    return energy_mj * 1e-3 * transmission / disc_area_cm2(diameter_um)


def photons_per_pixel(dose_j_per_cm2: float, wavelength_nm: float, pixel_size_nm: float) -> float:
    """Excitation photons that a dose brings to the sample area of one camera pixel."""
    pixel_cm2 = (pixel_size_nm * 1e-3) ** 2 * CM2_PER_UM2
    return dose_j_per_cm2 * photons_per_joule(wavelength_nm) * pixel_cm2


def collected_fraction(numerical_aperture: float, refractive_index: float) -> float:
    """Part of an isotropic emitter's light within the objective's cone, (1 - cos a) / 2 with NA = n sin a."""
    sine = min(1.0, numerical_aperture / refractive_index)
    return (1 - math.sqrt(1 - sine * sine)) / 2
