"""What all engines do alike: shapes agreed at the warm-up, held inputs, pooled outputs, errors that name the input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines.buffers import BufferPool, pages
from smartscope_models.engines.engine import Array, Network, Precision, Shape, Tensor


class CheckedEngine(ABC):
    """An engine whose arrays are checked before the device sees them; a subclass prepares, holds and executes."""

    name: str
    device = "cpu"
    why = ""
    allocate: Callable[[int], Any] = staticmethod(pages)
    """Memory of the outputs; see ``BufferPool``."""

    def __init__(
        self, network: Network, precision: Precision, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        self.network, self.precision, self.inputs, self.outputs = network, precision, inputs, outputs
        self._dtypes = {tensor.name: tensor.dtype for tensor in inputs}
        self._shapes: dict[str, Shape] = {}
        self._held: dict[str, Array] = {}
        self._pools: dict[str, BufferPool] = {}
        self._closed = False

    # ---------------------------------------------------------------- the subclass's part

    @abstractmethod
    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """Compile and allocate; returns the shapes of the outputs. May raise anything."""

    @abstractmethod
    def _hold(self, name: str, values: Array) -> None:
        """Keep ``values`` (never written again, C-contiguous) on the device."""

    @abstractmethod
    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Fill ``outputs``; ``inputs`` are checked, C-contiguous, and all that are not held. May raise anything."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the device; called once."""

    # ---------------------------------------------------------------- the Engine protocol

    def warm_up(self, shapes: Mapping[str, Shape]) -> None:
        """See ``Engine``; runs the network once. Shapes that do not fit leave the engine as it was."""
        self._must_be_open()
        wanted = fitting(self.inputs, shapes, self.where)
        if wanted == self._shapes:
            return
        held = {name: values for name, values in self._held.items() if values.shape == wanted[name]}
        self._shapes, self._held, self._pools = {}, {}, {}
        try:
            found = self._prepare(wanted)
            self._pools = {
                tensor.name: BufferPool(found[tensor.name], tensor.dtype, allocate=self.allocate)
                for tensor in self.outputs
            }
            self._execute(self._rehearsal(wanted), {name: pool.take() for name, pool in self._pools.items()})
            for name, values in held.items():
                self._hold(name, values)
        except EngineError:
            raise
        except MemoryError as error:
            raise EngineError(f"no memory for the shapes {wanted}", where=self.where, remedy=SMALLER) from error
        except Exception as error:
            what = f"cannot take the shapes {wanted}: {said(error)}"
            raise UnsupportedModel(what, where=self.where, remedy="choose a size that the network allows") from error
        self._shapes, self._held = wanted, held

    def hold(self, name: str, values: Array) -> None:
        """See ``Engine``."""
        own = np.array(self._checked(name, values), order="C", copy=True)
        self._guarded(self._hold, name, own)
        self._held[name] = own

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See ``Engine``."""
        given = {name: self._checked(name, values) for name, values in inputs.items()}
        if missing := [name for name in self._dtypes if name not in given and name not in self._held]:
            self._must_be_ready()
            what = f"no values for {', '.join(missing)}"
            raise EngineError(what, where=self.where, remedy="pass or hold every input")
        if doubled := [name for name in given if name in self._held]:
            raise EngineError(f"{', '.join(doubled)} is held", where=self.where, remedy="pass it, or hold it; not both")
        outputs = {name: pool.take() for name, pool in self._pools.items()}
        self._guarded(self._execute, given, outputs)
        return outputs

    def close(self) -> None:
        """See ``Engine``."""
        if not self._closed:
            self._closed = True
            self._shapes, self._held, self._pools = {}, {}, {}
            self._release()

    # ---------------------------------------------------------------- checks

    @property
    def extra_outputs(self) -> int:
        """Outputs made since the warm-up because all others were held: somebody hoards results."""
        return sum(pool.extra for pool in self._pools.values())

    @property
    def where(self) -> str:
        """For messages: which engine, which network."""
        return f"{self.name}, {self.network.name}"

    def _rehearsal(self, shapes: Mapping[str, Shape]) -> dict[str, Array]:
        """Inputs to warm up with: ones, because a network may divide by integers, and some runtimes die of that."""
        return {name: np.ones(shape, self._dtypes[name]) for name, shape in shapes.items()}

    def _must_be_open(self) -> None:
        if self._closed:
            raise EngineError("is closed", where=self.where, remedy="open the engine again")

    def _must_be_ready(self) -> None:
        self._must_be_open()
        if not self._shapes:
            raise EngineError("is not warmed up", where=self.where, remedy="call warm_up before the first frame")

    def _checked(self, name: str, values: Array) -> Array:
        """``values`` C-contiguous, if they are what was agreed at the warm-up."""
        # order="C" and not ascontiguousarray, which makes one axis of none
        array = np.asarray(values, order="C")
        if self._shapes.get(name) == array.shape and self._dtypes[name] == array.dtype:
            return array
        self._must_be_ready()
        if name not in self._shapes:
            known = ", ".join(self._shapes)
            raise EngineError(f"has no input {name!r}", where=self.where, allowed=known)
        found, wanted = f"{array.dtype} {array.shape}", f"{self._dtypes[name]} {self._shapes[name]}"
        raise EngineError(f"input {name} is {found}", where=self.where, allowed=wanted, remedy="warm up for this shape")

    def _guarded(self, do: Callable[..., None], *arguments: Any) -> None:
        try:
            do(*arguments)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"failed: {said(error)}", where=self.where) from error


SMALLER = "choose a smaller region, or free memory"
LONGEST = 400


def fitting(inputs: tuple[Tensor, ...], shapes: Mapping[str, Shape], where: str) -> dict[str, Shape]:
    """``shapes`` as plain tuples, in the order of ``inputs``, if the network declares them so.

    Raises:
        UnsupportedModel: a name too many or too few, another number of axes or another length than declared, or one
            open axis with two lengths.
    """
    names = [tensor.name for tensor in inputs]
    if set(shapes) != set(names):
        given = f"shapes are given for {', '.join(shapes) or 'nothing'}"
        raise UnsupportedModel(given, where=where, allowed=", ".join(names), remedy="give one shape per input")
    lengths: dict[str, int] = {}
    for tensor in inputs:
        shape = tuple(int(length) for length in shapes[tensor.name])
        agrees = len(shape) == len(tensor.shape) and all(
            length == lengths.setdefault(axis, length) and length > 0 if isinstance(axis, str) else length == axis
            for axis, length in zip(tensor.shape, shape, strict=True)
        )
        if not agrees:
            bound = {axis: length for axis, length in lengths.items() if axis in tensor.shape}
            allowed = f"{tensor.shape}" + (f" with {bound}" if bound else "")
            raise UnsupportedModel(f"input {tensor.name} cannot be {shape}", where=where, allowed=allowed)
    return {name: tuple(int(length) for length in shapes[name]) for name in names}


def said(error: BaseException) -> str:
    """What a runtime says, in one line of bearable length: some begin with a page of file names."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= LONGEST else text[: LONGEST - 3] + '...'}"
