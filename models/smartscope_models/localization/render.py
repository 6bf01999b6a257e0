"""The super-resolved picture while it grows: each molecule drawn once, and moved once its drift is known better."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Option

from smartscope.errors import InputError
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result, SuperResolved
from smartscope_models.localization.canvas import Canvas, Copying, Style
from smartscope_models.localization.course import Course, Knot
from smartscope_models.localization.molecules import Doubles, Field, Molecules, molecules, moving

FEWEST = 100
"""Molecules that make no picture yet."""
MOST_WAITING = 1_000_000
"""Molecules that can still be moved; beyond that the oldest stay where they are."""
MOST_FRAMES = 50_000
"""And so many frames with any."""
MOVED_AT_ONCE = 200
"""Molecules that are moved at one frame, on average, beside as many as are new."""
MB = 1e6


@dataclass(slots=True)
class Drawn:
    """The molecules of one frame as they stand in the picture."""

    found: Molecules
    dx_nm: float
    dy_nm: float


class Render:
    """Gives ``super_resolved`` every n-th frame: molecules per pixel, Gaussians as wide as their errors or points.

    Drift is taken out where the ``localization_meter`` comes before it. A new place or region begins a new picture.
    The verdict is ``ok`` where the ring resolution is finer than the microscope's, ``weak`` until then, and ``fail``
    where next to nothing was found.

    Options:
        zooms: pixels along one of the camera's; given out in turn where there are several. They divide the largest.
        style: Gaussians, or a count of points.
        every: frames from one picture to the next.
        most_error_nm: molecules less sure are left out.
        moved_nm: drift that must be wrong by as much for molecules to be moved.
        most_mb: memory of picture and copy.
    """

    history = 0
    reads = frozenset({"localizations", "quality"})

    def __init__(
        self,
        setup: Instrument,
        *,
        zooms: tuple[Annotated[int, Option(ge=1, le=64)], ...] = (8,),
        style: Style = "gaussian",
        every: Annotated[int, Option(ge=1)] = 100,
        most_error_nm: Annotated[float, Option(gt=0)] = 50.0,
        moved_nm: Annotated[float, Option(ge=0)] = 2.0,
        most_mb: Annotated[float, Option(gt=0)] = 600.0,
    ) -> None:
        """Check the zooms.

        Raises:
            InputError: there is none, or one that does not divide the largest.
        """
        if not zooms or any(max(zooms) % zoom for zoom in zooms):
            allowed = "one or more, of which each divides the largest"
            raise InputError(f"zooms {zooms}", where="render", allowed=allowed, remedy="e.g. [4, 8, 16]")
        self._setup, self._zooms, self._style, self._every = setup, zooms, style, every
        self._most_error_nm, self._moved_nm, self._most_mb = most_error_nm, moved_nm, most_mb
        self._pixel_size_nm = setup.camera.pixel_size_nm
        self._widefield_nm = setup.optics.emission_nm / (2 * setup.optics.numerical_aperture)
        self._field: Field | None = None

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and check that the picture fits; what is remembered stays.

        Raises:
            InputError: it does not.
        """
        self._check_memory(shape)
        one = np.ones(1)
        Canvas((2, 2), self._pixel_size_nm, 1, self._style).add(one, one, one)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far``, with a picture when it is its turn.

        Raises:
            InputError: the picture of a new region does not fit.
        """
        frame = frames[-1]
        if self._field is None or not self._field.shows(frame, self._pixel_size_nm):
            self._begin(frame)
        if so_far.localizations is not None and not moving(frame):
            found = molecules(frame, so_far.localizations, self._pixel_size_nm)
            self._picture.follow(found.t_s, so_far.quality)
            self._picture.draw(_sure(found, self._most_error_nm))
            self._last = frame
        self._seen += 1
        return self._publish(so_far)

    def _begin(self, frame: Frame) -> None:
        self._field = Field.of(frame)
        self._check_memory(self._field.shape)
        canvas = Canvas(self._field.shape, self._pixel_size_nm, max(self._zooms), self._style)
        self._picture = Picture(canvas, self._moved_nm)
        self._first = self._last = frame
        self._copying: Copying | None = None
        self._turn = itertools.cycle(self._zooms)
        self._seen = self._published = 0

    def _check_memory(self, shape: tuple[int, int]) -> None:
        height, width = (edge * max(self._zooms) for edge in shape)
        takes_mb = 2 * 4 * height * width / MB
        if takes_mb > self._most_mb:
            raise InputError(
                f"a picture of {height} x {width} pixels, and a copy, take {takes_mb:.0f} MB",
                where="render",
                allowed=f"{self._most_mb:g} MB (most_mb)",
                remedy="choose a smaller zoom or region (start.roi), or allow more",
            )

    def _publish(self, so_far: Result) -> Result:
        picture = self._picture
        if self._copying is None and self._seen % self._every == 0 and picture.count > self._published:
            self._copying, self._published = Copying(picture.canvas, next(self._turn)), picture.count
        if self._copying is None or not self._copying.go_on():
            return so_far
        done, self._copying = self._copying, None
        verdict, why = self._judged(so_far)
        known = so_far.quality.get("ring_resolution_nm", self._widefield_nm)
        fine = SuperResolved(
            image=done.image,
            scale=done.zoom,
            verdict=verdict,
            why=why,
            resolution_nm=max(known, 2 * self._pixel_size_nm / done.zoom),
            raw_frames=(self._first.index, self._last.index),
            settings=self._last.settings,
        )
        return replace(so_far, super_resolved=fine)

    def _judged(self, so_far: Result) -> tuple[Literal["ok", "weak", "fail"], tuple[str, ...]]:
        """The verdict, and what is wrong."""
        quality, count = so_far.quality, self._picture.count
        if count < FEWEST:
            return "fail", (f"{count} molecules make no picture yet",)
        resolution_nm, why = quality.get("ring_resolution_nm"), list[str]()
        if resolution_nm is None:
            why.append("two halves of the molecules do not agree on anything yet")
        elif resolution_nm >= self._widefield_nm:
            why.append(f"{resolution_nm:.0f} nm are no finer than the microscope's {self._widefield_nm:.0f} nm")
        if "drift_x_nm" not in quality:
            why.append("the drift is not known")
        if quality.get("recall_health", 1.0) < 0.5:
            why.append("many molecules are missed, and others may be several in one")
        return ("weak" if why else "ok"), tuple(why)


class Picture:
    """The canvas of one field of view, and the molecules in it that may still be moved."""

    def __init__(self, canvas: Canvas, moved_nm: float) -> None:
        self.canvas, self.count = canvas, 0
        self._course, self._moved_nm = Course(), moved_nm
        self._waiting: deque[Drawn] = deque()
        self._in_line = self._allowed = 0

    def follow(self, t_s: float, quality: Mapping[str, float]) -> None:
        """Take note of a drift that was measured since."""
        if "drift_x_nm" not in quality or "drift_age_s" not in quality:
            return
        knot_s = t_s - quality["drift_age_s"]
        if not self._course.knots or knot_s > self._course.knots[-1].t_s + 1e-6:
            error_nm = quality.get("drift_error_nm", 0.0)
            self._course.add(Knot(knot_s, quality["drift_x_nm"], quality["drift_y_nm"], error_nm))

    def draw(self, found: Molecules) -> None:
        """Molecules of a new frame, where the drift so far says; others are moved where it was wrong."""
        drawn = Drawn(found, *self._course.at(found.t_s))
        self._stamp(drawn, 1.0)
        self.count += len(found)
        if len(found):
            self._waiting.append(drawn)
            self._in_line += len(found)
        while self._in_line > MOST_WAITING or len(self._waiting) > MOST_FRAMES:
            self._in_line -= len(self._waiting.popleft().found)
        self._allowed += MOVED_AT_ONCE + len(found)
        while self._waiting and self._waiting[0].found.t_s <= self._course.settled_s:
            if self._allowed < len(self._waiting[0].found):
                return
            settled = self._waiting.popleft()
            self._in_line -= len(settled.found)
            self._allowed -= self._move(settled)
        self._allowed = 0

    def _move(self, drawn: Drawn) -> int:
        """Put them where they belong; returns how many had to be moved."""
        dx_nm, dy_nm = self._course.at(drawn.found.t_s)
        if max(abs(dx_nm - drawn.dx_nm), abs(dy_nm - drawn.dy_nm)) <= self._moved_nm:
            return 0
        self._stamp(drawn, -1.0)
        self._stamp(Drawn(drawn.found, dx_nm, dy_nm), 1.0)
        return len(drawn.found)

    def _stamp(self, drawn: Drawn, amount: float) -> None:
        found = drawn.found
        self.canvas.add(found.x_nm - drawn.dx_nm, found.y_nm - drawn.dy_nm, found.error_nm, amount)


def _sure(found: Molecules, most_error_nm: float) -> Molecules:
    """Those whose error is no larger."""
    kept = found.error_nm <= most_error_nm
    if kept.all():
        return found
    columns: list[Doubles] = [found.x_nm[kept], found.y_nm[kept], found.error_nm[kept]]
    return Molecules(found.t_s, *columns)
