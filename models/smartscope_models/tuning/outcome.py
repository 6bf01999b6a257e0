"""What came of a tuning: kept or not, why, and every figure; the record that stays even where the weights do not."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smartscope_models.tuning.noise import Noise
from smartscope_models.tuning.rule import Measures

RECORD = "tuning.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One tuning."""

    objections: tuple[str, ...]
    """Why it was not kept; empty: it was."""
    clips: int = 0
    steps: int = 0
    noise: Noise | None = None
    before: Measures | None = None
    after: Measures | None = None

    @property
    def kept(self) -> bool:
        """Whether there is a new version."""
        return not self.objections


def record(outcome: Outcome, **more: Any) -> str:
    """As JSON, with further keys."""
    tree = {"schema": 1, "kept": outcome.kept, **more, **asdict(outcome)}
    return json.dumps(_plain(tree), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """The same with null in place of what is no number."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a version folder; raises OSError or ValueError where there is none."""
    found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("kept"), bool):
        raise ValueError(f"{folder / RECORD} is no record of a tuning")
    return found
