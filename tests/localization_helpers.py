"""Tables of single molecules: as a fit would give them, and any that fit the columns."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smartscope.localization_files.table import MoleculeTable
from smartscope.result import Localizations

RANGES = {
    "x_px": (0.0, 64.0),
    "y_px": (0.0, 48.0),
    "z_nm": (-400.0, 400.0),
    "photons": (200.0, 3000.0),
    "background": (2.0, 20.0),
    "sigma_x_px": (1.1, 1.6),
    "sigma_y_px": (1.1, 1.6),
    "x_error_px": (0.02, 0.2),
    "y_error_px": (0.02, 0.2),
    "z_error_nm": (10.0, 60.0),
    "photons_error": (20.0, 80.0),
    "probability": (0.5, 1.0),
    "misfit": (0.8, 1.3),
}


def molecules(count: int, seed: int = 0, *, heights: bool = False) -> Localizations:
    """``count`` of one frame of (48, 64); flat ones are round and tell no height."""
    random = np.random.default_rng(seed)
    found = Localizations(
        **{name: random.uniform(low, high, count).astype(np.float32) for name, (low, high) in RANGES.items()}
    )
    if heights:
        return found
    nothing = np.zeros(count, np.float32)
    return replace(found, z_nm=nothing, z_error_nm=nothing, sigma_y_px=found.sigma_x_px)


@st.composite
def tables(draw: st.DrawFn, *, heights: bool | None = None, finite: bool = True) -> MoleculeTable:
    """Any molecules in frame order, all plausible in size, or (not ``finite``) any bit pattern."""
    count = draw(st.integers(0, 6))
    told = draw(st.booleans()) if heights is None else heights
    columns: dict[str, Any] = {}
    for name, (low, high) in RANGES.items():
        elements = st.floats(np.float32(low), np.float32(high), width=32) if finite else st.floats(width=32)
        columns[name] = draw(hnp.arrays(np.float32, count, elements=elements))
    found = Localizations(**columns)
    if not told:
        nothing = np.zeros(count, np.float32)
        found = replace(found, z_nm=nothing, z_error_nm=nothing)
    frame = np.sort(draw(hnp.arrays(np.int64, count, elements=st.integers(0, 10**6))))
    return MoleculeTable(frame, found)


def same_bits(a: Localizations, b: Localizations) -> bool:
    """Equal to the last bit, signs of zero and kinds of NaN included."""
    return all(
        getattr(a, item.name).dtype == getattr(b, item.name).dtype == np.float32
        and getattr(a, item.name).tobytes() == getattr(b, item.name).tobytes()
        for item in fields(Localizations)
    )
