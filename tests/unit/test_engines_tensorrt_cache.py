"""The disk cache of engines: nothing but what was written comes out of it, whatever happens to the files."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope_models.engines import tensorrt_cache
from smartscope_models.engines.tensorrt_cache import CacheKey, EngineCache, default_folder

KEY = CacheKey("ab" * 32, "tensorrt_rtx", "1.7.1.116", "8.9", (("frames", (1, 1, 8, 8, 2)),))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "deep" / "down")
    assert cache.read(KEY, "engine") is None
    for data in (b"", b"\n", b"engine\nwith\nlines"):
        cache.write(KEY, "engine", data)
        assert cache.read(KEY, "engine") == data
    assert cache.read(KEY, "rtcache") is None, "kinds do not mix"
    cache.discard(KEY, "engine")
    cache.discard(KEY, "engine")
    assert cache.read(KEY, "engine") is None
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize(
    "other",
    [
        {"network": "cd" * 32}, {"flavour": "tensorrt"}, {"version": "1.7.2"}, {"capability": "8.6"}, {"gpu": "Ada"},
        {"shapes": (("frames", (1, 1, 8, 9, 2)),)}, {"targets": ("SM75",)}, {"driver": 13000},
    ],
)  # fmt: skip
def test_any_other_key_is_another_file(tmp_path: Path, other: dict) -> None:
    cache, strange = EngineCache(tmp_path), replace(KEY, **other)
    cache.write(KEY, "engine", b"engine")
    assert cache.read(strange, "engine") is None
    cache.path(KEY, "engine").rename(cache.path(strange, "engine"))
    assert cache.read(strange, "engine") is None, "not even under the other one's name"


def test_a_new_format_makes_old_files_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EngineCache(tmp_path)
    cache.write(KEY, "engine", b"engine")
    monkeypatch.setattr(tensorrt_cache, "FORMAT", 2)
    assert cache.read(replace(KEY), "engine") is None


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_goes_unseen(tmp_path: Path, data: st.DataObject) -> None:
    cache = EngineCache(tmp_path)
    cache.write(KEY, "engine", b"an engine of some length")
    path = cache.path(KEY, "engine")
    whole = path.read_bytes()
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    damaged = whole[:begin] + data.draw(st.binary(max_size=4)) + whole[end:]
    path.write_bytes(damaged)
    assert cache.read(KEY, "engine") == (b"an engine of some length" if damaged == whole else None)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, limit_bytes=4000)
    keys = [replace(KEY, version=str(number)) for number in range(3)]
    for age, key in zip((30, 20, 10), keys, strict=True):
        cache.write(key, "engine", bytes(1000))
        os.utime(cache.path(key, "engine"), (1e9 - age, 1e9 - age))
    cache.read(keys[0], "engine")  # the oldest, but used
    newest = replace(KEY, version="3")
    cache.write(newest, "engine", bytes(1000))
    left = [key for key in (*keys, newest) if cache.path(key, "engine").exists()]
    assert left == [keys[0], keys[2], newest]
    cache.write(replace(KEY, version="4"), "engine", bytes(9000))
    assert [path.stat().st_size > 9000 for path in tmp_path.iterdir()] == [True], "what was just written stays"


def test_what_dead_processes_left_is_cleared(tmp_path: Path) -> None:
    old, young, foreign = tmp_path / "old.part", tmp_path / "young.part", tmp_path / "notes.txt"
    for path in (old, young, foreign):
        path.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    os.utime(foreign, (1e9, 1e9))
    EngineCache(tmp_path, limit_bytes=0).write(KEY, "engine", b"engine")
    assert not old.exists()
    assert young.exists(), "somebody may be writing it"
    assert foreign.exists(), "not ours"


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = EngineCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        cache.write(KEY, "engine", b"engine")
        assert cache.read(KEY, "engine") is None
    assert "cannot be kept" in caplog.text


def test_a_file_that_cannot_be_read_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EngineCache(tmp_path)
    cache.path(KEY, "engine").mkdir()
    with caplog.at_level(logging.WARNING):
        assert cache.read(KEY, "engine") is None
        cache.write(KEY, "engine", b"engine")
    assert "cannot be read" in caplog.text
    assert "cannot be kept" in caplog.text
    assert not list(tmp_path.glob("*.part")), "nothing half-written is left"


def test_writers_and_readers_at_once_see_whole_files_only(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, limit_bytes=1 << 20)
    contents = [bytes([number]) * 50_000 for number in range(4)]

    def work(number: int) -> None:
        for _ in range(10):
            cache.write(KEY, "engine", contents[number])
            assert cache.read(KEY, "engine") in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".engine"]


def test_another_process_finds_the_file(tmp_path: Path) -> None:
    EngineCache(tmp_path).write(KEY, "engine", b"engine")
    code = f"""
from pathlib import Path
from smartscope_models.engines.tensorrt_cache import CacheKey, EngineCache
key = CacheKey({KEY.network!r}, "tensorrt_rtx", "1.7.1.116", "8.9", (("frames", (1, 1, 8, 8, 2)),))
assert EngineCache(Path({str(tmp_path)!r})).read(key, "engine") == b"engine"
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_the_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SMARTSCOPE_CACHE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == tmp_path / ".cache" / "smartscope" / "tensorrt"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "smartscope" / "tensorrt"
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_folder() == tmp_path / "AppData" / "Local" / "smartscope" / "tensorrt"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == tmp_path / "local" / "smartscope" / "tensorrt"
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own" / "tensorrt"
