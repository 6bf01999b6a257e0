"""What every model must keep: frames untouched, answers sound, nothing handed out changes later. Subclass and say how::

    class TestMine(ModelContract):
        def make(self) -> Model:
            return MyModel(Instrument(CameraCalibration(), OpticsConfig()), strength=2.0)

``a_frame`` and ``a_scene`` build frames, and are as useful in a model's own tests.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from smartscope.frame import Certainty, Frame, Pixels, Roi, Settings
from smartscope.ports import READABLE, Model
from smartscope.result import EVENT_STATUS, RESIDUAL_BLOCK_PX, Localizations, Result, Tracks
from smartscope.soundness import check_answer

SHAPE = (64, 80)
PERIOD_NS = 10_000_000


def a_scene(shape: tuple[int, int] = SHAPE, seed: int = 1, electrons: float = 200.0) -> Pixels:
    """(H, W) uint16: two discs and four spots on a background of 10 photo-electrons, as an sCMOS camera sees them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    light = np.full(shape, 10.0)
    for k in range(6):
        centre = rng.uniform(0.15, 0.85, 2) * shape
        width = 1.2 if k < 4 else 0.12 * min(shape)
        distance = np.hypot(y - centre[0], x - centre[1])
        light += electrons * (np.exp(-0.5 * (distance / width) ** 2) if k < 4 else distance < width)
    counts = (rng.poisson(light) + rng.normal(0, 1.6, shape)) / 0.46 + 100
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def a_frame(pixels: Pixels, index: int = 0, roi: tuple[int, int] = (0, 0), **changes: Any) -> Frame:
    """A frame of these pixels, exposed at an even pace; ``roi``: (x, y) of its corner; ``changes`` replace fields."""
    height, width = pixels.shape
    start, settings = index * PERIOD_NS, Settings(10.0, Roi(*roi, width, height), {"laser": 1.0})
    plain = Frame(pixels, 0, index, index, settings, {}, start, start + PERIOD_NS, start + PERIOD_NS)
    return replace(plain, **changes)


def poor_frames() -> dict[str, Frame]:
    """One frame for each kind of poor or unusual picture that a camera can send."""
    moving = {"xy": Certainty.MIXED, "exposure_ms": Certainty.MIXED}
    hot = a_scene()
    hot[::9, ::11] = 65535
    return {
        "all zero": a_frame(np.zeros(SHAPE, np.uint16)),
        "all saturated": a_frame(np.full(SHAPE, 65535, np.uint16)),
        "below the offset": a_frame(np.full(SHAPE, 40, np.uint16)),
        "hot pixels": a_frame(hot),
        "white noise": a_frame(np.random.default_rng(3).integers(0, 65536, SHAPE).astype(np.uint16)),
        "empty field": a_frame(np.random.default_rng(4).poisson(120, SHAPE).astype(np.uint16)),
        "small": a_frame(a_scene((16, 16))),
        "odd sides": a_frame(a_scene((33, 47))),
        "a strip": a_frame(a_scene((16, 300))),
        "tall": a_frame(a_scene((257, 31))),
        "not in one piece": a_frame(np.ascontiguousarray(a_scene().T).T),
        "settings changed during the exposure": a_frame(a_scene(), certainty=moving),
        "far along": a_frame(a_scene(), index=10**6),
    }


def a_movie() -> list[Frame]:
    """Twelve frames: some lost, a stage move, a jump of the ROI, a change of its size, a time that comes twice."""
    frames = [a_frame(a_scene(seed=k), index=k) for k in (0, 1, 2, 5, 6)]
    moved = replace(frames[0].settings, x_um=12.5, y_um=-3.0)
    frames.append(a_frame(a_scene(seed=7), 7, settings=moved, certainty={"xy": Certainty.MIXED}))
    frames.append(a_frame(a_scene(seed=8), 8, settings=moved))
    frames += [a_frame(a_scene(seed=k), k, roi=(32, 16), epoch=1) for k in (9, 10)]
    frames += [a_frame(a_scene((48, 40), seed=k), k, roi=(8, 8), epoch=2) for k in (11, 12)]
    frames.append(replace(frames[-1], index=13))
    return frames


class ModelContract:
    """Collected by pytest through a subclass named ``Test...``."""

    def make(self) -> Model:
        """A model as an experiment would build it."""
        raise NotImplementedError(f"{type(self).__name__}.make() must build the model under test")

    def so_far(self, frame: Frame) -> Result:
        """What earlier stages say of the frame; override for a model that rests on them."""
        return Result(frame)

    def run(self, model: Model, frames: Sequence[Frame]) -> list[Result]:
        """All frames through the model, with as much history as it wants."""
        model.warm_up((frames[0].pixels.shape[0], frames[0].pixels.shape[1]))
        seen = [frames[max(0, k - model.history) : k + 1] for k in range(len(frames))]
        return [model.step(some, self.so_far(some[-1])) for some in seen]

    def test_is_a_model(self) -> None:
        """It has the port's attributes."""
        model = self.make()
        assert isinstance(model, Model)
        assert isinstance(model.history, int)
        assert model.history >= 0

    @pytest.mark.parametrize("name", poor_frames())
    def test_answers_to_any_frame(self, name: str) -> None:
        """Never raises, warmed up for the frame's size or for another; the answer is sound, the frame untouched."""
        frame = poor_frames()[name]
        before, model = frame.pixels.copy(), self.make()
        alone = self.run(model, [frame])[0]
        check(alone, self.so_far(frame))
        stranger = self.make()
        stranger.warm_up((40, 24))
        assert same(stranger.step([frame], self.so_far(frame)), alone), "warm_up for another size changed the answer"
        assert np.array_equal(frame.pixels, before), "the model wrote into the camera's pixels"

    def test_follows_a_movie(self) -> None:
        """Lost frames, stage moves and jumps of the ROI are part of life."""
        frames = a_movie()
        results = self.run(self.make(), frames)
        for frame, result in zip(frames, results, strict=True):
            check(result, self.so_far(frame))
        check_story(results)

    def test_reads_what_it_says(self) -> None:
        """Where ``reads`` leaves the image out, the image makes no difference to what the model adds."""
        frame, model = a_frame(a_scene()), self.make()
        reads = getattr(model, "reads", READABLE)
        assert reads <= READABLE
        flat, steep = (np.full(SHAPE, 100, np.float32), np.outer(np.arange(SHAPE[0]), np.ones(SHAPE[1])).astype("f4"))
        answers = []
        for image in (flat, steep):
            model = self.make()
            model.warm_up(SHAPE)
            answers.append(model.step([frame] * (model.history + 1), replace(self.so_far(frame), image=image)))
        first, second = (replace(answer, image=None) for answer in answers)
        assert "image" in reads or same(first, second), f"it reads the image beside {sorted(reads)}"

    def test_is_deterministic(self) -> None:
        """Two models made alike say the same."""
        first, second = (self.run(self.make(), a_movie()) for _ in range(2))
        assert all(same(a, b) for a, b in zip(first, second, strict=True))

    def test_does_not_know_the_future(self) -> None:
        """What is said of a frame does not depend on later ones, nor on a warm-up in between."""
        frames = a_movie()
        whole, model = self.run(self.make(), frames), self.make()
        start = self.run(model, frames[:4])
        assert all(same(a, b) for a, b in zip(start, whole, strict=False))
        model.warm_up((40, 24))
        some = frames[max(0, 4 - model.history) : 5]
        assert same(model.step(some, self.so_far(frames[4])), whole[4]), "warm_up disturbed what the model remembers"

    def test_lets_go_of_what_it_hands_out(self) -> None:
        """Later frames never change an earlier result."""
        model, frames = self.make(), a_movie()
        first = self.run(model, frames[:1])[0]
        kept = copy.deepcopy(first)
        self.run(model, frames[1:])
        assert same(first, kept), "an array of an earlier result was overwritten"


def check(result: Result, so_far: Result) -> None:
    """Assert that a result is sound and keeps what was said before it."""
    shape = result.frame.pixels.shape
    assert result.frame is so_far.frame
    assert result.timings == so_far.timings
    assert 0 <= result.trust <= so_far.trust, f"trust {result.trust} after {so_far.trust}"
    assert result.trust == 1 or result.why_trust, "trust is not 1 and nobody says why"
    if result.image is not None and not same(result.image, so_far.image):
        _check_judgement(result)
    if result.image is not None:
        assert result.image.shape == shape
        assert result.image.dtype == np.float32
        assert np.isfinite(result.image).all()
        assert not np.shares_memory(result.image, result.frame.pixels)
    for name, value in result.quality.items():
        assert isinstance(value, float), f"{name} is {value!r}"
        assert math.isfinite(value), f"{name} is {value}"
    assert set(so_far.quality) <= set(result.quality)
    check_answer(result, replace(Result(result.frame), detections=so_far.detections))
    if result.localizations is not None:
        _check_finite(result.localizations)
    if so_far.detections is not None:
        assert result.detections is not None
        assert np.array_equal(result.detections.x_px[: len(so_far.detections)], so_far.detections.x_px)
    if result.tracks is not None:
        _check_tracks(result.tracks)
    if result.settled is not None:
        _check_tracks(result.settled.tracks)
    if (events := result.events) is not None:
        assert len(np.unique(events.event_id)) == len(events), "one event twice in a frame"


def check_story(results: Sequence[Result]) -> None:
    """Assert that what is said of the frames of a movie, one after the other, agrees."""
    seen = {result.frame.index for result in results}
    settled = [result.settled.frame for result in results if result.settled is not None]
    assert settled == sorted(set(settled)), f"frames settled twice or out of order: {settled}"
    assert set(settled) <= seen, "a frame was settled that nobody saw"
    fate: dict[int, str] = {}
    for result in results:
        for event_id, number in zip(*_told(result), strict=True):
            status, before = EVENT_STATUS[number], fate.get(event_id)
            assert before in (None, "provisional"), f"event {event_id} is told as {status} after it was {before}"
            assert before != status, f"event {event_id} is told again without a change"
            fate[event_id] = status


def _told(result: Result) -> tuple[list[int], list[int]]:
    events = result.events
    return ([], []) if events is None else (events.event_id.tolist(), events.status.tolist())


def _check_tracks(tracks: Tracks) -> None:
    assert len(np.unique(tracks.track_id)) == len(tracks), "one identity twice in a frame"
    assert (tracks.parent_id != tracks.track_id).all(), "a track is its own mother"
    assert ((tracks.steady >= 0) & (tracks.steady <= 1)).all(), "a probability of steady motion outside 0..1"


def _check_judgement(result: Result) -> None:
    """An image comes with what tells whether it can be trusted, else nothing that rests on it drives anything."""
    assert result.image_trust is not None, "nobody has judged the image (smartscope_models.denoise.trust)"
    assert 0 <= result.image_trust <= 1
    assert result.image_trust == 1 or result.why_trust, "the image's trust is not 1 and nobody says why"
    assert result.residual_map is not None
    height, width = (-(-n // RESIDUAL_BLOCK_PX) for n in result.frame.pixels.shape)
    assert result.residual_map.shape == (2, height, width)
    assert result.residual_map.dtype == np.float32
    assert np.isfinite(result.residual_map).all()
    assert (result.residual_map >= 0).all()


def _check_finite(found: Localizations) -> None:
    for column in fields(found):
        assert np.isfinite(getattr(found, column.name)).all(), f"{column.name} is not finite"


def same(a: Any, b: Any) -> bool:
    """Whether two values, dataclasses of arrays included, are identical."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, Frame):
        return isinstance(b, Frame) and a.index == b.index
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)
