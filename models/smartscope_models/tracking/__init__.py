"""Trackers behind the ``Model`` port."""

from smartscope_models.tracking.tracker import KalmanTracker

__all__ = ["KalmanTracker"]
