"""A run that smartscope recorded, as a movie that knows the settings of each frame."""

from __future__ import annotations

from pathlib import Path

from smartscope.errors import InputError
from smartscope.frame import Pixels, Settings
from smartscope.recorder.reader import RunReader


class RunMovie:
    """A run of smartscope with the settings that each frame was taken with."""

    def __init__(self, folder: Path) -> None:
        self._run = RunReader(folder)
        rows = self._run.frame_rows
        kept = [i for i, row in enumerate(rows) if row["store"] is not None]
        self._kept = kept
        self.shape = self._run.frames[kept[0]].pixels.shape if kept else (0, 0)
        stores = {rows[i]["store"] for i in kept}
        if len(stores) > 1:
            raise InputError(
                f"the run changed its region of interest ({len(stores)} stacks)",
                where=str(folder),
                remedy="replay one of its .ome.zarr folders, copied out of the run",
            )
        ends = [self._run.frames[i].t_end_ns for i in (kept[0], kept[-1])] if len(kept) > 1 else []
        self.interval_ms = (ends[1] - ends[0]) / (len(kept) - 1) / 1e6 if ends else None

    def __len__(self) -> int:
        return len(self._kept)

    def plane(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame."""
        return self._run.frames[self._kept[index]].pixels

    def settings(self, index: int) -> Settings | None:
        """As recorded."""
        return self._run.frames[self._kept[index]].settings

    def close(self) -> None:
        """Nothing stays open."""


def run_folder(place: Path) -> Path | None:
    """The run folder that the path is, or whose frames it is."""
    if (place / "run.json").is_file():
        return place
    return place.parent if place.name.startswith("frames") and (place.parent / "run.json").is_file() else None
