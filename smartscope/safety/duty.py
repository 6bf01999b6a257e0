"""How long each light has been on within the last ten seconds."""

from __future__ import annotations

from collections import deque

WINDOW_NS = 10_000_000_000
FULL_PPM = 1_000_000


class DutyRecord:
    """On-time of one light in a sliding window, in integers, so that it replays exactly."""

    def __init__(self) -> None:
        self._spans: deque[tuple[int, int, int]] = deque()
        """(start, end, share in ppm), oldest first, without overlaps."""

    def add(self, start_ns: int, end_ns: int, share_ppm: int) -> None:
        """The light was on from ``start_ns`` to ``end_ns``, for ``share_ppm`` millionths of that time."""
        if self._spans and self._spans[-1][1:] == (start_ns, share_ppm):
            start_ns = self._spans.pop()[0]
        self._spans.append((start_ns, end_ns, share_ppm))
        while self._spans[0][1] <= end_ns - WINDOW_NS:
            self._spans.popleft()

    def on_ns(self, t_ns: int) -> float:
        """Nanoseconds, within the ten seconds before ``t_ns``, during which the light was on."""
        begin_ns = t_ns - WINDOW_NS
        ppm = sum(
            (min(end, t_ns) - max(start, begin_ns)) * share for start, end, share in self._spans if end > begin_ns
        )
        return ppm / FULL_PPM
