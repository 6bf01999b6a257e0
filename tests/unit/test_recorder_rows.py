"""Every noun that travels survives a trip through a line of JSON unchanged."""

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import useq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from localization_helpers import molecules

from smartscope import command as commands
from smartscope.command import Command
from smartscope.decision import Decision
from smartscope.errors import InputError
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import Delay, DoseState
from smartscope.recorder import rows
from smartscope.recorder.jsonl import to_line
from smartscope.result import (
    Detections,
    Events,
    Result,
    Revisions,
    Settled,
    StageTiming,
    Tracks,
    columns_of,
)

numbers = st.floats(allow_nan=False)
times = st.integers(0, 2**62)
text = st.text(max_size=12)
rois = st.builds(Roi, *[st.integers(0, 4096)] * 4)
powers = st.dictionaries(text, numbers, max_size=3)
settings = st.builds(Settings, numbers, rois, powers, numbers, numbers, numbers)
certainties = st.dictionaries(text, st.sampled_from(Certainty), max_size=4)
frames = st.builds(
    Frame,
    pixels=st.just(np.ones((2, 3), np.uint16)),
    epoch=st.integers(0, 99),
    number=st.integers(0, 10**7),
    index=st.integers(0, 10**7),
    settings=settings,
    certainty=certainties,
    t_start_ns=times,
    t_end_ns=times,
    t_received_ns=times,
    lost_before=st.integers(0, 99),
)
exposures, places = st.floats(0.1, 1e4), st.floats(-1e4, 1e4)
any_command = st.one_of(
    st.builds(commands.SetExposure, numbers),
    st.builds(commands.SetLight, text, numbers),
    st.builds(commands.MoveStage, numbers, numbers),
    st.builds(commands.MoveFocus, numbers),
    st.builds(commands.SetRoi, rois),
    st.builds(commands.RunAutofocus),
    st.builds(commands.EndRun),
    st.builds(commands.SetPreset, text, text),
    st.builds(
        commands.RunPlan,
        text,
        st.lists(st.builds(useq.MDAEvent, exposure=exposures, z_pos=places)).map(tuple),
        powers,
    ),
)
decisions = st.builds(
    Decision,
    frame=st.integers(-1, 10**6),
    t_ns=times,
    policy=text,
    asked=any_command,
    granted=st.none() | any_command,
    clipped_by=text,
    why=text,
    t_exposure_mid_ns=times,
    t_received_ns=times,
    t_result_ns=times,
    t_applied_ns=times,
    shadow=st.booleans(),
)


@st.composite
def tables(draw: st.DrawFn, kind: type[Any]) -> Any:
    """Columns of equal length, any bit pattern that is a number or not."""
    length = draw(st.integers(0, 6))
    return kind(**{name: draw(hnp.arrays(dtype, length)) for name, dtype in columns_of(kind).items()})


timings = st.lists(st.builds(StageTiming, text, times, times, text, text), max_size=3).map(tuple)
results = st.builds(
    Result,
    frame=frames.map(rows.without_pixels),
    detections=st.none() | tables(Detections),
    tracks=st.none() | tables(Tracks),
    quality=powers,
    trust=st.floats(0, 1),
    why_trust=text,
    timings=timings,
    ready_ns=times,
    image_trust=st.none() | st.floats(0, 1),
    from_image=st.frozensets(text, max_size=3),
    settled=st.none() | st.builds(Settled, st.integers(0, 10**7), tables(Tracks)),
    revisions=st.none() | tables(Revisions),
    events=st.none() | tables(Events),
)


def through_json(row: dict[str, Any]) -> dict[str, Any]:
    """What a strict reader of the file sees."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(to_line(row), parse_constant=refuse)  # type: ignore[no-any-return]


def same_bits(a: Any, b: Any) -> bool:
    """Equal columns, type and signed zeros included; one NaN is as good as another."""
    return all(
        (x := getattr(a, item.name)).dtype == (y := getattr(b, item.name)).dtype
        and np.array_equal(x, y, equal_nan=True)
        and np.array_equal(np.signbit(x[x == x]), np.signbit(y[y == y]))
        for item in fields(a)
    )


@given(settings)
def test_settings(value: Settings) -> None:
    assert rows.settings_from_row(through_json(rows.settings_to_row(value))) == value


@given(frames)
def test_frame_without_its_pixels(value: Frame) -> None:
    back = rows.frame_from_row(through_json(rows.frame_to_row(value)))
    assert back.pixels.shape == (0, 0)
    for item in fields(Frame):
        assert item.name == "pixels" or getattr(back, item.name) == getattr(value, item.name)


@given(any_command)
def test_command(value: Command) -> None:
    row = through_json(rows.command_to_row(value))
    assert row["type"] == type(value).__name__
    assert rows.command_from_row(row) == value


def burst_of(*images: Any) -> commands.RunPlan:
    shown = [useq.MDAEvent(slm_image=useq.SLMImage(data=image), metadata={"pattern": 0}) for image in images]
    return commands.RunPlan("burst", tuple(shown), {"blue": 2.0})


def test_images_of_a_plan_are_named_by_their_hash() -> None:
    image = np.arange(1024 * 1024, dtype=np.uint8).reshape(1024, 1024)
    plan = burst_of(image, image.T, 7)
    row = through_json(rows.command_to_row(plan))
    assert len(to_line(row)) < 1000
    assert row["events"][0]["slm_image"]["data"].startswith("1024x1024 uint8 ")
    assert row["events"][2]["slm_image"]["data"] == 7
    back = rows.command_from_row(row)
    assert back == rows.as_recorded(plan) == rows.as_recorded(rows.as_recorded(plan))
    assert back == rows.as_recorded(burst_of(image.copy(), image.T.copy(), 7))
    assert back != rows.as_recorded(burst_of(image.T, image, 7))
    assert back != plan
    assert rows.as_recorded(commands.SetExposure(2.0)) == commands.SetExposure(2.0)


@given(decisions)
def test_decision_carries_its_latency(value: Decision) -> None:
    row = through_json(rows.decision_to_row(value))
    assert rows.decision_from_row(row) == value
    assert row["latency_ms"] == value.latency_ms


@given(tables(Detections))
def test_detections_bit_for_bit(value: Detections) -> None:
    assert same_bits(rows.columns_from_row(Detections, through_json(rows.columns_to_row(value))), value)


@given(tables(Tracks))
def test_tracks_bit_for_bit(value: Tracks) -> None:
    assert same_bits(rows.columns_from_row(Tracks, through_json(rows.columns_to_row(value))), value)


@given(results)
def test_result(value: Result) -> None:
    row = through_json(rows.result_to_row(value))
    assert row["frame"] == value.frame.index
    assert "context" not in row
    back = rows.result_from_row(row, value.frame)
    for name in ("frame", "quality", "trust", "why_trust", "timings", "ready_ns", "image"):
        assert getattr(back, name) is getattr(value, name) or getattr(back, name) == getattr(value, name)
    for name in ("detections", "tracks", "revisions", "events"):
        mine, theirs = getattr(back, name), getattr(value, name)
        assert mine is theirs is None or same_bits(mine, theirs)
    assert (back.settled is None) == (value.settled is None)
    if back.settled is not None and value.settled is not None:
        assert back.settled.frame == value.settled.frame
        assert same_bits(back.settled.tracks, value.settled.tracks)


@given(tables(Tracks))
def test_columns_that_an_older_version_did_not_write_are_zeros(value: Tracks) -> None:
    row, newer = through_json(rows.columns_to_row(value)), ("steady", "v_error_px_s", "diffusion_px2_s")
    back = rows.columns_from_row(Tracks, {name: column for name, column in row.items() if name not in newer})
    assert same_bits(back, replace(value, **dict.fromkeys(newer, np.zeros(len(value), np.float32))))


def test_a_result_of_a_run_of_before_tracks_were_settled() -> None:
    frame = Frame(np.ones((2, 2), np.uint16), 0, 0, 7, Settings(1.0, Roi(0, 0, 2, 2)), {}, 0, 1, 2)
    row = through_json(rows.result_to_row(Result(frame)))
    assert not {"settled", "revisions", "events"} & set(row)
    back = rows.result_from_row(row, frame)
    assert (back.settled, back.revisions, back.events) == (None, None, None)


@given(st.builds(DoseState, numbers, numbers, numbers, powers), st.builds(Delay, numbers, numbers))
def test_what_a_context_holds(dose: DoseState, delay: Delay) -> None:
    assert rows.dose_from_row(through_json(rows.dose_to_row(dose))) == dose
    assert rows.delay_from_row(through_json(rows.delay_to_row(delay))) == delay


def test_molecules_are_named_not_repeated() -> None:
    frame, found = Frame(np.ones((2, 2), np.uint16), 0, 0, 7, Settings(1.0, Roi(0, 0, 2, 2)), {}, 0, 1, 2), molecules(2)
    row = through_json(rows.result_to_row(Result(frame, localizations=found), molecules=(40, 2)))
    assert row["localizations"] == [40, 2]
    assert rows.result_from_row(row, frame).localizations is None
    assert rows.result_from_row(row, frame, found).localizations is found


def test_context_stands_in_the_row_of_its_result() -> None:
    frame = Frame(np.ones((2, 2), np.uint16), 0, 0, 7, Settings(1.0, Roi(0, 0, 2, 2)), {}, 0, 1, 2)
    row = through_json(rows.result_to_row(Result(frame), {"dose": rows.dose_to_row(DoseState())}))
    assert rows.dose_from_row(row["context"]["dose"]) == DoseState()


def test_command_of_a_later_version_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown command 'SetMagic'.*SetExposure.*remedy"):
        rows.command_from_row({"type": "SetMagic", "power": 1})
