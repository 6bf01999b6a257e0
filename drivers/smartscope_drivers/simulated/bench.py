"""Only this file knows where simulated light lives: in a memory-mapped file, outside any process.

A real laser stays on when the computer crashes; so does this one. Whoever owns a light writes each change of its power
with its time; the world reads them to integrate the light truly delivered, and a test may look after ``kill -9``.

Layout, little-endian int64 and float64: for each light ``[count, 0]`` and then a ring of ``RING`` pairs
``[t_ns, mW]``. A change is visible once ``count`` covers it: the pair is written first, the count (8 aligned bytes,
one store) after it, so a writer killed in between leaves nothing half-said. A file of zeros means: off since ever.
One writer at a time per light is the owner's duty; readers need no lock.
"""

from __future__ import annotations

import bisect
import mmap
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from smartscope.errors import DeviceError

RING = 1024
"""Changes of each light in the file; all but the oldest can be trusted."""
_STALE_S = 24 * 3600.0
_BLOCK = 2 * (RING + 1)


class LightBench:
    """The simulated lights of one token, as seen from one process.

    Args:
        token: names the file; processes with the same token look at the same lights.
        lights: names of all lights of the microscope, in the order of its configuration.
        folder: where the file lies; the machine's folder for temporary files.

    Raises:
        DeviceError: the token cannot name a file.
    """

    def __init__(self, token: str, lights: Sequence[str], folder: Path | None = None) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_\-]{1,64}", token):
            raise DeviceError(f"token {token!r} cannot name a light bench", allowed="1 to 64 of A-Z a-z 0-9 _ -")
        folder = folder or Path(tempfile.gettempdir())
        _remove_stale(folder)
        self.path = folder / f"smartscope-lights-{token}.bin"
        self._index = {name: place for place, name in enumerate(lights)}
        size = 8 * _BLOCK * max(1, len(lights))
        with self.path.open("a+b") as file:
            if self.path.stat().st_size < size:
                file.truncate(size)
            self._memory = mmap.mmap(file.fileno(), size)
        self._integers = np.frombuffer(self._memory, "<i8").reshape(-1, RING + 1, 2)
        self._floats = np.frombuffer(self._memory, "<f8").reshape(-1, RING + 1, 2)

    @property
    def lights(self) -> tuple[str, ...]:
        """Names of all lights on the bench."""
        return tuple(self._index)

    def _place(self, light: str) -> int:
        if light not in self._index:
            raise DeviceError(f"no light {light!r} on the bench", allowed=", ".join(self._index) or "none")
        return self._index[light]

    def set_power(self, light: str, power_mw: float, t_ns: int) -> None:
        """Write a change of power; the same power again is no change.

        Raises:
            DeviceError: no such light.
        """
        place = self._place(light)
        if self.power_mw(light) == power_mw:
            return
        count = int(self._integers[place, 0, 0])
        slot = 1 + count % RING
        self._integers[place, slot, 0] = t_ns
        self._floats[place, slot, 1] = power_mw
        self._integers[place, 0, 0] = count + 1

    def power_mw(self, light: str) -> float:
        """Power now.

        Raises:
            DeviceError: no such light.
        """
        _, changes = self.changes_since(light, -1)
        return changes[-1][1] if changes else 0.0

    def changes_since(self, light: str, known: int) -> tuple[int, list[tuple[int, float]]]:
        """(count, changes after the first ``known``), each (t_ns, mW), oldest first; -1: only the last one.

        Of more than ``RING - 1`` changes the newest are returned.

        Raises:
            DeviceError: no such light.
        """
        place = self._place(light)
        count = int(self._integers[place, 0, 0])
        block = self._integers[place].copy()
        # the writer may have gone on meanwhile, and be at the pair after the last one that it counted
        overwritten = int(self._integers[place, 0, 0]) - RING + 1
        first = max(count - 1 if known < 0 else known, overwritten, 0)
        slots = 1 + np.arange(first, count) % RING
        return count, list(zip(block[slots, 0].tolist(), block.view("<f8")[slots, 1].tolist(), strict=True))

    def power_history(self, light: str, t0_ns: int, t1_ns: int) -> list[tuple[int, int, float]]:
        """Pieces (from_ns, to_ns, mW) of constant power that together cover [t0, t1].

        Raises:
            DeviceError: no such light.
        """
        _, changes = self.changes_since(light, 0)
        times = [t_ns for t_ns, _ in changes]
        first = bisect.bisect_right(times, t0_ns)
        inside = [t_ns for t_ns in times[first:] if t_ns < t1_ns]
        edges = [t0_ns, *inside, t1_ns]
        powers = [power for _, power in changes[max(0, first - 1) : first + len(inside)]]
        if first == 0:
            powers.insert(0, 0.0)  # off before the first change that is remembered
        return [(a, b, power) for a, b, power in zip(edges, edges[1:], powers, strict=False)]

    def read_back(self) -> Mapping[str, float]:
        """Power of each light, mW."""
        return {light: self.power_mw(light) for light in self._index}

    def close(self) -> None:
        """Let go of the file, which stays, as do the lights."""
        del self._integers, self._floats
        self._memory.close()

    def remove(self) -> None:
        """Close, and delete the file: nobody else knows this token."""
        self.close()
        with suppress(OSError):  # Windows keeps a file that is still open elsewhere
            self.path.unlink()


def _remove_stale(folder: Path) -> None:
    """Delete benches that nobody has touched for a day."""
    for path in folder.glob("smartscope-lights-*.bin"):
        with suppress(OSError):  # another process was quicker, or still has it open
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()
