"""ThunderSTORM's CSV: nanometres from the outer corner of the top-left pixel, frames from 1, photons.

Column names as in ThunderSTORM's own sources (``PSFModel.Params``, ``MoleculeDescriptor``; M. Ovesny et al.,
Bioinformatics 30, 2389, 2014). A flat table has ``sigma [nm]`` and no height, one with heights ``z [nm]``,
``sigma1 [nm]`` (along x), ``sigma2 [nm]`` and ``uncertainty_z [nm]``: programs tell the two apart by these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.localization_files.table import MoleculeTable, tells_height
from smartscope.result import Localizations

FLAT = (
    *("id", "frame", "x [nm]", "y [nm]", "sigma [nm]"),
    *("intensity [photon]", "offset [photon]", "bkgstd [photon]", "uncertainty_xy [nm]"),
)
WITH_HEIGHT = (
    *("id", "frame", "x [nm]", "y [nm]", "z [nm]", "sigma1 [nm]", "sigma2 [nm]"),
    *("intensity [photon]", "offset [photon]", "bkgstd [photon]", "uncertainty_xy [nm]", "uncertainty_z [nm]"),
)
NEEDED = ("frame", "x [nm]", "y [nm]")
BEYOND = 1e12
"""Numbers from here on say nothing any more."""
OLDER_NAMES = {"uncertainty [nm]": "uncertainty_xy [nm]"}

_USED = (
    *("x_px", "y_px", "z_nm", "photons", "background", "sigma_x_px", "sigma_y_px"),
    *("x_error_px", "y_error_px", "z_error_nm"),
)

Column = npt.NDArray[np.float64]


class ThunderStormWriter:
    """A file that grows, whole after each ``append``; a context manager. Its first molecules decide on heights."""

    def __init__(self, path: Path, pixel_size_nm: float) -> None:
        """Make the file with its header; raises OSError when it cannot be written."""
        self.written = 0
        """Molecules in the file."""
        self.left_out = 0
        """Molecules with a number that is not finite, or beyond all measure."""
        self._pixel_size_nm = pixel_size_nm
        self._columns: tuple[str, ...] = FLAT
        self._file = path.open("wb")
        self._begin(FLAT)

    def __enter__(self) -> ThunderStormWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, molecules: MoleculeTable) -> None:
        """Write and flush a line for each; raises OSError when the disk does not take them."""
        if not len(molecules):
            return
        if not self.written and self._columns is FLAT and tells_height(molecules.found):
            self._begin(WITH_HEIGHT)
        told = _told(molecules, self._pixel_size_nm)
        values = np.stack([told[name] for name in self._columns[1:]], axis=1)
        values = values[(np.abs(values) < BEYOND).all(axis=1)]
        numbered = np.column_stack([np.arange(self.written + 1, self.written + 1 + len(values)), values])
        line = "%d,%d" + ",%.3f" * (len(self._columns) - 2) + "\n"
        # all in one go takes half the time of np.savetxt; a kernel would be faster still, but compile with the light on
        self._file.write((line * len(values) % tuple(numbered.ravel().tolist())).encode())
        self._file.flush()
        self.written += len(values)
        self.left_out += len(molecules) - len(values)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _begin(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._file.seek(0)
        self._file.truncate()
        self._file.write((",".join(f'"{name}"' for name in columns) + "\n").encode())
        self._file.flush()


def _told(molecules: MoleculeTable, pixel_size_nm: float) -> Mapping[str, Column]:
    """Every column of either kind of table, but the number of the molecule."""
    found = {name: getattr(molecules.found, name).astype(np.float64) for name in _USED}
    sigma_x_nm, sigma_y_nm = found["sigma_x_px"] * pixel_size_nm, found["sigma_y_px"] * pixel_size_nm
    with np.errstate(invalid="ignore"):
        sigma_nm = np.sqrt(sigma_x_nm * sigma_y_nm)
        noise = np.sqrt(np.maximum(found["background"], 0.0))  # of the light alone
        error_px = np.sqrt((found["x_error_px"] ** 2 + found["y_error_px"] ** 2) / 2)
    return {
        "frame": molecules.frame + 1.0,
        "x [nm]": (found["x_px"] + 0.5) * pixel_size_nm,
        "y [nm]": (found["y_px"] + 0.5) * pixel_size_nm,
        "z [nm]": found["z_nm"],
        "sigma [nm]": sigma_nm,
        "sigma1 [nm]": sigma_x_nm,
        "sigma2 [nm]": sigma_y_nm,
        "intensity [photon]": found["photons"],
        "offset [photon]": found["background"],
        "bkgstd [photon]": noise,
        "uncertainty_xy [nm]": error_px * pixel_size_nm,
        "uncertainty_z [nm]": found["z_error_nm"],
    }


def read_thunderstorm(path: Path, pixel_size_nm: float) -> MoleculeTable:
    """A table by ThunderSTORM or a program that writes alike, its columns in any order.

    What the file does not tell is 0, and ``probability`` 1. Lines without a finite place are left out, and a last line
    that was cut.

    Raises:
        InputError: it cannot be read, lacks places or frames, or a line holds no numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns = _read_columns(file, str(path))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path") from error
    except ValueError as error:
        raise InputError(f"is no table of numbers: {error}", where=str(path), remedy="mend that line") from error
    return _molecules(columns, pixel_size_nm)


def _read_columns(file: TextIO, where: str) -> dict[str, Column]:
    names = [name.strip().strip("\"'`") for name in file.readline().split(",")]
    names = [OLDER_NAMES.get(name, name) for name in names]
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(
            f"has no column {', '.join(missing)}",
            where=where,
            allowed=", ".join(WITH_HEIGHT),
            remedy="save the table as ThunderSTORM's CSV, in nm",
        )
    wanted = [name for name in dict.fromkeys((*FLAT[1:], *WITH_HEIGHT[1:])) if name in names]
    rows = _whole_lines(file, len(names))
    if (first := next(rows, None)) is None:
        return {name: np.empty(0) for name in wanted}
    values = np.loadtxt(chain([first], rows), delimiter=",", usecols=[names.index(name) for name in wanted], ndmin=2)
    return dict(zip(wanted, values.T, strict=True))


def _whole_lines(file: TextIO, columns: int) -> Iterator[str]:
    """Lines that hold something; the last one only with its end, or with all its columns."""
    return (line for line in file if line.strip() and (line[-1] == "\n" or line.count(",") == columns - 1))


def _molecules(columns: Mapping[str, Column], pixel_size_nm: float) -> MoleculeTable:
    placed = np.all(np.isfinite(np.stack([columns[name] for name in NEEDED])), axis=0)
    nothing = np.zeros(placed.size)

    def of(*names: str, per: float = 1.0) -> npt.NDArray[np.float32]:
        told = next((columns[name] for name in names if name in columns), nothing)
        return (told[placed] / per).astype(np.float32)

    found = Localizations(
        x_px=(columns["x [nm]"][placed] / pixel_size_nm - 0.5).astype(np.float32),
        y_px=(columns["y [nm]"][placed] / pixel_size_nm - 0.5).astype(np.float32),
        z_nm=of("z [nm]"),
        photons=of("intensity [photon]"),
        background=of("offset [photon]"),
        sigma_x_px=of("sigma1 [nm]", "sigma [nm]", per=pixel_size_nm),
        sigma_y_px=of("sigma2 [nm]", "sigma [nm]", per=pixel_size_nm),
        x_error_px=of("uncertainty_xy [nm]", per=pixel_size_nm),
        y_error_px=of("uncertainty_xy [nm]", per=pixel_size_nm),
        z_error_nm=of("uncertainty_z [nm]"),
        photons_error=of(),
        probability=of() + 1,
        misfit=of(),
    )
    return MoleculeTable(columns["frame"][placed].astype(np.int64) - 1, found)
