"""The live model: the contract, the same as on files, places in the specimen, pace, and whatever may come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mobility_tracks import Motion, Sight, Table, simulated

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Certainty, Frame
from smartscope.ports import Instrument, Model
from smartscope.result import Detections, Result, Tracks, empty_detections, empty_tracks
from smartscope.testing.model_contract import ModelContract, a_frame
from smartscope_models.mobility import CLASSES, MobilityMeter
from smartscope_models.mobility.whole import Conditions, whole_tracks

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
MOBILITY = "smartscope_models.mobility:MobilityMeter"
PIXELS = np.zeros((16, 16), np.uint16)


def tracks_at(ids: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, sigma_px: float = 0.3) -> Tracks:
    """Tracks seen in this frame."""
    column = np.full(len(ids), sigma_px, np.float32)
    zeros = np.zeros(len(ids), np.int32)
    x, y = x_px.astype(np.float32), y_px.astype(np.float32)
    whole = ids.astype(np.int32)
    return Tracks(
        whole, zeros - 1, x, y, column, column, column, column, column, column, zeros, zeros, column, column, zeros
    )


def frame_at(index: int, interval_s: float = 0.05, **changes: object) -> Frame:
    """The middle of its exposure lies at index · interval; the exposure is 0.8 of it."""
    middle, half = round(index * interval_s * 1e9), round(0.4 * interval_s * 1e9)
    frame = a_frame(PIXELS, index)
    lit = replace(frame.settings, exposure_ms=0.8 * interval_s * 1000)
    return replace(frame, t_start_ns=middle - half, t_end_ns=middle + half, **{"settings": lit, **changes})


def shown(model: MobilityMeter, table: Table, frames: int) -> list[Result]:
    """The table, frame by frame, after one frame that tells the pace."""
    results = []
    model.step([frame_at(0)], Result(frame_at(0), tracks=empty_tracks()))
    for index in range(1, frames):
        rows, frame = table.frame == index, frame_at(index)
        tracks = tracks_at(table.track_id[rows], table.x_um[rows] / 0.1, table.y_um[rows] / 0.1)
        results.append(model.step([frame], Result(frame, tracks=tracks, quality={"a": 1.0})))
    return results


class TestMobilityContract(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", MOBILITY, {}, INSTRUMENT)

    def so_far(self, frame: Frame) -> Result:
        places = np.random.default_rng(frame.index).uniform(0, 16, (2, 30))
        return Result(frame, tracks=tracks_at(np.arange(30), *places))


class TestMobilityWithoutTracks(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", MOBILITY, {"localisation_noise_nm": 20, "window_points": 16}, INSTRUMENT)


def test_live_equals_file() -> None:
    """37 points: a verdict is due at the last; moments are of all points."""
    table = simulated(Motion(0.1), 12, 38, Sight(missing=0.0), 1)
    model = MobilityMeter(INSTRUMENT, localisation_noise_nm=30, verdicts_per_frame=1000)
    shown(model, table, 38)
    live, later = model.table(), table.frame >= 1
    columns = (column[later] for column in (table.track_id, table.frame * 0.05, table.x_um, table.y_um))
    file = whole_tracks(*columns, Conditions(0.05, 0.04, 0.03))
    order = np.argsort(live.track_id)
    assert live.track_id[order].tolist() == file.track_id.tolist()
    assert live.points[order].tolist() == file.points.tolist() == [37] * 12
    for name in ("diffusion_um2_s", "alpha", "p_brownian", "noise_nm", "alpha_measured", "mss_slope_measured"):
        assert getattr(live, name)[order] == pytest.approx(getattr(file, name), rel=2e-3)


def test_figures() -> None:
    """Medians and shares of the tracks seen lately; earlier figures stay."""
    confined = simulated(Motion(0.1, radius=0.3), 20, 60, Sight(), 2)
    model = MobilityMeter(INSTRUMENT, localisation_noise_nm=30, verdicts_per_frame=1000)
    results = shown(model, confined, 60)
    assert results[0].quality == {"a": 1.0, "mobility_tracks": 0.0, "mobility_turned_away": 0.0}
    last = results[-1].quality
    assert last["mobility_tracks"] == 20
    assert last["mobility_confined_share"] > 0.6
    assert sum(last[f"mobility_{name}_share"] for name in CLASSES) == pytest.approx(1)
    assert last["mobility_diffusion_um2_s"] == pytest.approx(0.1, rel=0.3)
    assert last["mobility_alpha"] < 0.8
    for index in range(60, 80):
        frame = frame_at(index)
        gone = model.step([frame], Result(frame, tracks=empty_tracks()))
    assert gone.quality["mobility_tracks"] == 0
    assert "mobility_alpha" not in gone.quality


def test_stage_and_roi_move_the_frame_not_the_specimen() -> None:
    """The same tracks through a frame that is elsewhere every time."""
    table = simulated(Motion(0.05), 6, 30, Sight(missing=0.0), 3)
    still, moving = (MobilityMeter(INSTRUMENT, localisation_noise_nm=30, verdicts_per_frame=99) for _ in range(2))
    shown(still, table, 30)
    for index in range(30):
        frame = frame_at(index)
        roi = replace(frame.settings.roi, x=8 * (index % 3), y=16 * (index % 2))
        settings = replace(frame.settings, roi=roi, x_um=1.5 * (index % 4), y_um=-0.5 * (index % 5))
        frame, rows = replace(frame, settings=settings), table.frame == index
        x = table.x_um[rows] / 0.1 - roi.x - settings.x_um / 0.1
        y = table.y_um[rows] / 0.1 - roi.y - settings.y_um / 0.1
        moving.step([frame], Result(frame, tracks=tracks_at(table.track_id[rows], x, y)))
    assert moving.table().diffusion_um2_s == pytest.approx(still.table().diffusion_um2_s, rel=1e-2)


def test_detections_go_before_smoothed_places() -> None:
    """Tracks that lag behind by half of each step diffuse less; what was detected does not."""
    table = simulated(Motion(0.1), 8, 60, Sight(missing=0.0), 4)
    x, y = (column.reshape(8, 60) / 0.1 for column in (table.x_um, table.y_um))
    smooth = x.copy()
    for t in range(1, 60):
        smooth[:, t] = 0.5 * smooth[:, t - 1] + 0.5 * x[:, t]
    found = {}
    for given in (True, False):
        model = MobilityMeter(INSTRUMENT, localisation_noise_nm=30, verdicts_per_frame=99)
        for t in range(60):
            frame, size = frame_at(t), np.ones(8, np.float32)
            places = x[:, t].astype(np.float32), y[:, t].astype(np.float32)
            seen = Detections(*places, size, size, np.zeros(8, np.int32)) if given else empty_detections()
            tracks = tracks_at(np.arange(8), smooth[:, t], y[:, t], sigma_px=1.0)
            model.step([frame], Result(frame, detections=seen, tracks=tracks))
        found[given] = float(np.median(model.table().diffusion_um2_s))
    assert found[True] == pytest.approx(0.1, rel=0.25)
    assert found[False] < 0.85 * found[True]


def test_a_new_pace_is_noticed() -> None:
    """Diffusion per second stays what it is when frames come four times slower; moments begin anew."""
    table = simulated(Motion(0.1), 10, 200, Sight(missing=0.0), 5)
    model = MobilityMeter(INSTRUMENT, localisation_noise_nm=30, verdicts_per_frame=99)
    for index in [*range(60), *range(60, 200, 4)]:
        rows, frame = table.frame == index, replace(frame_at(index), index=index)
        tracks = tracks_at(table.track_id[rows], table.x_um[rows] / 0.1, table.y_um[rows] / 0.1)
        result = model.step([frame], Result(frame, tracks=tracks))
    assert result.quality["mobility_diffusion_um2_s"] == pytest.approx(0.1, rel=0.25)
    assert np.isfinite(model.table().alpha_measured).any()


def test_noise_is_learned_from_the_tracks() -> None:
    """And without any there is no verdict."""
    table = simulated(Motion(0.1), 10, 40, Sight(missing=0.0), 6)
    model = MobilityMeter(INSTRUMENT, verdicts_per_frame=99)
    shown(model, table, 40)
    assert np.nanmedian(model.table().diffusion_um2_s) == pytest.approx(0.1, rel=0.35)
    deaf = MobilityMeter(INSTRUMENT)
    assert len(deaf.table()) == 0
    for index in range(30):
        frame = frame_at(index)
        tracks = tracks_at(np.arange(3), np.arange(3.0) + index % 2, np.zeros(3), sigma_px=float("nan"))
        result = deaf.step([frame], Result(frame, tracks=tracks))
    assert result.quality["mobility_tracks"] == 0
    assert np.isnan(deaf.table().diffusion_um2_s).all()


def test_moving_stage_missed_tracks_and_clocks_that_run_back() -> None:
    """Add nothing, or begin anew; never an exception."""
    model = MobilityMeter(INSTRUMENT, localisation_noise_nm=30)
    places = np.random.default_rng(7).normal(5, 1, (40, 2, 4))
    for index in range(20):
        frame = frame_at(index)
        model.step([frame], Result(frame, tracks=tracks_at(np.arange(4), *places[index])))
    points = model.table().points.copy()
    assert points.tolist() == [19] * 4
    moving = frame_at(20, certainty={"xy": Certainty.MIXED})
    so_far = Result(moving, tracks=tracks_at(np.arange(4), *places[20]))
    assert model.step([moving], so_far) is so_far
    missed = tracks_at(np.arange(4), *places[21])
    missed = replace(missed, missed_frames=np.ones(4, np.int32))
    model.step([frame_at(21)], Result(frame_at(21), tracks=missed))
    assert model.table().points.tolist() == points.tolist()
    model.step([frame_at(2)], Result(frame_at(2), tracks=tracks_at(np.arange(4), *places[22])))
    assert model.table().points.tolist() == [1] * 4


def test_a_hundred_thousand_tracks() -> None:
    """Those without room are counted; each verdict is within the budget."""
    model = MobilityMeter(
        INSTRUMENT, localisation_noise_nm=30, capacity_tracks=4096, verdicts_per_frame=5, window_points=16
    )
    rng = np.random.default_rng(8)
    for index in range(12):
        frame = frame_at(index)
        tracks = tracks_at(np.arange(100_000), *rng.uniform(0, 2000, (2, 100_000)))
        result = model.step([frame], Result(frame, tracks=tracks))
    assert result.quality["mobility_turned_away"] == 100_000 - 4096
    assert 0 < result.quality["mobility_tracks"] <= 25
