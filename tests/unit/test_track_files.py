"""Tracks as files of other programs, opened by readers that are not ours: equal numbers, and the rules of each form."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from track_helpers import FRAMES, TRUE, place

from smartscope.errors import InputError
from smartscope.track_files import ctc
from smartscope.track_files.ctc import drawn
from smartscope.track_files.forms import TRACK_FORMATS, convert_tracks
from smartscope.track_files.graph import graph_of
from smartscope.track_files.reading import read_tracks
from smartscope.track_files.table import UNKNOWN_RADIUS_PX

PIXEL_UM, INTERVAL_S, SHAPE = 0.25, 2.0, (32, 48)
Row = tuple[int, int, float, float, int]
STORY: list[Row] = [
    (frame, track, *place(track, frame), mother)
    for track, (mother, frames) in TRUE.items()
    for frame in range(FRAMES)
    if frame in frames
]


def written(folder: Path, rows: Sequence[Row], **more: Sequence[float]) -> Path:
    """A CSV as ``process track`` writes it, with further columns carried through."""
    path = folder / "tracks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "track_id", "x_px", "y_px", "parent_id", *more])
        writer.writerows((*row, *(column[n] for column in more.values())) for n, row in enumerate(rows))
    return path


@pytest.fixture
def story(tmp_path: Path) -> Path:
    sizes = [1.5 + 0.1 * n for n in range(len(STORY))]
    return written(tmp_path, STORY, size_px=sizes, intensity=[100.0 * s for s in sizes], label=[1] * len(sizes))


def export(source: Path, form: str, **changes: Any) -> Path:
    known = {"shape": SHAPE, "pixel_size_um": PIXEL_UM, "interval_s": INTERVAL_S, **changes}
    done = convert_tracks(source, form, source.with_name(TRACK_FORMATS[form][0]), **known)
    assert done.line.endswith(f"{FRAMES} frames")
    return done.path


# ---------------------------------------------------------------- TrackMate

EXPECTED_HEAD = [
    "LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS,VISIBILITY,MANUAL_SPOT_COLOR",
    "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,Radius,Visibility,Manual spot color",
    "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,R,Visibility,Spot color",
    ",,,(quality),(micron),(micron),(micron),(sec),,(micron),,",
]
"""As TrackMate 7 writes it."""


def test_trackmate_has_its_own_four_lines_of_header(story: Path) -> None:
    lines = export(story, "trackmate").read_text().splitlines()
    for line, expected in zip(lines, EXPECTED_HEAD, strict=False):
        assert line.split(",")[:12] == expected.split(",")
    edges = story.with_name("trackmate_edges.csv").read_text().splitlines()
    assert edges[0].split(",")[:4] == ["LABEL", "TRACK_ID", "SPOT_SOURCE_ID", "SPOT_TARGET_ID"]
    assert edges[3] == ",,,,(micron/sec),(micron),(sec)"
    assert len({line.count(",") for line in edges[:4]}) == 1


def test_trackmate_in_pandas_has_equal_numbers(story: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    spots = pandas.read_csv(export(story, "trackmate"), skiprows=[1, 2, 3], index_col="ID")
    rows = sorted(STORY)
    assert spots.TRACK_ID.tolist() == [track for _, track, *_ in rows]
    assert spots.FRAME.tolist() == [frame for frame, *_ in rows]
    np.testing.assert_allclose(spots.POSITION_X, [PIXEL_UM * x for _, _, x, _, _ in rows], atol=1e-6)
    np.testing.assert_allclose(spots.POSITION_Y, [PIXEL_UM * y for _, _, _, y, _ in rows], atol=1e-6)
    np.testing.assert_allclose(spots.POSITION_T, [INTERVAL_S * frame for frame, *_ in rows])
    np.testing.assert_allclose(spots.TOTAL_INTENSITY_CH1, 100 * spots.RADIUS / PIXEL_UM, rtol=1e-5)
    assert spots.PARENT_TRACK_ID.fillna(-1).tolist() == [mother for *_, mother in rows]
    edges = pandas.read_csv(story.with_name("trackmate_edges.csv"), skiprows=[1, 2, 3])
    source, target = spots.loc[edges.SPOT_SOURCE_ID], spots.loc[edges.SPOT_TARGET_ID]
    assert (source.FRAME.to_numpy() < target.FRAME.to_numpy()).all()
    moved = np.hypot(
        target.POSITION_X.to_numpy() - source.POSITION_X.to_numpy(),
        target.POSITION_Y.to_numpy() - source.POSITION_Y.to_numpy(),
    )
    np.testing.assert_allclose(edges.DISPLACEMENT, moved, atol=2e-6)
    across = source.TRACK_ID.to_numpy() != target.TRACK_ID.to_numpy()
    assert list(zip(source.TRACK_ID[across], target.TRACK_ID[across], strict=True)) == [(1, 2), (1, 3)]
    assert len(edges) == len(STORY) - 2  # all but the first sightings of 1 and 4 follow from one


def test_without_a_pixel_size_places_are_pixels_and_times_frames(story: Path) -> None:
    lines = export(story, "trackmate", pixel_size_um=None).read_text().splitlines()
    assert lines[3].startswith(",,,(quality),(pixel),(pixel),(pixel),(frame),,(pixel)")
    last = lines[-1].split(",")
    assert (float(last[4]), float(last[7])) == (place(4, FRAMES - 1)[0], FRAMES - 1)


# ---------------------------------------------------------------- GEFF


def test_geff_is_what_its_own_package_calls_valid(story: Path) -> None:
    pytest.importorskip("geff", reason="geff is not installed")
    core, data, structure = (
        importlib.import_module(name) for name in ("geff.core_io", "geff.validate.data", "geff.validate.structure")
    )
    path = export(story, "geff")
    structure.validate_structure(path)
    graph = core.read_to_memory(path)
    data.validate_data(graph, data.ValidationConfig(graph=True, sphere=True, lineage=True, tracklet=True))
    props = {name: prop["values"] for name, prop in graph["node_props"].items()}
    rows = sorted(STORY)
    assert props["track_id"].tolist() == [track for _, track, *_ in rows]
    np.testing.assert_array_equal(props["t"], [INTERVAL_S * frame for frame, *_ in rows])
    np.testing.assert_array_equal(props["x"], [PIXEL_UM * x for _, _, x, _, _ in rows])
    np.testing.assert_array_equal(props["y"], [PIXEL_UM * y for _, _, _, y, _ in rows])
    families = dict(zip(props["track_id"], props["lineage"], strict=True))
    assert families[1] == families[2] == families[3] != families[4]
    axes = [(axis.name, axis.unit, axis.min, axis.max) for axis in graph["metadata"].axes]
    assert axes[0] == ("t", "second", 0.0, INTERVAL_S * (FRAMES - 1))
    assert [axis[:2] for axis in axes[1:]] == [("y", "micrometer"), ("x", "micrometer")]
    edges = {tuple(pair) for pair in graph["edge_ids"].tolist()}
    assert edges == {tuple(pair) for pair in graph_of(read_tracks(story)).links.tolist()}


def test_geff_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("geff", reason="geff is not installed")
    done = convert_tracks(written(tmp_path, []), "geff", tmp_path / "none.geff")
    importlib.import_module("geff.validate.structure").validate_structure(done.path)
    assert done.line.endswith("none.geff: 0 tracks, 0 sightings in 0 frames")


# ---------------------------------------------------------------- Cell Tracking Challenge


def check_rules(folder: Path) -> tuple[dict[int, tuple[int, int, int]], list[np.ndarray]]:
    """The challenge's rules, from its text alone; label → (first, last, parent), and the masks."""
    lines = [tuple(map(int, line.split())) for line in (folder / "res_track.txt").read_text().splitlines()]
    tracks = {label: (first, last, parent) for label, first, last, parent in lines}
    masks = [tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))]
    assert len(tracks) == len(lines)
    assert all(mask.dtype == np.uint16 and mask.shape == masks[0].shape for mask in masks)
    seen = [set(np.unique(mask).tolist()) - {0} for mask in masks]
    for label, (first, last, parent) in tracks.items():
        assert label > 0
        assert [n for n, there in enumerate(seen) if label in there] == list(range(first, last + 1))
        assert parent == 0 or tracks[parent][1] < first
    assert set().union(*seen) == set(tracks)
    return tracks, masks


def test_ctc_keeps_the_rules_and_the_places(story: Path) -> None:
    folder = export(story, "ctc")
    tracks, masks = check_rules(folder)
    assert len(masks) == FRAMES
    assert masks[0].shape == SHAPE
    # 1 until it divides, 4 until it is lost; the daughters; 4 again
    assert sorted(tracks.values()) == [(0, 3, 0), (0, 4, 0), (5, 11, 1), (5, 11, 1), (6, 11, 2)]
    assert tracks[1] == (0, 4, 0)
    for frame, _, x, y, _ in STORY:
        assert masks[frame][round(y), round(x)] > 0
    for frame, mask in enumerate(masks):
        assert len(np.unique(mask)) - 1 == sum(row[0] == frame for row in STORY)
    table = read_tracks(story, shape=SHAPE)
    areas = [np.count_nonzero(mask) for mask in masks]
    expected = [float(np.pi * (table.radius_px[table.frame == frame] ** 2).sum()) for frame in range(FRAMES)]
    np.testing.assert_allclose(areas, expected, rtol=0.25)
    assert (folder / "frames.csv").read_text().splitlines()[3] == "2,2,4"


def test_the_challenge_s_own_checks_have_no_complaint(story: Path) -> None:
    pytest.importorskip("ctc_metrics", reason="py-ctcmetrics is not installed")
    validate = importlib.import_module("ctc_metrics.scripts.validate").validate_sequence
    assert validate(str(export(story, "ctc")), threads=1) == {"Valid": 1}


def test_a_mother_that_outlives_her_daughter_goes_on_under_a_new_label(tmp_path: Path) -> None:
    rows = [(frame, 7, 10.0, 10.0, -1) for frame in range(FRAMES)]
    rows += [(frame, 9, 20.0, 10.0, 7) for frame in range(4, FRAMES)]
    tracks, _ = check_rules(export(written(tmp_path, rows), "ctc"))
    assert tracks == {1: (0, 3, 0), 2: (4, 11, 1), 3: (4, 11, 1)}


def test_mothers_that_cannot_be_are_none(tmp_path: Path) -> None:
    rows = [(0, 1, 5.0, 5.0, 1), (1, 2, 9.0, 9.0, 3), (1, 3, 20.0, 9.0, -1), (FRAMES - 1, 4, 3.0, 3.0, 77)]
    tracks, _ = check_rules(export(written(tmp_path, rows), "ctc"))
    assert [parent for *_, parent in tracks.values()] == [0] * 4


def test_objects_on_top_of_each_other_each_have_a_pixel() -> None:
    x, y, radius = np.full(5, 3.2), np.full(5, 2.9), np.array([4.0, 0.1, 0.1, 0.1, 0.1])
    mask = drawn((6, 8), x, y, radius, np.arange(1, 6))
    assert set(np.unique(mask)) == {0, 1, 2, 3, 4, 5}
    full = drawn((2, 2), np.zeros(4), np.zeros(4), np.full(4, 3.0), np.arange(1, 5))
    assert sorted(full.ravel()) == [1, 2, 3, 4]
    with pytest.raises(InputError, match="5 objects in 2 x 2 pixels"):
        drawn((2, 2), np.zeros(5), np.zeros(5), np.ones(5), np.arange(1, 6))


def test_what_lies_beyond_the_field_is_drawn_at_its_edge() -> None:
    mask = drawn((6, 8), np.array([-3.0, 40.0]), np.array([2.0, 5.4]), np.ones(2), np.array([1, 2]))
    assert mask[2, 0] == 1
    assert mask[5, 7] == 2


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Tracks with gaps and any mothers, sane or not."""
    rows: list[Row] = []
    for track in range(draw(st.integers(0, 6))):
        frames = draw(st.sets(st.integers(0, FRAMES - 1), min_size=1))
        mother = draw(st.integers(-1, 7))
        x, y = draw(st.floats(-2, 50)), draw(st.floats(-2, 34))
        rows += [(frame, track, x, y, mother) for frame in sorted(frames)]
    return rows


@settings(max_examples=40, deadline=None)
@given(histories())
def test_any_history_keeps_the_rules(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("any")
    source = written(folder, rows)
    done = convert_tracks(source, "ctc", folder / "ctc", shape=SHAPE, frames=FRAMES)
    tracks, masks = check_rules(done.path)
    for frame, mask in enumerate(masks):
        assert len(np.unique(mask)) - 1 == sum(row[0] == frame for row in rows)
    graph = graph_of(read_tracks(source))
    assert (np.bincount(graph.links[:, 1], minlength=1) <= 1).all()
    assert len(set(graph.lineages())) == len(rows) - len(graph.links)  # a forest
    assert len(tracks) >= len(set(graph.tracklets()))


def test_the_example_of_the_page_works(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(story.parent)
    page = (Path(__file__).parents[2] / "docs" / "track_files.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/track_files.md", "exec"), {})
    tracks, masks = check_rules(story.parent / "01_RES")
    assert (len(tracks), len(masks), masks[0].shape) == (5, 100, (512, 512))
    assert (story.parent / "spots_edges.csv").is_file()


# ---------------------------------------------------------------- what cannot be


def test_a_table_of_four_columns_is_enough_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("track_id,frame,y_px,x_px\n3,1,4.5,2.5\n3,0,4,2\n3,2,")
    table = read_tracks(path)
    assert (table.frame.tolist(), table.x_px.tolist(), table.shape) == ([0, 1], [2.0, 2.5], (6, 4))
    assert table.radius_px.tolist() == [UNKNOWN_RADIUS_PX] * 2
    assert read_tracks(written(tmp_path, [(0, 1, 2.0, 3.0, -1)], size_px=[2.0])).radius_px == pytest.approx(8**0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,x_px,y_px\n", "has no column track_id"),
        ("", "has no column frame, track_id, x_px, y_px"),
        ("frame,track_id,x_px,y_px\n0,1,a,2\n", "is no table of numbers: could not convert string to float"),
        ("frame,track_id,x_px,y_px\n2,1,1,2\n2,1,3,4\n", "track 1 is in frame 2 twice"),
        ("frame,track_id,x_px,y_px\n2,1,nan,2\n", "a place or a number is not finite"),
        ("frame,track_id,x_px,y_px\n-1,1,2,2\n", "a frame is before 0"),
    ],
)
def test_a_table_that_makes_no_sense_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        convert_tracks(path, "trackmate", tmp_path / "out.csv")
    assert [item.name for item in tmp_path.iterdir()] == ["wrong.csv"]


def test_what_cannot_be_written_is_named(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no format 'excel'.*trackmate, geff, ctc"):
        convert_tracks(story, "excel", tmp_path / "out")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        convert_tracks(tmp_path / "none.csv", "ctc", tmp_path / "out")
    with pytest.raises(InputError, match="output and input are the same file"):
        convert_tracks(story, "trackmate", story)
    export(story, "ctc")
    with pytest.raises(InputError, match="exists already"):
        export(story, "ctc")
    for form in TRACK_FORMATS:
        with pytest.raises(InputError, match="cannot be written"):
            convert_tracks(story, form, tmp_path / "nowhere" / "out")
    (tmp_path / "empty").mkdir()
    convert_tracks(story, "ctc", tmp_path / "empty")
    monkeypatch.setattr(ctc, "MOST_LABELS", 4)
    with pytest.raises(InputError, match="5 pieces of tracks do not fit into 16-bit masks"):
        convert_tracks(story, "ctc", tmp_path / "out")
    assert not list(tmp_path.glob(".*.part"))
