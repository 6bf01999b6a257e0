"""Whether an engine can be trusted on this GPU: a kept one that is doubted is built anew, a fresh one is an error."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from smartscope.errors import EngineError
from smartscope_models.engines.cuda_stream import Gpu
from smartscope_models.engines.engine import Network, Tensor
from smartscope_models.engines.tensorrt_build import build, title
from smartscope_models.engines.tensorrt_cache import CacheKey, EngineCache
from smartscope_models.engines.tensorrt_inspect import live_shape
from smartscope_models.engines.tensorrt_log import log_of

log = logging.getLogger(__name__)

TURING = (7, 5)
"""TensorRT for RTX builds for it only when asked (NVIDIA, TensorRT-RTX documentation: compute capabilities)."""


def is_rtx(module: Any) -> bool:
    """Whether ``module`` is TensorRT for RTX, whose engines fit any GPU and are compiled for one at the first run."""
    return hasattr(module, "IRuntimeCache")


def key_of(module: Any, network: Network, inputs: Sequence[Tensor], gpu: Gpu) -> CacheKey:
    """What the engine for ``inputs``, with their live shapes, is kept under."""
    rtx = is_rtx(module)
    return CacheKey(
        network=network.sha256,
        flavour=module.__name__,
        version=module.__version__,
        capability="{}.{}".format(*gpu.capability),
        shapes=tuple((tensor.name, live_shape(tensor)) for tensor in inputs),
        targets=("SM75",) if rtx and gpu.capability == TURING else (),
        gpu="" if rtx else gpu.name,
        driver=0 if rtx else gpu.driver,
    )


def load_engine(module: Any, runtime: Any, network: Network, key: CacheKey, cache: EngineCache) -> Any:
    """The deserialised engine of ``network`` under ``key``, from ``cache`` or built (and kept).

    Raises:
        UnsupportedModel: TensorRT cannot build the network.
        EngineError: what it has just built does not run on this GPU.
    """
    if (kept := cache.read(key, "engine")) is not None:
        engine, doubt = _open(module, runtime, kept)
        if engine is not None:
            return engine
        log.warning("%s: the kept engine is not taken (%s) and is built anew", network.name, doubt)
        cache.discard(key, "engine")
        cache.discard(key, "rtcache")
    plan = build(module, network, dict(key.shapes), key.targets)
    engine, doubt = _open(module, runtime, plan)
    if engine is None:
        raise EngineError(
            f"{title(module)} does not run on this GPU (compute capability {key.capability}): {doubt}",
            where=network.name,
            remedy="update the driver, install the other TensorRT, or choose engine: torch or onnxruntime",
        )
    cache.write(key, "engine", plan)
    return engine


def _open(module: Any, runtime: Any, plan: bytes) -> tuple[Any, str]:
    """(engine, "") or (None, why not). SUBOPTIMAL is taken: built anew, the same bytes would come out."""
    native = log_of(module)
    with native.listen():
        if hasattr(runtime, "get_engine_validity"):
            validity, reasons = runtime.get_engine_validity(plan)
            if validity == module.EngineValidity.INVALID:
                return None, _names(module, reasons) or native.said()
        engine = runtime.deserialize_cuda_engine(plan)
        return engine, "" if engine is not None else native.said()


def _names(module: Any, reasons: int) -> str:
    """TensorRT's diagnostics are bits."""
    known = module.EngineInvalidityDiagnostics.__members__.items()
    return ", ".join(name for name, bit in known if int(bit) & int(reasons))
