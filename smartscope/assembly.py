"""From configuration to parts: models, policies, hardware, and what is written about them in run.json."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smartscope import plugins
from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import ExperimentConfig
from smartscope.decider import RankedPolicy
from smartscope.errors import DeviceError
from smartscope.pipeline import Stage
from smartscope.ports import Capabilities, Clock, Instrument, Lights, LightsSetup, Microscope, MicroscopeSetup


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended."""

    state: str
    folder: Path | None
    summary: Mapping[str, Any]
    line: str
    """What was achieved and where it lies, for the terminal."""


def clock_of(config: ExperimentConfig) -> Clock:
    """The clock that the run lives on."""
    return VirtualClock() if config.clock == "virtual" else LiveClock()


def instrument_of(config: ExperimentConfig, capabilities: Capabilities) -> Instrument:
    """What models may know."""
    return Instrument(
        config.microscope.camera, config.microscope.optics, capabilities.stage_affine, config.microscope.lights
    )


def stages_of(config: ExperimentConfig, instrument: Instrument) -> list[Stage]:
    """The models of the pipeline, built, and their fall-backs.

    Raises:
        PluginError: a model that cannot be found or built.
    """
    stages = []
    for i, stage in enumerate(config.pipeline):
        model = plugins.build("models", stage.model, stage.options, instrument, key=f"pipeline.{i}.options")
        fallback = None
        if stage.fallback is not None:
            key = f"pipeline.{i}.fallback_options"
            second = plugins.build("models", stage.fallback, stage.fallback_options, instrument, key=key)
            fallback = (f"{stage.fallback} (fall-back)", second)
        stages.append(Stage(stage.model, model, stage.deadline_ms, stage.virtual_ms, fallback))
    return stages


def ranked_policies(config: ExperimentConfig) -> list[RankedPolicy]:
    """The enabled policies, built; names are made unique.

    Raises:
        PluginError: a policy that cannot be found or built.
    """
    ranked: list[RankedPolicy] = []
    for i, chosen in enumerate(config.policies):
        if not chosen.enabled:
            continue
        policy = plugins.build("policies", chosen.policy, chosen.options, key=f"policies.{i}.options")
        taken = {other.name for other in ranked}
        name = chosen.policy if chosen.policy not in taken else f"{chosen.policy}#{i}"
        ranked.append(RankedPolicy(name, policy, chosen.priority, chosen.virtual_ms))
    return ranked


def lights_setup_of(config: ExperimentConfig) -> LightsSetup:
    """What the supervisor opens; the token names this run's simulated hardware."""
    return LightsSetup(config.microscope.lights, config.microscope, token=secrets.token_hex(8))


def open_microscope(config: ExperimentConfig, clock: Clock, lights: Lights | None, token: str) -> Microscope:
    """The driver, opened; refuses what the experiment needs and the microscope lacks.

    Raises:
        PluginError, DeviceError: the driver cannot be built, or the hardware does not answer.
    """
    setup = MicroscopeSetup(config.microscope, clock, lights, config.seed, token)
    microscope: Microscope = plugins.build(
        "microscopes", config.microscope.driver, config.microscope.options, setup, key="microscope.options"
    )
    try:
        _check_needs(config, microscope.capabilities())
    except DeviceError:
        microscope.close()
        raise
    return microscope


def _check_needs(config: ExperimentConfig, capabilities: Capabilities) -> None:
    for policy in ranked_policies(config):
        needs: frozenset[str] = getattr(policy.policy, "needs", frozenset())
        if "stage_affine" in needs and capabilities.stage_affine is None and config.arm != "shadow":
            raise DeviceError(
                "following needs to know how stage and camera lie to each other",
                where=f"policy {policy.name}",
                remedy="smartscope calibrate stage CONFIG, then write microscope.stage.affine_um_per_px",
            )
        if "interval" in needs and not capabilities.has_interval and config.arm != "shadow":
            raise DeviceError(
                "slow imaging needs a camera that can rest between exposures",
                where=f"policy {policy.name}",
                remedy="use a driver whose capabilities have has_interval",
            )
    height, width = capabilities.sensor_shape
    if (roi := config.start.roi) is not None and (roi.x + roi.width > width or roi.y + roi.height > height):
        raise DeviceError(
            f"start.roi reaches to ({roi.x + roi.width}, {roi.y + roi.height})",
            where="camera",
            allowed=f"within {width} x {height} pixels",
            remedy="shrink or move it",
        )


def capabilities_to_row(capabilities: Capabilities) -> dict[str, Any]:
    """Capabilities for run.json."""
    row = {item.name: getattr(capabilities, item.name) for item in fields(capabilities)}
    row["live_settings"] = sorted(capabilities.live_settings)
    row["presets"] = {group: list(names) for group, names in capabilities.presets.items()}
    row["device_properties"] = dict(capabilities.device_properties)
    return row


def capabilities_from_row(row: Mapping[str, Any]) -> Capabilities:
    """Capabilities as they were."""
    affine = row["stage_affine"]
    return Capabilities(
        **{
            **row,
            "sensor_shape": tuple(row["sensor_shape"]),
            "exposure_range_ms": tuple(row["exposure_range_ms"]),
            "lights": tuple(row["lights"]),
            "live_settings": frozenset(row["live_settings"]),
            "presets": {group: tuple(names) for group, names in row["presets"].items()},
            "stage_affine": None if affine is None else (tuple(affine[0]), tuple(affine[1])),
        }
    )
