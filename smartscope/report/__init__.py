"""The report of a run: what it achieved, in one line and on one self-contained page."""

from __future__ import annotations

from smartscope.report.page import write_report
from smartscope.report.summary import summarise

__all__ = ["summarise", "write_report"]
