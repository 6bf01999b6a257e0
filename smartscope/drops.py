"""What a run passed over, and why: frames, answers and results that drove nothing, each counted under a name.

The names are those of the bus (``metrics``), of ``run.json`` and of the report.
"""

from __future__ import annotations

from collections.abc import Mapping

DROPS: Mapping[str, str] = {
    "lost_frames": "frames lost by the camera or the grabber",
    "displaced_frames": "frames displaced by newer ones before the models had time",
    "displaced_results": "results displaced by newer ones before the loop had time",
    "mixed_frames": "frames during whose exposure a setting changed",
    "late_answers": "answers of models after their deadline",
    "stale_results": "results too old to drive anything",
    "untrusted_results": "results whose denoised image could not be trusted",
    "fallback_results": "results that a fall-back had part in",
}
"""What each counts."""
