"""Single molecules of many frames in one table, as files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.result import Localizations


@dataclass(frozen=True, slots=True)
class MoleculeTable:
    """N molecules. One origin for all frames: the centre of the top-left pixel of one of them."""

    frame: npt.NDArray[np.int64]
    """(N,) index of the frame that each was found in, from 0."""
    found: Localizations

    def __len__(self) -> int:
        return len(self.frame)

    def shifted(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> MoleculeTable:
        """The same molecules further along x and y; one shift for all, or (N,)."""
        x = (self.found.x_px + np.asarray(x_px, np.float64)).astype(np.float32)
        y = (self.found.y_px + np.asarray(y_px, np.float64)).astype(np.float32)
        return MoleculeTable(self.frame, replace(self.found, x_px=x, y_px=y))


def of_frame(index: int, found: Localizations) -> MoleculeTable:
    """The molecules of one frame."""
    return MoleculeTable(np.full(len(found), index, np.int64), found)


def joined(tables: Sequence[MoleculeTable]) -> MoleculeTable:
    """One table after the other, at least one."""
    columns: dict[str, Any] = {
        item.name: np.concatenate([getattr(table.found, item.name) for table in tables])
        for item in fields(Localizations)
    }
    return MoleculeTable(np.concatenate([table.frame for table in tables]), Localizations(**columns))


def tells_height(found: Localizations) -> bool:
    """Whether these molecules come from a point spread function that tells their height."""
    return bool(found.z_nm.any() or found.z_error_nm.any())
