"""One line of the experiment's diary: what was asked, what was granted, who clipped it, and why."""

from __future__ import annotations

from dataclasses import dataclass

from smartscope.command import Command


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of one request, with the times of the chain exposure → effect (run clock, ns; 0 = did not happen)."""

    frame: int
    """Index of the frame whose result led to it; -1 when none did (start, operator, safety)."""
    t_ns: int
    """When it was decided."""
    policy: str
    asked: Command
    granted: Command | None
    """None: refused, or not carried out in shadow."""
    clipped_by: str
    """What changed or refused the request (``limits.exposure_ms``, ``dose``, ``priority`` …); empty if nothing did."""
    why: str
    t_exposure_mid_ns: int = 0
    t_received_ns: int = 0
    t_result_ns: int = 0
    t_applied_ns: int = 0
    shadow: bool = False

    @property
    def latency_ms(self) -> float:
        """Frame in hand → command carried out (or decided, where nothing was carried out)."""
        end_ns = self.t_applied_ns or self.t_ns
        return (end_ns - self.t_received_ns) / 1e6 if self.t_received_ns else 0.0
