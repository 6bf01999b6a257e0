"""Engines run networks: one protocol, several runtimes, chosen by what the machine has. Importing this is cheap."""

from smartscope_models.engines.choice import AutoEngine, open_engine
from smartscope_models.engines.engine import Engine, EngineName, Network, Precision, Shape, Tensor
from smartscope_models.engines.probe import Finding, cuda_missing, findings

__all__ = [
    "AutoEngine",
    "Engine",
    "EngineName",
    "Finding",
    "Network",
    "Precision",
    "Shape",
    "Tensor",
    "cuda_missing",
    "findings",
    "open_engine",
]
