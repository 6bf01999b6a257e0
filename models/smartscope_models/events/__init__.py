"""Events behind the ``Model`` port."""

from smartscope_models.events.model import EventDetector

__all__ = ["EventDetector"]
