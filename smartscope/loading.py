"""From a YAML file, environment and ``--set`` to one frozen configuration, with every problem named at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from smartscope.config import CAMERA_MAPS, ExperimentConfig
from smartscope.errors import ConfigurationError, InputError, Problem
from smartscope.plugins import problems_of

ENVIRONMENT_PREFIX = "SMARTSCOPE__"
"""``SMARTSCOPE__bus__control_port=7003`` is ``bus.control_port: 7003``."""


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys: the second would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(
    path: Path | str, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> ExperimentConfig:
    """Read a configuration; ``overrides`` are ``key.path=value``, later ones and ``--set`` before the environment.

    Raises:
        InputError: no such file, or no YAML mapping in it.
        ConfigurationError: with every problem of keys and values.
    """
    return validate(load_tree(path, overrides, environment), str(path))


def load_tree(
    path: Path | str, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The mapping in a file, with environment and overrides put into it; raises as ``load`` does for these."""
    tree = read_yaml(Path(path))
    environment = os.environ if environment is None else environment
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _set(tree, name.removeprefix(ENVIRONMENT_PREFIX).split("__"), value, f"environment variable {name}")
    override(tree, overrides)
    return tree


def override(tree: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put each ``key.path=value`` into the tree.

    Raises:
        ConfigurationError: an override that is none, or that points beside a list.
    """
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals or not key:
            problem = Problem(
                item, "", "an override needs the form key.path=value", remedy="for example start.exposure_ms=5"
            )
            raise ConfigurationError("--set", [problem])
        _set(tree, key.split("."), value, f"--set {item}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; relative paths of camera maps are taken from its folder.

    Raises:
        InputError: missing, unreadable, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            "no such file", where=str(path), remedy="give the path of an experiment's YAML file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), remedy="give a YAML text file") from error
    try:
        # the loader is a SafeLoader
        tree = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(
            f"is not YAML: {' '.join(str(error).split())}", where=str(path), remedy="mend that line"
        ) from error
    if not isinstance(tree, dict):
        raise InputError(
            "holds no experiment: its top level is no mapping", where=str(path), remedy="see configs/demo.yaml"
        )
    _anchor_maps(tree, path.parent)
    return tree


def _anchor_maps(tree: dict[str, Any], folder: Path) -> None:
    """Let relative paths of the camera's maps begin where the YAML file lies, wherever one works."""
    microscope = tree.get("microscope")
    camera = microscope.get("camera") if isinstance(microscope, dict) else None
    if isinstance(camera, dict):
        for key in CAMERA_MAPS:
            if isinstance(camera.get(key), str):
                camera[key] = str(folder / camera[key])


def validate(tree: Mapping[str, Any], source: str) -> ExperimentConfig:
    """The tree as a configuration.

    Raises:
        ConfigurationError: every problem of keys and values.
    """
    try:
        return ExperimentConfig.model_validate(dict(tree))
    except ValidationError as error:
        raise ConfigurationError(source, problems_of(error)) from error


def _set(tree: dict[str, Any], path: Sequence[str], text: str, source: str) -> None:
    """Put a YAML value into the tree, making mappings on the way; numbers index lists."""
    place: Any = tree
    for part in path[:-1]:
        if isinstance(place, list):
            place = place[_index(place, part, source)]
        else:
            if not isinstance(place.get(part), (dict, list)):
                place[part] = {}
            place = place[part]
    value = yaml.safe_load(text)
    if isinstance(place, list):
        place[_index(place, path[-1], source)] = value
    else:
        place[path[-1]] = value


def _index(items: list[Any], part: str, source: str) -> int:
    if part.isdigit() and int(part) < len(items):
        return int(part)
    problem = Problem(source, "", f"{part!r} is no place in a list of {len(items)}", allowed=f"0 to {len(items) - 1}")
    raise ConfigurationError(source, [problem])
