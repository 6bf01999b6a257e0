"""SEG and DET of the Cell Tracking Challenge, from label images alone.

SEG: Jaccard index of each true cell and the one mask that covers more than half of it, else 0; mean over cells
(Maška et al., Bioinformatics 30:1609, 2014). DET: what it costs to correct the masks, 5 for each split, 10 for each
miss, 1 for each false one, over the cost of drawing all; Matula et al., PLoS ONE 10:e0144959, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SPLIT, MISSED, FALSE = 5.0, 10.0, 1.0
Labels = npt.NDArray[np.int64]


@dataclass
class MaskScore:
    """Sums over the frames of a movie."""

    jaccards: list[float] = field(default_factory=list)
    cost: float = 0.0
    worst: float = 0.0

    @property
    def seg(self) -> float:
        """0 to 1."""
        return float(np.mean(self.jaccards)) if self.jaccards else 0.0

    @property
    def det(self) -> float:
        """0 to 1."""
        return 1 - min(self.cost, self.worst) / self.worst if self.worst else 0.0

    def outlines(self, truth: Labels, masks: Labels) -> None:
        """Take in a frame of which all cells are outlined, (H, W) both."""
        pairs, names = _overlaps(truth, masks)
        own, sizes = np.bincount(truth.ravel()), np.bincount(masks.ravel())
        for cell in range(1, len(own)):
            if not own[cell]:
                continue
            best = [(pairs[row], mask) for row, (name, mask) in enumerate(names) if name == cell and mask]
            shared, mask = max(best, default=(0, 0))
            half = 2 * shared > own[cell]
            self.jaccards.append(shared / (own[cell] + sizes[mask] - shared) if half else 0.0)

    def markers(self, truth: Labels, masks: Labels) -> None:
        """Take in a frame of which all cells are marked, not necessarily outlined."""
        pairs, names = _overlaps(truth, masks)
        own = np.bincount(truth.ravel())
        cells = [cell for cell in range(1, len(own)) if own[cell]]
        held: dict[int, int] = {}
        taken = set()
        for row, (cell, mask) in enumerate(names):
            if cell and mask and 2 * pairs[row] > own[cell]:
                held[mask] = held.get(mask, 0) + 1
                taken.add(cell)
        masks_there = set(np.unique(masks).tolist()) - {0}
        self.cost += SPLIT * sum(number - 1 for number in held.values())
        self.cost += MISSED * (len(cells) - len(taken)) + FALSE * len(masks_there - set(held))
        self.worst += MISSED * len(cells)


def _overlaps(truth: Labels, masks: Labels) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    wide = int(masks.max()) + 1
    names, counts = np.unique(truth.astype(np.int64).ravel() * wide + masks.ravel(), return_counts=True)
    return counts, [(int(name) // wide, int(name) % wide) for name in names]
