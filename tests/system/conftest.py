"""A workplace for each test of the whole system."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_helpers import Workplace, no_process_left


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """An empty working directory whose lamps nobody else uses; no process may outlive the test."""
    lamps = tmp_path / "temporary"
    lamps.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(lamps))
    monkeypatch.setattr(tempfile, "tempdir", str(lamps))
    monkeypatch.chdir(tmp_path)
    with no_process_left():
        yield Workplace(tmp_path)
