"""``localize`` under a measured point spread function: places and heights within what is stated, live and on files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.spatial import cKDTree
from spline_scenes import PITCH, SPLINE, scene

from smartscope.app import run_experiment
from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.errors import InputError, PluginError
from smartscope.loading import load
from smartscope.localization_files.thunderstorm import read_thunderstorm
from smartscope.optics.point_spread.bead_stack import smoothed
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_file import load_spline, save_spline
from smartscope.ports import Instrument
from smartscope.processing import process_file
from smartscope.recorder.reader import RunReader
from smartscope.result import Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.localization.localizer import MoleculeLocalizer
from smartscope_models.localization.spline_frame import SplineFrame, SplineFrameFitter

CAMERA = CameraCalibration(
    electrons_per_adu=0.5, read_noise_e=1.4, quantum_efficiency=0.8, pixel_size_nm=100, offset_adu=100
)
STORM = Path(__file__).parents[2] / "configs" / "storm.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_spline(tmp_path / "psf.npz", SPLINE)
    return tmp_path / "psf.npz"


def localizer(
    file: Path, camera: CameraCalibration = CAMERA, range_nm: float = 500, **options: Any
) -> MoleculeLocalizer:
    psf = PointSpreadConfig(model="spline", file=str(file), range_nm=range_nm)
    return MoleculeLocalizer(Instrument(camera, OpticsConfig(point_spread=psf)), **options)


def counts(electrons: np.ndarray) -> np.ndarray:
    return np.rint(electrons / CAMERA.electrons_per_adu + CAMERA.offset_adu).clip(0, 65535).astype(np.uint16)


def seen(model: MoleculeLocalizer, electrons: np.ndarray) -> Result:
    frame = a_frame(counts(electrons))
    return model.step([frame], Result(frame))


def fitted(
    light: np.ndarray, read: np.ndarray, spline: SplinePointSpread = SPLINE, range_nm: float = 500
) -> SplineFrame:
    fitter = SplineFrameFitter(
        (light.shape[0], light.shape[1]), spline, range_nm, false_alarms_per_megapixel=1.0, max_spots=5000
    )
    return fitter.fit(light, read)


# ---------------------------------------------------------------- molecules that stand alone


def test_molecules_are_found_with_the_errors_that_are_stated(file: Path) -> None:
    light, _, _, truth = scene(400, 2000, 15, 31)
    result = seen(localizer(file), light)
    found = result.localizations
    assert found is not None
    gap, nearest = cKDTree(truth[:, :2]).query(np.column_stack([found.x_px, found.y_px]))
    right = gap < 1
    assert right.mean() > 0.98
    assert len(np.unique(nearest[right])) >= 395  # one or two lie at the end of the range
    pairs = (("x_px", "x_error_px", 0), ("y_px", "y_error_px", 1), ("z_nm", "z_error_nm", 4))
    for name, error, column in pairs:
        off = getattr(found, name)[right] - truth[nearest[right], column]
        stated = getattr(found, error)[right]
        assert np.sqrt((off**2).mean() / (stated**2).mean()) == pytest.approx(1, abs=0.12)
        assert abs(np.mean(off / stated)) < 0.2
    assert np.median(found.photons[right]) == pytest.approx(2000 / 0.8, rel=0.03)
    assert np.median(found.background[right]) == pytest.approx(15 / 0.8, rel=0.05)
    assert not found.sigma_x_px.any()
    assert not found.sigma_y_px.any()
    assert result.quality["emitters"] == pytest.approx(400, abs=12)
    assert result.quality["recall_health"] > 0.9
    assert result.quality["misfit"] == pytest.approx(1, abs=0.05)
    assert result.trust == 1


def test_an_empty_frame(file: Path) -> None:
    rng = np.random.default_rng(4)
    result = seen(localizer(file), rng.poisson(20, (64, 80)) + rng.normal(0, 1.4, (64, 80)))
    assert result.localizations is not None
    assert len(result.localizations) == 0
    assert result.quality["emitters"] == 0
    assert result.quality["recall_health"] > 0.9
    assert result.trust == 1


def test_saturated_pixels_cost_their_molecule_and_some_trust(file: Path) -> None:
    light, _, _, truth = scene(25, 3000, 15, 33)
    x, y = np.rint(truth[12, :2]).astype(int)
    light[y, x : x + 2] = 1e6
    result = seen(localizer(file), light)
    found = result.localizations
    assert found is not None
    assert len(found) == 24
    assert np.hypot(found.x_px - x, found.y_px - y).min() > PITCH / 2
    assert 0 < result.trust < 0.9
    assert "2 pixels are saturated; 1 molecules on them" in result.why_trust


# ---------------------------------------------------------------- molecules that do not


def pair(apart_px: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    spots = SPLINE.spots([30.0 - apart_px / 2, 30.0 + apart_px / 2], 30.3, [-150.0, 100.0], (60, 60)).values
    light = (rng.poisson(3000 * spots.sum(axis=0) + 15) + rng.normal(0, 1.4, (60, 60))).astype(np.float32)
    return light, np.full_like(light, 1.96)


def test_candidates_of_one_place_give_one_molecule_and_of_two_places_two() -> None:
    assert [len(fitted(*pair(0.3, seed)).rows) for seed in range(5)] == [1] * 5
    for seed in range(5):
        rows = fitted(*pair(6.0, seed)).rows
        assert len(rows) == 2
        order = np.argsort(rows[:, 0])
        np.testing.assert_array_less(np.abs(rows[order, 0] - [27, 33]), 6 * rows[order, 5])
        np.testing.assert_array_less(np.abs(rows[order, 4] - [-150, 100]), 6 * rows[order, 9])


def test_heights_beyond_the_range_are_counted_but_not_told(file: Path) -> None:
    rng = np.random.default_rng(6)
    spots = SPLINE.spots([20.0, 60.0], 20.0, [490.0, 0.0], (40, 80)).values
    light = rng.poisson(3000 * spots.sum(axis=0) + 10)  # 460 nm are the end
    result = seen(localizer(file, range_nm=400), light)
    assert result.localizations is not None
    np.testing.assert_allclose(result.localizations.x_px, [60], atol=0.1)
    assert result.quality["emitters"] == pytest.approx(2, abs=0.3)


def test_light_that_is_no_molecule_is_left_out() -> None:
    rng = np.random.default_rng(7)
    mean = np.full((60, 60), 10.0)
    mean[28:31, 10:50] += 200  # a fibre
    light = rng.poisson(mean).astype(np.float32)
    spots = fitted(light, np.full_like(light, 1.96))
    assert spots.chi2 > 1.5
    single = np.full((40, 40), 10.0, np.float32)
    single[20, 20] = 3000  # a cosmic ray
    assert len(fitted(rng.poisson(single).astype(np.float32), np.full_like(single, 1.96)).rows) == 0


def test_a_crowd_is_counted() -> None:
    rng = np.random.default_rng(8)
    counted, right, told = 0, 0, 0
    for _ in range(6):
        x, y, z = rng.uniform(0, 127, 60), rng.uniform(0, 127, 60), rng.uniform(-450, 450, 60)
        light = rng.poisson(3000 * SPLINE.spots(x, y, z, (128, 128)).values.sum(axis=0).clip(0) + 15)
        rows = fitted(light.astype(np.float32), np.full((128, 128), 1.96, np.float32)).rows
        counted += len(rows)
        gap, nearest = cKDTree(np.column_stack([x, y])).query(rows[:, :2])
        right, told = right + len(np.unique(nearest[gap < 2])), told + len(rows)
    assert counted / 360 == pytest.approx(1, abs=0.06)
    assert right / 360 > 0.9
    assert right / told > 0.9


# ---------------------------------------------------------------- what is refused


def test_a_spline_for_other_pixels_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="those of the camera are 160 nm"):
        localizer(file, CAMERA.model_copy(update={"pixel_size_nm": 160.0}))


def test_a_spline_without_the_heights_that_are_looked_for_is_refused(tmp_path: Path) -> None:
    high = SplinePointSpread.through(SPLINE.samples(), low_nm=2000, step_nm=50, pixel_size_nm=100)
    save_spline(tmp_path / "high.npz", high)
    with pytest.raises(InputError, match="tells heights from 2000 to 3400 nm"):
        localizer(tmp_path / "high.npz")


def test_there_is_no_network_and_no_width(file: Path) -> None:
    for options in ({"finder": "network"}, {"network": "localize_flat"}):
        with pytest.raises(PluginError, match="no network is shipped"):
            localizer(file, **options)
    with pytest.raises(PluginError, match="a spline has no width"):
        localizer(file, sigma_px=1.3)
    assert localizer(file).facts()["network"].startswith("none")


# ---------------------------------------------------------------- whole programs


def test_a_movie_becomes_a_table_with_heights(file: Path) -> None:
    """camera.json names the spline as lying beside it."""
    folder = file.parent
    camera = CAMERA.model_dump(exclude_none=True) | {"psf": {"model": "spline", "file": "psf.npz"}}
    (folder / "camera.json").write_text(json.dumps(camera))
    light, _, _, truth = scene(36, 3000, 15, 35)
    tifffile.imwrite(folder / "movie.tif", np.stack([counts(light)] * 3), photometric="minisblack")
    report = folder / "report.json"
    process_file(
        "localize", folder / "movie.tif", folder / "out.csv", folder / "camera.json", None, ["finder=fits"], report
    )
    with (folder / "out.csv").open() as lines:
        header = next(csv.reader(lines))
    assert {"z [nm]", "uncertainty_z [nm]", "sigma1 [nm]", "sigma2 [nm]"} <= set(header)
    table = read_thunderstorm(folder / "out.csv", 100.0)
    assert json.loads(report.read_text())["localizations"] == len(table) == 3 * 36
    assert set(table.frame) == {0, 1, 2}
    gap, nearest = cKDTree(truth[:, :2]).query(np.column_stack([table.found.x_px, table.found.y_px]))
    assert gap.max() < 1
    assert np.abs(table.found.z_nm - truth[nearest, 4]).max() < 100
    assert (table.found.z_error_nm > 0).all()


def test_a_simulated_experiment_with_a_spline(file: Path) -> None:
    changes = [
        *("clock=virtual", "bus.enabled=false", "policies=[]", "duration_s=0.4"),
        "microscope.optics.point_spread={model: spline, file: " + str(file) + "}",
        "microscope.options.specimen_options.height_um=0.6",
        "pipeline=[{model: 'smartscope_models.localization.localizer:MoleculeLocalizer', virtual_ms: 8}]",
    ]
    run_experiment(load(STORM, changes, {}), output=file.parent / "run")
    reader = RunReader(file.parent / "run")
    assert len(reader.frames) == 20
    table = np.load(file.parent / "run" / "results" / "localizations.npy")
    assert len(table) > 100
    assert np.std(table["z_nm"]) > 80
    assert (table["z_error_nm"] > 0).all()


# ---------------------------------------------------------------- a double helix


@pytest.mark.data
def test_a_double_helix_is_found_where_its_table_has_it(data: Path) -> None:
    """storm-analysis' movie: 36 molecules, each at a height of its own; a spline of its odd frames, found in the even.

    The spline that lies beside the movie has planes 167 nm apart and ends five pixels from the middle: its misfit at
    12,000 photons says so, and most molecules are refused with it.
    """
    path = data / "storm-analysis" / "test_spliner.dax"
    if not path.exists():
        pytest.skip(f"no {path}")
    movie = np.fromfile(path, ">u2").reshape(20, 256, 256).astype(np.float32) - 100
    x, y = (20.0 + 40 * grid.ravel() for grid in np.meshgrid(np.arange(6), np.arange(6)))
    z = np.linspace(-750, 750, 36)
    cuts = [movie[1::2, b - 12 : b + 13, a - 12 : a + 13].mean(axis=0) for a, b in np.stack([x, y], 1).astype(int)]
    light = smoothed(np.stack(cuts) - 50, 300 / (1500 / 35))
    spline = SplinePointSpread.through(
        light / light.sum(axis=(1, 2)).max(), low_nm=-750, step_nm=1500 / 35, pixel_size_nm=100
    )
    for frame in movie[:6:2]:
        spots = fitted(frame, np.zeros_like(frame), spline, 750)
        gap, nearest = cKDTree(np.stack([x, y], 1)).query(spots.rows[:, :2])
        assert sorted(nearest) == list(range(36))
        assert gap.max() < 0.1
        assert np.sqrt(((spots.rows[:, 4] - z[nearest]) ** 2).mean()) < 8
        assert spots.chi2 == pytest.approx(1, abs=0.05)
    theirs = load_spline(data / "storm-analysis" / "test_spliner_psf_spline.npz", 100.0)
    assert fitted(movie[0], np.zeros_like(movie[0]), theirs, 750).chi2 > 5
