"""What a user types: commands, arguments, exit codes; the work is done elsewhere and imported when needed."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smartscope import __version__
from smartscope.cli_models import models_app
from smartscope.errors import ConfigurationError, SmartscopeError

app = typer.Typer(
    help="A microscope that runs itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
log = logging.getLogger(__name__)
bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine; prints JSON with --json.")
schema_app = typer.Typer(no_args_is_help=True, help="JSON Schema for editors and clients.")
keys_app = typer.Typer(no_args_is_help=True, help="Keys for access from other machines.")
calibrate_app = typer.Typer(no_args_is_help=True, help="Measure what the configuration needs to know.")
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")
app.add_typer(schema_app, name="schema")
app.add_typer(keys_app, name="keys")
app.add_typer(calibrate_app, name="calibrate")

Config = Annotated[Path, typer.Argument(help="YAML file of the experiment", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key, e.g. start.exposure_ms=5.")
]
Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder of this run; it must not exist.")]
Endpoint = Annotated[str, typer.Argument(help="Control endpoint of a running smartscope.")]
FrameCount = Annotated[int, typer.Option(help="Frames to measure.", min=2)]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Your operator.json or read_only.json, where keys are wanted."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CONTROL = "tcp://127.0.0.1:5603"


@app.command()
def run(
    config: Config,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.")] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    output: Output = None,
    overrides: Overrides = None,
    arm: Annotated[str | None, typer.Option(help="shadow: decide only; clamped: tight limits; armed.")] = None,
) -> None:
    """Run an experiment: camera, models, policies, hardware, record, clients; the light is off when it ends."""
    from smartscope.app import run_experiment
    from smartscope.loading import load

    changes = list(overrides or [])
    changes += [f"frames={frames}", "duration_s=null"] if frames is not None else []
    changes += [f"duration_s={duration}", "frames=null"] if duration is not None else []
    changes += [f"arm={arm}"] if arm is not None else []
    outcome = run_experiment(load(config, changes), source=str(config), output=output, progress=sys.stderr.isatty())
    typer.echo(outcome.line)


@app.command()
def check(config: Config, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """List everything wrong with a configuration, with the key and the remedy; touches no light."""
    from smartscope.check import check_file

    problems: list[dict[str, str]] = []
    try:
        check_file(config, overrides or ())
    except ConfigurationError as error:
        problems = [
            {"key": p.key, "value": p.value, "what": p.what, "allowed": p.allowed, "remedy": p.remedy}
            for p in error.problems
        ]
        if not as_json:
            for problem in error.problems:
                typer.echo(problem.line())
    if as_json:
        typer.echo(json.dumps({"config": str(config), "problems": problems}, indent=1))
    elif not problems:
        typer.echo(f"{config}: nothing wrong found")
    if problems:
        raise typer.Exit(1)


@app.command()
def replay(
    movie: Annotated[Path, typer.Argument(metavar="MOVIE|RUN", help="A movie, a folder of images, or a run folder.")],
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="YAML file; a run folder brings its own.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="every: each frame is processed; recorded: decide again as recorded.")
    ] = "every",
    recompute: Annotated[bool, typer.Option("--recompute", help="With recorded: run the models again too.")] = False,
    output: Output = None,
    overrides: Overrides = None,
) -> None:
    """Run models and policies on recorded frames, or make a run's decisions again and compare them."""
    from smartscope.replaying import replay_movie, replay_recorded

    if schedule == "recorded":
        again = replay_recorded(movie, config, overrides or (), recompute=recompute)
        typer.echo(again.line)
        if not again.identical:
            raise typer.Exit(1)
        return
    if schedule != "every":
        raise typer.BadParameter(f"{schedule!r}; allowed: every, recorded", param_hint="--schedule")
    outcome = replay_movie(movie, config, overrides or (), output=output, progress=sys.stderr.isatty())
    typer.echo(outcome.line)


@app.command()
def process(
    task: Annotated[str, typer.Argument(help="denoise, detect or track.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="TIFF movie; for track also a CSV of detections.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="TIFF (denoise) or CSV (detect, track).")],
    camera: Annotated[Path | None, typer.Option(help="camera.json; without it the noise is estimated.")] = None,
    optics: Annotated[Path | None, typer.Option(help="optics.json.")] = None,
    model: Annotated[str | None, typer.Option(help="A model by name, or a model package by name or path.")] = None,
    engine: Annotated[str | None, typer.Option(help="Which engine runs it; auto takes the fastest.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Option of the task.")
    ] = None,
    tracks: Annotated[
        str | None, typer.Option("--output", help="track: now (as known with each frame) or settled (with hindsight).")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write timing and figures as JSON.")] = None,
) -> None:
    """Run the live code on files."""
    from smartscope.processing import process_file

    chosen, shown = {"model": model, "engine": engine}, sys.stderr.isatty()
    options = [*(option or ()), *([f"output={tracks}"] if tracks else [])]
    typer.echo(process_file(task, source, output, camera, optics, options, report, **chosen, progress=shown))


@app.command()
def report(run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write report.html of a run again."""
    from smartscope.report import write_report

    typer.echo(str(write_report(run_folder)))


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    form: Annotated[
        str, typer.Option("--format", help="Of molecules: thunderstorm, picasso. Of tracks: trackmate, geff, ctc.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="PATH", help="Where to; without it, RUN/exports.")
    ] = None,
    drift_corrected: Annotated[bool, typer.Option(help="Take off the drift that the run measured.")] = False,
) -> None:
    """Write single molecules or tracks of a run for another program."""
    from smartscope.exporting import FORMATS, export_run

    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r}; allowed: {', '.join(FORMATS)}", param_hint="--format")
    typer.echo(export_run(run_folder, form, output, drift_corrected=drift_corrected).line)


@app.command()
def watch(endpoint: Endpoint = CONTROL, key: KeyFile = None) -> None:
    """Watch a running smartscope in the terminal."""
    from smartscope.bus.watch import watch as watch_endpoint

    watch_endpoint(endpoint, key_file=key)


@app.command("laser-off")
def laser_off(endpoint: Endpoint = CONTROL, key: KeyFile = None) -> None:
    """Switch all light off now. Software only: this is no interlock."""
    from smartscope.bus.watch import laser_off as switch_off

    raise typer.Exit(switch_off(endpoint, key_file=key))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: versions, adapters, disk, ports, clock, engines for networks."""
    from smartscope.doctor import examine, show

    findings = examine()
    typer.echo(json.dumps(findings, indent=1) if as_json else show(findings))


@bench_app.command("loop")
def bench_loop(as_json: AsJson = False, frames: FrameCount = 1000) -> None:
    """Frame in hand → command dispatched, simulated camera and DemoCamera."""
    from smartscope.benchmarks import loop_figures

    _show(loop_figures(frames=frames), as_json)


@bench_app.command("pipeline")
def bench_pipeline(as_json: AsJson = False, frames: FrameCount = 2000) -> None:
    """The demo's whole pipeline at about 100 frames/s, recorder on."""
    from smartscope.benchmarks import pipeline_figures

    _show(pipeline_figures(frames=frames), as_json)


@bench_app.command("record")
def bench_record(
    as_json: AsJson = False,
    folder: Annotated[Path, typer.Option(help="Folder on the disk to measure.")] = Path(),
) -> None:
    """Recording speed against the raw disk."""
    from smartscope.benchmarks import record_figures

    _show(record_figures(folder), as_json)


@bench_app.command("bus")
def bench_bus(as_json: AsJson = False) -> None:
    """Cost and speed of publishing."""
    from smartscope.benchmarks import bus_figures

    _show(bus_figures(), as_json)


@schema_app.command("config")
def schema_config() -> None:
    """JSON Schema of the experiment's YAML."""
    from smartscope.schema import config_schema

    typer.echo(json.dumps(config_schema(), indent=1))


@schema_app.command("wire")
def schema_wire() -> None:
    """JSON Schema of the messages on the bus."""
    from smartscope.bus.wire import schema

    typer.echo(json.dumps(schema(), indent=1))


@keys_app.command("new")
def keys_new(folder: Annotated[Path, typer.Argument(help="Folder for the keys; made if it is not there.")]) -> None:
    """Make CURVE keys: server, operator, read-only."""
    from smartscope.bus.keys import new

    new(folder)
    typer.echo(f"keys made in {folder}: give operator.json or read_only.json to the people who may connect")


@calibrate_app.command("stage")
def calibrate_stage(
    config: Config,
    step_um: Annotated[float, typer.Option(help="Length of a step, um; a tenth of the field or so.")] = 2.0,
    overrides: Overrides = None,
) -> None:
    """Measure how stage and camera lie to each other, by guided steps; prints the line for the YAML."""
    from smartscope.calibrating import calibrate_stage as measure
    from smartscope.loading import load

    found = measure(load(config, overrides or ()), step_um)
    (a, b), (c, d) = found.affine_um_per_px
    typer.echo(f"affine_um_per_px: [[{a:.5f}, {b:.5f}], [{c:.5f}, {d:.5f}]]")
    typer.echo(
        f"{found.steps} steps agree within {found.residual_px:.2f} px; write the line above under microscope.stage"
    )


@calibrate_app.command("camera")
def calibrate_camera(
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Folder to make: camera.json and maps.")],
    config: Annotated[Path | None, typer.Argument(help="YAML file: measure at its microscope.")] = None,
    dark: Annotated[list[Path] | None, typer.Option("--dark", help="Movie without light; may be repeated.")] = None,
    light: Annotated[list[Path] | None, typer.Option("--light", help="Movie of one light level; repeat.")] = None,
    em_gain: Annotated[
        float | None, typer.Option(help="Gain of an EMCCD's register; it is not measured.", min=1)
    ] = None,
    dark_frames: Annotated[int, typer.Option(help="At the microscope: dark frames.", min=20)] = 1000,
    frames: Annotated[int, typer.Option(help="At the microscope: frames of each light level.", min=10)] = 100,
    levels: Annotated[int, typer.Option(help="At the microscope: light levels.", min=1)] = 12,
    overrides: Overrides = None,
) -> None:
    """Measure offset, gain and read noise of every pixel, from movies (--dark, --light) or at the microscope."""
    from smartscope.calibrating import calibrate_camera as measure
    from smartscope.calibrating import calibrate_camera_from_files
    from smartscope.camera_calibration.folder import yaml_lines
    from smartscope.camera_calibration.series import Wanted
    from smartscope.loading import load

    if config is None and not dark and not light:
        raise typer.BadParameter("give CONFIG, or movies with --dark and --light", param_hint="CONFIG")
    known, shown = load(config, overrides or ()) if config else None, sys.stderr.isatty()
    if known is None or dark or light:
        found = calibrate_camera_from_files(
            dark or (), light or (), output, config=known, em_gain=em_gain, progress=shown
        )
    else:
        found = measure(known, output, Wanted(dark_frames, frames, levels), em_gain=em_gain, progress=shown)
    for warning in found.warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(yaml_lines(found.camera, (config or Path()).parent if config else Path()))
    typer.echo(f"{output}: camera.json, maps and report.json; write the lines above under microscope")


@calibrate_app.command("psf")
def calibrate_psf(
    beads: Annotated[Path, typer.Argument(metavar="BEADS.tif", help="Movie of beads, one frame for each height.")],
    camera: Annotated[Path, typer.Option(help="camera.json: pixel size, offset, gain.")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE.npz", help="File to make.")],
    z_step_nm: Annotated[float, typer.Option(help="How much higher a bead stands in the next frame; negative: lower.")],
    size_px: Annotated[
        int | None, typer.Option(help="Odd width of the window around a bead; about 2.5 um if not given.", min=9)
    ] = None,
) -> None:
    """Measure the image of one molecule at all heights, from a z-stack of beads; prints lines for the YAML."""
    from smartscope.calibrating import calibrate_point_spread

    found = calibrate_point_spread(beads, output, z_step_nm, camera, size_px=size_px)
    for warning in found.warnings:
        typer.echo(f"note: {warning}", err=True)
    low, high = found.beads.spline.range_nm
    typer.echo(f"point_spread: {{model: spline, file: {output}, range_nm: {min(-low, high):.0f}}}")
    if fitted := found.astigmatism:
        typer.echo(f"{fitted.lines}  # or; widths leave it by {fitted.residual_px:.2f} px")
    told = found.beads
    typer.echo(
        f"{told.beads} of {told.found} beads used, {told.unexplained:.1%} of their light unexplained, "
        f"heights {low:.0f} to {high:.0f} nm; write one of the lines above under microscope.optics"
    )


def _version(value: bool) -> None:
    if value:
        typer.echo(f"smartscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A microscope that runs itself."""


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        typer.echo(f"{name}: {value}")


def main() -> None:
    """Entry point; 0 done, 1 the experiment or input failed (one line says what and what to do), 2 wrong usage."""
    try:
        app()
    except SmartscopeError as error:
        typer.echo(f"smartscope: {error.line()}", err=True)
        sys.exit(1)
    except Exception as error:
        log.exception("this should have been one of our own errors")
        typer.echo(f"smartscope: {type(error).__name__}: {error}; remedy: report this with the lines above", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
