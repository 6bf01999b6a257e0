"""The process that tunes: whatever becomes of it, there is one version with a record, and a package only where kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from recording import a_frame
from tuning_helpers import CAMERA, SIZE, request_for, small_network, still_movie, write_small_package

from smartscope.config import OpticsConfig
from smartscope.errors import InputError, UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.denoise.network import NetworkDenoiser
from smartscope_models.packages import ModelPackage, open_package
from smartscope_models.training.network import Denoiser
from smartscope_models.training.weights import disagreement, read_network
from smartscope_models.tuning import job, learning, versions, work
from smartscope_models.tuning.job import do
from smartscope_models.tuning.outcome import RECORD, Outcome, read_record, record
from smartscope_models.tuning.process import tune_aside
from smartscope_models.tuning.request import REQUEST, Request
from smartscope_models.tuning.versions import put_in_place

NAMES = {"model.onnx", "model.fp16.onnx", "rdf.yaml", "CARD.md", RECORD}


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return write_small_package(tmp_path / "zoo" / "small", small_network())


@pytest.fixture
def request_(tmp_path: Path, package: ModelPackage) -> Request:
    return request_for(still_movie(tmp_path / "movie.tif", 10), str(package.path))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def script(tmp_path: Path, text: str) -> tuple[str, str]:
    """A command that stands in for the tuning process; ``draft`` is a Path in it."""
    file = tmp_path / "stand_in.py"
    file.write_text(f"import sys, time\nfrom pathlib import Path\ndraft = Path(sys.argv[1])\n{text}\n")
    return sys.executable, str(file)


def test_a_kept_version_is_a_package_that_runs(
    tmp_path: Path, package: ModelPackage, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "STOPS", (40,))
    monkeypatch.setattr(learning, "WINDOWS", 2)
    monkeypatch.setattr(learning, "LEARNING_RATE", 3e-3)
    monkeypatch.setattr(work, "LEAST_PX", 5000)
    base = contents(package.path)
    assert do(request_, tmp_path, lambda: 1.0).kept
    path = put_in_place(tmp_path / job.VERSION, tmp_path, "small")
    assert path.name == "small-tuned-1"
    assert set(contents(path)) >= NAMES
    assert contents(package.path) == base

    tuned = open_package(path)
    note = tuned.manifest.tuned
    assert note is not None
    assert (note.base_sha256, note.frames, note.seed, note.steps) == (package.sha256, "movie.tif", 1, 40)
    assert tuned.manifest.metrics[0].baseline > tuned.manifest.metrics[0].value  # type: ignore[operator]
    assert tuned.manifest.training == package.manifest.training
    network = read_network(tuned.networks["fp32"])
    assert disagreement(tuned.networks["fp16"], network) < 1e-2
    assert disagreement(package.networks["fp32"], network) > 0.05

    found = read_record(path)
    assert found["kept"]
    assert found["base_sha256"] == package.sha256
    assert found["request"]["seconds"] == 60
    assert found["after"]["loss"] < found["before"]["loss"]

    live = NetworkDenoiser(Instrument(CAMERA, OpticsConfig()), package=str(path), engine="torch")
    frame = Frame(np.full((SIZE, SIZE), 150, np.uint16), 0, 0, 0, a_frame(0).settings, {}, 0, 1, 1)
    live.warm_up((SIZE, SIZE))
    image = live.step([frame], Result(frame)).image
    assert image is not None
    assert abs(float(np.median(image)) - 150) < 1


def test_a_version_not_kept_has_a_record_alone(tmp_path: Path, request_: Request) -> None:
    outcome = do(request_.model_copy(update={"frames": still_movie(tmp_path / "short.tif", 4)}), tmp_path, lambda: 1.0)
    assert not outcome.kept
    assert set(contents(tmp_path / job.VERSION)) == {RECORD}
    assert "too few frames" in read_record(tmp_path / job.VERSION)["objections"][0]


def test_our_own_errors_are_objections(tmp_path: Path, request_: Request) -> None:
    outcome = do(request_.model_copy(update={"frames": tmp_path / "absent.tif"}), tmp_path, lambda: 1.0)
    assert "is no TIFF movie" in outcome.objections[0]


def test_a_file_that_does_not_take_the_weights_is_not_kept(
    tmp_path: Path, package: ModelPackage, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = small_network(1.0)

    def kept(network: Denoiser, request: Request, elapsed_s: object) -> work.Result:
        return work.Result(Outcome((), steps=1), other)

    monkeypatch.setattr(job, "tune", kept)
    monkeypatch.setattr(versions, "with_weights", lambda network, denoiser: network.onnx)
    outcome = do(request_, tmp_path, lambda: 1.0)
    assert "give other answers in its fp32 file" in outcome.objections[0]
    assert set(contents(tmp_path / job.VERSION)) == {RECORD}


def test_the_whole_way_through_the_process(tmp_path: Path, request_: Request) -> None:
    short = request_.model_copy(update={"frames": still_movie(tmp_path / "short.tif", 4), "seconds": 100.0})
    version = tune_aside(short, tmp_path / "out")
    assert not version.kept
    assert version.path == tmp_path / "out" / "small-tuned-1"
    assert "too few frames" in version.record["objections"][0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small-tuned-1"]


def test_a_late_process_is_killed(tmp_path: Path, package: ModelPackage, request_: Request) -> None:
    base = contents(package.path)
    hang = script(
        tmp_path, "(draft / 'version').mkdir(); (draft / 'version/model.onnx').write_text('half'); time.sleep(60)"
    )
    version = tune_aside(request_.model_copy(update={"seconds": 0.5}), tmp_path / "out", grace_s=0.5, command=hang)
    assert "killed: not done 1 s after its start" in version.record["objections"][0]
    assert set(contents(version.path)) == {RECORD}
    assert contents(package.path) == base
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small-tuned-1"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('out of memory'); sys.exit(7)", "the process died (exit code 7): out of memory"),
        ("sys.exit(3)", "the process died (exit code 3): it said nothing"),
        ("pass", "the process left no record"),
    ],
)
def test_a_process_that_dies_leaves_a_record_of_it(tmp_path: Path, request_: Request, text: str, why: str) -> None:
    version = tune_aside(request_, tmp_path / "out", command=script(tmp_path, text))
    assert version.record["objections"] == [why]
    assert version.record["request"]["seed"] == 1


def test_the_request_travels_and_threads_are_few(tmp_path: Path, request_: Request) -> None:
    copy = tmp_path / "seen.json"
    text = f"""import os, shutil
shutil.copy(draft / {REQUEST!r}, {str(copy)!r})
print(os.environ['OMP_NUM_THREADS'], sys.argv[2]); sys.exit(1)"""
    version = tune_aside(request_.model_copy(update={"threads": 3}), tmp_path / "out", command=script(tmp_path, text))
    assert version.record["objections"][0].endswith("3 80.0")
    assert Request.model_validate_json(copy.read_text()).threads == 3


def test_versions_are_numbered_on(tmp_path: Path) -> None:
    (tmp_path / "small-tuned-7").mkdir()
    (tmp_path / "small-tuned-old").mkdir()
    (tmp_path / "smaller-tuned-9").mkdir()
    (tmp_path / "draft").mkdir()
    assert put_in_place(tmp_path / "draft", tmp_path, "small").name == "small-tuned-8"
    with pytest.raises(InputError, match="cannot be written"):
        put_in_place(tmp_path / "absent", tmp_path, "small")


def test_a_number_taken_at_the_same_moment_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small-tuned-1", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text("{}")
    numbers = iter([1, 2])
    monkeypatch.setattr(versions, "next_version", lambda output, name: next(numbers))
    assert put_in_place(tmp_path / "draft", tmp_path, "small").name == "small-tuned-2"
    (tmp_path / "draft").mkdir()
    monkeypatch.setattr(versions, "next_version", lambda output, name: 1)
    with pytest.raises(InputError, match="no number is free"):
        put_in_place(tmp_path / "draft", tmp_path, "small")


def test_what_cannot_begin(tmp_path: Path, request_: Request) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        tune_aside(request_, tmp_path / "file")
    with pytest.raises(InputError, match="no package of this name"):
        tune_aside(request_.model_copy(update={"package": "absent"}), tmp_path)
    with pytest.raises(UnsupportedModel, match="is no model package"):
        tune_aside(request_.model_copy(update={"package": str(tmp_path)}), tmp_path)


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    text = record(Outcome(("why",)), figure=float("nan"), inner={"deep": float("inf")})
    tree = json.loads(text, parse_constant=pytest.fail)
    assert (tree["kept"], tree["figure"], tree["inner"]["deep"]) == (False, None, None)
    for wrong in ("[]", '{"kept": 1}', "x"):
        (tmp_path / RECORD).write_text(wrong)
        with pytest.raises(ValueError):
            read_record(tmp_path)
