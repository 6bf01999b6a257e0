"""What a model's answer must keep before anything may act on it; nonsense is named and goes no further."""

from __future__ import annotations

import numpy as np

from smartscope.errors import StageFailed
from smartscope.frame import Frame
from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events, Localizations, Result, Settled, Table, columns_of


def check_answer(answer: object, so_far: Result) -> Result:
    """The answer, if it is a sound one about the frame of ``so_far``; what it took over from there is not looked at.

    Raises:
        StageFailed: wrong type, frame or shape, not finite, or numbers that mean nothing.
    """
    if not isinstance(answer, Result):
        raise StageFailed(f"returned {type(answer).__name__} instead of a Result")
    if answer.frame is not so_far.frame:
        raise StageFailed("returned a Result about another frame")
    _check_images(answer)
    for name, trust in (("trust", answer.trust), ("trust in the image", answer.image_trust)):
        if trust is not None and not 0.0 <= trust <= 1.0:
            raise StageFailed(f"returned a {name} of {trust}, outside 0..1")
    if not all(np.isfinite(value) for value in answer.quality.values()):
        raise StageFailed(f"returned quality figures that are not finite: {dict(answer.quality)}")
    for name in ("detections", "localizations", "tracks", "revisions", "events"):
        if (table := getattr(answer, name)) is not None and table is not getattr(so_far, name):
            _check_table(table)
    if answer.settled is not None and answer.settled is not so_far.settled:
        _check_settled(answer.settled, answer.frame)
    if answer.revisions is not None and (answer.revisions.since_frame > answer.frame.index).any():
        raise StageFailed("returned Revisions of frames that are not there yet")
    if answer.events is not None:
        _check_events(answer.events, answer.frame)
    return answer


def _check_images(answer: Result) -> None:
    shape = answer.frame.pixels.shape
    if answer.image is not None and answer.image.shape != shape:
        raise StageFailed(f"returned an image of shape {answer.image.shape} for a frame of {shape}")
    fine = answer.super_resolved
    if fine is not None and fine.image.shape != tuple(fine.scale * edge for edge in shape):
        what = f"a super-resolved image of {fine.image.shape} for a frame of {shape}"
        raise StageFailed(f"returned {what}, {fine.scale} times finer")


def _check_table(table: Table) -> None:
    """Columns of one length, of their dtypes, finite; of molecules the places alone, for fits may tell no error."""
    kind, length = type(table).__name__, len(table)
    for name, dtype in columns_of(type(table)).items():
        values = getattr(table, name)
        if values.shape != (length,):
            raise StageFailed(f"returned {kind} of {length} with {name} of shape {values.shape}")
        if values.dtype != dtype:
            raise StageFailed(f"returned {kind} with {name} as {values.dtype} instead of {dtype}")
        place = name in ("x_px", "y_px")
        if dtype.kind == "f" and (place or not isinstance(table, Localizations)) and not np.isfinite(values).all():
            raise StageFailed(f"returned {name if not place else 'positions'} that are not finite in {kind}")


def _check_settled(settled: Settled, frame: Frame) -> None:
    _check_table(settled.tracks)
    if not 0 <= settled.frame <= frame.index:
        raise StageFailed(f"settled frame {settled.frame}, which is not there yet")


def _check_events(events: Events, frame: Frame) -> None:
    for name, values, known in (("kind", events.kind, EVENT_KINDS), ("status", events.status, EVENT_STATUS)):
        if ((values < 0) | (values >= len(known))).any():
            raise StageFailed(f"returned Events of a {name} that nobody knows", allowed=", ".join(known))
    if ((events.probability < 0) | (events.probability > 1)).any():
        raise StageFailed("returned Events with a probability outside 0..1")
    if (events.onset_frame > frame.index).any():
        raise StageFailed("returned Events that have not begun yet")
