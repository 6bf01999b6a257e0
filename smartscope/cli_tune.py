"""``smartscope models tune``: a denoiser tuned to the sample under the microscope, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer


class TuningTools(Protocol):
    """What the entry point ``tuning`` of the group ``smartscope.model_tools`` can do."""

    def tune(
        self,
        package: str,
        frames: Path,
        *,
        camera: Path | None,
        optics: Path | None,
        output: Path | None,
        **bounds: Any,
    ) -> Mapping[str, Any]:
        """``path, kept, objections, steps, before, after``, among others."""


def tune(
    package: Annotated[str, typer.Argument(help="A shipped name, a package folder, or an .onnx file: the denoiser.")],
    frames: Annotated[Path, typer.Option(metavar="RUN|MOVIE", help="Raw frames: a run folder or a TIFF movie.")],
    camera: Annotated[Path | None, typer.Option(help="camera.json; a run folder brings its own.")] = None,
    optics: Annotated[Path | None, typer.Option(help="optics.json; a run folder brings its own.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the versions; of a run: RUN/models.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time it may take.", min=1, max=600)] = 60.0,
    threads: Annotated[int, typer.Option(help="Cores it may use.", min=1, max=64)] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal weights.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Tune a denoiser to what is under the microscope; kept only if better (exit code 0), else 1."""
    from smartscope import plugins

    tools: TuningTools = plugins.find("model_tools", "tuning")()
    found = tools.tune(
        package,
        frames,
        camera=camera,
        optics=optics,
        output=output,
        seconds=seconds,
        threads=threads,
        seed=seed,
    )
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else _told(found))
    if not found["kept"]:
        raise typer.Exit(1)


def _told(found: Mapping[str, Any]) -> str:
    """One or two lines."""
    if not found["kept"]:
        return f"not kept: {'; '.join(found['objections'])} (record in {found['path']})"
    losses = f"{found['before']['loss']:.4f} → {found['after']['loss']:.4f}"
    return f"kept: held-out loss {losses} after {found['steps']} steps; use it with package: {found['path']}"
