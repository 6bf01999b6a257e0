"""Real three-beam stacks: what the judging script finds of them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from judging.dlsim import measure


@pytest.mark.data
def test_real_microtubules_come_out_as_their_reference(data: Path) -> None:
    found = measure(data / "dlsim")
    bright, dim = found["HE sectioning 0.9"], found["LE sectioning 0.9"]
    assert bright["verdict"] == "ok"
    assert bright["correlation"] > 0.93
    assert bright["cutoff_ring"] > 1.7 * found["HE widefield"]["cutoff_ring"]
    assert dim["correlation"] > found["LE widefield"]["correlation"] + 0.2
    assert found["LE sectioning 0.9, network"]["correlation"] > dim["correlation"] + 0.03
