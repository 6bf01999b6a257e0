"""A recorded movie as a camera: it comes at its own pace, and what was recorded cannot be changed any more.

What a command can still do: ``SetRoi`` crops the frames to come (a digital region of interest, in a new epoch).
``SetExposure`` and ``SetLight`` are confirmed with what is true, the recorded exposure and no light at all, so that
policies can be shown at work on a movie. Whatever would move something is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
import useq
from pydantic import Field

from smartscope.command import NO_LIGHTS, Applied, Command, SetExposure, SetLight, SetRoi
from smartscope.config import MicroscopeConfig
from smartscope.errors import DeviceError, InputError, Problem
from smartscope.frame import Certainty, Frame, Pixels, Roi, Settings
from smartscope.ports import Capabilities, MicroscopeSetup, whole_sensor
from smartscope_drivers.movies import open_movie

DEFAULT_INTERVAL_MS = 40.0
"""Of movies that do not tell theirs."""


class ReplayMicroscope:
    """TIFF, OME-TIFF, OME-Zarr, folders of numbered images and smartscope's own runs behind the ``Microscope`` port."""

    def __init__(
        self,
        setup: MicroscopeSetup,
        *,
        movie: str,
        interval_ms: Annotated[float, Field(gt=0)] | None = None,
        channel: Annotated[int, Field(ge=0)] = 0,
        loop: bool = False,
    ) -> None:
        """Open a movie.

        Raises:
            InputError: no movie there, empty, of mixed sizes, or no such channel.
        """
        self._clock, self._lights, self._loop = setup.clock, setup.config.lights, loop
        self._movie = open_movie(movie, channel)
        self._interval_ms = interval_ms or self._movie.interval_ms or DEFAULT_INTERVAL_MS
        self._interval_ns = round(self._interval_ms * 1e6)
        self._roi = whole_sensor(self._movie.shape)
        self._position = 0
        self._epoch, self._number, self._due_ns = -1, 0, 0
        self._streaming = False
        recorded = self._movie.settings(0)
        self._capabilities = Capabilities(
            sensor_shape=self._movie.shape,
            bit_depth=setup.config.camera.bit_depth,
            exposure_range_ms=(self._exposure_ms(recorded), self._exposure_ms(recorded)),
            lights=(),
            has_xy=False,
            has_z=False,
            has_roi=True,
            live_settings=frozenset({"exposure_ms"}),
        )

    @classmethod
    def problems(cls, config: MicroscopeConfig) -> Iterator[Problem]:
        """What is wrong with the movie, for ``smartscope check``."""
        path, channel = config.options.get("movie"), config.options.get("channel", 0)
        if not isinstance(path, str) or not isinstance(channel, int):
            return  # named already by the check of the options
        try:
            open_movie(path, channel).close()
        except InputError as error:
            yield Problem("microscope.options.movie", repr(path), error.what, error.allowed, error.remedy)

    def capabilities(self) -> Capabilities:
        """One exposure, no light, nothing that moves, a digital region of interest."""
        return self._capabilities

    def settings(self) -> Settings:
        """As recorded for the coming frame."""
        return self._settings(min(self._position, len(self._movie) - 1))

    def start(self, epoch: int) -> None:
        """Go on with the movie where it stood; the first frame is due one interval from now."""
        self._epoch, self._number, self._streaming = epoch, 0, True
        self._due_ns = self._clock.now_ns() + self._interval_ns

    def stop(self) -> None:
        """Let the movie stand."""
        self._streaming = False

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The next frame of the movie once it is due; frames wait, none is dropped.

        Raises:
            InputError: a damaged file within the movie.
        """
        if not self._streaming or self.exhausted():
            return None
        wait_s = (self._due_ns - self._clock.now_ns()) / 1e9
        if wait_s > 0:
            if self._clock.virtual:
                return None
            self._clock.sleep(min(wait_s, timeout_s))
            if wait_s > timeout_s:
                return None
        return self._frame()

    def _frame(self) -> Frame:
        index, due_ns = self._position, self._due_ns
        settings = self._settings(index)
        frame = Frame(
            pixels=self._cropped(self._movie.plane(index)),
            epoch=self._epoch,
            number=self._number,
            index=-1,
            settings=settings,
            certainty={},
            t_start_ns=due_ns - round(settings.exposure_ms * 1e6),
            t_end_ns=due_ns,
            t_received_ns=self._clock.now_ns(),
        )
        self._number += 1
        self._due_ns += self._interval_ns
        self._position += 1
        if self._loop:
            self._position %= len(self._movie)
        return frame

    def frame_due_ns(self) -> int:
        """When the coming frame's exposure ends."""
        return self._due_ns

    def exhausted(self) -> bool:
        """Whether the last frame was handed out."""
        return self._position >= len(self._movie)

    def apply(self, command: Command) -> Applied:
        """Crop, or confirm what was recorded; see the module.

        Raises:
            DeviceError: the command would move something, the region lies outside, or there is no such light.
        """
        t_ns = self._clock.now_ns()
        return Applied(command, self._made_true(command), t_ns, t_ns, Certainty.EXACT)

    def _made_true(self, command: Command) -> Command:
        match command:
            case SetRoi(roi):
                return SetRoi(self._crop(roi))
            case SetExposure():
                return SetExposure(self.settings().exposure_ms)
            case SetLight(light, _) if light in {known.name for known in self._lights}:
                return SetLight(light, 0.0)
        raise DeviceError(
            f"a recorded movie cannot carry out {command}",
            where="replay",
            allowed="SetRoi; SetExposure and SetLight without effect",
            remedy="switch that policy off for a replay, or run on a microscope",
        )

    def _crop(self, roi: Roi) -> Roi:
        height, width = self._movie.shape
        inside = roi.x >= 0 and roi.y >= 0 and roi.x + roi.width <= width and roi.y + roi.height <= height
        if not inside or roi.width < 1 or roi.height < 1:
            raise DeviceError(
                f"ROI x {roi.x}+{roi.width}, y {roi.y}+{roi.height} reaches outside the movie",
                where="replay",
                allowed=f"within {width} x {height} pixels",
                remedy="shrink or move it",
            )
        self._roi = roi
        if self._streaming:
            self.start(self._epoch + 1)
        return roi

    def _cropped(self, pixels: Pixels) -> Pixels:
        roi = self._roi
        if (roi.height, roi.width) == pixels.shape:
            return pixels
        return np.ascontiguousarray(pixels[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width])

    def _settings(self, index: int) -> Settings:
        recorded = self._movie.settings(index)
        if recorded is None:
            return Settings(self._interval_ms, self._roi)
        # a recorded frame lies somewhere on its sensor; the crop moves on from there
        x, y = recorded.roi.x + self._roi.x, recorded.roi.y + self._roi.y
        return replace(recorded, roi=Roi(x, y, self._roi.width, self._roi.height))

    def _exposure_ms(self, recorded: Settings | None) -> float:
        return self._interval_ms if recorded is None else recorded.exposure_ms

    def run_plan(self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float] = NO_LIGHTS) -> Iterator[Frame]:
        """Impossible.

        Raises:
            DeviceError: always; a movie takes no new images.
        """
        raise DeviceError(
            "a recorded movie takes no new images", where="run_plan", remedy="run the plan on a microscope"
        )

    def dark(self, since_ns: int = 0) -> None:
        """There is no light."""

    def close(self) -> None:
        """Close the file; harmless the second time."""
        self._streaming = False
        self._movie.close()
