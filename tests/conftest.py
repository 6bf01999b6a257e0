"""Fixtures for all tests: nothing left behind, a stack dump on hang, where the real images are."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartscope.testing.guards import nothing_left_behind

HANG_S = 90.0
"""Before pytest's own timeout, so that the stacks of all threads are seen."""


def _cores() -> set[str]:
    """Micro-Manager cores that are open; none where no driver was imported."""
    tools = sys.modules.get("smartscope_drivers.core_tools")
    return tools.open_cores() if tools else set()


@pytest.fixture(autouse=True)
def _clean_and_alive() -> Iterator[None]:
    """Fail a test that leaves threads, sockets or Micro-Manager cores behind; dump every stack when one hangs."""
    faulthandler.dump_traceback_later(HANG_S)
    try:
        with nothing_left_behind(_cores):
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
