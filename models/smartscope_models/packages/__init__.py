"""Networks as packages: a manifest inside the file, a description for the BioImage Model Zoo, a card, test tensors."""

from smartscope_models.packages.card import CardFacts
from smartscope_models.packages.manifest import Manifest, Metric, Span, TensorSpec, Training, read_manifest
from smartscope_models.packages.opening import find_packages, open_package
from smartscope_models.packages.package import Examples, ModelPackage
from smartscope_models.packages.rdf import Reference
from smartscope_models.packages.writing import write_package

__all__ = [
    "CardFacts",
    "Examples",
    "Manifest",
    "Metric",
    "ModelPackage",
    "Reference",
    "Span",
    "TensorSpec",
    "Training",
    "find_packages",
    "open_package",
    "read_manifest",
    "write_package",
]
