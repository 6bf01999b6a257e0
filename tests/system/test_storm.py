"""The shipped experiment of localisation microscopy: what its simulated microscope delivers, without the models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smartscope.app import run_experiment
from smartscope.loading import load
from smartscope.recorder.reader import RunReader

CONFIG = Path(__file__).parents[2] / "configs" / "storm.yaml"
BARE = ["clock=virtual", "bus.enabled=false", "pipeline=[]", "policies=[]", "duration_s=4"]


def ran(folder: Path, *changes: str) -> tuple[RunReader, np.ndarray]:
    """A run and its movie in photo-electrons, (N, H, W)."""
    run_experiment(load(CONFIG, [*BARE, *changes], {}), output=folder)
    reader = RunReader(folder)
    movie = np.stack([frame.pixels for frame in reader.frames])
    return reader, (movie.astype(float) - 100) * 0.46


def test_molecules_blink_in_front_of_a_haze(tmp_path: Path) -> None:
    reader, movie = ran(tmp_path / "run")
    assert movie.shape == (200, 128, 128)
    assert reader.frames[0].settings.lights_mw == {"laser_640": 10.0, "laser_405": 0.05}
    haze = np.median(movie[50:], axis=0)
    assert 0.82 * 8 < haze.mean() < 0.82 * 30
    blinking = movie[50:] - haze
    assert blinking.max() > 8 * np.sqrt(haze.max())
    lit = (blinking > 60).sum(axis=(1, 2))
    assert lit.min() > 10
    same, later = (np.mean(blinking[lag:] * blinking[: len(blinking) - lag]) for lag in (1, 20))
    assert later < 0.25 * same  # gone after 0.4 s


def test_more_activation_more_molecules_and_the_same_seed_the_same_movie(tmp_path: Path) -> None:
    _, few = ran(tmp_path / "few", "duration_s=1.5")
    _, again = ran(tmp_path / "again", "duration_s=1.5")
    _, many = ran(tmp_path / "many", "duration_s=1.5", "start.lights_mw={laser_640: 10, laser_405: 0.5}")
    np.testing.assert_array_equal(few, again)
    above = [(movie[25:] - np.median(movie)).sum() for movie in (few, many)]
    assert above[1] > 3 * above[0]


@pytest.mark.parametrize("structure", ["rings", "clusters"])
def test_other_structures_in_three_dimensions(tmp_path: Path, structure: str) -> None:
    _, movie = ran(
        tmp_path / "run",
        "duration_s=0.4",
        "microscope.optics.point_spread.model=astigmatic",
        f"microscope.options.specimen_options.structure={structure}",
        "microscope.options.specimen_options.height_um=0.8",
    )
    assert np.isfinite(movie).all()
    assert movie[10:].max() > 100
