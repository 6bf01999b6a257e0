"""What the live model says of a frame: molecules in photons, a count that holds, and trust where trust is due."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from fit_helpers import SIGMA, exposed, lattice, light, scattered

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.errors import InputError
from smartscope.frame import Pixels
from smartscope.localization_files.thunderstorm import FLAT as ROUND
from smartscope.localization_files.thunderstorm import WITH_HEIGHT
from smartscope.ports import Instrument, TaskInputs
from smartscope.result import Localizations, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.localization.finder import FITS, Finder
from smartscope_models.localization.localizer import MoleculeLocalizer
from smartscope_models.localization.task import LocalizeTask

CAMERA = CameraCalibration(electrons_per_adu=0.4545, read_noise_e=1.4, quantum_efficiency=0.8)
MULTIPLIED = CameraCalibration(electrons_per_adu=5, read_noise_e=50, em_gain=300, quantum_efficiency=0.9)


def instrument(camera: CameraCalibration = CAMERA, sigma: float | None = SIGMA, **psf: Any) -> Instrument:
    return Instrument(camera, OpticsConfig(point_spread=PointSpreadConfig(sigma_px=sigma, **psf)))


def counts(mean_photons: np.ndarray, seed: int, camera: CameraCalibration = CAMERA) -> Pixels:
    """(H, W) uint16 of a camera that looks at so many photons per pixel."""
    read = camera.read_noise_e / camera.em_gain
    electrons = exposed(camera.quantum_efficiency * mean_photons, seed, read, multiplied=camera.em_gain > 1)
    adu = np.rint(electrons * camera.em_gain / camera.electrons_per_adu + camera.offset_adu)
    return np.clip(adu, 0, 65535).astype(np.uint16)


def answer(model: MoleculeLocalizer, pixels: Pixels) -> tuple[Localizations, Result]:
    result = model.step([a_frame(pixels)], Result(a_frame(pixels)))
    assert result.localizations is not None
    return result.localizations, result


@pytest.mark.parametrize("camera", [CAMERA, MULTIPLIED], ids=["sCMOS", "EMCCD"])
def test_molecules_come_in_photons_with_honest_errors(camera: CameraCalibration) -> None:
    model, relative = MoleculeLocalizer(instrument(camera)), []
    for seed in range(3):
        shape, places = lattice(12, 16, seed)
        found, result = answer(model, counts(light(shape, *places.T, 1000, 12), seed, camera))
        near = np.hypot(found.x_px[:, None] - places[:, 0], found.y_px[:, None] - places[:, 1]).argmin(0)
        relative.append((found.x_px[near] - places[:, 0]) / found.x_error_px[near])
        assert len(found) == pytest.approx(len(places), abs=2)
        assert np.mean(found.photons) == pytest.approx(1000, rel=0.02)
        assert np.mean(found.background) == pytest.approx(12, rel=0.05)
        assert np.std(found.photons[near]) == pytest.approx(np.median(found.photons_error), rel=0.2)
    assert np.std(relative) == pytest.approx(1, abs=0.1)
    quality = result.quality
    assert quality["spot_photons"] == pytest.approx(1000, rel=0.05)
    assert quality["spot_background"] == pytest.approx(12, rel=0.05)
    assert quality["localization_error_nm"] == pytest.approx(100 * np.median(found.x_error_px), rel=0.1)
    assert quality["misfit"] == pytest.approx(1, abs=0.1)
    assert quality["psf_sigma_ratio"] == pytest.approx(1, abs=0.02)
    assert quality["psf_sigma_px"] == pytest.approx(SIGMA, abs=0.03)
    assert quality["recall_health"] > 0.9
    assert quality["localizer"] == FITS
    assert quality["density_per_um2"] == pytest.approx(quality["emitters"] / 19.2**2)
    assert quality["density_error_per_um2"] == pytest.approx(quality["emitters_error"] / 19.2**2)
    assert result.trust == 1
    assert (found.probability == 1).all()
    assert not found.z_nm.any()


@pytest.mark.parametrize(
    ("density", "photons"), [(0.1, 1000), (0.4, 1000), (1.2, 1000), (2.0, 1000), (1.2, 3000), (1.2, 400)]
)
def test_the_count_allows_for_those_that_merge(density: float, photons: float) -> None:
    model, apart, relative = MoleculeLocalizer(instrument()), [], []
    for seed in range(4):
        places = scattered(density / 100, 112, seed)
        _, result = answer(model, counts(light((112, 112), *places.T, photons, 12), seed))
        true = ((places > -0.5) & (places < 111.5)).all(1).sum()
        apart.append(result.quality["emitters"] - true)
        relative.append(apart[-1] / result.quality["emitters_error"])
    assert abs(np.mean(apart)) < 0.04 * density * 125 + 1.5
    assert np.sqrt(np.mean(np.square(relative))) < 2.5


def test_an_empty_frame_holds_no_molecules_however_long() -> None:
    model = MoleculeLocalizer(instrument())
    for seed in range(5):
        found, result = answer(model, counts(np.full((64, 64), 9.0), seed))
        assert len(found) == 0
        assert result.quality["emitters"] < 0.5
        assert result.quality["emitters_error"] > 0
        assert result.quality["recall_health"] > 0.8
        assert "spot_photons" not in result.quality
        assert result.trust == 1


def test_saturated_molecules_are_left_out_and_said() -> None:
    shape, places = lattice(6, 16, 1)
    mean = light(shape, *places.T, 1000, 12)
    pixels = counts(mean, 1)
    x, y = np.rint(places[8]).astype(int)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 65535
    found, result = answer(MoleculeLocalizer(instrument()), pixels)
    assert len(found) == len(places) - 1
    assert np.hypot(found.x_px - x, found.y_px - y).min() > 8
    assert 0 < result.trust < 1
    assert "9 pixels are saturated" in result.why_trust
    blind, result = answer(MoleculeLocalizer(instrument()), np.full(shape, 65535, np.uint16))
    assert len(blind) == 0
    assert result.trust == 0


def test_a_wrong_pixel_size_is_noticed() -> None:
    model = MoleculeLocalizer(instrument(sigma=1.8))
    for seed in range(2):
        places = scattered(0.004, 128, seed)
        _, result = answer(model, counts(light((128, 128), *places.T, 1500, 10), seed))
    assert result.quality["psf_sigma_ratio"] == pytest.approx(SIGMA / 1.8, abs=0.03)
    assert result.trust < 0.5
    assert "times as wide as the calibration says" in result.why_trust
    theory = MoleculeLocalizer(Instrument(CAMERA.model_copy(update={"pixel_size_nm": 72.0}), OpticsConfig()))
    for seed in range(4):
        _, result = answer(theory, counts(light((128, 128), *scattered(0.004, 128, seed).T, 1500, 10), seed))
    assert result.quality["psf_sigma_ratio"] == pytest.approx(SIGMA / (0.21 * 525 / 1.4 / 72), abs=0.05)
    assert result.trust == 1, "theory may be farther off than a measured width"


@pytest.mark.parametrize("wrong", [{"electrons_per_adu": 1.4}, {"offset_adu": 60.0}], ids=str)
def test_a_camera_noisier_than_calibrated_is_noticed_and_gives_no_ghosts(wrong: dict[str, float]) -> None:
    model = MoleculeLocalizer(instrument(CAMERA.model_copy(update=wrong)))
    shape, places = lattice(6, 16, 2)
    mean = light(shape, *places.T, 2000, 4 if "offset_adu" in wrong else 12)
    for seed in range(2):
        found, result = answer(model, counts(mean, seed))
    assert len(found) == pytest.approx(len(places), abs=1)
    if "electrons_per_adu" in wrong:
        assert result.trust < 1
        assert "calibrate the camera" in result.why_trust


def test_heights_and_widths_of_an_astigmatic_lens() -> None:
    shape, places = lattice(5, 30, 3)
    z = np.random.default_rng(3).uniform(-350, 350, len(places))
    sigma = [SIGMA * np.sqrt(1 + ((z - sign * 250) / 400) ** 2) for sign in (1, -1)]
    found, _ = answer(
        MoleculeLocalizer(instrument(model="astigmatic")), counts(light(shape, *places.T, 4000, 10, *sigma), 3)
    )
    near = np.hypot(found.x_px[:, None] - places[:, 0], found.y_px[:, None] - places[:, 1]).argmin(0)
    assert np.abs(found.z_nm[near] - z).max() < 120
    assert (found.z_error_nm > 0).all()
    assert np.abs(found.sigma_x_px[near] / sigma[0] - 1).max() < 0.2
    assert np.abs(found.sigma_y_px[near] / sigma[1] - 1).max() < 0.2


def test_pixels_of_their_own(tmp_path: Path) -> None:
    shape, places = lattice(6, 16, 4)
    rng = np.random.default_rng(4)
    maps = {"offset_map": rng.normal(100, 5, shape), "read_variance_map": np.where(rng.random(shape) < 0.01, 400, 2)}
    for name, array in maps.items():
        np.save(tmp_path / f"{name}.npy", array)
    electrons = exposed(0.8 * light(shape, *places.T, 1000, 10), 4, np.sqrt(maps["read_variance_map"]))
    pixels = np.rint(electrons / 0.4545 + maps["offset_map"]).clip(0).astype(np.uint16)
    with_maps = CAMERA.model_copy(update={name: str(tmp_path / f"{name}.npy") for name in maps})
    found, result = answer(MoleculeLocalizer(instrument(with_maps)), pixels)
    assert len(found) == len(places)
    assert result.quality["misfit"] == pytest.approx(1, abs=0.1)
    np.save(tmp_path / "offset_map.npy", np.full(shape, np.nan))
    with pytest.raises(InputError, match="finite"):
        MoleculeLocalizer(instrument(with_maps))


def test_who_finds_can_be_exchanged() -> None:
    model = MoleculeLocalizer(instrument())
    assert isinstance(model._finder, Finder)


def test_options_are_checked() -> None:
    with pytest.raises(Exception, match="false_alarms_per_megapixel"):
        plugins.build(
            "models",
            "smartscope_models.localization.localizer:MoleculeLocalizer",
            {"false_alarms_per_megapixel": 0},
            instrument(),
        )


def movie(tmp_path: Path, frames: int = 3) -> tuple[Path, np.ndarray]:
    shape, places = lattice(4, 20, 5)
    stack = np.stack([counts(light(shape, *places.T, 1500, 10), seed) for seed in range(frames)])
    tifffile.imwrite(tmp_path / "movie.tif", stack, photometric="minisblack")
    return tmp_path / "movie.tif", places


def run(source: Path, output: Path, setup: Instrument, **options: Any) -> dict[str, Any]:
    named = {"model": "smartscope_models.localization.localizer:MoleculeLocalizer", **options}
    seen: list[tuple[int, int]] = []
    figures = LocalizeTask().run(TaskInputs(str(source), str(output), setup, named), lambda *done: seen.append(done))
    assert seen[-1] == (3, 3)
    return dict(figures)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_task_writes_what_thunderstorm_reads(tmp_path: Path) -> None:
    source, places = movie(tmp_path)
    figures = run(source, tmp_path / "found.csv", instrument())
    rows = rows_of(tmp_path / "found.csv")
    assert tuple(rows[0]) == ROUND
    assert figures["localizations"] == len(rows) == 3 * len(places)
    assert figures["warnings"] == []
    assert figures["trust_least"] == 1
    assert figures["emitters"] == pytest.approx(len(places), abs=0.5)
    assert [row["frame"] for row in rows[:: len(places)]] == ["1", "2", "3"]
    assert [row["id"] for row in rows] == [str(k + 1) for k in range(len(rows))]
    first = np.array([[float(row["x [nm]"]), float(row["y [nm]"])] for row in rows if row["frame"] == "1"])
    gap = np.hypot(*(first[:, None] - 100 * (places[None] + 0.5)).transpose(2, 0, 1))
    assert gap.min(0).max() < 30
    assert float(rows[0]["sigma [nm]"]) == pytest.approx(130, rel=0.05)
    assert float(rows[0]["bkgstd [photon]"]) == pytest.approx(np.sqrt(10), rel=0.1)
    assert 2 < float(rows[0]["uncertainty_xy [nm]"]) < 8


def test_the_task_writes_heights(tmp_path: Path) -> None:
    source, places = movie(tmp_path)
    run(source, tmp_path / "found.csv", instrument(model="astigmatic", focal_offset_nm=200.0))
    rows = rows_of(tmp_path / "found.csv")
    assert tuple(rows[0]) == WITH_HEIGHT
    assert len(rows) >= 3 * len(places)


def test_the_task_says_what_it_distrusts(tmp_path: Path) -> None:
    source, _ = movie(tmp_path)
    dim = CAMERA.model_copy(update={"full_well_e": 60.0})
    figures = run(source, tmp_path / "found.csv", instrument(dim))
    assert any("saturated" in why for why in figures["warnings"])
    assert figures["trust_least"] < 1


def test_a_movie_without_calibration_has_its_camera_estimated(tmp_path: Path) -> None:
    source, places = movie(tmp_path)
    figures = run(source, tmp_path / "found.csv", instrument(), camera_given=False)
    assert "estimated_offset_adu" in figures
    assert figures["localizations"] >= 2 * len(places)


def of_data(camera: CameraCalibration, sigma: float | None, frames: list[Pixels]) -> list[Result]:
    """Two looks, as the task does."""
    model = MoleculeLocalizer(instrument(camera, sigma))
    for pixels in frames:
        answer(model, pixels)
    return [answer(model, pixels)[1] for pixels in frames]


def gaps(result: Result, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    found = result.localizations
    assert found is not None
    apart: np.ndarray = np.hypot(found.x_px[:, None] - x, found.y_px[:, None] - y)
    return apart


FLAT = CameraCalibration(offset_adu=99, electrons_per_adu=1, read_noise_e=1, quantum_efficiency=1, pixel_size_nm=160)


@pytest.mark.data
def test_storm_analysis_frames(data: Path) -> None:
    folder = data / "storm-analysis"
    stack = np.fromfile(folder / "test.dax", ">u2").reshape(10, 256, 256).astype(np.uint16)
    truth = np.loadtxt(folder / "test_olist.txt")[:, :2] - 1
    (result,) = of_data(FLAT, 1.0, [stack[0]])
    gap = gaps(result, *truth.T)
    assert (gap.min(0) < 1).all()
    assert gap.shape[0] <= len(truth) + 2
    assert np.sqrt((gap.min(1) ** 2).mean()) < 0.08
    assert result.quality["emitters"] == pytest.approx(len(truth), abs=4)
    assert result.quality["psf_sigma_ratio"] == pytest.approx(1, abs=0.02)
    assert result.trust == 1


@pytest.mark.data
def test_a_frame_of_the_2013_challenge(data: Path) -> None:
    pixels = tifffile.imread(data / "thunderstorm" / "tubulins1_00020.tif")
    truth = np.genfromtxt(data / "thunderstorm" / "tubulins1_00020.csv", delimiter=",", skip_header=1)
    camera = CameraCalibration(offset_adu=100, electrons_per_adu=0.3, read_noise_e=1, pixel_size_nm=150)
    (result,) = of_data(camera, 0.78, [pixels])
    nearest = gaps(result, *(truth[:, 2:4].T / 150 - 0.5)).min(0) * 150
    hit = nearest < 250
    assert hit.sum() >= 46
    assert np.sqrt((nearest[hit] ** 2).mean()) < 45
    assert len(result.localizations or ()) < 60


@pytest.mark.data
@pytest.mark.parametrize("offset", [0.0, 180.0])
def test_picasso_s_test_movie(data: Path, offset: float) -> None:
    stack = np.fromfile(data / "picasso" / "testdata.raw", "<u2").reshape(100, 32, 32).astype(np.uint16)
    with h5py.File(data / "picasso" / "testdata_locs.hdf5") as file:
        theirs = file["locs"][:]
    camera = CameraCalibration(offset_adu=offset, electrons_per_adu=1, read_noise_e=1, quantum_efficiency=1)
    apart, found = [], 0
    for index, result in enumerate(of_data(camera, 0.82, list(stack))):
        bright = theirs[(theirs["frame"] == index) & (theirs["photons"] > 3000)]
        found += len(result.localizations or ())
        if len(bright):
            apart += gaps(result, bright["x"], bright["y"]).min(0).tolist()
    assert max(apart) < 0.03, "the same likelihood has the same maximum"
    assert found < 50, "and noise that the offset hides is no molecule"
