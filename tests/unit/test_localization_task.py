"""``smartscope process localize``: tables that ThunderSTORM and Picasso open, whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.errors import InputError
from smartscope.localization_files.picasso import read_picasso
from smartscope.optics.psf import add_stamps
from smartscope.ports import Instrument, TaskInputs
from smartscope_models.localization.task import LocalizeTask

CAMERA = CameraCalibration(
    offset_adu=100, electrons_per_adu=0.5, read_noise_e=1.0, quantum_efficiency=0.8, pixel_size_nm=110
)
INSTRUMENT = Instrument(CAMERA, OpticsConfig(point_spread=PointSpreadConfig(sigma_px=1.3)))
PLACES = np.array([[12.3, 20.7], [30.1, 8.4]])


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    expected = np.full((40, 44), 8.0, np.float32)
    add_stamps(expected, PLACES[:, 0].copy(), PLACES[:, 1].copy(), np.full(2, 1.3), np.full(2, 2000.0))
    rng = np.random.default_rng(1)
    counts = 100 + (rng.poisson(expected, (4, *expected.shape)) + rng.normal(0, 1, (4, *expected.shape))) / 0.5
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.rint(counts).astype(np.uint16), photometric="minisblack")
    return path


def localised(movie: Path, output: Path) -> dict[str, object]:
    inputs = TaskInputs(str(movie), str(output), INSTRUMENT, {"finder": "fits"})
    return dict(LocalizeTask().run(inputs, lambda done, total: None))


def test_thunderstorm_s_table_counts_from_the_corner_and_from_one(movie: Path, tmp_path: Path) -> None:
    figures = localised(movie, tmp_path / "found.csv")
    assert figures["localizations"] == 8
    assert figures["trust_least"] == 1
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == [1, 1, 2, 2, 3, 3, 4, 4]
    for row in rows:
        place = np.array([float(row["x [nm]"]), float(row["y [nm]"])]) / 110 - 0.5
        assert np.hypot(*(PLACES - place).T).min() < 5 * float(row["uncertainty_xy [nm]"]) / 110
        assert float(row["intensity [photon]"]) == pytest.approx(2000 / 0.8, rel=0.15)
        assert float(row["offset [photon]"]) == pytest.approx(8 / 0.8, rel=0.15)


def test_picasso_s_table_holds_the_same(movie: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="the extra 'picasso' is not installed")
    assert localised(movie, tmp_path / "found.hdf5")["localizations"] == 8
    table, facts = read_picasso(tmp_path / "found.hdf5")
    assert (facts["Frames"], facts["Height"], facts["Width"], facts["Pixelsize"]) == (4, 40, 44, 110)
    assert sorted(table.frame.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    places = np.column_stack([table.found.x_px, table.found.y_px])
    assert np.hypot(*(PLACES[:, None] - places).transpose(2, 0, 1)).min(axis=0).max() < 0.3


def test_nothing_is_left_of_a_movie_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "movie.tif").write_bytes(b"no movie")
    with pytest.raises(InputError):
        localised(tmp_path / "movie.tif", tmp_path / "found.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["movie.tif"]
