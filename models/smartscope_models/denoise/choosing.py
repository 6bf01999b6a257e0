"""Which denoiser ``smartscope process denoise`` takes: the network where an engine is there, else the classical one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartscope import plugins
from smartscope.ports import Instrument, Model
from smartscope_models.engines import findings
from smartscope_models.packages import find_packages

NETWORK, CLASSICAL = "denoise_network", "denoise"


def chosen_denoiser(asked: str | None, options: Mapping[str, Any], instrument: Instrument) -> tuple[str, Model]:
    """Name and model. ``asked``: a model by its plug-in name or class, or a model package by name or path.

    Raises:
        PluginError, UnsupportedModel, EngineError: there is no such model, or it cannot be opened.
    """
    if asked is None:
        asked = NETWORK if any(finding.usable for finding in findings()) else CLASSICAL
    if asked not in plugins.names("models") and _is_package(asked):
        return asked, plugins.build("models", NETWORK, {**options, "package": asked}, instrument)
    return asked, plugins.build("models", asked, options, instrument)


def _is_package(name: str) -> bool:
    return Path(name).exists() or name in {folder.name for folder in find_packages()}
