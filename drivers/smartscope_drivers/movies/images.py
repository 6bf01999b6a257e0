"""A folder of numbered images as a movie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from smartscope.errors import InputError
from smartscope.frame import Pixels, Settings
from smartscope_drivers.movies.planes import KINDS, check_dtype, no_channel, own_uint16

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".gif"}


class ImagesMovie:
    """Numbered images of a folder, in the order of their numbers; one channel of colour images."""

    def __init__(self, folder: Path, channel: int) -> None:
        self._where, self._channel = str(folder), channel
        files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        self._files = sorted(files, key=lambda file: natural(file.name))
        self.interval_ms: float | None = None
        if not self._files:
            raise InputError("holds no images", where=self._where, allowed=KINDS, remedy="give one of these")
        self.shape = self._read(self._files[0]).shape[:2]
        for file in self._files[1:]:
            if (size := _size_of(file)) != self.shape:
                self._complain(file, size)

    def __len__(self) -> int:
        return len(self._files)

    def plane(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame."""
        pixels = self._read(self._files[index])
        if pixels.shape[:2] != self.shape:
            self._complain(self._files[index], pixels.shape[:2])
        return own_uint16(pixels)

    def _read(self, file: Path) -> npt.NDArray[Any]:
        pixels = _read_image(file)
        if pixels.ndim == 3:
            if self._channel >= pixels.shape[2]:
                raise no_channel(self._channel, pixels.shape[2], str(file))
            pixels = pixels[:, :, self._channel]
        check_dtype(pixels.dtype, str(file))
        return pixels

    def _complain(self, file: Path, size: tuple[int, ...]) -> None:
        first = self._files[0]
        raise InputError(
            f"images of mixed sizes: {first.name} is {self.shape}, {file.name} is {size}",
            where=self._where,
            remedy="keep images of one size in the folder",
        )

    def settings(self, index: int) -> Settings | None:
        """Not recorded."""
        return None

    def close(self) -> None:
        """Nothing stays open."""


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which ``t2`` comes before ``t10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _opened(file: Path) -> Any:
    """The image, header read."""
    try:
        # an extra: TIFF movies do without it
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise InputError(
            f"{file.suffix} images need pillow", where=str(file), remedy="pip install 'smartscope[images]'"
        ) from error
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        raise InputError("is no image", where=str(file), remedy="take it out of the folder") from error


def _read_image(file: Path) -> npt.NDArray[Any]:
    if file.suffix.lower() in TIFF_SUFFIXES:
        try:
            return np.asarray(tifffile.imread(file))
        except tifffile.TiffFileError as error:
            raise InputError(f"is no image: {error}", where=str(file), remedy="take it out of the folder") from error
        except ValueError:
            pass  # a compression that tifffile leaves to imagecodecs; pillow knows LZW
    with _opened(file) as image:
        return np.asarray(image)


def _size_of(file: Path) -> tuple[int, int]:
    """(H, W) from the header."""
    if file.suffix.lower() in TIFF_SUFFIXES:
        with tifffile.TiffFile(file) as tiff:
            height, width = tiff.series[0].shape[:2]
            return height, width
    with _opened(file) as image:
        return image.height, image.width
