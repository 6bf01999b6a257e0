"""Micro-Manager .cfg files as text: which lines belong to which device, and what reaches a few devices alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smartscope.errors import InputError

Fields = tuple[str, ...]
ABOUT_A_DEVICE = frozenset({"Device", "pyDevice", "Property", "Parent", "Label", "Delay", "FocusDirection"})
"""Commands whose first field is a device label."""


@dataclass(frozen=True, slots=True)
class CfgFile:
    """The lines of one configuration, each split at its commas."""

    lines: tuple[Fields, ...]

    @classmethod
    def read(cls, path: str) -> CfgFile:
        """The configuration in a file.

        Raises:
            InputError: no such file, or no Micro-Manager configuration.
        """
        if not path:
            raise InputError("no configuration named", where="microscope.options.cfg", remedy="give the path of a .cfg")
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError("no such .cfg file", where=path, remedy="correct microscope.options.cfg") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", where=path, remedy="give a Micro-Manager .cfg file") from error
        cfg = cls.parse(text)
        if not cfg.devices():
            raise InputError("declares no device", where=path, remedy="give a Micro-Manager .cfg file")
        return cfg

    @classmethod
    def parse(cls, text: str) -> CfgFile:
        """Split a text; comments go, ``#py`` lines (Python devices, read by UniMMCore) stay."""
        kept = (line.strip() for line in text.splitlines())
        return cls(
            tuple(tuple(line.split(",")) for line in kept if line and (line[0] != "#" or line.startswith("#py ")))
        )

    def text(self) -> str:
        """The configuration again."""
        return "\n".join(",".join(fields) for fields in self.lines) + "\n"

    def devices(self) -> tuple[str, ...]:
        """Labels, in the order of loading."""
        return tuple(
            fields[1] for fields in self.lines if _command(fields) in ("Device", "pyDevice") and len(fields) > 3
        )

    def needs(self, labels: Iterable[str]) -> frozenset[str]:
        """The devices and whatever they hang on: hubs, ports, and devices that their properties name."""
        known, wanted = set(self.devices()), set(labels)
        while True:
            more = {
                fields[-1]
                for fields in self.lines
                if len(fields) > 2 and fields[1] in wanted and _command(fields) in ("Parent", "Property")
            }
            more = (more & known) - wanted
            if not more:
                return frozenset(wanted & known)
            wanted |= more

    def reaching(self, labels: Iterable[str]) -> CfgFile:
        """The lines that load these devices and what they need, nothing else: no preset, no role, no start-up state."""
        needed = self.needs(labels)
        return self._keep(
            lambda fields: _is_initialize(fields) or (_command(fields) in ABOUT_A_DEVICE and fields[1] in needed)
        )

    def without(self, labels: Iterable[str]) -> CfgFile:
        """The configuration without these devices, what only they need, and every line that speaks of them."""
        leaving = set(labels)
        staying = self.needs(set(self.devices()) - self.needs(leaving))
        gone = self.needs(leaving) - staying | leaving
        return self._keep(lambda fields: not gone.intersection(fields[1:]))

    def shared(self, labels: Iterable[str]) -> frozenset[str]:
        """What these devices and the others both need: such a device cannot be opened by two processes."""
        mine = self.needs(labels)
        hangs_on_mine = {label for label in self.devices() if self.needs([label]) & mine and label not in mine}
        return frozenset(self.needs(hangs_on_mine) & mine)

    def dark_start(self, labels: Iterable[str]) -> CfgFile:
        """The same, but the start-up preset leaves these devices alone, so that loading lights nothing."""
        lights = frozenset(labels)
        return self._keep(
            lambda f: not (f[:3] == ("ConfigGroup", "System", "Startup") and len(f) > 3 and f[3] in lights)
        )

    def _keep(self, wanted: Callable[[Fields], bool]) -> CfgFile:
        return CfgFile(tuple(fields for fields in self.lines if wanted(fields)))


def _command(fields: Fields) -> str:
    return fields[0].removeprefix("#py ")


def _is_initialize(fields: Fields) -> bool:
    return fields[:3] == ("Property", "Core", "Initialize")


@contextlib.contextmanager
def as_file(text: str) -> Iterator[Path]:
    """The text as a file, which the core insists on, for as long as it is read."""
    with tempfile.TemporaryDirectory(prefix="smartscope-") as folder:
        path = Path(folder) / "part.cfg"
        path.write_text(text, encoding="utf-8")
        yield path
