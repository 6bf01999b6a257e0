"""How tracked objects move: diffusion, anomalous exponent, class of motion; live and on files."""

from smartscope_models.mobility.model import MobilityMeter
from smartscope_models.mobility.table import CLASSES, Mobility

__all__ = ["CLASSES", "Mobility", "MobilityMeter"]
