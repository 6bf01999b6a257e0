"""Recorded movies: every kind is read plane by plane, and what is no movie is named."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorstore as ts
import tifffile

from smartscope.config import MicroscopeConfig
from smartscope.errors import InputError
from smartscope_drivers.movies import open_movie
from smartscope_drivers.movies.images import natural
from smartscope_drivers.movies.planes import Axes
from smartscope_drivers.replay import ReplayMicroscope

RANDOM = np.random.default_rng(1)
FRAMES = RANDOM.integers(0, 4000, (5, 12, 20)).astype(np.uint16)


def read(path: Path, channel: int = 0) -> npt.NDArray[Any]:
    """All planes."""
    movie = open_movie(str(path), channel)
    planes = np.array([movie.plane(i) for i in range(len(movie))])
    assert movie.settings(0) is None
    assert planes.shape[1:] == movie.shape
    movie.close()
    return planes


def write_zarr(path: Path, data: npt.NDArray[Any], version: int, axes: str) -> None:
    """An OME-Zarr image of one resolution level."""
    import json

    driver = {2: "zarr", 3: "zarr3"}[version]
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path / "0")}}
    store = ts.open(spec, create=True, dtype=ts.dtype(data.dtype), shape=data.shape).result()
    store[...] = data
    units = {"t": {"unit": "second"}}
    scale = [0.25 if axis == "t" else 1.0 for axis in axes]
    multiscales = [
        {
            "axes": [{"name": axis, **units.get(axis, {})} for axis in axes],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
        }
    ]
    if version == 3:
        document = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"ome": {"version": "0.5", "multiscales": multiscales}},
        }
        (path / "zarr.json").write_text(json.dumps(document))
    else:
        (path / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tifffile.imwrite(path, FRAMES),
        lambda path: tifffile.imwrite(path, FRAMES, compression="zlib"),
        lambda path: tifffile.imwrite(path, FRAMES, imagej=True),
        lambda path: tifffile.imwrite(path, FRAMES, imagej=True, truncate=True),  # one page for all, as ImageJ writes
        lambda path: tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "TYX"}),
        lambda path: tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "ZYX"}),
    ],
    ids=["pages", "compressed", "imagej", "imagej in one piece", "ome time", "ome z"],
)
def test_tiff(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "movie.tif")
    np.testing.assert_array_equal(read(tmp_path / "movie.tif"), FRAMES)


def test_channels_and_colours(tmp_path: Path) -> None:
    two = np.stack([FRAMES, FRAMES + 1], axis=1)
    tifffile.imwrite(tmp_path / "c.ome.tif", two, ome=True, metadata={"axes": "TCYX"})
    np.testing.assert_array_equal(read(tmp_path / "c.ome.tif", channel=1), FRAMES + 1)
    tifffile.imwrite(tmp_path / "ij.tif", two, imagej=True, metadata={"axes": "TCYX"})
    np.testing.assert_array_equal(read(tmp_path / "ij.tif", channel=1), FRAMES + 1)
    rgb = (np.stack([FRAMES, FRAMES + 1, FRAMES + 2], axis=-1) % 256).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path / "rgb.tif", channel=2), (FRAMES + 2) % 256)
    with pytest.raises(InputError, match="no channel 2; allowed: 0 to 1"):
        open_movie(str(tmp_path / "c.ome.tif"), 2)


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path: Path, version: int) -> None:
    data = np.stack([FRAMES, FRAMES // 2], axis=1)[:, :, None]
    write_zarr(tmp_path, data, version, "tczyx")
    np.testing.assert_array_equal(read(tmp_path, channel=1), FRAMES // 2)
    movie = open_movie(str(tmp_path))
    assert movie.interval_ms == 250.0
    with pytest.raises(InputError, match="no channel 5"):
        open_movie(str(tmp_path), 5)


def test_bare_zarr_array(tmp_path: Path) -> None:
    write_zarr(tmp_path, FRAMES, 3, "tyx")
    np.testing.assert_array_equal(read(tmp_path / "0"), FRAMES)


def test_intervals_that_files_tell(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ij.tif", FRAMES, imagej=True, metadata={"axes": "TYX", "finterval": 0.05})
    metadata = {"axes": "TYX", "TimeIncrement": 20.0, "TimeIncrementUnit": "ms"}
    tifffile.imwrite(tmp_path / "o.ome.tif", FRAMES, ome=True, metadata=metadata)
    tifffile.imwrite(tmp_path / "plain.tif", FRAMES)
    assert open_and_close(tmp_path / "ij.tif") == pytest.approx(50)
    assert open_and_close(tmp_path / "o.ome.tif") == pytest.approx(20)
    assert open_and_close(tmp_path / "plain.tif") is None


def open_and_close(path: Path) -> float | None:
    movie = open_movie(str(path))
    movie.close()
    return movie.interval_ms


def test_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    from PIL import Image

    for i in (0, 1, 2, 10):
        pixels = np.zeros((6, 8, 4), np.uint8)
        pixels[..., 1] = i
        Image.fromarray(pixels).save(tmp_path / f"t{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    assert read(tmp_path, channel=1)[:, 0, 0].tolist() == [0, 1, 2, 10]
    assert read(tmp_path, channel=1).dtype == np.uint16
    with pytest.raises(InputError, match="no channel 4; allowed: 0 to 3"):
        open_movie(str(tmp_path), 4)


def test_folder_of_tiffs_of_16_bit(tmp_path: Path) -> None:
    for i, frame in enumerate(FRAMES):
        tifffile.imwrite(tmp_path / f"frame_{i}.tif", frame)
    np.testing.assert_array_equal(read(tmp_path), FRAMES)
    assert natural("t2b10") < natural("t10b1")
    assert natural("t2") < natural("t2a") or natural("t2a") < natural("t2")


def test_what_is_no_movie(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such movie"):
        open_movie(str(tmp_path / "missing.tif"))
    text = tmp_path / "text.tif"
    text.write_text("frame,x,y\n0,1,2\n")
    with pytest.raises(InputError, match="is no movie"):
        open_movie(str(text))
    empty = tmp_path / "empty.tif"
    empty.touch()
    with pytest.raises(InputError, match="is no movie"):
        open_movie(str(empty))
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        open_movie(str(tmp_path / "folder"))
    for name in ("a.png", "a.tif"):
        place = tmp_path / f"broken {name}"
        place.mkdir()
        (place / name).write_text("no image")
        with pytest.raises(InputError, match="is no image"):
            open_movie(str(place))
    (tmp_path / "zarr").mkdir()
    (tmp_path / "zarr" / "zarr.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        open_movie(str(tmp_path / "zarr"))


def test_empty_movies(tmp_path: Path) -> None:
    write_zarr(tmp_path, np.zeros((0, 12, 20), np.uint16), 3, "tyx")
    with pytest.raises(InputError, match="the movie is empty"):
        open_movie(str(tmp_path))


def test_mixed_sizes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(np.zeros((8, 8), np.uint16))
        file.write(np.zeros((8, 9), np.uint16))
    with pytest.raises(InputError, match="mixed sizes"):
        open_movie(str(tmp_path / "mixed.tif"))
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(2):
        tifffile.imwrite(folder / f"{i}.tif", np.zeros((8, 8 + i), np.uint16))
    with pytest.raises(InputError, match=r"0.tif is \(8, 8\), 1.tif is \(8, 9\)"):
        open_movie(str(folder))
    tifffile.imwrite(folder / "1.tif", np.zeros((8, 8), np.uint16))
    movie = open_movie(str(folder))
    tifffile.imwrite(folder / "1.tif", np.zeros((9, 8), np.uint16))  # replaced meanwhile
    with pytest.raises(InputError, match="mixed sizes"):
        movie.plane(1)


def test_other_pixels_and_axes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "float.tif", FRAMES.astype(np.float32))
    with pytest.raises(InputError, match="pixels are float32"):
        open_movie(str(tmp_path / "float.tif"))
    with pytest.raises(InputError, match="axes T of 2, Z of 3: which one is time"):
        Axes("TZYX", (2, 3, 8, 8), 0, "x")


def test_damaged_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "m.tif", FRAMES, compression="zlib")
    movie = open_movie(str(tmp_path / "m.tif"))

    def no_codec(*_: Any, **__: Any) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", no_codec)
    monkeypatch.setattr(tifffile.TiffFrame, "asarray", no_codec)
    with pytest.raises(InputError, match=r"imagecodecs.*smartscope\[images\]"):
        movie.plane(0)
    movie.close()


def test_pages_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "m.tif", FRAMES)
    movie = open_movie(str(tmp_path / "m.tif"))
    monkeypatch.setattr(tifffile.TiffPageSeries, "pages", property(lambda _: [None] * 5))
    with pytest.raises(InputError, match="frame 2 is missing"):
        movie.plane(2)
    movie.close()


def test_pillow_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    original = builtins.__import__

    def without_pillow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(InputError, match=r"need pillow; remedy: pip install 'smartscope\[images\]'"):
        open_movie(str(tmp_path))


def test_check_names_a_movie_that_is_none(tmp_path: Path) -> None:
    def problems(**options: Any) -> list[str]:
        return [problem.line() for problem in ReplayMicroscope.problems(MicroscopeConfig(options=options))]

    tifffile.imwrite(tmp_path / "m.tif", FRAMES)
    assert problems(movie=str(tmp_path / "m.tif")) == []
    assert problems() == []
    [line] = problems(movie=str(tmp_path / "missing.tif"))
    assert "no such movie" in line


@pytest.mark.data
@pytest.mark.parametrize(
    ("place", "shape", "frames"),
    [("trackpy/sample_data/bulk_water", (424, 640), 19), ("ctc/Fluo-N2DH-GOWT1/01", (1024, 1024), 24)],
)
def test_real_movies(data: Path, place: str, shape: tuple[int, int], frames: int) -> None:
    movie = open_movie(str(data / place))
    assert (movie.shape, len(movie)) == (shape, frames)
    assert movie.plane(frames - 1).std() > 0
