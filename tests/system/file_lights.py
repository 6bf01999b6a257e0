"""Lights whose state lives in a file, as a real laser's lives outside the computer; told to misbehave by other files.

A ``smartscope.lights`` plug-in for tests, named ``file_lights:FileLights``; ``setup.token`` is the folder.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

from smartscope.errors import DeviceError
from smartscope.ports import LightsSetup

HIGHEST = 7
"""Slot that keeps the highest power that any light ever had."""


class OutsideState:
    """Powers of up to seven lights in ``FOLDER/powers``, memory-mapped: visible to every process at once."""

    def __init__(self, folder: Path) -> None:
        path = folder / "powers"
        if not path.exists():
            path.write_bytes(bytes(64))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 64)

    def get(self, slot: int) -> float:
        return float(struct.unpack_from("d", self._map, 8 * slot)[0])

    def set(self, slot: int, power_mw: float) -> None:
        struct.pack_into("d", self._map, 8 * HIGHEST, max(power_mw, self.get(HIGHEST)))
        struct.pack_into("d", self._map, 8 * slot, power_mw)

    def close(self) -> None:
        self._map.close()


class FileLights:
    """Obeys, unless the folder holds a file that says otherwise.

    ``block_LIGHT`` and ``block_dark_LIGHT``: set_power or dark do their work, then hang while the file is there;
    ``fail_when_unblocked``: and then raise; ``broken``: both raise; ``glued``: dark does nothing; ``cannot_open``.
    """

    def __init__(self, setup: LightsSetup) -> None:
        self._folder = Path(setup.token)
        if (self._folder / "cannot_open").exists():
            raise DeviceError("port is busy", where="file_lights")
        print("a plug-in that prints shall not disturb the protocol")
        self._state = OutsideState(self._folder)
        # the number that ends a light's name is its slot, whichever lights are opened
        self._slots = {light.name: int(light.name[-1]) for light in setup.lights}

    def set_power(self, light: str, power_mw: float) -> float:
        if (self._folder / "broken").exists():
            raise DeviceError("does not answer", where=light)
        self._state.set(self._slots[light], power_mw)
        while (self._folder / f"block_{light}").exists():
            time.sleep(0.001)
        if (self._folder / "fail_when_unblocked").exists():
            raise DeviceError("was interrupted", where=light)
        return self._state.get(self._slots[light])

    def read_back(self) -> dict[str, float]:
        return {light: self._state.get(slot) for light, slot in self._slots.items()}

    def dark(self) -> None:
        if (self._folder / "broken").exists():
            raise DeviceError("does not answer")
        for light, slot in self._slots.items():
            if not (self._folder / "glued").exists():
                self._state.set(slot, 0.0)
            while (self._folder / f"block_dark_{light}").exists():
                time.sleep(0.001)

    def close(self) -> None:
        self.dark()
        self._state.close()
