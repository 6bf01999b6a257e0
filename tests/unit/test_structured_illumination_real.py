"""A real three-beam stack whose line spacing is known: 9 planes × 3 angles × 5 phases, lines of 203.5 nm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.optics.pattern_layout import Layout  # noqa: E402
from smartscope_models.structured_illumination.stack import StackReconstructor  # noqa: E402
from smartscope_models.structured_illumination.transfer import Optics  # noqa: E402

PIXEL_NM, LINES_NM = 80.0, 203.5


@pytest.mark.data
@pytest.mark.parametrize("plane", [3, 4])
def test_the_line_spacing_of_a_real_stack_is_found(data: Path, plane: int) -> None:
    planes = tifffile.imread(data / "cudasirecon" / "raw.tif").astype(np.float32).reshape(3, 9, 5, 64, 64)
    frames = torch.from_numpy(np.ascontiguousarray(planes[:, plane].reshape(15, 64, 64)))
    found = StackReconstructor(Layout(3, 5, 3), 64, Optics(1.2, 525.0, PIXEL_NM)).run(frames)
    finest = found.estimate.parameters.carriers[:, -1]
    assert 64 * PIXEL_NM / np.hypot(*finest.T) == pytest.approx([LINES_NM] * 3, rel=2e-3)
    directions = np.sort(np.degrees(np.arctan2(finest[:, 1], finest[:, 0])) % 180)
    assert np.diff(directions) == pytest.approx([60, 60], abs=0.5)
    assert found.verdict.state == "ok"
