"""Beads: points of known place, brightness and motion."""

from dataclasses import replace

import numpy as np
import pytest

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.specimens.beads import Beads
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import View

VIEW = View(
    stage_um=(0.0, 0.0),
    defocus_um=0.0,
    affine_um_per_px=((0.1, 0.0), (0.0, 0.1)),
    sensor_shape=(101, 121),
    roi=Roi(0, 0, 121, 101),
    sigma_um=0.08,
    depth_um=0.22,
    detected_fraction=0.127,
)


def picture(beads: Beads, view: View = VIEW) -> np.ndarray:
    """Expected photo-electrons of 0.1 J/cm2."""
    expected = np.zeros((view.roi.height, view.roi.width), np.float32)
    beads.render(expected, view, {488.0: 0.1})
    return expected


def centroid(image: np.ndarray) -> tuple[float, float]:
    """(x, y) of the light, pixels."""
    rows, columns = np.indices(image.shape)
    return (image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()


def test_one_bead_gives_its_photons_at_the_centre_of_the_sensor() -> None:
    image = picture(Beads(1, beads=1, molecules=1000, background_per_um2=0)).astype(float)
    assert image.sum() == pytest.approx(1000 * GREEN_PROTEIN.emitted(0.1, 488) * 0.127, rel=1e-3)
    assert centroid(image) == pytest.approx((60, 50), abs=1e-2)


@pytest.mark.parametrize("affine", [((0.1, 0.0), (0.0, 0.1)), ((0.0, -0.1), (0.1, 0.0)), ((-0.1, 0.0), (0.0, 0.1))])
def test_the_affine_brings_an_object_back(affine) -> None:
    """Stage displaced by A (dx, dy): what was (dx, dy) pixels off the centre is centred (Context.stage_position_of)."""
    beads = Beads(1, beads=1, background_per_um2=0)
    view = replace(VIEW, affine_um_per_px=affine, stage_um=(1.0, 0.5))
    x, y = centroid(picture(beads, view).astype(float))
    (a, b), (c, d) = affine
    dx, dy = x - 60, y - 50
    assert (1.0 + a * dx + b * dy, 0.5 + c * dx + d * dy) == pytest.approx((0.0, 0.0), abs=2e-3)
    assert view.to_pixels(np.zeros((1, 2)))[0] == pytest.approx((x, y), abs=2e-2)


def test_defocus_widens() -> None:
    beads = Beads(1, beads=1, background_per_um2=0)
    sharp, wide = picture(beads), picture(beads, replace(VIEW, defocus_um=0.44))
    assert wide.max() < 0.4 * sharp.max()
    assert wide.sum() == pytest.approx(sharp.sum(), rel=1e-3)


def test_stuck_beads_stay() -> None:
    beads = Beads(2, beads=20)
    before = beads.ground_truth().spots_um
    beads.advance(3.0)
    np.testing.assert_array_equal(beads.ground_truth().spots_um, before)


def test_brownian_beads_diffuse_at_their_rate_whenever_looked_at() -> None:
    often, seldom = (Beads(2, beads=2000, diffusion_um2_s=0.5) for _ in range(2))
    start = often.ground_truth().spots_um
    for t_s in np.arange(0, 1.0, 0.0037):
        often.advance(t_s)
    often.advance(1.0)
    seldom.advance(1.0)
    np.testing.assert_array_equal(often.ground_truth().spots_um, seldom.ground_truth().spots_um)
    squares = ((seldom.ground_truth().spots_um - start) ** 2).sum(axis=1)
    assert squares.mean() == pytest.approx(4 * 0.5 * 1.0, rel=0.12)


def test_bleaching_can_be_switched_off() -> None:
    dose = np.full(10, 600.0)
    for bleaching, left in ((True, 0.5), (False, 1.0)):
        beads = Beads(1, beads=10, bleaching=bleaching)
        beads.expose(488.0, lambda places: dose)
        np.testing.assert_allclose(beads.ground_truth().spots_remaining, left, atol=0.03)


def test_time_does_not_go_back() -> None:
    beads = Beads(1)
    beads.advance(1.0)
    with pytest.raises(InputError, match="cannot go back"):
        beads.advance(0.5)
