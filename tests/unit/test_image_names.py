"""Names of images: by content, worked out once where it cannot change."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from smartscope import image_names
from smartscope.image_names import image_name


def test_equal_images_have_one_name_and_others_another() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert image_name(image).startswith("3x4 uint8 ")
    assert image_name(image) == image_name(np.asfortranarray(image)) == image_name(image[:, ::-1][:, ::-1])
    assert len({image_name(other) for other in (image, image.T, image.astype(np.uint16), image + 1)}) == 4


def test_what_cannot_change_is_looked_at_once_and_forgotten_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    named = image_name(image)
    image[0, 0] = 9
    assert image_name(image) != named
    image.setflags(write=False)
    kept, known = image_name(image), len(image_names._known)
    monkeypatch.setattr(image_names, "_worked_out", lambda _: "again")
    assert image_name(image) == kept
    del image
    gc.collect()
    assert len(image_names._known) == known - 1
