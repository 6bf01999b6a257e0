"""How an ONNX file becomes a TensorRT engine: strongly typed, for one live shape, or an error in TensorRT's own words.

Only names that TensorRT for RTX 1.7, TensorRT 10.16 and 11 share are used. Precision is the file's own: since
TensorRT 11 there are no flags for it (NVIDIA, "Migrating from TensorRT 10.x to 11.x").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.engine import Network, Shape
from smartscope_models.engines.tensorrt_log import log_of


@dataclass(frozen=True, slots=True)
class Parsed:
    """A network in TensorRT's own terms. The parser owns the weights: it must live until the build is done."""

    builder: Any
    definition: Any
    parser: Any


def parse(module: Any, network: Network) -> Parsed:
    """Read ``network.onnx`` (bytes that TensorRT can take, see ``graph.with_byte_pairs``), strongly typed.

    Raises:
        UnsupportedModel: an operator, a data type or the file itself is not taken; with the parser's own text.
    """
    log = log_of(module)
    with log.listen():
        builder = module.Builder(log.native)
        flag = module.NetworkDefinitionCreationFlag.STRONGLY_TYPED  # needed by 10; the rule in RTX and since 11
        definition = builder.create_network(1 << int(flag))
        parser = module.OnnxParser(definition, log.native)
        if not parser.parse(network.onnx):
            errors = [_line(parser.get_error(i)) for i in range(parser.num_errors)]
            raise UnsupportedModel(
                f"{title(module)} cannot take the network: {' | '.join(errors) or log.said()}",
                where=network.name,
                remedy="run it with engine: onnxruntime, or export it without this operator",
            )
    return Parsed(builder, definition, parser)


def _line(error: Any) -> str:
    """One parser error: which node, which operator, what is wrong."""
    operator, node = error.node_operator(), error.node_name()
    at = f"node {error.node()} ({' '.join(filter(None, (operator, node)))}): " if operator else ""
    return f"{at}{error.desc()}"


def build(module: Any, network: Network, shapes: Mapping[str, Shape], targets: tuple[str, ...] = ()) -> bytes:
    """The serialised engine for exactly these input ``shapes``; mostly the same bytes for the same arguments (RTX).

    Args:
        module: ``tensorrt_rtx`` or ``tensorrt``.
        network: as for ``parse``.
        shapes: of every input, as TensorRT sees them (uint16 as byte pairs).
        targets: names of compute capabilities (``SM75``), RTX only; none means TensorRT's default.

    Raises:
        UnsupportedModel: the network is not taken, or not in these shapes.
    """
    parsed = parse(module, network)
    log = log_of(module)
    with log.listen():
        config = parsed.builder.create_builder_config()
        if targets:
            config.num_compute_capabilities = len(targets)
            for index, target in enumerate(targets):
                config.set_compute_capability(getattr(module.ComputeCapability, target), index)
        profile = parsed.builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
        plan = parsed.builder.build_serialized_network(parsed.definition, config)
        if plan is None:
            raise UnsupportedModel(
                f"{title(module)} cannot build the network for {dict(shapes)}: {log.said()}",
                where=network.name,
                remedy="check the shapes against the package's card, or run it with engine: onnxruntime",
            )
    return bytes(plan)


def title(module: Any) -> str:
    """The flavour and its version, for messages: ``tensorrt_rtx 1.7.1.116``."""
    return f"{module.__name__} {module.__version__}"
