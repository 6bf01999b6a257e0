"""Key files are made once, for their owner alone, and say who is who."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from zmq.utils import z85

from smartscope.bus import keys
from smartscope.errors import BusError


def test_new_keys_admit_their_own_clients_and_nobody_else(tmp_path: Path) -> None:
    written = keys.new(tmp_path / "keys")
    assert [path.name for path in written] == ["server.json", "operator.json", "read_only.json"]
    server = keys.load(tmp_path / "keys")
    operator, read_only = (json.loads(path.read_text()) for path in written[1:])
    assert operator["server"] == read_only["server"] == server.public
    assert server.role_of(z85.decode(operator["public"])) is keys.Role.OPERATOR
    assert server.role_of(z85.decode(read_only["public"])) is keys.Role.READ_ONLY
    assert server.role_of(bytes(32)) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has access lists instead of modes")
def test_only_the_owner_reads_key_files(tmp_path: Path) -> None:
    for path in keys.new(tmp_path / "keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    keys.new(tmp_path)
    before = (tmp_path / "server.json").read_bytes()
    with pytest.raises(BusError, match="there already"):
        keys.new(tmp_path)
    assert (tmp_path / "server.json").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError, match="cannot be written"):
        keys.new(tmp_path / "file" / "keys")


def test_missing_and_malformed_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(BusError, match=r"no keys.*smartscope keys new"):
        keys.load(tmp_path)
    (tmp_path / "server.json").write_text('{"public": "short"}')
    with pytest.raises(BusError, match="not a server key file"):
        keys.load(tmp_path)
