"""Every code block of docs/packages.md works as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from smartscope import plugins
from smartscope.cli import app
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument

PAGE = (Path(__file__).parents[2] / "docs" / "packages.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's Python block wrote its package."""
    folder = tmp_path_factory.mktemp("page")
    (program,) = blocks("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(program, "docs/packages.md", "exec"), {})
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SMARTSCOPE_ZOO", str(folder / "my_zoo"))


def test_the_python_block_writes_what_the_page_promises(folder: Path) -> None:
    written = {path.name for path in (folder / "my_zoo" / "my_denoiser").iterdir()}
    assert written == {"model.onnx", "rdf.yaml", "CARD.md", "test_input_counts.npy", "test_output_image.npy"}


@pytest.mark.parametrize("line", [line for block in blocks("bash") for line in block.splitlines()])
def test_commands(line: str) -> None:
    words = shlex.split(line)
    assert words.pop(0) == "smartscope"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "my_denoiser" in result.output


@pytest.mark.parametrize("block", blocks("yaml"))
def test_stages(block: str) -> None:
    (stage,) = yaml.safe_load(block)["pipeline"]
    cls = plugins.find("models", stage["model"])
    assert plugins.check_options(cls, stage["options"], "options") == []
    if Path(stage["options"]["package"]).exists():
        plugins.build("models", stage["model"], stage["options"], Instrument(CameraCalibration(), OpticsConfig()))


def test_the_page_names_every_task_and_step() -> None:
    from smartscope_models.packages.bioimage_steps import FIGURES
    from smartscope_models.packages.contracts import CONTRACTS

    known: dict[str, Any] = {**CONTRACTS, **{name.removeprefix("fixed_"): 0 for name in FIGURES}}
    assert [name for name in known if f"`{name}`" not in PAGE] == []
