"""Molecules by the shipped network and the fits together: who looks, what is kept from frame to frame, who is surer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.errors import PluginError, UnsupportedModel
from smartscope.frame import Frame, Roi, Settings
from smartscope.optics.psf import add_stamps
from smartscope.ports import Instrument
from smartscope.result import Localizations, Result, empty_localizations
from smartscope_models.calibration import SensorCalibration
from smartscope_models.localization.crowd import Answer, CrowdNetwork
from smartscope_models.localization.density_switch import CROWDED, SPARSE, DensitySwitch
from smartscope_models.localization.finder import FITS, NETWORK, Found
from smartscope_models.localization.fixed_light import FixedLight
from smartscope_models.localization.joint import Field
from smartscope_models.localization.localizer import MoleculeLocalizer
from smartscope_models.localization.network_path import surer
from smartscope_models.localization.sight import SCALE, cells_of, conditions_of, level_of, pixels_of

CAMERA = CameraCalibration(
    offset_adu=100, electrons_per_adu=0.5, read_noise_e=1.0, quantum_efficiency=1.0, pixel_size_nm=100
)
INSTRUMENT = Instrument(CAMERA, OpticsConfig(point_spread=PointSpreadConfig(sigma_px=1.3)))


def frame_of(places: np.ndarray, index: int = 0, edge: int = 48, photons: float = 1500.0, haze: float = 10.0) -> Frame:
    """A frame of these molecules (N, 2), seeded by its index."""
    expected = np.full((edge, edge), haze, np.float32)
    count = len(places)
    add_stamps(expected, places[:, 0].copy(), places[:, 1].copy(), np.full(count, 1.3), np.full(count, photons))
    rng = np.random.default_rng(index)
    electrons = rng.poisson(expected) + rng.normal(0, 1.0, expected.shape)
    pixels = np.clip(np.rint(100 + electrons / 0.5), 0, 65535).astype(np.uint16)
    settings = Settings(20.0, Roi(0, 0, edge, edge))
    return Frame(pixels, 1, index, index, settings, {}, index * 20, index * 20 + 20, index * 20 + 21)


def localizer(**options: object) -> MoleculeLocalizer:
    pytest.importorskip("onnxruntime")
    model = MoleculeLocalizer(INSTRUMENT, engine="onnxruntime", **options)  # type: ignore[arg-type]
    model.warm_up((48, 48))
    return model


PAIR = np.array([[20.0, 20.0], [22.2, 20.0], [35.3, 12.6]])


def test_the_network_and_the_fits_agree_on_a_pair_that_overlaps() -> None:
    for finder, kind in (("network", NETWORK), ("fits", FITS)):
        model = localizer(finder=finder)
        found = [model.step([frame], Result(frame)) for frame in (frame_of(PAIR, k) for k in range(6))]
        last = found[-1].localizations
        assert last is not None
        assert len(last) == 3
        gaps = np.hypot(last.x_px[:, None] - PAIR[:, 0], last.y_px[:, None] - PAIR[:, 1]).min(axis=0)
        assert (gaps < 0.4).all(), finder
        assert found[-1].quality["localizer"] == kind
        assert found[-1].quality["emitters"] == pytest.approx(3, abs=0.5)
        assert found[-1].quality["recall_health"] > 0.7


def test_the_network_is_named_for_the_record() -> None:
    assert localizer(finder="network").facts()["network"] == "localize_flat"
    assert localizer(finder="fits").facts() == {"finder": "fits"}


def test_auto_does_without_a_network_where_none_can_be_had_and_says_so() -> None:
    astigmatic = replace(INSTRUMENT, optics=OpticsConfig(point_spread=PointSpreadConfig(model="astigmatic")))
    assert MoleculeLocalizer(astigmatic).facts()["network"].startswith("none: no network is shipped")
    with pytest.raises(PluginError, match="no network is shipped"):
        MoleculeLocalizer(astigmatic, finder="network")
    pytest.importorskip("onnxruntime")
    with pytest.raises(UnsupportedModel, match="its task is denoise"):
        MoleculeLocalizer(INSTRUMENT, network="denoise_frame")


def test_empty_frames_have_no_molecules() -> None:
    model = localizer(finder="network")
    for index in range(3):
        frame = frame_of(np.empty((0, 2)), index)
        result = model.step([frame], Result(frame))
        assert result.localizations is not None
        assert len(result.localizations) == 0
        assert result.quality["emitters"] < 0.5
        assert result.quality["recall_health"] > 0.5


def test_a_lost_frame_and_a_moved_stage_end_what_is_kept() -> None:
    pytest.importorskip("onnxruntime")
    model = localizer(finder="network")
    path = model._finder
    frame = frame_of(PAIR, 0)
    assert [path._follows(one) for one in (frame, replace(frame, index=1))] == [False, True]  # type: ignore[attr-defined]
    moved = replace(frame, index=2, settings=replace(frame.settings, x_um=1.0))
    lost = replace(moved, index=3, lost_before=2)
    late = replace(moved, index=5)
    assert [path._follows(one) for one in (moved, lost, late)] == [False, False, False]  # type: ignore[attr-defined]


def test_what_is_kept_is_used_from_the_third_frame_on() -> None:
    pytest.importorskip("onnxruntime")
    network = CrowdNetwork("localize_flat", "onnxruntime")
    stable = np.random.default_rng(3).normal(7, 1, (33, 40)).astype(np.float32)  # odd edges too
    psf = PointSpreadConfig(sigma_px=1.3)
    first = network.find(stable, False, 1.3, psf).number
    second = network.find(stable, True, 1.3, psf).number
    third = network.find(stable, True, 1.3, psf).number
    assert first == second
    assert third != first
    assert network.find(stable, False, 1.3, psf).number == first


class Fixed:
    """A finder that finds what it is told."""

    def __init__(self, kind: int) -> None:
        self.kind, self.number, self.sigma_px = kind, 0.0, 1.0

    def warm_up(self, shape: tuple[int, int]) -> None:
        assert shape

    def find(self, frame: Frame, calibration: object) -> Found:
        return Found(empty_localizations(), self.number, 1.0, self.kind, 1.0, 1.0)


def test_the_density_decides_who_looks_with_hysteresis() -> None:
    fits, network = Fixed(FITS), Fixed(NETWORK)
    switch = DensitySwitch(fits, network)  # type: ignore[arg-type]
    switch.warm_up((48, 48))
    frame = frame_of(np.empty((0, 2)))
    calibration = SensorCalibration(CAMERA).of(frame)

    def look(per_area: float, times: int) -> int:
        fits.number = network.number = per_area * frame.pixels.size
        return [switch.find(frame, calibration).kind for _ in range(times)][-1]

    assert look(0.0, 1) == NETWORK  # it begins
    assert look(0.0, 5) == FITS
    assert look(1.2 * CROWDED, 20) == NETWORK
    assert look(0.5 * (SPARSE + CROWDED), 20) == NETWORK
    assert look(0.9 * SPARSE, 20) == FITS
    assert look(0.5 * (SPARSE + CROWDED), 20) == FITS


def table(x: float, error: float) -> Localizations:
    row = {name: np.array([0.0], np.float32) for name in Localizations.__slots__}
    row |= {"x_px": np.array([x], np.float32), "photons": np.array([900.0], np.float32)}
    row |= {name: np.array([error], np.float32) for name in ("x_error_px", "y_error_px")}
    return Localizations(**row)


def answer(x: float, error: float) -> Answer:
    rows = np.zeros((1, 11))
    rows[0, 0], rows[0, 2], rows[0, 4:6], rows[0, 6], rows[0, 9] = x, np.log(1000.0), error, 0.1, 0.8
    return Answer(rows, 1.0, 0.1, 7.0)


def test_the_surer_place_is_taken_with_all_that_belongs_to_it() -> None:
    taken = surer(table(5.0, 0.2), answer(5.1, 0.1), 2.0)
    assert taken.x_px[0] == pytest.approx(5.1)
    assert taken.x_error_px[0] == pytest.approx(0.1)
    assert taken.photons[0] == pytest.approx(2000, rel=1e-4)
    assert taken.photons_error[0] == pytest.approx(200, rel=1e-4)
    kept = surer(table(5.0, 0.1), answer(5.1, 0.2), 2.0)
    assert (kept.x_px[0], kept.photons[0]) == pytest.approx((5.0, 900.0))
    assert kept.probability[0] == pytest.approx(0.8)
    assert surer(table(5.0, 0.2), answer(9.0, 0.1), 2.0).x_px[0] == 5.0  # another molecule
    assert surer(table(5.0, 0.2), answer(5.55, 0.19), 2.0).x_px[0] == 5.0  # the same, but they contradict each other


@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_cells_and_pixels_are_the_same_light(height: int, width: int) -> None:
    stable = np.arange(height * width, dtype=np.float32).reshape(height, width)
    cells = np.full((4, 5, 5), np.nan, np.float32)
    cells_of(stable, 1.0, cells)
    assert np.isfinite(cells).all()
    back = np.zeros((1, height, width), np.float32)
    pixels_of(cells, back)
    np.testing.assert_allclose(back[0] * SCALE + 1.0, stable, atol=1e-4)


def test_the_level_is_the_background_s_also_where_half_of_the_field_is_lit() -> None:
    rng = np.random.default_rng(4)
    stable = rng.normal(8, 1, (64, 64)).astype(np.float32)
    assert level_of(stable) == pytest.approx(8, abs=0.1)
    stable[rng.random(stable.shape) < 0.4] += 5
    assert level_of(stable) == pytest.approx(8, abs=0.7)
    assert level_of(stable[:5, :5]) == pytest.approx(8, abs=2)


def test_conditions_are_zero_for_the_usual() -> None:
    usual = conditions_of(
        np.array([1.3]), np.array([8.0], np.float32), np.array([250.0]), np.array([400.0]), round_=False
    )
    assert not usual.any()


def test_light_that_stays_is_learned_and_forgotten() -> None:
    rng, learned = np.random.default_rng(5), FixedLight((48, 48))
    rows, columns = np.mgrid[:48, :48]
    haze = 8 * np.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / (2 * 5**2))
    read = np.ones((48, 48), np.float32)
    for _ in range(150):
        light = rng.poisson(20 + haze).astype(np.float32)
        without, with_read = learned.taken_off(light, read)
        background = np.full(light.shape, 20, np.float32)
        learned.learn(Field(without, with_read, background + with_read, background))
    found = light - without
    assert np.corrcoef(found.ravel(), haze.ravel())[0, 1] > 0.95
    assert found[20, 30] == pytest.approx(8, rel=0.25)
    assert np.allclose(without + with_read, light + read, atol=1e-3)
    learned.forget()
    assert learned.taken_off(light, read)[0] is light


def test_noise_alone_makes_no_light_that_stays() -> None:
    rng, learned = np.random.default_rng(6), FixedLight((64, 64))
    read, background = np.ones((64, 64), np.float32), np.full((64, 64), 20, np.float32)
    for _ in range(1500):
        light = rng.poisson(20, (64, 64)).astype(np.float32)
        without, with_read = learned.taken_off(light, read)
        learned.learn(Field(without, with_read, background + with_read, background))
    assert np.abs(light - without).std() < 0.5


def test_darkness_teaches_nothing() -> None:
    learned, dark = FixedLight((32, 32)), np.zeros((32, 32), np.float32)
    learned.taken_off(dark, dark + 1)
    learned.learn(Field(dark, dark + 1, dark + 1, dark))
    assert learned.taken_off(dark + 20, dark + 1)[0].mean() == 20
