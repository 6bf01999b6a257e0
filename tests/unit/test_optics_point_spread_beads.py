"""From beads to a point spread function: found, placed, averaged; and one clear error where that cannot be."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bead_stacks import HEIGHTS_NM, LENS, STEP_NM, bead_stack
from typer.testing import CliRunner

from smartscope.calibrating import calibrate_point_spread
from smartscope.cli import app
from smartscope.errors import InputError
from smartscope.optics.point_spread.bead_stack import spline_from_beads, window_px
from smartscope.optics.point_spread.beads import cut_beads, find_beads
from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.point_spread.spline_file import load_spline
from smartscope.optics.point_spread.widths import gaussian_widths


def test_beads_on_their_own_are_found() -> None:
    stack, places = bead_stack()
    found = find_beads(stack, 25)
    assert {(round(y), round(x)) for x, y in places} == {tuple(place) for place in found}
    assert cut_beads(stack, found, 25).shape == (16, len(stack), 25, 25)


def test_neighbours_and_beads_at_the_rim_are_left_out() -> None:
    stack, _ = bead_stack(side=3)
    whole = len(find_beads(stack, 25))
    crowded = stack + np.roll(stack, 12, axis=2)
    assert whole == 9
    with pytest.raises(InputError, match="no bead stands alone"):
        find_beads(crowded, 25)
    assert len(find_beads(stack[:, 15:, 15:], 25)) == 4


@pytest.mark.parametrize("uneven_nm", [0.0, 80.0])
def test_the_shape_comes_back(uneven_nm: float) -> None:
    stack, _ = bead_stack(uneven_nm=uneven_nm)
    found = spline_from_beads(stack, z_step_nm=STEP_NM, pixel_size_nm=100.0)
    assert (found.beads, found.found, list(found.warnings)) == (16, 16, [])
    assert found.unexplained < 0.06
    z = np.arange(-400.0, 401, 100)
    middle = (np.array(found.spline.size_px) - 1) / 2
    light = found.spline.spots(12.3, 11.8, z, (25, 25)).values
    true = gaussian_spots(12.3, 11.8, *LENS.widths_px(z), (25, 25)).values
    assert tuple(middle) == (12, 12)
    assert np.abs(light - true).max() < 0.03 * true.max()
    assert light.sum(axis=(1, 2)) == pytest.approx(1, abs=0.01)


def test_a_stack_the_other_way_round_is_the_same() -> None:
    stack, _ = bead_stack()
    up, down = (
        spline_from_beads(s, z_step_nm=step, pixel_size_nm=100.0) for s, step in ((stack, 50.0), (stack[::-1], -50.0))
    )
    np.testing.assert_allclose(up.spline.weights, down.spline.weights)
    assert up.spline.low_nm == down.spline.low_nm


def test_a_bead_unlike_the_others_is_left_out() -> None:
    stack, places = bead_stack()
    x, y = np.rint(places[5]).astype(int)
    around = np.s_[:, y - 15 : y + 16, x - 15 : x + 16]
    stack[around] += 0.7 * np.roll(stack[around], 3, axis=2)  # two beads in one
    found = spline_from_beads(stack, z_step_nm=STEP_NM, pixel_size_nm=100.0)
    assert (found.beads, found.found) == (15, 16)


def test_what_is_not_good_enough_is_said() -> None:
    stack, _ = bead_stack(side=2, photons=6000.0)
    few = list(spline_from_beads(stack, z_step_nm=STEP_NM, pixel_size_nm=100.0).warnings)
    assert any("4 beads used" in word for word in few)
    assert any("not explained" in word for word in few)
    apart, _ = bead_stack(uneven_nm=900.0)
    assert any("look different" in word for word in spline_from_beads(apart, z_step_nm=50, pixel_size_nm=100).warnings)


def test_stacks_that_are_none() -> None:
    stack, _ = bead_stack(side=2)
    noise = np.random.default_rng(3).poisson(20, stack.shape).astype(np.float32)
    broken = np.where(np.arange(stack.shape[2]) == 3, np.nan, stack)
    moving = np.stack([np.roll(plane, 3 * (k % 5), axis=0) for k, plane in enumerate(stack)])
    for values, words in (
        (stack[0], "no z-stack"),
        (stack[:5], "no z-stack"),
        (stack[:, :20], "no z-stack"),
        (noise, "no bead stands alone"),
        (np.zeros_like(stack), "no bead stands alone"),
        (broken, "no numbers"),
        (moving, "do not look alike"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            spline_from_beads(values, z_step_nm=STEP_NM, pixel_size_nm=100.0)
        assert caught.value.remedy
    for step, size in ((0.0, None), (50.0, 20)):
        with pytest.raises(InputError, match="a z-step of"):
            spline_from_beads(stack, z_step_nm=step, pixel_size_nm=100.0, size_px=size)


def test_windows_are_odd_and_of_a_size() -> None:
    assert [window_px(size) for size in (20.0, 100.0, 160.0, 400.0)] == [41, 25, 17, 13]


def test_widths_of_gaussians_are_their_own() -> None:
    planes = gaussian_spots(12.2, 11.7, *LENS.widths_px(HEIGHTS_NM), (25, 25)).values
    np.testing.assert_allclose(gaussian_widths(planes), LENS.widths_px(HEIGHTS_NM), rtol=1e-4)
    dark = gaussian_widths(np.zeros((1, 25, 25)) + np.eye(25) * 1e-9)
    assert np.isfinite(dark).all()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with beads.tif, a brighter one, and camera.json."""
    electrons, _ = bead_stack()
    for name, brighter in (("beads.tif", 1), ("bright.tif", 12)):
        counts = np.minimum(brighter * electrons / 0.46 + 100, 65535).astype(np.uint16)
        tifffile.imwrite(tmp_path / name, counts, photometric="minisblack")
    camera = {"pixel_size_nm": 100.0, "offset_adu": 100.0, "electrons_per_adu": 0.46}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    return tmp_path


def test_the_command_makes_a_file_that_can_be_loaded(recorded: Path) -> None:
    arguments = ["--z-step-nm", "50", "--camera", str(recorded / "camera.json"), "--output", str(recorded / "psf.npz")]
    ended = CliRunner().invoke(app, ["calibrate", "psf", str(recorded / "beads.tif"), *arguments])
    assert ended.exit_code == 0, ended.output
    assert "16 of 16 beads" in ended.output
    assert "model: spline, file:" in ended.output
    told = re.search(r"astigmatic, sigma_px: (\S+), focal_offset_nm: (\S+), focal_depth_nm: (\S+),", ended.output)
    assert told is not None
    assert [float(value) for value in told.groups()] == pytest.approx([1.3, 220, 380], rel=0.02)
    low, high = load_spline(recorded / "psf.npz", 100.0).range_nm
    assert low < -450
    assert high > 450
    again = CliRunner().invoke(app, ["calibrate", "psf", str(recorded / "beads.tif"), *arguments])
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)


def test_saturated_beads_and_round_ones_are_told(recorded: Path) -> None:
    found = calibrate_point_spread(recorded / "bright.tif", recorded / "a.npz", 50.0, recorded / "camera.json")
    assert any("pixels are saturated" in word for word in found.warnings)
    lens = gaussian_spots(20.0, 20.0, *[1.3 * np.hypot(1, HEIGHTS_NM / 300)] * 2, (40, 40)).values
    counts = np.random.default_rng(4).poisson(50_000 * lens + 20) / 0.46 + 100
    tifffile.imwrite(recorded / "round.tif", counts.astype(np.uint16), photometric="minisblack")
    found = calibrate_point_spread(recorded / "round.tif", recorded / "b.npz", 50.0, recorded / "camera.json")
    assert found.astigmatism is None
    assert any("not astigmatic: both widths are sharpest at the same height" in word for word in found.warnings)


def test_no_stack(recorded: Path) -> None:
    with pytest.raises(InputError, match="no such movie"):
        calibrate_point_spread(recorded / "none.tif", recorded / "c.npz", 50.0, recorded / "camera.json")
