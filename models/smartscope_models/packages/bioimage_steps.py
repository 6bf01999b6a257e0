"""Which pre- and postprocessing steps of the BioImage Model Zoo can be done on one live image, and their figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smartscope.errors import UnsupportedModel
from smartscope_models.packages.host_steps import Step

NEEDED = math.nan
"""A figure without default."""
FIGURES: Mapping[str, Mapping[str, float]] = {
    "scale_linear": {"gain": 1.0, "offset": 0.0},
    "fixed_zero_mean_unit_variance": {"mean": NEEDED, "std": NEEDED, "eps": 0.0},
    "zero_mean_unit_variance": {"eps": 1e-6},
    "scale_range": {"min_percentile": 0.0, "max_percentile": 100.0, "eps": 1e-6},
    "scale_mean_variance": {"eps": 1e-6},
    "clip": {"min": -math.inf, "max": math.inf},
}
"""By step, its figures and their defaults (the description's own)."""
WORDS = ("axes", "axis", "mode", "reference_tensor")
"""Options that are no figures. Every mode but ``fixed`` is taken over the one image that there is."""


def read_steps(items: Iterable[Mapping[str, Any]], inputs: Sequence[str], where: str) -> tuple[Step, ...]:
    """The steps of one tensor; ``inputs`` are the names of tensors that a later step may refer to.

    Raises:
        UnsupportedModel: a step that is unknown here, or with options that cannot be met.
    """
    steps = (_step(item, inputs, where) for item in items)
    return tuple(step for step in steps if step is not None)


def _step(item: Mapping[str, Any], inputs: Sequence[str], where: str) -> Step | None:
    name = str(item.get("id") or item.get("name"))
    given = {key: value for key, value in (item.get("kwargs") or {}).items() if value is not None}
    if name == "ensure_dtype" and given.get("dtype") == "float32":
        return None
    if name == "zero_mean_unit_variance" and given.get("mode", "per_sample" if "id" in item else "fixed") == "fixed":
        name = "fixed_zero_mean_unit_variance"
    if name not in FIGURES:
        raise UnsupportedModel(f"wants the step {name!r}", where=where, allowed=", ".join(FIGURES))
    _check_words(name, given, inputs, where)
    figures = {key: _figure(given, key, default, f"{where}: {name}") for key, default in FIGURES[name].items()}
    if figures.get("gain") == 0 or figures.get("std", 1.0) <= 0:
        raise UnsupportedModel(f"its step {name!r} divides by zero", where=where, remedy="mend rdf.yaml")
    if name == "scale_range" and not 0 <= figures["min_percentile"] < figures["max_percentile"] <= 100:
        raise UnsupportedModel(f"its step {name!r} has no range", where=where, allowed="0 <= min < max <= 100")
    return Step(name, figures)


def _check_words(name: str, given: Mapping[str, Any], inputs: Sequence[str], where: str) -> None:
    if unknown := set(given) - set(FIGURES[name]) - set(WORDS):
        raise UnsupportedModel(f"its step {name!r} wants {', '.join(sorted(unknown))}", where=where)
    axes = given.get("axes")
    if axes is not None and not {"x", "y"} <= set(axes):
        raise UnsupportedModel(f"its step {name!r} treats rows or columns apart (axes {axes})", where=where)
    refers_to = given.get("reference_tensor")
    if (name == "scale_mean_variance") != (refers_to is not None) or (refers_to and refers_to not in inputs):
        raise UnsupportedModel(
            f"its step {name!r} refers to the tensor {refers_to!r}", where=where, allowed=", ".join(inputs) or "none"
        )


def _figure(given: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = given.get(key, default)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise UnsupportedModel(
            f"{key} is {'missing' if key not in given else repr(value)}", where=where, allowed="one number"
        )
    return float(value)
