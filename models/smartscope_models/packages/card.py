"""The card that goes with a network: what it is for, how it was made, how it compares, how it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smartscope_models.packages.manifest import Manifest, Metric
from smartscope_models.packages.rdf import Reference

AUTHORS = ("the smartscope developers",)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the manifest does not hold: words for people."""

    summary: str
    """What the network does, and for whom, in one paragraph."""
    data: str
    """On which images it was trained and judged, and how these were made."""
    failure_modes: tuple[str, ...]
    """When not to believe it; one sentence each, never empty."""
    authors: tuple[str, ...] = AUTHORS
    cite: tuple[Reference, ...] = ()
    notes: str = ""
    """More, in Markdown."""


def card(manifest: Manifest, facts: CardFacts) -> str:
    """CARD.md as text."""
    return "\n\n".join(part.strip() for part in _parts(manifest, facts) if part.strip()) + "\n"


def _parts(manifest: Manifest, facts: CardFacts) -> Iterator[str]:
    yield f"# {manifest.name}"
    yield manifest.description
    yield facts.summary
    yield _table(("", ""), _facts(manifest))
    yield "## Inputs and outputs"
    rows = [
        (f"`{spec.name}`", kind, spec.dtype, ", ".join(spec.axes), " × ".join(map(str, spec.shape)), spec.unit)
        for kind, specs in (("in", manifest.inputs), ("out", manifest.outputs))
        for spec in specs
    ]
    yield _table(("name", "", "type", "axes", "shape", "unit"), rows)
    yield f"## How it was made\n\n{facts.data}"
    yield _training(manifest)
    if manifest.metrics:
        yield "## Figures"
        yield _table(("figure", "on", "this network", "classical method"), [_metric(m) for m in manifest.metrics])
    yield "## When not to believe it\n\n" + "\n".join(f"- {line}" for line in facts.failure_modes)
    yield facts.notes


def _facts(manifest: Manifest) -> list[tuple[str, ...]]:
    sizes = f"sides of {manifest.min_size} + n·{manifest.size_multiple} pixels"
    pixel = manifest.pixel_size_nm
    rows = [
        ("task", manifest.task),
        ("version", manifest.version),
        ("parameters", f"{manifest.parameters:,}"),
        ("frames", f"the newest and {manifest.history} before it; {sizes}"),
        ("normalisation", manifest.normalisation),
        ("pixel size", f"{pixel.low:g} to {pixel.high:g} nm in the sample" if pixel else ""),
        ("engines", ", ".join(manifest.engines)),
        ("licence", manifest.licence),
    ]
    return [row for row in rows if row[1]]


def _training(manifest: Manifest) -> str:
    if (training := manifest.training) is None:
        return "No recipe came with it: it cannot be made again."
    return (
        f"Recipe `{training.recipe}`, seed {training.seed}, commit `{training.commit}`; "
        f"{training.duration_s / 60:.0f} min on {training.hardware}. The same weights again:"
        f"\n\n```bash\n{training.command}\n```"
    )


def _metric(metric: Metric) -> tuple[str, ...]:
    unit = f" {metric.unit}" if metric.unit else ""
    other = f"{metric.baseline:g}{unit} ({metric.baseline_name})" if metric.baseline is not None else "–"
    return metric.name, metric.data, f"{metric.value:g}{unit}", other


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
