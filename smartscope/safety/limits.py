"""How limits change at run time: tightened by arming or by an operator, never loosened."""

from __future__ import annotations

import math
from collections.abc import Iterator

from smartscope.config import LightLimits, LimitsConfig, Range
from smartscope.errors import Refused


def clamped(limits: LimitsConfig) -> LimitsConfig:
    """The limits of ``--arm clamped``: powers and steps reduced to ``clamped_fraction``, ranges as they are."""
    fraction = limits.clamped_fraction
    lights = {
        name: light.model_copy(
            update={
                "max_power_mw": light.max_power_mw * fraction,
                "max_step_mw": None if light.max_step_mw is None else light.max_step_mw * fraction,
            }
        )
        for name, light in limits.lights.items()
    }
    return limits.model_copy(
        update={
            "lights": lights,
            "max_stage_step_um": limits.max_stage_step_um * fraction,
            "max_focus_step_um": limits.max_focus_step_um * fraction,
        }
    )


def tightened(old: LimitsConfig, new: LimitsConfig) -> LimitsConfig:
    """``new``, provided that it is nowhere looser than ``old``.

    Raises:
        Refused: at least one limit would be loosened; all of them are named.
    """
    if loosened := list(_loosened(old, new)):
        raise Refused(
            f"limits may only be tightened while a run goes on, these would be loosened: {', '.join(loosened)}",
            where="limits",
            remedy="stop, change the configuration and start again",
        )
    return new


def _loosened(old: LimitsConfig, new: LimitsConfig) -> Iterator[str]:
    """Keys under which ``new`` allows more than ``old``."""
    for key in ("exposure_ms", "x_um", "y_um", "z_um"):
        if not _inside(getattr(new, key), getattr(old, key)):
            yield key
    for key in ("max_stage_step_um", "max_focus_step_um", "clamped_fraction"):
        if getattr(new, key) > getattr(old, key):
            yield key
    if new.min_roi_px < old.min_roi_px:
        yield "min_roi_px"
    if old.on_violation == "refuse" and new.on_violation == "clip":
        yield "on_violation"
    for name, light in new.lights.items():
        yield from _loosened_light(name, old.lights.get(name), light)


def _loosened_light(name: str, old: LightLimits | None, new: LightLimits) -> Iterator[str]:
    if old is None:
        yield f"lights.{name}"
        return
    if new.max_power_mw > old.max_power_mw:
        yield f"lights.{name}.max_power_mw"
    if (new.max_step_mw or math.inf) > (old.max_step_mw or math.inf):
        yield f"lights.{name}.max_step_mw"
    if new.max_duty > old.max_duty:
        yield f"lights.{name}.max_duty"


def _inside(new: Range | None, old: Range | None) -> bool:
    """Whether ``new`` lies within ``old``; None allows no movement at all."""
    if new is None:
        return True
    return old is not None and old.low <= new.low and new.high <= old.high
