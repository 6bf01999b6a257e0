"""How far the sample has drifted: each block of time laid over the picture that all molecules before it make.

A block's correlation with the picture is gathered frame by frame: each molecule adds the small square of the picture
around where it was expected. Molecules that lie where others lay before raise a peak; its place is what the expectation
missed. This is the cross-correlation of rendered blocks (Wang et al., Opt. Express 22:15982 (2014)) at the few shifts
that can be, without transforms; the picture holds all earlier blocks, so each is laid over all before it. The error is
the jackknife's over eight parts of the block, each a stretch of time of its own.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.localization.course import Course, Knot
from smartscope_models.localization.molecules import Doubles, Molecules

BIN_NM = 20.0
MOST_BINS = 2048
"""Edge of the square, in the middle of the field, that is looked at."""
REACH = 9
"""Bins by which a block may miss its expectation."""
PARTS = 8
KERNEL_BINS = 1.25
"""Width of the Gaussian under which the peak is centred; near that of the peak."""
STEPS = 50
HEIGHT = 5.5
"""Standard deviations by which a peak must stand out of what is farther off."""
FEWEST = 500
"""Molecules in a block, below which it says nothing."""
PATIENCE = 3.0
"""Blocks that wait for enough molecules, or for a clear peak, grow to so many times their length."""
WIDE = 4
"""After a block that was given up, the next looks this much wider, in bins so much coarser: someone hit the table."""
CLEAR_BINS = 0.5
"""A peak whose place is less sure than this is none."""
GUARD_S = 0.5
"""Molecules this soon after the newest in the picture may be the same ones, still on: they would tell of no drift."""

_PLACES = np.arange(2 * REACH + 1)
_KERNEL = np.exp(-0.5 * ((_PLACES[:, None] - _PLACES) / KERNEL_BINS) ** 2)
_SMOOTHING = _KERNEL / _KERNEL.sum(1, keepdims=True)


class Drift:
    """Takes the molecules of each frame, and gives ``course`` a knot at the end of each block that tells one."""

    def __init__(self, width_nm: float, height_nm: float, block_s: float) -> None:
        columns, rows = (max(min(math.ceil(edge / BIN_NM), MOST_BINS), WIDE) for edge in (width_nm, height_nm))
        self._left_nm, self._top_nm = (width_nm - columns * BIN_NM) / 2, (height_nm - rows * BIN_NM) / 2
        self._picture = np.zeros((rows, columns), np.uint16)
        self._coarse: npt.NDArray[np.uint32] | None = None
        self._patches = np.zeros((PARTS, 2 * REACH + 1, 2 * REACH + 1))
        self._block_s, self.course = block_s, Course()
        self._jump_nm = (0.0, 0.0)
        self._placed, self._newest_s = 0, -math.inf
        self._picture_variance = 0.0  # nm^2 per axis, of where the picture lies: what its blocks missed is in it
        self._begin(math.nan)

    def expect(self, found: Molecules) -> None:
        """Lay the molecules of a new frame over the picture where they are expected; ends the block when it is time."""
        if math.isnan(self._begun_s):
            self._begin(found.t_s)
        taken = len(found)
        if self.course.knots:
            part = int((found.t_s - self._begun_s) / self._block_s * PARTS) % PARTS
            taken = self._lay_over(found, self._patches[part]) if found.t_s > self._newest_s + GUARD_S else 0
        self._taken += taken
        self._t_sum += taken * found.t_s
        if found.t_s >= self._due_s:
            self._end(found.t_s)

    def settle(self, found: Molecules, dx_nm: float, dy_nm: float) -> None:
        """Put molecules whose drift is known into the picture."""
        self._placed += _place(self._picture, *self._bins(found, dx_nm, dy_nm))
        self._newest_s = max(self._newest_s, found.t_s)

    def warm_up(self, few: Molecules) -> None:
        """Compile; not for an object in use."""
        self._lay_over(few, self._patches[0])
        self._coarse = _coarse(self._picture)
        self._lay_over(few, self._patches[0])
        self.settle(few, 0.0, 0.0)
        _peak(self._patches[0])

    def _expected(self, t_s: float) -> tuple[float, float]:
        dx_nm, dy_nm = self.course.at(t_s)
        return dx_nm + self._jump_nm[0], dy_nm + self._jump_nm[1]

    def _lay_over(self, found: Molecules, patch: Doubles) -> int:
        x, y = self._bins(found, *self._expected(found.t_s))
        if self._coarse is None:
            return int(_lay_over(self._picture, x, y, patch))
        return int(_lay_over(self._coarse, x / WIDE, y / WIDE, patch))

    def _bins(self, found: Molecules, dx_nm: float, dy_nm: float) -> tuple[Doubles, Doubles]:
        return (found.x_nm - (self._left_nm + dx_nm)) / BIN_NM, (found.y_nm - (self._top_nm + dy_nm)) / BIN_NM

    def _begin(self, t_s: float) -> None:
        self._begun_s, self._due_s = t_s, t_s + self._block_s
        self._taken, self._t_sum = 0, 0.0
        self._patches[:] = 0

    def _end(self, t_s: float) -> None:
        """A knot if the block tells one; else it goes on, or is given up and the next looks farther."""
        told = self._taken >= FEWEST and (self._add_first(t_s) if not self.course.knots else self._add_next())
        if told:
            self._begin(t_s)
        elif t_s < self._begun_s + PATIENCE * self._block_s:
            self._due_s += self._block_s
        else:
            wide = self._coarse is None and self._taken >= FEWEST and self.course.knots
            self._coarse, self._jump_nm = _coarse(self._picture) if wide else None, (0.0, 0.0)
            self._begin(t_s)

    def _add_first(self, t_s: float) -> bool:
        """The first block is where the drift is counted from; all of it settles as it is."""
        self.course.add(Knot(self._t_sum / self._taken, 0.0, 0.0, 0.0), settled_s=t_s)
        return True

    def _add_next(self) -> bool:
        missed = _missed(self._patches)
        if missed is None:
            return False
        bin_nm = BIN_NM if self._coarse is None else BIN_NM * WIDE
        x_nm, y_nm, error_nm = (bin_nm * value for value in missed)
        if self._coarse is not None:  # so far it has jumped; the next block tells finely
            self._coarse, self._jump_nm = None, (x_nm, y_nm)
            return True
        mean_s, share = self._t_sum / self._taken, self._taken / max(self._placed, 1)
        dx, dy = self._expected(mean_s)
        stated_nm = math.sqrt(error_nm**2 * (1 + share) + self._picture_variance)
        self._picture_variance += (error_nm * share / (1 + share)) ** 2
        self.course.add(Knot(mean_s, dx + x_nm, dy + y_nm, stated_nm))
        self._jump_nm = (0.0, 0.0)
        return True


def _missed(patches: Doubles) -> tuple[float, float, float] | None:
    """(x, y, error) bins by which the block lies off its expectation; None where no peak is clear."""
    whole = patches.sum(0)
    column, row, height = _peak(whole)
    if height < HEIGHT or max(abs(column), abs(row)) > REACH - 2:
        return None
    without = np.array([_centred(whole - patch, column, row) for patch in patches if patch.any()])
    if len(without) < PARTS // 2:
        return None
    variance = (len(without) - 1) * without.var(axis=0)
    error = math.sqrt(float(variance.mean()))
    # the picture's molecules lie where the block's would, had it not moved: the peak is on the other side
    return (-column, -row, error) if error <= CLEAR_BINS else None


def _coarse(picture: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint32]:
    """The same in bins ``WIDE`` times as large."""
    rows, columns = picture.shape[0] // WIDE, picture.shape[1] // WIDE
    blocks = picture[: rows * WIDE, : columns * WIDE].reshape(rows, WIDE, columns, WIDE)
    return np.asarray(blocks.sum((1, 3), dtype=np.uint32))


def _peak(patch: Doubles) -> tuple[float, float, float]:
    """(column, row) of the peak from the middle, and its height in standard deviations of what is farther off."""
    smooth = _SMOOTHING @ patch @ _SMOOTHING.T
    row, column = divmod(int(np.argmax(smooth)), len(smooth))
    apart = (_PLACES - row)[:, None] ** 2 + (_PLACES - column) ** 2
    rest = smooth[apart > (4 * KERNEL_BINS) ** 2]
    height = float(smooth[row, column] - rest.mean()) / max(float(rest.std()), 1e-300)
    across, down = _centred(patch, float(column - REACH), float(row - REACH))
    return float(across), float(down), height


@njit(nogil=True, cache=True)
def _place(picture, x, y):  # type: ignore[no-untyped-def]
    """Count points, in bins, into ``picture`` (H, W) uint16; returns how many lie in it."""
    height, width = picture.shape
    placed = 0
    for n in range(len(x)):
        column, row = math.floor(x[n]), math.floor(y[n])
        if 0 <= column < width and 0 <= row < height and picture[row, column] < 65535:
            picture[row, column] += 1
            placed += 1
    return placed


@njit(nogil=True, cache=True)
def _lay_over(picture, x, y, patch):  # type: ignore[no-untyped-def]
    """Add to ``patch`` (2 R + 1, 2 R + 1) what of ``picture`` lies around each point; returns how many lie in it."""
    height, width = picture.shape
    taken = 0
    for n in range(len(x)):
        left, top = math.floor(x[n]) - REACH, math.floor(y[n]) - REACH
        if left < 0 or top < 0 or left + 2 * REACH >= width or top + 2 * REACH >= height:
            continue
        taken += 1
        for row in range(2 * REACH + 1):
            source, target = picture[top + row], patch[row]
            for column in range(2 * REACH + 1):
                target[column] += source[left + column]
    return taken


@njit(nogil=True, cache=True)
def _centred(patch, column, row):  # type: ignore[no-untyped-def]
    """(column, row) from the middle of the peak near a place, by mean shift over what stands above the lowest bin."""
    lowest = patch.min()
    for _ in range(STEPS):
        total, across, down = 1e-300, 0.0, 0.0
        for i in range(-REACH, REACH + 1):
            for j in range(-REACH, REACH + 1):
                apart = ((j - column) ** 2 + (i - row) ** 2) / KERNEL_BINS**2
                if apart < 16:
                    weight = (patch[i + REACH, j + REACH] - lowest) * math.exp(-0.5 * apart)
                    total += weight
                    across += weight * j
                    down += weight * i
        moved = abs(across / total - column) + abs(down / total - row)
        column, row = across / total, down / total
        if moved < 1e-4:
            break
    return column, row
