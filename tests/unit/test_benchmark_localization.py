"""The benchmark of localisation runs, and what it counts by itself is right where the answer is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_localization_peers
from judging.evaluator import BESIDE, VARIABLE, Evaluator
from judging.localization import candidates, latency
from judging.localization.bench import Bench, differences, families, summary
from judging.localization.candidates import PEAKS, Ours, PeakFinder
from judging.localization.crowds import lost
from judging.localization.isolated import own_figures, resampled
from judging.localization.joint_bound import JointBound, Light, drawn, fisher
from judging.localization.movies import Doubles, Movie, Scene, isolated_frames, read_columns, write_list
from judging.localization.multiply_adds import multiply_adds, parameters
from judging.localization.network_alone import NetworkAlone, PeerFinder, networks_alone, stabilised
from judging.localization.networks import costs
from judging.localization.peak_finder import find_peaks
from judging.localization.peer_networks import FIRST, FRAMES, PEER_NETWORKS, DecodeClass, LiteLocClass
from judging.localization.peer_training import Plan, drawn_lessons, train, trained, weights_file
from judging.localization.picasso_peer import PicassoProcess
from judging.localization.speed import SIGMA_PX, SPOTS, Mosaic, bound_px, cut_out, paired_ratios
from judging.localization.tables import markdown
from torch import nn

from smartscope_models.localization.sight import CONDITIONS, Floats, level_of
from smartscope_models.training.learn_localizer import LOCALIZER_RECIPES, LocalizerRecipe
from smartscope_models.training.localizer import FLAT_HEADS, heads_of
from smartscope_models.training.molecules import draw_lessons

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_localization.py"
ROOT = PROGRAM.parents[2]


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    """Frozen; skips where it is absent."""
    found = Path(os.environ.get(VARIABLE, BESIDE))
    if not (found / "localization.py").is_file():
        pytest.skip(f"no evaluator at {found}; set {VARIABLE}")
    return Evaluator(found)


@pytest.fixture(scope="module")
def lone(evaluator: Evaluator, tmp_path_factory: pytest.TempPathFactory) -> Movie:
    """Isolated molecules."""
    return Movie(evaluator, tmp_path_factory.mktemp("lone") / "movie", Scene(110, frames=20))


def light(astigmatic: bool = False) -> Light:
    """Of a small sensor."""
    shape = (48, 48)
    return Light(1.3, np.full(shape, 1.96), np.full(shape, 10.0), astigmatism_nm=(250.0, 400.0) if astigmatic else None)


def stated(of: Light, *places: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
    """Standard deviations of x, y, photons (and height) of molecules at x, y, z, photons."""
    found = drawn(fisher(of, *np.array(places).T), np.random.default_rng(0))[1][:-1]
    return np.asarray(found.reshape(len(places), -1))


def test_far_apart_the_joint_bound_is_that_of_each_molecule_alone(lone: Movie) -> None:
    one = stated(light(), (14.2, 15.4, 0, 1000.0))[0]
    far = stated(light(), (14.2, 15.4, 0, 1000.0), (34.0, 31.0, 0, 800.0))[0]
    near = stated(light(), (14.2, 15.4, 0, 1000.0), (15.8, 15.9, 0, 800.0))[0]
    assert far == pytest.approx(one, rel=1e-4)
    assert (near[:2] > 1.5 * one[:2]).all()
    truth, bound = lone.truth(), lone.folder / "bound.csv"
    JointBound().localize(lone, bound)
    # the evaluator fits the background of a window, we that of the frame: a little better
    ratio = read_columns(bound)["uncertainty_xy [nm]"] / np.hypot(truth["crlb_x_nm"], truth["crlb_y_nm"]) * np.sqrt(2)
    assert 0.97 < ratio.min() < ratio.max() < 1.001
    scored = lone.score(bound)
    assert scored["jaccard"] == 100
    assert scored["crlb_ratio"] == pytest.approx(1, abs=0.05)


def test_fisher_information_is_the_change_of_the_mean() -> None:
    of = light(astigmatic=True)
    place = np.array([20.3, 22.9, 120.0, 900.0])

    def mean(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        x, y, z, photons = values
        edges = np.arange(49.0)
        across, down, *_ = of.widths(np.array([z]))
        shares = [
            np.diff([0.5 * (1 + _erf((edge - centre) / (np.sqrt(2) * width))) for edge in edges])
            for centre, width in ((x, across[0]), (y, down[0]))
        ]
        return np.asarray(photons * np.outer(shares[1], shares[0]) + 10.0)

    steps = np.diag([1e-4, 1e-4, 1e-2, 1e-2])
    slopes = np.array([(mean(place + step) - mean(place - step)) / (2 * step.sum()) for step in steps])
    expected = np.einsum("iyx,jyx,yx->ij", slopes, slopes, 1 / (mean(place) + 1.96))[np.ix_([0, 1, 3, 2], [0, 1, 3, 2])]
    found = fisher(of, *place[:, None])[:4, :4]
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-4 * np.abs(expected).max())


def _erf(value: float) -> float:
    import math

    return math.erf(value)


def test_errors_are_drawn_with_the_covariance_of_the_bound() -> None:
    information = fisher(light(), *np.array([(20.0, 20.0, 0, 1000.0), (22.5, 20.5, 0, 700.0)]).T)
    rng = np.random.default_rng(3)
    errors = np.array([drawn(information, rng)[0] for _ in range(3000)])
    expected = np.linalg.inv(information)
    scale = np.sqrt(np.diag(expected))
    assert np.cov(errors.T) / np.outer(scale, scale) == pytest.approx(expected / np.outer(scale, scale), abs=0.08)


def test_the_peak_finder_finds_a_lone_spot_where_it_is() -> None:
    rng = np.random.default_rng(0)
    photons = rng.normal(10, 3, (3, 40, 40))
    rows, columns = np.mgrid[:40, :40]
    photons[1] += 30000 / (2 * np.pi * 1.69) * np.exp(-((rows - 17.3) ** 2 + (columns - 22.6) ** 2) / (2 * 1.69))
    frame, x, y, total = find_peaks(photons)
    assert frame.tolist() == [1]
    assert (x[0], y[0]) == pytest.approx((23.1, 17.8), abs=0.03)
    assert total[0] == pytest.approx(30000, rel=0.03)


def test_isolated_molecules_are_judged_by_ourselves_as_by_the_evaluator(lone: Movie) -> None:
    assert isolated_frames(1280) == 20
    out = lone.folder / "bound.csv"
    JointBound().localize(lone, out)
    mine = own_figures(lone, out)
    assert mine["ratio"] == pytest.approx(lone.score(out)["crlb_ratio"], abs=1e-3)
    low, high = mine["ratio_interval_95"]
    assert low < mine["ratio"] < high < low + 0.1
    assert mine["calibration"] == pytest.approx(1, abs=0.05)
    columns = read_columns(out)
    counted_from_1 = {name: columns[name] for name in columns if name != "frame"}
    write_list(out, columns["frame"] + 1, counted_from_1)
    assert own_figures(lone, out) == mine
    write_list(out, [], {name: np.empty(0) for name in counted_from_1})
    assert own_figures(lone, out) == {}


def test_scenes_become_arguments_and_rows() -> None:
    assert "--isolated" in Scene(1).arguments()
    assert "--pixel-maps" in Scene(1, 0.4, maps=True).arguments()
    assert Scene(7, 0.4, sigma_error=0.1).row() == {"density": 0.4, "seed": 7, "sigma_error": 0.1}
    assert resampled(lambda draw: float(np.ones(5)[draw].mean()), 5) == (1.0, [1.0, 1.0])


def test_multiply_adds_of_known_layers() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 2, stride=2, groups=2), nn.ConvTranspose2d(4, 2, 2, stride=2)
    )
    counted = multiply_adds(layers, lambda: layers(torch.zeros(2, 3, 6, 10)))
    assert counted == {"0": 2 * 60 * 8 * 3 * 9, "1": 2 * 15 * 4 * 4 * 4, "2": 2 * 15 * 4 * 2 * 4}
    line = nn.Linear(5, 7)
    assert multiply_adds(line, lambda: [line(torch.zeros(3, 5)), line(torch.zeros(1, 5))]) == {"": 4 * 35}
    assert parameters(line) == 42


def test_the_peers_networks_have_the_published_size() -> None:
    decode, liteloc = DecodeClass(conditions=0).eval(), LiteLocClass(conditions=0).eval()
    assert parameters(decode) == pytest.approx(2.20e6, rel=0.005)
    assert parameters(liteloc) == pytest.approx(1.33e6, rel=0.005)
    with torch.no_grad():
        layers = multiply_adds(decode, lambda: decode(torch.zeros(1, FRAMES, 128, 128), torch.zeros(1, 0)))
        lite = multiply_adds(liteloc, lambda: liteloc(torch.zeros(1, FRAMES, 128, 128), torch.zeros(1, 0)))
    assert sum(layers.values()) == pytest.approx(17.05e9, rel=0.001)
    each = sum(number for name, number in lite.items() if name.startswith("per_frame"))
    # published: of ten frames that are made of twelve
    assert sum(lite.values()) - each * (3 - 1.2) / 3 == pytest.approx(7.08e9, rel=0.005)


@pytest.mark.parametrize("name", PEER_NETWORKS)
def test_the_peers_networks_answer_as_ours_and_begin_as_ours(name: str) -> None:
    torch.manual_seed(0)
    network = PEER_NETWORKS[name]()
    frames, told = torch.randn(2, FRAMES, 16, 16), torch.randn(2, CONDITIONS)
    raw = network(frames, told)
    assert raw.shape == (2, len(FLAT_HEADS), 16, 16)
    means = dict(zip(FLAT_HEADS, raw.detach().mean((0, 2, 3)).tolist(), strict=True))
    assert means["photons"] == pytest.approx(FIRST["photons"], abs=1.0)
    assert means["probability"] == pytest.approx(FIRST["probability"], abs=1.0)
    maps = heads_of(network.features(network.stem(frames), told).float(), deep=False)
    assert maps.shape == raw.shape
    assert (maps[:, 3] - raw[:, 3]).abs().max() < 0.2
    raw.sum().backward()
    assert all(value.grad is not None for value in network.parameters())


@pytest.fixture(scope="module")
def small() -> LocalizerRecipe:
    """Two steps on two small lessons."""
    return replace(LOCALIZER_RECIPES["localize_flat"], name="liteloc_class", steps=2, crops=2, crop_px=32)


def test_a_peer_learns_from_our_lessons_and_is_judged_on_others(small: LocalizerRecipe, tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan("liteloc_class", small, judge_every=1)
    path = train(plan, tmp_path, said.append)
    assert path == weights_file(tmp_path, "liteloc_class", 1)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert [one["step"] for one in facts["held_out"]] == [1, 2]
    assert len(said) == 2
    again = train(replace(plan, history=[]), tmp_path / "again", said.append)
    kept, anew = (torch.load(one, weights_only=True) for one in (path, again))
    assert all(torch.equal(kept[name], anew[name]) for name in kept)
    assert set(trained(tmp_path)) == {"liteloc_class#1"}


def test_a_peer_is_planned_as_ours_or_for_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_localization_peers, "TIMED", 1)
    monkeypatch.setattr(train_localization_peers, "WARM", 0)
    monkeypatch.setattr(sys, "argv", ["x", "liteloc_class", "--out", str(tmp_path), "--crops", "1"])
    given = train_localization_peers.arguments()
    ours = LOCALIZER_RECIPES["localize_flat"]
    assert train_localization_peers.planned(given).recipe == replace(ours, name="liteloc_class", crops=1)
    given.seconds = 1000.0
    steps = train_localization_peers.planned(given).recipe.steps
    assert 10 < steps < 1e6
    given.seconds = 1.0
    assert train_localization_peers.planned(given).recipe.steps == steps  # as before it was cut off


def test_lessons_are_drawn_ahead_in_order_as_ours_are(small: LocalizerRecipe) -> None:
    plan = Plan("liteloc_class", replace(small, steps=4), drawers=3)
    found = [lessons.seen for lessons in drawn_lessons(plan, 1)]
    expected = [draw_lessons(small.fields, 2, 32, (small.seed, 1, step)).seen for step in (1, 2, 3)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_peer_is_shown_unit_noise_and_the_two_frames_before(lone: Movie) -> None:
    stable = stabilised(lone)
    assert stable.shape == lone.counts().shape
    empty = stable[stable < np.quantile(stable, 0.7)]  # molecules cover a third
    assert np.median(empty) - np.quantile(empty, 0.16) == pytest.approx(0.85, abs=0.15)
    seen: list[torch.Tensor] = []

    class Watching(PEER_NETWORKS["liteloc_class"]):  # type: ignore[misc]
        def forward(self, frames: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
            seen.append(frames)
            return torch.zeros(1, len(FLAT_HEADS), *frames.shape[2:])  # a probability of 0.5 everywhere

    found = NetworkAlone("all", PeerFinder(Watching()))
    odd = stable[:4, :126, :125]
    rows = [found.finder.rows(frame, number > 0, 1.3) for number, frame in enumerate(odd)]
    assert len(rows[0])
    assert rows[0][:, 0].max() < 125.5
    assert seen[0].shape == (1, FRAMES, 128, 128)
    assert not seen[0][0, :2].any()
    assert not seen[1][0, :2].any()  # one frame before is none before, as in the lessons
    assert torch.allclose(seen[2][0, 0, :126, :125], torch.from_numpy(odd[0] - level_of(odd[2])) / 4, atol=1e-5)
    assert torch.allclose(seen[3][0, 1, :126, :125], torch.from_numpy(odd[2] - level_of(odd[3])) / 4, atol=1e-5)


def test_a_network_alone_writes_a_list_that_can_be_judged(lone: Movie) -> None:
    class Told:
        def rows(self, stable: Floats, follows: bool, sigma_px: float) -> Doubles:
            number = self.number = self.number + 1 if follows else 0
            mine = truth["frame"] == number
            rows = np.zeros((mine.sum(), 11))
            rows[:, 0], rows[:, 1] = truth["x_nm"][mine] / 100 - 0.5, truth["y_nm"][mine] / 100 - 0.5
            rows[:, 2], rows[:, 4:6] = np.log(1000), 0.06
            return rows

    truth, out = lone.truth(), lone.folder / "told.csv"
    NetworkAlone("told", Told()).localize(lone, out)
    found = lone.score(out)
    assert (found["jaccard"], found["rmse_lateral_nm"]) == (100, pytest.approx(0, abs=1e-3))
    assert found["photon_bias_percent"] == pytest.approx(0, abs=1e-3)
    assert networks_alone(None, ["localize_flat"]) == []


def test_costs_are_counted_for_every_network() -> None:
    rows = {row["network"]: row for row in costs(turns=1)}
    assert list(rows) == ["ours", *PEER_NETWORKS]
    assert rows["ours"]["gmac_streamed"] == rows["ours"]["gmac_window"] < 4
    assert 4 < rows["decode_class"]["gmac_streamed"] < rows["decode_class"]["gmac_window"]


def test_our_fit_sees_exactly_the_cut_out_spots() -> None:
    spots, places, limit_px = cut_out(9, 1000.0, 10.0, 5)
    assert spots.shape == (SPOTS, 9, 9)
    assert limit_px * 100 == pytest.approx(5.8, abs=0.1)  # nm, of the numeric sum with read noise 1.4
    found = Mosaic(spots[:500]).fitted(width_free=True) - 4
    assert np.sqrt(np.mean((found - places[:500]) ** 2)) / limit_px == pytest.approx(1, abs=0.1)
    assert bound_px(9, 4000.0, 10.0) < 0.55 * bound_px(9, 1000.0, 10.0)
    assert SIGMA_PX == 1.3


def test_ratios_are_made_turn_by_turn() -> None:
    took = {"ours, width free": [1.0, 2.0, 4.0], "Picasso, round": [3.0, 6.0, 12.0]}
    (row,) = paired_ratios(took)
    assert (row["times"], row["interval_95"]) == (3.0, [3.0, 3.0])
    assert latency.times([1, 2, 3], [1, 1, 1])["median_ms"] == 2


def row(model: str, seed: int, efficiency: float, **more: Any) -> dict[str, Any]:
    """Of a section of crowds."""
    return {"density": 0.4, "seed": seed, "model": model, "efficiency": efficiency, **more}


def test_differences_are_made_on_the_same_movies() -> None:
    rows = [row("ours", 1, 80.0), row("x", 1, 70.0), row("ours", 2, 82.0), row("x", 2, 74.0), row("ours", 3, 99.0)]
    (found,) = differences(rows, ("density",), ("efficiency", "efficiency_3d"), [Ours()])
    assert (found["against"], found["n"], found["mean"]) == ("x", 2, 9.0)
    means = {one["model"]: one["efficiency"] for one in summary(rows, ("density",), ("efficiency", "efficiency_3d"))}
    assert (means["ours"]["median"], means["ours"]["most"]) == (82.0, 99.0)


def test_networks_of_several_seeds_are_a_family() -> None:
    rows = [
        row("net#1", 1, 80.0),
        row("net#1", 2, 82.0),
        row("net#2", 1, 78.0),
        row("net#2", 2, 79.0),
        row("x", 1, 70.0),
    ]
    (found,) = families(rows, ("density",), "efficiency")
    assert (found["family"], found["members"], found["least"], found["most"]) == ("net", 2, 78.5, 81.0)


def test_losses_are_against_the_same_seed_as_told() -> None:
    rows = [row("ours", seed, 80.0 + seed, condition="as told") for seed in (1, 2)]
    rows += [row("ours", seed, 77.0 + seed, condition="spots 10 % wider") for seed in (1, 2, 3)]
    (found,) = lost(rows)
    assert (found["condition"], found["gained"]["n"], found["gained"]["mean"]) == ("spots 10 % wider", 2, -3.0)


def test_ours_is_told_by_options() -> None:
    assert Ours.parse("fit:network=none,width=free") == Ours("fit", ("network=none", "width=free"))
    assert Ours.parse("ours") == Ours()


def test_ours_is_called_on_files_alone(lone: Movie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(
        task: str, source: Path, output: Path, camera: Path, optics: None, options: list[str], report: Path
    ) -> str:
        assert (task, source, camera, options) == ("localize", lone.tiff, lone.camera_file, ["network=none"])
        report.write_text(json.dumps({"cpu_ms_per_frame": 1.5, "model": "localize"}))
        return ""

    monkeypatch.setattr(candidates, "process_file", process)
    assert Ours("fit", ("network=none",)).localize(lone, tmp_path / "found.csv") == {"cpu_ms": 1.5}


def test_every_frame_goes_through_the_live_models(lone: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "STAGES", ("smartscope_models.detection:SpotDetector",))
    wall_ms, cpu_ms = latency.live(Ours("x", ("box=3",)), lone, some=12)
    assert len(wall_ms) == len(cpu_ms) == 12
    assert min(wall_ms) > 0


def test_a_python_without_picasso_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named picasso' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(SystemExit, match="No module named picasso"):
        PicassoProcess(python)


def test_what_picasso_says_wrong_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    answers = ['{\\"picassosr\\": \\"0\\"}', '{\\"error\\": \\"no such file\\"}']
    python.write_text("#!/bin/sh\n" + "".join(f'read line\necho "{answer}"\n' for answer in answers))
    python.chmod(0o755)
    with PicassoProcess(python) as picasso:
        assert picasso.versions == {"picassosr": "0"}
        with pytest.raises(SystemExit, match="no such file"):
            picasso.ask("localize", frames=tmp_path / "none.npy")


def test_everybody_goes_through_a_movie(evaluator: Evaluator) -> None:
    bench = Bench(evaluator, [], None, [110], 150, [0.37], [1000.0], 5, 640, 1, [128])
    rows = bench.rows([Scene(110, 0.37, 5)])
    assert [one["model"] for one in rows] == [PEAKS, "joint bound", "joint bound, brightness told"]
    assert rows[2]["efficiency"] > rows[1]["efficiency"] > rows[0]["efficiency"] > 50
    assert bench.quick().emitters == 640
    assert PeakFinder().label == PEAKS


@pytest.mark.timeout(900)  # half a minute of a free machine
def test_the_program_writes_and_reads_its_figures(evaluator: Evaluator, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "models"))
    surroundings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    surroundings.pop("SMARTSCOPE_PICASSO_PYTHON", None)
    sections = ["isolated", "speed", "crowds", "mismatch", "markov", "astigmatic", "networks"]
    chosen = ["--quick", "--first-seed", "110", "--ours", "-", "--sections", *sections]
    done = subprocess.run(
        [sys.executable, PROGRAM, *chosen, "--json", written, "--evaluator", evaluator.folder],
        env=surroundings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(written.read_text())
    assert json.loads(done.stdout) == figures
    assert {"machine", "seeds", "threads", "took_s"} <= set(figures)
    assert list(figures["sections"]) == sections
    isolated = {one["model"]: one for one in figures["sections"]["isolated"]["rows"]}
    assert isolated[PEAKS]["crlb_ratio"] > 1.15 > isolated["joint bound"]["crlb_ratio"]
    text = markdown(figures)
    assert all(f"### {section}" in text for section in sections)
    assert "Picasso" not in text
