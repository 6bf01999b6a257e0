"""What can be known to be wrong with an experiment before any device is touched, all at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smartscope import plugins
from smartscope.bursts import announced_carriers
from smartscope.config import CAMERA_MAPS, ExperimentConfig, Range
from smartscope.errors import ConfigurationError, InputError, PluginError, Problem
from smartscope.loading import load_tree, validate
from smartscope.optics.gratings import WHERE

ROUNDS = 5
"""Mended so often, a configuration is looked at again; what is still hidden then shows at the next check."""
STAND_IN = "missing"
STRUCTURED = "structured_illumination"
"""Model and policy that need fringes."""


def check_file(path: Path | str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read a configuration and check it; wrong keys do not hide what is wrong elsewhere.

    Raises:
        InputError: no such file, or no YAML mapping in it.
        ConfigurationError: with every problem of keys, values and plug-ins.
    """
    tree = load_tree(path, overrides)
    found: dict[str, Problem] = {}
    for _ in range(ROUNDS):
        try:
            config = validate(tree, str(path))
        except ConfigurationError as error:
            for problem in error.problems:
                found.setdefault(problem.key, problem)
                _mend(tree, problem)
        else:
            for problem in problems(config):
                found.setdefault(problem.key, problem)
            break
    if found:
        raise ConfigurationError(str(path), list(found.values()))
    return config


def _mend(tree: Any, problem: Problem) -> None:
    """Take out what is wrong, or put something in for what is missing, so that the rest can be looked at."""
    *way, last = problem.key.split(".")
    place = tree
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place.get(part)
        if not isinstance(place, (dict, list)):
            return
    if isinstance(place, list):
        place[int(last)] = {}
    elif last in place:
        del place[last]
    else:
        place[last] = STAND_IN


def check(config: ExperimentConfig, source: str = "configuration") -> None:
    """Raise everything that ``problems`` finds.

    Raises:
        ConfigurationError: with every problem.
    """
    if found := problems(config):
        raise ConfigurationError(source, found)


def problems(config: ExperimentConfig) -> list[Problem]:
    """Every problem that needs no hardware to be seen; switches nothing on."""
    return [
        *_plugins(config),
        *_lights(config),
        *_fringes(config),
        *_start(config),
        *_modes(config),
        *_files(config),
    ]


def _plugins(config: ExperimentConfig) -> Iterator[Problem]:
    microscope = config.microscope
    wanted = [("microscopes", microscope.driver, microscope.options, "microscope.driver", "microscope.options")]
    for i, stage in enumerate(config.pipeline):
        wanted.append(("models", stage.model, stage.options, f"pipeline.{i}.model", f"pipeline.{i}.options"))
        if stage.fallback is not None:
            key = f"pipeline.{i}.fallback"
            wanted.append(("models", stage.fallback, stage.fallback_options, key, f"{key}_options"))
    for i, policy in enumerate(config.policies):
        wanted.append(("policies", policy.policy, policy.options, f"policies.{i}.policy", f"policies.{i}.options"))
    for group, name, options, key, options_key in wanted:
        try:
            cls = plugins.find(group, name)
        except PluginError as error:
            yield Problem(key, repr(name), error.what, error.allowed, error.remedy)
            continue
        found = plugins.check_options(cls, options, options_key)
        yield from found
        if group == "policies" and not found:
            yield from _options_together(name, options, options_key)
        if hasattr(cls, "problems") and group == "microscopes":
            yield from cls.problems(microscope)


def _options_together(policy: str, options: Mapping[str, Any], key: str) -> Iterator[Problem]:
    """Options that are right one by one may not fit each other; a policy is data alone, so it can be built to see."""
    try:
        plugins.build("policies", policy, options)
    except PluginError as error:
        yield Problem(key, "", error.what, error.allowed, error.remedy)


def _lights(config: ExperimentConfig) -> Iterator[Problem]:
    known = {light.name for light in config.microscope.lights}
    allowed = ", ".join(sorted(known)) or "none: microscope.lights is empty"
    for name, power_mw in config.start.lights_mw.items():
        if name not in known:
            yield Problem(
                f"start.lights_mw.{name}", f"{power_mw}", "no such light", allowed, "name a light of microscope.lights"
            )
        elif name not in config.limits.lights:
            yield Problem(
                f"start.lights_mw.{name}",
                f"{power_mw}",
                "a light without limits stays off",
                "",
                f"add limits.lights.{name}",
            )
        elif power_mw > (most := config.limits.lights[name].max_power_mw):
            yield Problem(f"start.lights_mw.{name}", f"{power_mw}", "above its limit", f"<= {most} mW", "lower it")
    for name in config.limits.lights:
        if name not in known:
            yield Problem(f"limits.lights.{name}", "", "no such light", allowed, "name a light of microscope.lights")
    for i, policy in enumerate(config.policies):
        light = policy.options.get("light")
        if isinstance(light, str) and light not in known:
            key = f"policies.{i}.options.light"
            yield Problem(key, repr(light), "no such light", allowed, "name a light of microscope.lights")


def _fringes(config: ExperimentConfig) -> Iterator[Problem]:
    """Structured illumination: whoever needs it has it, and its fringes can be made and seen."""
    fringes = config.microscope.optics.structured_illumination
    wanting = [f"pipeline.{i}" for i, stage in enumerate(config.pipeline) if stage.model == STRUCTURED]
    asking = [f"policies.{i}" for i, policy in enumerate(config.policies) if policy.policy == STRUCTURED]
    if fringes is None:
        for who in (*wanting, *asking):
            yield Problem(who, STRUCTURED, "nothing is known of the fringes", "", f"describe them in {WHERE}")
        return
    if asking or fringes.slm is not None or fringes.grating is not None:
        try:
            announced_carriers(config.microscope, min(config.microscope.sensor))
        except InputError as error:
            key = error.where if error.where.startswith(WHERE) else WHERE
            yield Problem(key, "", error.what, error.allowed, error.remedy)
    roi = config.start.roi
    height, width = config.microscope.sensor if roi is None else (roi.height, roi.width)
    if wanting and height != width:
        what, remedy = f"{height} x {width} px", "choose a square start.roi"
        yield Problem(wanting[0], what, "stacks are reconstructed on square frames", "", remedy)


def _start(config: ExperimentConfig) -> Iterator[Problem]:
    start, limits = config.start, config.limits
    places: list[tuple[str, float | None, Range | None]] = [
        ("exposure_ms", start.exposure_ms, limits.exposure_ms),
        ("x_um", start.x_um, limits.x_um),
        ("y_um", start.y_um, limits.y_um),
        ("z_um", start.z_um, limits.z_um),
    ]
    for name, value, wall in places:
        if value is None:
            continue
        if wall is None:
            yield Problem(f"start.{name}", f"{value}", f"nothing may move along {name}", "", f"give limits.{name}")
        elif not wall.low <= value <= wall.high:
            yield Problem(
                f"start.{name}", f"{value}", "outside its limits", f"{wall.low} to {wall.high}", "change one of the two"
            )
    if (roi := start.roi) is not None:
        height, width = config.microscope.sensor
        if roi.x + roi.width > width or roi.y + roi.height > height:
            shown = f"x {roi.x}+{roi.width}, y {roi.y}+{roi.height}"
            yield Problem(
                "start.roi", shown, "outside the sensor", f"within {width} x {height} pixels", "shrink or move it"
            )


def _modes(config: ExperimentConfig) -> Iterator[Problem]:
    if config.clock == "virtual" and config.microscope.driver == "micromanager":
        yield Problem("clock", "virtual", "real hardware keeps real time", "live", "clock: live, or driver: simulated")
    oldest_ms, half_ms = config.safety.max_result_age_ms, config.limits.exposure_ms.high / 2
    if config.policies and half_ms >= oldest_ms:
        yield Problem(
            "safety.max_result_age_ms",
            f"{oldest_ms:g}",
            "the longest exposure would make every result too old to drive anything",
            f"> {half_ms:g}, half of limits.exposure_ms.high, by the time that the models take",
            "raise it, or lower limits.exposure_ms.high",
        )
    bus = config.bus
    if bus.enabled and not _loopback(bus.host) and not bus.curve_keys:
        yield Problem(
            "bus.host",
            repr(bus.host),
            "open to the network without keys",
            "127.0.0.1",
            "smartscope keys new, then bus.curve_keys",
        )
    ports = [p for p in (bus.events_port, bus.data_port, bus.control_port) if p]
    if len(set(ports)) < len(ports):
        yield Problem(
            "bus", f"ports {ports}", "ports must differ", "", "give three different ports, or 0 for a free one"
        )
    if config.dose.budget_j_per_cm2 is not None and not config.microscope.lights:
        yield Problem("dose.budget_j_per_cm2", "", "a dose budget without any light", "", "describe microscope.lights")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _files(config: ExperimentConfig) -> Iterator[Problem]:
    camera = config.microscope.camera
    for name in CAMERA_MAPS:
        path = getattr(camera, name)
        if path is not None and not Path(path).is_file():
            yield Problem(f"microscope.camera.{name}", repr(path), "no such file", "a .npy file", "correct the path")
    if config.recorder.enabled:
        base = Path(config.output)
        existing = next(parent for parent in (base, *base.absolute().parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield Problem(
                "output", repr(config.output), f"{existing} cannot be written", "", "name a folder you may write to"
            )
