"""MNIST and Fashion-MNIST, from IDX files as they are distributed."""

import contextlib
import gzip
import struct

import numpy as np
import pytest

from mpsearch import datasets
from mpsearch.datasets.mnist import read_idx
from mpsearch.errors import DataError, DataMissingError

LABELS = np.array([3, 0, 0, 1, 2, 3, 1, 2, 0, 1, 2, 3], np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A data folder of the test's own, without Keras's downloads."""
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def images(labels):
    """Each image has its class for a grey value."""
    return np.repeat(labels, 784).reshape(-1, 28, 28)


def write(folder, compressed):
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", images(LABELS)), ("labels-idx1", LABELS)):
            content = idx(array)
            path = folder / f"{part}-{name}-ubyte{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.mark.parametrize(
    ("load", "folder", "compressed"),
    [(datasets.fashion_mnist, "fashion-mnist", True), (datasets.mnist, "data/mnist", False)],
    ids=["fashion-mnist", "mnist"],
)
def test_files_are_read_whether_compressed_or_not(here, load, folder, compressed):
    write(here / folder, compressed)
    data = load(validation=4, size=32, channels=3)
    assert data.train.y.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8, 4, 12]
    np.testing.assert_array_equal(data.train.x[:, 5, 5], data.train.y)
    inputs = data.inputs(data.train.x)
    assert inputs.shape == (8, 32, 32, 3)
    np.testing.assert_allclose(inputs[:, 2:30, 2:30], (data.train.y / 255)[:, None, None, None] + np.zeros((28, 28, 3)))
    assert inputs.sum() == pytest.approx(inputs[:, 2:30, 2:30].sum())
    assert len(load(train=4, validation=4).train) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "isn't an IDX file of unsigned bytes: it begins with 00000d01"),
        (idx(LABELS)[:-1], "must hold 12 bytes behind its head, but holds 11"),
        (b"\x00", "isn't an IDX file"),
        (idx(LABELS)[:6], "ends within its head"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "labels")


def test_a_compressed_file_with_a_changed_byte_is_named_or_read(tmp_path):
    whole = gzip.compress(idx(images(LABELS)))
    for place in range(0, len(whole), 3):
        (tmp_path / "images.gz").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with contextlib.suppress(DataError):  # else the byte is one of the head that says nothing of the content
            np.testing.assert_array_equal(read_idx(tmp_path / "images.gz"), images(LABELS))


def test_a_damaged_compressed_file_and_files_that_do_not_fit_are_named(here):
    folder = here / "mnist"
    write(folder, True)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS))[:-9])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz can't be read"):
        datasets.mnist(validation=4)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:-1])))
    with pytest.raises(DataError, match=r"the files train-… of mnist must hold images of 28x28 and as many classes"):
        datasets.mnist(validation=4)


def test_what_is_missing_is_named_with_its_source(here):
    with pytest.raises(DataMissingError, match=r"train-images-idx3-ubyte or .*\.gz, .*zalandoresearch/fashion-mnist"):
        datasets.fashion_mnist()


@pytest.mark.parametrize("options", [{"validation": 12}, {"validation": 4, "train": 9}, {"size": 27}, {"channels": 0}])
def test_sizes_that_do_not_fit_are_refused(here, options):
    write(here / "mnist", False)
    with pytest.raises(DataError, match="must hold"):
        datasets.mnist(**options)
