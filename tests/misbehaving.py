"""Plug-ins that do what plug-ins should not, named in a test's YAML as ``misbehaving:Class``."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import useq

from smartscope.command import EndRun, MoveStage, Request, RunPlan, SetExposure, SetLight, SetRoi
from smartscope.frame import Frame, Roi
from smartscope.ports import Choice, Context, Instrument
from smartscope.result import Result
from smartscope_models.denoise import VarianceStabilisedDenoiser
from smartscope_models.denoise.trust import TrustMeter

LET_GO = threading.Event()
"""Ends the hang of ``HangingModel``."""


class GoodModel:
    """Adds nothing, until ``misbehave`` is due."""

    history = 0

    def __init__(self, setup: Instrument, *, at_frame: int = 10) -> None:
        self.at_frame = at_frame

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing to compile."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        if frames[-1].index >= self.at_frame:
            return self.misbehave(so_far)
        return so_far

    def misbehave(self, so_far: Result) -> Any:
        return so_far


class RaisingModel(GoodModel):
    def misbehave(self, so_far: Result) -> Any:
        raise ValueError("no cells, no science")


class NonsenseModel(GoodModel):
    def misbehave(self, so_far: Result) -> Any:
        return replace(so_far, quality={"signal_to_noise": float("nan")})


class ColdModel(GoodModel):
    def warm_up(self, shape: tuple[int, int]) -> None:
        raise RuntimeError("weights are missing")


class LateModel(GoodModel):
    def misbehave(self, so_far: Result) -> Any:
        threading.Event().wait(0.01)
        return so_far


class HangingModel(GoodModel):
    def misbehave(self, so_far: Result) -> Any:
        LET_GO.wait(60.0)
        return so_far


class SelfishModel(GoodModel):
    """Once, holds the interpreter lock, as a badly written C extension does: PyDLL calls keep it."""

    def __init__(self, setup: Instrument, *, at_frame: int = 10, for_ms: float = 700.0) -> None:
        super().__init__(setup, at_frame=at_frame)
        self.for_ms = for_ms

    def misbehave(self, so_far: Result) -> Any:
        if self.for_ms:
            if sys.platform == "win32":
                ctypes.PyDLL("kernel32").Sleep(int(self.for_ms))
            else:
                ctypes.PyDLL(None).usleep(int(self.for_ms * 1e3))
            self.for_ms = 0.0
        return so_far


class InventingDenoiser(GoodModel):
    """Its images are sound; then they have a bright square that nobody has seen."""

    def __init__(self, setup: Instrument, *, at_frame: int = 10) -> None:
        super().__init__(setup, at_frame=at_frame)
        self._sound, self._trust = VarianceStabilisedDenoiser(setup), TrustMeter(setup)

    def warm_up(self, shape: tuple[int, int]) -> None:
        self._sound.warm_up(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        image = self._sound.step(frames, so_far).image
        assert image is not None
        if frames[-1].index >= self.at_frame:
            image[20:30, 30:40] += 200.0
        return self._trust.judge(frames[-1], image, so_far)


class BrokenModel(GoodModel):
    def __init__(self, setup: Instrument) -> None:
        raise FileNotFoundError("weights.bin")


class RaisingPolicy:
    def __init__(self, *, at_frame: int = 10) -> None:
        self.at_frame = at_frame

    def decide(self, context: Context) -> Choice:
        if context.result.frame.index >= self.at_frame:
            raise KeyError("target")
        return Choice()


class NonsensePolicy(RaisingPolicy):
    def decide(self, context: Context) -> Choice:
        return SetExposure(1.0)  # type: ignore[return-value]


class MovingPolicy:
    """Moves the stage to and fro as often as it is asked."""

    def decide(self, context: Context) -> Choice:
        x_um = 0.0 if context.settings.x_um else 5.0
        return Choice([Request(MoveStage(x_um, 0.0), "restless")])


class CameraPolicy:
    """Behaves: first a smaller region, then a planned stack of three planes, then looks on."""

    def decide(self, context: Context) -> Choice:
        step = context.state or 0
        roi, z_um = Roi(8, 8, 32, 32), context.settings.z_um
        stack = tuple(useq.MDAEvent(exposure=3.0, z_pos=z_um + k) for k in range(3))
        wishes = {5: SetRoi(roi), 15: RunPlan("stack", stack)}
        return Choice([Request(wishes[step], "closer")] if step in wishes else (), step + 1)


class BlinkingPolicy:
    """Changes the light's power with every frame, further than any limit allows."""

    def __init__(self, *, light: str, high_mw: float = 3.0, low_mw: float = 1.0) -> None:
        self.light, self.high_mw, self.low_mw = light, high_mw, low_mw

    def decide(self, context: Context) -> Choice:
        low = context.settings.lights_mw[self.light] > self.low_mw
        return Choice([Request(SetLight(self.light, self.low_mw if low else self.high_mw), "blink")])


class EndingPolicy:
    """Behaves: asks for the end of the run once it has lasted long enough."""

    def __init__(self, *, after_s: float) -> None:
        self._after_s = after_s

    def decide(self, context: Context) -> Choice:
        enough = context.elapsed_s >= self._after_s
        return Choice([Request(EndRun(), f"{self._after_s:g} s are enough, says the policy")] if enough else ())
