"""``smartscope process``: finds the task, reads the calibration files, shows progress, writes the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig, Section
from smartscope.errors import ConfigurationError, InputError, Problem
from smartscope.ports import FileTask, Instrument, TaskInputs
from smartscope.progress import counting

SectionT = TypeVar("SectionT", bound=Section)
FOREIGN_KEYS = {"psf", "clock_induced_charge_e"}
"""Keys that other programs write into camera.json and that no task of ours needs."""


def process_file(
    task_name: str,
    source: Path,
    output: Path,
    camera: Path | None,
    optics: Path | None,
    options: Sequence[str],
    report: Path | None,
    *,
    progress: bool = False,
) -> str:
    """Run one task on files; returns a line for the terminal.

    Raises:
        PluginError: no such task.
        InputError, ConfigurationError: a file or a key in it is wrong; nothing is written then.
    """
    task: FileTask = plugins.find("tasks", task_name)()
    if not source.exists():
        raise InputError("no such file", where=str(source), remedy="give the path of a movie or table")
    if not output.absolute().parent.is_dir():
        raise InputError("its folder does not exist", where=str(output), remedy="make the folder first")
    instrument = Instrument(_section(CameraCalibration, camera), _section(OpticsConfig, optics))
    chosen: dict[str, Any] = {**_options(options), "camera_given": camera is not None}
    with counting(f"{task_name} {source.name}", shown=progress) as advance:
        figures = task.run(TaskInputs(str(source), str(output), instrument, chosen), advance)
    if report is not None:
        report.write_text(
            json.dumps({"task": task_name, "source": str(source), "output": str(output), **figures}, indent=1)
        )
    shown = ", ".join(f"{name} {_figure(value)}" for name, value in figures.items() if isinstance(value, (int, float)))
    return f"{output}: {shown}"


def _section(model: type[SectionT], path: Path | None) -> SectionT:
    if path is None:
        return model()
    try:
        tree: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return model.model_validate({key: value for key, value in tree.items() if key not in FOREIGN_KEYS})
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path") from error
    except (ValueError, AttributeError) as error:
        if isinstance(error, ValidationError):
            raise ConfigurationError(str(path), plugins.problems_of(error)) from error
        raise InputError(f"is no JSON mapping: {error}", where=str(path), remedy="see docs for camera.json") from error


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigurationError("--option", [Problem(pair, "", "needs the form KEY=VALUE")])
        options[key] = yaml.safe_load(text)
    return options


def _figure(value: float) -> str:
    return f"{value:.4g}"
