"""Only this file knows how the camera would see what is true of a living specimen. For tests and benchmarks only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from smartscope.specimens.living import Doubles, Numbers, Objects, Occurrences
from smartscope.specimens.protocol import View


@dataclass(frozen=True, slots=True)
class WorldObjects(Objects):
    """Who is there at one moment, wherever it lies; columns of length N."""

    x_px: Doubles
    y_px: Doubles
    """The centre of the ROI's top-left pixel is (0, 0)."""
    size_px: Doubles
    """Radius: of the disc of the same area, or a spot's own standard deviation."""
    phases: tuple[str, ...]
    """Names of ``phase``."""

    @classmethod
    def seen(cls, objects: Objects, phases: tuple[str, ...], view: View) -> Self:
        """With the pixels of a view."""
        columns = {column.name: getattr(objects, column.name) for column in fields(objects)}
        pixels = view.to_pixels(np.stack([objects.x_um, objects.y_um], axis=1))
        size_px = objects.radius_um / view.pixel_um
        return cls(**columns, x_px=pixels[:, 0], y_px=pixels[:, 1], size_px=size_px, phases=phases)


@dataclass(frozen=True, slots=True)
class WorldEvents:
    """What happens to a living specimen; columns of length N in the order of their onset, times of the run's clock."""

    kind: Numbers
    """Index into ``EVENT_KINDS``."""
    onset_ns: Numbers
    """When it can first be seen, if the microscope were perfect."""
    change_ns: Numbers
    """When one becomes two, two become one, or the light jumps; without such a moment, the onset."""
    end_ns: Numbers
    x_um: Doubles
    y_um: Doubles
    """Where it begins."""
    x_px: Doubles
    y_px: Doubles
    """The same as the camera would see it at the onset."""
    ids: Numbers
    """(N, 3) objects: mother and daughters, partners and what they become, or one alone; the rest is -1."""

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def seen(cls, events: Occurrences, t0_ns: int, views: list[View]) -> Self:
        """With the pixels of the view at each onset; the world began at ``t0_ns``."""
        places = np.stack([events.x_um, events.y_um], axis=1)
        pixels = [view.to_pixels(place[None])[0] for view, place in zip(views, places, strict=True)]
        x_px, y_px = np.array(pixels).reshape(-1, 2).T
        return cls(
            kind=events.kind,
            onset_ns=_run_clock(events.onset_s, t0_ns),
            change_ns=_run_clock(events.change_s, t0_ns),
            end_ns=_run_clock(events.end_s, t0_ns),
            x_um=events.x_um,
            y_um=events.y_um,
            x_px=x_px,
            y_px=y_px,
            ids=events.ids,
        )


def _run_clock(seconds: Doubles, t0_ns: int) -> Numbers:
    return t0_ns + np.round(1e9 * seconds).astype(np.int64)
