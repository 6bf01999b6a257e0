"""The ring resolution is what precision and density allow, and none where the molecules lie anywhere."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from molecule_helpers import blinking, even, moved

from smartscope_models.localization.molecules import Molecules
from smartscope_models.localization.ring_resolution import LEAST_PX, HalfSets
from smartscope_models.resolution import ring_resolution

FIELD_NM = 5120.0
PIXEL_NM = 10.0
FRAMES = 400


def halves(width_nm: float = FIELD_NM, height_nm: float = FIELD_NM, pixel_nm: float = PIXEL_NM) -> HalfSets:
    return HalfSets(width_nm, height_nm, pixel_nm, block_s=1.0, every_s=1.0)


def around(sites: np.ndarray, count: int, error_nm: float, seed: int = 1) -> Iterator[Molecules]:
    """So many molecules in all, evenly over eight seconds, each near a site drawn anew."""
    rng = np.random.default_rng(seed)
    for k in range(FRAMES):
        place = sites[rng.integers(0, len(sites), count // FRAMES)] + rng.normal(0, error_nm, (count // FRAMES, 2))
        yield Molecules(k * 0.02, *place.T, np.full(len(place), error_nm))


def measured(sets: HalfSets, frames: Iterator[Molecules], on_time_ms: float | None = 1.0) -> float | None:
    for found in frames:
        sets.add(found, 0.0, 0.0, on_time_ms)
    for _ in range(1000):
        sets.work(100.0)
    return sets.resolution_nm


def expected_nm(per_site_and_half: float, error_nm: float) -> float:
    """Where n M^2 / (1 + n M^2) = 1 / 7, with M = exp(-2 pi^2 error^2 q^2) and n molecules a site in each half."""
    return 2 * math.pi * error_nm / math.sqrt(math.log(6 * per_site_and_half))


@pytest.mark.parametrize(("each", "error_nm"), [(1.5, 10.0), (5.0, 10.0), (20.0, 10.0), (5.0, 20.0), (5.0, 15.0)])
def test_resolution_is_what_precision_and_density_allow(each: float, error_nm: float) -> None:
    sites = np.random.default_rng(2).uniform(0, FIELD_NM, (1500, 2))
    found = measured(halves(), around(sites, round(2 * each * len(sites)), error_nm))
    assert found == pytest.approx(expected_nm(each, error_nm), rel=0.1 if each >= 5 else 0.15)


def test_finer_pixels_change_nothing() -> None:
    sites = np.random.default_rng(3).uniform(0, FIELD_NM, (1500, 2))
    coarse, fine = (measured(halves(pixel_nm=nm), around(sites, 30_000, 15.0)) for nm in (16.0, 5.12))
    assert coarse == pytest.approx(fine, rel=0.06)


def test_what_lies_anywhere_has_no_resolution() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert measured(halves(), around(rng.uniform(0, FIELD_NM, (10**6, 2)), 20_000, 10.0, seed)) is None


def test_a_molecule_that_stays_on_from_block_to_block_is_no_structure() -> None:
    """Molecules that blink once, anywhere: both halves have some in common if nobody takes care."""
    frames = list(blinking(4, even(800), per_second=1000.0, on_time_ms=100.0, field_nm=FIELD_NM))
    assert measured(halves(), iter(frames), on_time_ms=100.0) is None
    careless = HalfSets(FIELD_NM, FIELD_NM, PIXEL_NM, block_s=0.06, every_s=1.0)
    assert measured(careless, iter(frames), on_time_ms=1e-3) is not None  # as it would look


def test_drift_that_is_taken_out_does_no_harm_and_drift_that_is_not_does() -> None:
    sites = np.random.default_rng(5).uniform(500, FIELD_NM - 500, (1000, 2))
    known, unknown = halves(), halves()
    for found in around(sites, 20_000, 10.0):
        drift_nm = 20.0 * found.t_s
        here = moved(found, drift_nm, 0.0)
        known.add(here, drift_nm, 0.0, 1.0)
        unknown.add(here, 0.0, 0.0, 1.0)
    with_it, without = measured(known, iter(())), measured(unknown, iter(()))
    assert with_it == pytest.approx(expected_nm(10.0, 10.0), rel=0.1)
    assert without is None or without > 1.5 * with_it


def test_halves_share_what_drift_and_bleaching_leave() -> None:
    """In the order A B B A: both have the same mean time."""
    sets, times = halves(), [[], []]
    one = np.full(1, 100.0)
    for k in range(800):
        before = list(sets._counts)
        sets.add(Molecules(k * 0.01, one, one, one), 0.0, 0.0, 1.0)
        for half in (0, 1):
            times[half] += [k * 0.01] * (sets._counts[half] - before[half])
    assert np.mean(times[0]) == pytest.approx(np.mean(times[1]), abs=0.03)


def test_it_agrees_with_the_ring_correlation_of_whole_images() -> None:
    sites = np.random.default_rng(6).uniform(0, FIELD_NM, (1000, 2))
    sets = halves()
    found = measured(sets, around(sites, 30_000, 20.0))
    assert found == pytest.approx(ring_resolution(*sets._halves.astype(float), FIELD_NM), rel=0.12)


def test_work_is_done_in_strips_and_only_now_and_then() -> None:
    sites = np.random.default_rng(7).uniform(0, FIELD_NM, (1000, 2))
    sets = halves()
    sets.work(0.0)
    for found in around(sites, 20_000, 10.0):
        sets.add(found, 0.0, 0.0, 1.0)
    frames = 0
    while sets.resolution_nm is None:
        sets.work(8.0)
        frames += 1
    assert 8 < frames < 30
    first, sets.resolution_nm = sets.resolution_nm, None
    for _ in range(40):
        sets.work(8.5)
    assert sets.resolution_nm is None  # not before its time
    for _ in range(40):
        sets.work(9.5)
    assert sets.resolution_nm == first


def test_too_few_molecules_are_not_measured() -> None:
    assert measured(halves(), around(np.full((1, 2), 2000.0), 800, 10.0)) is None


def test_no_finer_than_two_pixels() -> None:
    sites = np.random.default_rng(8).uniform(0, FIELD_NM, (300, 2))
    assert measured(halves(), around(sites, 20_000, 2.0)) == pytest.approx(2 * PIXEL_NM, rel=0.05)


@pytest.mark.parametrize(("width_nm", "height_nm"), [(30_000.0, 1600.0), (3100.0, 25_700.0), (200.0, 200.0)])
def test_any_field_has_a_square_in_its_middle(width_nm: float, height_nm: float) -> None:
    sets = halves(width_nm, height_nm)
    middle = np.full(1, 1.0)
    sets.add(Molecules(0.0, width_nm / 2 * middle, height_nm / 2 * middle, middle), 0.0, 0.0, 1.0)
    row, column = np.argwhere(sets._halves[0])[0]
    assert LEAST_PX <= sets.size <= 1024
    assert abs(row - sets.size / 2) <= 1
    assert abs(column - sets.size / 2) <= 1


def test_microtubules_of_known_places(data: Path) -> None:
    """The true positions behind Deep-STORM's stack: as dense as these are, precision alone limits."""
    path = data / "deepstorm2d" / "Positions_Bundeld_Tubulin_Recreated.xlsx"
    if not path.exists():
        pytest.skip(f"no {path}; set SMARTSCOPE_DATA")
    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    values = re.findall(r'<c r="[ABC]\d+"><v>([^<]*)</v></c>', sheet)
    places = np.array(values, float).reshape(-1, 3)[:, 1:]
    assert len(places) == 81_178
    field_nm = 100.0 * 64
    found = [measured(halves(field_nm, field_nm), around(places, 80_000, error_nm)) for error_nm in (10.0, 25.0)]
    assert found[0] is not None
    assert found[1] is not None
    assert 25 < found[0] < 60
    assert found[1] > 1.3 * found[0]
