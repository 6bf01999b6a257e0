"""The errors that smartscope raises on purpose; each says what, where, what is allowed and how to mend it.

::

    SmartscopeError
    ├── ConfigurationError    a YAML key or value (carries every problem found, not the first alone)
    ├── InputError            a file or folder given by the user
    ├── PluginError           a model, policy or driver that cannot be found or built
    ├── DeviceError           hardware refused, failed or does not exist
    │   ├── CameraStopped     the camera's sequence ended although nobody asked for it
    │   └── DeviceTimeout     a device call or a frame did not come in time
    ├── Refused               the safety gate says no
    ├── EngineError           an inference engine cannot be opened, or failed while running
    │   └── UnsupportedModel  a network, package or file that the engine, or smartscope, cannot take
    ├── StageFailed           a model raised, was too late or returned nonsense
    ├── RecorderError         the record can no longer be kept (disk full, writer too slow)
    ├── Interrupted           a signal ended the run, in order, before its planned end
    └── BusError              an endpoint cannot be bound, or a message breaks the wire format
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class SmartscopeError(Exception):
    """Base of all deliberate errors: one line a user can act on."""

    def __init__(self, what: str, *, where: str = "", allowed: str = "", remedy: str = "") -> None:
        self.what, self.where, self.allowed, self.remedy = what, where, allowed, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """What happened, where, what is allowed, and the remedy, in one line."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, named by its key."""

    key: str
    value: str
    what: str
    allowed: str = ""
    remedy: str = ""

    def line(self) -> str:
        """The problem as one line."""
        text = f"{self.key} = {self.value}: {self.what}" if self.value else f"{self.key}: {self.what}"
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        if self.remedy:
            text += f"; remedy: {self.remedy}"
        return text


class ConfigurationError(SmartscopeError):
    """Everything wrong with one configuration, at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = " | ".join(problem.line() for problem in self.problems)
        super().__init__(shown, where=source)


class InputError(SmartscopeError):
    """A file or folder given by the user cannot be used."""


class PluginError(SmartscopeError):
    """A model, policy or driver cannot be found, imported or built."""


class DeviceError(SmartscopeError):
    """Hardware refused a call, failed, or is not there."""


class CameraStopped(DeviceError):
    """The camera's sequence ended although nobody asked for it."""


class DeviceTimeout(DeviceError):
    """A device call, or the next frame, did not come in time."""


class Refused(SmartscopeError):
    """The safety gate refuses a command or a plan."""


class EngineError(SmartscopeError):
    """An inference engine cannot be opened, or failed while running."""


class UnsupportedModel(EngineError):
    """A network, package or file that cannot be taken: wrong operator, shape, dtype, manifest."""


class StageFailed(SmartscopeError):
    """A model raised, was too late, or returned nonsense."""


class RecorderError(SmartscopeError):
    """The record can no longer be kept: disk full, writer too slow, folder gone."""


class Interrupted(SmartscopeError):
    """A signal ended the run, in order, before its planned end."""


class BusError(SmartscopeError):
    """An endpoint cannot be bound, or a message breaks the wire format."""
