"""How a name in the YAML becomes an object: entry points, dotted paths, options checked against ``__init__``."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from smartscope.errors import PluginError, Problem, SmartscopeError

GROUPS = ("microscopes", "lights", "models", "tasks", "policies")
EXTRAS = {"torch": "torch", "onnx": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino"}
"""Packages that a plug-in of ours may need → the extra that brings them."""


def names(group: str) -> list[str]:
    """Names registered in ``smartscope.<group>``."""
    return sorted(point.name for point in entry_points(group=f"smartscope.{group}"))


def find(group: str, name: str) -> type[Any]:
    """The class behind an entry-point name or ``package.module:Class`` (or ``package.module.Class``).

    Raises:
        PluginError: nothing of that name, or its import fails.
    """
    for point in entry_points(group=f"smartscope.{group}"):
        if point.name == name:
            return _load(group, name, point.value)
    if ":" in name or "." in name:
        return _load(group, name, name if ":" in name else ":".join(name.rsplit(".", 1)))
    known = names(group)
    remedy = "name one of these or a class as package.module:Class"
    if not known:
        remedy = "no plug-in is registered at all: install the project (pip install -e .), entry points come with it"
    raise PluginError(f"no plug-in named {name!r} in smartscope.{group}", allowed=", ".join(known), remedy=remedy)


def _load(group: str, name: str, path: str) -> type[Any]:
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(f"cannot import {name!r} for smartscope.{group}: {error}", remedy=_remedy(error)) from error
    if not isinstance(found, type):
        raise PluginError(f"{name!r} for smartscope.{group} is no class", remedy="name a class")
    return found


def _remedy(error: Exception) -> str:
    """What to do about a plug-in that cannot be imported."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing in EXTRAS:
        return f"pip install 'smartscope[{EXTRAS[missing]}]'"
    return "check the spelling, and that the module can be imported from the folder you run in"


def options_model(cls: type[Any]) -> type[BaseModel]:
    """Pydantic model of the keyword arguments of ``cls.__init__``; other keys are forbidden."""
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.name == "setup" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model(f"{cls.__name__}Options", __config__=config, **fields)


def check_options(cls: type[Any], options: Mapping[str, Any], key: str) -> list[Problem]:
    """Everything wrong with ``options`` for ``cls``, each under ``key.<option>``."""
    try:
        options_model(cls).model_validate(dict(options))
    except ValidationError as error:
        return problems_of(error, key)
    return []


def problems_of(error: ValidationError, key: str = "") -> list[Problem]:
    """A pydantic error as our problems: key, value, what is allowed."""
    problems = []
    for item in error.errors():
        path = ".".join(str(part) for part in ([key] if key else []) + list(item["loc"]))
        value = "" if item["type"] == "missing" else _short(item.get("input"))
        what, remedy = item["msg"], ""
        if item["type"] == "extra_forbidden":
            what, remedy = "no such key", "check the spelling and the unit in the name (smartscope schema config)"
        elif item["type"] == "missing":
            what, remedy = "this key is required", "add it"
        elif item["type"] == "frozen_instance":  # pragma: no cover - no code assigns to a section
            what = "read-only"
        problems.append(Problem(path or "(top)", value, what, allowed=_allowed(item), remedy=remedy))
    return problems


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(item: Mapping[str, Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    context = item.get("ctx") or {}
    bounds = [f"{sign} {context[name]:g}" for name, sign in signs.items() if name in context]
    return ", ".join(bounds) or str(context.get("expected", ""))


def build(group: str, name: str, options: Mapping[str, Any], *setup: Any, key: str = "options") -> Any:
    """Find, check and construct a plug-in.

    Raises:
        PluginError: not found, options wrong, or the constructor raised.
    """
    cls = find(group, name)
    if problems := check_options(cls, options, key):
        raise PluginError(" | ".join(problem.line() for problem in problems), where=name)
    checked = options_model(cls).model_validate(dict(options))
    arguments = {field: getattr(checked, field) for field in type(checked).model_fields}
    try:
        return cls(*setup, **arguments)
    except SmartscopeError:
        raise
    except Exception as error:
        raise PluginError(
            f"cannot be built: {type(error).__name__}: {error}", where=name, remedy="mend the plug-in, or its options"
        ) from error
