"""Files of a package are read by name from a folder or an archive; no name leads anywhere else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from smartscope.errors import InputError, UnsupportedModel
from smartscope_models.packages import sources
from smartscope_models.packages.sources import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("nobody's business")
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha")
    (folder / "inner" / "b.txt").write_bytes(b"beta")
    return folder


def archived(folder: Path) -> Path:
    path = folder.parent / "package.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("inner")
        for name in ("a.txt", "inner/b.txt"):
            archive.write(folder / name, name)
        archive.writestr("../secret.txt", "from outside")
        archive.writestr("zeros", bytes(100_000))
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_files_by_name(folder: Path, zipped: bool) -> None:
    source = Source(archived(folder) if zipped else folder)
    assert source.zipped == zipped
    assert {"a.txt", "inner/b.txt"} <= set(source.names())
    assert "inner/" not in source.names()
    assert source.read("inner/b.txt") == source.read("inner\\b.txt") == source.read("./inner/b.txt") == b"beta"
    assert source.has("a.txt")
    assert not source.has("c.txt")
    assert source.size("a.txt") == 5
    with pytest.raises(InputError, match=r"package.*c\.txt.*remedy"):
        source.read("c.txt")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["../secret.txt", "inner/../../a", "/etc/hosts", "C:/x", "..\\secret.txt", ""])
def test_names_that_lead_out(folder: Path, zipped: bool, name: str) -> None:
    with pytest.raises(UnsupportedModel, match="outside the package"):
        Source(archived(folder) if zipped else folder).read(name)


def test_links_that_lead_out(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    with pytest.raises(UnsupportedModel, match="outside the package"):
        Source(folder).read("link.txt")


def test_nothing_is_downloaded(folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"on the network.*download the whole package"):
        Source(folder).read("https://example.org/weights.onnx")


@pytest.mark.parametrize("zipped", [False, True])
def test_files_that_are_too_large(folder: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "zeros").write_bytes(bytes(100_000))
    source = Source(archived(folder) if zipped else folder)
    monkeypatch.setattr(sources, "MOST_BYTES", 99_999)
    with pytest.raises(UnsupportedModel, match="too large"):
        source.read("zeros")
    monkeypatch.setattr(sources, "MOST_BYTES", 100_000)
    assert source.read("zeros") == bytes(100_000)


def test_archives_that_are_damaged(folder: Path) -> None:
    path = archived(folder)
    content = bytearray(path.read_bytes())
    at = content.index(b"a.txt") + len(b"a.txt")
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"'a\.txt' cannot be unpacked"):
        Source(path).read("a.txt")
    path.write_text("no archive")
    with pytest.raises(InputError, match="is no zip archive"):
        Source(path).names()
