"""The benchmark of activation runs, and what it counts by itself is right where the answer is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from activation_plant import FRAME_S, Plant
from judging.activation.failing import WAYS, Failing
from judging.activation.figures import blinking_bound, per_second, settled_s
from judging.activation.rivals import PeakCounter, PulseLaw, PulseState, peaks
from judging.activation.witness import right

from smartscope.command import SetLight
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import Localizations
from smartscope.testing.policy_contract import LIGHT, SETTINGS, context

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_activation.py"
ROOT = PROGRAM.parents[2]
SETUP = Instrument(CameraCalibration(), OpticsConfig())


def test_seconds_settling_and_their_absence() -> None:
    t_s = list(np.arange(0, 20, 0.1) + 3.0)
    active = np.repeat([10, 50, 61, 59], 50)
    means = per_second(list(active), t_s)
    assert means.tolist() == [10.0] * 5 + [50.0] * 5 + [61.0] * 5 + [59.0] * 5
    assert settled_s(means, 60.0) == 10
    assert settled_s(means, 30.0) is None
    gap = per_second([1, 1, 5], [0.0, 0.5, 2.0])
    assert gap[0] == 1
    assert np.isnan(gap[1])


def test_the_bound_of_blinking_is_what_an_even_rate_gives() -> None:
    plant, visible = Plant(5, bleached=0.0), []
    for k in range(6000):
        plant.step(k * FRAME_S, 48.0)
        visible.append(plant.visible)
    means = np.array(visible[100:5900]).reshape(-1, 50).mean(axis=1)
    bound = blinking_bound(plant.activated, means.mean(), 50.0)
    assert bound == pytest.approx(0.034, abs=0.002)
    assert means.std() / means.mean() == pytest.approx(bound, rel=0.2)


def test_each_molecule_makes_one_localisation_right() -> None:
    none = np.zeros(3, np.float32)
    found = Localizations(*(none for _ in fields(Localizations)))
    found = replace(found, x_px=np.array([1, 1.2, 40], np.float32), y_px=np.array([1, 1, 40], np.float32))
    assert right(found, np.array([1.0, 30.0]), np.array([1.0, 30.0]), 2.5) == 1
    assert right(found, np.array([1.0, 2.0]), np.array([1.0, 1.0]), 2.5) == 2
    assert right(found, np.empty(0), np.empty(0), 2.5) == 0


def test_the_published_counter_sees_who_has_gone() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:128, :128]
    spots = sum(2000 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 3.4) for a in (20, 60, 100) for b in (30, 90))
    before, now = rng.poisson(spots + 100.0).astype(float), rng.poisson(np.full((128, 128), 100.0))
    assert peaks(before - now) == 6
    assert peaks(np.zeros((32, 32))) == 0
    counter, frame = PeakCounter(SETUP), context().result.frame
    counter.warm_up((64, 64))
    assert "peaks" not in counter.step([frame], context().result).quality
    assert counter.step([frame, frame], context().result).quality["peaks"] == 0


def test_the_published_law_by_hand() -> None:
    law = PulseLaw(LIGHT, n0=60.0, mw_per_unit=0.5, reads_figure="emitters")
    settings = replace(SETTINGS, lights_mw={LIGHT: 1.0})  # a pulse of 2

    def decide(count: float, change: float) -> tuple[float, float]:
        given = context(5.0, settings=settings, quality={"emitters": count}, state=PulseState(change))
        choice = law.decide(given)
        (request,) = choice.requests
        assert isinstance(request.command, SetLight)
        return request.command.power_mw, choice.state.change

    assert decide(30.0, 0.0) == pytest.approx((1.25, 0.5))  # dp = 0.1 + 0.4 * 2 * 0.5
    assert decide(30.0, 0.7) == pytest.approx((1.6, 0.0))  # dp = 1.2, p = 3.2, and dp begins again
    assert decide(600.0, 0.0) == (0.0, 0.0)
    assert decide(0.0, 200.0)[0] == 40.0
    early = law.decide(context(5.0, settings=settings, quality={"emitters": 9.0}))
    assert not early.requests
    assert not law.decide(context(6.0, settings=settings, quality={}, state=early.state)).requests


@pytest.mark.parametrize("way", WAYS)
def test_counters_fail_from_their_time_on(way: str) -> None:
    counter = Failing(SETUP, way, from_s=2.0)
    counter.warm_up((64, 64))
    honest = {"emitters": 60.0, "recall_health": 0.9}
    results = [
        counter.step([given.result.frame], given.result) for given in (context(t, quality=honest) for t in (1.0, 4.0))
    ]
    assert results[0].quality == honest
    assert results[1].quality.get("emitters", 0.0) < 60


def test_the_benchmark_runs() -> None:
    paths = (ROOT, ROOT / "drivers", ROOT / "models", PROGRAM.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, str(PROGRAM), "--seeds", "1", "--duration", "2", "--localizer", "stand-in"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert set(figures["summary"]) == {"ours", "htsmlm", "htsmlm_frame", "htsmlm_mean", "fixed", "fixed_at_first"}
    (run,) = figures["runs"]
    assert run["ours"]["right"] > 100
    assert run["fixed"]["power_mw_mean"] == pytest.approx(run["ours"]["power_mw_mean"], rel=0.01)
    assert run["failing"]["way"] == "zero"
