"""A run's results as files of other programs, made from its folder alone: ``smartscope export``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.localization_files.picasso import picasso_file
from smartscope.localization_files.records import table_of
from smartscope.localization_files.table import MoleculeTable
from smartscope.localization_files.thunderstorm import ThunderStormWriter
from smartscope.recorder import folder as files
from smartscope.recorder.reader import RunReader
from smartscope.track_files.forms import TRACK_FORMATS, WrittenTracks
from smartscope.tracks_of_run import tracks_of_run
from smartscope.whole_files import written_whole

BLOCK = 1 << 16
"""Molecules held at once."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    molecules: int
    left_out: int
    """Molecules with a number that is not finite."""

    @property
    def line(self) -> str:
        """One line for the terminal."""
        said = f"{self.path}: {self.molecules:,} molecules"
        return f"{said}, {self.left_out:,} left out because a number is not finite" if self.left_out else said


@dataclass(frozen=True, slots=True)
class Molecules:
    """The single molecules of a run, places counted from the corner of its first frame that has any."""

    run: RunReader
    pixel_size_nm: float
    drift: Drift | None
    """What to take off."""

    def blocks(self) -> Iterator[MoleculeTable]:
        """All in order of time, some at a time."""
        records = self.run.molecules()
        for first in range(0, len(records), BLOCK):
            origin = int(records["roi_x"][0]), int(records["roi_y"][0])
            table = table_of(records[first : first + BLOCK], origin)
            if self.drift is not None:
                x_nm, y_nm = self.drift.at(table.frame)
                table = table.shifted(-x_nm / self.pixel_size_nm, -y_nm / self.pixel_size_nm)
            yield table


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the specimen had moved, by frame; each of length N >= 1, one for each new estimate of the run's."""

    frame: npt.NDArray[np.float64]
    x_nm: npt.NDArray[np.float64]
    y_nm: npt.NDArray[np.float64]

    def at(self, frame: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Along x and y, nm; on straight lines between estimates, and held before the first and after the last."""
        return np.interp(frame, self.frame, self.x_nm), np.interp(frame, self.frame, self.y_nm)


def export_run(
    folder: Path, form: str, output: Path | None = None, *, drift_corrected: bool = False
) -> Exported | WrittenTracks:
    """Write the results of a run, also of one that was killed or goes on, in one of ``FORMATS``.

    Without ``output`` the file goes to the run's folder ``exports``.

    Raises:
        InputError: the folder is no run, has no such results or tells no drift, or the file cannot be written.
    """
    if form in TRACK_FORMATS:
        return _export_tracks(folder, form, output, drift_corrected=drift_corrected)
    run, (suffix, write) = RunReader(folder), MOLECULE_FORMATS[form]
    molecules = Molecules(run, _pixel_size_nm(run), _drift(run) if drift_corrected else None)
    run.molecules()  # refused before a folder is made
    if output is None:
        output = folder / "exports" / f"localizations{'_drift_corrected' if drift_corrected else ''}{suffix}"
        output.parent.mkdir(exist_ok=True)
    return write(molecules, output)


def _export_tracks(folder: Path, form: str, output: Path | None, *, drift_corrected: bool) -> WrittenTracks:
    if drift_corrected:
        raise InputError(
            "drift is taken off single molecules only", where=form, remedy="export without --drift-corrected"
        )
    run, (name, write) = RunReader(folder), TRACK_FORMATS[form]
    table = tracks_of_run(run, _pixel_size_nm(run) / 1000)
    if output is None:
        output = folder / "exports" / name
        output.parent.mkdir(exist_ok=True)
    return write(table, output, folder / files.RESULTS)


def _thunderstorm(molecules: Molecules, output: Path) -> Exported:
    source = molecules.run.path / files.LOCALIZATIONS
    with written_whole(output, source) as part, ThunderStormWriter(part, molecules.pixel_size_nm) as writer:
        for block in molecules.blocks():
            writer.append(block)
    return Exported(output, writer.written, writer.left_out)


def _picasso(molecules: Molecules, output: Path) -> Exported:
    run, source = molecules.run, molecules.run.path / files.LOCALIZATIONS
    rows = run.frame_rows
    _, _, width, height = rows[0]["roi"] if len(rows) else (0, 0, 1, 1)
    frames = rows[-1]["index"] + 1 if len(rows) else 1
    facts = {
        "Pixelsize": molecules.pixel_size_nm,
        "Run": run.path.name,
        "Drift corrected": molecules.drift is not None,
    }
    with picasso_file(output, source, (height, width), frames, facts) as writer:
        for block in molecules.blocks():
            writer.append(block)
    return Exported(output, writer.written, writer.left_out)


MOLECULE_FORMATS: Mapping[str, tuple[str, Callable[[Molecules, Path], Exported]]] = {
    "thunderstorm": (".csv", _thunderstorm),
    "picasso": (".hdf5", _picasso),
}
"""Name → ending of the file, and what writes it."""
FORMATS = (*MOLECULE_FORMATS, *TRACK_FORMATS)


def _pixel_size_nm(run: RunReader) -> float:
    try:
        return float(run.run["config"]["microscope"]["camera"]["pixel_size_nm"])
    except KeyError as error:
        raise InputError(
            f"run.json tells no pixel size: it has no {error.args[0]}",
            where=str(run.path / files.RUN),
            remedy="the run ended before its microscope was open; export another",
        ) from error


def _drift(run: RunReader) -> Drift:
    told = [
        (row["frame"], row["quality"]["drift_x_nm"], row["quality"]["drift_y_nm"])
        for row in run.results
        if "drift_x_nm" in row["quality"]
    ]
    if not told:
        raise InputError(
            "no result of this run tells a drift",
            where=str(run.path),
            remedy="export without --drift-corrected, or run with the model localization_meter",
        )
    frame, x_nm, y_nm = np.array(told, np.float64).T
    new = np.r_[True, (np.diff(x_nm) != 0) | (np.diff(y_nm) != 0)]  # between estimates the last one is repeated
    return Drift(frame[new], x_nm[new], y_nm[new])
