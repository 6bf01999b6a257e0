"""How images are made at present, and when the fringes are measured again: for stacks of one number of directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from smartscope.errors import InputError
from smartscope.frame import Settings
from smartscope_models.structured_illumination.collected import Collected
from smartscope_models.structured_illumination.error_map import ErrorMap
from smartscope_models.structured_illumination.low_light import LowLight
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.stack import SATURATED_SHARE, Prepared, StackReconstructor
from smartscope_models.structured_illumination.verdict import Verdict

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shown:
    """How images are made, and under which settings the stack was taken that says so."""

    prepared: Prepared
    exposed: Settings | None
    stacks: int = 0
    """Completed since."""


class Imaging:
    """Measures fringes and makes images of what was collected; keeps the last good fringes."""

    def __init__(
        self,
        stack: StackReconstructor,
        every: int,
        *,
        rolling: bool,
        error_map: bool,
        keep_weak: bool,
        network: LowLight | None,
    ) -> None:
        """every: whole stacks between two measurements; keep_weak: show weak images rather than widefield."""
        self._stack, self._every, self._rolling, self._with_error_map = stack, every, rolling, error_map
        self._believed = ("ok", "weak") if keep_weak else ("ok",)
        self._network = network
        self.shown: Shown | None = None
        self.good: Parameters | None = None
        self.good_ns = 0
        """Middle of the newest exposure of the stack that they were measured from."""

    def image(self, collected: Collected, taken: Sequence[int], ended: bool) -> tuple[Image, Image | None] | None:
        """Image and error map, once the patterns ``taken`` were renewed; None where they change nothing that is shown.

        ended: whether the stack is complete with them.

        Raises:
            InputError: the first stack cannot be worked with: wrong order, or a pattern that stands still.
        """
        if self._must_measure(collected, ended):
            return self._measured(collected)
        if self.shown is None or not self._as_they_are(collected) or not (ended or self._rolling):
            return None
        self.shown = replace(self.shown, stacks=self.shown.stacks + ended)
        made = self.shown.prepared.reconstruction
        if self.verdict(collected).state not in self._believed:
            made.current = False  # what comes in meanwhile is not in its sum
            return _kept(made.widefield(collected.electrons)), None
        alone = len(taken) == 1 and made.current
        image = made.rolling(taken[0], collected.change) if alone else made.full(collected.electrons)
        return self._finished(image), None

    def verdict(self, collected: Collected) -> Verdict:
        """On what is shown now: that of the last measurement, the saturation of these frames, and the resolution."""
        assert self.shown is not None
        verdict = self.shown.prepared.verdict
        if (saturated := collected.saturated) > SATURATED_SHARE:
            why = f"{100 * saturated:.2g} % of the pixels of a frame are saturated: less light"
            state = "weak" if verdict.state == "ok" else verdict.state
            verdict = replace(verdict, state=state, why=(why, *verdict.why))
        if verdict.state in self._believed:
            return verdict
        return replace(verdict, resolution_nm=verdict.widefield_resolution_nm)

    def _must_measure(self, collected: Collected, ended: bool) -> bool:
        shown = self.shown
        if shown is None or shown.exposed != collected.exposed:
            return True
        due = shown.stacks + 1 >= self._every or shown.prepared.verdict.state != "ok"
        return ended and (due or not self._as_they_are(collected))

    def _measured(self, collected: Collected) -> tuple[Image, Image | None]:
        """An image with fringes measured from this very stack; what is good of them is where the next look begins."""
        prepared = self._prepared(self._frames(collected))
        made = prepared.reconstruction
        self.shown = Shown(prepared, collected.exposed)
        parameters = prepared.estimate.parameters
        if prepared.verdict.state != "fail":
            self.good, self.good_ns = parameters, collected.t_mid_ns
        if self.verdict(collected).state not in self._believed:
            return _kept(made.widefield(prepared.frames)), None
        if self._network is not None:
            self._network.expect(made.size, self._stack.cutoff, parameters, prepared.estimate.power)
        image = made.full(prepared.frames)
        error_map = _kept(ErrorMap(made).of(prepared.frames)) if self._with_error_map else None
        return self._finished(image), error_map

    def _prepared(self, frames: Tensor) -> Prepared:
        """Of this stack; one that cannot be worked with, after others that could, is a failed one."""
        try:
            prepared = self._stack.prepare(frames, self.good)
            if prepared.verdict.state == "fail" and self.good is not None:
                prepared = self._stack.prepare(frames)  # they may have moved: look everywhere
        except InputError as error:
            if self.shown is None:
                raise
            verdict = replace(self.shown.prepared.verdict, state="fail", why=(error.what,))
            return replace(self.shown.prepared, verdict=verdict, frames=frames)
        return prepared

    def _as_they_are(self, collected: Collected) -> bool:
        """Whether images are made of the raw frames as they are, so that single ones can be renewed."""
        return self.shown is not None and self.shown.prepared.frames is collected.electrons

    def _frames(self, collected: Collected) -> Tensor:
        """(frames, N, N) of the directions that these stacks have."""
        count = self._stack.layout.frames
        return collected.electrons if count == len(collected.electrons) else collected.electrons[:count]

    def _finished(self, image: Tensor) -> Image:
        """As it is shown: by the network where there is one, else as it is."""
        return _kept(image) if self._network is None else self._network.apply(image)


def _kept(picture: Tensor) -> Image:
    """A copy: buffers are written again with the next frame."""
    return np.array(picture.cpu().numpy(), np.float32)
