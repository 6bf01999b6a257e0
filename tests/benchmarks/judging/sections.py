"""The sections of the denoising benchmark on simulated movies: what is simulated, and which figures are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from .bench import BASELINE, Bench
from .candidates import Candidate
from .cases import Case, Scene, stack
from .displacement import displacement
from .figures import Row, groups, paired, spread

Section = dict[str, Any]
LINEAR_ELECTRONS = (5.0, 10.0, 20.0, 50.0, 100.0)
EMPTY_BACKGROUNDS = (0.5, 2.0, 5.0, 20.0, 100.0)
SPEEDS_PX = (0.25, 0.5, 1.0, 2.0)
FRAMES = {"linearity": 8, "empty": 4, "moving": 24, "maps": 4}


def scenes(bench: Bench) -> Section:
    """All scenes at all light levels, sCMOS without maps."""
    chosen = product(bench.scenes, bench.electrons, bench.seeds)
    return _against_baseline(bench, [Scene(s, e, seed, size=bench.size) for s, e, seed in chosen])


def emccd(bench: Bench) -> Section:
    """The mixed scene on an EMCCD: excess noise factor 2."""
    chosen = product(bench.electrons, bench.seeds)
    return _against_baseline(bench, [Scene("mixed", e, seed, size=bench.size, camera="emccd") for e, seed in chosen])


def maps(bench: Bench) -> Section:
    """The mixed scene on an sCMOS camera with pixel maps; BM3D also with each pixel's offset and gain taken out."""
    chosen = [Scene("mixed", e, seed, size=bench.size, maps=True) for e, seed in product(bench.electrons, bench.seeds)]
    section = _against_baseline(bench, chosen)
    helped = [peer for peer in bench.peers if peer.label == BASELINE]
    rows = bench.rows(chosen, lambda case, who: _quality(case, who, without_pattern=True), helped)
    named = [{**row, "model": HELPED} for row in rows]
    section["rows"] += named
    section["summary"] += _summary(named)
    for model in bench.ours if helped else ():
        section["paired"] += paired(section["rows"], CELL, "psnr_db", model.label, HELPED)
    return section


HELPED = f"{BASELINE}, pattern taken out"
CELL = ("scene", "electrons", "camera")


def _against_baseline(bench: Bench, chosen: Sequence[Scene]) -> Section:
    rows = bench.rows(chosen, _quality)
    differences = []
    for model in bench.ours:
        for figure in ("psnr_db", "ssim"):
            differences += paired(rows, CELL, figure, model.label, BASELINE)
    return {"rows": rows, "summary": _summary(rows), "paired": differences, "spread": _families(rows)}


def _quality(case: Case, candidate: Candidate, *, without_pattern: bool = False) -> Row:
    output, took = case.denoise(candidate, case.without_pattern() if without_pattern else None)
    found = case.score(output)
    kept = {key: found[key] for key in ("psnr_db", "ssim", "nrmse", "residual_chi2", "residual_whiteness")}
    plain = {f"{key}_without_fit": found["without_fit"][key] for key in ("psnr_db", "ssim")}
    return {**kept, **plain, "noisy_psnr_db": found["noisy_input"]["psnr_db"], "cpu_ms": took["cpu_ms_per_frame"]}


def _summary(rows: Iterable[Row]) -> list[Row]:
    """Means over the seeds."""
    figures = ("psnr_db", "ssim", "psnr_db_without_fit", "ssim_without_fit", "residual_chi2", "cpu_ms")
    return _means(rows, (*CELL, "model"), figures)


def _means(rows: Iterable[Row], keys: Sequence[str], figures: Sequence[str]) -> list[Row]:
    answers = []
    for names, group in groups(rows, keys).items():
        means = {figure: sum(row[figure] for row in group) / len(group) for figure in figures}
        answers.append({**dict(zip(keys, names, strict=True)), "seeds": len(group), **means})
    return answers


def _families(rows: Iterable[Row]) -> list[Row]:
    """Models labelled NAME#1, NAME#2 … differ in the seed of their training: largest minus least mean PSNR."""
    members = [{**row, "family": row["model"].split("#")[0]} for row in rows if "#" in row["model"]]
    answers = []
    for names, group in groups(members, (*CELL, "family")).items():
        means = [item["psnr_db"] for item in _means(group, ("model",), ("psnr_db",))]
        cell = dict(zip((*CELL, "family"), names, strict=True))
        answers.append({**cell, "members": len(means), "psnr_spread_db": max(means) - min(means)})
    return answers


def linearity(bench: Bench) -> Section:
    """Isolated spots of known brightness: does the mean output keep their flux? The raw movie shows the noise of it."""
    chosen = product(LINEAR_ELECTRONS, bench.seeds)
    drawn = [Scene("puncta", e, seed, frames=FRAMES["linearity"], size=bench.size) for e, seed in chosen]
    figures = ("linearity_slope", "linearity_slope_dim", "linearity_r")
    rows = bench.rows(drawn, lambda case, who: _kept(case, who, figures))
    return {"rows": rows, "summary": _means(rows, ("electrons", "model"), figures)}


def _kept(case: Case, candidate: Candidate, figures: Sequence[str]) -> Row:
    found = case.score(case.denoise(candidate)[0])
    return {figure: found[figure] for figure in figures}


def empty(bench: Bench) -> Section:
    """Nothing there: what is invented, per 512 x 512 pixels and frame, at several backgrounds."""
    drawn = [
        Scene("empty", background, seed, frames=FRAMES["empty"], size=bench.size, background=background)
        for background, seed in product(EMPTY_BACKGROUNDS, bench.seeds)
    ]
    figures = ("false_structures", "false_structures_psf", "background_rms_over_noise", "background_bias_adu")
    rows = bench.rows(drawn, lambda case, who: _kept(case, who, figures))
    worst = [
        {**dict(zip(("electrons", "model"), names, strict=True)), "worst_psf": max(r[figures[1]] for r in group)}
        for names, group in groups(rows, ("electrons", "model")).items()
    ]
    return {"rows": rows, "summary": _means(rows, ("electrons", "model"), figures), "worst": worst}


def moving(bench: Bench) -> Section:
    """Every object on its own straight line: how old is what the output shows, and what is the speed's price."""
    chosen = product(SPEEDS_PX, (10.0, 50.0), bench.seeds)
    drawn = [
        Scene("mixed", e, seed, frames=FRAMES["moving"], size=bench.size, motion_px=speed) for speed, e, seed in chosen
    ]
    figures = ("temporal_lag_frames", "psnr_db", "ssim")
    rows = bench.rows(drawn, lambda case, who: _kept(case, who, figures), [*bench.quick_peers, *bench.ours])
    return {"rows": rows, "summary": _means(rows, ("motion_px", "electrons", "model"), figures)}


def displaced(bench: Bench) -> Section:
    """Known truth in place: how far each output lies from it, beside how far the raw frame seems to by its noise."""
    chosen = product(bench.scenes, (10.0, 50.0), bench.seeds)
    rows = bench.rows([Scene(s, e, seed, size=bench.size) for s, e, seed in chosen], _displacement)
    summary = []
    for names, group in groups(rows, ("model",)).items():
        axes = {axis: spread([row[axis] for row in group]) for axis in ("dy_px", "dx_px")}
        summary.append({"model": names[0], **axes, "largest_px": max(row["length_px"] for row in group)})
    return {"rows": rows, "summary": summary}


def _displacement(case: Case, candidate: Candidate) -> Row:
    found = displacement(stack(case.denoise(candidate)[0])[0], stack(case.clean)[0])
    return {"dy_px": found.dy_px, "dx_px": found.dx_px, "length_px": found.length_px}
