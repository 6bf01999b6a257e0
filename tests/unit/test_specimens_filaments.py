"""Filaments: photons are kept, the lens has its band limit, and bleaching follows the light at each emitter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.optics.incoherent import IncoherentLens
from smartscope.optics.psf import depth_um, sigma_um
from smartscope.specimens.filaments import Filaments
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import Light, View

SMALL = {"area_um": 6.0, "filaments": 6, "length_um": 5.0}
VIEW = View(
    stage_um=(0.0, 0.0),
    defocus_um=0.0,
    affine_um_per_px=((0.065, 0.0), (0.0, 0.065)),
    sensor_shape=(256, 256),
    roi=Roi(0, 0, 256, 256),
    sigma_um=sigma_um(525, 1.4),
    depth_um=depth_um(525, 1.4, 1.515),
    detected_fraction=0.127,
)


def picture(filaments: Filaments, view: View = VIEW, light: Light | None = None) -> np.ndarray:
    expected = np.zeros((view.roi.height, view.roi.width), np.float32)
    filaments.render(expected, view, {488.0: 0.1}, *([light] if light else []))
    return expected


def test_every_photon_that_is_collected_arrives() -> None:
    filaments = Filaments(1, background_per_um2=0, **SMALL)
    emitters = len(filaments.ground_truth().spots_um)
    assert emitters == round(6 * 5.0 * 20.0)
    expected = emitters * 12 * GREEN_PROTEIN.emitted(0.1, 488) * 0.127
    # what an Airy pattern sends beyond some um is lost at the edge
    assert picture(filaments).sum() == pytest.approx(expected, rel=0.02)


def test_the_lens_passes_nothing_beyond_its_cutoff_and_the_wide_field_below() -> None:
    image = picture(Filaments(1, background_per_um2=0, area_um=10.0, filaments=40)).astype(float)
    window = np.hanning(256)
    power = np.abs(np.fft.fft2(image * window * window[:, None])) ** 2
    f = np.fft.fftfreq(256)
    radius = np.hypot(f, f[:, None])
    cutoff = 2 * 1.4 / 525 * 65
    assert pytest.approx(cutoff) == VIEW.cutoff_per_um * VIEW.pixel_um
    assert power[radius > cutoff + 0.02].max() < 1e-8 * power[(radius > 0.3 * cutoff) & (radius < 0.4 * cutoff)].mean()


def test_one_emitter_is_an_airy_pattern_where_it_is() -> None:
    cutoff = 2 * 1.4 / 525 * 65
    image = np.zeros((96, 96), np.float32)
    IncoherentLens((96, 96), cutoff).add(np.array([47.3]), np.array([48.6]), np.array([1e4]), image)
    rows, columns = np.indices(image.shape)
    assert (image * columns).sum() / image.sum() == pytest.approx(47.3, abs=0.05)
    assert (image * rows).sum() / image.sum() == pytest.approx(48.6, abs=0.05)
    spectrum = np.abs(np.fft.fft2(image))[0]
    f = np.fft.fftfreq(96)
    s = np.abs(f) / cutoff
    below = s < 0.9
    transfer = 2 / np.pi * (np.arccos(s[below]) - s[below] * np.sqrt(1 - s[below] ** 2)) * np.sinc(f[below])
    np.testing.assert_allclose(spectrum[below] / 1e4, transfer, atol=0.02)


def test_pixels_must_carry_what_the_lens_passes() -> None:
    with pytest.raises(InputError, match=r"the lens passes 0\.533"):
        picture(Filaments(1, **SMALL), replace(VIEW, affine_um_per_px=((0.1, 0.0), (0.0, 0.1))))


def test_only_what_is_near_the_roi_is_drawn_and_a_part_is_part_of_the_whole() -> None:
    filaments = Filaments(2, area_um=30.0)
    whole = picture(filaments)
    part = picture(filaments, replace(VIEW, roi=Roi(40, 60, 64, 48)))
    np.testing.assert_allclose(part, whole[60:108, 40:104], rtol=0.05, atol=0.02 * whole.max())


def test_defocus_widens_and_keeps_the_light() -> None:
    filaments = Filaments(1, background_per_um2=0, **SMALL)
    sharp, wide = picture(filaments), picture(filaments, replace(VIEW, defocus_um=0.5))
    assert wide.max() < 0.6 * sharp.max()
    assert wide.sum() == pytest.approx(sharp.sum(), rel=0.01)


def test_light_reaches_each_emitter_before_the_blur_and_haze_is_even() -> None:
    filaments = Filaments(1, background_per_um2=0, **SMALL)
    fringes = Light(lambda places: 1 + np.cos(2 * np.pi * 5.0 * places[:, 0]))
    places = filaments.ground_truth().spots_um
    lit = 1 + np.cos(2 * np.pi * 5.0 * places[:, 0])
    assert picture(filaments, light=fringes).sum() == pytest.approx(picture(filaments).sum() * lit.mean(), rel=0.01)
    haze = np.full((256, 256), 0.5, np.float32)
    empty = Filaments(1, background_per_um2=80, molecules=1e-9, **SMALL)
    np.testing.assert_allclose(
        picture(empty, light=Light(lambda places: np.ones(len(places)), None, haze)), 0.5 * picture(empty), rtol=1e-4
    )


def test_emitters_bleach_by_the_dose_where_they_are() -> None:
    filaments = Filaments(1, **SMALL)
    filaments.expose(488.0, lambda places: np.where(places[:, 0] > 0, 600.0, 0.0))
    truth = filaments.ground_truth()
    right = truth.spots_um[:, 0] > 0
    np.testing.assert_allclose(truth.spots_remaining[right], 0.5, atol=0.03)
    assert (truth.spots_remaining[~right] == 1).all()
    lasting = Filaments(1, bleaching=False, **SMALL)
    lasting.expose(488.0, lambda places: np.full(len(places), 600.0))
    assert (lasting.ground_truth().spots_remaining == 1).all()


def test_filaments_are_as_stiff_as_asked_and_the_seed_decides() -> None:
    one, again, other = (Filaments(seed, **SMALL).ground_truth().spots_um for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    straight = Filaments(1, area_um=1e-3, filaments=1, persistence_um=1e9, length_um=10.0).ground_truth().spots_um
    assert np.linalg.matrix_rank(straight - straight.mean(0), tol=0.05) == 1
    assert np.ptp(straight, axis=0) @ np.ptp(straight, axis=0) == pytest.approx(100, rel=0.05)


def test_time_does_not_go_back() -> None:
    filaments = Filaments(1, **SMALL)
    filaments.advance(1.0)
    with pytest.raises(InputError, match="cannot go back"):
        filaments.advance(0.5)
