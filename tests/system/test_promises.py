"""What README and configurations promise: files processed, a policy of 20 lines, examples that run on real movies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from system_helpers import LIGHT, POWER_MW, REPOSITORY, Workplace, check_frames, set_all, smartscope

from smartscope.recorder.reader import RunReader

# ---------------------------------------------------------------- files


def spots_movie(path: str, n_frames: int = 4) -> np.ndarray[Any, Any]:
    """(x, y) of five spots that stand still in noise."""
    places = np.array([(12, 14), (40, 13), (27, 30), (11, 47), (50, 49)], float)
    y, x = np.mgrid[:64, :64]
    image = 100 + sum(300 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.3**2)) for cx, cy in places)
    frames = np.random.default_rng(1).poisson(image, (n_frames, 64, 64)) + 100
    tifffile.imwrite(path, frames.astype(np.uint16), photometric="minisblack")
    return places


def table(path: str) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of a CSV by name."""
    header, *rows = Path(path).read_text(encoding="utf-8").splitlines()
    values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    return dict(zip(header.split(","), values.T, strict=True))


def test_process_denoise(place: Workplace) -> None:
    spots_movie("movie.tif")
    said = smartscope("process", "denoise", "movie.tif", "clean.tif", "--report", "report.json").said
    assert said.startswith("clean.tif: ")
    noisy, clean = tifffile.imread("movie.tif"), tifffile.imread("clean.tif")
    assert clean.shape == noisy.shape
    assert clean.dtype == np.float32
    assert clean[:, :8, 52:].std() < noisy[:, :8, 52:].std() / 2
    assert abs(clean.mean() - noisy.mean()) < 2
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["task"] == "denoise"
    assert report["frames"] == 4


def test_process_detect_and_track(place: Workplace) -> None:
    places = spots_movie("movie.tif")
    assert smartscope("process", "detect", "movie.tif", "spots.csv").said
    spots = table("spots.csv")
    assert list(spots) == ["frame", "x_px", "y_px", "size_px", "intensity", "label"]
    for n in range(4):
        found = np.stack([spots["x_px"], spots["y_px"]], axis=1)[spots["frame"] == n]
        distances = np.linalg.norm(found[:, None] - places[None], axis=2)
        assert distances.min(axis=0).max() < 0.3
    assert smartscope("process", "track", "movie.tif", "tracks.csv").said
    assert smartscope("process", "track", "spots.csv", "again.csv").said
    for name in ("tracks.csv", "again.csv"):
        tracks = table(name)
        assert list(tracks)[:5] == ["frame", "track_id", "x_px", "y_px", "parent_id"]
        _, lengths = np.unique(tracks["track_id"], return_counts=True)
        assert (lengths == 4).sum() == 5


# ---------------------------------------------------------------- what the README and the configurations promise


def readme_policy() -> str:
    """The policy shown in the README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- policy -->\n```python\n(.*?)```\n<!-- end -->", text, re.DOTALL)
    assert found
    return found[1]


def test_the_policy_of_the_readme_is_short() -> None:
    assert len([line for line in readme_policy().splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("arm", ["shadow", "armed"])
def test_the_policy_of_the_readme_runs(place: Workplace, monkeypatch: pytest.MonkeyPatch, arm: str) -> None:
    module = f"my_policy_{arm}"
    Path(f"{module}.py").write_text(readme_policy(), encoding="utf-8")
    monkeypatch.syspath_prepend(place.folder)
    policy = {"policy": f"{module}:RestWhenEmpty", "priority": 20, "options": {"light": LIGHT, "rest_mw": 0.5}}
    path = place.write(clock="virtual", arm=arm, policies=[policy])
    assert "nothing wrong" in smartscope("check", path).said
    assert "done" in smartscope("run", path).said
    asked = [row for row in place.the_run.decisions if row["policy"] == f"{module}:RestWhenEmpty"]
    assert asked[0]["asked"] == {"type": "SetLight", "light": LIGHT, "power_mw": 0.5}
    assert "0 objects in view" in asked[0]["why"]
    assert place.the_run.frame_rows[-1]["lights_mw"][LIGHT] == (0.5 if arm == "armed" else POWER_MW)
    misspelt = place.write(policies=[{**policy, "options": {"lihgt": LIGHT}}])
    assert "policies.0.options.lihgt" in smartscope("check", misspelt).out


CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_passes_the_check(place: Workplace, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    driver = yaml.safe_load(path.read_text(encoding="utf-8"))["microscope"]["driver"]
    settings = []
    if driver == "micromanager":
        pytest.importorskip("mm_test_adapters", reason="needs pip install mm-test-adapters")
    if driver == "replay":  # these leave the movie to the command line
        spots_movie(str(place.folder / "movie.tif"))
        settings = set_all(f"microscope.options.movie={place.folder / 'movie.tif'}")
    monkeypatch.chdir(REPOSITORY)
    assert smartscope("check", str(path), *settings, *set_all("bus.enabled=false")).said.endswith("nothing wrong found")


@pytest.mark.data
@pytest.mark.parametrize(
    ("movie", "config", "frames", "objects"),
    [("trackpy/sample_data/bulk_water", "beads", 8, 100), ("ctc/Fluo-N2DH-GOWT1/01", "nuclei", 3, 10)],
    ids=["beads", "nuclei"],
)
def test_real_movies_end_with_tracks_and_a_report(
    place: Workplace, data: Path, movie: str, config: str, frames: int, objects: int
) -> None:
    if not (data / movie).is_dir():
        pytest.skip(f"no {movie} among the real images at {data}")
    path = str(REPOSITORY / "configs" / f"{config}.yaml")
    settings = set_all(f"frames={frames}", "recorder.min_free_gb=0")
    assert "done" in smartscope("replay", str(data / movie), path, "--output", "run", *settings).said
    run = RunReader(Path("run"))
    check_frames(run)
    assert len(run.frame_rows) == len(run.results) == frames
    last = run.results[-1]["tracks"]
    old = sum(age >= frames - 2 for age in last["age_frames"])
    assert old > objects
    assert len(table("run/results/tracks.csv")["x_px"]) > objects * (frames - 2)
    assert (run.path / "report.html").stat().st_size > 10_000
