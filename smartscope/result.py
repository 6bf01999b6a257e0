"""What models say about a frame: images, objects, molecules, tracks and figures, with how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartscope.frame import Frame, Settings

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

RESIDUAL_BLOCK_PX = 16
"""Edge of the blocks of ``Result.residual_map``; those at the lower and right edge of a frame may be smaller."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in one frame; columns of length N. Origin: centre of the frame's top-left pixel (ROI pixels)."""

    x_px: Floats
    y_px: Floats
    size_px: Floats
    """Radius of a blob: the Gaussian sigma of a spot, the equivalent-disc radius of a cell."""
    intensity: Floats
    """Background-subtracted sum, in photo-electrons."""
    label: Ints
    """Kind of object: 0 spot, 1 cell or nucleus, 2 organelle."""

    def __len__(self) -> int:
        return len(self.x_px)


@dataclass(frozen=True, slots=True)
class Localizations:
    """Single molecules of one frame; columns of length N, origin and pixels as of ``Detections``.

    Photons are those that reached the sensor in this frame, before its quantum efficiency. Errors are one standard
    error per axis; one that a method does not tell is 0.
    """

    x_px: Floats
    y_px: Floats
    z_nm: Floats
    """Height of the molecule above focus; 0 where the point spread function does not tell it."""
    photons: Floats
    background: Floats
    """Photons per pixel under the molecule."""
    sigma_x_px: Floats
    """Width of the spot, standard deviation of its Gaussian; 0 for a point spread function that is none."""
    sigma_y_px: Floats
    x_error_px: Floats
    y_error_px: Floats
    z_error_nm: Floats
    photons_error: Floats
    probability: Floats
    """That there is a molecule, as a network says; 1 from a fit that was accepted."""
    misfit: Floats
    """Deviance of the fit over its expectation for a right model: about 1; more where the model is wrong."""

    def __len__(self) -> int:
        return len(self.x_px)


@dataclass(frozen=True, slots=True)
class Tracks:
    """Objects with an identity, as they stand after this frame; columns of length N, ROI pixels of this frame."""

    track_id: Ints
    parent_id: Ints
    """-1 where there is no mother."""
    x_px: Floats
    y_px: Floats
    vx_px_s: Floats
    """Velocity if it moves steadily."""
    vy_px_s: Floats
    sigma_px: Floats
    """Standard error of the position, per axis."""
    steady: Floats
    """Probability, 0 to 1, that it moves steadily now; else it diffuses, and the velocity says nothing."""
    v_error_px_s: Floats
    """Standard error of the velocity, per axis, if it moves steadily."""
    diffusion_px2_s: Floats
    """Variance that the random part of its motion adds to a coordinate in a second."""
    age_frames: Ints
    """Frames since the track began."""
    missed_frames: Ints
    """Frames since it was last seen; 0 = seen in this frame, else the position is predicted."""
    size_px: Floats
    intensity: Floats
    label: Ints

    def __len__(self) -> int:
        return len(self.track_id)


@dataclass(frozen=True, slots=True)
class Settled:
    """Identities of an earlier frame that will not change any more; what the frames after it told is in them."""

    frame: int
    """Index of that frame."""
    tracks: Tracks


@dataclass(frozen=True, slots=True)
class Revisions:
    """Identities of ``tracks`` that turned out wrong; columns of length N, one for each that is taken back.

    From ``since_frame`` on, what was published as ``track_id`` is ``now_id``, whose mother is ``parent_id``.
    """

    since_frame: Ints
    track_id: Ints
    now_id: Ints
    parent_id: Ints
    """-1 where there is no mother."""

    def __len__(self) -> int:
        return len(self.track_id)


EVENT_KINDS = ("division", "fission", "fusion", "flash", "arrest", "abnormal")
"""Of ``Events.kind``, by number. Fission and fusion: of organelles; flash: a vesicle fuses with the membrane; arrest:
something that moved stands still; abnormal: it moves as it never did."""


EVENT_STATUS = ("provisional", "confirmed", "withdrawn")
"""Of ``Events.status``, by number."""


@dataclass(frozen=True, slots=True)
class Events:
    """What happened, as far as it became known with this frame; columns of length N, places in ROI pixels.

    An event is told at once with its probability and told again under the same ``event_id`` when it is confirmed or
    withdrawn.
    """

    event_id: Ints
    kind: Ints
    """Index into ``EVENT_KINDS``."""
    status: Ints
    """Index into ``EVENT_STATUS``."""
    onset_frame: Ints
    """Index of the frame with which it began."""
    x_px: Floats
    y_px: Floats
    probability: Floats
    track_id: Ints
    """Of the mother, the fusing or the moving object; -1: of none that is followed."""
    other_id: Ints
    """Of a daughter or the partner; -1 where there is none."""

    def __len__(self) -> int:
        return len(self.event_id)


Table = Detections | Localizations | Tracks | Revisions | Events
"""What consists of columns of one length."""


_COLUMNS: Mapping[type[Any], Mapping[str, np.dtype[Any]]] = {
    kind: {item.name: np.dtype(np.int32 if item.type == "Ints" else np.float32) for item in fields(kind)}
    for kind in (Detections, Localizations, Tracks, Revisions, Events)
}


def columns_of(kind: type[Table]) -> Mapping[str, np.dtype[Any]]:
    """Names and dtypes of the columns of a kind of table, in order; a model's own kind counts as the one it extends."""
    return next(_COLUMNS[base] for base in kind.__mro__ if base in _COLUMNS)


@dataclass(frozen=True, slots=True)
class SuperResolved:
    """A finer image of the same field, made from several raw frames, and how far it can be believed."""

    image: Floats
    """(sH, sW) float32; the field's outer corners are the frame's. Photo-electrons per raw pixel and frame; molecules
    per pixel of its own where it is a rendering."""
    scale: int
    """s: its pixels along one of the frame's."""
    verdict: Literal["ok", "weak", "fail"]
    """``fail``: the image is widefield on the finer grid; ``weak``: too, unless the model keeps weak ones."""
    why: tuple[str, ...] = ()
    """One sentence for each thing that is wrong, the worst first; empty if ok."""
    resolution_nm: float = 0.0
    """Expected of this image; never beyond what optics and pattern carry."""
    raw_frames: tuple[int, int] = (0, 0)
    """Index of the first and of the last raw frame in it."""
    settings: Settings | None = None
    """Under which all of them were exposed, without the pattern."""
    preview: bool = False
    """Made from fewer frames than would tell the orders apart: for the eye, not for measurement."""
    error_map: Floats | None = None
    """(h, w) float32, blocks of ``RESIDUAL_BLOCK_PX`` raw pixels: what the image, blurred and patterned again, leaves
    of the raw frames, in standard deviations of what noise leaves. About 1; more where structure was removed or
    invented. None where it was not worked out for this image."""


@dataclass(frozen=True, slots=True)
class StageTiming:
    """How long one model took, and whether its answer counts."""

    stage: str
    started_ns: int
    ended_ns: int
    outcome: str = "ok"
    """``ok``, ``late`` (deadline missed, answer discarded), ``failed`` (raised or returned nonsense), ``skipped``."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All that is known after the pipeline, or after some of its stages, about one frame."""

    frame: Frame
    image: Floats | None = None
    """(H, W) float32, denoised, in camera units (ADU, offset included)."""
    detections: Detections | None = None
    tracks: Tracks | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    """Figures by name with their unit: ``signal_to_noise``, ``signal_e``, ``background_e``, ``saturated_fraction`` …"""
    trust: float = 1.0
    """0 (do not act on this) to 1, for the raw frame and what was measured on it; each model multiplies in its own."""
    why_trust: str = ""
    """Why a trust, this or ``image_trust``, is not 1."""
    timings: tuple[StageTiming, ...] = ()
    ready_ns: int = 0
    """When the last stage ended, on the run's clock."""
    image_trust: float | None = None
    """The trust in ``image`` and all that rests on it: how well it explains the frame. None: nobody has judged it."""
    residual_map: Floats | None = None
    """(2, h, w) float32: what ``image`` leaves of the frame, block by block, over what noise leaves: residuals as they
    are, and smoothed at the scale of the optics. About 1 or less; more where structure was removed or invented."""
    super_resolved: SuperResolved | None = None
    """In the result of the frame with which it was found complete; its figures are in ``quality``."""
    from_image: frozenset[str] = frozenset()
    """What rests on ``image``, not on raw frames alone: names of ``READABLE`` values and of ``quality``; kept by the
    pipeline."""
    localizations: Localizations | None = None
    settled: Settled | None = None
    """Tracks of a frame some frames back, where the tracker keeps them open for so long."""
    revisions: Revisions | None = None
    """Of identities told earlier, where this frame brought any."""
    events: Events | None = None

    def raw(self) -> Result:
        """What is left without the denoised image and all that rests on it."""
        return replace(
            self,
            image=None,
            image_trust=None,
            residual_map=None,
            detections=None if "detections" in self.from_image else self.detections,
            tracks=None if "tracks" in self.from_image else self.tracks,
            settled=None if "tracks" in self.from_image else self.settled,
            revisions=None if "tracks" in self.from_image else self.revisions,
            events=None if "events" in self.from_image else self.events,
            localizations=None if "localizations" in self.from_image else self.localizations,
            quality={name: value for name, value in self.quality.items() if name not in self.from_image},
            from_image=frozenset(),
        )


def empty_detections() -> Detections:
    """No objects."""
    none = np.empty(0, np.float32)
    return Detections(none, none, none, none, np.empty(0, np.int32))


def empty_localizations() -> Localizations:
    """No molecules."""
    none = np.empty(0, np.float32)
    return Localizations(*(none for _ in fields(Localizations)))


def empty_tracks() -> Tracks:
    """No tracks."""
    f, i = np.empty(0, np.float32), np.empty(0, np.int32)
    return Tracks(i, i, f, f, f, f, f, f, f, f, i, i, f, f, i)


def empty_revisions() -> Revisions:
    """No identity is taken back."""
    none = np.empty(0, np.int32)
    return Revisions(none, none, none, none)


def empty_events() -> Events:
    """Nothing happened."""
    f, i = np.empty(0, np.float32), np.empty(0, np.int32)
    return Events(i, i, i, i, f, f, f, i, i)
