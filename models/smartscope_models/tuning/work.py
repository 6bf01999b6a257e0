"""One tuning from recorded frames to a verdict, within its time; nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from smartscope_models.calibration import SensorCalibration
from smartscope_models.training.network import Denoiser
from smartscope_models.tuning.clips import Clip, read_clips
from smartscope_models.tuning.empty_fields import background_e, empty_clips
from smartscope_models.tuning.judging import Judge
from smartscope_models.tuning.last_layers import LastLayers
from smartscope_models.tuning.learning import learn
from smartscope_models.tuning.lessons import Lesson, lesson_of
from smartscope_models.tuning.noise import examine
from smartscope_models.tuning.outcome import Outcome
from smartscope_models.tuning.request import Request
from smartscope_models.tuning.rule import objections
from smartscope_models.tuning.views import CHOOSING, JUDGED, LEARNT, View, clip_length, views_of

MOST_CLIPS = 16
LEAST_PX = 30_000
"""Places, over all clips, of each part: those learnt from, and those judged on."""
PREPARING, LEARNING = 0.4, 0.8
"""Shares of the time after which no further clip is prepared, no further step taken: the rest is for judging."""

TOO_FEW = "too few frames: {} in a row under equal settings are needed, of 64 x 64 pixels or more"
NO_STEP = "no step made it better where the number of steps is chosen"


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict and, where it is good, the network."""

    outcome: Outcome
    network: Denoiser | None = None


def tune(network: Denoiser, request: Request, elapsed_s: Callable[[], float]) -> Result:
    """Tune a copy of ``network`` to the frames of ``request``.

    ``elapsed_s`` since the process began. The same request gives the same weights, if time does not run out.

    Raises:
        InputError: the frames cannot be read, or a camera map cannot be used.
    """
    length = clip_length(network.sizes.frames)
    clips = read_clips(request.frames, length, MOST_CLIPS)
    calibration = SensorCalibration(request.camera)
    views = views_of(clips, calibration, request.seed)
    outcome = Outcome((), len(views))
    if not views:
        return Result(replace(outcome, objections=(TOO_FEW.format(length),)))
    noise, still = examine(views)
    outcome = replace(outcome, noise=noise)
    if why := noise.refusal():
        return Result(replace(outcome, objections=(why,)))
    lessons = _lessons(network, views, still, request, elapsed_s)
    if why := _too_little(lessons):
        return Result(replace(outcome, objections=(why,)))
    empty = _empty_views(request, calibration, clips[0], views)
    judge = Judge(network, views[: len(lessons)], lessons, empty, noise.ratio, request.psf_sigma_px)
    base = LastLayers(network.body)
    before = judge.measure(base)
    learnt = learn(base, lessons, request.seed, lambda: elapsed_s() < LEARNING * request.seconds)
    after = judge.measure(learnt.layers)
    outcome = replace(outcome, clips=len(lessons), steps=learnt.steps, before=before, after=after)
    found = objections(before, after, *judge.changes(base, learnt.layers)) if learnt.steps else [NO_STEP]
    if elapsed_s() > request.seconds:
        found = ["the time was over before it was judged"]
    if found:
        return Result(replace(outcome, objections=tuple(found)))
    return Result(outcome, learnt.layers.into(network))


def _lessons(
    network: Denoiser,
    views: Sequence[View],
    still: Sequence[Tensor],
    request: Request,
    elapsed_s: Callable[[], float],
) -> list[Lesson]:
    """Of as many views as there is time for."""
    found = list[Lesson]()
    for view, at_rest in zip(views, still, strict=True):
        if elapsed_s() >= PREPARING * request.seconds:
            break
        found.append(lesson_of(network, view, at_rest, request.psf_sigma_px))
    return found


def _empty_views(request: Request, calibration: SensorCalibration, like: Clip, views: Sequence[View]) -> list[View]:
    pixels = calibration.region(like.roi, (like.pixels.shape[1], like.pixels.shape[2]))
    fields = empty_clips(request.camera, like, background_e(views, pixels), len(like.pixels), request.seed)
    return views_of(fields, calibration, request.seed)


def _too_little(lessons: Sequence[Lesson]) -> str:
    if not lessons:
        return "the time was over before the first clip was prepared"
    for part, what in ((LEARNT, "learn from"), (CHOOSING, "choose by"), (JUDGED, "judge by")):
        if (places := sum(float(lesson.weight_of(part).sum()) for lesson in lessons)) < LEAST_PX:
            return f"too few pixels to {what}: {places:.0f} over all clips, at least {LEAST_PX} are needed"
    return ""
