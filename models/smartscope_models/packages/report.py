"""What verifying a package found: one line per check, ok, failed, or skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from smartscope.errors import SmartscopeError

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str
    status: Status
    why: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one package."""

    package: str
    path: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; what was skipped was not proved."""
        return all(check.status != "failed" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        checks = [{"name": check.name, "status": check.status, "why": check.why} for check in self.checks]
        return {"package": self.package, "path": self.path, "ok": self.ok, "checks": checks}


class Skip(Exception):
    """Raised inside a check that cannot be made here; the message says why."""


def checked(name: str, question: Callable[[], str]) -> Check:
    """Ask; the answer is what was seen. A deliberate error is a failure, ``Skip`` a check not made."""
    try:
        return Check(name, "ok", question())
    except Skip as reason:
        return Check(name, "skipped", str(reason))
    except SmartscopeError as error:
        return Check(name, "failed", error.line())


def verdict(name: str, problems: Iterable[str], fine: str = "") -> Check:
    """Failed with all problems, or ok."""
    found = " | ".join(problems)
    return Check(name, "failed", found) if found else Check(name, "ok", fine)
