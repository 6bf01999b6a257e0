"""What the denoising benchmark measures by itself is right where the answer is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from benchmarks.judging import controls, figures, residual
from benchmarks.judging.bench import Bench, rounded
from benchmarks.judging.candidates import PEERS, Ours, Peer
from benchmarks.judging.cases import Case, Scene, stack, write
from benchmarks.judging.ceiling import ceiling
from benchmarks.judging.displacement import Shiftable, displacement
from benchmarks.judging.evaluator import BESIDE, VARIABLE, Evaluator
from benchmarks.judging.pairs import AVERAGED, MEAN, NOISY, pairs
from benchmarks.judging.tables import table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, uniform_filter


@pytest.fixture
def evaluator() -> Evaluator:
    """The frozen one; skips where it is absent."""
    folder = Path(os.environ.get(VARIABLE, BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no evaluator at {folder}; set {VARIABLE}")
    return Evaluator(folder)


def scene(seed: int = 0, size: int = 96) -> np.ndarray:
    """(H, W) blobs as wide as a microscope's, in electrons."""
    return 400 * gaussian_filter(np.random.default_rng(seed).random((size, size)) ** 16, 1.3)


# ------------------------------------------------------------------ displacement


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
@settings(max_examples=15, deadline=None)
def test_a_shift_is_found_again(dy: float, dx: float) -> None:
    picture = scene()
    found = displacement(3 * Shiftable(picture).by(dy, dx) + 7, picture)
    assert (found.dy_px, found.dx_px) == pytest.approx((dy, dx), abs=2e-3)
    assert found.length_px == pytest.approx(np.hypot(dy, dx), abs=2e-3)


def test_positive_means_down_and_right() -> None:
    picture = scene()
    found = displacement(np.roll(picture, (1, -1), (0, 1)), picture)
    assert (found.dy_px, found.dx_px) == pytest.approx((1.0, -1.0), abs=0.02)


def test_the_error_is_as_large_as_it_says() -> None:
    picture, rng = scene(), np.random.default_rng(1)
    found = [displacement(rng.poisson(picture).astype(float), picture) for _ in range(40)]
    scatter = np.std([[f.dy_px, f.dx_px] for f in found], axis=0).max()
    assert 0.6 < scatter / np.mean([f.error_px for f in found]) < 1.5


def test_symmetric_filters_move_nothing_and_moved_ones_are_caught_against_their_own_input() -> None:
    noisy = np.random.default_rng(2).poisson(scene(size=192)).astype(float)
    smooth = gaussian_filter(noisy, 1.0)
    assert displacement(noisy, smooth).length_px < 0.005
    assert displacement(noisy, Shiftable(smooth).by(0.1, 0)).dy_px == pytest.approx(-0.1, abs=0.01)


def test_a_mean_that_holds_the_frame_itself_draws_the_shift_to_zero() -> None:
    rng, picture = np.random.default_rng(3), scene(size=192) / 8
    frame = rng.poisson(np.clip(Shiftable(picture).by(-0.6, 0), 0, None)).astype(float)
    others = np.mean([rng.poisson(picture) for _ in range(AVERAGED - 1)], axis=0)
    mean = others + (frame - others) / AVERAGED
    assert displacement(frame, others).dy_px == pytest.approx(-0.6, abs=0.03)
    assert displacement(frame, mean).dy_px > displacement(frame, others).dy_px + 0.02


# ------------------------------------------------------------------ figures


def test_interval_covers_the_mean_and_shrinks() -> None:
    values = np.random.default_rng(4).normal(1, 1, 400)
    low, high = figures.interval(values.tolist())
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert figures.interval([2.0, 2.0]) == [2.0, 2.0]


def test_pairs_are_made_seed_by_seed() -> None:
    rows = [
        {"scene": "a", "seed": seed, "model": model, "psnr_db": value}
        for seed, ours, theirs in ((1, 3.0, 1.0), (2, 30.0, 26.0))
        for model, value in (("ours", ours), ("theirs", theirs))
    ]
    rows.append({"scene": "a", "seed": 3, "model": "ours", "psnr_db": 1e9})
    (cell,) = figures.paired(rows, ("scene",), "psnr_db", "ours", "theirs")
    assert (cell["n"], cell["mean"], cell["least"], cell["most"]) == (2, 3.0, 2.0, 4.0)
    assert figures.paired(rows, ("scene",), "psnr_db", "ours", "nobody") == []


def test_times_and_rounding() -> None:
    found = figures.times([1.0, 2.0, 9.0], [1.0, 1.0, 4.0])
    assert (found["median_ms"], found["cpu_ms_per_frame"], found["frames"]) == (2.0, 2.0, 3)
    assert rounded({"a": [1.23456, (2.0, "x")], "b": None}) == {"a": [1.2346, [2.0, "x"]], "b": None}
    assert table(("a", "b"), [(1.5, None)]).splitlines()[-1] == "| 1.5 |  |"


# ------------------------------------------------------------------ evaluator and candidates


def test_an_absent_evaluator_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(SystemExit, match=r"no denoising\.py and no tracking\.py there.*--evaluator DIR"):
        Evaluator.at(None)


@pytest.fixture
def pretended(tmp_path: Path) -> Evaluator:
    """An evaluator of our own that tells its arguments, with one runner that counts its calls."""
    folder = tmp_path / "evaluator"
    (folder / "peers").mkdir(parents=True)
    for name in ("denoising.py", "tracking.py"):
        (folder / name).write_text("import json\ndef main(argv):\n    print(json.dumps({'argv': argv}))\n")
    (folder / "peers" / "common.py").write_text("")
    (folder / "peers" / "identity_denoise.py").write_text(
        "import json, pathlib, shutil, sys\n"
        "noisy, _, out, _, timing = sys.argv[1:6]\n"
        "if 'bad' in noisy: sys.exit('does not work')\n"
        "shutil.copyfile(noisy, out)\n"
        "figures = {'median_ms_per_frame': 1.0, 'process_cpu_ms_per_frame': 2.0}\n"
        "pathlib.Path(timing).write_text(json.dumps(figures))\n"
        "calls = pathlib.Path(__file__).with_name('calls')\n"
        "calls.write_text((calls.read_text() if calls.exists() else '') + '.')\n"
    )
    return Evaluator(folder)


def test_the_evaluator_is_called_by_its_command_line(pretended: Evaluator) -> None:
    assert pretended.run("denoising", "score", Path("a.tif"), 3) == {"argv": ["score", "a.tif", "3"]}


def test_a_peer_runs_once_for_the_same_bytes(pretended: Evaluator, tmp_path: Path) -> None:
    (peer,), absent = Peer.installed(["identity"], pretended, tmp_path / "cache")
    assert not absent
    noisy, output = tmp_path / "noisy.tif", tmp_path / "out.tif"
    for values in ([[1, 2]], [[1, 2]], [[1, 3]]):
        tifffile.imwrite(noisy, np.array(values, np.uint16))
        assert peer.denoise(noisy, None, output) == {"median_ms": 1.0, "cpu_ms_per_frame": 2.0}
        assert output.read_bytes() == noisy.read_bytes()
    assert pretended.peer("identity").with_name("calls").read_text() == ".."
    tifffile.imwrite(tmp_path / "bad.tif", np.zeros((2, 2), np.uint16))
    with pytest.raises(SystemExit, match=r"identity failed on .*does not work"):
        peer.denoise(tmp_path / "bad.tif", None, output)


def test_a_peer_that_is_not_installed_is_named(
    pretended: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "bm3d", "no-such-package")
    assert Peer.installed(["bm3d"], pretended, tmp_path) == ([], {"bm3d": "no-such-package is not installed"})


def test_models_are_spelt_with_label_and_options() -> None:
    ours = Ours.parse("net#2@denoise_network:package=a/b,engine=torch")
    assert (ours.label, ours.model, ours.options) == (
        "net#2",
        "denoise_network",
        {"package": "a/b", "engine": "torch"},
    )
    assert (Ours.parse("denoise").label, Ours.parse("denoise").options) == ("denoise", {})


# ------------------------------------------------------------------ residual and controls, on the frozen evaluator


class Box:
    """A box mean: keeps a ninth of each pixel's noise."""

    label = "box"

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        write(output, np.stack([uniform_filter(image, 3) for image in stack(noisy)]))
        return {"cpu_ms_per_frame": 0.0}


class Truth(Box):
    """Knows the answer."""

    label = "truth"

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        write(output, stack(noisy.with_name("clean.tif")))
        return {"cpu_ms_per_frame": 0.0}


@pytest.fixture
def bench(evaluator: Evaluator) -> Bench:
    """Small and without peers."""
    return Bench(evaluator, [], [], [5], [20.0], ["mixed"], 128)


def test_both_residual_tests_tell_the_same_and_neither_punishes_kept_noise(bench: Bench) -> None:
    drawn = [Scene("empty", 20.0, 5, frames=residual.FRAMES, size=128, background=20.0)]
    box, truth = bench.rows(drawn, residual._tests, [Box(), Truth()])
    assert box["noise_kept"] == pytest.approx(1 / 9, abs=0.01)
    assert box["output_variance"] == pytest.approx(1 / 9, abs=0.01)
    assert box["plain"] == pytest.approx(1 - 1 / 9, abs=0.02)
    assert box["independent"] == pytest.approx(1 + 1 / 9, abs=0.02)
    assert box["divergence"] == pytest.approx(box["independent"], abs=0.02)
    assert box["bias"] == pytest.approx(0, abs=0.02)
    assert truth["independent"] == pytest.approx(1, abs=0.02)
    assert truth["noise_kept"] == truth["output_variance"] == 0


def test_every_control_is_caught_where_the_truth_passes(evaluator: Evaluator) -> None:
    bench = Bench(evaluator, [Truth()], [], [5], [20.0], ["mixed"], 160)  # type: ignore[list-item]
    for row in controls.controls(bench)["rows"]:
        low, high = row["asked"]
        assert low <= row["as_it_is"] <= high, row
        assert row["caught"], row


def test_misregistered_pairs(evaluator: Evaluator, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for name, dy in (("one.tif", -0.7), ("two.tif", 0.3)):
        picture = scene(size=128) / 4
        frame = rng.poisson(np.clip(Shiftable(picture).by(dy, 0), 0, 255))
        others = [rng.poisson(picture) for _ in range(AVERAGED - 1)]
        for folder, image in ((NOISY, frame), (MEAN, np.mean([frame, *others], axis=0))):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / name, np.rint(image).clip(0, 255).astype(np.uint8))
    bench = Bench(evaluator, [Box()], [], [5], [], [], 128, tmp_path)  # type: ignore[list-item]
    found = pairs(bench)
    (row,), places = found["rows"], found["noisy_against_mean"]
    assert places["one.tif"]["dy_px"] == pytest.approx(-0.7, abs=0.03)
    assert abs(found["noisy_against_mean_with_its_own_share"]["one.tif"]["dy_px"]) < abs(places["one.tif"]["dy_px"])
    assert row["registered"]["psnr_db"] > row["as_given"]["psnr_db"] + 0.3
    assert row["registered_each"]["psnr_db"] == pytest.approx(row["registered"]["psnr_db"], abs=0.1)
    assert row["displacement"]["own_input_px"]["largest"] < 0.01
    assert row["displacement"]["by_mean_px"]["largest"] < 0.05
    assert found["against_baseline"] == found["control_shifted"] == []


def test_absent_pairs_are_named(evaluator: Evaluator, tmp_path: Path) -> None:
    nothing = Bench(evaluator, [], [], [5], [], [], 128, tmp_path)
    assert "set SMARTSCOPE_DATA" in pairs(nothing)["skipped"]
    assert "set SMARTSCOPE_DATA" in ceiling(nothing)["skipped"]


def test_a_pattern_is_taken_out_by_the_maps(evaluator: Evaluator, tmp_path: Path) -> None:
    case = Case(evaluator, tmp_path / "case", Scene("mixed", 100.0, 5, size=64, maps=True))
    clean, noisy, flat = stack(case.clean), stack(case.noisy), stack(case.without_pattern())
    assert np.mean((flat - clean) ** 2) < np.mean((noisy - clean) ** 2)
