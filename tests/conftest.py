"""Fixtures for all tests: nothing left behind, a stack dump on hang, where the real images are."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartscope.testing.guards import nothing_left_behind

HANG_S = 90.0
"""Before pytest's own timeout, so that the stacks of all threads are seen."""


@pytest.fixture(autouse=True)
def _clean_and_alive() -> Iterator[None]:
    """Fail a test that leaves threads, sockets or cores behind; dump every stack when one hangs."""
    faulthandler.dump_traceback_later(HANG_S)
    try:
        with nothing_left_behind():
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real images; skips where it is absent."""
    place = Path(os.environ.get("SMARTSCOPE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no real images at {place}; set SMARTSCOPE_DATA")
    return place
