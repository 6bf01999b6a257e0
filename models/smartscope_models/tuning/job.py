"""What the tuning process leaves behind: a record in any case, a package where the tuned network is to be kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smartscope.errors import SmartscopeError
from smartscope_models.packages import open_package
from smartscope_models.training.weights import read_network
from smartscope_models.tuning.outcome import RECORD, Outcome, record
from smartscope_models.tuning.request import Request
from smartscope_models.tuning.versions import write_tuned
from smartscope_models.tuning.work import tune

VERSION = "version"
"""Folder in the draft."""


def do(request: Request, draft: Path, elapsed_s: Callable[[], float]) -> Outcome:
    """Tune, write, record; our own errors become objections."""
    folder, base = draft / VERSION, None
    try:
        base = open_package(request.package)
        result = tune(read_network(base.networks["fp32"]), request, elapsed_s)
        outcome = result.outcome
        if result.network is not None:
            write_tuned(folder, base, result.network, outcome, request)
    except SmartscopeError as error:
        outcome = Outcome((error.line(),))
    folder.mkdir(exist_ok=True)
    facts = {"request": request.model_dump(mode="json"), "seconds": round(elapsed_s(), 1)}
    text = record(outcome, **facts, base_sha256=base.sha256 if base else None)
    (folder / RECORD).write_text(text, encoding="utf-8")
    return outcome
