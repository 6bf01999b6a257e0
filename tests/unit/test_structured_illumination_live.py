"""Raw frames in, images with verdicts out: what the model of the pipeline makes of a stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="structured illumination is reconstructed with torch")

from structured_illumination_helpers import OPTICS, fringes, illuminated, specimen

from smartscope.config import CameraCalibration, OpticsConfig, StructuredIlluminationConfig
from smartscope.errors import InputError
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.optics.pattern_layout import Layout
from smartscope.ports import Instrument
from smartscope.result import Result, SuperResolved
from smartscope_models.resolution_meter import ResolutionMeter
from smartscope_models.structured_illumination.live import StructuredIllumination

N, LAYOUT = 128, Layout()
CAMERA = CameraCalibration(pixel_size_nm=OPTICS.pixel_size_nm, offset_adu=100, electrons_per_adu=0.5, read_noise_e=1.6)
INSTRUMENT = Instrument(
    CAMERA,
    OpticsConfig(
        numerical_aperture=OPTICS.numerical_aperture,
        emission_nm=OPTICS.emission_nm,
        structured_illumination=StructuredIlluminationConfig(),
    ),
)
SCENE, KNOWN = specimen(N, 4), fringes(LAYOUT, N, 4)


def stack(peak_e: float = 6000.0, seed: int = 1, known=KNOWN) -> np.ndarray:
    electrons = illuminated(SCENE, LAYOUT, known, peak_e, seed)
    return np.clip(np.rint(electrons / CAMERA.electrons_per_adu + CAMERA.offset_adu), 0, 65535).astype(np.uint16)


def stream(stacks: list[np.ndarray], *, epoch: int = 0, first: int = 0, exposure_ms: float = 10.0) -> list[Frame]:
    settings = Settings(exposure_ms, Roi(0, 0, N, N), {"laser": 1.0})
    return [
        Frame(pixels, epoch, k, first + k, replace(settings, pattern=k % LAYOUT.frames), {}, k * 10**7, k * 10**7, 0)
        for k, pixels in enumerate(np.concatenate(stacks))
    ]


def run(model: StructuredIllumination, frames: list[Frame]) -> list[Result]:
    return [model.step(frames[max(0, k - model.history) : k + 1], Result(frame)) for k, frame in enumerate(frames)]


def model(**options) -> StructuredIllumination:
    made = StructuredIllumination(INSTRUMENT, **options)
    made.warm_up((N, N))
    return made


def fine(result: Result) -> SuperResolved:
    assert result.super_resolved is not None
    return result.super_resolved


def test_nothing_is_said_before_a_stack_is_whole_and_an_image_after_every_frame_from_then_on():
    results = run(model(), stream([stack(seed=1), stack(seed=2)]))
    assert [result.super_resolved is not None for result in results] == [False] * 8 + [True] * 10
    first = fine(results[8])
    assert first.image.shape == (2 * N, 2 * N)
    assert first.image.dtype == np.float32
    assert first.verdict == "ok"
    assert first.raw_frames == (0, 8)
    assert fine(results[9]).raw_frames == (1, 9)
    assert results[8].quality["structured_illumination_verdict"] == 2
    assert results[8].quality["resolution_nm"] == first.resolution_nm < results[8].quality["widefield_resolution_nm"]
    assert first.error_map is not None
    assert first.error_map.mean() == pytest.approx(1, abs=0.15)


def test_a_rolling_image_is_the_image_of_its_nine_frames():
    frames = stream([stack(seed=1), stack(seed=2)])
    made = model()
    results = run(made, frames)
    rolled = fine(results[12]).image
    every = model(rolling=False)
    assert [r.super_resolved is not None for r in run(every, frames)] == [k in (8, 17) for k in range(18)]
    # the same frames at once, with the same fringes: those measured from the first stack
    again = model(rolling=True)
    run(again, frames[:9])
    at_once = again.step(frames[4:13], Result(frames[12]))
    assert np.abs(fine(at_once).image - rolled).max() < 1e-4 * np.abs(rolled).max()


def test_frames_that_the_pipeline_passed_over_are_taken_from_the_window():
    frames = stream([stack()])
    assert fine(model().step(frames, Result(frames[-1]))).raw_frames == (0, 8)


def test_a_lost_frame_a_new_exposure_and_a_new_epoch_begin_a_new_stack():
    frames = stream([stack(seed=1), stack(seed=2)])
    lost = frames[:4] + frames[5:]
    results = run(model(), lost)
    assert [result.frame.number for result in results if result.super_resolved] == list(range(13, 18))
    brighter = stream([stack(seed=3)], epoch=1, first=4, exposure_ms=20.0)
    results = run(model(), frames[:4] + brighter)
    assert [result.frame.index for result in results if result.super_resolved] == [12]


def test_even_light_and_mixed_frames_are_passed_over():
    frames = stream([stack()])
    mixed = replace(frames[3], certainty={"exposure_ms": Certainty.MIXED})
    even = [replace(frame, settings=replace(frame.settings, pattern=None)) for frame in frames]
    assert not any(result.super_resolved for result in run(model(), even))
    assert not any(result.super_resolved for result in run(model(), [*frames[:3], mixed, *frames[4:]]))


def test_without_fringes_widefield_is_shown_and_the_last_good_ones_grow_old():
    even = replace(KNOWN, modulation=np.zeros_like(KNOWN.modulation))
    frames = stream([stack(seed=1), stack(seed=2, known=even)])
    results = run(model(rolling=False), frames)
    last = results[17]
    assert fine(last).verdict == "fail"
    assert fine(last).why
    assert fine(last).error_map is None
    assert fine(last).resolution_nm == last.quality["widefield_resolution_nm"]
    assert results[8].quality["fringes_age_s"] == 0
    assert last.quality["fringes_age_s"] == pytest.approx(9e-2)
    fade = np.hanning(2 * N)
    seen = np.fft.fft2((fine(last).image - fine(last).image.mean()) * fade * fade[:, None])
    axis = np.hypot(*np.meshgrid(np.fft.fftfreq(2 * N, 1 / (2 * N)), np.fft.fftfreq(2 * N, 1 / (2 * N))))
    beyond = axis > 1.1 * OPTICS.cutoff_per_px * N
    assert (np.abs(seen[beyond]) ** 2).sum() < 1e-3 * (np.abs(seen[axis > 2]) ** 2).sum()


def test_saturation_is_said():
    raw = stack()
    raw[3, :8, :8] = 65535
    results = run(model(), stream([raw]))
    assert fine(results[8]).verdict != "ok"
    assert "saturated" in fine(results[8]).why[0]


def test_what_cannot_be_reconstructed_is_refused_before_there_is_light():
    with pytest.raises(InputError, match="nothing is known of the fringes"):
        StructuredIllumination(Instrument(CAMERA, OpticsConfig()))
    with pytest.raises(InputError, match="cannot carry"):
        StructuredIllumination(replace(INSTRUMENT, camera=CameraCalibration(pixel_size_nm=200)))
    with pytest.raises(InputError, match="square"):
        StructuredIllumination(INSTRUMENT).warm_up((128, 256))


def test_a_weak_stack_is_shown_as_widefield_unless_it_is_wanted():
    bleaching = replace(KNOWN, gains=np.linspace(1.25, 0.75, 9).reshape(3, 3))
    frames = stream([stack(seed=1, known=bleaching), stack(seed=2, known=bleaching)])
    careful, bold = run(model(), frames), run(model(keep_weak=True), frames)
    for one, other in ((careful[8], bold[8]), (careful[12], bold[12])):
        assert fine(one).verdict == fine(other).verdict == "weak"
        assert fine(one).resolution_nm == one.quality["resolution_nm"] == one.quality["widefield_resolution_nm"]
        assert fine(other).resolution_nm < other.quality["widefield_resolution_nm"]
        assert not np.array_equal(fine(one).image, fine(other).image)
    assert fine(careful[8]).error_map is None
    assert fine(bold[8]).error_map is not None


def test_a_wrong_order_is_refused_and_a_pattern_that_stands_still_later_fails():
    raw = stack()
    with pytest.raises(InputError, match="angle inside phase"):
        run(model(), stream([raw[[0, 3, 6, 1, 4, 7, 2, 5, 8]]]))
    standing = raw[[0, 0, 0, 3, 3, 3, 6, 6, 6]]
    results = run(model(rolling=False), stream([raw, standing, stack(seed=3)]))
    shown = [fine(result) for result in results if result.super_resolved]
    assert [one.verdict for one in shown] == ["ok", "fail", "ok"]
    assert shown[1].resolution_nm == results[17].quality["widefield_resolution_nm"]


def test_an_image_is_never_written_again():
    frames = stream([stack(seed=1), stack(seed=2)])
    made = model()
    first = fine(run(made, frames[:9])[-1])
    kept = first.image.copy()
    made.step(frames[1:10], Result(frames[9]))
    assert np.array_equal(first.image, kept)


def test_resolution_is_measured_between_images_that_share_no_frame():
    frames = stream([stack(seed=k) for k in range(3)])
    meter = ResolutionMeter(INSTRUMENT, every=1)
    results = [meter.step([r.frame], r) for r in run(model(), frames)]
    told = [r.frame.index for r in results if "frc_resolution_nm" in r.quality]
    assert told == [17, 26]
    quality = results[17].quality
    assert quality["resolution_nm"] * 0.8 < quality["frc_resolution_nm"] < quality["widefield_resolution_nm"]
    assert "decorrelation_resolution_nm" in quality
    meter.warm_up((N, N))
    assert "frc_resolution_nm" not in meter.step([results[8].frame], results[8]).quality


def test_resolution_of_raw_frames():
    meter = ResolutionMeter(INSTRUMENT, of="frame", every=1, window_px=96)
    frames = stream([stack(seed=1)])
    results = [meter.step([frame], Result(frame)) for frame in frames[:3]]
    assert "frc_resolution_nm" not in results[0].quality
    assert results[2].quality["frc_resolution_nm"] > OPTICS.emission_nm / (2 * OPTICS.numerical_aperture) * 0.8


def burst_then_idle(frames: list[Frame]) -> list[Frame]:
    """A burst and the dark frames of the next epoch."""
    last = frames[-1]
    idle = replace(
        last, epoch=last.epoch + 1, number=0, index=last.index + 1, settings=replace(last.settings, pattern=None)
    )
    return [*frames, idle, replace(idle, number=1, index=idle.index + 1)]


def test_a_burst_of_some_directions_gives_an_image_of_these_when_it_is_over():
    frames = burst_then_idle(stream([stack()])[:6])
    results = run(model(), frames)
    assert [result.super_resolved is not None for result in results] == [False] * 6 + [True, False]
    two = results[6]
    assert two.quality["directions"] == 2
    assert fine(two).raw_frames == (0, 5)
    assert two.quality["resolution_nm"] < two.quality["widefield_resolution_nm"]
    assert not fine(two).preview
    mixed = replace(frames[6], certainty={"light:laser": Certainty.MIXED})
    results = run(model(), [*frames[:6], mixed, *frames[7:]])
    assert [result.super_resolved is not None for result in results] == [False] * 7 + [True]
    incomplete = run(model(), burst_then_idle(stream([stack()])[:5]))
    assert not any(result.super_resolved for result in incomplete)


def test_one_frame_of_each_direction_is_a_preview_under_known_fringes():
    later = [
        replace(frame, epoch=1, number=k, index=9 + k, t_start_ns=10**9, t_end_ns=10**9)
        for k, frame in enumerate(stream([stack(seed=2)])[::3])
    ]
    made = model()
    assert not any(result.super_resolved for result in run(made, burst_then_idle(later))), "no fringes are known"
    made = model()
    results = run(made, stream([stack(seed=1)]) + burst_then_idle(later))
    shown = [result for result in results if result.super_resolved]
    assert [fine(result).preview for result in shown] == [False, True]
    preview = shown[1]
    assert fine(preview).verdict == "weak"
    assert "preview of 3 raw frames" in fine(preview).why[0]
    assert fine(preview).raw_frames == (9, 11)
    assert preview.quality["fringes_age_s"] == pytest.approx(0.92)
    assert "structured_illumination_verdict" not in preview.quality
    full, quick = (fine(result).image[16:-16, 16:-16].ravel() for result in shown)
    assert np.corrcoef(full, quick)[0, 1] > 0.8


def test_networks_quieten_images_and_previews():
    pytest.importorskip("onnxruntime", reason="no engine to run the networks")
    later = [
        replace(frame, epoch=1, number=k, index=9 + k) for k, frame in enumerate(stream([stack(300.0, seed=2)])[::3])
    ]
    frames = stream([stack(300.0, seed=1)]) + burst_then_idle(later)
    packages = {"network": "structured_illumination_low_light", "preview_network": "structured_illumination_preview"}
    with_networks = run(model(engine="onnxruntime", **packages), frames)
    without = run(model(), frames)
    truth = fine(run(model(), stream([stack(60000.0, seed=3)]))[-1]).image[16:-16, 16:-16].ravel()
    for quiet, plain in zip(with_networks, without, strict=True):
        assert (quiet.super_resolved is None) == (plain.super_resolved is None)
        if quiet.super_resolved is None:
            continue
        likeness = [np.corrcoef(fine(each).image[16:-16, 16:-16].ravel(), truth)[0, 1] for each in (quiet, plain)]
        assert likeness[0] > likeness[1] + 0.01
