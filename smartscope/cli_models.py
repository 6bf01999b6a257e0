"""What a user types after ``smartscope models``; the packages themselves are the business of a plug-in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from smartscope.cli_tune import tune
from smartscope.progress import counting

models_app = typer.Typer(
    no_args_is_help=True, help="Model packages: what is there, whether it is sound, how fast it is."
)
models_app.command()(tune)

Row = Mapping[str, Any]
Size = tuple[int, int]
Progress = Callable[[int, int], None]
Name = Annotated[str, typer.Argument(help="A shipped name, a package folder, an .onnx file, or a zoo archive.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="As for show; without: all that have names.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
EngineOption = Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or torch.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16, of the network's body.")]
Folder = Annotated[
    Path | None, typer.Option("--zoo", metavar="DIR", help="A folder of packages of your own (or SMARTSCOPE_ZOO).")
]
MARKS = {"ok": "ok     ", "failed": "FAILED ", "skipped": "skipped"}


class ModelTools(Protocol):
    """What the entry point ``packages`` of the group ``smartscope.model_tools`` can do; rows hold plain values."""

    def listing(self) -> Sequence[Row]:
        """``name`` and ``problem``, or ``name, task, parameters, licence, bytes, description``, of each package."""

    def show(self, name: str) -> Row:
        """Everything about one package."""

    def verify(self, names: Sequence[str], progress: Progress) -> Sequence[Row]:
        """``package, path, ok, checks`` of each; a check has ``name, status, why``."""

    def build(self, names: Sequence[str], size: Size, engine: str, precision: str, progress: Progress) -> Sequence[Row]:
        """``package, engine, device, precision, size, took_s, cache, why`` of each."""

    def bench(
        self,
        names: Sequence[str],
        sizes: Sequence[Size],
        engine: str,
        precision: str,
        frames: int,
        progress: Progress,
    ) -> Row:
        """``machine``, and one of ``results`` for each package, engine and size."""


@models_app.command("list")
def list_models(zoo: Folder = None, as_json: AsJson = False) -> None:
    """The packages that can be named: shipped, and those of a folder of your own."""
    rows = _tools(zoo).listing()
    if as_json:
        typer.echo(json.dumps(list(rows), indent=1))
        return
    for row in rows:
        if "problem" in row:
            typer.echo(f"{row['name']}: {row['problem']}")
            continue
        size = f"{row['parameters']:,} parameters, {row['bytes'] / 1e6:.2f} MB"
        typer.echo(f"{row['name']}: {row['task']}, {size}, {row['licence']}; {row['description']}")
    if not rows:
        typer.echo("no packages; name a folder of your own with --zoo or SMARTSCOPE_ZOO")


@models_app.command()
def show(name: Name, zoo: Folder = None, as_json: AsJson = False) -> None:
    """Manifest, card, files and hash of one package."""
    found = _tools(zoo).show(name)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        if isinstance(value, Mapping):
            typer.echo(f"{key}:")
            for inner, what in value.items():
                typer.echo(f"  {inner}: {json.dumps(what, ensure_ascii=False)}")
        elif value is not None:
            typer.echo(f"{key}: {value}")


@models_app.command()
def verify(names: Names = None, zoo: Folder = None, as_json: AsJson = False) -> None:
    """Files, hashes, graph, and the same answer from every engine here; exit code 1 if something failed."""
    with counting("verifying", shown=sys.stderr.isatty()) as progress:
        reports = _tools(zoo).verify(names or (), progress)
    if as_json:
        typer.echo(json.dumps(list(reports), indent=1))
    else:
        for report in reports:
            typer.echo(f"{report['package']} ({report['path']})")
            for check in report["checks"]:
                typer.echo(f"  {MARKS[check['status']]} {check['name']}: {check['why']}")
    if not all(report["ok"] for report in reports):
        raise typer.Exit(1)


@models_app.command()
def build(
    names: Names = None,
    shape: Annotated[str, typer.Option(help="Height and width of the frames.")] = "512x512",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    zoo: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compile for this machine now and keep it, so that a run starts at once."""
    with counting("building", shown=sys.stderr.isatty()) as progress:
        rows = _tools(zoo).build(names or (), _size(shape, "--shape"), engine, precision, progress)
    if as_json:
        typer.echo(json.dumps(list(rows), indent=1))
        return
    for row in rows:
        height, width = row["size"]
        kept = f"kept in {row['cache']}" if row["cache"] else "nothing to keep"
        ready = f"{row['engine']} {row['precision']} on {row['device']}, {height} x {width}"
        typer.echo(f"{row['package']}: {ready}, {row['took_s']:.1f} s, {kept} ({row['why']})")


@models_app.command()
def bench(
    names: Names = None,
    sizes: Annotated[list[str] | None, typer.Option("--size", help="Height and width; give it again for more.")] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    frames: Annotated[int, typer.Option(help="Frames to measure.", min=2)] = 30,
    zoo: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Wall and CPU milliseconds per frame, of every engine here or of one."""
    wanted = [_size(size, "--size") for size in sizes or ("256x256", "512x512")]
    with counting("measuring", shown=sys.stderr.isatty()) as progress:
        found = _tools(zoo).bench(names or (), wanted, engine, precision, frames, progress)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    typer.echo(f"machine: {found['machine']}")
    for row in found["results"]:
        height, width = row["size"]
        title = f"{row['package']} {height} x {width}, {row['engine']}"
        if "skipped" in row:
            typer.echo(f"{title}: skipped, {row['skipped']}")
            continue
        wall, cpu = (f"{row[f'{kind}_median']:g} (p99 {row[f'{kind}_p99']:g}) ms" for kind in ("wall_ms", "cpu_ms"))
        typer.echo(f"{title} {row['precision']} on {row['device']}: wall {wall}, CPU {cpu}")


def _tools(zoo: Path | None) -> ModelTools:
    from smartscope import plugins

    if zoo is not None:
        os.environ["SMARTSCOPE_ZOO"] = str(zoo)
    tools: ModelTools = plugins.find("model_tools", "packages")()
    return tools


def _size(text: str, option: str) -> Size:
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise typer.BadParameter(f"{text!r}; allowed: HEIGHTxWIDTH, as 512x512", param_hint=option)
    return int(height), int(width)
