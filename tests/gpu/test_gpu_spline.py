"""The spline point spread function on a real GPU: the numbers of the CPU's kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from smartscope.optics.point_spread.pupil import Pupil, PupilOptics


def test_the_same_light_on_the_gpu(reasons: Mapping[str, str]) -> None:
    if "torch_cuda" in reasons:
        pytest.skip(f"torch: {reasons['torch_cuda']}")
    import torch

    from smartscope_models.localization.spline_torch import SplineLight

    spline = Pupil(PupilOptics(1.4, 670.0, aberrations_nm={6: 60.0})).spline((-500, 500), 50, 100, 25)
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(4, 9, 500), rng.uniform(4, 9, 500), rng.uniform(-600, 600, 500)
    places = (torch.tensor(place, dtype=torch.float32, device="cuda") for place in (x, y, z))
    light = SplineLight(spline).cuda()(*places, (13, 13)).cpu().numpy()
    np.testing.assert_allclose(light, spline.spots(x, y, z, (13, 13)).values, atol=1e-5)
