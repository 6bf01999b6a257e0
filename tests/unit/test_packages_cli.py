"""`smartscope models`: what is printed, as text and as JSON, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from packages_helpers import write_tiny_denoiser, write_zoo_package, zipped, zoo_tree_05
from typer.testing import CliRunner

from smartscope.cli import app
from smartscope.errors import EngineError, InputError, UnsupportedModel
from smartscope_models.engines import Finding, open_engine, probe
from smartscope_models.packages import opening
from smartscope_models.packages.tools import PackageTools

runner = CliRunner()


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the shipped packages; no torch, no OpenVINO: they are slow to import."""
    monkeypatch.setenv(opening.ENVIRONMENT, "")  # and put back, whatever --zoo sets it to
    monkeypatch.setattr(opening, "SHIPPED", tmp_path / "zoo")
    names = ("tensorrt_rtx", "tensorrt", "torch_cuda", "onnxruntime", "openvino", "torch")
    found = tuple(Finding(name, name == "onnxruntime", "1", "not here") for name in names)
    monkeypatch.setattr(probe, "findings", lambda: found)
    write_tiny_denoiser(tmp_path / "zoo" / "tiny")
    return tmp_path / "zoo"


def said(*words: str, code: int = 0) -> str:
    result = runner.invoke(app, ["models", *words])
    assert result.exit_code == code, result.output
    return result.output


def as_json(*words: str, code: int = 0) -> Any:
    return json.loads(said(*words, "--json", code=code))


def test_list(zoo: Path) -> None:
    broken = zoo / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"x")
    lines = said("list").splitlines()
    assert lines[0].startswith("broken: ")
    assert "is no ONNX file" in lines[0]
    assert lines[1].startswith("tiny: denoise, 9 parameters, 0.00 MB, BSD-3-Clause; Box mean")
    rows = as_json("list")
    assert [row["name"] for row in rows] == ["broken", "tiny"]
    assert rows[1]["bytes"] == sum((zoo / "tiny" / name).stat().st_size for name in ("model.onnx", "model.fp16.onnx"))


def test_list_of_nothing_and_of_a_folder_of_ones_own(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_denoiser(tmp_path / "own" / "mine")
    assert [row["name"] for row in as_json("list", "--zoo", str(tmp_path / "own"))] == ["mine", "tiny"]
    monkeypatch.setenv(opening.ENVIRONMENT, "")
    monkeypatch.setattr(opening, "SHIPPED", tmp_path / "none")
    assert "no packages; name a folder" in said("list")


def test_show(zoo: Path, tmp_path: Path) -> None:
    found = as_json("show", "tiny")
    assert found["manifest"]["schema"] == 1
    assert found["card"] == str(zoo / "tiny" / "CARD.md")
    assert found["files"]["model.onnx"] == (zoo / "tiny" / "model.onnx").stat().st_size
    text = said("show", "tiny")
    assert f"sha256: {found['sha256']}" in text
    assert '  task: "denoise"' in text
    bare = as_json("show", str(zoo / "tiny" / "model.onnx"))
    assert (bare["kind"], list(bare["files"]), bare["card"]) == ("file", ["model.onnx"], None)
    assert "card" not in said("show", str(zoo / "tiny" / "model.onnx"))
    archive = zipped(write_zoo_package(tmp_path / "z", zoo_tree_05()))
    assert "weights.onnx" in as_json("show", str(archive))["files"]


def test_verify(zoo: Path) -> None:
    (report,) = as_json("verify")
    assert (report["package"], report["ok"]) == ("tiny", True)
    text = said("verify", "tiny")
    assert "  ok      opens: manifest and graph agree" in text
    assert "  skipped openvino fp32, test tensors: openvino: not here" in text
    (zoo / "tiny" / "CARD.md").unlink()
    assert "  FAILED  files: " in said("verify", "tiny", code=1)
    assert as_json("verify", "tiny", code=1)[0]["ok"] is False
    assert "no such path" in said("verify", "nowhere", code=1)


def test_build(zoo: Path) -> None:
    (row,) = as_json("build", "--shape", "30x40")
    assert row["size"] == [32, 40], "what the network takes"
    assert (row["package"], row["engine"], row["precision"], row["cache"]) == ("tiny", "onnxruntime", "fp32", None)
    assert as_json("build", "--shape", "16x16", "--precision", "fp16")[0]["precision"] == "fp16"
    text = said("build", "tiny", "--engine", "onnxruntime")
    assert "tiny: onnxruntime fp32 on cpu, 512 x 512" in text
    assert "nothing to keep (onnxruntime was asked for by name)" in text


def test_build_says_where_a_gpus_engine_is_kept(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu:
        name, device, precision, why = "tensorrt", "RTX 9", "fp16", "first of all"

        def warm_up(self, shapes: object) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(PackageTools.__init__, "__defaults__", (lambda *_, **__: OnGpu(),))
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(zoo))
    assert f"kept in {zoo / 'tensorrt'} (first of all)" in said("build", "tiny")


def test_bench(zoo: Path) -> None:
    found = as_json("bench", "tiny", "--size", "32x40", "--size", "20x20", "--frames", "3")
    assert set(found["machine"]) >= {"processor", "cores"}
    assert found["frames"] == 3
    rows = found["results"]
    assert [(row["engine"], row["size"]) for row in rows if "skipped" not in row] == [
        ("onnxruntime", [32, 40]), ("onnxruntime", [24, 24]),
    ]  # fmt: skip
    ran = rows[0]
    assert 0 < ran["wall_ms_median"] <= ran["wall_ms_p99"]
    assert ran["cpu_ms_median"] >= 0
    assert all("not here" in row["skipped"] for row in rows if row["engine"] != "onnxruntime")
    text = said("bench", "--engine", "onnxruntime", "--frames", "2", "--size", "16x16")
    assert "tiny 16 x 16, onnxruntime fp32 on cpu: wall " in text
    assert "tiny 16 x 16, torch: skipped" in said("bench", "--engine", "torch", "--frames", "2", "--size", "16x16")


def test_bench_of_a_package_with_steps_around_its_network(zoo: Path, tmp_path: Path) -> None:
    path = write_zoo_package(tmp_path / "steps", zoo_tree_05())
    (row,) = as_json("bench", str(path), "--engine", "onnxruntime", "--frames", "2", "--size", "16x16")["results"]
    assert row["package"] == "steps"


@pytest.mark.parametrize("shape", ["512", "x512", "0x512", "ax512", "512x-1"])
def test_sizes_that_are_none(zoo: Path, shape: str) -> None:
    assert runner.invoke(app, ["models", "build", "--shape", shape]).exit_code == 2
    assert runner.invoke(app, ["models", "bench", "--size", shape]).exit_code == 2


def test_deliberate_errors_reach_the_user(zoo: Path) -> None:
    for words, error in (
        (["show", "nowhere"], InputError),
        (["build", "tiny", "--engine", "torch"], EngineError),
        (["build", "tiny", "--engine", "abacus"], EngineError),
        (["build", "tiny", "--precision", "int2"], EngineError),
        (["list", "--zoo", "nowhere"], InputError),
    ):
        assert isinstance(runner.invoke(app, ["models", *words]).exception, error)


def test_an_engine_that_fails_is_closed(zoo: Path) -> None:
    closed: list[bool] = []

    class Failing:
        def warm_up(self, shapes: object) -> None:
            raise UnsupportedModel("no")

        def close(self) -> None:
            closed.append(True)

    tools = PackageTools(lambda *_, **__: Failing())  # type: ignore[arg-type,return-value]
    with pytest.raises(UnsupportedModel):
        tools.build(["tiny"], (32, 32), "auto", "auto", lambda done, total: None)
    assert closed == [True]
    assert PackageTools()._open_engine is open_engine
