"""What is known of the fringes: where each carrier lies, how far it is shifted in each frame, how deep it is."""

from __future__ import annotations

from dataclasses import dataclass

from smartscope.optics.pattern_layout import Doubles


@dataclass(frozen=True, slots=True)
class Parameters:
    """Of one stack. Illumination: 1 + Σ m cos(2π k·r / field + φ), r from the outer corner of the top-left pixel."""

    carriers: Doubles
    """(angles, orders, 2) kx, ky in cycles per field."""
    phases_rad: Doubles
    """(angles, phases, orders)"""
    modulation: Doubles
    """(angles, orders), 0 to 1."""
    gains: Doubles
    """(angles, phases) brightness of each frame over the mean: bleaching and flicker."""
