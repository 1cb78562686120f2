"""Views are like the picture, and the same whenever it is."""

from __future__ import annotations

import numpy as np

from phototag.dataset.random_views import random_view, uncropped
from phototag.imaging import Preprocessing


def test_a_view_has_the_size_asked_for_and_the_colours_of_the_picture() -> None:
    picture = np.full((90, 90, 3), (200, 40, 40), np.uint8)
    for seed in range(20):
        view = random_view(picture, 64, seed=seed)
        assert view.shape == (64, 64, 3)
        assert view.dtype == np.uint8
        assert (view[..., 0] > view[..., 1] + 50).all()


def test_views_differ_by_seed_and_by_nothing_else() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    assert np.array_equal(random_view(picture, 32, seed=7), random_view(picture, 32, seed=7))
    assert not np.array_equal(random_view(picture, 32, seed=7), random_view(picture, 32, seed=8))


def test_pictures_are_decoded_larger_for_views_and_whole() -> None:
    assert uncropped(Preprocessing(size=100, crop=0.875)) == Preprocessing(size=150, crop=1.0)
