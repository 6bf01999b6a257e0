"""What a user can rely on: the same seed gives the same run, a replay decides the same, arming means what it says."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from system_helpers import (
    LIGHT,
    POWER_MW,
    REPOSITORY,
    Workplace,
    check_frames,
    check_lights_of_frames,
    control_endpoint,
    experiment,
    rows_without,
    smartscope,
    wait_for,
)

from smartscope.app import Rig, run_experiment
from smartscope.bus.client import Client, Rejected
from smartscope.loading import validate
from smartscope.recorder.reader import RunReader

DEMO = str(REPOSITORY / "configs" / "demo.yaml")
SMALL = ("microscope.sensor=[96, 96]", "recorder.min_free_gb=0", "bus.enabled=false", "duration_s=1")
VIRTUAL = {"clock": "virtual"}
BLINK = {"policies": [{"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT}}]}


def demo(output: str, *settings: str) -> RunReader:
    """The demo on a small sensor, for a second."""
    arguments = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    assert output in smartscope("run", DEMO, "--output", output, *arguments).said
    return RunReader(Path(output))


def pixels_hash(run: RunReader) -> str:
    """Of all frames, in order."""
    digest = hashlib.sha256()
    for frame in run.frames:
        digest.update(frame.pixels.tobytes())
    return digest.hexdigest()


def set_all(*settings: str) -> list[str]:
    """``--set`` before each."""
    return [part for setting in settings for part in ("--set", setting)]


# ---------------------------------------------------------------- virtual time


def test_the_same_seed_gives_the_same_run_and_another_seed_another(place: Workplace) -> None:
    first, again, other = (demo(name, "clock=virtual", f"seed={seed}") for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert len(first.decisions) > 5
    assert pixels_hash(first) == pixels_hash(again) != pixels_hash(other)
    for log in ("frame_rows", "decisions", "results", "events"):
        assert rows_without(first, log) == rows_without(again, log)
    assert rows_without(first, "decisions") != rows_without(other, "decisions")
    assert rows_without(first, "results") != rows_without(other, "results")


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_run_of_so_many_frames_has_so_many(place: Workplace, clock: str) -> None:
    fast = {"start__exposure_ms": 1, "microscope__options__readout_ms": 0.1}
    path = place.write(clock=clock, frames=..., duration_s=60, **fast)
    assert "done" in smartscope("run", path, "--frames", "17").said
    run = place.the_run
    assert len(run.frame_rows) == 17
    check_frames(run)
    assert run.run["config"]["frames"] == 17
    assert run.run["config"]["duration_s"] is None


def test_a_run_of_so_many_seconds(place: Workplace) -> None:
    assert "done" in smartscope("run", place.write(**VIRTUAL), "--duration", "0.5").said
    frames = place.the_run.frame_rows
    assert 50 <= len(frames) <= 53  # 9.5 ms each
    assert frames[-1]["t_end_ns"] - frames[0]["t_start_ns"] < 0.51e9


def test_runs_of_the_same_second_have_folders_of_their_own(place: Workplace) -> None:
    path = place.write(clock="virtual", frames=2, pipeline=[])
    for _ in range(6):
        assert "done" in smartscope("run", path).said
    assert len(place.folders) == 6


# ---------------------------------------------------------------- the live run


def test_a_live_run_keeps_all_that_it_promises(place: Workplace) -> None:
    said = place.run(frames=60, **BLINK).said
    run = place.the_run
    report = run.path / "report.html"
    assert str(report) in said.replace("runs/", f"{run.path.parent}/") or report.name in said
    assert len(said.splitlines()) == 1
    text = report.read_text(encoding="utf-8")
    assert text.count("<svg") + text.count("data:image/png;base64,") >= 2
    assert not re.search(r"""(src|href)=["']https?:""", text)
    assert run.run["state"] == "done"
    assert run.run["error"] is None
    assert run.run["config"]["name"] == "trial"
    assert {"smartscope", "numpy", "pymmcore-plus"} <= set(run.run["versions"])
    check_frames(run)
    check_lights_of_frames(place)
    for row in run.decisions:
        assert row["why"]
        if row["policy"].startswith("misbehaving") and row["t_applied_ns"]:
            assert row["t_exposure_mid_ns"] < row["t_received_ns"] < row["t_result_ns"] < row["t_applied_ns"]
    assert not place.lamps.on


def test_the_report_can_be_written_again(place: Workplace) -> None:
    assert place.run(**VIRTUAL).said
    report = place.the_run.path / "report.html"
    report.unlink()
    assert smartscope("report", str(place.the_run.path)).said == str(report)
    assert report.is_file()
    assert "no run folder" in smartscope("report", "nowhere").complaint


# ---------------------------------------------------------------- replay


@pytest.mark.parametrize("clock", ["live", "virtual"])
def test_a_replay_as_recorded_decides_the_same(place: Workplace, clock: str) -> None:
    run = demo("run", f"clock={clock}")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    made = sum(row["policy"] not in ("start", "operator", "safety") for row in run.decisions)
    assert made > 5
    again = smartscope("replay", "run", "--schedule", "recorded").said
    assert again == f"{made} decisions made again, 0 differ"
    recomputed = smartscope("replay", "run", "--schedule", "recorded", "--recompute").said
    assert recomputed == f"{made} decisions made again, 0 differ"
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_a_replay_with_another_configuration_says_what_would_have_been(place: Workplace) -> None:
    demo("run", "clock=virtual")
    changed = (*SMALL, "clock=virtual", "policies.0.options.target_signal_to_noise=3")
    said = smartscope("replay", "run", DEMO, "--schedule", "recorded", *set_all(*changed)).said
    found = re.match(r"(\d+) decisions made again, (\d+) differ; first: frame \d+, \w+: recorded .*, now .*", said)
    assert found
    assert int(found[2]) > 0


def test_a_replay_of_tampered_results_differs(place: Workplace) -> None:
    demo("run", "clock=virtual")
    results = Path("run/results/results.jsonl")
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["quality"]["signal_to_noise"] *= 1.5
    results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = smartscope("replay", "run", "--schedule", "recorded")
    assert ended.code == 1
    assert re.search(r"[1-9]\d* differ; first: frame", ended.out)
    ended = smartscope("replay", "run", "--schedule", "recorded", "--recompute")
    assert ended.code == 1
    assert "leave the tolerance" in ended.out


def test_every_frame_of_a_run_can_be_replayed_as_a_movie(place: Workplace) -> None:
    run = demo("run", "clock=virtual")
    assert "done" in smartscope("replay", "run", "--output", "again").said
    again = RunReader(Path("again"))
    assert pixels_hash(again) == pixels_hash(run)
    assert len(again.results) == len(run.frame_rows)
    assert all(row["shadow"] for row in again.decisions if row["policy"] not in ("start", "operator", "safety"))


def test_a_replay_without_config_of_a_movie_asks_for_one(place: Workplace) -> None:
    tifffile.imwrite("movie.tif", np.full((3, 32, 32), 100, np.uint16), photometric="minisblack")
    assert "movie.tif: a movie needs a configuration" in smartscope("replay", "movie.tif").complaint


# ---------------------------------------------------------------- clients


def with_client(place: Workplace, deeds: Callable[[Client, Rig], None], **changes: Any) -> str:
    """A live run during which a client does its deeds and then ends it; how it ended."""
    failures: list[BaseException] = []

    def act(rig: Rig) -> None:
        try:
            with Client(control_endpoint(rig), timeout_s=10.0) as client:
                wait_for(lambda: rig.grabber.statistics().received > 10, "frames")
                deeds(client, rig)
                client.stop()
        except BaseException as error:
            failures.append(error)
            rig.loop.ask("stop", why="the client failed")

    clients: list[threading.Thread] = []

    def onlooker(rig: Rig) -> None:
        clients.append(threading.Thread(target=act, args=(rig,)))
        clients[0].start()

    config = validate(experiment(frames=10**5, bus__enabled=True, **changes), "here")
    outcome = run_experiment(config, on_rig=onlooker)
    clients[0].join()
    assert not failures, failures
    return outcome.state


def test_a_client_switches_the_light_off_and_it_stays_off_until_resume(place: Workplace) -> None:
    def deeds(client: Client, rig: Rig) -> None:
        place.lamps.wait(on=True)
        assert client.laser_off() == {LIGHT: 0.0}
        assert not place.lamps.on
        wait_for(lambda: client.status()["state"] == "dark", "dark")
        seen = rig.grabber.statistics().received
        wait_for(lambda: rig.grabber.statistics().received > seen + 20, "frames in the dark")
        assert not place.lamps.on
        client.resume()
        place.lamps.wait(on=True)

    assert with_client(place, deeds, **BLINK) == "stopped"
    assert not place.lamps.on
    check_lights_of_frames(place)


def test_a_run_that_clients_meddled_with_is_decided_again_all_the_same(place: Workplace) -> None:
    def deeds(client: Client, rig: Rig) -> None:
        client.pause()
        wait_for(lambda: client.status()["state"] == "paused", "pause")
        client.resume()
        wait_for(lambda: client.status()["state"] == "running", "resume")
        client.set_limits(lights={LIGHT: {"max_power_mw": 1.5}})
        wait_for(lambda: 1.5 in place.lamps.powers_mw()[0], "the tighter limit")
        with pytest.raises(Rejected, match="max_power_mw"):
            client.set_limits(lights={LIGHT: {"max_power_mw": -1}})
        seen = rig.grabber.statistics().received
        wait_for(lambda: rig.grabber.statistics().received > seen + 10, "more frames")

    assert with_client(place, deeds, **BLINK) == "stopped"
    run = place.the_run
    assert run.run["state"] == "stopped"
    again = smartscope("replay", str(run.path), "--schedule", "recorded").said
    assert re.fullmatch(r"[1-9]\d+ decisions made again, 0 differ", again)


# ---------------------------------------------------------------- arming


def granted_mw(run: RunReader) -> set[float]:
    """Powers that were granted to the blinking policy."""
    rows = [row for row in run.decisions if row["policy"] == "misbehaving:BlinkingPolicy" and row["granted"]]
    return {row["granted"]["power_mw"] for row in rows if row["clipped_by"] != "lights"}


def test_in_shadow_nothing_is_done(place: Workplace) -> None:
    assert smartscope("run", place.write(**VIRTUAL, **BLINK), "--arm", "shadow").said
    run = place.the_run
    asked = [row for row in run.decisions if row["policy"] == "misbehaving:BlinkingPolicy"]
    assert len(asked) > 3
    assert all(row["shadow"] and row["t_applied_ns"] == 0 and row["granted"] for row in asked)
    assert set(place.lamps.powers_mw()[0]) == {0.0, POWER_MW}


def test_clamped_keeps_to_a_fraction_of_the_limits(place: Workplace) -> None:
    """A quarter of 4 mW is 1 mW, for the first setting too."""
    policy = {"policy": "misbehaving:BlinkingPolicy", "options": {"light": LIGHT, "low_mw": 0.5}}
    changes: dict[str, Any] = {"limits__lights": {LIGHT: {"max_power_mw": 4}}, "policies": [policy]}
    assert smartscope("run", place.write(**VIRTUAL, **changes), "--arm", "clamped").said
    run = place.the_run
    assert granted_mw(run) == {0.5, 1.0}
    clipped = [row for row in run.decisions if row["asked"].get("power_mw") == 3.0]
    assert clipped
    assert all(row["clipped_by"] for row in clipped)
    assert set(place.lamps.powers_mw()[0]) == {0.0, 0.5, 1.0}


def test_armed_does_what_is_asked(place: Workplace) -> None:
    assert place.run(**VIRTUAL, **BLINK).said
    assert {1.0, 3.0} <= granted_mw(place.the_run)
    assert set(place.lamps.powers_mw()[0]) == {0.0, 1.0, POWER_MW, 3.0}


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
