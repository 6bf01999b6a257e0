"""Detectors behind the ``Model`` port."""

from smartscope_models.detection.cells import CellDetector
from smartscope_models.detection.detector import ObjectDetector
from smartscope_models.detection.spots import SpotDetector

__all__ = ["CellDetector", "ObjectDetector", "SpotDetector"]
