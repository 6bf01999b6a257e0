"""Images against their raw frames: the error map sees what is wrong with them, the border follows from them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="structured illumination is reconstructed with torch")

from structured_illumination_helpers import OPTICS, fringes, illuminated, specimen  # noqa: E402

from smartscope.optics.pattern_layout import Layout  # noqa: E402
from smartscope_models.structured_illumination.error_map import ErrorMap  # noqa: E402
from smartscope_models.structured_illumination.stack import Prepared, StackReconstructor  # noqa: E402

N, LAYOUT = 128, Layout()
SCENE, KNOWN = specimen(N, 3), fringes(LAYOUT, N, 3)


def prepared(peak_e: float = 20_000.0, change=lambda frames: frames) -> Prepared:
    frames = change(illuminated(SCENE, LAYOUT, KNOWN, peak_e, 5))
    return StackReconstructor(LAYOUT, N, OPTICS).prepare(torch.from_numpy(frames))


def error_map(found: Prepared) -> torch.Tensor:
    return ErrorMap(found.reconstruction).of(found.frames)


@pytest.mark.parametrize("peak_e", [1_000.0, 5_000.0, 20_000.0])
def test_what_is_right_leaves_noise(peak_e: float) -> None:
    found = prepared(peak_e)
    found.reconstruction.full(found.frames)
    left = error_map(found)
    assert left.shape == (8, 8)
    assert float(left.mean()) == pytest.approx(1, abs=0.1)
    assert float(left.median()) == pytest.approx(1, abs=0.15)


def test_what_was_invented_shows_where_it_is() -> None:
    found = prepared()
    made = found.reconstruction
    made.full(found.frames)
    before = error_map(found)
    texture = torch.zeros(2 * made.padding.whole, 2 * made.padding.whole)
    first = 2 * made.padding.before + 2 * 48
    texture[first : first + 64, first : first + 64] = torch.rand(64, 64, generator=torch.Generator().manual_seed(1))
    made.total.add_(torch.fft.rfft2(texture * float(found.frames.mean())))
    after = error_map(found)
    assert float((after - before)[3:5, 3:5].mean()) > 1
    assert float((after - before)[:2].abs().max()) < 0.1


def test_what_moved_between_directions_shows_where_it_is() -> None:
    def corner_moved(frames: np.ndarray) -> np.ndarray:
        moved = frames.copy()
        moved[3:6, :48, :48] = np.roll(frames[3:6], (1, 1), (1, 2))[:, :48, :48]
        return moved

    found = prepared(change=corner_moved)
    found.reconstruction.full(found.frames)
    left = error_map(found)
    assert float(left[:3, :3].mean()) > 1.3 * float(left[4:, 4:].mean())


def test_the_image_says_more_of_the_far_side_of_the_border_than_a_mirror() -> None:
    frames = illuminated(SCENE, LAYOUT, KNOWN, 50_000.0, None)
    found = StackReconstructor(LAYOUT, N, OPTICS).prepare(torch.from_numpy(frames))
    made = found.reconstruction
    images = [made.full(found.frames).clone(), made.continued(found.frames).clone(), made.continued(found.frames, 4)]
    edge = torch.ones(2 * N, 2 * N, dtype=torch.bool)
    edge[16:-16, 16:-16] = False
    changes = [float((image - images[2])[edge].square().mean()) for image in images[:2]]
    assert changes[1] < 0.3 * changes[0], "one step is most of the way"
    inside = (images[1] - images[0])[~edge].square().mean() / images[0][~edge].var()
    assert float(inside) < 1e-4
