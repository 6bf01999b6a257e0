"""Picasso's HDF5: a compound dataset ``locs`` in pixels from the top-left pixel's centre, frames from 0, and its YAML.

Field names, types and facts as Picasso 0.11 writes and asks for them (``picasso.localize.LOCALIZATION_COLUMNS``,
``picasso.lib.ensure_sanity``; J. Schnitzbauer et al., Nature Protocols 12, 1198, 2017). Fields of its own fitter that
we do not have (net gradient, distance from its z calibration) are left out, and it asks for none of them.
``probability`` and ``misfit`` are ours; it shows and filters them like any other.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

import smartscope
from smartscope.errors import InputError
from smartscope.localization_files.table import MoleculeTable, joined, tells_height
from smartscope.result import Localizations
from smartscope.whole_files import written_whole

FIELDS = {
    "x": "x_px",
    "y": "y_px",
    "photons": "photons",
    "sx": "sigma_x_px",
    "sy": "sigma_y_px",
    "bg": "background",
    "lpx": "x_error_px",
    "lpy": "y_error_px",
    "photons_unc": "photons_error",
    "probability": "probability",
    "misfit": "misfit",
}
"""Picasso's name → ours; both in the same units."""
HEIGHT_FIELDS = {"z": "z_nm", "lpz": "z_error_nm"}
"""Only where there are heights."""
Locs = npt.NDArray[np.void]
NEEDED = ("frame", "x", "y", "lpx", "lpy")
BLOCK = 1 << 16
"""Molecules written at once."""
_CHUNK = 1 << 12


class PicassoWriter:
    """The dataset, growing; it holds little more than ``BLOCK`` molecules. Its first ones decide on heights."""

    def __init__(self, file: Any) -> None:
        """``file``: an open ``h5py.File``, as ``picasso_file`` gives it."""
        self.written = 0
        self.left_out = 0
        """Molecules with a number that is not finite: Picasso would not take them."""
        self.frames = 0
        """Up to the last frame with a molecule."""
        self.extent_px = (1, 1)
        """(H, W) that all places are below: Picasso drops what is not."""
        self._file = file
        self._dataset: Any = None
        self._waiting: list[MoleculeTable] = []
        self._held = 0

    def append(self, molecules: MoleculeTable) -> None:
        """Take molecules; on disk when a block is full, or with ``flush``."""
        self._waiting.append(molecules)
        self._held += len(molecules)
        if self._held >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Put what was taken on disk; the file is whole when this returns. Raises OSError."""
        if self._held:
            molecules = joined(self._waiting)
            if self._dataset is None:
                self._begin(heights=tells_height(molecules.found))
            self._write(_locs(molecules, self._dataset.dtype))
        self._waiting, self._held = [], 0
        self._file.flush()

    def finish(self) -> None:
        """Flush; without a molecule the dataset is there, too. Raises OSError."""
        if self._dataset is None and not self._held:
            self._begin(heights=False)
        self.flush()

    def _begin(self, *, heights: bool) -> None:
        self._dataset = self._file.create_dataset("locs", (0,), _dtype(heights), maxshape=(None,), chunks=(_CHUNK,))

    def _write(self, locs: Locs) -> None:
        finite = np.isfinite(np.stack([locs[name] for name in locs.dtype.names or ()])).all(axis=0)
        self.left_out += int(np.count_nonzero(~finite))
        if not len(locs := locs[finite]):
            return
        self._dataset.resize((self.written + len(locs),))
        self._dataset[self.written :] = locs
        self.written += len(locs)
        self.frames = max(self.frames, int(locs["frame"].max()) + 1)
        height, width = (max(0, int(locs[axis].max())) + 1 for axis in ("y", "x"))
        self.extent_px = (max(self.extent_px[0], height), max(self.extent_px[1], width))


@contextmanager
def picasso_file(
    path: Path, source: Path, shape: tuple[int, int], frames: int, facts: Mapping[str, Any]
) -> Iterator[PicassoWriter]:
    """``path`` and the YAML beside it, both whole or not at all.

    ``shape`` (H, W) and ``frames`` are the movie's, widened where molecules lie beyond; ``facts`` must hold
    ``Pixelsize`` (nm) and may hold anything that YAML can say. ``source`` must not be overwritten.

    Raises:
        InputError: h5py is missing, the name does not end in .hdf5, or the files cannot be written.
    """
    h5py = _h5py()
    if path.suffix != ".hdf5":
        raise InputError("Picasso opens .hdf5 files only", where=str(path), remedy=f"name it {path.stem}.hdf5")
    with written_whole(path.with_suffix(".yaml"), source) as facts_part, written_whole(path, source) as part:
        with h5py.File(part, "w") as file:
            writer = PicassoWriter(file)
            yield writer
            writer.finish()
            height, width = (max(pair) for pair in zip(shape, writer.extent_px, strict=True))
            movie = {"Frames": max(frames, writer.frames), "Height": height, "Width": width}
            documents = [{"Generated by": f"smartscope {smartscope.__version__}", **movie, **facts}]
            file.create_dataset("metadata", data=json.dumps(documents))  # a file that lost its YAML opens, too
        facts_part.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")


def read_picasso(path: Path) -> tuple[MoleculeTable, dict[str, Any]]:
    """Molecules, and the facts about them: all documents of the YAML, later ones before earlier ones.

    What the file does not tell is 0, and ``probability`` 1.

    Raises:
        InputError: h5py is missing, this is no such file, or it lacks needed fields or facts.
    """
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            locs = file["locs"][:]
            embedded = file["metadata"][()] if "metadata" in file else b""
        if missing := [name for name in NEEDED if name not in (locs.dtype.names or ())]:
            raise _foreign(path, f"its locs have no {', '.join(missing)}")
        beside = path.with_suffix(".yaml")
        documents = list(yaml.safe_load_all(beside.read_bytes() if beside.exists() else embedded))
    except (OSError, KeyError, yaml.YAMLError) as error:
        raise _foreign(path, str(error)) from error
    facts: dict[str, Any] = {}
    for document in documents[0] if documents and isinstance(documents[0], list) else documents:
        facts |= document if isinstance(document, dict) else {}
    if "Width" not in facts:
        raise _foreign(path, "it has no YAML beside it that tells Width, Height and Frames")
    return MoleculeTable(locs["frame"].astype(np.int64), _found(locs)), facts


def _dtype(heights: bool) -> np.dtype[Any]:
    further = ("ellipticity", *HEIGHT_FIELDS) if heights else ()
    return np.dtype([("frame", "<u4"), *((name, "<f4") for name in (*FIELDS, *further))])


def _locs(molecules: MoleculeTable, dtype: np.dtype[Any]) -> Locs:
    """(N,) of ``dtype``."""
    found, locs = molecules.found, np.empty(len(molecules), dtype)
    locs["frame"] = molecules.frame
    ours = {**FIELDS, **HEIGHT_FIELDS} if "z" in (dtype.names or ()) else FIELDS
    for name, our_name in ours.items():
        locs[name] = getattr(found, our_name)
    if ours is not FIELDS:
        long = np.maximum(found.sigma_x_px, found.sigma_y_px)
        short = np.minimum(found.sigma_x_px, found.sigma_y_px)
        locs["ellipticity"] = np.divide(long - short, long, out=np.zeros_like(long), where=long > 0)
    return locs


def _found(locs: Locs) -> Localizations:
    nothing = np.zeros(len(locs), np.float32)
    columns = {
        our_name: locs[name].astype(np.float32) if name in (locs.dtype.names or ()) else nothing
        for name, our_name in {**FIELDS, **HEIGHT_FIELDS}.items()
    }
    found = Localizations(**columns)
    return found if "probability" in (locs.dtype.names or ()) else replace(found, probability=nothing + 1)


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise InputError("Picasso's files need h5py", remedy="pip install 'smartscope[picasso]'") from error


def _foreign(path: Path, what: str) -> InputError:
    return InputError(f"is no table of Picasso: {what}", where=str(path), remedy="give a ..._locs.hdf5 with its YAML")
