"""Tests of the animals-against-vehicles stand-in and of its bilinear enlargement."""

import pickle

import numpy as np
import pytest

from mpsearch.datasets import cifar10, cifar10_vww
from mpsearch.datasets.cifar10_vww import Enlarge
from mpsearch.errors import DataError


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_labels_are_animals_against_vehicles(archive):
    ten, two = cifar10(train=20, validation=10), cifar10_vww(train=20, validation=10)
    for split_of_ten, split_of_two in (
        (ten.train, two.train),
        (ten.validation, two.validation),
        (ten.test, two.test),
    ):
        np.testing.assert_array_equal(split_of_two.y, np.isin(split_of_ten.y, (2, 3, 4, 5, 6, 7)))
        np.testing.assert_array_equal(split_of_two.x, split_of_ten.x)
    assert two.train.y.mean() == 0.6
    assert two.name == "cifar10_vww"


def test_inputs_have_the_size_asked_for(archive):
    data = cifar10_vww(train=20, validation=10, size=48)
    inputs = data.inputs(data.train.x[:3])
    assert inputs.shape == (3, 48, 48, 3)
    assert inputs.dtype == np.float32
    assert data.nonnegative_inputs


@pytest.mark.parametrize("size", [32, 33, 48, 96, 97, 224])
def test_enlargement_is_pillows_but_for_its_rounding(images, size):
    image_module = pytest.importorskip("PIL.Image")
    expected = [
        np.asarray(image_module.fromarray(image).resize((size, size), image_module.Resampling.BILINEAR))
        for image in images
    ]
    # Pillow rounds to integers after each axis.
    np.testing.assert_allclose(Enlarge(size)(images) * 255, np.stack(expected), atol=1.001)


def test_enlargement_between_two_pixels_is_linear():
    image = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    image[0, :, 1, 0] = 255
    row = Enlarge(32)(image)[0, 0, :, 0]
    # Pixel centres: flat to the left of 0.5 and to the right of 1.5, a rise of 1/16 a pixel between.
    expected = np.clip((np.arange(32) + 0.5) / 16 - 0.5, 0, 1)
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_enlargement_stays_in_the_unit_range_and_keeps_constants(images):
    enlarged = Enlarge(96)(images)
    assert enlarged.min() >= 0.0
    assert enlarged.max() <= 1.0
    white = np.full((1, 32, 32, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(Enlarge(96)(white), 1.0)


def test_enlargement_of_an_image_does_not_depend_on_its_batch(images):
    np.testing.assert_array_equal(Enlarge(96)(images)[2:3], Enlarge(96)(images[2:3]))


def test_prepare_survives_pickling(images):
    enlarge = pickle.loads(pickle.dumps(Enlarge(96)))
    assert enlarge == Enlarge(96)
    np.testing.assert_array_equal(enlarge(images), Enlarge(96)(images))


def test_shrinking_is_refused():
    with pytest.raises(DataError, match=r"`size >= 32` must hold.*got 31"):
        cifar10_vww(size=31)
