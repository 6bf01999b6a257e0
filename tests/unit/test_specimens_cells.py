"""Crawling cells: seeded motion on a fixed grid of time, and pictures that obey the physics."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.optics.psf import depth_um, sigma_um
from smartscope.specimens.cells import Cells
from smartscope.specimens.protocol import View

FEW = {"cells": 12, "area_um": 150.0}
VIEW = View(
    stage_um=(0.0, 0.0),
    defocus_um=0.0,
    affine_um_per_px=((0.1, 0.0), (0.0, 0.1)),
    sensor_shape=(256, 256),
    roi=Roi(0, 0, 256, 256),
    sigma_um=sigma_um(525, 1.4),
    depth_um=depth_um(525, 1.4, 1.515),
    detected_fraction=0.127,
)
DOSE = {488.0: 0.1}


def picture(cells: Cells, view: View = VIEW, dose: float = 0.1) -> np.ndarray:
    """Expected photo-electrons."""
    expected = np.zeros((view.roi.height, view.roi.width), np.float32)
    cells.render(expected, view, {488.0: dose})
    return expected


def everywhere(dose: float):
    """The same dose at all places."""
    return lambda places: np.full(len(places), dose)


def test_same_seed_same_life_whenever_it_is_looked_at() -> None:
    often, seldom = Cells(5, **FEW), Cells(5, **FEW)
    for t_s in np.arange(0, 1.5, 0.0073):
        often.advance(t_s)
        picture(often)
    often.advance(1.5)
    seldom.advance(1.5)
    np.testing.assert_array_equal(often.ground_truth().cells_um, seldom.ground_truth().cells_um)
    np.testing.assert_array_equal(often.ground_truth().spots_um, seldom.ground_truth().spots_um)
    np.testing.assert_array_equal(picture(often), picture(seldom))
    assert np.abs(Cells(6, **FEW).ground_truth().cells_um - seldom.ground_truth().cells_um).max() > 1


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_first_cell_starts_near_the_origin_and_leaves_the_field(seed: int) -> None:
    cells = Cells(seed)
    assert np.linalg.norm(cells.ground_truth().cells_um[0]) < 10
    left_at = None
    for t_s in range(1, 18):
        cells.advance(float(t_s))
        if left_at is None and np.abs(cells.ground_truth().cells_um[0]).max() > 25.6:
            left_at = t_s
    assert left_at is not None
    assert left_at >= 8
    others = cells.ground_truth().cells_um
    assert np.abs(others).max() < 200


def test_cells_keep_their_speed_and_vesicles_stay_inside() -> None:
    cells = Cells(3, **FEW)
    before = cells.ground_truth()
    cells.advance(0.5)
    after = cells.ground_truth()
    speed = np.linalg.norm(after.cells_um - before.cells_um, axis=1) / 0.5
    assert 0.7 < np.median(speed) < 2.6
    cells.advance(4.0)
    truth = cells.ground_truth()
    from_centre = np.linalg.norm(truth.spots_um - truth.cells_um[truth.spots_cell], axis=1)
    assert (from_centre < 1.25 * truth.radii_um[truth.spots_cell]).all()
    moved = truth.spots_um - truth.cells_um[truth.spots_cell] - (after.spots_um - after.cells_um[after.spots_cell])
    assert 0.2 < np.median(np.linalg.norm(moved, axis=1)) < 5


def test_motion_between_grid_points_is_straight() -> None:
    places = []
    cells = Cells(3, **FEW)
    for t_s in (0.2, 0.205, 0.21):
        cells.advance(t_s)
        places.append(cells.ground_truth().cells_um)
    np.testing.assert_allclose(places[1], (places[0] + places[2]) / 2, atol=1e-9)


def test_time_does_not_go_back() -> None:
    cells = Cells(3, **FEW)
    cells.advance(0.1)
    with pytest.raises(InputError, match="cannot go back"):
        cells.advance(0.05)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="speed"):
        Cells(1, speed=3)


def test_signal_is_proportional_to_dose() -> None:
    cells = Cells(2, **FEW)
    np.testing.assert_allclose(picture(cells, dose=0.4), 4 * picture(cells, dose=0.1), rtol=1e-5)
    assert (picture(cells, dose=0.0) == 0).all()


def test_signal_levels_of_the_demo() -> None:
    """2 mW, 5 ms: background a few electrons, cytoplasm some tens, vesicles a few hundred."""
    image = picture(Cells(1))
    assert 1 < np.percentile(image, 5) < 6
    body = image[np.hypot(*(np.indices(image.shape) - 127.5)) < 40]
    assert 8 < np.median(body) < 60
    assert 150 < image.max() < 1500


def test_a_roi_shows_what_the_whole_sensor_shows_there() -> None:
    cells = Cells(2, **FEW)
    cells.advance(0.3)
    roi = Roi(x=40, y=90, width=100, height=60)
    np.testing.assert_allclose(
        picture(cells, replace(VIEW, roi=roi)), picture(cells)[90:150, 40:140], rtol=1e-4, atol=1e-3
    )


def test_the_stage_moves_the_picture() -> None:
    cells = Cells(2, **FEW)
    moved = picture(cells, replace(VIEW, stage_um=(2.0, -1.0)))
    np.testing.assert_allclose(moved[10:200, :200], picture(cells)[:190, 20:220], rtol=1e-3, atol=1e-2)


def test_defocus_blurs_but_keeps_the_light() -> None:
    cells = Cells(1)
    sharp, blurred = picture(cells), picture(cells, replace(VIEW, defocus_um=1.5))
    assert blurred.max() < 0.3 * sharp.max()
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.1)


def test_unlit_cells_are_not_drawn() -> None:
    cells = Cells(1)
    assert np.ptp(picture(cells, replace(VIEW, lit_radius_um=0.0, stage_um=(300.0, 300.0)))) == 0


def test_vesicles_shine_where_the_truth_says() -> None:
    cells = Cells(4)
    truth = cells.ground_truth()
    image = picture(cells)
    pixels = VIEW.to_pixels(truth.spots_um)
    mine = (truth.spots_cell == 0) & (np.abs(truth.spots_z_um) < 0.15)
    column, row = np.round(pixels[mine]).astype(int).T
    assert (image[row, column] > 2.5 * np.median(image[100:156, 100:156])).mean() > 0.9


def test_bleaching_dims_cells_and_their_vesicles() -> None:
    cells = Cells(1)
    before = picture(cells)
    cells.expose(488.0, everywhere(600.0))
    truth = cells.ground_truth()
    np.testing.assert_allclose(truth.cells_remaining, 0.5, atol=0.03)
    np.testing.assert_allclose(truth.spots_remaining, truth.cells_remaining[0])
    background = before.min()
    assert (picture(cells).max() - background) / (before.max() - background) == pytest.approx(0.5, abs=0.04)


def test_bleaching_is_local() -> None:
    cells = Cells(1)
    border_um = cells.ground_truth().cells_um[0, 0]
    cells.expose(488.0, lambda places: np.where(places[:, 0] < border_um, 600.0, 0.0))
    truth = cells.ground_truth()
    left = truth.spots_um[:, 0] < border_um
    assert truth.spots_remaining[left].max() < 0.6
    assert (truth.spots_remaining[~left] == 1).all()
    assert 0.6 < truth.cells_remaining[0] < 0.95  # the border runs through it
