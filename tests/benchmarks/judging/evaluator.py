"""The frozen evaluators, wherever they lie: called by their own command lines, on files, and read back as JSON."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "SMARTSCOPE_EVALUATOR"
BESIDE = Path(__file__).parents[4] / "shared" / "evaluate"
"""Where a checkout may have them beside it; they are no part of the project."""


class Evaluator:
    """The folder that holds ``denoising.py``, ``tracking.py`` and ``peers/``."""

    def __init__(self, folder: Path) -> None:
        """Ends the program with one line where the folder is not what it should be."""
        missing = [name for name in ("denoising.py", "tracking.py") if not (folder / name).is_file()]
        if missing:
            raise SystemExit(
                f"{folder}: no {' and no '.join(missing)} there, so nothing was measured; "
                f"give the evaluators' folder by --evaluator DIR or {VARIABLE}"
            )
        self.folder = folder
        self._programs: dict[str, ModuleType] = {}

    @classmethod
    def at(cls, given: str | None) -> Evaluator:
        """As given, else as the environment says, else beside the checkout."""
        return cls(Path(given or os.environ.get(VARIABLE) or BESIDE))

    def run(self, program: str, *arguments: object) -> dict[str, Any]:
        """What ``python PROGRAM.py ARGUMENTS…`` prints; nothing where it prints nothing."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self._program(program).main([str(argument) for argument in arguments])
        answer: dict[str, Any] = json.loads(printed.getvalue() or "{}")
        return answer

    def peer(self, name: str) -> Path:
        """The runner of another tool."""
        return self.folder / "peers" / f"{name}_denoise.py"

    def _program(self, name: str) -> ModuleType:
        if name not in self._programs:
            self._programs[name] = self._loaded(f"evaluator_{name}", self.folder / f"{name}.py")
        return self._programs[name]

    def _loaded(self, name: str, path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        program = sys.modules[name] = importlib.util.module_from_spec(spec)  # where its dataclasses look it up
        with _importable(self.folder):
            spec.loader.exec_module(program)
        return program


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Some programs import their neighbours, as they may where they are run by name."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
