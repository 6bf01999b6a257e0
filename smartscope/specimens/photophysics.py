"""Only this file knows what light does to a fluorophore: excite it, and sometimes destroy it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.optics.illumination import photons_per_joule

Fractions = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fluorophore:
    """One dye, far from saturation: every rate is proportional to the irradiance."""

    cross_section_cm2: float
    """For absorption at the peak; 3.82e-21 times the molar extinction coefficient in 1/(M cm) (Lakowicz, ch. 2)."""
    quantum_yield: float
    """Photons emitted per photon absorbed."""
    bleaching_yield: float
    """Molecules destroyed per photon absorbed (Patterson et al., Biophys. J. 73 (1997) 2782)."""
    excitation_nm: float
    """Peak of the excitation spectrum."""
    excitation_width_nm: float
    """Standard deviation of the spectrum, taken as Gaussian."""

    def absorbed(self, dose_j_per_cm2: float, wavelength_nm: float) -> float:
        """Photons that one molecule absorbs from a dose: cross-section x dose x photons per joule."""
        off_peak = (wavelength_nm - self.excitation_nm) / self.excitation_width_nm
        cross_section = self.cross_section_cm2 * math.exp(-0.5 * off_peak * off_peak)
        return cross_section * dose_j_per_cm2 * photons_per_joule(wavelength_nm)

    def emitted(self, dose_j_per_cm2: float, wavelength_nm: float) -> float:
        """Photons that one molecule emits, in all directions."""
        return self.quantum_yield * self.absorbed(dose_j_per_cm2, wavelength_nm)

    def bleach(self, remaining: Fractions, dose_j_per_cm2: Fractions, wavelength_nm: float) -> None:
        """Take from each pool (N,) what a dose (N,) destroys: first order in photons absorbed, hence exponential."""
        per_j_per_cm2 = self.bleaching_yield * self.absorbed(1.0, wavelength_nm)
        remaining *= np.exp(-per_j_per_cm2 * dose_j_per_cm2)


GREEN_PROTEIN = Fluorophore(
    cross_section_cm2=3.82e-21 * 56_000,  # EGFP: extinction 56,000 1/(M cm), quantum yield 0.6
    quantum_yield=0.6,
    bleaching_yield=2.2e-6,  # a third of EGFP's, as of the more stable green proteins: half is left after 600 J/cm2
    excitation_nm=488.0,
    excitation_width_nm=20.0,
)

FAR_RED_DYE = Fluorophore(
    cross_section_cm2=3.82e-21 * 270_000,  # Alexa Fluor 647: extinction 270,000 1/(M cm), quantum yield 0.33
    quantum_yield=0.33,
    bleaching_yield=1e-6,  # of an ensemble; single molecules bleach as `specimens.switching` says
    excitation_nm=650.0,
    excitation_width_nm=25.0,
)
