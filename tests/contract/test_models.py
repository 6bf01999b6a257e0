"""The models that come with smartscope keep the contract; the contract finds those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detecting import write_bright
from spline_scenes import SPLINE
from track_helpers import FRAMES, table, told

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig, PointSpreadConfig
from smartscope.frame import Frame
from smartscope.optics.point_spread.spline_file import save_spline
from smartscope.ports import Instrument, Model
from smartscope.result import RESIDUAL_BLOCK_PX, Detections, Events, Localizations, Result, Settled, Tracks
from smartscope.testing.model_contract import ModelContract, a_frame, a_scene, check, check_story

INSTRUMENT = Instrument(CameraCalibration(), OpticsConfig())
DETECT = "smartscope_models.detection:ObjectDetector"
LOCALIZE = "smartscope_models.localization.localizer:MoleculeLocalizer"


class TestDenoise(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "denoise", {}, INSTRUMENT)


class TestDenoiseElectronMultiplied(ModelContract):
    def make(self) -> Model:
        camera = CameraCalibration(em_gain=200, electrons_per_adu=5, read_noise_e=50, offset_adu=200)
        return plugins.build("models", "denoise", {}, Instrument(camera, OpticsConfig()))


class TestDenoiseNetwork(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "denoise_network", {"package": "denoise_frame"}, INSTRUMENT)


class TestDenoiseNetworkCausal(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "denoise_network", {"package": "denoise_causal"}, INSTRUMENT)


class TestQuality(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "quality", {}, INSTRUMENT)


class TestSpots(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "detect_spots", {}, INSTRUMENT)


class TestSpotsInTheImage(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "detect_spots", {"source": "image"}, INSTRUMENT)

    def so_far(self, frame: Frame) -> Result:
        return Result(frame, image=frame.pixels.astype(np.float32), image_trust=1.0)


class TestDarkSpots(ModelContract):
    def make(self) -> Model:
        return plugins.build(
            "models", "detect_spots", {"polarity": "dark", "sigma_px": 3.0, "max_spots": 3}, INSTRUMENT
        )


class TestLocalize(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", LOCALIZE, {}, INSTRUMENT)


class TestLocalizeAstigmatic(ModelContract):
    def make(self) -> Model:
        optics = OpticsConfig(point_spread=PointSpreadConfig(model="astigmatic", sigma_px=1.2))
        return plugins.build("models", LOCALIZE, {"max_spots": 40}, Instrument(CameraCalibration(em_gain=100), optics))


class TestLocalizeSpline(ModelContract):
    @pytest.fixture(autouse=True)
    def _spline(self, tmp_path: Path) -> None:
        self.file = tmp_path / "psf.npz"
        save_spline(self.file, SPLINE)

    def make(self) -> Model:
        optics = OpticsConfig(point_spread=PointSpreadConfig(model="spline", file=str(self.file)))
        return plugins.build("models", LOCALIZE, {"max_spots": 200}, Instrument(CameraCalibration(), optics))


class TestCells(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "detect_cells", {"min_radius_um": 0.4, "max_radius_um": 3}, INSTRUMENT)


class TestCellsAfterOthers(TestCells):
    def so_far(self, frame: Frame) -> Result:
        image = frame.pixels.astype(np.float32)
        return Result(
            frame, image=image, detections=some_detections(frame), quality={"a": 1.0}, trust=0.5, why_trust="x"
        )


class TestDetectClassical(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", DETECT, {"finder": "classical", "min_radius_um": 0.4}, INSTRUMENT)


class TestDetectNetwork(ModelContract):
    @pytest.fixture(autouse=True)
    def _package(self, tmp_path: Path) -> None:
        self.package = str(write_bright(tmp_path))

    def make(self) -> Model:
        return plugins.build("models", DETECT, {"network": self.package}, INSTRUMENT)


class TestTrack(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "track", {}, INSTRUMENT)

    def so_far(self, frame: Frame) -> Result:
        return Result(frame, detections=some_detections(frame))


class TestTrackWithoutDetections(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "track", {}, INSTRUMENT)


class TestLocalizationMeter(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "smartscope_models.localization.meter:LocalizationMeter", {}, INSTRUMENT)

    def so_far(self, frame: Frame) -> Result:
        return Result(frame, localizations=some_localizations(frame))


class TestRender(ModelContract):
    def make(self) -> Model:
        options = {"every": 1, "zooms": [2, 4]}
        return plugins.build("models", "smartscope_models.localization.render:Render", options, INSTRUMENT)

    def so_far(self, frame: Frame) -> Result:
        known = {"drift_x_nm": 3.0 * frame.index, "drift_y_nm": 1.0, "drift_error_nm": 1.0, "drift_age_s": 0.01}
        return Result(frame, localizations=some_localizations(frame), quality=known)


class TestRenderWithoutLocalizations(ModelContract):
    def make(self) -> Model:
        return plugins.build("models", "smartscope_models.localization.render:Render", {}, INSTRUMENT)


def some_localizations(frame: Frame) -> Localizations:
    """Forty molecules anywhere, seeded by the frame's first pixel; one with an error that is none."""
    rng = np.random.default_rng(int(frame.pixels[0, 0]))
    columns = {field.name: rng.uniform(0.01, 0.3, 40).astype(np.float32) for field in fields(Localizations)}
    height, width = frame.pixels.shape
    x, y = (rng.uniform(-0.5, edge - 0.5, 40).astype(np.float32) for edge in (width, height))
    columns["x_error_px"][3] = 0
    return Localizations(**{**columns, "x_px": x, "y_px": y})


def some_detections(frame: Frame) -> Detections:
    """Ten spots and two cells, seeded by the frame's first pixel."""
    rng = np.random.default_rng(int(frame.pixels[0, 0]))
    height, width = frame.pixels.shape
    x, y, size, intensity = (
        rng.uniform(0, high, 12).astype(np.float32) for high in (width - 1, height - 1, 3.0, 1000.0)
    )
    return Detections(x, y, size, intensity, np.repeat(np.array([0, 1], np.int32), (10, 2)))


class Flawed:
    """A model with one fault, to be found."""

    history = 0

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.kept = np.zeros((64, 80), np.float32)
        self.steps = 0
        if fault == "secretive":
            self.reads: frozenset[str] = frozenset()

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Allocate."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """The frame itself as image, but for the fault."""
        pixels = frames[-1].pixels
        self.steps += 1
        image = pixels.astype(np.float32)
        if self.fault == "writes":
            pixels[0, 0] += 1
        if self.fault == "nan":
            image[0, 0] = np.nan
        if self.fault == "reuses":
            self.kept[: pixels.shape[0], : pixels.shape[1]] = pixels[:64, :80]
            image = self.kept if pixels.shape == (64, 80) else image
        if self.fault == "counts":
            image += self.steps
        if self.fault == "secretive" and so_far.image is not None:
            return replace(so_far, quality={"mean": float(so_far.image.mean())})
        if self.fault == "unjudged":
            return replace(so_far, image=image)
        blocks = [-(-n // RESIDUAL_BLOCK_PX) for n in pixels.shape]
        judged = {"image_trust": 1.0, "residual_map": np.ones((2, *blocks), np.float32)}
        doubts = {"distrusts": {"trust": 0.5}, "distrusts its image": {"image_trust": 0.5}}
        said: dict[str, Any] = {**judged, **doubts.get(self.fault, {})}
        return replace(so_far, image=image, **said)


class Suite(ModelContract):
    """The contract over a flawed model; the name keeps pytest from collecting it."""

    def __init__(self, fault: str) -> None:
        self.fault, self.made = fault, Flawed(fault)

    def make(self) -> Model:
        return self.made if self.fault == "counts" else Flawed(self.fault)


def test_a_flawless_model_passes() -> None:
    suite = Suite("none")
    suite.test_is_a_model()
    suite.test_answers_to_any_frame("odd sides")
    suite.test_follows_a_movie()
    suite.test_is_deterministic()
    suite.test_does_not_know_the_future()
    suite.test_lets_go_of_what_it_hands_out()


@pytest.mark.parametrize("fault", ["writes", "nan", "distrusts", "distrusts its image", "unjudged"])
def test_the_contract_finds_unsound_answers(fault: str) -> None:
    with pytest.raises(AssertionError):
        Suite(fault).test_answers_to_any_frame("empty field")


def test_the_contract_finds_what_a_model_keeps_to_itself() -> None:
    Suite("none").test_reads_what_it_says()
    with pytest.raises(AssertionError, match="reads the image"):
        Suite("secretive").test_reads_what_it_says()


def test_the_contract_finds_reused_arrays() -> None:
    with pytest.raises(AssertionError, match="overwritten"):
        Suite("reuses").test_lets_go_of_what_it_hands_out()


def test_the_contract_finds_chance() -> None:
    with pytest.raises(AssertionError):
        Suite("counts").test_is_deterministic()


def test_the_contract_wants_a_model() -> None:
    with pytest.raises(NotImplementedError, match="make"):
        ModelContract().make()


def story(*results: Result) -> list[Result]:
    return [replace(result, frame=a_frame(a_scene(), index)) for index, result in enumerate(results)]


def an_event(event_id: int, status: int) -> Result:
    return Result(a_frame(a_scene()), events=table(Events, 1, event_id=event_id, status=status))


def test_a_story_that_agrees_passes() -> None:
    check_story([told(Result(a_frame(a_scene(), index))) for index in range(2 * FRAMES)])


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (story(an_event(1, 0), an_event(1, 0)), "told again without a change"),
        (story(an_event(1, 1), an_event(1, 2)), "event 1 is told as withdrawn after it was confirmed"),
        (
            story(*[Result(a_frame(a_scene()), settled=Settled(0, table(Tracks, 0)))] * 2),
            "frames settled twice or out of order",
        ),
        (story(Result(a_frame(a_scene()), settled=Settled(5, table(Tracks, 0)))), "settled that nobody saw"),
    ],
)
def test_the_contract_finds_stories_that_contradict_themselves(results: list[Result], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_story(results)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"tracks": table(Tracks, 2, track_id=[1, 1], parent_id=-1)}, "one identity twice"),
        ({"settled": Settled(0, table(Tracks, 1, track_id=[1], parent_id=[1]))}, "its own mother"),
        ({"tracks": table(Tracks, 1, track_id=[1], steady=[1.5])}, "steady motion outside 0..1"),
        ({"events": table(Events, 2, event_id=3)}, "one event twice"),
    ],
)
def test_check_finds_tables_that_contradict_themselves(told: dict[str, Any], message: str) -> None:
    frame = a_frame(a_scene())
    with pytest.raises(AssertionError, match=message):
        check(replace(Result(frame), **told), Result(frame))


def test_check_wants_molecules_without_a_number_that_is_none() -> None:
    frame = a_frame(a_scene())
    found = some_localizations(frame)
    with pytest.raises(AssertionError, match="misfit is not finite"):
        check(Result(frame, localizations=replace(found, misfit=found.misfit * np.float32("nan"))), Result(frame))


def test_check_finds_a_lost_detection() -> None:
    frame = a_frame(a_scene())
    with pytest.raises(AssertionError):
        check(Result(frame), Result(frame, detections=some_detections(frame)))
