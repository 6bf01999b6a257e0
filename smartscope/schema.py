"""JSON Schema of the YAML for editors, with the options of every plug-in that is installed."""

from __future__ import annotations

from typing import Any

from smartscope import plugins
from smartscope.config import ExperimentConfig
from smartscope.errors import PluginError


def config_schema() -> dict[str, Any]:
    """The schema; ``x-plugins`` lists the options of each microscope, model and policy by name."""
    tree = ExperimentConfig.model_json_schema()
    tree["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    tree["x-plugins"] = {group: _options(group) for group in ("microscopes", "models", "policies")}
    return tree


def _options(group: str) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in plugins.names(group):
        try:
            described[name] = plugins.options_model(plugins.find(group, name)).model_json_schema()
        except PluginError as error:
            described[name] = {"description": f"cannot be imported: {error.what}"}
    return described
