"""A tuning from a movie to a verdict: kept where it truly helps, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tuning_helpers import (
    SIZE,
    counts,
    request_for,
    root_mean_square_error,
    small_network,
    still_movie,
    texture,
    write_movie,
)

from smartscope_models.tuning import learning, work
from smartscope_models.tuning.last_layers import LastLayers
from smartscope_models.tuning.lessons import Lesson
from smartscope_models.tuning.work import tune

POOR = 0.45
"""Blur of a network that leaves much noise in the helpers' texture."""


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "STOPS", (20, 60))
    monkeypatch.setattr(learning, "WINDOWS", 2)
    monkeypatch.setattr(work, "LEAST_PX", 5000)
    monkeypatch.setattr(learning, "LEARNING_RATE", 3e-3)


def at_once() -> float:
    return 0.0


def clock(*times: float) -> Callable[[], float]:
    """These times one after the other, then the last for ever."""
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("frames", [1, 3])
def test_kept_where_it_helps_by_the_truth_that_it_never_saw(tmp_path: Path, frames: int) -> None:
    network, light = small_network(POOR, frames), texture()
    request = request_for(still_movie(tmp_path / "movie.tif", 8 + 4 * frames))
    result = tune(network, request, at_once)
    outcome = result.outcome
    assert outcome.objections == ()
    assert outcome.kept
    assert outcome.steps == 60
    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.after.loss < outcome.before.loss - 0.05
    assert result.network is not None
    assert root_mean_square_error(result.network, light) < 0.85 * root_mean_square_error(network, light)
    unseen = texture(seed=2)
    assert root_mean_square_error(result.network, unseen) < 0.85 * root_mean_square_error(network, unseen)
    if frames == 1:
        again = tune(network, request, at_once)
        assert again.network is not None
        same = zip(result.network.parameters(), again.network.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in same)


def test_what_was_learnt_wrongly_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, ranks = learning._loss, iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(learning, "_loss", lambda layers, lesson: -right(layers, lesson))
    monkeypatch.setattr(learning, "choosing_loss", lambda layers, lessons: next(ranks))
    network = small_network(1.0)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    result = tune(network, request_for(still_movie(tmp_path / "movie.tif", 10)), at_once)
    assert result.network is None
    assert result.outcome.steps == 60
    assert any("does not surely fall" in why for why in result.outcome.objections)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize(
    ("frames", "size", "why"), [(5, SIZE, "too few frames"), (16, 48, "too few frames"), (7, SIZE, "too few pixels to")]
)
def test_too_little_to_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, size: int, why: str
) -> None:
    monkeypatch.setattr(work, "LEAST_PX", 30_000)
    light = np.repeat(texture(size=size)[None], frames, axis=0)
    result = tune(small_network(), request_for(write_movie(tmp_path / "movie.tif", counts(light))), at_once)
    assert result.network is None
    assert result.outcome.objections[0].startswith(why)
    assert result.outcome.after is None


def test_noise_is_looked_at_before_anything_is_learnt(tmp_path: Path) -> None:
    empty = np.full((24, SIZE, SIZE), 5.0, np.float32)
    result = tune(small_network(), request_for(write_movie(tmp_path / "movie.tif", counts(empty))), at_once)
    assert result.network is None
    assert result.outcome.noise is not None
    assert result.outcome.objections == (result.outcome.noise.refusal(),)


def test_the_time_ends_preparation_steps_and_verdict(tmp_path: Path) -> None:
    request = request_for(still_movie(tmp_path / "movie.tif", 10), seconds=60.0)
    assert "before the first clip" in tune(small_network(POOR), request, clock(30.0)).outcome.objections[0]
    prepared = [1.0] * 5
    short = tune(small_network(POOR), request, clock(*prepared, *[2.0] * 25, 50.0)).outcome
    assert (short.clips, short.steps) == (5, 20)
    none = tune(small_network(POOR), request, clock(*prepared, 50.0))
    assert none.network is None
    assert none.outcome.objections == ("no step made it better where the number of steps is chosen",)
    late = tune(small_network(POOR), request, clock(*prepared, *[2.0] * 60, 61.0))
    assert late.network is None
    assert late.outcome.steps == 60
    assert late.outcome.objections == ("the time was over before it was judged",)
    slow = tune(small_network(POOR), request, clock(*[1.0] * 4, 30.0, 50.0)).outcome
    assert slow.clips == 4


def test_what_becomes_no_number_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(layers: LastLayers, lesson: Lesson) -> torch.Tensor:
        return layers.scale * float("nan")

    monkeypatch.setattr(learning, "_loss", poisoned)
    result = tune(small_network(POOR), request_for(still_movie(tmp_path / "movie.tif", 10)), at_once)
    assert result.network is None
    assert result.outcome.objections == ("no step made it better where the number of steps is chosen",)


def test_learning_chooses_the_stop_that_is_best_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(learning, "choosing_loss", lambda layers, lessons: next(chosen))
    monkeypatch.setattr(learning, "STOPS", (2, 4))
    result = tune(small_network(POOR), request_for(still_movie(tmp_path / "movie.tif", 10)), at_once)
    assert result.outcome.steps == 2
