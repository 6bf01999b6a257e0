"""How a run folder is opened again: also while it is being written, and after its writer was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.frame import Frame
from smartscope.localization_files.records import Records, localizations_of, read_records
from smartscope.recorder import folder as files
from smartscope.recorder.image_stack import read_planes
from smartscope.recorder.jsonl import JsonLines
from smartscope.recorder.rows import frame_from_row
from smartscope.result import Localizations


class RunReader:
    """One recorded run as it was when opened: ``run`` (run.json), rows of each log, frames with their pixels."""

    def __init__(self, path: Path) -> None:
        """Open a run folder.

        Raises:
            InputError: it is none, or its run.json or a log is damaged.
        """
        self.path = path
        self.run = _read_run(path)
        self.frame_rows = JsonLines(path / files.FRAMES)
        """A row for each frame whose pixels are on disk (``rows.frame_from_row``)."""
        self.decisions = JsonLines(path / files.DECISIONS)
        self.events = JsonLines(path / files.EVENTS)
        self.results = JsonLines(path / files.RESULTS)
        self.processed_rows = JsonLines(path / files.PROCESSED)
        self.super_resolved_rows = JsonLines(path / files.SUPER_RESOLVED)
        self.frames: Sequence[Frame] = _Frames(self)
        """Frames in order; pixels are read when a frame is asked for."""
        self._stores: dict[Path, Any] = {}
        self._molecules: Records | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the run is still going on, or was killed before it could say how it ended."""
        return bool(self.run.get("state") == "running")

    def frame(self, row: Mapping[str, Any]) -> Frame:
        """The frame of one of ``frame_rows``, with its pixels ((0, 0) where the run kept none).

        Raises:
            InputError: its image is not in the folder.
        """
        frame = frame_from_row(row)
        if row["store"] is None:
            return frame
        return replace(frame, pixels=self._plane(self.path / row["store"], row["plane"]))

    def processed(self, row: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """The image, float32, of one of ``processed_rows`` (ADU) or of ``super_resolved_rows`` (photo-electrons).

        Raises:
            InputError: it is gone.
        """
        image: npt.NDArray[np.float32] = self._plane(self.path / "results" / row["store"], row["plane"])
        return image

    def residual_map(self, row: Mapping[str, Any]) -> npt.NDArray[np.float32] | None:
        """(2, h, w) float32, as in ``Result``, to two digits, of one of ``processed_rows``; None where it has none."""
        found = row.get("residual_map")
        return None if found is None else np.array(found, np.float32)

    def localizations(self, row: Mapping[str, Any]) -> Localizations | None:
        """Single molecules of one of ``results``, bit for bit; None where the result was not about them.

        Raises:
            InputError: they are gone.
        """
        if "localizations" not in row:
            return None
        first, count = row["localizations"]
        molecules = self.molecules()
        if first + count > len(molecules):
            raise InputError(
                f"holds {len(molecules)} molecules, frame {row['frame']} needs {first + count}",
                where=str(self.path / files.LOCALIZATIONS),
                remedy="restore the file, or remove later lines of results.jsonl",
            )
        return localizations_of(molecules[first : first + count])

    def molecules(self) -> Records:
        """(N,) records of all single molecules of the run, read where they are looked at.

        Raises:
            InputError: the run has none, or the file is damaged.
        """
        if self._molecules is None:
            self._molecules = read_records(self.path / files.LOCALIZATIONS)
        return self._molecules

    def _plane(self, path: Path, plane: int) -> Any:
        if path not in self._stores:
            self._stores[path] = read_planes(path)
        return self._stores[path][plane].read().result()


class _Frames(Sequence[Frame]):
    """The frames of a run, read one at a time."""

    def __init__(self, run: RunReader) -> None:
        self._run = run

    def __len__(self) -> int:
        return len(self._run.frame_rows)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self._run.frame(row) for row in self._run.frame_rows[index]]
        return self._run.frame(self._run.frame_rows[index])

    def __iter__(self) -> Iterator[Frame]:
        return map(self._run.frame, self._run.frame_rows)


def _read_run(path: Path) -> dict[str, Any]:
    file = path / files.RUN
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "this is no run folder: it has no readable run.json",
            where=str(path),
            remedy="give the folder NAME-YYYYmmdd-HHMMSS that smartscope run made",
        ) from error
    except ValueError:
        run = None
    if not isinstance(run, dict):
        raise InputError("run.json is damaged", where=str(file), remedy="restore it; the other files stand alone")
    return run
