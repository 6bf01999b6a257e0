"""What could be reached: a tracker that is right about every mask that it was given."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("frame", "track_id", "x_px", "y_px", "parent_id", "mask_id")


@dataclass(frozen=True, slots=True)
class Perfect:
    """Knows the truth of a case that the evaluator exported."""

    case: Path
    label: str = "right about all that was given"

    def run(self, source: Path, output: Path) -> dict[str, Any]:
        """Writes the true identity of each detection; takes no time that counts."""
        key = {(row["frame"], row["mask_id"]): row["label"] for row in _rows(self.case / "key.csv")}
        mother = {row["track_id"]: row["parent_id"] for row in _rows(self.case / "truth.csv")}
        with output.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for row in _rows(source):
                name = key[row["frame"], row["mask_id"]]
                table.writerow((row["frame"], name, row["x_px"], row["y_px"], mother[name], row["mask_id"]))
        return {}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
