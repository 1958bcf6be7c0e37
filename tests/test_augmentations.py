"""Augmentations that recipes name."""

import numpy as np
import pytest

from mpsearch import Photos
from mpsearch.batches import augmenter
from mpsearch.describe import describe
from mpsearch.errors import ConfigError


def gradient():
    """Photos in which each pixel's colour is its place: red the row, green the column."""
    rows, columns = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 32), indexing="ij")
    photo = np.stack([rows, columns, np.full_like(rows, 0.5)], axis=-1).astype(np.float32)
    return np.repeat(photo[np.newaxis], 64, axis=0)


def test_photos_are_changed_each_in_its_way_and_again_alike_with_the_same_seed():
    augment, x = augmenter(Photos()), gradient()
    first, again, other = (augment(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == x.shape
    assert first.min() >= -1e-5
    assert first.max() <= 1 + 1e-5
    assert len({photo.tobytes() for photo in first}) == len(x)
    np.testing.assert_allclose(first[..., 2], 0.5, atol=1e-5)  # nothing but the photo's own pixels
    mirrored = first[:, 16, 24, 1] < first[:, 16, 8, 1]
    assert 10 < mirrored.sum() < 54


def test_how_far_photos_are_moved_is_as_asked_for():
    x = gradient()
    moved = augmenter(Photos(rotation=0, shift=0.25, shear=0, zoom=0, flip=False))(x, np.random.default_rng(0))
    shifts = moved[:, 16, 16, :2] - x[:, 16, 16, :2]
    assert 0.2 < np.abs(shifts).max() <= 0.25 * 32 / 31 + 1e-3
    still = augmenter(Photos(rotation=0, shift=0, shear=0, zoom=0, flip=False))(x, np.random.default_rng(0))
    np.testing.assert_allclose(still, x, atol=1e-5)


@pytest.mark.parametrize("options", [{"rotation": 181}, {"shift": 1.0}, {"zoom": -0.1}])
def test_what_no_photo_can_be_changed_by_is_refused(options):
    with pytest.raises(ConfigError, match="must be 0 to 180 degrees"):
        Photos(**options)


def test_a_recipe_with_other_photos_is_another_recipe():
    assert describe(Photos()) != describe(Photos(rotation=10))
