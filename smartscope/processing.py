"""``smartscope process``: finds the task, reads the calibration files, shows progress, writes the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from smartscope import plugins
from smartscope.calibration_files import read_instrument
from smartscope.errors import ConfigurationError, InputError, Problem
from smartscope.ports import FileTask, TaskInputs
from smartscope.progress import counting


def process_file(
    task_name: str,
    source: Path,
    output: Path,
    camera: Path | None,
    optics: Path | None,
    options: Sequence[str],
    report: Path | None,
    *,
    model: str | None = None,
    engine: str | None = None,
    progress: bool = False,
) -> str:
    """Run one task on files; returns a line for the terminal, and one for each warning of the task.

    Raises:
        PluginError: no such task.
        InputError, ConfigurationError: a file or a key in it is wrong; nothing is written then.
    """
    task: FileTask = plugins.find("tasks", task_name)()
    if not source.exists():
        raise InputError("no such file", where=str(source), remedy="give the path of a movie or table")
    if not output.absolute().parent.is_dir():
        raise InputError("its folder does not exist", where=str(output), remedy="make the folder first")
    instrument = read_instrument(camera, optics)
    named = {key: value for key, value in (("model", model), ("engine", engine)) if value is not None}
    chosen: dict[str, Any] = {**_options(options), **named, "camera_given": camera is not None}
    with counting(f"{task_name} {source.name}", shown=progress) as advance:
        figures = task.run(TaskInputs(str(source), str(output), instrument, chosen), advance)
    if report is not None:
        report.write_text(
            json.dumps({"task": task_name, "source": str(source), "output": str(output), **figures}, indent=1)
        )
    shown = ", ".join(f"{name} {_figure(value)}" for name, value in figures.items() if isinstance(value, (int, float)))
    return "\n".join([f"{output}: {shown}", *(f"note: {warning}" for warning in figures.get("warnings", ()))])


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
