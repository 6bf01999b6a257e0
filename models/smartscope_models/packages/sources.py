"""Where a package's files lie: a folder or a zip archive, read by name; nothing is unpacked, nothing is downloaded."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smartscope.errors import InputError, UnsupportedModel

MOST_BYTES = 512 * 2**20
"""Of one file; an archive can claim little and hold much."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder or a zip archive of files."""

    path: Path

    @property
    def zipped(self) -> bool:
        """Whether it is an archive."""
        return self.path.is_file()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """All files, with forward slashes, sorted.

        Raises:
            InputError: the archive cannot be read.
        """
        if not self.zipped:
            files = (item for item in self.path.rglob("*") if item.is_file())
            return tuple(sorted(item.relative_to(self.path).as_posix() for item in files))
        with _opened(self.path) as archive:
            return tuple(sorted(entry.filename for entry in archive.infolist() if not entry.is_dir()))

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked; raises as ``read`` does."""
        return len(self.read(name))

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputError: no such file, or it cannot be read.
            UnsupportedModel: the name leads out of the package or into the network, or the file is too large.
        """
        inside = _inside(name, str(self.path))
        if not self.zipped:
            return self._from_folder(inside)
        with _opened(self.path) as archive:
            return self._from_archive(archive, inside)

    def _from_folder(self, name: str) -> bytes:
        file = self.path / name
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise _leads_out(name, str(self.path))
        try:
            if file.stat().st_size > MOST_BYTES:
                raise _too_large(name, str(self.path))
            return file.read_bytes()
        except OSError as error:
            raise InputError(
                f"its file {name!r} cannot be read: {error.strerror}",
                where=str(self.path),
                remedy="copy the whole package",
            ) from error

    def _from_archive(self, archive: zipfile.ZipFile, name: str) -> bytes:
        try:
            with archive.open(name) as file:
                content = file.read(MOST_BYTES + 1)
        except KeyError as error:
            raise InputError(
                f"holds no file {name!r}", where=str(self.path), remedy="download the whole package again"
            ) from error
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
            raise InputError(
                f"its file {name!r} cannot be unpacked: {error}", where=str(self.path), remedy="download it again"
            ) from error
        if len(content) > MOST_BYTES:
            raise _too_large(name, str(self.path))
        return content


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"is no zip archive: {error}", where=str(path), remedy="download it again") from error


def _inside(name: str, where: str) -> str:
    """The name, if it stays inside the package."""
    if "://" in name:
        raise UnsupportedModel(
            f"its file {name!r} is on the network",
            where=where,
            remedy="download the whole package; smartscope fetches nothing by itself",
        )
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] if path.parts else True:
        raise _leads_out(name, where)
    return path.as_posix()


def _leads_out(name: str, where: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"names {name!r}, a file outside the package", where=where, remedy="put the file into the package"
    )


def _too_large(name: str, where: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"its file {name!r} is too large",
        where=where,
        allowed=f"<= {MOST_BYTES // 2**20} MB",
        remedy="a live model is smaller",
    )
