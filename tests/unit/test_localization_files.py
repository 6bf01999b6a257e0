"""Tables of single molecules on disk: bit for bit in our own file, and as ThunderSTORM and Picasso expect them."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from localization_helpers import molecules, same_bits, tables

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.localization_files import picasso, records, thunderstorm
from smartscope.localization_files.picasso import picasso_file, read_picasso
from smartscope.localization_files.records import RecordWriter, localizations_of, read_records, table_of
from smartscope.localization_files.table import MoleculeTable, joined, of_frame, tells_height
from smartscope.localization_files.thunderstorm import ThunderStormWriter, read_thunderstorm
from smartscope.result import Localizations, empty_localizations

PIXEL_NM = 107.0
ROI = Roi(0, 0, 64, 48)
FACTS = {"Pixelsize": PIXEL_NM}


@pytest.fixture(scope="module")
def h5py() -> Any:
    return pytest.importorskip("h5py", reason="Picasso's files need h5py")


def write_csv(path: Path, *several: MoleculeTable) -> ThunderStormWriter:
    with ThunderStormWriter(path, PIXEL_NM) as writer:
        for table in several:
            writer.append(table)
    return writer


def write_picasso(path: Path, *several: MoleculeTable, frames: int = 0) -> None:
    with picasso_file(path, path.with_suffix(".npy"), (48, 64), frames, FACTS) as writer:
        for table in several:
            writer.append(table)


# ----------------------------------------------------------------------------------------------------------- records


@given(tables(finite=False))
def test_records_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, table: MoleculeTable) -> None:
    path = tmp_path_factory.mktemp("records") / "a.npy"
    writer = RecordWriter(path)
    assert writer.append(7, Roi(3, 5, 64, 48), table.found) == (0, len(table))
    assert writer.append(8, ROI, molecules(2)) == (len(table), 2)
    found = read_records(path)
    writer.close()
    assert same_bits(localizations_of(found[: len(table)]), table.found)
    assert same_bits(localizations_of(found[len(table) :]), molecules(2))
    assert found["frame"].tolist() == [7] * len(table) + [8, 8]
    assert found["roi_x"].tolist() == [3] * len(table) + [0, 0]


def test_records_are_a_file_of_numpy_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    writer = RecordWriter(path)
    assert len(np.load(path)) == len(read_records(path)) == 0
    for frame in range(12):
        writer.append(frame, ROI, molecules(frame, frame))
        opened = np.load(path, mmap_mode="r")  # as after kill -9: the writer is still open
        assert len(opened) == writer.written == sum(range(frame + 1))
        np.testing.assert_array_equal(opened["x_px"][-frame:] if frame else [], molecules(frame, frame).x_px)
    writer.close()


def test_the_header_keeps_its_length_as_the_table_grows() -> None:
    assert len(records._header(0)) == len(records._header(10**12))


def test_records_whose_last_were_lost_with_the_power(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    writer = RecordWriter(path)
    writer.append(0, ROI, molecules(5))
    writer.close()
    os.truncate(path, path.stat().st_size - 70)
    found = localizations_of(read_records(path))
    np.testing.assert_array_equal(found.photons, molecules(5).photons[:3])


def test_a_full_disk_leaves_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    writer = RecordWriter(path)
    writer.append(0, ROI, molecules(5))

    class Full:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 100

        def seek(self, place: int) -> None:
            self.file.seek(place)

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            taken, self.left = data[: self.left], 0
            return int(self.file.write(taken))

    file, writer._file = writer._file, Full(writer._file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left"):
        writer.append(1, ROI, molecules(9))
    assert len(read_records(path)) == 5
    writer._file = file
    assert writer.append(2, ROI, molecules(2, 2)) == (5, 2)
    writer.close()
    assert same_bits(localizations_of(read_records(path)[5:]), molecules(2, 2))


def test_what_is_no_table_of_molecules_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.npy: cannot be read: No such file"):
        read_records(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_text("frame,x")
    with pytest.raises(InputError, match=r"is no table of molecules.*give results/localizations\.npy"):
        read_records(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.zeros(3, [("frame", "<u4")]))
    with pytest.raises(InputError, match="has no background, misfit"):
        read_records(tmp_path / "c.npy")


def test_another_region_of_interest_keeps_the_places(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "a.npy")
    found = molecules(4)
    writer.append(0, Roi(10, 20, 64, 48), found)
    writer.append(1, Roi(12, 15, 64, 48), found)
    writer.close()
    table = table_of(read_records(tmp_path / "a.npy"), (10, 20))
    np.testing.assert_array_equal(table.found.x_px, np.concatenate([found.x_px, found.x_px + 2]))
    np.testing.assert_array_equal(table.found.y_px, np.concatenate([found.y_px, found.y_px - 5]))
    assert table.frame.tolist() == [0] * 4 + [1] * 4


# ------------------------------------------------------------------------------------------------------ ThunderSTORM


@given(tables())
def test_thunderstorm_to_printed_precision(tmp_path_factory: pytest.TempPathFactory, table: MoleculeTable) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(path, table)
    back, heights = read_thunderstorm(path, PIXEL_NM), tells_height(table.found)
    np.testing.assert_array_equal(back.frame, table.frame)
    mine, theirs = table.found, back.found
    half_nm, half_px = 5.1e-4, 5.1e-4 / PIXEL_NM + 4e-6  # and what float32 holds of a place
    for name in ("x_px", "y_px"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(mine, name), atol=half_px, rtol=0)
    for name in ("z_nm", "photons", "background", "z_error_nm"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(mine, name), atol=half_nm, rtol=1e-7)
    if heights:
        for name in ("sigma_x_px", "sigma_y_px"):
            np.testing.assert_allclose(getattr(theirs, name), getattr(mine, name), atol=half_px, rtol=0)
    else:
        middle = np.sqrt(mine.sigma_x_px.astype(float) * mine.sigma_y_px)
        np.testing.assert_allclose(theirs.sigma_x_px, middle, atol=half_px, rtol=0)
    error = np.sqrt((mine.x_error_px.astype(float) ** 2 + mine.y_error_px.astype(float) ** 2) / 2)
    np.testing.assert_allclose(theirs.x_error_px, error, atol=half_px, rtol=0)
    assert (theirs.probability == 1).all()


@pytest.mark.parametrize("heights", [False, True])
def test_columns_units_and_origin_by_an_independent_reader(tmp_path: Path, heights: bool) -> None:
    """The centre of the top-left pixel is half a pixel from its outer corner; frames count from 1."""
    found = molecules(3, heights=heights)
    x_px = np.array([0.0, 10.25, -0.5], np.float32)
    write_csv(tmp_path / "a.csv", of_frame(0, replace(found, x_px=x_px)), of_frame(4, found))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert file.readline().startswith('"id","frame","x [nm]","y [nm]",')
        file.seek(0)
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (thunderstorm.WITH_HEIGHT if heights else thunderstorm.FLAT)
    assert [(row["id"], row["frame"]) for row in rows] == [(str(n), "1" if n <= 3 else "5") for n in range(1, 7)]
    assert [float(row["x [nm]"]) for row in rows[:3]] == [53.5, 1150.25, 0.0]
    for n, row in enumerate(rows[3:]):
        assert float(row["y [nm]"]) == pytest.approx((found.y_px[n] + 0.5) * PIXEL_NM, abs=6e-4)
        assert float(row["intensity [photon]"]) == pytest.approx(found.photons[n], abs=6e-4)
        assert float(row["offset [photon]"]) == pytest.approx(found.background[n], abs=6e-4)
        assert float(row["bkgstd [photon]"]) == pytest.approx(found.background[n] ** 0.5, abs=6e-4)
        error_nm = ((found.x_error_px[n] ** 2 + found.y_error_px[n] ** 2) / 2) ** 0.5 * PIXEL_NM
        assert float(row["uncertainty_xy [nm]"]) == pytest.approx(error_nm, abs=1e-3)
        if heights:
            assert float(row["z [nm]"]) == pytest.approx(found.z_nm[n], abs=6e-4)
            assert float(row["sigma1 [nm]"]) == pytest.approx(found.sigma_x_px[n] * PIXEL_NM, abs=6e-4)
            assert float(row["sigma2 [nm]"]) == pytest.approx(found.sigma_y_px[n] * PIXEL_NM, abs=6e-4)
            assert float(row["uncertainty_z [nm]"]) == pytest.approx(found.z_error_nm[n], abs=6e-4)
        else:
            assert float(row["sigma [nm]"]) == pytest.approx(found.sigma_x_px[n] * PIXEL_NM, abs=6e-4)


def test_a_file_is_whole_after_each_append(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with ThunderStormWriter(path, PIXEL_NM) as writer:
        assert len(read_thunderstorm(path, PIXEL_NM)) == 0
        writer.append(of_frame(0, empty_localizations()))
        writer.append(of_frame(1, molecules(3, heights=True)))
        assert len(read_thunderstorm(path, PIXEL_NM)) == 3
        writer.append(of_frame(2, molecules(2)))  # flat ones find their place in a table with heights
        assert read_thunderstorm(path, PIXEL_NM).frame.tolist() == [1, 1, 1, 2, 2]


def test_numbers_that_say_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    found = molecules(6)
    found.x_px[1], found.photons[2], found.x_error_px[3] = np.nan, np.inf, 1e30
    found.background[4] = -0.5
    writer = write_csv(tmp_path / "a.csv", of_frame(0, found))
    assert (writer.written, writer.left_out) == (3, 3)
    back = read_thunderstorm(tmp_path / "a.csv", PIXEL_NM).found
    np.testing.assert_allclose(back.x_px, found.x_px[[0, 4, 5]], atol=1e-4)
    assert back.background[1] == -0.5


def test_tables_of_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        '﻿"frame","y [nm]","x [nm]","uncertainty [nm]","chi2"\n\n2,107,53.5,10.7,1e-3\n3,NaN,1,1,1\n4,53.5,107,21.4,1',
        encoding="utf-8",
    )
    table = read_thunderstorm(path, PIXEL_NM)
    assert table.frame.tolist() == [1, 3]
    np.testing.assert_allclose(table.found.x_px, [0, 0.5])
    np.testing.assert_allclose(table.found.y_px, [0.5, 0])
    np.testing.assert_allclose(table.found.x_error_px, [0.1, 0.2], rtol=1e-6)
    assert table.found.photons.tolist() == [0, 0]


def test_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", of_frame(0, molecules(3)))
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text[:-30])
    assert len(read_thunderstorm(tmp_path / "a.csv", PIXEL_NM)) == 2


def test_what_is_no_such_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_thunderstorm(tmp_path / "no.csv", PIXEL_NM)
    (tmp_path / "a.csv").write_text("frame,x_px\n1,2\n")
    with pytest.raises(InputError, match=r"has no column x \[nm\], y \[nm\].*allowed: id, frame"):
        read_thunderstorm(tmp_path / "a.csv", PIXEL_NM)
    (tmp_path / "a.csv").write_text("frame,x [nm],y [nm]\n1,2,three\n")
    with pytest.raises(InputError, match=r"is no table of numbers: .*three"):
        read_thunderstorm(tmp_path / "a.csv", PIXEL_NM)
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is no table of numbers"):
        read_thunderstorm(tmp_path / "a.csv", PIXEL_NM)


# ----------------------------------------------------------------------------------------------------------- Picasso


@given(table=tables())
def test_picasso_exactly(h5py: Any, tmp_path_factory: pytest.TempPathFactory, table: MoleculeTable) -> None:
    path = tmp_path_factory.mktemp("picasso") / "a.hdf5"
    write_picasso(path, table)
    back, facts = read_picasso(path)
    np.testing.assert_array_equal(back.frame, table.frame)
    assert same_bits(back.found, table.found)
    assert facts["Frames"] == max(table.frame, default=-1) + 1
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.hdf5", "a.yaml"]


@pytest.mark.parametrize("heights", [False, True])
def test_fields_as_h5py_and_yaml_see_them(h5py: Any, tmp_path: Path, heights: bool) -> None:
    found = molecules(5, heights=heights)
    found.x_px[0], found.x_px[1] = 70.6, -0.5  # beyond the movie as it was told
    write_picasso(tmp_path / "a.hdf5", of_frame(0, found), of_frame(9, found), frames=4)
    with h5py.File(tmp_path / "a.hdf5") as file:
        locs, embedded = file["locs"][:], json.loads(file["metadata"][()])
    assert locs.dtype["frame"] == np.dtype("<u4")
    assert locs["frame"].tolist() == [0] * 5 + [9] * 5
    np.testing.assert_array_equal(locs["x"][:5], found.x_px)  # origin: the pixel's centre, as ours
    np.testing.assert_array_equal(locs["lpx"][:5], found.x_error_px)
    np.testing.assert_array_equal(locs["bg"][5:], found.background)
    assert ("z" in locs.dtype.names) == ("lpz" in locs.dtype.names) == ("ellipticity" in locs.dtype.names) == heights
    if heights:
        long, short = np.maximum(found.sigma_x_px, found.sigma_y_px), np.minimum(found.sigma_x_px, found.sigma_y_px)
        np.testing.assert_allclose(locs["ellipticity"][:5], (long - short) / long, rtol=1e-6)
    documents = list(yaml.safe_load_all((tmp_path / "a.yaml").read_text()))
    assert documents == embedded
    assert {"Frames": 10, "Height": 48, "Width": 71, "Pixelsize": PIXEL_NM}.items() <= documents[0].items()


def test_a_table_that_lost_its_yaml_is_read(h5py: Any, tmp_path: Path) -> None:
    write_picasso(tmp_path / "a.hdf5", of_frame(0, molecules(2)))
    told = read_picasso(tmp_path / "a.hdf5")[1]
    (tmp_path / "a.yaml").unlink()
    assert read_picasso(tmp_path / "a.hdf5")[1] == told


def test_picasso_grows_in_blocks(h5py: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picasso, "BLOCK", 10)
    several = [of_frame(n, molecules(4, n)) for n in range(9)]
    with picasso_file(tmp_path / "a.hdf5", tmp_path / "a.npy", (48, 64), 9, FACTS) as writer:
        for n, table in enumerate(several):
            writer.append(table)
            assert writer.written == 12 * ((n + 1) // 3)
        writer.flush()
        assert writer.written == 36
    assert same_bits(read_picasso(tmp_path / "a.hdf5")[0].found, joined(several).found)


def test_picasso_takes_finite_numbers_only(h5py: Any, tmp_path: Path) -> None:
    found = molecules(3)
    found.y_px[1] = np.inf
    nothing = replace(found, x_px=found.x_px * np.nan)
    with picasso_file(tmp_path / "a.hdf5", tmp_path / "a.npy", (48, 64), 1, FACTS) as writer:
        writer.append(of_frame(0, nothing))
        writer.flush()
        writer.append(of_frame(0, found))
    assert (writer.written, writer.left_out) == (2, 4)


def test_a_spline_has_no_widths_and_no_ellipticity(h5py: Any, tmp_path: Path) -> None:
    found = molecules(2, heights=True)
    found.sigma_x_px[:] = found.sigma_y_px[:] = 0
    write_picasso(tmp_path / "a.hdf5", of_frame(0, found))
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["locs"]["ellipticity"].tolist() == [0, 0]


def test_nothing_half_written_is_left(h5py: Any, tmp_path: Path) -> None:
    def fail() -> None:
        with picasso_file(tmp_path / "a.hdf5", tmp_path / "a.npy", (4, 4), 1, FACTS) as writer:
            writer.append(of_frame(0, molecules(3)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written_are_named(h5py: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"opens \.hdf5 files only; remedy: name it a\.hdf5"):
        write_picasso(tmp_path / "a.csv", of_frame(0, molecules(1)))
    with pytest.raises(InputError, match="cannot be written"):
        write_picasso(tmp_path / "none" / "a.hdf5", of_frame(0, molecules(1)))


def test_without_h5py_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match=r"need h5py; remedy: pip install 'smartscope\[picasso\]'"):
        read_picasso(tmp_path / "a.hdf5")


def test_what_is_no_table_of_picasso_is_named(h5py: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no table of Picasso: .*No such file"):
        read_picasso(tmp_path / "no.hdf5")
    (tmp_path / "a.hdf5").write_text("text")
    with pytest.raises(InputError, match="is no table of Picasso"):
        read_picasso(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["locs"] = np.zeros(3, [("frame", "<u4"), ("x", "<f4"), ("y", "<f4")])
    with pytest.raises(InputError, match="its locs have no lpx, lpy"):
        read_picasso(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["locs"] = np.zeros(3, [(name, "<f4") for name in picasso.NEEDED])
    with pytest.raises(InputError, match="has no YAML beside it"):
        read_picasso(tmp_path / "a.hdf5")
    (tmp_path / "a.yaml").write_text("Width: 3\n---\nWidth: 4\n")
    table, facts = read_picasso(tmp_path / "a.hdf5")
    assert (facts, table.found.probability.tolist()) == ({"Width": 4}, [1, 1, 1])
    (tmp_path / "a.yaml").write_text("- 3\n")
    with pytest.raises(InputError, match="has no YAML beside it"):
        read_picasso(tmp_path / "a.hdf5")
    (tmp_path / "a.yaml").write_text("- 3\n: [")
    with pytest.raises(InputError, match="is no table of Picasso"):
        read_picasso(tmp_path / "a.hdf5")


@pytest.mark.data
def test_a_table_that_picasso_made(h5py: Any, data: Path) -> None:
    table, facts = read_picasso(data / "picasso" / "testdata_locs.hdf5")
    assert (len(table), facts["Frames"], facts["Width"], facts["Pixelsize"]) == (564, 1000, 32, 130)
    assert table.frame[0] == 11
    assert table.found.x_px[0] == np.float32(5.618027)
    assert 0 < np.median(table.found.x_error_px) < 0.1


@pytest.mark.data
def test_a_ground_truth_of_a_challenge_is_no_thunderstorm_table(data: Path) -> None:
    with pytest.raises(InputError, match=r"has no column x \[nm\], y \[nm\]"):
        read_thunderstorm(data / "thunderstorm" / "tubulins1_00020.csv", 100.0)


@pytest.mark.parametrize("heights", [False, True])
def test_picasso_itself_opens_both(h5py: Any, tmp_path: Path, heights: bool) -> None:
    io = pytest.importorskip("picasso.io", reason="needs picassosr")
    found = molecules(40, heights=heights)
    several = [of_frame(0, found), of_frame(3, molecules(5, 1, heights=heights))]
    write_picasso(tmp_path / "a.hdf5", *several)
    locs, info = io.load_locs(str(tmp_path / "a.hdf5"))
    together = joined(several)
    assert len(locs) == 45
    assert info[0]["Pixelsize"] == PIXEL_NM
    for theirs, ours in picasso.FIELDS.items():
        np.testing.assert_array_equal(locs[theirs].to_numpy(), getattr(together.found, ours))
    np.testing.assert_array_equal(locs["frame"].to_numpy(), together.frame)
    assert ("z" in locs.columns) == heights

    write_csv(tmp_path / "b.csv", *several)
    imported, _ = io.import_ts(str(tmp_path / "b.csv"), PIXEL_NM)
    np.testing.assert_allclose(imported["x"], together.found.x_px + 0.5, atol=1e-4)  # it keeps the corner as origin
    np.testing.assert_allclose(imported["lpx"], _lateral_error_px(together.found), atol=1e-4)
    np.testing.assert_array_equal(imported["frame"], together.frame)
    if heights:
        np.testing.assert_allclose(imported["z"], together.found.z_nm, atol=1e-3)

    io.export_thunderstorm(str(tmp_path / "c.csv"), locs, info)
    theirs_as_ours = read_thunderstorm(tmp_path / "c.csv", PIXEL_NM)
    np.testing.assert_allclose(theirs_as_ours.found.x_px, together.found.x_px - 0.5, atol=1e-4)


def _lateral_error_px(found: Localizations) -> Any:
    return np.sqrt((found.x_error_px.astype(float) ** 2 + found.y_error_px.astype(float) ** 2) / 2)
